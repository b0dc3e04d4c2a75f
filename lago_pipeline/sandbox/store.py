"""Events and resources in SQLite: one connection behind one lock, in a file or in memory."""

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from lago_pipeline.sandbox import schema
from lago_pipeline.sandbox.config import SandboxConfig, StoreName


class Event(NamedTuple):
    """What one accepted event says; `properties` is JSON text."""

    transaction_id: str | None
    code: str | None
    external_subscription_id: str | None
    timestamp_us: int
    precise_total_amount_cents: str | None
    properties: str


class StoredEvent(NamedTuple):
    """One row of the events table."""

    seq: int
    transaction_id: str | None
    code: str | None
    external_subscription_id: str | None
    timestamp_us: int
    precise_total_amount_cents: str | None
    properties: str
    created_us: int


class DuplicatesError(Exception):
    """The events at these indexes were there already."""

    def __init__(self, indexes: list[int]) -> None:
        super().__init__(indexes)
        self.indexes = indexes


class StateError(Exception):
    """A state file cannot be used; the message is one line that names it."""


class Store:
    """The state of one sandbox."""

    def __init__(self, config: SandboxConfig) -> None:
        self.kind: StoreName = config.store
        self.lag = config.lag
        self._lock = RLock()
        self._connection = _connect(config.state)
        try:
            self._connection.executescript(_PRAGMAS)
            self._prepare(config)
        except (StateError, sqlite3.Error) as problem:
            self.close()
            raise StateError(f"cannot keep state in {config.state}: {problem}") from problem

    def _prepare(self, config: SandboxConfig) -> None:
        kind = _kind(config)
        with self.transaction() as db:
            for statement in _statements(schema.TABLES):
                db.execute(statement)
            made_as = self._setting("store", kind)
            if made_as != kind:
                raise StateError(f"it holds a {made_as} store, not {kind}; name another file")
            for statement in _statements(schema.OF_STORE[kind]):
                db.execute(statement)
            self.organization_id = self._setting("organization_id", str(uuid.uuid4()))
            self._event_ids = self._setting("event_ids", _id_prefix())

    def close(self) -> None:
        """Close the database; a state in memory is gone."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for a group of statements that succeed or fail together."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Read everything that a query finds."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def count(self, sql: str, values: Sequence[object] = ()) -> int:
        """Read one number."""
        return int(str(self.rows(sql, values)[0][0]))

    def insert(self, events: Sequence[Event], created_us: int, *, partly: bool = False) -> int:
        """Store all of these events or none, and give the `seq` of the first; raises DuplicatesError.

        Lago: `insert_all ... on conflict do nothing`, rolled back when it left anything out, unless
        `partly` keeps what is new.
        """
        duplicates: list[int] = []
        with self.transaction() as db:
            first = self.count("select coalesce(max(seq), 0) + 1 from events")
            rows = [(seq, *event, created_us) for seq, event in enumerate(events, first)]
            stored = db.executemany(_INSERT, rows).rowcount
            if self.kind == "postgres":
                ids = {event.transaction_id for event in events}
                if stored < len(events) or len(ids) < len(events):
                    duplicates = self._duplicates(events, first)
            if duplicates and not partly:
                raise DuplicatesError(duplicates)
        if duplicates:
            raise DuplicatesError(duplicates)
        return first

    def _duplicates(self, events: Sequence[Event], first: int) -> list[int]:
        """Compare as Lago does, by transaction_id alone, with the rows that the insert did store.

        So one id for two subscriptions of a batch counts as a duplicate, though it is none.
        """
        inserted = {row[0] for row in self.rows("select transaction_id from events where seq >= ?", (first,))}
        found = []
        for index, event in enumerate(events):
            if event.transaction_id in inserted:
                inserted.remove(event.transaction_id)
            else:
                found.append(index)
        return found

    def event_id(self, seq: int) -> str:
        """Name a stored event as Lago's PostgreSQL would, by a UUID."""
        return f"{self._event_ids}{seq:012x}"

    def live(self) -> str:
        """The table of the events that were not deleted: all, and quicker to read, where none were."""
        return "live_events" if self.count("select exists (select 1 from deletions)") else "events"

    def events(self, clauses: str = "", values: Sequence[object] = ()) -> list[StoredEvent]:
        """Read events that were not deleted, raw copies included; `clauses` follow the table's name."""
        rows = self.rows(f"select * from {self.live()} {clauses}", values)
        return [StoredEvent(*row) for row in rows]  # type: ignore[arg-type] # sqlite3 types no columns

    def index_subscriptions(self) -> None:
        """Let the events of a subscription be found without a look at all others."""
        self.rows(schema.BY_SUBSCRIPTION)

    def delete_events(self, code: str) -> None:
        """Hide the events of a code that are stored by now; their ids stay taken."""
        with self.transaction() as db:
            db.execute(
                "insert or replace into deletions select ?, coalesce(max(seq), 0) from events", (code,)
            )

    def reset(self, *, catalog: bool) -> None:
        """Forget every event, and with `catalog` every metric, plan, customer and subscription."""
        with self.transaction() as db:
            db.execute("delete from events")
            db.execute("delete from deletions")
            db.execute("delete from settings where name = 'event_ids'")
            self._event_ids = self._setting("event_ids", _id_prefix())
            if catalog:
                db.execute("delete from resources")

    def _setting(self, name: str, default: str) -> str:
        """Read a setting, made on first use and kept with the state."""
        self._connection.execute("insert or ignore into settings values (?, ?)", (name, default))
        return str(self.rows("select value from settings where name = ?", (name,))[0][0])


# No fsync: a state file survives the end of the process, not that of the machine. Few checkpoints: ids
# in random order touch every page of an index again and again.
_PRAGMAS = """pragma journal_mode = wal; pragma synchronous = off;
pragma cache_size = -65536; pragma wal_autocheckpoint = 10000;"""
_INSERT = "insert into events values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing"


def _connect(state: Path | None) -> sqlite3.Connection:
    """Open the state for use under one lock, from the server's thread and from a test's."""
    try:
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(state or ":memory:", isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as problem:
        raise StateError(f"cannot keep state in {state}: {problem}") from problem


def _statements(script: str) -> list[str]:
    """Split a schema; `executescript` would commit the transaction around it."""
    return [statement for statement in script.split(";") if statement.strip()]


def _kind(config: SandboxConfig) -> str:
    if config.store == "postgres":
        return "postgres"
    return "clickhouse" if config.dedup else "clickhouse without dedup"


def _id_prefix() -> str:
    """A random UUID without its last twelve digits, which number the events."""
    return str(uuid.uuid4())[:24]
