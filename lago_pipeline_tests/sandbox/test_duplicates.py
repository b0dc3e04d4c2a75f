"""When an event is a duplicate, in either store (LAGO.md 1.7)."""

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline_tests.sandbox.client import Client, connected, usage
from lago_pipeline_tests.sandbox.test_requests import refused

TAKEN = {"transaction_id": ["value_already_exist"]}


def test_postgres_refuses_an_id_twice(lago: Client) -> None:
    """Code, timestamp and properties do not count; the first event stays as it was."""
    lago.event(**usage(properties={"gb": "1"}))
    answer = lago.event(**usage(code="other", timestamp=5, properties={"gb": "2"}))
    assert (answer.status_code, answer.json()) == (422, refused(TAKEN))
    assert [event["properties"] for event in lago.sandbox.events()] == [{"gb": "1"}]


def test_ids_are_per_subscription_across_requests(lago: Client) -> None:
    """Another subscription may use the id again, and no subscription is never a duplicate."""
    assert lago.event(**usage()).status_code == 200
    assert lago.event(**usage(external_subscription_id="other")).status_code == 200
    for _ in range(2):
        assert lago.event(**usage(external_subscription_id=None)).status_code == 200
    assert lago.event(**usage(external_subscription_id="")).status_code == 200
    assert lago.event(**usage(external_subscription_id="")).status_code == 422


def test_a_batch_is_all_or_nothing(lago: Client) -> None:
    """All duplicates are named at once, and nothing of the batch is stored."""
    lago.batch(usage("a"), usage("b"))
    answer = lago.batch(usage("c"), usage("a"), usage("d"), usage("b"))
    assert (answer.status_code, answer.json()) == (422, refused({"1": TAKEN, "3": TAKEN}))
    assert lago.stored() == ["a", "b"]
    assert lago.batch(usage("c"), usage("d")).status_code == 200


def test_within_a_batch_the_first_wins_and_nothing_is_stored(lago: Client) -> None:
    """Second and later occurrences are named."""
    answer = lago.batch(usage("a"), usage("b"), usage("a"), usage("a"))
    assert answer.json() == refused({"2": TAKEN, "3": TAKEN})
    assert lago.stored() == []


@pytest.mark.parametrize("subscriptions", [("one", "two"), (None, None), ("one", None)])
def test_within_a_batch_only_the_id_counts(lago: Client, subscriptions: tuple[str | None, ...]) -> None:
    """One id for two subscriptions is refused, though neither event is stored."""
    answer = lago.batch(*[usage("a", external_subscription_id=name) for name in subscriptions])
    assert answer.json() == refused({"1": TAKEN})
    assert lago.stored() == []


def test_duplicates_are_never_reported_with_other_problems(lago: Client) -> None:
    """Validation comes first and alone."""
    lago.event(**usage("a"))
    answer = lago.batch(usage("a"), usage("b", timestamp="bad"))
    assert answer.json() == refused({"1": {"timestamp": ["invalid_format"]}})


def test_clickhouse_never_refuses_and_keeps_every_copy(clickhouse: Client) -> None:
    """The newest copy of (code, subscription, id, millisecond) is what counts."""
    clickhouse.event(**usage(timestamp="5.0001", properties={"gb": "1"}))
    clickhouse.batch(usage(timestamp="5.0009", properties={"gb": "2"}), usage(timestamp="5.001"))
    assert clickhouse.stored() == ["tx"] * 3
    assert clickhouse.sandbox.stats()["events_counted"] == 2
    counted = clickhouse.sandbox.sandbox.store.rows("select properties from counted_events order by seq")
    assert counted == [('{"gb":"2"}',), ("{}",)]


@pytest.mark.parametrize(
    "change", [{"code": "other"}, {"external_subscription_id": "x"}, {"timestamp": -0.0001}]
)
def test_clickhouse_counts_another_key_again(clickhouse: Client, change: dict[str, object]) -> None:
    """Another code, subscription or millisecond is another event, before 1970 too."""
    clickhouse.batch(usage(timestamp=0), usage(timestamp=0) | change)
    assert clickhouse.sandbox.stats()["events_counted"] == 2


def test_without_dedup_every_copy_counts() -> None:
    """Older organisations lack the flag."""
    with connected(SandboxConfig(store="clickhouse", dedup=False)) as lago:
        lago.batch(usage(timestamp=5), usage(timestamp=5))
        assert lago.sandbox.stats()["events_counted"] == 2
