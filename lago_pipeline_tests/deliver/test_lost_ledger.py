"""A ledger that goes away in the middle of a run, and a clock that goes back."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from lago_pipeline.errors import FatalError, RetriableError
from lago_pipeline.instrumentation import BatchDetails, on_batch
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.ledger.lock import partition_lock
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline_tests.deliver.world import DAY, World, rows
from lago_pipeline_tests.postgres import PostgresServer, running_postgres

ROWS = 400
ALL = [f"k{number:05d}" for number in range(ROWS)]
_HOLDERS = "application_name like 'lago-pipeline %'"


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that no other test uses: it is restarted."""
    with running_postgres() as server:
        yield server


def ends_the_holders_session(server: PostgresServer) -> None:
    """As an administrator does, or a failover: the lock goes with it."""
    server.execute("postgres", f"select pg_terminate_backend(pid) from pg_stat_activity where {_HOLDERS}")


def restarts(server: PostgresServer) -> None:
    """As an upgrade does."""
    server.restart()


@pytest.mark.parametrize("trouble", [restarts, ends_the_holders_session])
def test_a_ledger_that_is_lost_in_the_middle_loses_and_doubles_nothing(
    world: World, own_server: PostgresServer, trouble: Callable[[PostgresServer], None]
) -> None:
    """The run ends in one line, since its lock may be another's now; the next one settles the rest."""
    batches = 0

    def strike(_: BatchDetails) -> None:
        nonlocal batches
        batches += 1
        if batches == 5:
            trouble(own_server)

    with own_server.fresh_database() as name:
        world.ledger.dispose()
        world.ledger = open_ledger(own_server.url(name))
        remove = on_batch(strike)
        with pytest.raises(RetriableError, match=r"^the (connection to the )?ledger ") as error:
            world.deliver(rows(range(ROWS)))
        remove()
        assert "\n" not in str(error.value)
        known = len(world.query("select 1 from lago_events where status = 'accepted'"))
        assert 0 < known < len(world.held())
        report = world.deliver()
        assert (report.is_settled, report.counts.unchanged, world.held()) == (True, known, ALL)
        world.ledger.dispose()


def test_a_clock_that_goes_back_loses_and_doubles_nothing(world: World) -> None:
    """What was read then seems older than what is settled: one line says so, until the clock is right."""
    later = DAY.end_ms + int(timedelta(hours=3).total_seconds() * 1000)
    world.now_ms = lambda: later
    world.deliver(rows(range(20)))
    world.now_ms = lambda: later - 3_600_000
    with pytest.raises(FatalError, match="clock was set back"):
        world.deliver(rows(range(30)))
    assert world.held() == ALL[:20]
    world.now_ms = lambda: later + 1
    report = world.deliver()
    assert (report.is_settled, report.counts.accepted, world.held()) == (True, 10, ALL[:30])


def test_a_run_that_lost_its_lock_writes_nothing_more(postgres_database: str) -> None:
    """Its session ended, so another run may hold the partition by now: no new session takes its place."""
    engine = open_ledger(postgres_database)
    with (
        partition_lock(engine, 1, DAY, "run") as connection,
        LedgerWriter(engine, connection) as writer,
    ):
        session = writer.now(lambda it: it.exec_driver_sql("select pg_backend_pid()").scalar_one())
        with engine.begin() as other:
            other.exec_driver_sql(f"select pg_terminate_backend({session}, 5000)")
        for _ in range(2):
            with pytest.raises(RetriableError):
                writer.now(lambda it: it.exec_driver_sql("create table written (n int)"))
        with engine.begin() as other:
            found = other.exec_driver_sql("select to_regclass('written') is null").scalar_one()
        assert found
    engine.dispose()
