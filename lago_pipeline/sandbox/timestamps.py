"""Event timestamps: Lago's `Time.zone.at(BigDecimal(x.to_s))`, in whole microseconds since the epoch.

Source: Lago's `events/create_service.rb` and `create_batch_service.rb`; times print as `iso8601(3)`.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR
from functools import lru_cache

from lago_pipeline.sandbox.answers import crashed
from lago_pipeline.sandbox.numbers import EXACT, float_text, strict

_USUAL = re.compile(r"(\d{1,11})(?:\.(\d{1,6}))?", re.ASCII)
_CYCLE_DAYS = 146_097  # of 400 Gregorian years
_WIDE = 30  # powers of ten of seconds that are not worth computing

LIMIT_US = (2**63 - 1) // 1000 * 1000
"""Where this sandbox's time ends, a little before PostgreSQL's; what lies beyond is this moment."""


class InvalidFormatError(ValueError):
    """Lago answers `{"timestamp": ["invalid_format"]}`."""


def parse(value: object, now_us: int) -> int:
    """Read a timestamp in Unix seconds; null, false and things that are no scalar mean now.

    Milliseconds are taken as seconds, thousands of years from now. Sub-microseconds are cut off.
    """
    if type(value) is str:
        usual = _USUAL.fullmatch(value)
        return int(usual[1] + (usual[2] or "").ljust(6, "0")) if usual else _exact(value)
    if type(value) is int:
        return _within(value * 1_000_000)
    if value is None or value is False or isinstance(value, dict | list):
        return now_us
    return _exact(float_text(value) if isinstance(value, float) else "true")


def _exact(text: str) -> int:
    number = strict(text)
    if number is None:
        raise InvalidFormatError(text)
    if not number.is_finite():
        raise crashed()  # FloatDomainError
    if number.adjusted() > _WIDE:
        return LIMIT_US if number > 0 else -LIMIT_US
    return _within(int(EXACT.scaleb(number, 6).to_integral_value(rounding=ROUND_FLOOR)))


def _within(timestamp_us: int) -> int:
    return max(-LIMIT_US, min(timestamp_us, LIMIT_US))


def iso_ms(timestamp_us: int) -> str:
    """Print as `iso8601(3)`, for any year: "2022-04-29T08:59:51.123Z"."""
    minute, ms = divmod(timestamp_us // 1000, 60_000)
    return f"{_minute_text(minute)}{ms // 1000:02}.{ms % 1000:03}Z"


def iso_seconds(timestamp_us: int) -> str:
    """Print as `iso8601`: "2022-04-29T08:59:51Z"."""
    return f"{iso_ms(timestamp_us)[:-5]}Z"


def from_iso(text: str) -> int | None:
    """Read an ISO 8601 date or datetime (Lago: `DateTime.iso8601`); without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _minute_text(minute: int) -> str:
    """Reckon in cycles of 400 years, because Python's calendar ends with 9999 and Lago's does not."""
    day, minute = divmod(minute, 24 * 60)
    cycles, rest = divmod(day, _CYCLE_DAYS)
    within = date(1970, 1, 1) + timedelta(days=rest)
    year = within.year + 400 * cycles
    return f"{year:04}-{within.month:02}-{within.day:02}T{minute // 60:02}:{minute % 60:02}:"
