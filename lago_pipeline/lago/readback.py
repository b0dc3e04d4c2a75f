"""Whether the event that Lago holds under an id is the one that we mean."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

import orjson

from lago_pipeline.event import Event
from lago_pipeline.partition import epoch_ms
from lago_pipeline.refusals import shortened


def difference(event: Event, held: Mapping[str, object]) -> str | None:
    """What differs between an event and the one that Lago holds, in words; None when they are the same.

    Compared are code, subscription, the timestamp in milliseconds, and our properties, numbers as numbers.
    A property that we did not send is Lago's own: an expression's result.
    """
    if held.get("code") != event.code:
        return f"Lago holds code {shortened(held.get('code'))}"
    if held.get("external_subscription_id") != event.external_subscription_id:
        return f"Lago holds subscription {shortened(held.get('external_subscription_id'))}"
    if not _is_same_instant(_held_ms(held), event.timestamp_ms):
        return f"Lago holds timestamp {shortened(held.get('timestamp'))}"
    properties = held.get("properties")
    return _property_difference(event, properties if isinstance(properties, dict) else {})


def _property_difference(event: Event, held: Mapping[str, object]) -> str | None:
    for name, value in orjson.loads(event.properties or "{}").items():
        if name not in held or not _is_same(value, held[name]):
            return f"Lago holds {name} {shortened(held.get(name))} where the row says {shortened(value)}"
    return None


def _is_same(ours: str, theirs: object) -> bool:
    if ours == theirs:
        return True
    try:
        return Decimal(ours) == Decimal(str(theirs))
    except InvalidOperation:
        return False


def _is_same_instant(theirs_ms: int | None, ours_ms: int | None) -> bool:
    """Servers before v1.48.0 parsed seconds as floats, and print what that makes a millisecond less."""
    return theirs_ms is not None and ours_ms is not None and 0 <= ours_ms - theirs_ms <= 1


def _held_ms(held: Mapping[str, object]) -> int | None:
    try:
        return epoch_ms(datetime.fromisoformat(str(held.get("timestamp"))))
    except (ValueError, TypeError):
        return None
