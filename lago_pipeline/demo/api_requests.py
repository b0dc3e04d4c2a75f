"""Makes the rows of `api_requests`: who called what, when, and how late the warehouse heard of it."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import accumulate

from lago_pipeline.demo.customers import SUBSCRIPTIONS, Rhythm, Subscription
from lago_pipeline.demo.rows import ApiRequest, moment, spelled

# Calls by hour of the day in UTC, relative to each other.
_HOURS: dict[Rhythm, tuple[int, ...]] = {
    "office": (1, 1, 1, 1, 2, 6, 18, 40, 52, 55, 50, 38, 42, 52, 50, 40, 24, 10, 5, 3, 2, 2, 1, 1),
    "consumer": (14, 9, 6, 4, 4, 5, 8, 12, 16, 18, 20, 24, 26, 24, 22, 22, 26, 34, 44, 52, 50, 40, 28, 20),
    "nightly": (60, 52, 40, 22, 9, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 4, 10, 24, 46, 58),
    "machine": (10,) * 24,
}
_WEEKEND: dict[Rhythm, float] = {"office": 0.15, "consumer": 1.4, "nightly": 1.0, "machine": 1.0}

_REGIONS = (
    *("eu-central-1", "EU-Central-1", "eu-west-1", "EU-WEST-1", "eu-north-1", "us-east-1", "US-East-1"),
    *("us-west-2", "ap-northeast-1", "AP-Northeast-1", None),
)
_REGION_SHARES = tuple(accumulate((30, 8, 18, 3, 8, 16, 4, 7, 4, 1, 2)))
_WEIGHTS = ("1", "0.125", "0.25", "0.5", "1.5", "2.75", "12.5", "1.000000001", "0.000250000", "3.141592653")
_WEIGHT_SHARES = tuple(accumulate((40, 14, 10, 12, 8, 5, 2, 3, 1, 1)))
_ENDPOINTS = (
    *("/v1/search", "/v1/orders", "/v1/orders/{id}", "/v1/customers/{id}/invoices", "/v1/jobs", "/v1/files"),
    *("/v2/search?limit=100&sort=-created_at", "/v2/graph", "/v1/ping", "/v1/exports/daily.csv"),
)
_ODD_ENDPOINTS = (
    *('/v1/search?q="blue shoes"', "/v1/search?q=it's", "/v1/files/C:\\Temp\\new", "/v1/notes?text=one\ntwo"),
    *(
        "/v1/emoji/🚀/👩‍🚀",
        "/v1/搜索?q=发票",
        "/v1/straße/ÄÖÜ",
        "/v1/{{ row.endpoint }}",
        "/v1/tab\tand/slash\\",
    ),
)
_ODD_SHARE = 0.02
_LATE_SHARE = 0.01
_HOUR_MS = 3_600_000


def api_requests_of(day: date, seed: str) -> Iterator[ApiRequest]:
    """Yield about 3,300 rows of a weekday or 2,650 of a weekend day, in the order of their instants."""
    rng = random.Random(f"{seed}:api_requests:{day}")  # noqa: S311 - made-up data that must repeat, no secret
    calls = _calls(rng, day)
    weights = rng.choices(_WEIGHTS, cum_weights=_WEIGHT_SHARES, k=len(calls))
    regions = rng.choices(_REGIONS, cum_weights=_REGION_SHARES, k=len(calls))
    for (at, subscription), weight, region in zip(calls, weights, regions, strict=True):
        yield ApiRequest(
            request_id=_request_id(rng),
            requested_at=spelled(at, subscription.clock),
            loaded_at=spelled(at + _delay(rng)),
            subscription_id=subscription.external_id,
            requests=_requests(rng),
            weight=weight,
            region=region,
            endpoint=_endpoint(rng),
        )


def _calls(rng: random.Random, day: date) -> list[tuple[datetime, Subscription]]:
    """Draw a day's callers, and when each of them called by the busy hours of its rhythm."""
    weekend = day.weekday() >= 5
    count = (2650 if weekend else 3300) + int(rng.random() * 300) - 150
    shares = [each.share * (_WEEKEND[each.rhythm] if weekend else 1.0) for each in SUBSCRIPTIONS]
    callers = Counter(rng.choices(SUBSCRIPTIONS, shares, k=count))
    calls = [(at, each) for each, calls in callers.items() for at in _instants(rng, day, each.rhythm, calls)]
    return sorted(calls, key=lambda call: call[0])


def _instants(rng: random.Random, day: date, rhythm: Rhythm, count: int) -> Iterator[datetime]:
    """Draw instants of the day by the rhythm's busy hours."""
    midnight = moment(day, 0)
    for hour in rng.choices(range(24), _HOURS[rhythm], k=count):
        yield midnight + timedelta(milliseconds=hour * _HOUR_MS + int(rng.random() * _HOUR_MS))


def _request_id(rng: random.Random) -> str:
    """Return a random UUID of version 4; `uuid.UUID` itself takes three times as long."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _delay(rng: random.Random) -> timedelta:
    """Draw how long a row took to the warehouse: 2 seconds to 10 minutes, 1 to 3 days when it is late."""
    if rng.random() < _LATE_SHARE:
        return timedelta(milliseconds=24 * _HOUR_MS + int(rng.random() * 48 * _HOUR_MS))
    share = rng.random()
    return timedelta(milliseconds=2_000 + int(share * share * share * 598_000))


def _requests(rng: random.Random) -> int:
    """Draw a number of calls from 1 to 500, mostly small."""
    share = rng.random()
    return 1 + int(share * share * share * 500)


def _endpoint(rng: random.Random) -> str:
    """Draw a path; one in fifty has characters that break careless quoting."""
    paths = _ODD_ENDPOINTS if rng.random() < _ODD_SHARE else _ENDPOINTS
    return paths[int(rng.random() * len(paths))]
