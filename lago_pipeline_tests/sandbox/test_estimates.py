"""POST /events/estimate_fees: the checks in Lago's order, and the fee (LAGO.md 4)."""

import pytest

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_catalog import add_metric, add_plan, charge
from lago_pipeline_tests.sandbox.test_openapi import SUBSCRIPTION
from lago_pipeline_tests.sandbox.test_requests import NOT_FOUND, missing, refused


@pytest.fixture
def shop(lago: Client) -> Client:
    """A Lago that bills `storage` at once, and `later` and `sum` in arrears."""
    storage = add_metric(lago)
    later = add_metric(lago, code="later", aggregation_type="count_agg")
    computed = add_metric(lago, code="sum", expression="event.properties.a + event.properties.b")
    instant = charge(storage) | {"pay_in_advance": True}
    add_plan(lago, charges=[instant, charge(storage), charge(later), charge(computed)])
    lago.post("/subscriptions", {"subscription": SUBSCRIPTION})
    return lago


@pytest.mark.parametrize(
    ("event", "status", "body"),
    [
        ({}, 400, missing("event")),
        (usage(external_subscription_id="x", code="x"), 404, NOT_FOUND | {"code": "subscription_not_found"}),
        (usage(code="x", timestamp="bad"), 422, refused({"timestamp": ["invalid_format"]})),
        (usage(code="x"), 404, NOT_FOUND | {"code": "billable_metric_not_found"}),
        (usage(properties={"gb": "x"}), 422, refused({"properties": ["value_is_not_valid_number"]})),
        (
            usage(code="sum", properties={"a": "1"}),
            422,
            refused("expression_evaluation_failed: Variable: b not found"),
        ),
        (usage(code="later"), 422, refused({"code": ["does_not_match_an_instant_charge"]})),
    ],
)
def test_the_first_problem_is_the_answer(
    shop: Client, event: dict[str, object], status: int, body: dict[str, object]
) -> None:
    """Subscription, timestamp, metric, number, expression, and last whether it is billed at once."""
    answer = shop.post("/events/estimate_fees", {"event": event})
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize(
    ("gb", "units", "cents"), [("2.55", "2.55", 26), (None, "0.0", 0), (1e3, "1000.0", 10_000)]
)
def test_a_fee_is_reckoned_and_nothing_is_stored(shop: Client, gb: object, units: str, cents: int) -> None:
    """Units by the price of the charge that is billed at once, whatever the event's time."""
    event = usage(timestamp=5, properties={} if gb is None else {"gb": gb})
    (fee,) = shop.post("/events/estimate_fees", {"event": event}).json()["fees"]
    assert (fee["units"], fee["amount_cents"], fee["amount_currency"]) == (units, cents, "EUR")
    assert shop.stored() == []
