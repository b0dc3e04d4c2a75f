"""The Dagster instance of a command, whose SQLite event log is kept open while the command runs."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    import dagster as dg

_BUSY_SECONDS = 60


@contextmanager
def opened_instance() -> Iterator["dg.DagsterInstance"]:
    """The instance of $DAGSTER_HOME, so that the UI shows the runs; without one, a passing instance."""
    import dagster as dg

    is_kept = bool(os.environ.get("DAGSTER_HOME"))
    with (
        dg.DagsterInstance.get() if is_kept else dg.DagsterInstance.ephemeral() as instance,
        _kept_open(instance.event_log_storage),
    ):
        yield instance


@contextmanager
def _kept_open(storage: Any) -> Iterator[None]:  # noqa: ANN401 - Dagster's own, without a public type
    """Reuse connections to Dagster's SQLite event log.

    Dagster opens the file anew for each event, which takes half the time of a year of small partitions. A
    storage of another kind, or of a Dagster that does this otherwise, is left as it is.
    """
    connect, lock = getattr(storage, "_connect", None), getattr(storage, "_db_lock", None)
    if type(storage).__name__ != "SqliteEventLogStorage" or connect is None or lock is None:
        yield
        return
    with ExitStack() as stack:
        engines: dict[str, sa.Engine] = {}

        def engine_of(shard: str) -> sa.Engine:
            if shard not in engines:
                with connect(shard):
                    """Dagster makes the file and its tables."""
                engines[shard] = sa.create_engine(
                    storage.conn_string_for_shard(shard), connect_args={"timeout": _BUSY_SECONDS}
                )
                stack.callback(engines[shard].dispose)
            return engines[shard]

        @contextmanager
        def kept(shard: str) -> Iterator[sa.Connection]:
            engine = engine_of(shard)
            with lock, engine.begin() as connection:
                yield connection

        storage._connect = kept  # noqa: SLF001 - the one place where Dagster opens the file
        stack.callback(setattr, storage, "_connect", connect)
        yield
