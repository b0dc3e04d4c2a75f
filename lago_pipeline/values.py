"""Typed values as Lago reads them: exact text for properties, milliseconds for timestamps."""

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from uuid import UUID
from zoneinfo import ZoneInfo

from lago_pipeline.partition import epoch_ms
from lago_pipeline.refusals import ProblemError, Reason, shortened

MILLISECONDS_FROM = 100_000_000_000
"""A number of this size is epoch milliseconds: as seconds it would be the year 5138 (LAGO.md 1.2)."""

_NUMBER = re.compile(r"[+-]?(?:\d+(\.\d*)?|(\.\d+))([eE][+-]?\d+)?")
"""A whole number matches none of the groups."""
_MOST_DIGITS = 1000
_SURELY_SHORT = 3000
"""So many bits make fewer than a thousand digits."""
_CALENDAR = re.compile(r"\d{8}")
PLAUSIBLE_MS = range(946_684_800_000, 4_102_444_800_000)
"""The instants of 2000 up to 2100: usage at another time is a mistake."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A value of a type that has no place in an event; rendering it refuses the row."""

    type_name: str


def property_text(value: object) -> str | None:
    """A property as the string that Lago stores, or None where it must be left out.

    Lago sums the text of a property and ignores what is not a plain decimal (LAGO.md 1.8), so numbers are
    written in full. Raises ProblemError for NaN, infinity, bytes and unknown types.
    """
    if value is None or isinstance(value, str):
        return value
    return value_text(value)


def value_text(value: object) -> str:  # noqa: PLR0911 - one line a type
    """Any value as text: numbers as exact plain decimals, booleans in lower case, instants as ISO 8601."""
    match value:
        case None | str():
            return value or ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() | Decimal():
            return decimal_text(value)
        case datetime():
            return _iso(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return decimal_text(Decimal(value // timedelta(microseconds=1)) / 1_000_000)
        case dict() | list() | tuple():
            return json_text(value)
        case UUID() | IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
            return str(value)
        case _:
            raise ProblemError(Reason.UNSUPPORTED_VALUE, f"a value of type {_type_name(value)}")


def json_text(value: object) -> str:
    """Any value as compact JSON, with numbers as exact plain decimals."""
    match value:
        case dict():
            members = (f"{_json_string(str(key))}:{json_text(member)}" for key, member in value.items())
            return f"{{{','.join(members)}}}"
        case list() | tuple():
            return f"[{','.join(json_text(item) for item in value)}]"
        case None:
            return "null"
        case bool() | int() | float() | Decimal():
            return value_text(value)
        case _:
            return _json_string(value_text(value))


def is_storable(text: str) -> bool:
    """Whether Lago's database can store a text: jsonb knows no NUL, UTF-8 no half characters."""
    return "\x00" not in text and (
        text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
    )


def decimal_text(value: float | Decimal) -> str:
    """A number as an exact plain decimal, without exponent.

    Raises ProblemError for NaN, infinity and numbers of more than a thousand digits.
    """
    decimal = _decimal(value)
    text = str(decimal)
    return format(decimal, "f") if "E" in text else text


def number_text(value: float | Decimal) -> str:
    """A number, other than a boolean, as `value_text` writes it."""
    return str(value) if isinstance(value, int) else decimal_text(value)


def exact(value: object) -> object:
    """A float as the decimal that it prints as; anything else as it is."""
    return Decimal(repr(value)) if isinstance(value, float) and math.isfinite(value) else value


def number(value: object) -> int | Decimal:
    """The exact number a value is or spells; raises ProblemError where it is none."""
    match value:
        case str() if found := _NUMBER.fullmatch(value.strip()):
            exact = _decimal(found[0])
            return exact if found.lastindex else int(exact)
        case bool():
            raise ProblemError(Reason.NOT_A_NUMBER, str(value).lower())
        case int():
            if value.bit_length() > _SURELY_SHORT:
                _decimal(value)
            return value
        case float() | Decimal():
            return _decimal(value)
        case _:
            raise ProblemError(Reason.NOT_A_NUMBER, shortened(value))


def timestamp_ms(value: object, zone: ZoneInfo) -> int:
    """Epoch milliseconds of a timestamp, rounded down; one without a zone is in `zone`.

    Takes datetimes, dates, ISO 8601 text and epoch seconds. An ambiguous local time is the first one.
    Raises ProblemError for epoch milliseconds and anything else.
    """
    match value:
        case str():
            return _text_ms(value.strip(), zone)
        case datetime():
            return epoch_ms(value if value.tzinfo else value.replace(tzinfo=zone, fold=0))
        case date():
            return epoch_ms(datetime(value.year, value.month, value.day, tzinfo=zone))
        case bool() | None:
            raise ProblemError(Reason.INVALID_TIMESTAMP, shortened(value))
        case int() | float() | Decimal():
            return _seconds_ms(number(value))
        case _:
            raise ProblemError(Reason.INVALID_TIMESTAMP, f"a value of type {_type_name(value)}")


def plausible_timestamp_ms(value: object, zone: ZoneInfo) -> int:
    """As `timestamp_ms`, for an instant between 2000 and 2100."""
    instant = timestamp_ms(value, zone)
    if instant not in PLAUSIBLE_MS:
        raise ProblemError(Reason.INVALID_TIMESTAMP, f"{shortened(value)} is not between 2000 and 2100")
    return instant


def seconds_text(instant_ms: int) -> str:
    """Lago's spelling of an instant: epoch seconds with at most three decimals."""
    seconds, rest = divmod(instant_ms, 1000)
    return f"{seconds}.{rest:03d}" if rest else str(seconds)


def _text_ms(text: str, zone: ZoneInfo) -> int:
    has_dashes = text[4:5] == "-" == text[7:8]  # as no number has
    if not has_dashes and _NUMBER.fullmatch(text) and not _CALENDAR.fullmatch(text):
        return _seconds_ms(number(text))
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ProblemError(Reason.INVALID_TIMESTAMP, shortened(text)) from None
    return epoch_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=zone))


def _seconds_ms(seconds: int | Decimal) -> int:
    if not -MILLISECONDS_FROM < seconds < MILLISECONDS_FROM:
        detail = f"{str(seconds)[:40]} is epoch milliseconds, not seconds"
        raise ProblemError(Reason.TIMESTAMP_IN_MILLISECONDS, detail)
    return math.floor(Fraction(seconds) * 1000)


def _decimal(value: float | Decimal | str) -> Decimal:
    try:
        exact = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ProblemError(Reason.NOT_A_NUMBER, shortened(value)) from None
    if not exact.is_finite() or abs(exact.adjusted()) > _MOST_DIGITS:
        raise ProblemError(Reason.NOT_A_NUMBER, shortened(str(exact)))
    return exact


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    try:
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:  # such as 9999-12-31 west of Greenwich
        return value.isoformat()


def _json_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _type_name(value: object) -> str:
    return value.type_name if isinstance(value, Unsupported) else type(value).__name__
