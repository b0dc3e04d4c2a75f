"""Comparing fingerprints without Dagster: which partitions come first, and what a slow source does."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.asks import ask
from lago_pipeline.ledger.database import open_ledger, reading, writing
from lago_pipeline.ledger.partitions import read_partitions_where
from lago_pipeline.ledger.registry import RegisteredSync, activate
from lago_pipeline.partition import Partition
from lago_pipeline.source.changed import ChangeReader
from lago_pipeline.watch.fingerprints import LOOK_SECONDS, find_changed_extents
from lago_pipeline_tests.source.reading import usage_sync
from lago_pipeline_tests.watch.calendars import DAY_MS, Days

SYNC = usage_sync(table="usage")
NOW = 20_000 * DAY_MS + DAY_MS // 2
Looked = list[str]


class Slow(ChangeReader):
    """A source whose every answer takes a while, and which forgot everything."""

    def __init__(self, seconds: float, *, fails: bool = False) -> None:
        self.now = 0.0
        self.looked: Looked = []
        self._seconds = seconds
        self._fails = fails

    @property
    def tells_updates(self) -> bool:
        """It does not."""
        return False

    def clock(self) -> float:
        """Seconds that have passed while it answered."""
        return self.now

    def fingerprint(self, partition: Partition) -> str:
        """Take a while."""
        self.looked.append(partition.key)
        self.now += self._seconds
        if self._fails:
            raise RetriableError("the source could not be read")
        return "0:-1"


@pytest.fixture
def ledger(sqlite_database: str) -> Iterator[sa.Engine]:
    """A ledger with 60 delivered days, the last of them a day ago."""
    engine = open_ledger(sqlite_database)
    known = activate(engine, SYNC, 0)
    with writing(engine) as connection:
        for day in Days().within(NOW - 61 * DAY_MS, NOW - DAY_MS):
            ask(connection, known.sync_id, day, 0, NOW - 2 * DAY_MS)
        connection.execute(sa.text("update partitions set source_fingerprint = '1:0', state = 'closed'"))
    yield engine
    engine.dispose()


def look(ledger: sa.Engine, reader: Slow, now_ms: int = NOW) -> list[str]:
    """One look; returns the days that changed."""
    known = RegisteredSync(1, 0)
    changed = find_changed_extents(ledger, known, reader, Days(), lambda: now_ms, clock=reader.clock)
    return [partition.key for partition in changed]


def test_a_slow_source_is_looked_at_in_pieces(ledger: sa.Engine) -> None:
    """When the time is up the look ends, and the next one goes on with the days not yet seen."""
    reader = Slow(LOOK_SECONDS / 20)
    found = [look(ledger, reader) for _ in range(4)]
    assert [len(days) for days in found] == [20, 20, 20, 0]
    assert len(set(reader.looked)) == len(reader.looked) == 60


def test_a_source_that_fails_is_not_asked_the_same_at_every_tick(ledger: sa.Engine) -> None:
    """A day whose query fails, or outlasts the sensor, waits its turn like any other."""
    reader = Slow(1, fails=True)
    for _ in range(3):
        with pytest.raises(RetriableError):
            look(ledger, reader)
    assert len(set(reader.looked)) == 3


def test_what_changed_is_open_again(ledger: sa.Engine) -> None:
    """The ledger says so before any run is asked for."""
    look(ledger, Slow(0))
    with reading(ledger) as connection:
        assert {record.state for record in read_partitions_where(connection, 1, "1 = 1")} == {"open"}
