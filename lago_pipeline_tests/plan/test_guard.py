"""What must hold before a partition's events may be planned at all."""

from dataclasses import replace

import pytest

from lago_pipeline.errors import ConfigError, ConfirmationNeeded, FatalError
from lago_pipeline.ledger.partitions import PartitionRecord, State
from lago_pipeline.plan.guard import (
    check_snapshot,
    check_template,
    check_volume,
    file_digest,
    is_nothing_new,
    volume_limit,
)
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


def check(events: int, *, usual: int | None, most: int | None) -> None:
    """Raise where so many events would be unusual."""
    limit = volume_limit(usual, most)
    assert limit is not None
    check_volume(events, limit, "usage", DAY)


def test_fewer_than_a_thousand_events_are_never_unusual() -> None:
    """However few are usual; a limit of the sync's own holds for them too."""
    check(999, usual=5, most=None)
    with pytest.raises(ConfirmationNeeded, match="are 10 times the usual 5"):
        check(1000, usual=5, most=None)
    with pytest.raises(ConfirmationNeeded, match="max_events_per_run"):
        check(999, usual=5, most=998)


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (5000, "and 2,000 are 10 times the usual 200"),
        (1500, r"and 1,500 delivery\.max_events_per_run allows"),
    ],
)
def test_of_two_limits_the_smaller_one_holds(most: int, words: str) -> None:
    """What is usual, and what a person allowed."""
    with pytest.raises(ConfirmationNeeded, match=words):
        check(6000, usual=200, most=most)
