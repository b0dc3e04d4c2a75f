"""Asking Lago without changing anything in it: what the key may do, and what Lago knows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.answers import stop_words
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.sync import UTC_ZONE
from lago_pipeline.values import timestamp_ms

NO_EVENTS = b'{"events":[]}'
"""What Lago refuses with 422 when the key may write events, and with 403 when it may not (LAGO.md 1.4)."""

_STATUSES = ("active", "terminated", "pending")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that says something, whatever its status; `document` is empty where it is no JSON object."""

    status: int
    document: Mapping[str, Any]

    @property
    def code(self) -> str:
        """Lago's own word for an error, such as `event_not_found`."""
        return str(self.document.get("code") or "")

    def part(self, name: str) -> Mapping[str, Any]:
        """The object under a name; an empty one where there is none."""
        found = self.document.get(name)
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class SubscriptionSpan:
    """From when to when a subscription's usage is billed, in epoch milliseconds; None is never or open."""

    status: str
    started_ms: int | None
    ended_ms: int | None

    def covers(self, instant_ms: int) -> bool:
        """Whether Lago bills an event of this instant to it."""
        has_begun = self.started_ms is not None and self.started_ms <= instant_ms
        return has_begun and (self.ended_ms is None or instant_ms <= self.ended_ms)


def ask(client: LagoClient, path: str, *, method: str = "GET", data: bytes | None = None) -> Reply:
    """One question; raises RetriableError where Lago cannot answer now."""
    answer = client.ask(method, path, data)
    status = answer.status
    if status in (408, 429) or status >= 500:
        raise RetriableError(f"Lago at {client.api_url} answered {status}")
    return Reply(status, answer.document())


def metric_path(code: str) -> str:
    """Where Lago shows the billable metric of a code."""
    return f"/billable_metrics/{quote(code, safe='')}"


def billable_metric(client: LagoClient, code: str) -> Mapping[str, Any] | None:
    """The metric that Lago has under a code, or None."""
    return _found(client, metric_path(code), "billable_metric")


def subscription_spans(client: LagoClient, external_id: str) -> Iterator[SubscriptionSpan]:
    """The latest subscription of each status under an id, asked for one by one; none where it is unknown."""
    path = f"/subscriptions/{quote(external_id, safe='')}"
    for status in _STATUSES:
        found = _found(client, f"{path}?status={status}", "subscription")
        if found is not None:
            ended = found.get("terminated_at")
            yield SubscriptionSpan(status, _instant_ms(found.get("started_at")), _instant_ms(ended))


def _found(client: LagoClient, path: str, name: str) -> Mapping[str, Any] | None:
    reply = ask(client, path)
    if reply.status == 404 and reply.code == f"{name}_not_found":
        return None
    if reply.status != 200 or not reply.part(name):
        raise ConfigError(f"{stop_words(reply.status)} (the question was for a {name})")
    return reply.part(name)


def _instant_ms(text: object) -> int | None:
    return timestamp_ms(text, UTC_ZONE) if text else None
