"""What Lago makes of an event's fields (LAGO.md 1.1, 1.2, 1.5 and 1.8)."""

import json
import re
from typing import Any

import pytest

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_requests import CRASHED, refused

MANDATORY = ["value_is_mandatory"]
BAD_TIMESTAMP = {"timestamp": ["invalid_format"]}


def accepted(lago: Client, **fields: object) -> dict[str, Any]:
    """The event that Lago says it accepted."""
    answer = lago.event(**usage(**fields))
    assert answer.status_code == 200, answer.text
    event: dict[str, Any] = answer.json()["event"]
    return event


def test_an_accepted_event_is_answered_whole(lago: Client) -> None:
    """PostgreSQL's answer has an id and a time of creation, and never a customer or subscription."""
    event = accepted(
        lago, timestamp=1651222791.123, precise_total_amount_cents="1234.56", properties={"gb": 10}
    )
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event.pop("lago_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("created_at"))
    assert event == {
        "transaction_id": "tx",
        "lago_customer_id": None,
        "code": "storage",
        "timestamp": "2022-04-29T08:59:51.123Z",
        "precise_total_amount_cents": "1234.56",
        "properties": {"gb": 10},
        "lago_subscription_id": None,
        "external_subscription_id": "sub",
    }


@pytest.mark.parametrize("timestamp", [1651240791123456, "-210866803201", "1e40", "-1e40"])
def test_times_beyond_postgres_crash_there_only(lago: Client, clickhouse: Client, timestamp: object) -> None:
    """Microseconds are out of PostgreSQL's range."""
    assert lago.event(**usage(timestamp=timestamp)).json() == CRASHED
    assert lago.batch(usage("ok"), usage(timestamp=timestamp)).json() == CRASHED
    assert lago.stored() == []
    assert accepted(clickhouse, timestamp=timestamp)["timestamp"].endswith("Z")
    assert len(clickhouse.get("/events", timestamp_from="").json()["events"]) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("x", "x"),
        (123, "123"),
        (1.5, "1.5"),
        (1e20, "1.0e+20"),
        (True, "t"),
        (False, "f"),
        (10**30, str(10**30)),
    ],
)
def test_scalars_become_text(lago: Client, given: object, kept: str) -> None:
    """Every JSON scalar is cast as Rails casts it."""
    event = accepted(lago, transaction_id=given, code=given, external_subscription_id=given)
    assert [event[name] for name in ("transaction_id", "code", "external_subscription_id")] == [kept] * 3


@pytest.mark.parametrize("blank", [None, "", "  ", [], ["x"], {"a": 1}])
def test_id_and_code_are_mandatory(either: Client, blank: object) -> None:
    """In a batch both stores insist; objects and arrays count as missing."""
    event = usage() | {"transaction_id": blank, "code": blank}
    details = {"transaction_id": MANDATORY, "code": MANDATORY}
    assert either.batch(event).json() == refused({"0": details})
    single = either.event(**event)
    if either.sandbox.sandbox.store.kind == "postgres":
        assert single.json() == refused(details)
    else:
        assert single.status_code == 200  # ClickHouse's single route validates nothing


def test_unknown_fields_are_dropped(lago: Client) -> None:
    """What Lago does not know leaves no trace, the old external_customer_id included."""
    event = accepted(lago, external_customer_id="cust", surprise=1)
    assert not {"external_customer_id", "surprise"} & event.keys()


def test_properties_are_kept_but_for_nulls_in_arrays(either: Client) -> None:
    """Nested values stay; Rails takes the nulls out of arrays."""
    given = {"a": None, "b": {"c": [1, None, [None, {"d": [None]}]]}, "e": "ü\u2028", "f": 10**30}
    kept = {"a": None, "b": {"c": [1, [{"d": []}]]}, "e": "ü\u2028", "f": 10**30}
    event = accepted(either, properties=given)
    assert event["properties"] == kept
    assert either.sandbox.events()[0]["properties"] == kept
    assert either.get("/events/tx").json()["event"]["properties"] == kept


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        (1000, "1000.0"),
        ("1234.56", "1234.56"),
        (12.5, "12.5"),
        ("invalid", "0.0"),
        ("12abc", "12.0"),
        (None, None),
        ("", None),
        ([1], None),
        (True, "1.0"),
        ("0.1234567890123456789", "0.123456789012346"),
        ("1e3", "1000.0"),
    ],
)
def test_amounts_are_decimals(lago: Client, given: object, printed: str | None) -> None:
    """Amounts print as plain decimals; text that is none is silently 0."""
    assert accepted(lago, precise_total_amount_cents=given)["precise_total_amount_cents"] == printed


@pytest.mark.parametrize(
    "poison",
    [
        {"properties": {"a": "x\0y"}},
        {"properties": {"a": [{"b\0": 1}]}},
        {"transaction_id": "x" * 2701},
        {"precise_total_amount_cents": "1e25"},
    ],
    ids=["value", "key", "id", "amount"],
)
def test_poison_crashes_postgres_for_good(
    lago: Client, clickhouse: Client, poison: dict[str, object]
) -> None:
    """What PostgreSQL cannot hold is a 500 every time, and takes its batch with it."""
    for _ in range(2):
        assert lago.event(**usage() | poison).json() == CRASHED
        assert lago.batch(usage("good"), usage() | poison).json() == CRASHED
    assert lago.stored() == []
    assert clickhouse.batch(usage("good"), usage() | poison).status_code == 200


def test_an_amount_beyond_all_numbers_crashes(either: Client) -> None:
    """Nobody stores it."""
    assert either.event(**usage(precise_total_amount_cents="1e999")).json() == CRASHED


def test_text_that_only_looks_like_a_nul_is_fine(lago: Client) -> None:
    """A backslash and u0000 are six characters."""
    assert accepted(lago, properties={"a": "\\u0000"})["properties"] == {"a": "\\u0000"}


def test_answers_are_json(lago: Client) -> None:
    """Every answer of the API says that it is JSON."""
    for answer in (lago.event(**usage()), lago.event(), lago.get("/nothing")):
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert json.loads(answer.content)
