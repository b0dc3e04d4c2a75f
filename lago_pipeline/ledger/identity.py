"""What a sync bills, told from its declaration alone, so that the ledger knows it under another name."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from lago_pipeline.sync import Source, Sync

_OUTPUT = r"\{\{(?:(?!\}\}).)*\}\}"
_TAG = r"\{%(?:(?!%\}).)*%\}"
_TEXT = rf'"(?:{_OUTPUT}|{_TAG}|\\.|(?!{_OUTPUT}|{_TAG})[^"\\])*"'
_PROPERTIES = re.compile(rf'"properties"\s*:\s*\{{(?!\{{)(?:{_TEXT}|{_OUTPUT}|[^{{}}"])*\}}', re.DOTALL)
_CODE = re.compile(rf'"code"\s*:\s*(?P<value>{_TEXT}|{_OUTPUT}|[^\s,}}]+)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Usage:
    """The rows a sync reads and the metric it bills them as; a part that cannot be told is None."""

    source: str | None
    code: str | None

    @property
    def is_known(self) -> bool:
        """Whether two syncs can be compared by it."""
        return self.source is not None and self.code is not None


def usage_of(sync: Sync) -> Usage:
    """The usage of a sync: its table or query, and its code as the template writes it."""
    return Usage(_source(sync.source), _code(sync.event))


def _source(source: Source) -> str | None:
    if source.table is not None:
        return f"table:{source.table}"
    if source.query is None:
        return None
    words = " ".join(source.query.split())
    return f"query:{blake2b(words.encode(), digest_size=16).hexdigest()}"


def _code(event: str | Mapping[str, object]) -> str | None:
    if isinstance(event, str):
        return _pasted_code(event)
    code = event.get("code")
    return None if code is None else str(code)


def _pasted_code(text: str) -> str | None:
    """The value beside "code", without reading the whole template; a property of that name is none."""
    found = _CODE.search(_PROPERTIES.sub("", text))
    if found is None:
        return None
    value = found["value"]
    try:
        return str(json.loads(value, strict=False))
    except json.JSONDecodeError:  # Liquid, in quotes or without, is no JSON
        return value.strip('"')
