"""Values of any SQL type as text with a letter for the type, and back: exact, whatever the source gave."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import repeat
from typing import Any
from uuid import UUID

import pyarrow as pa

from lago_pipeline.arrow import column_values
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import Unsupported, json_text

Encoder = tuple[str, Callable[[object], str]]

_NULL = "n"
_UNSUPPORTED = "?"


_ENCODERS: dict[type, Encoder] = {
    str: ("s", str),
    int: ("i", str),
    float: ("f", repr),
    Decimal: ("d", str),
    bool: ("b", str),
    datetime: ("T", lambda value: value.isoformat()),  # type: ignore[attr-defined]
    date: ("D", lambda value: value.isoformat()),  # type: ignore[attr-defined]
    time: ("t", lambda value: value.isoformat()),  # type: ignore[attr-defined]
    timedelta: ("p", lambda value: str(value // timedelta(microseconds=1))),  # type: ignore[operator]
    UUID: ("u", str),
    dict: ("j", json_text),
    list: ("j", json_text),
    tuple: ("j", json_text),
    **dict.fromkeys(
        (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network), ("s", str)
    ),
}
_COMMON = frozenset({str, int, float, Decimal, bool, datetime, date, time, timedelta, UUID})
"""Types whose values are encoded a column at a time: none of them has a value without a text."""
_DECODERS: Mapping[str, Callable[[str], object]] = {
    "s": lambda text: text,
    "i": int,
    "f": float,
    "d": Decimal,
    "b": lambda text: text == "True",
    "T": datetime.fromisoformat,
    "D": date.fromisoformat,
    "t": time.fromisoformat,
    "p": lambda text: timedelta(microseconds=int(text)),
    "u": UUID,
    "j": lambda text: json.loads(text, parse_float=Decimal),
    _UNSUPPORTED: Unsupported,
}


def encode_rows(rows: Sequence[Sequence[object]], width: int) -> tuple[list[Sequence[str | None]], list[str]]:
    """Rows as `width` text columns, and one string of type letters a row."""
    values = zip(*rows, strict=True) if rows else repeat((), width)
    columns = [_encoded_column(column) for column in values]
    return [texts for texts, _ in columns], _joined([letters for _, letters in columns], len(rows))


def column_letters(types: pa.StringArray, index: int) -> set[str]:
    """The type letters that a column has in rows of these types, without the one for a null."""
    return {letters[index] for letters in column_values(types.unique())} - {_NULL}


def decode_column(texts: Sequence[str | None], types: pa.StringArray, index: int) -> Sequence[object]:
    """The values of the column at `index`, of the types that the source gave."""
    letters = column_letters(types, index)
    if letters <= {"s"}:
        return texts
    if len(letters) == 1:
        decode = _DECODERS[letters.pop()]
        return [None if text is None else decode(text) for text in texts]
    pairs = zip(texts, column_values(types), strict=True)
    return [None if text is None else _DECODERS[row[index]](text) for text, row in pairs]


def decode_row(texts: Sequence[str | None], types: str) -> list[object]:
    """The values of one row, of the types that the source gave."""
    return [
        None if text is None else _DECODERS[letter](text) for text, letter in zip(texts, types, strict=True)
    ]


def _encoded_column(values: Sequence[Any]) -> tuple[Sequence[str | None], str | list[str]]:
    """A column's texts and type letters: one for all where it has one common type and no nulls."""
    kinds = set(map(type, values))
    has_nulls = type(None) in kinds
    kinds.discard(type(None))
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in _COMMON or (kind is str and not _is_utf8(values)):
        pairs = [_encoded(value) for value in values]
        return [text for _, text in pairs], [letter for letter, _ in pairs]
    letter, encode = _ENCODERS[kind]
    if not has_nulls:
        return values if kind is str else list(map(encode, values)), letter
    texts = values if kind is str else [None if value is None else encode(value) for value in values]
    return texts, [_NULL if value is None else letter for value in values]


def _is_utf8(texts: Iterable[str | None]) -> bool:
    """Whether texts have no half characters."""
    joined = "".join(filter(None, texts))
    try:
        return joined.isascii() or bool(joined.encode())
    except UnicodeEncodeError:
        return False


def _joined(letters: Sequence[str | list[str]], rows: int) -> list[str]:
    """The letters of each row, from one for a whole column or one a row."""
    if all(isinstance(column, str) for column in letters):
        return ["".join(map(str, letters))] * rows
    columns = [repeat(column) if isinstance(column, str) else column for column in letters]
    return list(map("".join, zip(*columns, strict=False)))


def _encoded(value: object) -> tuple[str, str | None]:
    if value is None:
        return _NULL, None
    letter, encode = _ENCODERS.get(type(value)) or _inherited(value)
    try:
        text = encode(value)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:  # half a character, which JSON may hold and Parquet not
        return "j", json.dumps(value)
    except ProblemError:  # such as bytes within an array
        return _UNSUPPORTED, type(value).__name__
    return letter, text


def _inherited(value: object) -> Encoder:
    """The encoder of a subclass, such as a driver's own string or a text enumeration."""
    for base in type(value).__mro__[1:]:
        if base in _ENCODERS:
            return _ENCODERS[base]
    return _UNSUPPORTED, lambda value: type(value).__name__
