"""The engine for a source: checked URL, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from lago_pipeline.errors import ConfigError, RetriableError

_EXTRAS = {"psycopg": "postgres", "psycopg2": "postgres"}


def warehouse_engine(url: str) -> sa.Engine:
    """A SQLAlchemy engine for a source; raises ConfigError for a wrong URL or a missing driver or file."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            _check_file(parsed)
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        hint = f": pip install 'lago-pipeline[{_EXTRAS[error.name]}]'" if error.name in _EXTRAS else ""
        raise ConfigError(f"the driver {error.name} of the warehouse is not installed{hint}") from None
    except NoSuchModuleError as error:
        raise ConfigError(f"the warehouse URL names an unknown database: {error}") from None
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError, and may be a password
        raise ConfigError(
            "the warehouse URL is no SQLAlchemy URL: write dialect://user:password@host/database"
        ) from None
    if engine.dialect.is_async:
        raise ConfigError(f"the warehouse's driver {parsed.drivername} is asynchronous: use another")
    return engine


@contextmanager
def source_errors(what: str) -> Iterator[None]:
    """Turn a driver's error into ours: retriable when the connection is at fault, else configuration.

    `what` names the sync and the step, for the message.
    """
    try:
        yield
    except DBAPIError as error:
        words = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
        if _is_refused(words):
            raise ConfigError(f"{what}: the source refused the connection: {words}") from error
        is_operational = isinstance(error, sa.exc.OperationalError) and not _is_missing(words)
        if error.connection_invalidated or is_operational:
            raise RetriableError(f"{what}: the source could not be read: {words}") from error
        raise ConfigError(f"{what}: the source refused the query: {words}") from error
    except SQLAlchemyError as error:
        raise ConfigError(f"{what}: {str(error).splitlines()[0]}") from error


def _is_refused(words: str) -> bool:
    """PostgreSQL's words for a wrong password, account or database: libpq gives no code for them."""
    signs = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in")
    return "FATAL: " in words and any(sign in words for sign in signs)


def _is_missing(words: str) -> bool:
    """SQLite reports a missing table or column, or undecodable text, as an operational error."""
    signs = ("no such", "syntax error", "ambiguous", "unrecognized", "could not decode", "incomplete input")
    return any(sign in words.lower() for sign in signs)


def _check_file(url: sa.URL) -> None:
    database = url.database
    if (
        database
        and database != ":memory:"
        and not database.startswith("file:")
        and not Path(database).is_file()
    ):
        raise ConfigError(f"the warehouse {database} does not exist: check the path in its URL")
