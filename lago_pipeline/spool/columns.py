"""Values of any SQL type as text with a letter for the type, and back: exact, whatever the source gave."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from uuid import UUID

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


def encode_rows(rows: Sequence[Sequence[object]], width: int) -> tuple[list[list[str | None]], list[str]]:
    """Rows as `width` text columns, and one string of type letters a row."""
    columns: list[list[str | None]] = []
    letters: list[list[str]] = []
    for index in range(width):
        pairs = [_encoded(row[index]) for row in rows]
        letters.append([letter for letter, _ in pairs])
        columns.append([text for _, text in pairs])
    return columns, ["".join(row) for row in zip(*letters, strict=True)]


def decode_row(texts: Sequence[str | None], types: str) -> list[object]:
    """The values of one row, of the types that the source gave."""
    return [
        None if text is None else _DECODERS[letter](text) for text, letter in zip(texts, types, strict=True)
    ]


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
