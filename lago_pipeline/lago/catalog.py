"""What Lago's catalogue says: whether its metrics changed, and when a subscription's billing period ends."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import orjson

from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.probe import ask
from lago_pipeline.sync import UTC_ZONE
from lago_pipeline.values import timestamp_ms

_PAGE = 500
_MEANING = (
    "code",
    "aggregation_type",
    "field_name",
    "expression",
    "weighted_interval",
    "recurring",
    "filters",
)
"""What of a metric decides whether an event is taken and billed; counters and names do not."""


def catalog_hash(client: LagoClient) -> str | None:
    """A hash that differs once a billable metric came, went, or changed its meaning.

    None where the key may not read metrics. Raises RetriableError where Lago cannot answer now.
    """
    digest = blake2b(digest_size=16)
    for metrics in _pages(client):
        if metrics is None:
            return None
        for metric in sorted(metrics, key=lambda metric: str(metric.get("code"))):
            meaning = {name: metric.get(name) for name in _MEANING}
            digest.update(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def billing_period_end_ms(client: LagoClient, external_id: str) -> int | None:
    """When the current billing period of an active subscription ends, in epoch milliseconds; None if unknown.

    Raises RetriableError where Lago cannot answer now.
    """
    reply = ask(client, f"/subscriptions/{quote(external_id, safe='')}")
    ends = reply.part("subscription").get("current_billing_period_ending_at")
    return timestamp_ms(ends, UTC_ZONE) if ends else None


def _pages(client: LagoClient) -> Iterator[list[Mapping[str, Any]] | None]:
    """Pages of metrics, None for one that the key may not read."""
    page: int | None = 1
    while page is not None:
        reply = ask(client, f"/billable_metrics?per_page={_PAGE}&page={page}")
        found = reply.document.get("billable_metrics")
        yield found if reply.status == 200 and isinstance(found, list) else None
        page = reply.part("meta").get("next_page")
