"""The engine for a source: checked URL, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.source.dialects import Dialect, Fault, dialect_named

_STOPPED_REMEDY = "raise its statement time-out, index the time column, or take smaller partitions"


def warehouse_engine(url: str) -> sa.Engine:
    """A SQLAlchemy engine for a source; raises ConfigError for a wrong URL or a missing driver or file."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError, and may be a password
        raise _no_url() from None
    dialect = dialect_named(parsed.get_backend_name())
    try:
        engine = sa.create_engine(dialect.url(parsed), pool_pre_ping=True)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise ConfigError(
            f"the driver {parsed.drivername} of the warehouse is not installed{_remedy(dialect)}"
        ) from None
    except (ArgumentError, ValueError):
        raise _no_url() from None
    if engine.dialect.is_async:
        raise ConfigError(f"the warehouse's driver {parsed.drivername} is asynchronous: use another")
    return engine


def _no_url() -> ConfigError:
    return ConfigError("the warehouse URL is no SQLAlchemy URL: write dialect://user:password@host/database")


def _remedy(dialect: Dialect) -> str:
    if dialect.extra is None:
        return ""
    return f": pip install 'lago-pipeline[{dialect.extra}]' and write {dialect.driver}://…"


@contextmanager
def source_errors(engine: sa.Engine, what: str) -> Iterator[None]:
    """Turn a driver's error into ours: retriable when time may mend it, else configuration.

    `what` names the sync and the step, for the message.
    """
    try:
        yield
    except DBAPIError as error:
        fault = _fault(error, dialect_named(engine.dialect.name))
        words = f"{what}: {fault.value}: {_words(error.orig)}"
        if fault in (Fault.ACCESS, Fault.QUERY):
            raise ConfigError(words) from error
        raise RetriableError(f"{words}: {_STOPPED_REMEDY}" if fault is Fault.STOPPED else words) from error
    except SQLAlchemyError as error:
        raise ConfigError(f"{what}: {str(error).splitlines()[0]}") from error


def _fault(error: DBAPIError, dialect: Dialect) -> Fault:
    """What the dialect reads in an error; else an operational one is the connection's, others the query's."""
    found = dialect.fault(error.orig) if error.orig else None
    if found is not None:
        return found
    is_operational = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return Fault.CONNECTION if is_operational else Fault.QUERY


def _words(error: BaseException | None) -> str:
    """The driver's first line; MySQL's come with a number before them."""
    match getattr(error, "args", ()):
        case (int() as code, str() as words, *_):
            first = f"{words} ({code})"
        case _:
            first = str(error)
    return (first.strip().splitlines() or [type(error).__name__])[0]
