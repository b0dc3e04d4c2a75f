"""The rows of the demo warehouse's two tables: field names are column names, in the tables' order."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import NamedTuple

from lago_pipeline.demo.customers import Clock

FIRST_DAY = date(2026, 9, 1)
LAST_DAY = date(2026, 9, 28)
DAYS = tuple(FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1))

_BERLIN_IN_SUMMER = timezone(timedelta(hours=2))


class ApiRequest(NamedTuple):
    """One row of `api_requests`: `requests` calls of one endpoint, each counting `weight` units."""

    request_id: str | None
    requested_at: str
    loaded_at: str
    subscription_id: str | None
    requests: int
    weight: str | None
    region: str | None
    endpoint: str


class SeatEvent(NamedTuple):
    """One row of `active_seats`: a seat was used (`add`) or given back (`remove`)."""

    seat_event_id: int
    seen_at: str
    subscription_id: str
    seat: str
    operation: str
    team: str | None


def moment(day: date, milliseconds: int) -> datetime:
    """Return the instant that many milliseconds after the day's midnight in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def spelled(at: datetime, clock: Clock = "plain") -> str:
    """Write an instant in UTC the way a gateway's clock does, to the millisecond."""
    if clock == "berlin":
        return at.astimezone(_BERLIN_IN_SUMMER).isoformat("T", "milliseconds")
    text = at.isoformat(" ", "milliseconds").removesuffix("+00:00")
    return text.replace(" ", "T") + "Z" if clock == "zulu" else text
