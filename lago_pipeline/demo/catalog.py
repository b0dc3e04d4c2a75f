"""Creates in a local Lago what the demo bills: two metrics, a plan, the customers and their subscriptions.

It speaks to Lago's public API only, and only to a Lago on this computer: the demo's usage is made up, and
must never reach an organisation that sends invoices.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from lago_pipeline.demo.customers import CUSTOMERS
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.settings import is_loopback

Payload = Mapping[str, Any]

METRICS: tuple[Payload, ...] = (
    {
        "name": "API requests",
        "code": "api_requests",
        "aggregation_type": "sum_agg",
        "field_name": "units",
        "expression": "event.properties.requests * event.properties.weight",
        "recurring": False,
    },
    {
        "name": "Active seats",
        "code": "active_seats",
        "aggregation_type": "unique_count_agg",
        "field_name": "seat",
        "recurring": False,
    },
)
PLAN_CODE = "demo_usage"
AMOUNTS = {"api_requests": "0.0004", "active_seats": "9.00"}  # EUR a unit and a seat, a month
STARTED_AT = "2026-08-01T00:00:00Z"  # before the warehouse's first day: Lago bills no earlier event
_TIMEOUT_S = 30.0


def seed_catalog(api_url: str, api_key: str) -> None:
    """Create all that the demo's events need; what is there already stays as it is.

    `api_url` ends in `/api/v1`. Raises ConfigError when it is not on loopback or Lago refuses, RetriableError
    when Lago cannot be reached or fails.
    """
    require_loopback(api_url)
    with _Lago(api_url, api_key) as lago:
        metric_ids = {metric["code"]: _metric_id(lago, metric) for metric in METRICS}
        lago.create("plans", "plan", _plan(metric_ids))
        for path, root, payload in _customers_and_subscriptions():
            lago.create(path, root, payload)


def require_loopback(api_url: str) -> None:
    """Raise ConfigError unless the URL's host is this computer: made-up usage must never be billed."""
    if not is_loopback(api_url):
        host = urlsplit(api_url).hostname or ""
        raise ConfigError(
            f"the demo bills made-up usage, so LAGO_API_URL must be on loopback (127.0.0.1), not on {host!r}"
        )


def _metric_id(lago: "_Lago", metric: Payload) -> str:
    """Create the metric and return Lago's id of it; refuse a namesake that would count something else."""
    lago.create("billable_metrics", "billable_metric", metric)
    found = lago.get(f"billable_metrics/{metric['code']}", "billable_metric")
    for field in ("aggregation_type", "field_name", "expression"):
        wanted, there = metric.get(field), found.get(field) or None
        if there != wanted:
            raise ConfigError(
                f"Lago's metric {metric['code']} has {field} {there!r} where the demo needs {wanted!r}:"
                " use an empty organisation"
            )
    return str(found["lago_id"])


def _plan(metric_ids: Mapping[str, str]) -> Payload:
    """Return a monthly plan that costs nothing but usage."""
    return {
        "name": "Demo usage",
        "code": PLAN_CODE,
        "interval": "monthly",
        "amount_cents": 0,
        "amount_currency": "EUR",
        "pay_in_advance": False,
        "charges": [
            {
                "billable_metric_id": metric_ids[code],
                "charge_model": "standard",
                "properties": {"amount": amount},
            }
            for code, amount in AMOUNTS.items()
        ],
    }


def _customers_and_subscriptions() -> Iterator[tuple[str, str, Payload]]:
    """Yield path, root and payload of each creation, a customer before its subscriptions."""
    for customer in CUSTOMERS:
        named = {"external_id": customer.external_id, "name": customer.name, "currency": "EUR"}
        yield "customers", "customer", named
        for subscription in customer.subscriptions:
            yield (
                "subscriptions",
                "subscription",
                {
                    "external_customer_id": customer.external_id,
                    "external_id": subscription.external_id,
                    "plan_code": PLAN_CODE,
                    "subscription_at": STARTED_AT,
                    "billing_time": "calendar",
                },
            )


class _Lago:
    """The few calls of this module, with errors of one line that hold no key and no body."""

    def __init__(self, api_url: str, api_key: str) -> None:
        self._url = api_url.rstrip("/")
        self._session = requests.Session()
        # The environment's proxies and .netrc would send the key elsewhere than to this computer.
        self._session.trust_env = False
        self._session.headers.update({"Authorization": f"Bearer {api_key}", "Accept": "application/json"})

    def __enter__(self) -> "_Lago":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def create(self, path: str, root: str, payload: Payload) -> None:
        """POST one object; one whose code is taken already is there."""
        response = self._call("POST", path, {root: payload})
        if response.status_code == 422 and _is_there_already(response):
            return
        _require_ok(response, f"POST {path} of {payload.get('code') or payload.get('external_id')}")

    def get(self, path: str, root: str) -> Payload:
        """GET one object."""
        response = self._call("GET", path, None)
        _require_ok(response, f"GET {path}")
        found = _answer(response).get(root)
        if not isinstance(found, dict):
            raise ConfigError(f"the answer to GET {path} holds no {root}: does LAGO_API_URL end in /api/v1?")
        return found

    def _call(self, method: str, path: str, body: Payload | None) -> requests.Response:
        url = f"{self._url}/{path}"
        where = urlsplit(url).netloc.rpartition("@")[2]
        try:
            # A redirect could lead away from loopback.
            return self._session.request(method, url, json=body, timeout=_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as error:
            raise RetriableError(
                f"no Lago answers at {where} ({type(error).__name__}): is it running?"
            ) from error


def _is_there_already(response: requests.Response) -> bool:
    return _answer(response).get("error_details") == {"code": ["value_already_exist"]}


def _require_ok(response: requests.Response, what: str) -> None:
    """Raise with Lago's own words unless it answered 200."""
    if response.status_code == 200:
        return
    answer = _answer(response)
    words = answer.get("error_details") or answer.get("code") or answer.get("error") or "no reason given"
    kind = RetriableError if response.status_code >= 500 or response.status_code == 429 else ConfigError
    raise kind(f"Lago answered {response.status_code} to {what}: {str(words)[:200]}")


def _answer(response: requests.Response) -> Payload:
    """Return the answer's JSON object; an empty one when it is HTML or nothing."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
