"""Reading many events at once: those of one subscription and code in a span of time, page by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from lago_pipeline.event import Event
from lago_pipeline.partition import from_epoch_ms

PER_PAGE = 1000
"""Lago knows no maximum; one that does says so in the page's own numbers."""

_MARGIN_MS = 1000
"""Servers before v1.48.0 parsed timestamps as floats: an event may lie a little beside its instant."""


@dataclass(frozen=True, slots=True)
class Window:
    """A subscription's events of one code between two instants in epoch milliseconds, both included."""

    external_subscription_id: str
    code: str
    first_ms: int
    last_ms: int

    @classmethod
    def around(cls, events: Sequence[Event]) -> Self:
        """The window in which Lago holds events of one subscription and code, if it does."""
        instants = [event.timestamp_ms for event in events if event.timestamp_ms is not None]
        return cls(
            str(events[0].external_subscription_id),
            str(events[0].code),
            min(instants) - _MARGIN_MS,
            max(instants) + _MARGIN_MS,
        )

    def query(self, page: int) -> str:
        """The query string of GET /events (LAGO.md 4)."""
        return urlencode(
            {
                "code": self.code,
                "external_subscription_id": self.external_subscription_id,
                "timestamp_from": _iso(self.first_ms),
                "timestamp_to": _iso(self.last_ms),
                "per_page": PER_PAGE,
                "page": page,
            }
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a window's events as Lago shows them, how many pages there are, and the next one's number."""

    events: Sequence[Mapping[str, Any]]
    pages: int
    next_page: int | None


def _iso(instant_ms: int) -> str:
    return from_epoch_ms(instant_ms).isoformat(timespec="milliseconds")
