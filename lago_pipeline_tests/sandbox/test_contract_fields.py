"""Lago's contract for an event's fields, line by line (LAGO.md 1, 1.1, 1.2 and 1.3)."""

from collections.abc import Mapping

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline_tests.sandbox.client import Client, connected, usage
from lago_pipeline_tests.sandbox.contract import (
    BAD_TIME,
    CLICKHOUSE,
    MANDATORY,
    POSTGRES,
    Case,
    Post,
    bare,
    crash,
    each,
    invalid,
    many,
    one,
    prove,
)
from lago_pipeline_tests.sandbox.test_requests import missing, refused

BODIES = [
    Case("1 {event: {...}}", one(), event={"transaction_id": "tx"}, stored=["tx"]),
    Case(
        "1 {events: [{...}, ...]}",
        many(usage("a"), usage("b")),
        event={"transaction_id": "a"},
        stored=["a", "b"],
    ),
    Case(
        "1 Content-Type must be application/json: not parsed -> 400 missing root",
        Post("/events", b'{"event": {"transaction_id": "a", "code": "c"}}', {"Content-Type": "text/plain"}),
        400,
        missing("event"),
        stored=[],
    ),
]  # fmt: skip

FIELDS = [
    Case("1.1 everything else silently dropped", one(surprise=1), stored=["tx"]),
    Case("1.1 transaction_id: any JSON scalar, cast to string", one(transaction_id=123),
         event={"transaction_id": "123"}),
    Case("1.1 transaction_id: true is t", one(transaction_id=True), event={"transaction_id": "t"}),
    invalid("1.1 transaction_id: presence (Postgres, single)", bare(code="c"),
            {"transaction_id": MANDATORY}, stores=POSTGRES),
    invalid("1.1 transaction_id: presence (both, batch)", many({"code": "c"}),
            {"0": {"transaction_id": MANDATORY}}),
    Case("1.1 transaction_id: no presence (ClickHouse, single)", bare(code="c"),
         event={"transaction_id": None}, stores=CLICKHOUSE),
    invalid("1.1 transaction_id: an array counts as missing", many(usage([1])),
            {"0": {"transaction_id": MANDATORY}}),
    invalid("1.1 transaction_id: an object counts as missing", many(usage({"a": 1})),
            {"0": {"transaction_id": MANDATORY}}),
    Case("1.1 transaction_id: no length check", one(transaction_id="x" * 2600), stored=["x" * 2600]),
    crash("1.1 transaction_id: a btree rejects huge ids", one(transaction_id="x" * 8000), stores=POSTGRES),
    Case("1.1 transaction_id: ClickHouse takes huge ids", one(transaction_id="x" * 8000), stores=CLICKHOUSE),
    Case("1.1 code: scalar -> string", one(code=5), event={"code": "5"}),
    invalid("1.1 code: presence (Postgres, single)", bare(transaction_id="a"), {"code": MANDATORY},
            stores=POSTGRES),
    invalid("1.1 code: presence (both, batch)", many({"transaction_id": "a"}), {"0": {"code": MANDATORY}}),
    Case("1.1 code: no presence (ClickHouse, single)", bare(transaction_id="a"), event={"code": None},
         stores=CLICKHOUSE),
    Case("1.1 code: the metric's existence is not checked", one(code="nobody's"), stored=["tx"]),
    Case("1.1 external_subscription_id: scalar -> string", one(external_subscription_id=7),
         event={"external_subscription_id": "7"}),
    Case("1.1 external_subscription_id: absent -> 200", bare(transaction_id="a", code="c"),
         event={"external_subscription_id": None}),
    Case("1.1 external_subscription_id: unknown -> 200", one(external_subscription_id="nobody"),
         stored=["tx"]),
    Case("1.1 timestamp: a number, decimals ok", one(timestamp=5.25),
         event={"timestamp": "1970-01-01T00:00:05.250Z"}),
    Case("1.1 timestamp: numeric string", one(timestamp="5"),
         event={"timestamp": "1970-01-01T00:00:05.000Z"}),
    Case("1.1 properties: nested objects, arrays and nulls kept",
         one(properties={"a": {"b": [1]}, "c": None}),
         event={"properties": {"a": {"b": [1]}, "c": None}}),
    Case("1.1 properties: not required", one(), event={"properties": {}}),
    Case("1.1 properties: a string is dropped", one(properties="x"), event={"properties": {}}),
    Case("1.1 properties: an array is dropped", one(properties=["x"]), event={"properties": {}}),
    Case("1.1 properties: null is none", one(properties=None), event={"properties": {}}),
    Case("1.1 properties: a scalar is dropped", one(properties=3), event={"properties": {}}),
    Case("1.1 properties: nulls inside arrays are removed", one(properties={"a": [None, 1]}),
         event={"properties": {"a": [1]}}),
    Case(
        "1.1 properties: JSON floats become doubles",
        Post("/events",
         b'{"event": {"transaction_id": "a", "code": "c", "properties": {"n": 0.1234567890123456789}}}'),
        event={"properties": {"n": 0.12345678901234568}},
    ),
    Case("1.1 precise_total_amount_cents: number", one(precise_total_amount_cents=12.5),
         event={"precise_total_amount_cents": "12.5"}),
    Case("1.1 precise_total_amount_cents: string decimal(40,15)",
         one(precise_total_amount_cents="0.1234567890123456"),
         event={"precise_total_amount_cents": "0.123456789012346"}),
    Case("1.1 precise_total_amount_cents: invalid string -> silently 0", one(precise_total_amount_cents="x"),
         event={"precise_total_amount_cents": "0.0"}),
    crash("1.1 precise_total_amount_cents: >= 1e25", one(precise_total_amount_cents="1e25"), stores=POSTGRES),
    Case("1.1 external_customer_id: ignored", bare(transaction_id="a", code="c", external_customer_id="x"),
         event={"external_subscription_id": None}),
]  # fmt: skip

TIMES: Mapping[object, str] = {
    1651240791: "2022-04-29T13:59:51.000Z",
    1651240791.123: "2022-04-29T13:59:51.123Z",
    "1651240791.123456789": "2022-04-29T13:59:51.123Z",
    " 1651240791 ": "2022-04-29T13:59:51.000Z",
    "1_651_240_791": "2022-04-29T13:59:51.000Z",
    "1e9": "2001-09-09T01:46:40.000Z",
    "+1651240791": "2022-04-29T13:59:51.000Z",
    0: "1970-01-01T00:00:00.000Z",
    -5: "1969-12-31T23:59:55.000Z",
    ".5": "1970-01-01T00:00:00.500Z",
    -0.0005: "1969-12-31T23:59:59.999Z",
    1651240791123: "54295-09-27T05:32:03.000Z",  # milliseconds are accepted
    "1651240791.1239": "2022-04-29T13:59:51.123Z",  # printed as iso8601(3), truncated
    4102444800: "2100-01-01T00:00:00.000Z",  # no future limit
    -62135596800: "0001-01-01T00:00:00.000Z",  # no past limit
}

NO_TIMES = (
    "2022-04-29T08:59:51Z", "2022-04-29", "", "abc", True, "0x10", "1651240791.", "1__0", "1_", ".", "1e",
    "1 0", "1\0",
)  # fmt: skip

NEVER = ("NaN", "Infinity", "-Infinity", "1e99999999999999999999")

TIMESTAMPS = [
    *[Case(f"1.2 accepted: {given!r}", one(timestamp=given), event={"timestamp": kept}) for given,
         kept in TIMES.items()],
    *[invalid(f"1.2 invalid_format: {given!r}", one(timestamp=given), BAD_TIME) for given in NO_TIMES],
    *[crash(f"1.2 FloatDomainError: {given}", one(timestamp=given)) for given in NEVER],
    *[crash(f"1.2 FloatDomainError in a batch: {given}", many(usage(timestamp=given))) for given in NEVER],
    crash("1.2 microseconds are out of range (single)", one(timestamp=1651240791123456), stores=POSTGRES),
    crash("1.2 microseconds are out of range (batch)", many(usage("a"), usage(timestamp=1651240791123456)),
          stores=POSTGRES),
]  # fmt: skip

LIMITS = [
    Case("1.3 batch max 100", many(*[usage(str(number)) for number in range(100)])),
    invalid("1.3 101 are too many", many(*[usage(str(number)) for number in range(101)]),
            {"events": ["too_many_events"]}),
    Case("1.3 no body-size limit", one(properties={"a": "x" * 3_000_000}), stored=["tx"]),
]  # fmt: skip


@each([*BODIES, *FIELDS, *TIMESTAMPS, *LIMITS])
def test_a_line_of_the_contract(request: pytest.FixtureRequest, case: Case, store: str) -> None:
    """The request is answered as the line says."""
    prove(case, request.getfixturevalue(store))


@pytest.mark.parametrize("given", [None, False, {}, [1], {"a": 1}])
def test_no_timestamp_is_the_time_of_receipt(either: Client, given: object) -> None:
    """1.1 null, false, absent -> server receive time; 1.2 object and array -> now."""
    for post in (one(timestamp=given), bare(transaction_id="b", code="c")):
        assert post.to(either).status_code == 200
    for event in either.sandbox.events():
        assert 0 <= int(str(event["created_us"])) - int(str(event["timestamp_us"])) < 1000


def test_stored_precision(lago: Client, clickhouse: Client) -> None:
    """1.2 Stored: PostgreSQL microseconds, ClickHouse milliseconds."""
    for client, kept in ((lago, 1_123_456), (clickhouse, 1_123_000)):
        client.event(**usage(timestamp="1.123456789"))
        assert client.sandbox.events()[0]["timestamp_us"] == kept


def test_the_maximum_is_configurable() -> None:
    """1.3 LAGO_EVENTS_BATCH_MAX_LENGTH."""
    with connected(SandboxConfig(batch_max=2)) as lago:
        assert lago.batch(usage("a"), usage("b")).status_code == 200
        assert lago.batch(usage("c"), usage("d"), usage("e")).json() == refused(
            {"events": ["too_many_events"]}
        )
