"""Lago's pages (`concerns/pagination.rb`): counted from 1, 100 a page, no maximum."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DEFAULT_SIZE = 100


@dataclass(frozen=True)
class Page:
    """Which part of a list was asked for."""

    number: int = 1
    size: int = _DEFAULT_SIZE

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> "Page":
        """Read `page` and `per_page`; what is no positive number counts as not given."""
        return cls(_positive(query.get("page"), 1), _positive(query.get("per_page"), _DEFAULT_SIZE))

    @property
    def offset(self) -> int:
        """How many entries come before this page."""
        return (self.number - 1) * self.size

    def meta(self, total: int) -> dict[str, int | None]:
        """Describe the page; an empty list has no pages, and its current one is 0."""
        pages = -(-total // self.size)
        inside = self.number <= pages
        return {
            "current_page": self.number if total else 0,
            "next_page": self.number + 1 if self.number < pages else None,
            "prev_page": self.number - 1 if inside and self.number > 1 else None,
            "total_pages": pages,
            "total_count": total,
        }

    def of(self, name: str, entries: Sequence[Mapping[str, object]]) -> dict[str, object]:
        """Cut this page out of a whole list, as the body of an answer."""
        return {name: entries[self.offset : self.offset + self.size], "meta": self.meta(len(entries))}


def _positive(text: str | None, default: int) -> int:
    number = int(text) if text is not None and re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0
    return number or default
