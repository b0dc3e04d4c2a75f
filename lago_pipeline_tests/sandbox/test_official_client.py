"""Lago's own Python client works against the sandbox as it does against Lago."""

import sys
from typing import Any

import pytest

if sys.version_info >= (3, 14):
    pytest.skip("the client's models are pydantic.v1's, which ends with Python 3.13", allow_module_level=True)

from lago_python_client import models as _models
from lago_python_client.client import Client as _Client
from lago_python_client.exceptions import LagoApiError, LagoRateLimitError

from lago_pipeline_tests.sandbox.client import Client
from lago_pipeline_tests.sandbox.contract import BAD_TIME, TAKEN

# Their annotations want every field of a model to be named, and theirs is not the code under test.
models: Any = _models
official: Any = _Client


@pytest.fixture
def shop(lago: Client) -> Any:
    """The official client of a Lago in which it made a metric, a plan, a customer and a subscription."""
    client = official(lago.sandbox.api_key, lago.sandbox.url, retry_on_rate_limit=False)
    metric = client.billable_metrics.create(
        models.BillableMetric(name="Storage", code="storage", aggregation_type="sum_agg", field_name="gb")
    )
    price = {"charge_model": "standard", "properties": {"amount": "0.10"}}
    charges = [
        models.Charge(billable_metric_id=metric.lago_id, pay_in_advance=instant, **price)
        for instant in (True, False)
    ]
    client.plans.create(
        models.Plan(
            name="Usage",
            code="usage",
            interval="monthly",
            amount_cents=0,
            amount_currency="EUR",
            charges=models.Charges(__root__=charges),
        )
    )
    client.customers.create(models.Customer(external_id="cust", name="Acme", currency="EUR"))
    client.subscriptions.create(
        models.Subscription(
            external_customer_id="cust",
            plan_code="usage",
            external_id="sub",
            subscription_at="2026-01-01T00:00:00Z",
            billing_time="calendar",
        )
    )
    return client


def event(transaction_id: str, **fields: object) -> Any:
    """A usage event of the subscription."""
    given = {"timestamp": 1767225600, "properties": {"gb": "1.5"}} | fields
    return models.Event(
        transaction_id=transaction_id, external_subscription_id="sub", code="storage", **given
    )


def test_metrics(shop: Any) -> None:
    """Made, found, changed, listed and deleted."""
    found = shop.billable_metrics.find("storage")
    assert (found.code, found.aggregation_type, found.field_name) == ("storage", "sum_agg", "gb")
    changed = shop.billable_metrics.update(models.BillableMetric(name="Gigabytes"), "storage")
    assert (changed.name, changed.lago_id) == ("Gigabytes", found.lago_id)
    listed = shop.billable_metrics.find_all({"per_page": 10})
    assert [metric.code for metric in listed["billable_metrics"]] == ["storage"]
    assert listed["meta"]["total_count"] == 1
    assert shop.billable_metrics.destroy("storage").code == "storage"
    with pytest.raises(LagoApiError) as gone:
        shop.billable_metrics.find("storage")
    assert gone.value.response["code"] == "billable_metric_not_found"


def test_plans(shop: Any) -> None:
    """With their charges, which may change."""
    found = shop.plans.find("usage")
    assert [charge.billable_metric_code for charge in found.charges.__root__] == ["storage", "storage"]
    assert found.charges.__root__[0].properties == {"amount": "0.10"}
    kept = models.Charge(id=found.charges.__root__[1].lago_id, properties={"amount": "0.20"})
    shop.plans.update(models.Plan(charges=models.Charges(__root__=[kept])), "usage")
    (left,) = shop.plans.find("usage").charges.__root__
    assert (left.lago_id, left.properties) == (kept.id, {"amount": "0.20"})
    assert [plan.code for plan in shop.plans.find_all()["plans"]] == ["usage"]


def test_customers(shop: Any) -> None:
    """Upserted by their external id."""
    again = shop.customers.create(models.Customer(external_id="cust", timezone="Europe/Paris"))
    found = shop.customers.find("cust")
    assert (found.lago_id, found.name, found.applicable_timezone) == (again.lago_id, "Acme", "Europe/Paris")
    assert [customer.external_id for customer in shop.customers.find_all()["customers"]] == ["cust"]


def test_subscriptions(shop: Any) -> None:
    """Found, listed and ended."""
    found = shop.subscriptions.find("sub")
    assert (found.status, found.plan_code, found.external_customer_id) == ("active", "usage", "cust")
    assert found.started_at == "2026-01-01T00:00:00.000Z"
    listed = shop.subscriptions.find_all({"external_customer_id": "cust"})
    assert [subscription.external_id for subscription in listed["subscriptions"]] == ["sub"]
    assert shop.subscriptions.destroy("sub").status == "terminated"
    assert shop.subscriptions.find_all({"status[]": "active"})["subscriptions"] == []


def test_a_single_event(shop: Any) -> None:
    """Sent and read back."""
    sent = shop.events.create(event("a", timestamp="1767225600.5"))
    found = shop.events.find("a")
    assert (sent.transaction_id, sent.timestamp) == ("a", "2026-01-01T00:00:00.500Z")
    assert (found.code, found.properties, found.timestamp) == ("storage", {"gb": "1.5"}, sent.timestamp)


def test_a_batch(shop: Any, lago: Client) -> None:
    """Sent as a whole; the client says nothing when it went well."""
    assert shop.events.batch_create(models.BatchEvent(events=[event("a"), event("b")])) is None
    assert lago.stored() == ["a", "b"]


def test_a_refused_batch(shop: Any, lago: Client) -> None:
    """The client's error carries Lago's map of indexes, and nothing is stored."""
    with pytest.raises(LagoApiError) as refused:
        shop.events.batch_create(models.BatchEvent(events=[event("a"), event("b", timestamp="bad")]))
    assert refused.value.status_code == 422
    assert refused.value.response["error_details"] == {"1": BAD_TIME}
    assert lago.stored() == []


def test_a_duplicate(shop: Any) -> None:
    """Refused as Lago refuses it."""
    shop.events.create(event("a"))
    with pytest.raises(LagoApiError) as refused:
        shop.events.create(event("a"))
    assert refused.value.response["error_details"] == TAKEN


def test_clickhouse(clickhouse: Client) -> None:
    """Its answers lack ids and times of creation, and nothing is a duplicate."""
    client = official(clickhouse.sandbox.api_key, clickhouse.sandbox.url)
    assert client.events.create(event("a")).lago_id is None
    client.events.batch_create(models.BatchEvent(events=[event("a"), event("b")]))
    assert client.events.find("b").lago_id.endswith("-sub-b-1767225600")
    assert clickhouse.stored() == ["a", "a", "b"]


def test_an_estimate(shop: Any, lago: Client) -> None:
    """The fee of the charge that is billed at once; nothing is stored."""
    (fee,) = shop.events.estimate_fees(event("a"))["fees"]
    assert (fee.units, fee.amount_cents, fee.item.code) == ("1.5", 15, "storage")
    assert lago.stored() == []


def test_a_rate_limit(shop: Any, lago: Client) -> None:
    """The client reads the headers that the sandbox sends."""
    lago.sandbox.set_faults([{"kind": "rate_limit", "reset_seconds": 7, "path": "/plans"}])
    with pytest.raises(LagoRateLimitError) as limited:
        shop.plans.find("usage")
    assert (limited.value.limit, limited.value.remaining, limited.value.reset) == (500, 0, 7)


def test_a_wrong_key(lago: Client) -> None:
    """401, as an error of the client."""
    with pytest.raises(LagoApiError) as refused:
        official("wrong", lago.sandbox.url).plans.find_all()
    assert refused.value.status_code == 401
