"""The sandbox answers what Lago's OpenAPI document says (and where the server differs, what the server does).

The client of these tests holds every answer of every test against the document; here each operation and
status that the document has is asked for once.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import requests

from lago_pipeline_tests.sandbox import openapi
from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_catalog import METRIC, PLAN, add_metric, add_plan, charge

CUSTOMER = {"external_id": "cust", "name": "Acme", "currency": "EUR", "email": "a@example.com"}
SUBSCRIPTION = {
    "external_customer_id": "cust",
    "plan_code": "usage",
    "external_id": "sub",
    "subscription_at": "2026-01-01T00:00:00Z",
}
EVALUATION = {"expression": "event.properties.a", "event": {"code": "storage", "properties": {"a": "1"}}}

BODIES: Mapping[str, tuple[object, object]] = {
    "/billable_metrics": ({"billable_metric": METRIC | {"code": "new"}}, {"billable_metric": METRIC}),
    "/billable_metrics/evaluate_expression": (EVALUATION, EVALUATION | {"expression": "("}),
    "/plans": ({"plan": PLAN | {"code": "new"}}, {"plan": PLAN}),
    "/customers": ({"customer": CUSTOMER}, {"customer": {"name": "Acme"}}),
    "/subscriptions": ({"subscription": SUBSCRIPTION}, {"subscription": {"plan_code": "usage"}}),
    "/billable_metrics/{code}": ({"billable_metric": {"name": "New"}}, {"billable_metric": {"name": ""}}),
    "/plans/{code}": ({"plan": {"name": "New"}}, {"plan": {"name": ""}}),
    "/events": ({"event": usage("new")}, {"event": usage(timestamp="bad")}),
    "/events/batch": ({"events": [usage("new")]}, {"events": [usage(timestamp="bad")]}),
    "/events/estimate_fees": (
        {"event": usage(properties={"gb": "2.5"})},
        {"event": usage(properties={"gb": "x"})},
    ),
}
"""What is sent where: something that is accepted, and something that is refused with 422."""

NAMES = {"code": "usage", "external_customer_id": "cust", "external_id": "sub", "transaction_id": "tx"}
OPERATIONS = [
    (store, method.upper(), template, int(status))
    for template, operations in openapi.document()["paths"].items()
    for method, operation in operations.items()
    for status in operation["responses"]
    if (template, method) != ("/organizations", "put")
    if method in {"post", "put"} or status not in {"400", "422"}
    for store in (("lago", "clickhouse") if template.startswith("/events") else ("lago",))
]


def filled(lago: Client) -> Client:
    """A Lago with one of everything."""
    metric = add_metric(lago)
    add_metric(lago, code="usage")
    add_plan(lago, charges=[charge(metric) | {"pay_in_advance": True}, charge(metric)])
    assert lago.post("/customers", {"customer": CUSTOMER}).status_code == 200
    assert lago.post("/subscriptions", {"subscription": SUBSCRIPTION}).status_code == 200
    assert lago.event(**usage(properties={"gb": "1"})).status_code == 200
    return lago


def ask(lago: Client, method: str, template: str, status: int) -> requests.Response:
    """Ask so that this status is the answer."""
    path, body = template, None
    for name, value in NAMES.items():
        path = path.replace(f"{{{name}}}", "unknown" if status == 404 else value)
    if method in {"POST", "PUT"}:
        accepted, refused = BODIES[template]
        body = {200: accepted, 422: refused, 400: {}}.get(status, accepted)
        if status == 404 and method == "POST":
            body = _unknown(template)
        if status == 400 and template == "/events/batch":
            return lago.call(method, path, data=b"{", headers={"Content-Type": "application/json"})
    if status == 403:
        lago.sandbox.set_faults([{"kind": "status", "status": 403, "path": path}])
    headers = {"Authorization": "Bearer wrong"} if status == 401 else {}
    return lago.call(method, path, json=body, headers=headers)


def _unknown(template: str) -> object:
    """A body that names something that does not exist."""
    return {
        "/plans": {"plan": PLAN | {"code": "new", "charges": [{"billable_metric_id": "unknown"}]}},
        "/subscriptions": {"subscription": SUBSCRIPTION | {"plan_code": "unknown"}},
        "/events/estimate_fees": {"event": usage(external_subscription_id="unknown")},
    }[template]


@pytest.mark.parametrize(("store", "method", "template", "status"), OPERATIONS)
def test_every_answer_of_the_document(
    request: pytest.FixtureRequest, store: str, method: str, template: str, status: int
) -> None:
    """Each operation with each of its statuses, and those of events on both stores."""
    lago = filled(request.getfixturevalue(store))
    answer = ask(lago, method, template, status)
    assert answer.status_code == status, answer.text
    assert openapi.problems(method, template, answer, lago.sandbox.sandbox.store.kind) == []


def test_a_window_that_is_none_is_refused_as_documented(lago: Client) -> None:
    """The only read that the document lets be refused."""
    answer = lago.get("/events", timestamp_from="yesterday")
    assert answer.status_code == 422
    assert "422" in (openapi.operation("GET", "/events") or {})["responses"]


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        ("/events/tx", lambda body: body["event"].pop("lago_customer_id")),
        ("/events/tx", lambda body: body["event"].update(timestamp="yesterday")),
        ("/events/tx", lambda body: body["event"].update(timestamp="2026-01-01T00:00:00")),
        ("/events/tx", lambda body: body["event"].update(transaction_id=1)),
        ("/events", lambda body: body["meta"].update(total_count="1")),
        ("/subscriptions/sub", lambda body: body["subscription"].update(lago_id="none")),
        ("/subscriptions/sub", lambda body: body["subscription"]["plan"]["charges"][0].pop("filters")),
        ("/plans/usage", lambda body: body["plan"].update(interval="hourly")),
        ("/customers/cust", lambda body: body["customer"].update(currency="XXY")),
    ],
)
def test_the_document_refuses_other_answers(lago: Client, path: str, spoil: Any) -> None:
    """A missing key, a wrong type, a time without an offset, an unknown word."""
    body = filled(lago).get(path).json()
    spoil(body)
    spoiled = requests.Response()
    spoiled.status_code = 200
    spoiled.json = lambda **_: body  # type: ignore[method-assign]
    assert len(openapi.problems("GET", path, spoiled)) == 1
