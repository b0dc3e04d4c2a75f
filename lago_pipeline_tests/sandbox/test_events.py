"""What Lago makes of an event's fields (LAGO.md 1.1, 1.2, 1.5 and 1.8)."""

import json
import re
from typing import Any

import pytest

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_requests import CRASHED, raw, refused

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


def test_clickhouse_answers_without_id_and_creation(clickhouse: Client) -> None:
    """The record was never saved when the answer is written."""
    event = accepted(clickhouse)
    assert (event["lago_id"], event["created_at"]) == (None, None)
    assert clickhouse.batch(usage()).json()["events"][0]["lago_id"] is None


def test_a_batch_is_answered_in_order_without_meta(lago: Client) -> None:
    """The answer to a batch lists the same shape in the order of the request."""
    answer = lago.batch(usage("b"), usage("a")).json()
    assert list(answer) == ["events"]
    assert [event["transaction_id"] for event in answer["events"]] == ["b", "a"]
    assert answer["events"][0].keys() == accepted(lago).keys()


@pytest.mark.parametrize(
    ("timestamp", "printed"),
    [
        (1651240791, "2022-04-29T13:59:51.000Z"),
        (1651240791.123, "2022-04-29T13:59:51.123Z"),
        ("1651240791.123456789", "2022-04-29T13:59:51.123Z"),
        ("1651240791.1239", "2022-04-29T13:59:51.123Z"),
        (" 1651240791 ", "2022-04-29T13:59:51.000Z"),
        ("1_651_240_791", "2022-04-29T13:59:51.000Z"),
        ("1e9", "2001-09-09T01:46:40.000Z"),
        ("+1651240791", "2022-04-29T13:59:51.000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-5, "1969-12-31T23:59:55.000Z"),
        (-0.0005, "1969-12-31T23:59:59.999Z"),
        (".5", "1970-01-01T00:00:00.500Z"),
        (1651240791123, "54295-09-27T05:32:03.000Z"),
    ],
)
def test_timestamps_are_unix_seconds(either: Client, timestamp: object, printed: str) -> None:
    """Numbers and numeric text are taken, milliseconds too, some thousand years from now."""
    assert accepted(either, timestamp=timestamp)["timestamp"] == printed


@pytest.mark.parametrize(
    "timestamp",
    [
        "2022-04-29T08:59:51Z",
        "2022-04-29",
        "",
        "abc",
        True,
        "0x10",
        "1651240791.",
        "1__0",
        "1_",
        ".",
        "1e",
        "1 0",
        "1\0",
    ],
)
def test_other_timestamps_are_invalid(either: Client, timestamp: object) -> None:
    """ISO 8601 and everything that BigDecimal refuses is invalid_format."""
    answer = either.event(**usage(timestamp=timestamp))
    assert (answer.status_code, answer.json()) == (422, refused(BAD_TIMESTAMP))


@pytest.mark.parametrize("timestamp", [None, False, {}, [1], {"a": 1}])
def test_no_timestamp_is_now(either: Client, timestamp: object) -> None:
    """A missing timestamp, and one that strong parameters drop, is the time of receipt."""
    event = accepted(either, timestamp=timestamp)
    stored = either.sandbox.events()[0]
    received = int(str(stored["created_us"]))
    is_exact = either.sandbox.sandbox.store.kind == "postgres"  # ClickHouse keeps milliseconds
    assert stored["timestamp_us"] == (received if is_exact else received // 1000 * 1000)
    assert event["timestamp"] == stored["timestamp"]


@pytest.mark.parametrize("timestamp", ["NaN", "Infinity", "-Infinity", "1e99999999999999999999"])
@pytest.mark.parametrize("path", ["/events", "/events/batch"])
def test_numbers_that_are_no_time_crash(either: Client, path: str, timestamp: str) -> None:
    """FloatDomainError is rescued nowhere."""
    event = usage(timestamp=timestamp)
    answer = either.post(path, {"event": event, "events": [event]})
    assert (answer.status_code, answer.json()) == (500, CRASHED)


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


def test_the_subscription_is_not_looked_at(either: Client) -> None:
    """No subscription, and one that nobody knows, is accepted and never billed."""
    event = usage()
    del event["external_subscription_id"]
    assert either.event(**event).json()["event"]["external_subscription_id"] is None


def test_unknown_fields_are_dropped(lago: Client) -> None:
    """What Lago does not know leaves no trace, the old external_customer_id included."""
    event = accepted(lago, external_customer_id="cust", surprise=1)
    assert not {"external_customer_id", "surprise"} & event.keys()


@pytest.mark.parametrize("properties", [None, "x", 1, [], ["a"], True])
def test_properties_that_are_no_object_are_empty(lago: Client, properties: object) -> None:
    """They are dropped without a word."""
    assert accepted(lago, properties=properties)["properties"] == {}


def test_properties_are_kept_but_for_nulls_in_arrays(either: Client) -> None:
    """Nested values stay; Rails takes the nulls out of arrays."""
    given = {"a": None, "b": {"c": [1, None, [None, {"d": [None]}]]}, "e": "ü\u2028", "f": 10**30}
    kept = {"a": None, "b": {"c": [1, [{"d": []}]]}, "e": "ü\u2028", "f": 10**30}
    event = accepted(either, properties=given)
    assert event["properties"] == kept
    assert either.sandbox.events()[0]["properties"] == kept
    assert either.get("/events/tx").json()["event"]["properties"] == kept


def test_json_floats_are_doubles(lago: Client) -> None:
    """A number with more digits than a double has loses them."""
    body = b'{"event": {"transaction_id": "tx", "code": "c", "properties": {"n": 0.1234567890123456789}}}'
    assert b'"n":0.12345678901234568' in raw(lago, body).content


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


def test_a_nul_in_an_id_is_misreported(lago: Client) -> None:
    """The single route blames the timestamp, the batch crashes."""
    event = usage("a\0b")
    assert lago.event(**event).json() == refused(BAD_TIMESTAMP)
    assert lago.batch(event).json() == CRASHED


def test_the_single_route_reports_one_kind_of_problem(lago: Client) -> None:
    """The timestamp comes first and alone."""
    assert lago.event(timestamp="bad").json() == refused(BAD_TIMESTAMP)


def test_a_batch_names_every_event_with_a_problem(either: Client) -> None:
    """All failing indexes are listed as strings, and nothing is stored."""
    answer = either.batch(usage("a"), usage("b", timestamp="x"), usage(" "), usage("d", code=None))
    assert answer.json() == refused(
        {"1": BAD_TIMESTAMP, "2": {"transaction_id": MANDATORY}, "3": {"code": MANDATORY}}
    )
    assert either.stored() == []


def test_answers_are_json(lago: Client) -> None:
    """Every answer of the API says that it is JSON."""
    for answer in (lago.event(**usage()), lago.event(), lago.get("/nothing")):
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert json.loads(answer.content)
