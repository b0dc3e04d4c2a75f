"""The attributes of a sync in YAML, with their descriptions, defaults and checks."""

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
from pydantic import Field, field_validator, model_validator

Names = str | list[str]
_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class SourceAttributes(dg.Model, dg.Resolvable):
    """Where usage rows come from."""

    table: str | None = Field(default=None, description="A table or view, with its schema if it needs one.")
    query: Annotated[str | None, dg.Resolver.passthrough()] = Field(
        default=None,
        description="A query, taken as it is. It is wrapped in the partition's window, unless it uses both "
        ":start and :end itself, as an aggregating query should.",
    )
    query_file: str | None = Field(default=None, description="A file with the query, beside this YAML file.")
    primary_key: Names = Field(description="The column, or columns, that identify a row for all time.")
    time_column: str = Field(
        min_length=1, description="When the usage happened: decides the partition and the event's timestamp."
    )
    timezone: str = Field(default="UTC", description="The time zone of timestamps that carry none.")
    updated_at_column: str | None = Field(
        default=None, description="When a row reached the warehouse: finds late and changed rows."
    )
    connection: str | None = Field(
        default=None, description="The key of another WarehouseResource of your project."
    )
    asset: Names | None = Field(
        default=None, description="The upstream Dagster asset, or assets, for the graph: team/table."
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return _zone(value)

    @field_validator("primary_key")
    @classmethod
    def _some_key(cls, value: Names) -> Names:
        names = [value] if isinstance(value, str) else value
        if not all(names) or not names or len(set(names)) != len(names):
            raise ValueError("primary_key needs at least one column, each named once")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> "SourceAttributes":
        given = [name for name in ("table", "query", "query_file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of table, query and query_file (given: {given or 'none'})")
        return self


def _resolved_day(context: dg.ResolutionContext, value: date | str) -> str:
    """A day, also one that YAML read as a date because it was not quoted."""
    return value.isoformat() if isinstance(value, date) else str(context.resolve_value(value))


class PartitionsAttributes(dg.Model, dg.Resolvable):
    """How usage is cut into partitions, each delivered and closed on its own."""

    start: Annotated[str, dg.Resolver(_resolved_day, model_field_type=date | str)] = Field(
        description="The first day, such as 2026-01-01."
    )
    cadence: Literal["daily", "hourly"] = Field(default="daily", description="The length of a partition.")
    timezone: str = Field(default="UTC", description="The time zone in which days begin.")
    closing_delay: str = Field(
        default="1h", description="How long after its end a partition still waits for rows: 90s, 30m, 1h, 2d."
    )
    per_run: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The most partitions in one run of a backfill: 7 days or 168 hours."
    )

    @field_validator("start")
    @classmethod
    def _known_day(cls, value: str) -> str:
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError(f"{value!r} is no day: write one such as 2026-01-01") from None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return _zone(value)

    @field_validator("closing_delay")
    @classmethod
    def _known_duration(cls, value: str) -> str:
        duration(value)
        return value


class DeliveryAttributes(dg.Model, dg.Resolvable):
    """How events are sent."""

    batch_size: int = Field(default=100, ge=1, le=100, description="Events a request; Lago takes up to 100.")
    concurrency: int = Field(default=8, ge=1, le=64, description="Requests in flight at once.")
    requests_per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="A limit; none by default."
    )
    max_attempts: int = Field(default=6, ge=1, description="Tries of a batch before it is left pending.")
    max_events_per_run: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="A run that would send more events of a partition stops until a person confirms it; none "
        "by default. One that would send ten times the usual number stops in any case.",
    )


class RetentionAttributes(dg.Model, dg.Resolvable):
    """How long copies are kept, in days."""

    spool_days: int = Field(default=7, ge=1, description="Spool files of rows and events.")
    properties_days: int = Field(
        default=400, ge=1, description="The ledger's copies of properties; not applied yet, all are kept."
    )


def duration(text: str) -> timedelta:
    """A length of time such as `90s`, `30m`, `1h` or `2d`; raises ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no length of time: write 90s, 30m, 1h or 2d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone: write one such as UTC or Europe/Berlin") from None
    return name


EventAttributes = Annotated[str | dict[str, Any], dg.Resolver.passthrough()]
