"""The row key: a row's primary key as one text that sorts and compares the same everywhere."""

from collections.abc import Sequence
from hashlib import blake2b

from lago_pipeline.event import escaped
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import value_text

KEYLESS = "null:"
"""The start of the key of a row whose primary key is NULL; 32 hexadecimal digits of a hash follow."""

_MOST_BYTES = 2_200
"""PostgreSQL's indexes take 2,700 bytes; a default transaction id of more than 2,000 is refused anyway."""


def row_keys(
    key_columns: Sequence[Sequence[object]], texts: Sequence[Sequence[str | None]], types: Sequence[str]
) -> list[str]:
    """One key a row: the escaped parts joined by ':', or `null:` and a hash of the row where a part is NULL.

    `key_columns` are the primary key's values by column, `texts` all columns as text by column.
    """
    parts = [_parts(column) for column in key_columns]
    keys = parts[0] if len(parts) == 1 else _composite(parts)
    if None in keys:
        keys = [
            KEYLESS + _row_hash([column[index] for column in texts], types[index]) if key is None else key
            for index, key in enumerate(keys)
        ]
    sure = [key or "" for key in keys]
    return sure if max(map(len, sure), default=0) <= _MOST_BYTES // 4 else [_bounded(key) for key in sure]


def _composite(parts: Sequence[Sequence[str | None]]) -> list[str | None]:
    return [None if None in row else ":".join(map(str, row)) for row in zip(*parts, strict=True)]


def _parts(values: Sequence[object]) -> list[str | None]:
    """One column's part of each key, None for a NULL."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds == {str} and not _needs_escapes("".join(map(str, values))):
        return list(map(str, values))
    return [None if value is None else _part(value) for value in values]


def _needs_escapes(text: str) -> bool:
    return not text.isascii() or "%" in text or ":" in text or "\x00" in text


def _bounded(key: str) -> str:
    """The key, or its start and a hash where it is too long for an index; Lago refuses its id as well."""
    if len(key) <= _MOST_BYTES // 4 or len(key.encode()) <= _MOST_BYTES:
        return key
    start = key.encode()[: _MOST_BYTES - 32].decode(errors="ignore")
    return start + blake2b(key.encode(), digest_size=16).hexdigest()


def _part(value: object) -> str:
    try:
        part = escaped(value_text(value)).replace("\x00", "%00")
    except ProblemError:
        part = escaped(repr(value))
    return part.encode(errors="backslashreplace").decode()  # UTF-8 has no half characters


def _row_hash(texts: Sequence[str | None], types: str) -> str:
    content = "\x1f".join([types, *("" if text is None else text for text in texts)])
    return blake2b(content.encode(errors="surrogatepass"), digest_size=16).hexdigest()
