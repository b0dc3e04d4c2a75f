"""Seeds the demo's warehouse: a SQLite file with four weeks of usage, the same on every machine."""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from lago_pipeline.demo.active_seats import active_seats
from lago_pipeline.demo.api_requests import api_requests_of
from lago_pipeline.demo.planted import IDENTICAL_TWINS, PLANTED, Planted
from lago_pipeline.demo.rows import DAYS, FIRST_DAY, LAST_DAY, ApiRequest, SeatEvent
from lago_pipeline.errors import ConfigError

__all__ = ["FIRST_DAY", "LAST_DAY", "PLANTED", "SEED_VERSION", "Planted", "SeedSummary", "seed"]

Row = TypeVar("Row", ApiRequest, SeatEvent)

SEED_VERSION = 1  # raise it whenever the data changes: files of another version are made anew
_APPLICATION_ID = 0x4C41474F  # "LAGO" in the file's header: this file is ours to replace
_SEED = f"lago-pipeline demo {SEED_VERSION}"

# No primary keys: the planted mistakes are what a real warehouse lets in.
_TABLES = """
create table api_requests (
    request_id text, requested_at text, loaded_at text, subscription_id text,
    requests integer, weight text, region text, endpoint text
);
create table active_seats (
    seat_event_id integer, seen_at text, subscription_id text, seat text, operation text, team text
);
"""
_INDEXES = """
create index api_requests_requested_at on api_requests (requested_at);
create index api_requests_loaded_at on api_requests (loaded_at);
create index active_seats_seen_at on active_seats (seen_at);
"""


@dataclass(frozen=True, slots=True)
class SeedSummary:
    """What the warehouse holds: rows by table, the number of days, the planted mistakes.

    `created` is False when the file was there already; its rows are counted as they are now.
    """

    created: bool
    rows: Mapping[str, int]
    days: int
    planted: tuple[Planted, ...]


def seed(path: Path) -> SeedSummary:
    """Create the warehouse, unless it is there in this version; raises ConfigError over another's file."""
    created = not _is_current(path)
    if created:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _written_aside(path) as aside:
            _fill(aside)
    return SeedSummary(created=created, rows=_count(path), days=len(DAYS), planted=PLANTED)


def _is_current(path: Path) -> bool:
    """Tell whether the file holds this version's data; refuse a file that no seed made."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            application_id = database.execute("pragma application_id").fetchone()[0]
            version = database.execute("pragma user_version").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{path} cannot be opened as the demo warehouse: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _not_ours(path) from error
    if application_id != _APPLICATION_ID:
        raise _not_ours(path)
    return bool(version == SEED_VERSION)


def _not_ours(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} exists and is not a demo warehouse, so it is left alone: choose another path or remove it"
    )


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    """Give a path beside the target that takes its place when the block ends well and vanishes otherwise."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        yield aside
        # SQLite would replay a log that a crashed user of the old file left behind into the new one.
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    """Write all tables; without a journal, since the file is thrown away when anything fails."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = off")
        database.executescript(_TABLES)
        _insert(database, "api_requests", _api_requests())
        _insert(database, "active_seats", _seat_events())
        database.commit()
        database.executescript(_INDEXES)
        database.execute(f"pragma application_id = {_APPLICATION_ID}")
        database.execute(f"pragma user_version = {SEED_VERSION}")


def _api_requests() -> Iterator[ApiRequest]:
    """Yield every row of the table, the planted ones last."""
    good = chain.from_iterable(api_requests_of(day, _SEED) for day in DAYS)
    return chain(good, IDENTICAL_TWINS, _planted_rows(ApiRequest))


def _seat_events() -> Iterator[SeatEvent]:
    """Yield every row of the table, the planted ones last."""
    return chain(active_seats(_SEED), _planted_rows(SeatEvent))


def _planted_rows(kind: type[Row]) -> Iterator[Row]:
    return (row for planted in PLANTED for row in planted.rows if isinstance(row, kind))


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    columns = [column[1] for column in database.execute(f"pragma table_info({table})")]
    database.executemany(f"insert into {table} values ({', '.join('?' * len(columns))})", rows)


def _count(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as database:
        tables = ("api_requests", "active_seats")
        return {table: database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}
