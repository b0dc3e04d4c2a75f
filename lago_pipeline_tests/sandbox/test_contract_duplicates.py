"""Lago's contract for duplicates, line by line, in either store (LAGO.md 1.7)."""

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline_tests.sandbox.client import Client, connected, usage
from lago_pipeline_tests.sandbox.contract import (
    CLICKHOUSE,
    POSTGRES,
    TAKEN,
    Case,
    Post,
    each,
    invalid,
    many,
    one,
    prove,
)
from lago_pipeline_tests.sandbox.test_catalog import METRIC
from lago_pipeline_tests.sandbox.test_requests import NOT_FOUND, refused

NOBODY = usage(external_subscription_id=None)

DUPLICATES = [
    invalid("1.7 code, timestamp and properties do not count",
            one(code="x", timestamp=1, properties={"a": 1}), TAKEN,
            before=[one()], stored=["tx"], stores=POSTGRES),
    Case("1.7 another subscription is another event", one(external_subscription_id="x"), before=[one()],
         stored=["tx", "tx"]),
    invalid("1.7 an empty subscription is one", one(external_subscription_id=""), TAKEN,
            before=[one(external_subscription_id="")], stored=["tx"], stores=POSTGRES),
    Case("1.7 no subscription is never a duplicate", Post("/events", {"event": NOBODY}),
         before=[Post("/events", {"event": NOBODY})], stored=["tx", "tx"]),
    invalid("1.7 a repeated id in one batch: 2nd and later, all rolled back",
            many(usage("a"), usage("b"), usage("a"), usage("a")),
            {"2": TAKEN, "3": TAKEN}, stores=POSTGRES),
    invalid("1.7 the in-batch check is by transaction_id only",
            many(usage(external_subscription_id="x"), usage()),
            {"1": TAKEN}, stores=POSTGRES),
    invalid("1.7 v1.32.4 .. v1.38.x left the non-duplicate events stored", many(usage("a"), usage("b")),
            {"0": TAKEN},
            before=[one(transaction_id="a")], faults=[{"kind": "partial_store"}], stored=["a", "b"],
            stores=POSTGRES),
    Case("1.7 ClickHouse: always 200", many(usage(), usage()), before=[one()], stored=["tx"] * 3,
         stores=CLICKHOUSE),
]  # fmt: skip


@each(DUPLICATES)
def test_a_line_of_the_contract(request: pytest.FixtureRequest, case: Case, store: str) -> None:
    """The request is answered as the line says."""
    prove(case, request.getfixturevalue(store))


def test_the_first_event_stays_as_it_was(lago: Client) -> None:
    """1.7 Payload equality is never checked: a changed payload under the same id is just rejected."""
    lago.event(**usage(properties={"gb": "1"}))
    assert lago.event(**usage(code="other", timestamp=5, properties={"gb": "2"})).status_code == 422
    assert [event["properties"] for event in lago.sandbox.events()] == [{"gb": "1"}]


@pytest.mark.parametrize("pair", [("one", "two"), (None, None), ("one", None)])
def test_within_a_batch_only_the_id_counts(lago: Client, pair: tuple[str | None, str | None]) -> None:
    """1.7 The in-batch check is keyed by transaction_id only, though nulls and others are distinct."""
    answer = lago.batch(*[usage("a", external_subscription_id=name) for name in pair])
    assert (answer.json(), lago.stored()) == (refused({"1": TAKEN}), [])


def test_events_deleted_with_their_metric_still_block_their_ids(lago: Client) -> None:
    """1.7 The index has no deleted_at filter: 422, while GET /events/{id} says 404."""
    lago.post("/billable_metrics", {"billable_metric": METRIC})
    lago.batch(usage("a"), usage("b", code="other"))
    assert lago.call("DELETE", "/billable_metrics/storage").status_code == 200
    assert lago.get("/events/a").json() == NOT_FOUND | {"code": "event_not_found"}
    assert [event["transaction_id"] for event in lago.get("/events").json()["events"]] == ["b"]
    assert lago.get("/events").json()["meta"]["total_count"] == 1
    assert lago.event(**usage("a")).json() == refused(TAKEN)
    assert lago.event(**usage("c")).status_code == 200  # the code is free for new events
    assert lago.get("/events/c").status_code == 200


@pytest.mark.parametrize(
    ("again", "counted", "properties"),
    [
        ({"properties": {"n": "2"}}, 1, [{"n": "2"}]),  # the newest enriched_at wins: it overwrites
        ({"timestamp": "5.0009"}, 1, [{"n": "1"}]),  # the same millisecond
        ({"timestamp": "5.001"}, 2, [{"n": "1"}] * 2),
        ({"code": "other"}, 2, [{"n": "1"}] * 2),
        ({"external_subscription_id": "other"}, 2, [{"n": "1"}] * 2),
        ({"transaction_id": "other"}, 2, [{"n": "1"}] * 2),
        ({"timestamp": None}, 2, [{"n": "1"}] * 2),  # no timestamp: a new event a retry
    ],
)
def test_clickhouse_deduplicates_when_it_bills(
    clickhouse: Client, again: dict[str, object], counted: int, properties: list[dict[str, str]]
) -> None:
    """1.7 Key: code, subscription, transaction_id, timestamp in ms; raw copies stay listed."""
    first = usage(timestamp=5, properties={"n": "1"})
    for event in (first, first | again):
        assert clickhouse.event(**event).status_code == 200
    stats = clickhouse.sandbox.stats()
    assert (stats["events_stored"], stats["events_counted"]) == (2, counted)
    billed = clickhouse.sandbox.sandbox.store.rows("select properties from counted_events order by seq")
    assert billed == [(f'{{"n":"{entry["n"]}"}}',) for entry in properties]
    assert clickhouse.get("/events").json()["meta"]["total_count"] == 2


def test_without_the_flag_every_copy_is_billed() -> None:
    """1.7 Only if clickhouse_deduplication_enabled."""
    with connected(SandboxConfig(store="clickhouse", dedup=False)) as lago:
        lago.event(**usage(timestamp=5))
        lago.event(**usage(timestamp=5))
        assert lago.sandbox.stats()["events_counted"] == 2
