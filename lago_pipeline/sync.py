"""What a person declares: one sync, from its source to its delivery, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Source:
    """Where usage rows come from: exactly one of `table` and `query` is set.

    `primary_key` identifies a row, `time_column` says when the usage happened. `timezone` is that of
    timestamps which carry none.
    """

    primary_key: tuple[str, ...]
    time_column: str
    table: str | None = None
    query: str | None = None
    timezone: ZoneInfo = UTC_ZONE
    updated_at_column: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How events are sent: batch size (events, Lago takes 100), requests in flight, pace and patience.

    A run that would send more than `max_events_per_run` events of a partition waits for a person.
    """

    batch_size: int = 100
    concurrency: int = 8
    requests_per_second: float | None = None
    max_attempts: int = 6
    max_events_per_run: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long spool files and the ledger's copies of properties are kept, in days."""

    spool_days: int = 7
    properties_days: int = 400


@dataclass(frozen=True, slots=True)
class Sync:
    """One source whose rows become events of one shape.

    `event` is the template: a mapping of Lago's event fields to Liquid, or the JSON text pasted from
    Hightouch. A partition closes once an extraction that began `closing_delay` after its end is settled.
    """

    name: str
    source: Source
    event: str | Mapping[str, object]
    transaction_id_prefix: str
    destination: str
    closing_delay: timedelta = timedelta(hours=1)
    delivery: Delivery = field(default_factory=Delivery)
    retention: Retention = field(default_factory=Retention)
