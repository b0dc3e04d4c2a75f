"""What differs between databases: how a time column is stored and how a session is prepared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.source.window import TimeKind

_POSTGRES_KINDS = {
    1184: TimeKind.AWARE,  # timestamptz
    1114: TimeKind.NAIVE,  # timestamp
    1082: TimeKind.NAIVE,  # date
    **dict.fromkeys((20, 21, 23, 700, 701, 1700), TimeKind.EPOCH),  # whole, real and exact numbers
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database: `time_kind` reads a column's kind from the cursor's type code, without fetching a row.

    `prepare` is SQL run at the start of a session, with the source's time zone as `:zone`.
    """

    time_kind: Callable[[object], TimeKind | None]
    prepare: str | None = None


DIALECTS: Mapping[str, Dialect] = {
    "sqlite": Dialect(time_kind=lambda _: TimeKind.SQLITE),
    "postgresql": Dialect(
        time_kind=lambda code: _POSTGRES_KINDS.get(code) if isinstance(code, int) else None,
        # so that casts between naive and aware in a user's query mean the source's zone, not the server's,
        # and the driver can read dates, intervals and any character
        prepare="select set_config('TimeZone', :zone, true), set_config('DateStyle', 'ISO', true), "
        "set_config('IntervalStyle', 'postgres', true), set_config('client_encoding', 'UTF8', true)",
    ),
}


def dialect_of(engine: sa.Engine) -> Dialect:
    """The dialect of an engine; raises ConfigError for a database that has none here yet."""
    dialect = DIALECTS.get(engine.dialect.name)
    if dialect is None:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"{engine.dialect.name} is not a supported source: use one of {known}")
    return dialect
