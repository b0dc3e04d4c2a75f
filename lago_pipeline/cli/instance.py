"""The Dagster instance of a command: its SQLite event log is kept open, and output stays in the terminal."""

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
        _without_capture() if is_kept else dg.DagsterInstance.ephemeral() as instance,
        _kept_open(instance.event_log_storage),
    ):
        yield instance


@contextmanager
def _without_capture() -> Iterator["dg.DagsterInstance"]:
    """The instance of $DAGSTER_HOME, which leaves what a step prints in the terminal.

    Capturing it for the UI starts four processes a run; what a run has to tell is in its events.
    """
    import dagster as dg
    from dagster._serdes.config_class import ConfigurableClassData

    uncaptured = ConfigurableClassData(
        "dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager", "{}"
    )
    with dg.DagsterInstance.get() as instance:
        reference = instance.get_ref()
    with dg.DagsterInstance.from_ref(reference._replace(compute_logs_data=uncaptured)) as instance:
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
                engines[shard] = _event_log_engine(storage.conn_string_for_shard(shard))
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


def _event_log_engine(url: str) -> sa.Engine:
    """Does not wait for the disk at each event: a power cut may lose the last events, never the file."""
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own type
        connection.execute("pragma synchronous = normal")

    return engine
