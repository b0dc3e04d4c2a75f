"""Opening the ledger: its engine, its durability, and its schema brought up to date."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from lago_pipeline.errors import ConfigError, RetriableError

SCHEMA_VERSION = "0002"
_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 4_210_386_115
_BUSY_SECONDS = 60
_CACHED_STATEMENTS = 16
"""One that writes a thousand lines takes a megabyte."""
_READ_ONLY = "lago_pipeline_read_only"


def open_ledger(url: str) -> sa.Engine:
    """The engine of a ledger whose schema is current; creates a SQLite file where there is none.

    Raises ConfigError for a URL that is neither SQLite nor PostgreSQL, and for a ledger newer than this
    package; RetriableError when it cannot be reached.
    """
    engine = _engine(url)
    with ExitStack() as stack, ledger_errors():
        stack.callback(engine.dispose)
        if _version(engine) != SCHEMA_VERSION:
            _migrate(engine)
        stack.pop_all()
    return engine


@contextmanager
def ledger_errors() -> Iterator[None]:
    """Turn a driver's error into a RetriableError of one line."""
    try:
        yield
    except DBAPIError as error:
        words = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise RetriableError(f"the ledger could not be used: {words[0]}") from error


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that only reads, so that on SQLite it never waits for a writer."""
    with ledger_errors(), engine.execution_options(**{_READ_ONLY: True}).connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction that is committed at the end, or rolled back on an error."""
    with ledger_errors(), engine.begin() as connection:
        yield connection


def ledger_folder(engine: sa.Engine) -> Path | None:
    """The folder of a SQLite ledger, where its locks lie; None for PostgreSQL."""
    return Path(str(engine.url.database)).parent if engine.dialect.name == "sqlite" else None


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
            return _sqlite(parsed)
        if backend == "postgresql":
            return sa.create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise ConfigError("LEDGER_URL is no SQLAlchemy URL: write sqlite:///file or postgresql://…") from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the ledger's driver {error.name} is not installed: pip install 'lago-pipeline[postgres]'"
        ) from None
    raise ConfigError(f"the ledger cannot live in {backend}: use a SQLite file or PostgreSQL")


def _sqlite(url: sa.URL) -> sa.Engine:
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the ledger's folder cannot be made: {error.strerror}") from error
    connect_args = {"timeout": _BUSY_SECONDS, "cached_statements": _CACHED_STATEMENTS}
    engine = sa.create_engine(url, connect_args=connect_args)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own type
        connection.isolation_level = None  # transactions begin below, not in the driver
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = full")  # a settled event survives a power cut
        # row keys come in no order: more of a large ledger's index in memory settles a tenth faster at most
        cursor.execute("pragma cache_size = -16384")
        cursor.execute("pragma wal_autocheckpoint = 16384")
        cursor.close()

    @sa.event.listens_for(engine, "invalidate")
    def _let_go(connection: Any, *_: object) -> None:  # noqa: ANN401 - the driver's own type
        connection.rollback()  # a connection that Ctrl-C cut off must not keep the write lock

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("begin" if reads else "begin immediate")

    return engine


def _version(engine: sa.Engine) -> str | None:
    with reading(engine) as connection:
        if not sa.inspect(connection).has_table("lago_pipeline_version"):
            return None
        found = connection.exec_driver_sql("select version_num from lago_pipeline_version").scalar()
    version = str(found) if found else None
    if version and version > SCHEMA_VERSION:
        raise ConfigError(
            f"the ledger has schema {version}, newer than this lago-pipeline: upgrade the package"
        )
    return version


def _migrate(engine: sa.Engine) -> None:
    """Run the missing steps, one process at a time."""
    from alembic import command  # a tenth of a second, needed only once
    from alembic.config import Config

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
