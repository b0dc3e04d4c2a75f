"""What the ledger remembers for those who ask for runs, on SQLite and PostgreSQL."""

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lago_pipeline.ledger import asks
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.partitions import State, read_partition
from lago_pipeline.ledger.registry import activate
from lago_pipeline.partition import Partition
from lago_pipeline_tests.source.reading import usage_sync
from lago_pipeline_tests.watch.calendars import DAY_MS, Days

SYNC = usage_sync(table="usage")
MONTH = Days().within(20_000 * DAY_MS, 20_030 * DAY_MS)
DAY = MONTH[3]


def ask(engine: sa.Engine, partition: Partition = DAY, *, seen: int = 0, now: int = 1) -> bool:
    """Ask for a partition of the first sync."""
    sync_id = activate(engine, SYNC, 0).sync_id
    with writing(engine) as connection:
        return asks.ask(connection, sync_id, partition, seen, now)


def test_of_two_that_ask_at_once_one_is_told_to(ledger_engine: sa.Engine) -> None:
    """Both saw that nobody had asked; the second to write learns that somebody did."""
    assert [ask(ledger_engine), ask(ledger_engine)] == [True, False]
    assert [ask(ledger_engine, seen=1, now=2), ask(ledger_engine, seen=1, now=3)] == [True, False]
    with reading(ledger_engine) as connection:
        record = read_partition(connection, 1, DAY)
    assert record is not None
    assert (record.asks, record.asked_ms, record.state) == (2, 2, State.OPEN)


def test_a_change_opens_only_what_was_begun(ledger_engine: sa.Engine) -> None:
    """A closed partition is open again; one that was never begun stays unknown."""
    ask(ledger_engine)
    with writing(ledger_engine) as connection:
        connection.execute(sa.text("update partitions set state = 'closed'"))
        for day in (DAY, MONTH[4]):
            asks.mark_changed(connection, 1, day, 7)
        assert read_partition(connection, 1, MONTH[4]) is None
        record = read_partition(connection, 1, DAY)
    assert record is not None
    assert (record.state, record.changed_ms, record.next_attempt_ms) == (State.OPEN, 7, None)


def test_a_change_makes_an_unsettled_partition_due(ledger_engine: sa.Engine) -> None:
    """It stays red, and does not wait for its next attempt."""
    ask(ledger_engine)
    with writing(ledger_engine) as connection:
        connection.execute(sa.text("update partitions set state = 'unsettled', next_attempt_ms = 99"))
        asks.mark_changed(connection, 1, DAY, 7)
        record = read_partition(connection, 1, DAY)
    assert record is not None
    assert (record.state, record.next_attempt_ms) == (State.UNSETTLED, 7)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 29)), st.integers(0, 29), st.integers(1, 30))
def test_gaps_are_all_that_no_partition_covers(
    ledger_engine: sa.Engine, begun: set[int], first: int, days: int
) -> None:
    """Whatever was begun, the gaps of a span are its other days, in order and without overlap."""
    sync_id = activate(ledger_engine, SYNC, 0).sync_id
    from_ms, until_ms = MONTH[first].start_ms, MONTH[first].start_ms + days * DAY_MS
    with writing(ledger_engine) as connection:
        connection.execute(sa.text("delete from partitions"))
        for number in begun:
            asks.ask(connection, sync_id, MONTH[number], 0, 1)
        gaps = list(asks.read_gaps(connection, sync_id, from_ms, until_ms))
    found = [day.start_ms for start, end in gaps for day in Days().within(start, end)]
    every = range(from_ms, until_ms, DAY_MS)
    assert found == [start for start in every if start not in {MONTH[number].start_ms for number in begun}]
