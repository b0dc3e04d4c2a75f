"""Subscriptions: made, kept, changed and ended (LAGO.md 4)."""

from datetime import date
from typing import Any

import pytest

from lago_pipeline.sandbox import periods
from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_catalog import add_metric, add_plan, charge
from lago_pipeline_tests.sandbox.test_requests import refused

BASIC = {"external_customer_id": "cust", "plan_code": "usage", "external_id": "sub/1"}
LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
def sold(lago: Client) -> Client:
    """A Lago with one metric and three plans of different price."""
    charges = [charge(add_metric(lago))]
    add_plan(lago, charges=charges)
    add_plan(lago, code="cheap", amount_cents=-1, charges=charges)
    add_plan(lago, code="dear", amount_cents=100, charges=charges)
    lago.post("/customers", {"customer": {"external_id": "cust"}})
    return lago


def subscribe(lago: Client, **fields: object) -> dict[str, Any]:
    """POST a subscription."""
    body = BASIC | {"subscription_at": LONG_AGO} | fields
    answer = lago.post("/subscriptions", {"subscription": body})
    assert answer.status_code == 200, answer.text
    subscription: dict[str, Any] = answer.json()["subscription"]
    return subscription


def listed(lago: Client, **query: object) -> list[dict[str, Any]]:
    """GET /subscriptions."""
    found: list[dict[str, Any]] = lago.get("/subscriptions", **query).json()["subscriptions"]
    return found


def test_a_subscription_starts_in_the_past(sold: Client) -> None:
    """It is active since then, with the plan that applies and the current period."""
    made = subscribe(sold)
    assert (made["status"], made["started_at"]) == ("active", "2026-01-01T00:00:00.000Z")
    assert [found["billable_metric_code"] for found in made["plan"]["charges"]] == ["storage"]
    assert made["current_billing_period_started_at"] < made["current_billing_period_ending_at"]
    assert sold.get("/subscriptions/sub%2F1").json() == {"subscription": made}
    assert listed(sold) == [{name: value for name, value in made.items() if name != "plan"}]


def test_without_a_date_it_starts_now(sold: Client) -> None:
    """Events stamped earlier are not its usage."""
    made = subscribe(sold, subscription_at=None)
    assert made["status"] == "active"
    assert made["started_at"][:19] == made["created_at"][:19]


def test_the_future_is_pending(sold: Client) -> None:
    """It is listed only when asked for, and has no period yet."""
    made = subscribe(sold, subscription_at="2999-01-01")
    assert (made["status"], made["started_at"], made["current_billing_period_started_at"]) == (
        "pending",
        None,
        None,
    )
    assert listed(sold) == []
    assert len(listed(sold, **{"status[]": ["pending", "active"]})) == 1
    assert sold.get("/subscriptions/sub%2F1").status_code == 404
    assert sold.get("/subscriptions/sub%2F1", status="pending").status_code == 200
    changed = subscribe(sold, subscription_at="2999-02-01", plan_code="dear")
    assert (changed["lago_id"], changed["plan_code"]) == (made["lago_id"], "dear")


def test_the_same_plan_gives_the_existing_one(sold: Client) -> None:
    """Nothing is made twice."""
    assert subscribe(sold)["lago_id"] == subscribe(sold)["lago_id"]
    assert len(listed(sold)) == 1


def test_an_upgrade_takes_over_at_once(sold: Client) -> None:
    """The old one ends, and both share the external id."""
    old, new = subscribe(sold), subscribe(sold, plan_code="dear")
    assert (new["status"], new["previous_plan_code"], new["subscription_at"]) == ("active", "usage", LONG_AGO)
    ended = listed(sold, **{"status[]": "terminated"})[0]
    assert (ended["lago_id"], ended["next_plan_code"]) == (old["lago_id"], "dear")
    assert [found["lago_id"] for found in listed(sold)] == [new["lago_id"]]


def test_a_downgrade_waits_for_the_period_to_end(sold: Client) -> None:
    """The current one stays, and a later change of mind replaces the one that waits."""
    old, answer = subscribe(sold), subscribe(sold, plan_code="cheap")
    assert (answer["lago_id"], answer["next_plan_code"]) == (old["lago_id"], "cheap")
    assert answer["downgrade_plan_date"] > answer["current_billing_period_ending_at"][:10]
    assert [found["plan_code"] for found in listed(sold, **{"status[]": "pending"})] == ["cheap"]
    subscribe(sold, plan_code="dear")
    assert [found["plan_code"] for found in listed(sold, **{"status[]": "canceled"})] == ["cheap"]


def test_an_external_id_belongs_to_one_customer(sold: Client) -> None:
    """As long as it is in use."""
    subscribe(sold)
    body = {"subscription": BASIC | {"external_customer_id": "other"}}
    assert sold.post("/subscriptions", body).json() == refused({"external_id": ["value_already_exist"]})
    sold.call("DELETE", "/subscriptions/sub%2F1")
    assert sold.post("/subscriptions", body).status_code == 200


def test_a_terminated_subscription_is_found_by_status(sold: Client) -> None:
    """And an ended one is not ended again."""
    subscribe(sold)
    ended = sold.call("DELETE", "/subscriptions/sub%2F1").json()["subscription"]
    assert ended["status"] == "terminated"
    assert ended["terminated_at"]
    assert sold.call("DELETE", "/subscriptions/sub%2F1").status_code == 404
    assert sold.get("/subscriptions/sub%2F1", status="terminated").status_code == 200
    assert listed(sold) == []


def test_an_ending_date_ends_it(sold: Client) -> None:
    """Lago's clock terminates it in time."""
    made = subscribe(sold, ending_at="2026-02-01")
    assert (made["status"], made["terminated_at"]) == ("terminated", "2026-02-01T00:00:00Z")


def test_overrides_make_a_plan_of_its_own(sold: Client) -> None:
    """The subscription's charges are the effective ones; the parent stays."""
    parent = sold.get("/plans/usage").json()["plan"]
    price = {"id": parent["charges"][0]["lago_id"], "properties": {"amount": "9"}}
    made = subscribe(sold, plan_overrides={"amount_cents": 5, "charges": [price]})
    assert made["plan"]["charges"][0]["properties"] == {"amount": "9"}
    assert made["plan"]["charges"][0]["lago_parent_id"] == price["id"]
    assert made["plan"]["lago_id"] != parent["lago_id"]
    assert sold.get("/plans/usage").json()["plan"] == parent
    assert len(sold.get("/plans").json()["plans"]) == 3


def test_lists_are_filtered(sold: Client) -> None:
    """By ids, plan and status; an unknown status lifts the filter by status."""
    subscribe(sold)
    subscribe(sold, external_id="two", plan_code="dear")
    sold.call("DELETE", "/subscriptions/two")
    assert len(listed(sold, external_id="sub/1")) == 1
    assert listed(sold, external_id="two") == []
    assert listed(sold, external_customer_id="nobody") == []
    assert len(listed(sold, plan_code="dear", **{"status[]": "terminated"})) == 1
    assert len(listed(sold, **{"status[]": ["terminated", "nonsense"]})) == 2


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"external_id": ""}, {"external_id": ["value_is_mandatory"]}),
        ({"external_customer_id": None}, {"external_customer_id": ["value_is_mandatory"]}),
        ({"subscription_at": "soon"}, {"subscription_at": ["invalid_date"]}),
    ],
)
def test_wrong_subscriptions_are_refused(sold: Client, fields: dict[str, object], details: object) -> None:
    """Each problem under its field."""
    assert sold.post("/subscriptions", {"subscription": BASIC | fields}).json() == refused(details)


def test_an_unknown_plan_is_404(sold: Client) -> None:
    """With its code."""
    answer = sold.post("/subscriptions", {"subscription": BASIC | {"plan_code": "unknown"}})
    assert (answer.status_code, answer.json()["code"]) == (404, "plan_not_found")


def test_events_are_listed_since_the_start(sold: Client) -> None:
    """`timestamp_from_started_at` begins with the subscription."""
    subscribe(sold, external_id="sub")
    sold.batch(usage("early", timestamp=1767225599), usage("late", timestamp=1767225600))
    query = {"timestamp_from_started_at": "true", "external_subscription_id": "sub"}
    assert [found["transaction_id"] for found in sold.get("/events", **query).json()["events"]] == ["late"]
    assert sold.get("/events", **query | {"external_subscription_id": "x"}).json()["events"] == []


def test_clickhouse_knows_the_subscription_of_an_event(clickhouse: Client) -> None:
    """Its reads look up customer and subscription by the event's time; PostgreSQL's do not."""
    add_plan(clickhouse)
    made = subscribe(clickhouse, external_id="sub", ending_at="2026-02-01")
    times = {"before": 1767225599, "inside": 1767225600, "after": 1769904001}
    clickhouse.batch(*[usage(name, timestamp=time) for name, time in times.items()])
    owners = {
        name: clickhouse.get(f"/events/{name}").json()["event"]["lago_subscription_id"] for name in times
    }
    assert owners == {"before": None, "inside": made["lago_id"], "after": None}


@pytest.mark.parametrize(
    ("interval", "billing_time", "first", "last"),
    [
        ("weekly", "calendar", "2026-08-03", "2026-08-09"),
        ("weekly", "anniversary", "2026-08-01", "2026-08-07"),
        ("monthly", "calendar", "2026-08-01", "2026-08-31"),
        ("monthly", "anniversary", "2026-07-31", "2026-08-30"),
        ("quarterly", "calendar", "2026-07-01", "2026-09-30"),
        ("semiannual", "calendar", "2026-07-01", "2026-12-31"),
        ("yearly", "calendar", "2026-01-01", "2026-12-31"),
        ("yearly", "anniversary", "2026-01-31", "2027-01-30"),
    ],
)
def test_periods_follow_calendar_or_anniversary(
    interval: str, billing_time: str, first: str, last: str
) -> None:
    """A day after a month's end counts as its last day."""
    found = periods.current(interval, billing_time, date(2026, 1, 31), date(2026, 8, 7))
    assert tuple(day.isoformat() for day in found) == (first, last)
