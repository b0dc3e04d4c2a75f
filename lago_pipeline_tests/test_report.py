"""The two laws of accounting, and how a report is read."""

from dataclasses import fields, replace

import pytest

from lago_pipeline.report import COUNT_NAMES, UNBILLED, Counts, DeliveryReport, Status, Wire, broken_laws

COUNTS = Counts(
    extracted=100, unchanged=40, accepted=20, changed=5, removed=7, ignored=3, held=4, rejected=6,
    quarantined=8, conflict=2, pending=12, planned=52, duplicates=9,
)  # fmt: skip
LEDGER = {"accepted": 72, "held": 4, "rejected": 6, "quarantined": 8, "conflict": 2, "ignored": 3}
SIDES = {
    "extracted": {"rows: the source gave", "rows: not final are"},
    "unchanged": {"rows: not final are", "the ledger holds accepted"},
    "accepted": {
        "rows: not final are",
        "events: planned and not accepted are",
        "the ledger holds accepted",
    },
    "changed": {"rows: not final are", "the ledger holds accepted"},
    "removed": {"the ledger holds accepted"},
    "ignored": {"rows: not final are"},
    "pending": {"rows: not final are", "events: planned and not accepted are"},
    "planned": {"events: planned and not accepted are"},
    "duplicates": {"rows: the source gave"},
    **{
        status.value: {
            "rows: not final are",
            "events: planned and not accepted are",
            f"the ledger holds {status}",
        }
        for status in UNBILLED
    },
}


def broken(counts: Counts, source_rows: int = 109, ledger: dict[str, int] | None = None) -> tuple[str, ...]:
    """The laws that these counts break."""
    return broken_laws(counts, source_rows=source_rows, ledger=LEDGER if ledger is None else ledger)


def test_counts_that_agree_break_no_law() -> None:
    """Also where there is nothing at all."""
    assert broken(COUNTS) == ()
    assert broken(Counts(), 0, {}) == ()


@pytest.mark.parametrize("by", [1, -1, 1000])
@pytest.mark.parametrize("name", COUNT_NAMES)
def test_one_wrong_counter_is_always_found(name: str, by: int) -> None:
    """Each side that it belongs to is named, with how far it is off."""
    found = broken(replace(COUNTS, **{name: getattr(COUNTS, name) + by}))
    assert {words.rpartition(",")[0].rpartition(" ")[0] for words in found} == SIDES[name]
    assert all(words.endswith(f": off by {abs(by)}") for words in found)


def test_every_counter_is_under_a_law() -> None:
    """A new field of Counts must be thought of here."""
    assert set(SIDES) == {item.name for item in fields(Counts)}


@pytest.mark.parametrize("status", ["accepted", "held", "rejected", "quarantined", "conflict"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_ledger_that_lost_or_gained_a_line_is_found(status: str, by: int) -> None:
    """Its own count stands against the run's."""
    (words,) = broken(COUNTS, ledger={**LEDGER, status: LEDGER[status] + by})
    assert words.startswith(f"the ledger holds {status} {LEDGER[status] + by}, ")
    assert words.endswith("off by 1")


def test_a_row_lost_before_the_events_is_found() -> None:
    """The source's own count stands against the events of the file."""
    assert broken(COUNTS, source_rows=110) == (
        "rows: the source gave 110, the run counts 109: off by 1",
    )  # fmt: skip


def test_red_is_what_is_not_billed() -> None:
    """Changed and removed rows are amber: they are billed as they were."""
    assert COUNTS.unbilled == 4 + 6 + 8 + 2 + 12
    assert not COUNTS.is_settled
    assert Counts(extracted=9, unchanged=3, accepted=2, changed=3, ignored=1, removed=4).is_settled
    for name in (*UNBILLED, "pending"):
        assert not replace(Counts(), **{str(name): 1}).is_settled


def test_a_report_is_settled_only_when_all_is() -> None:
    """A broken law or a run that stopped is red even where no row is."""
    good = DeliveryReport("2026-01-01", Counts(extracted=1, accepted=1, planned=1))
    assert good.is_settled
    assert not replace(good, broken_laws=("rows: ...",)).is_settled
    assert not replace(good, stopped="the run was interrupted").is_settled
    assert not replace(good, counts=Counts(extracted=1, pending=1)).is_settled


def test_the_plotted_numbers_have_stable_names() -> None:
    """Dashboards are built on them (DESIGN.md 2.4)."""
    report = DeliveryReport(
        "2026-01-01", replace(COUNTS, accepted=20), Wire(requests=3, seconds=4.0), lag_seconds=5.0
    )
    assert set(report.numbers()) == {
        "extracted", "unchanged", "accepted", "changed", "removed", "ignored", "held", "rejected",
        "quarantined", "conflict", "pending", "duplicates", "requests", "retries", "seconds",
        "events_per_second", "latency_p50_ms", "latency_p99_ms", "throttled_seconds", "lag_seconds",
    }  # fmt: skip
    assert (report.numbers()["events_per_second"], report.numbers()["lag_seconds"]) == (5.0, 5.0)
    assert DeliveryReport("2026-01-01", COUNTS).numbers()["events_per_second"] == 0.0


def test_the_red_states_are_those_of_the_ledger() -> None:
    """Everything but accepted and ignored."""
    assert set(Status) - set(UNBILLED) == {Status.ACCEPTED, Status.IGNORED}
