"""Columns of stored rows in the forms that a compiled template takes, often without decoding anything."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lago_pipeline.arrow import column_values
from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.spool.columns import column_letters, decode_column
from lago_pipeline.spool.rows import StoredRows
from lago_pipeline.values import PLAUSIBLE_MS, exact, is_storable, property_text, timestamp_ms

_ALREADY_TEXT = frozenset("siuDt")
"""Types that are stored as the text that a property has."""
_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?")
_DAY = 86_400_000
_LONGEST = 31 * _DAY
_Value = TypeVar("_Value")
Instants = NDArray[np.int64]
"""Epoch milliseconds."""


class Form(StrEnum):
    """How a value comes to a template's expression."""

    VALUE = "value"
    """As the source gave it."""
    EXACT = "exact"
    """With floats as the decimals that they print as."""


class Inputs:
    """Columns of some rows in the forms that a compiled template takes.

    `zone` is that of timestamps without one. `left` marks the rows that have a value without such a form, or
    that a template cannot put into an event for another reason.
    """

    def __init__(self, rows: StoredRows, columns: Sequence[str], zone: ZoneInfo) -> None:
        self.rows = rows
        self.left: NDArray[np.bool_] = np.zeros(len(rows), np.bool_)
        self.columns = columns
        self._zone = zone

    def at(self, indexes: NDArray[np.int64]) -> Self:
        """Some of the rows."""
        return type(self)(self.rows.at(indexes), self.columns, self._zone)

    def values(self, column: str, form: Form) -> Sequence[object]:
        """A column's values, for expressions."""
        index = self.columns.index(column)
        values = decode_column(column_values(self.rows.texts[index]), self.rows.types, index)
        is_inexact = form is Form.EXACT and "f" in column_letters(self.rows.types, index)
        return [exact(value) for value in values] if is_inexact else values

    def texts(self, column: str) -> pa.StringArray:
        """A column as properties, null for a null."""
        index = self.columns.index(column)
        stored, letters = self.rows.texts[index], column_letters(self.rows.types, index)
        if letters <= _ALREADY_TEXT or (letters == {"d"} and _are_plain(stored)):
            return stored
        return self.encoded([self._fit(row, property_text, value) for row, value in self._each(column)])

    def instants(self, column: str) -> Instants:
        """A column as epoch milliseconds; -1 for what is no plausible instant."""
        index = self.columns.index(column)
        quick = _plain_instants(self.rows.texts[index], column_letters(self.rows.types, index), self._zone)
        if quick is not None:
            return quick
        found = (self._fit(row, timestamp_ms, value, self._zone) for row, value in self._each(column))
        return np.array([-1 if one is None or one not in PLAUSIBLE_MS else one for one in found], np.int64)

    def encoded(self, texts: Sequence[str | None]) -> pa.StringArray:
        """Texts as a column; what UTF-8 cannot write is left."""
        try:
            return pa.array(texts, pa.string())
        except UnicodeEncodeError:
            fit = [text if text is None or is_storable(text) else None for text in texts]
            self.left |= [before is not after for before, after in zip(texts, fit, strict=True)]
            return pa.array(fit, pa.string())

    def _each(self, column: str) -> Iterator[tuple[int, object]]:
        return enumerate(self.values(column, Form.VALUE))

    def _fit(self, row: int, convert: Callable[..., _Value], *arguments: object) -> _Value | None:
        try:
            return convert(*arguments)
        except (ValueError, ArithmeticError):
            self.left[row] = True
            return None


def _are_plain(decimals: pa.StringArray) -> bool:
    """Whether stored decimals are as short and plain as properties: no exponent, no NaN, no infinity."""
    is_odd = pc.or_(pc.match_substring_regex(decimals, "[ENI]"), pc.greater(pc.binary_length(decimals), 999))
    return not pc.any(is_odd).as_py()


def _plain_instants(texts: pa.StringArray, letters: set[str], zone: ZoneInfo) -> Instants | None:
    """The milliseconds of times that are all written alike and in full, None where any is not.

    Only ISO 8601 as Python reads it too; times without a zone only while the clocks of `zone` stay as they
    are, from a day before the first to a day after the last.
    """
    first = (texts[0].as_py() or "") if letters and letters <= {"s", "T"} else ""
    if not _PLAIN_TIME.fullmatch(first):
        return None
    has_zone = first[-1] == "Z" or first[-6] in "+-"
    try:
        moments = texts.cast(pa.timestamp("us", "UTC" if has_zone else None))
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


def stamps(instants: Instants) -> pa.StringArray:
    """`seconds_text` of all, for instants after 1970."""
    seconds = pa.array(instants // 1000).cast(pa.string())
    rest = instants % 1000
    parts = pc.utf8_lpad(pa.array(rest).cast(pa.string()), 3, "0")
    return pc.if_else(pa.array(rest == 0), seconds, pc.binary_join_element_wise(seconds, parts, "."))
