"""One run a partition: a lock that dies with the process that holds it."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from lago_pipeline.errors import PartitionLocked
from lago_pipeline.ledger.database import ledger_errors, ledger_folder
from lago_pipeline.partition import Partition

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
_APPLICATION = "lago-pipeline "


@contextmanager
def partition_lock(
    engine: sa.Engine,
    sync_id: int,
    partition: Partition,
    run_id: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[sa.Connection | None]:
    """Hold a partition against other runs; waits for its holder, then raises PartitionLocked with its run id.

    On SQLite the lock is a file beside the ledger. On PostgreSQL it belongs to the session of the connection
    that is given: what is written there is written only while the lock is held.
    """
    folder = ledger_folder(engine)
    held = _file_lock(folder, sync_id, partition) if folder else _advisory_lock(engine, sync_id, partition)
    with held as (try_lock, holder, connection):
        deadline = clock() + wait_seconds
        while not try_lock(run_id):
            if clock() >= deadline:
                raise PartitionLocked(
                    f"partition {partition.key} is being delivered by run {holder()}: wait for it, or stop it"
                )
            sleep(_POLL_SECONDS)
        yield connection


_Lock = tuple[Callable[[str], bool], Callable[[], str], sa.Connection | None]


@contextmanager
def _file_lock(folder: Path, sync_id: int, partition: Partition) -> Iterator[_Lock]:
    path = folder / "locks" / f"{sync_id}-{partition.start_ms}.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        yield partial(_flock, file), (lambda: path.read_text(encoding="utf-8") or "unknown"), None


def _flock(file: IO[str], run_id: str) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.truncate(0)
    file.write(run_id)
    file.flush()
    return True


@contextmanager
def _advisory_lock(engine: sa.Engine, sync_id: int, partition: Partition) -> Iterator[_Lock]:
    name = f"lago-pipeline:{sync_id}:{partition.start_ms}".encode()
    key = int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)
    with ledger_errors(), engine.connect() as connection:
        try:
            try_lock = partial(_try_advisory, connection, key)
            yield try_lock, partial(_holder, connection, key), connection
        finally:
            connection.invalidate()  # closes the session, and with it the lock


def _try_advisory(connection: sa.Connection, key: int, run_id: str) -> bool:
    with connection.begin():
        locked = connection.execute(sa.text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar_one()
        if locked:
            name = {"name": f"{_APPLICATION}{run_id}"[:63]}
            connection.execute(sa.text("select set_config('application_name', :name, false)"), name)
    return bool(locked)


def _holder(connection: sa.Connection, key: int) -> str:
    with connection.begin():
        found = connection.execute(
            sa.text(
                "select a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid "
                "where l.locktype = 'advisory' and l.granted "
                "and l.database = (select oid from pg_database where datname = current_database()) "
                "and (l.classid::bigint << 32) + l.objid::bigint = :key"
            ),
            {"key": key},
        ).scalar()
    return str(found).removeprefix(_APPLICATION) if found else "unknown"
