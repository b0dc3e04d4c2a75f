"""Event templates pasted as JSON text, as Hightouch shows them, read into a mapping of Liquid strings.

Placeholders outside quotes are no JSON. They are lifted out before the text is parsed and put back as
typed leaves, so that no value is ever spliced into JSON text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from lago_pipeline.errors import TemplateError

_OUTPUT = r"\{\{(?:(?!\{\{|\}\}).)*\}\}"
_TAG = r"\{%(?:(?!%\}).)*%\}"
# each piece can be read in one way only, so that nothing is tried twice; Python up to 3.11.4, which is
# Debian 12's, does not match what `*+` says
_PIECE = re.compile(
    r"""
      (?P<string> "(?: {output} | {tag} | \\. | (?! {output} | {tag} )[^"\\] )*" )
    | (?P<bare>   {output} )
    | (?P<tag>    {tag} )
    """.replace("{output}", _OUTPUT).replace("{tag}", _TAG),
    re.VERBOSE | re.DOTALL,
)
_LIQUID = re.compile(f"({_OUTPUT}|{_TAG})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QuotedText:
    """A leaf that stood in quotes: always text, even when it is one placeholder."""

    liquid: str


@dataclass(frozen=True, slots=True)
class BarePlaceholder:
    """A leaf that stood outside quotes: keeps the type of its value."""

    liquid: str


def read_pasted(text: str) -> Mapping[str, object]:
    """The fields of a pasted JSON event, with or without the outer `{"event": ...}`.

    Raises TemplateError where the text is no JSON object once its placeholders are set aside.
    """
    leaves: list[QuotedText | BarePlaceholder] = []
    masked = _PIECE.sub(lambda piece: _set_aside(piece, leaves, text), text)
    try:
        document = json.loads(masked, parse_float=Decimal, object_pairs_hook=lambda p: _members(p, leaves))
    except json.JSONDecodeError as error:
        raise TemplateError(f"event: not valid JSON near line {error.lineno}: {error.msg}") from None
    fields = _restored(document, leaves)
    if isinstance(fields, dict) and set(fields) == {"event"}:
        fields = fields["event"]
    if not isinstance(fields, dict):
        raise TemplateError('event: the JSON text must be one object, such as {"event": {"code": "…"}}')
    return fields


def _set_aside(piece: re.Match[str], leaves: list[QuotedText | BarePlaceholder], text: str) -> str:
    line = text.count("\n", 0, piece.start()) + 1
    if piece["tag"]:
        raise TemplateError(
            f"event: line {line}: {piece['tag']} stands outside quotes: put it inside a quoted value"
        )
    if piece["string"]:
        leaves.append(QuotedText(_unquoted(piece["string"], line)))
    else:
        leaves.append(BarePlaceholder(piece["bare"]))
    newlines = "\n" * piece[0].count("\n")  # keep line numbers true in error messages
    return f'"{len(leaves) - 1}"{newlines}'


def _unquoted(quoted: str, line: int) -> str:
    """The text between the quotes: JSON escapes are undone, except inside Liquid, which has none."""
    parts = _LIQUID.split(quoted[1:-1])
    try:
        return "".join(
            _liquid_part(part) if index % 2 else json.loads(f'"{part}"', strict=False)
            for index, part in enumerate(parts)
        )
    except json.JSONDecodeError as error:
        raise TemplateError(f"event: not valid JSON near line {line}: {error.msg} in {quoted[:40]}") from None


def _liquid_part(part: str) -> str:
    return part.replace('\\"', '"')


def _members(
    pairs: list[tuple[str, object]], leaves: list[QuotedText | BarePlaceholder]
) -> dict[str, object]:
    members: dict[str, object] = {}
    for index, value in pairs:
        leaf = leaves[int(index)]
        if isinstance(leaf, BarePlaceholder):
            raise TemplateError(f"event: a key cannot be the placeholder {leaf.liquid}")
        if leaf.liquid in members:
            raise TemplateError(f"event: the key {leaf.liquid!r} appears twice")
        members[leaf.liquid] = value
    return members


def _restored(node: object, leaves: list[QuotedText | BarePlaceholder]) -> object:
    if isinstance(node, dict):
        return {key: _restored(value, leaves) for key, value in node.items()}
    if isinstance(node, list):
        return [_restored(value, leaves) for value in node]
    return leaves[int(node)] if isinstance(node, str) else node
