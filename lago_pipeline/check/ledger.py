"""The checks of the ledger, which is only read: no file and no table is made."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from lago_pipeline.check.environment import unwritable
from lago_pipeline.check.finding import Check, Level, Need, Told
from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.database import SCHEMA_VERSION, reading
from lago_pipeline.ledger.identity import usage_of
from lago_pipeline.ledger.registry import find
from lago_pipeline.sync import Sync

_VERSION_TABLE = "lago_pipeline_version"
_ORGANIZATION = sa.text("select organization_id from destinations where name = :name")
_NAMES = sa.text(
    "select s.name, s.transaction_id_prefix as prefix from syncs s "
    "join destinations d on d.id = s.destination_id where d.name = :name order by s.id"
)
_TWINS = sa.text(
    "select s.name, s.transaction_id_prefix as prefix from syncs s join destinations d "
    "on d.id = s.destination_id where d.name = :name and s.source = :source and s.code = :code order by s.id"
)


@dataclass(frozen=True)
class Ledger:
    """A ledger by its URL, seen without changing it; it stays open until `stack` is closed."""

    url: str
    stack: ExitStack
    name: str = "ledger"
    needs: Sequence[Need] = ()
    neighbours: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def parsed(self) -> sa.URL:
        """The URL; raises ConfigError for one that names neither SQLite nor PostgreSQL."""
        try:
            parsed = sa.make_url(self.url)
        except (ArgumentError, ValueError):  # a port that is no number is a ValueError, and may be a password
            raise ConfigError("LEDGER_URL is no SQLAlchemy URL") from None
        backend = parsed.get_backend_name()
        if backend not in {"sqlite", "postgresql"} or (backend == "sqlite" and self._is_memory(parsed)):
            raise ConfigError(f"the ledger cannot live in {backend}{' memory' * self._is_memory(parsed)}")
        return parsed

    @property
    def file(self) -> Path | None:
        """The file of a ledger on SQLite."""
        is_sqlite = self.parsed.get_backend_name() == "sqlite"
        return Path(str(self.parsed.database)).absolute() if is_sqlite else None

    @cached_property
    def engine(self) -> sa.Engine | None:
        """An engine that makes nothing; None where the SQLite file is not there yet."""
        if self.file is not None and not self.file.exists():
            return None
        try:
            engine = sa.create_engine(_without_creating(self.parsed, self.file))
        except ModuleNotFoundError as error:
            raise ConfigError(f"the ledger's driver {error.name} is not installed") from None
        self.stack.callback(engine.dispose)
        return engine

    @cached_property
    def version(self) -> str | None:
        """The schema's version; None where there is no ledger yet."""
        if self.engine is None:
            return None
        with reading(self.engine) as connection:
            if not sa.inspect(connection).has_table(_VERSION_TABLE):
                return None
            found = connection.execute(sa.text(f"select version_num from {_VERSION_TABLE}")).scalar()
        return str(found) if found else None

    def knows(self, sync: Sync) -> bool:
        """Whether a run has recorded a sync, under this name or an earlier one."""
        if self.engine is None or self.version != SCHEMA_VERSION:
            return self.prefix_of(sync) is not None
        return find(self.engine, sync) is not None

    def twin_of(self, sync: Sync) -> tuple[str, str] | None:
        """Name and prefix of a sync that the ledger knows to bill the same usage, where it knows usages."""
        usage = usage_of(sync)
        if self.engine is None or self.version != SCHEMA_VERSION or not usage.is_known:
            return None
        values = {"name": sync.destination, "source": usage.source, "code": usage.code}
        with reading(self.engine) as connection:
            found = connection.execute(_TWINS, values).first()
        return (str(found.name), str(found.prefix)) if found else None

    def names(self, destination: str) -> Mapping[str, str]:
        """The transaction id prefixes of a destination's syncs by name."""
        if self.version is None or self.engine is None:
            return {}
        with reading(self.engine) as connection:
            found = connection.execute(_NAMES, {"name": destination})
            return {str(row.name): str(row.prefix) for row in found}

    def organization_of(self, destination: str) -> str | None:
        """The organization that the ledger belongs to, where a run has recorded it."""
        if self.version is None or self.engine is None:
            return None
        with reading(self.engine) as connection:
            found = connection.execute(_ORGANIZATION, {"name": destination}).scalar()
        return None if found is None else str(found)

    def prefix_of(self, sync: Sync) -> str | None:
        """The transaction id prefix that a sync had, where a run has recorded it."""
        return self.names(sync.destination).get(sync.name)

    @staticmethod
    def _is_memory(parsed: sa.URL) -> bool:
        return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def _without_creating(parsed: sa.URL, file: Path | None) -> sa.URL:
    """SQLite's `rw` makes no file, and unlike `ro` leaves none of its own beside one that is there."""
    if file is None:
        return parsed
    return sa.URL.create(
        parsed.drivername, database=f"file:{quote(str(file))}", query={"mode": "rw", "uri": "true"}
    )


def _reachable(ledger: Ledger) -> Iterable[Told]:
    file, backend = ledger.file, ledger.parsed.get_backend_name()
    if file is not None and (problem := _unwritable_file(file)):
        yield Told(problem, Level.ERROR, "set LEDGER_URL to a file in a folder that this user may write")
    elif ledger.engine is None:
        yield Told(f"will be created in {file.parent if file else backend}")
    else:
        with reading(ledger.engine) as connection:  # a file that is no database fails at its first table
            sa.inspect(connection).has_table(_VERSION_TABLE)
        yield Told(f"{backend} answers")


def _unwritable_file(file: Path) -> str | None:
    if file.is_dir():
        return f"{file} is a folder"
    if file.exists() and not os.access(file, os.W_OK):
        return f"{file} cannot be written"
    return unwritable(file.parent)


def _schema(ledger: Ledger) -> Iterable[Told]:
    version = ledger.version
    if version is None:
        yield Told(f"{SCHEMA_VERSION} will be made by the first run")
    elif version > SCHEMA_VERSION:
        says = f"{version} is newer than this lago-pipeline, which knows {SCHEMA_VERSION}"
        yield Told(says, Level.ERROR, "upgrade the package: pip install --upgrade lago-pipeline")
    elif version < SCHEMA_VERSION:
        yield Told(f"{version} will be upgraded to {SCHEMA_VERSION} by the next run")
    else:
        yield Told(f"{version} is current")


_REMEDY = "set LEDGER_URL to a sqlite:/// or postgresql+psycopg:// URL that this machine may reach"

LEDGER_CHECKS = (
    Check("reachable", _reachable, remedy=_REMEDY),
    Check("schema", _schema, needs=("reachable",), remedy="is LEDGER_URL the URL of a ledger?"),
)
