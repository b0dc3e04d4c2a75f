"""Columns of stored rows in the forms that a compiled template takes, often without decoding anything.

A value that has no such form comes as `UNFIT`, which no template can put into an event.
"""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.spool.columns import column_letters, decode_column
from lago_pipeline.spool.parquet import column_values
from lago_pipeline.spool.rows import StoredRows
from lago_pipeline.values import PLAUSIBLE_MS, exact, property_text, seconds_text, timestamp_ms

UNFIT = object()

_ALREADY_TEXT = frozenset("siuDt")
"""Types that are stored as the text that a property has."""
_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?")
_DAY = 86_400_000
_LONGEST = 31 * _DAY
_Value = TypeVar("_Value")
Instants = NDArray[np.int64]
"""Epoch milliseconds."""


class Form(StrEnum):
    """How a column's values come to a compiled template."""

    VALUE = "value"
    """As the source gave them."""
    EXACT = "exact"
    """With floats as the decimals that they print as: what an expression reads."""
    TEXT = "text"
    """As properties, None for a null."""
    INSTANT = "instant"
    """As epoch milliseconds."""
    STAMP = "stamp"
    """As Lago's text for an instant."""


def column_in_form(rows: StoredRows, index: int, form: Form, zone: ZoneInfo) -> Sequence[object]:
    """The values of the column at `index`; `zone` is that of timestamps without one."""
    letters = column_letters(rows.types, index)
    stored = rows.texts[index]
    if form is Form.TEXT:
        quick = _stored_texts(stored, letters)
    elif form in (Form.INSTANT, Form.STAMP):
        quick = _plain_times(stored, letters, form, zone)
    else:
        quick = None
    return quick if quick is not None else _converted(rows, index, form, zone)


def _converted(rows: StoredRows, index: int, form: Form, zone: ZoneInfo) -> Sequence[object]:
    """As `column_in_form`, value by value."""
    values = decode_column(rows.texts[index], rows.types, index)
    match form:
        case Form.VALUE:
            return values
        case Form.EXACT:
            return [exact(value) for value in values] if "f" in column_letters(rows.types, index) else values
        case Form.TEXT:
            return [_fit(property_text, value) for value in values]
        case Form.INSTANT:
            return [_fit(timestamp_ms, value, zone) for value in values]
        case Form.STAMP:
            return [_fit(_stamp, value, zone) for value in values]


def _stored_texts(stored: Sequence[str | None], letters: set[str]) -> Sequence[object] | None:
    """The properties of a column whose stored text is, for most values, what a property has."""
    if letters <= _ALREADY_TEXT:
        return stored
    if letters == {"d"}:
        return [text if text is None or _is_plain(text) else _fit(_decimal_text, text) for text in stored]
    return None


def _plain_times(
    stored: Sequence[str | None], letters: set[str], form: Form, zone: ZoneInfo
) -> Sequence[object] | None:
    instants = _plain_instants(stored, letters, zone)
    if instants is None:
        return None
    return _stamps(instants) if form is Form.STAMP else instants.tolist()


def _plain_instants(texts: Sequence[str | None], letters: set[str], zone: ZoneInfo) -> Instants | None:
    """The milliseconds of times that are all written alike and in full, None where any is not.

    Only ISO 8601 as Python reads it too; times without a zone only while the clocks of `zone` stay as they
    are, from a day before the first to a day after the last.
    """
    if not letters <= {"s", "T"} or not letters or texts[0] is None or not _PLAIN_TIME.fullmatch(texts[0]):
        return None
    has_zone = texts[0][-1] == "Z" or texts[0][-6] in "+-"
    try:
        moments = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC" if has_zone else None))
        instants = moments.cast(pa.int64()).to_numpy() // 1000
    except (pa.ArrowInvalid, ValueError):
        return None
    return instants if has_zone else _without_offset(instants, zone)


def _without_offset(local: Instants, zone: ZoneInfo) -> Instants | None:
    first, last = int(local.min()), int(local.max())
    if first not in PLAUSIBLE_MS or last not in PLAUSIBLE_MS or last - first > _LONGEST:
        return None
    around = (first - _DAY, first, last, last + _DAY)
    offsets = {from_epoch_ms(moment).astimezone(zone).utcoffset() for moment in around}
    if len(offsets) > 1:
        return None
    return local - (offsets.pop() or timedelta(0)) // timedelta(milliseconds=1)


def _stamps(instants: Instants) -> list[str]:
    """`seconds_text` of all, for instants after 1970."""
    seconds = pa.array(instants // 1000).cast(pa.string())
    rest = instants % 1000
    parts = pc.utf8_lpad(pa.array(rest).cast(pa.string()), 3, "0")
    written = pc.if_else(pa.array(rest == 0), seconds, pc.binary_join_element_wise(seconds, parts, "."))
    return column_values(written)


def _stamp(value: object, zone: ZoneInfo) -> str:
    return seconds_text(timestamp_ms(value, zone))


def _is_plain(text: str) -> bool:
    """Whether a stored decimal is as short and plain as its property: no exponent, no NaN, no infinity."""
    return len(text) < 1000 and "E" not in text and "N" not in text and "I" not in text


def _decimal_text(text: str) -> str | None:
    return property_text(Decimal(text))


def _fit(convert: Callable[..., _Value], value: object, *arguments: object) -> _Value | object:
    try:
        return convert(value, *arguments)
    except (ValueError, ArithmeticError):
        return UNFIT
