"""Metrics, plans and customers (LAGO.md 4 and its bootstrap payloads)."""

from typing import Any

import pytest

from lago_pipeline_tests.sandbox.client import Client
from lago_pipeline_tests.sandbox.test_requests import NOT_FOUND, missing, refused

METRIC = {
    "name": "Storage",
    "code": "storage",
    "aggregation_type": "sum_agg",
    "field_name": "gb",
    "recurring": False,
}
PLAN = {
    "name": "Usage",
    "code": "usage",
    "interval": "monthly",
    "amount_cents": 0,
    "amount_currency": "EUR",
    "pay_in_advance": False,
}
TAKEN = refused({"code": ["value_already_exist"]})


def add_metric(lago: Client, **fields: object) -> dict[str, Any]:
    """Make a metric."""
    answer = lago.post("/billable_metrics", {"billable_metric": METRIC | fields})
    assert answer.status_code == 200, answer.text
    metric: dict[str, Any] = answer.json()["billable_metric"]
    return metric


def add_plan(lago: Client, **fields: object) -> dict[str, Any]:
    """Make a plan."""
    answer = lago.post("/plans", {"plan": PLAN | fields})
    assert answer.status_code == 200, answer.text
    plan: dict[str, Any] = answer.json()["plan"]
    return plan


def charge(metric: dict[str, Any], amount: object = "0.10") -> dict[str, object]:
    """A standard charge for a metric."""
    return {
        "billable_metric_id": metric["lago_id"],
        "charge_model": "standard",
        "properties": {"amount": amount},
    }


@pytest.mark.parametrize("kind", ["billable_metric", "plan", "customer", "subscription"])
def test_unknown_resources_are_404(lago: Client, kind: str) -> None:
    """Each with its own code."""
    answer = lago.get(f"/{kind}s/unknown")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND | {"code": f"{kind}_not_found"})


@pytest.mark.parametrize("kind", ["billable_metric", "plan", "customer", "subscription"])
def test_a_missing_root_is_400(lago: Client, kind: str) -> None:
    """The message names the root."""
    assert lago.post(f"/{kind}s", {}).json() == missing(kind)


def test_a_metric_is_made_and_read(lago: Client) -> None:
    """With everything that a check before sending needs."""
    made = add_metric(lago)
    assert made["filters"] == []
    assert made["expression"] is None
    assert lago.get("/billable_metrics/storage").json() == {"billable_metric": made}
    listed = lago.get("/billable_metrics").json()
    assert listed["billable_metrics"][0].items() >= made.items()
    assert listed["meta"]["total_count"] == 1


def test_counting_has_no_field(lago: Client) -> None:
    """Lago forgets the field name of count_agg."""
    assert add_metric(lago, aggregation_type="count_agg")["field_name"] is None


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"name": None, "code": " "}, {"name": ["value_is_mandatory"], "code": ["value_is_mandatory"]}),
        ({"field_name": None}, {"field_name": ["value_is_mandatory"]}),
        ({"aggregation_type": "avg_agg"}, {"aggregation_type": ["value_is_invalid"]}),
        ({"aggregation_type": "weighted_sum_agg"}, {"weighted_interval": ["value_is_invalid"]}),
        (
            {"aggregation_type": "max_agg", "recurring": True},
            {"recurring": ["not_compatible_with_aggregation_type"]},
        ),
    ],
)
def test_wrong_metrics_are_refused(lago: Client, fields: dict[str, object], details: object) -> None:
    """Each problem under its field."""
    answer = lago.post("/billable_metrics", {"billable_metric": METRIC | fields})
    assert (answer.status_code, answer.json()) == (422, refused(details))


def test_custom_aggregation_is_for_admins(lago: Client) -> None:
    """It is 403 over the API."""
    answer = lago.post("/billable_metrics", {"billable_metric": METRIC | {"aggregation_type": "custom_agg"}})
    assert (answer.status_code, answer.json()["code"]) == (403, "feature_unavailable")


def test_codes_are_taken_once(lago: Client) -> None:
    """Metrics and plans are not upserted."""
    add_metric(lago)
    add_plan(lago)
    assert lago.post("/billable_metrics", {"billable_metric": METRIC}).json() == TAKEN
    assert lago.post("/plans", {"plan": PLAN}).json() == TAKEN


def test_a_plan_has_charges(lago: Client) -> None:
    """A charge's code is its metric's, unless it is given."""
    metric = add_metric(lago)
    made = add_plan(
        lago, charges=[charge(metric), charge(metric) | {"code": "extra", "pay_in_advance": True}]
    )
    assert [found["code"] for found in made["charges"]] == ["storage", "extra"]
    first = made["charges"][0]
    assert first["lago_billable_metric_id"] == metric["lago_id"]
    assert (first["billable_metric_code"], first["properties"]) == ("storage", {"amount": "0.10"})
    assert lago.get("/plans/usage").json() == {"plan": made}
    assert lago.get("/plans").json()["plans"] == [made]


def test_an_amount_is_text(lago: Client) -> None:
    """A JSON number is refused."""
    answer = lago.post("/plans", {"plan": PLAN | {"charges": [charge(add_metric(lago), 0.1)]}})
    assert (answer.status_code, answer.json()) == (422, refused({"properties": ["invalid_amount"]}))


def test_a_charge_needs_a_metric(lago: Client) -> None:
    """An unknown one is 404, and the plan is not made."""
    answer = lago.post("/plans", {"plan": PLAN | {"charges": [{"billable_metric_id": "unknown"}]}})
    assert (answer.status_code, answer.json()["code"]) == (404, "billable_metrics_not_found")
    assert lago.get("/plans/usage").status_code == 404


def test_a_metric_is_changed(lago: Client) -> None:
    """Wholly as long as no plan has it, then only in name and description."""
    made = add_metric(lago)
    changed = {"name": "Bytes", "code": "bytes", "field_name": "b", "lago_id": "x"}
    answer = lago.call("PUT", "/billable_metrics/storage", json={"billable_metric": changed}).json()
    assert answer == {"billable_metric": made | changed | {"lago_id": made["lago_id"]}}
    assert lago.get("/billable_metrics/storage").status_code == 404
    add_plan(lago, charges=[charge(made)])
    later = {"name": "Again", "code": "other", "aggregation_type": "max_agg"}
    answer = lago.call("PUT", "/billable_metrics/bytes", json={"billable_metric": later}).json()
    assert answer["billable_metric"] == made | changed | {"lago_id": made["lago_id"], "name": "Again"}


def test_a_changed_expression_is_used(lago: Client) -> None:
    """From the next event on."""
    add_metric(lago)
    change = {"billable_metric": {"expression": "event.properties.a * 2"}}
    assert lago.call("PUT", "/billable_metrics/storage", json=change).status_code == 200
    event = {"transaction_id": "tx", "code": "storage", "properties": {"a": 3}}
    assert lago.event(**event).json()["event"]["properties"] == {"a": 3, "gb": "6.0"}


def test_a_plan_is_changed_for_its_subscribers_too(lago: Client) -> None:
    """A charge is kept by its id, made without one, and goes when it is not named; the code stays."""
    storage, other = add_metric(lago), add_metric(lago, code="other")
    first, second = add_plan(lago, charges=[charge(storage), charge(storage)])["charges"]
    body = {"external_customer_id": "cust", "plan_code": "usage", "external_id": "sub"}
    lago.post("/subscriptions", {"subscription": body})
    kept = {"id": second["lago_id"], "properties": {"amount": "0.50"}}
    change = {"name": "New", "code": "new", "amount_cents": 5, "charges": [kept, charge(other)]}
    plan = lago.call("PUT", "/plans/usage", json={"plan": change}).json()["plan"]
    assert (plan["name"], plan["code"], plan["amount_cents"]) == ("New", "usage", 5)
    assert plan["charges"][0] == second | {"properties": {"amount": "0.50"}}
    assert [found["billable_metric_code"] for found in plan["charges"]] == ["storage", "other"]
    assert first["lago_id"] not in [found["lago_id"] for found in plan["charges"]]
    subscription = lago.get("/subscriptions/sub").json()["subscription"]
    assert (subscription["plan"], subscription["plan_amount_cents"]) == (plan, 5)


def test_a_wrong_change_changes_nothing(lago: Client) -> None:
    """Not even what was right in it."""
    metric = add_metric(lago)
    made = add_plan(lago, charges=[charge(metric)])
    add_plan(lago, code="taken")
    wrong = charge(metric, 0.5) | {"id": made["charges"][0]["lago_id"]}
    for change in ({"code": "taken"}, {"name": "New", "charges": [wrong]}):
        assert lago.call("PUT", "/plans/usage", json={"plan": change}).status_code == 422
    assert lago.get("/plans/usage").json() == {"plan": made}


def test_wrong_plans_are_refused(lago: Client) -> None:
    """Each problem under its field."""
    answer = lago.post("/plans", {"plan": PLAN | {"interval": "hourly", "amount_currency": None}})
    details = {"amount_currency": ["value_is_mandatory"], "interval": ["value_is_invalid"]}
    assert answer.json() == refused(details)


def test_customers_are_upserted(lago: Client) -> None:
    """The same external id is the same customer."""
    made = lago.post(
        "/customers", {"customer": {"external_id": "cust.1", "name": "Acme", "currency": "EUR"}}
    ).json()
    again = lago.post(
        "/customers", {"customer": {"external_id": "cust.1", "timezone": "Europe/Paris"}}
    ).json()
    assert again["customer"]["lago_id"] == made["customer"]["lago_id"]
    assert (again["customer"]["name"], again["customer"]["applicable_timezone"]) == ("Acme", "Europe/Paris")
    assert lago.get("/customers", external_id="cust.1").json()["customers"] == [again["customer"]]
    assert lago.get("/customers", search_term="ACM").json()["meta"]["total_count"] == 1
    assert lago.get("/customers", external_id="cust").json()["customers"] == []


def test_a_raw_dot_ends_a_customers_id(lago: Client) -> None:
    """Rails takes it for a format; two dots fit no route."""
    body = {"customer": {"external_id": "acme", "billing_configuration": {"invoice_grace_period": 3}}}
    made = lago.post("/customers", body).json()
    assert made["customer"]["billing_configuration"] == {"invoice_grace_period": 3}
    assert lago.get("/customers/acme.inc").json() == made
    assert lago.get("/customers/a.b.c").json() == NOT_FOUND


def test_customers_need_an_external_id(lago: Client) -> None:
    """It is the only thing they need."""
    answer = lago.post("/customers", {"customer": {"name": "Acme"}})
    assert answer.json() == refused({"external_id": ["value_is_mandatory"]})
