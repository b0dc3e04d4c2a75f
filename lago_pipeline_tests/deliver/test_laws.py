"""A run whose numbers do not agree is red, whichever number is wrong."""

from dataclasses import fields, replace

import pytest

from lago_pipeline.deliver.tally import Tally
from lago_pipeline.report import Counts
from lago_pipeline_tests.deliver.world import World, row, rows

COUNTERS = [item.name for item in fields(Counts)]


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("name", COUNTERS)
def test_one_wrong_counter_turns_the_run_red(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, by: int
) -> None:
    """The ledger, the file and Lago's answers are counted apart: the report says which side is off."""
    world.deliver([*rows(range(12)), row("bad", sub="")])
    counted = Tally.counts

    def miscounted(tally: Tally, duplicates: int) -> Counts:
        right = counted(tally, duplicates)
        return replace(right, **{name: getattr(right, name) + by})

    monkeypatch.setattr(Tally, "counts", miscounted)
    report = world.deliver([*rows(range(20)), row("bad", sub="")])
    assert not report.is_settled
    assert report.broken_laws
    assert all(words.endswith("off by 1") for words in report.broken_laws)
    ((state, reasons),) = world.query("select state, reasons from lago_partitions")
    assert (state, "law_broken" in reasons.split()) == ("unsettled", True)


def test_a_line_that_the_ledger_lost_turns_the_run_red(world: World) -> None:
    """Lago accepted eight events, the ledger kept seven of them."""
    with world.ledger.begin() as connection:
        connection.exec_driver_sql(
            "create trigger loses after insert on sent when new.row_key = 'k00003' "
            "begin delete from sent where row_key = 'k00003'; end"
        )
    report = world.deliver(rows(range(8)))
    assert report.broken_laws == ("the ledger holds accepted 7, the run counts 8: off by 1",)
    assert not report.is_settled
