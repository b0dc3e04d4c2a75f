"""Columns of stored rows in the forms that a compiled template takes, often without decoding anything.

A value that has no such form comes as `UNFIT`, which no template can put into an event.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import TypeVar
from zoneinfo import ZoneInfo

from lago_pipeline.spool.columns import column_letters, decode_column
from lago_pipeline.spool.rows import StoredRows
from lago_pipeline.values import property_text, timestamp_ms

UNFIT = object()

_ALREADY_TEXT = frozenset("siuDt")
"""Types that are stored as the text that a property has."""
_Value = TypeVar("_Value")


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


def column_in_form(rows: StoredRows, index: int, form: Form, zone: ZoneInfo) -> Sequence[object]:
    """The values of the column at `index`; `zone` is that of timestamps without one."""
    letters = column_letters(rows.types, index)
    texts = rows.texts[index]
    if form is Form.TEXT and letters <= _ALREADY_TEXT:
        return texts
    if form is Form.TEXT and letters == {"d"}:
        return [text if text is None or _is_plain(text) else _fit(_decimal_text, text) for text in texts]
    values = decode_column(texts, rows.types, index)
    match form:
        case Form.TEXT:
            return [_fit(property_text, value) for value in values]
        case Form.INSTANT:
            return [_fit(timestamp_ms, value, zone) for value in values]
        case Form.EXACT if "f" in letters:
            return [_exact(value) for value in values]
        case _:
            return values


def _is_plain(text: str) -> bool:
    """Whether a stored decimal is as short and plain as its property: no exponent, no NaN, no infinity."""
    return len(text) < 1000 and "E" not in text and "N" not in text and "I" not in text


def _decimal_text(text: str) -> str | None:
    return property_text(Decimal(text))


def _exact(value: object) -> object:
    return Decimal(repr(value)) if isinstance(value, float) and isfinite(value) else value


def _fit(convert: Callable[..., _Value], value: object, *arguments: object) -> _Value | object:
    try:
        return convert(value, *arguments)
    except (ValueError, ArithmeticError):
        return UNFIT
