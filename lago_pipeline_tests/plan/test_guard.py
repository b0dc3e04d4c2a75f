"""What must hold before a partition's events may be planned at all."""

from dataclasses import replace

import pytest

from lago_pipeline.errors import ConfigError, FatalError
from lago_pipeline.ledger.partitions import PartitionRecord, State
from lago_pipeline.plan.guard import check_snapshot, check_template, file_digest, is_nothing_new
from lago_pipeline.report import Counts
from lago_pipeline.spool.events import EventsFooter
from lago_pipeline_tests.deliver.world import DAY

FOOTER = EventsFooter(
    snapshot_ms=1_767_268_800_000,
    rows=3,
    events=3,
    duplicates=0,
    problems=0,
    digest="0" * 31 + "7",
    template_hash="now",
    run="r",
)
RECORD = PartitionRecord(
    partition_start=DAY.start_ms,
    partition_end=DAY.end_ms,
    partition_key=DAY.key,
    state=State.OPEN,
    snapshot_ms=FOOTER.snapshot_ms,
    template_hash="now",
    digest=file_digest(FOOTER),
    counts=Counts(),
    reasons="",
    attempts=0,
    next_attempt_ms=None,
    updated_ms=0,
)


def test_events_of_another_template_are_not_delivered() -> None:
    """The line names the partition and what to do."""
    check_template(FOOTER, "now", DAY)
    with pytest.raises(ConfigError, match=r"2026-01-01.*another template.*materialize events again"):
        check_template(FOOTER, "then", DAY)


def test_an_older_snapshot_never_undoes_a_newer_one() -> None:
    """The same one may be repeated, a newer one follows, an older one is refused with both times."""
    for allowed in (None, replace(RECORD, snapshot_ms=None), RECORD, replace(RECORD, snapshot_ms=1)):
        check_snapshot(FOOTER, allowed, DAY)
    newer = replace(RECORD, snapshot_ms=FOOTER.snapshot_ms + 1000)
    with pytest.raises(FatalError, match=r"12:00:00.*12:00:01.*materialize usage_rows again"):
        check_snapshot(FOOTER, newer, DAY)


@pytest.mark.parametrize(
    "record",
    [None, replace(RECORD, digest=None), replace(RECORD, digest="1:4:" + FOOTER.digest),
     replace(RECORD, digest="1:3:" + "0" * 32), replace(RECORD, digest="2:3:" + FOOTER.digest)],
)  # fmt: skip
def test_only_the_same_digest_proves_that_nothing_is_new(record: PartitionRecord | None) -> None:
    """Count, sum and version of the fingerprints must all be the same."""
    assert is_nothing_new(FOOTER, RECORD)
    assert not is_nothing_new(FOOTER, record)
