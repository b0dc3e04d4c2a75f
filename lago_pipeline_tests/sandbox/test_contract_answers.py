"""Lago's contract for its answers, line by line (LAGO.md 1.4, 1.5 and 1.6)."""

import pytest

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.contract import (
    BAD_TIME,
    CLICKHOUSE,
    COMPUTED,
    MANDATORY,
    NO_VARIABLE,
    POSTGRES,
    TAKEN,
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
from lago_pipeline_tests.sandbox.test_requests import CRASHED, NOT_FOUND, UNAUTHORIZED, missing

NO_ID_AND_CODE = {"transaction_id": MANDATORY, "code": MANDATORY}
WRONG_KEY = {"Authorization": "Bearer wrong"}

ORDER = [
    Case("1.4 malformed JSON is 400 even with a bad key", Post("/events", b"{", WRONG_KEY), 400,
         {"status": 400, "error": "Bad Request"}),
    Case("1.4 auth comes before root and shape", Post("/events", {}, WRONG_KEY), 401, UNAUTHORIZED),
    Case("1.4 auth comes before the batch's shape", Post("/events/batch", {"events": []}, WRONG_KEY), 401,
         UNAUTHORIZED),
    Case("1.4 permission comes before root and shape", Post("/events", {}), 403,
         {"status": 403, "error": "Forbidden", "code": "write_action_not_allowed_for_event"},
         faults=[{"kind": "status", "status": 403}]),
    Case("1.4 single: root before all", bare(), 400, missing("event")),
    invalid("1.4 single: timestamp returns immediately, alone", bare(code="computed", timestamp="x"),
            BAD_TIME, before=[COMPUTED]),
    invalid("1.4 single: expression before presence", bare(code="computed", properties={"a": 1}),
            NO_VARIABLE, before=[COMPUTED]),
    invalid("1.4 single: presence before the unique index", one(code=None), {"code": MANDATORY},
            before=[one()], stored=["tx"], stores=POSTGRES),
    Case("1.4 single, ClickHouse: no presence validation", bare(properties={"a": 1}), stores=CLICKHOUSE),
    Case("1.4 single, ClickHouse: no duplicate check", one(), before=[one()], stored=["tx", "tx"],
         stores=CLICKHOUSE),
    invalid("1.4 batch: blank before all", many(), {"events": ["no_events"]}),
    invalid("1.4 batch: the maximum before the events", many(*[usage(timestamp="x")] * 101),
            {"events": ["too_many_events"]}),
    invalid("1.4 batch: a bad timestamp skips the rest of its event", many({"timestamp": "x"}),
            {"0": BAD_TIME}),
    invalid("1.4 batch: presence overwrites the expression's error", many({"code": "computed"}),
            {"0": {"transaction_id": MANDATORY}}, before=[COMPUTED]),
    invalid("1.4 batch: all failing indexes, nothing stored",
            many(usage("a"), usage(timestamp="x"), usage("b"), {}),
            {"1": BAD_TIME, "3": NO_ID_AND_CODE}),
    invalid("1.4 batch: all duplicate indexes, everything rolled back",
            many(usage("c"), usage("a"), usage("d"), usage("b")),
            {"1": TAKEN, "3": TAKEN}, before=[many(usage("a"), usage("b"))], stored=["a", "b"],
            stores=POSTGRES),
    invalid("1.4 batch: duplicates are never reported with validation errors",
            many(usage("a"), usage("b", timestamp="x")),
            {"1": BAD_TIME}, before=[one(transaction_id="a")], stored=["a"]),
    Case("1.4 after commit: 500 although rows are committed", one(), 500, CRASHED, stored=["tx"],
         faults=[{"kind": "commit_then_status"}]),
]  # fmt: skip

SHAPE = {
    "transaction_id": "tx",
    "lago_customer_id": None,
    "code": "storage",
    "timestamp": "2022-04-29T08:59:51.123Z",
    "precise_total_amount_cents": "1234.56",
    "properties": {"gb": 10},
    "lago_subscription_id": None,
    "external_subscription_id": "sub",
}

WHOLE = usage(timestamp=1651222791.123, precise_total_amount_cents="1234.56", properties={"gb": 10})

ANSWERS = [
    Case("1.5 the single answer", Post("/events", {"event": WHOLE}), event=SHAPE),
    Case("1.5 the batch's answer has the same shape", many(WHOLE), event=SHAPE),
    Case("1.5 ClickHouse: lago_id and created_at are null", one(),
         event={"lago_id": None, "created_at": None}, stores=CLICKHOUSE),
    Case("1.5 ClickHouse: so too in a batch", many(usage()), event={"lago_id": None, "created_at": None},
         stores=CLICKHOUSE),
    Case("1.5 a precise amount is a string", one(precise_total_amount_cents=1000),
         event={"precise_total_amount_cents": "1000.0"}),
    Case("1.5 or null", one(), event={"precise_total_amount_cents": None}),
    Case("1.5 an expression's value is in the answer as string",
         one(code="computed", properties={"a": 1, "b": "2"}),
         event={"properties": {"a": 1, "b": "2", "gb": "3.0"}}, before=[COMPUTED]),
]  # fmt: skip

TWO_NON_OBJECTS = {"events": ["x", None, usage("a"), usage("b", timestamp="x")]}

NO_EVENT = (b"{}", b'{"event": {}}', b'{"event": null}', b"[1]", b'"x"', b"", b'{"event": " "}', b"1")
NO_EVENTS = (
    b"{}",
    b'{"events": []}',
    b"[1]",
    b'{"events": null}',
    b'{"events": ["x", 1]}',
    b'{"events": {}}',
)
ERRORS = [
    Case("1.6 malformed JSON, Accept: application/json", Post("/events", b"{"), 400,
         {"status": 400, "error": "Bad Request"}),
    *[
        Case(f"1.6 malformed JSON, Accept: {accept or 'none'}", Post("/events", b"{", {"Accept": accept}),
         400, b"")
        for accept in ("*/*", "", "application/json, text/plain, */*", "text/html")
    ],
    *[
        Case(f"1.6 single: root is {body!r}", Post("/events", body), 400, missing("event"))
        for body in NO_EVENT
    ],
    crash("1.6 event is a string", Post("/events", {"event": "x"})),
    crash("1.6 event is a number", Post("/events", {"event": 1})),
    crash("1.6 event is an array", Post("/events", {"event": [usage()]})),
    *[
        invalid(f"1.6 batch: root is {body!r}", Post("/events/batch", body), {"events": ["no_events"]})
        for body in NO_EVENTS
    ],
    crash("1.6 events is an object", Post("/events/batch", {"events": {"0": usage()}})),
    invalid("1.6 non-object elements are dropped and shift the indexes",
            Post("/events/batch", TWO_NON_OBJECTS), {"1": BAD_TIME}),
    invalid("1.6 > max", many(*[usage(str(number)) for number in range(101)]),
            {"events": ["too_many_events"]}),
    *[
        Case(f"1.6 401: {header!r}", Post("/events", {}, {"Authorization": header}), 401, UNAUTHORIZED)
        for header in ("", "Bearer 5a6d0b0c", "5a6d0b0c-1a90-4e0f-9d6b-0c0ffee0da7a")
    ],
    Case("1.6 wrong path", Post("/event", {}), 404, NOT_FOUND),
    invalid("1.6 validation, single", one(transaction_id=None, code=None), NO_ID_AND_CODE, stores=POSTGRES),
    invalid("1.6 duplicate, single", one(), TAKEN, before=[one()], stored=["tx"], stores=POSTGRES),
    invalid("1.6 bad timestamp", one(timestamp="x"), BAD_TIME),
    invalid("1.6 expression failure, single: a string", one(code="computed", properties={"a": 1}),
            NO_VARIABLE, before=[COMPUTED]),
    invalid("1.6 batch: indexes as strings", many(usage("a"), usage("b", timestamp="x")), {"1": BAD_TIME}),
    invalid("1.6 batch: an expression error's value is a string",
            many(usage(code="computed", properties={"a": 1})), {"0": NO_VARIABLE}, before=[COMPUTED]),
    crash("1.6 unhandled: NUL in a property", one(properties={"a": "\0"}), stores=POSTGRES),
    Case("1.6 proxies: 502 and HTML", one(), 502, faults=[{"kind": "html"}], stored=[]),
    Case("1.6 proxies: 503", one(), 503, faults=[{"kind": "html", "status": 503}], stored=[]),
    crash("1.6 poison: NUL in any property kills its batch",
          many(usage("a"), usage("b", properties={"a": ["\0"]})), stores=POSTGRES),
    invalid("1.6 poison: NUL in transaction_id, single", one(transaction_id="a\0"), BAD_TIME,
            stores=POSTGRES),
    crash("1.6 poison: NUL in transaction_id, batch", many(usage("a\0")), stores=POSTGRES),
    crash("1.6 poison: microseconds", many(usage(timestamp=1651240791123456)), stores=POSTGRES),
    crash("1.6 poison: absurd amounts", many(usage(precise_total_amount_cents="1e30")), stores=POSTGRES),
    crash("1.6 poison: giant ids", many(usage("x" * 8000)), stores=POSTGRES),
]  # fmt: skip


@each([*ORDER, *ANSWERS, *ERRORS])
def test_a_line_of_the_contract(request: pytest.FixtureRequest, case: Case, store: str) -> None:
    """The request is answered as the line says."""
    prove(case, request.getfixturevalue(store))


def test_a_retry_after_a_crash_finds_its_own_event(lago: Client) -> None:
    """1.4 HTTP 500 although rows are committed -> retry gives value_already_exist."""
    lago.sandbox.set_faults([{"kind": "commit_then_status", "times": 1}])
    assert [lago.event(**usage()).status_code for _ in range(2)] == [500, 422]


def test_a_batch_is_answered_in_order_without_meta(either: Client) -> None:
    """1.5 {"events": [...]} in request order, no `meta`."""
    body = either.batch(usage("b"), usage("a")).json()
    assert list(body) == ["events"]
    assert [event["transaction_id"] for event in body["events"]] == ["b", "a"]


def test_the_ingest_service_answers_an_empty_body(lago: Client) -> None:
    """1.5 The separate ingest service returns an empty body."""
    lago.sandbox.set_faults([{"kind": "empty", "status": 200, "commit": True}])
    answer = lago.event(**usage())
    assert (answer.status_code, answer.content, lago.stored()) == (200, b"", ["tx"])


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/events"), ("DELETE", "/events/a"), ("PATCH", "/events/batch")]
)
def test_a_wrong_verb_is_404(lago: Client, method: str, path: str) -> None:
    """1.6 catch-all route; no 405."""
    answer = lago.call(method, path)
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_there_is_no_rate_limit_in_open_source(lago: Client) -> None:
    """1.6 429 does not exist for events: no header speaks of it."""
    assert not [name for name in lago.event(**usage()).headers if "ratelimit" in name.lower()]
