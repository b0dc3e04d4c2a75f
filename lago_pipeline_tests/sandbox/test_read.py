"""Reading events back, pages, the organisation and health (LAGO.md 3 and 4)."""

import time
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline.sandbox.listing import Filters, find
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.store import Event
from lago_pipeline_tests.sandbox.client import Client, connected, usage
from lago_pipeline_tests.sandbox.test_requests import NOT_FOUND, refused


def listed(lago: Client, **query: object) -> list[str]:
    """The transaction ids of GET /events, in its order."""
    answer = lago.get("/events", **query)
    assert answer.status_code == 200, answer.text
    return [event["transaction_id"] for event in answer.json()["events"]]


@pytest.mark.parametrize(
    "transaction_id", ["tx", "a.b", "a/b", "a%b", "é ü", "sync:code:1%3A2", "a+b?c#d", "batch"]
)
def test_an_event_is_read_back_by_its_id(either: Client, transaction_id: str) -> None:
    """Percent-encoded ids work, with dots and slashes too."""
    either.event(**usage(transaction_id, timestamp=5, properties={"gb": 1.0}))
    found = either.get(f"/events/{quote(transaction_id, safe='')}").json()["event"]
    assert (found["transaction_id"], found["timestamp"]) == (transaction_id, "1970-01-01T00:00:05.000Z")
    assert found["properties"] == {"gb": 1.0}


def test_a_stored_event_looks_like_the_accepted_one(lago: Client) -> None:
    """On PostgreSQL nothing is filled in later."""
    assert lago.event(**usage()).json() == lago.get("/events/tx").json()


def test_an_unknown_event_is_404(either: Client) -> None:
    """With a code of its own."""
    answer = either.get("/events/unknown")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND | {"code": "event_not_found"})


def test_the_first_event_with_an_id_is_found(lago: Client) -> None:
    """Across subscriptions."""
    lago.event(**usage(external_subscription_id="one"))
    lago.event(**usage(external_subscription_id="two"))
    assert lago.get("/events/tx").json()["event"]["external_subscription_id"] == "one"


def test_clickhouse_reads_the_newest_copy_with_a_made_up_id(clickhouse: Client) -> None:
    """Its id is organisation, subscription, transaction and second."""
    clickhouse.batch(usage(timestamp=5, properties={"n": 1}), usage(timestamp=5, properties={"n": 2}))
    found = clickhouse.get("/events/tx").json()["event"]
    organization = clickhouse.get("/organizations").json()["organization"]["lago_id"]
    assert (found["lago_id"], found["properties"]) == (f"{organization}-sub-tx-5", {"n": 2})
    assert found["created_at"] is not None


def test_postgres_lists_by_time_and_id(lago: Client) -> None:
    """Newest timestamp first, equal ones by transaction id."""
    lago.batch(
        usage("c", timestamp=1), usage("b", timestamp=2), usage("d", timestamp=3), usage("a", timestamp=2)
    )
    assert listed(lago) == ["d", "a", "b", "c"]


def test_clickhouse_lists_raw_copies_by_arrival(clickhouse: Client) -> None:
    """Duplicates inflate the count."""
    clickhouse.batch(usage("b", timestamp=2), usage("a", timestamp=1), usage("a", timestamp=1))
    assert listed(clickhouse) == ["a", "a", "b"]
    assert clickhouse.get("/events").json()["meta"]["total_count"] == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"code": "x"}, ["a"]),
        ({"external_subscription_id": "two"}, ["b"]),
        ({"timestamp_from": "2026-01-02"}, ["c", "b"]),
        ({"timestamp_to": "2026-01-02T00:00:00Z"}, ["b", "a"]),
        ({"timestamp_from": "2026-01-02T01:00:00+01:00", "timestamp_to": "2026-01-02"}, ["b"]),
        ({"timestamp_from": ""}, ["c", "b", "a"]),
        ({"transaction_id": "a"}, ["c", "b", "a"]),
        ({"code": "storage", "per_page": 1, "page": 2}, ["b"]),
    ],
)
def test_events_are_filtered(lago: Client, query: dict[str, object], found: list[str]) -> None:
    """Times are inclusive at both ends; there is no filter by transaction id."""
    day = 1767225600
    lago.batch(
        usage("a", code="x", timestamp=day),
        usage("b", external_subscription_id="two", timestamp=day + 86_400),
        usage("c", timestamp=day + 172_800),
    )
    assert listed(lago, **query) == found


@pytest.mark.parametrize("name", ["timestamp_from", "timestamp_to"])
def test_a_filter_that_is_no_date_is_invalid(lago: Client, name: str) -> None:
    """It is refused by its name."""
    answer = lago.get("/events", **{name: "yesterday"})
    assert (answer.status_code, answer.json()) == (422, refused({name: ["invalid_date"]}))


def test_listing_from_the_start_needs_a_subscription(lago: Client) -> None:
    """And it cannot be combined with another beginning."""
    needs = {"external_subscription_id": ["required with timestamp_from_started_at"]}
    assert lago.get("/events", timestamp_from_started_at="true").json() == refused(needs)
    both = {
        "timestamp_from_started_at": "true",
        "external_subscription_id": "s",
        "timestamp_from": "2026-01-01",
    }
    assert lago.get("/events", **both).status_code == 422


@pytest.mark.parametrize(
    ("page", "size", "meta"),
    [
        (1, 2, (1, 2, None, 3, 5)),
        (2, 2, (2, 3, 1, 3, 5)),
        (3, 2, (3, None, 2, 3, 5)),
        (9, 2, (9, None, None, 3, 5)),
        ("x", "0", (1, None, None, 1, 5)),
    ],
)
def test_pages_are_counted_from_one(
    lago: Client, page: object, size: object, meta: tuple[object, ...]
) -> None:
    """The meta object names the neighbours; nonsense counts as not given."""
    lago.batch(*[usage(str(number)) for number in range(5)])
    answer = lago.get("/events", page=page, per_page=size).json()
    names = ("current_page", "next_page", "prev_page", "total_pages", "total_count")
    assert answer["meta"] == dict(zip(names, meta, strict=True))


def test_an_empty_list_has_no_page(lago: Client) -> None:
    """Its current page is 0."""
    meta = lago.get("/events").json()["meta"]
    assert (meta["current_page"], meta["total_pages"], meta["total_count"]) == (0, 0, 0)


def test_the_organisation_names_its_store(either: Client) -> None:
    """The client decides by it what a duplicate is."""
    organization = either.get("/organizations").json()["organization"]
    assert organization["events_store"] == either.sandbox.sandbox.store.kind
    assert organization["name"]


def test_a_state_file_keeps_events_and_the_organisation(tmp_path: Path) -> None:
    """A second sandbox on the file goes on where the first ended."""
    config = SandboxConfig(state=tmp_path / "new" / "lago.db")
    with connected(config) as lago:
        lago.event(**usage())
        before = lago.get("/organizations").json(), lago.get("/events/tx").json()
    with connected(config) as lago:
        assert (lago.get("/organizations").json(), lago.get("/events/tx").json()) == before
        assert lago.event(**usage()).status_code == 422


def test_health_needs_no_key(lago: Client) -> None:
    """Both checks stand outside /api/v1."""
    health = requests.get(f"{lago.sandbox.url}/health", timeout=10).json()
    assert (health["message"], set(health)) == ("Success", {"version", "github_url", "message"})
    assert requests.get(f"{lago.sandbox.url}/ready", timeout=10).json() == {"status": "ok"}


def test_a_pipeline_lags_behind(either: Client) -> None:
    """What was stored cannot be read yet: not by its id, not in a list, not in a count."""
    either.event(**usage())
    either.sandbox.set_lag(3600)
    try:
        assert either.get("/events/tx").status_code == 404
        assert either.get("/events", timestamp_from="1970-01-01").json()["meta"]["total_count"] == 0
        assert either.stored() == ["tx"]
    finally:
        either.sandbox.set_lag(0)
    assert either.get("/events/tx").status_code == 200
    assert listed(either) == ["tx"]


def test_a_lag_passes() -> None:
    """After so many seconds the event is there."""
    with connected(SandboxConfig(store="clickhouse", lag=1.0)) as lago:
        lago.event(**usage())
        assert lago.get("/events/tx").status_code == 404
        end = time.monotonic() + 10
        while lago.get("/events/tx").status_code == 404:
            assert time.monotonic() < end
        assert listed(lago) == ["tx"]


def test_the_pages_of_a_window_join(either: Client) -> None:
    """Without a gap or a repeat, over all subscriptions and for one."""
    count, start_us = 6_000, 1_767_225_600_000_000
    events = [
        Event(f"tx{number * 7 % count:04d}", "api", f"s{number % 50}", start_us + number * 1000, None, "{}")
        for number in range(count)
    ]
    either.sandbox.sandbox.store.insert(events, 0)
    window = {"timestamp_from": "2026-01-01T00:00:01Z", "timestamp_to": "2026-01-01T00:00:02.999Z"}
    pages = [listed(either, **window, code="api", per_page=800, page=page) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [800, 800, 400]
    expected = [event for event in events if 1_000_000 <= event.timestamp_us - start_us < 3_000_000]
    assert sorted(chain(*pages)) == sorted(str(event.transaction_id) for event in expected)
    assert sorted(listed(either, **window, external_subscription_id="s7", per_page=800)) == sorted(
        str(event.transaction_id) for event in expected if event.external_subscription_id == "s7"
    )


@pytest.mark.parametrize(
    "filters",
    [
        Filters(from_us=1, to_us=2),
        Filters(code="c", from_us=1, to_us=2),
        Filters(code="c", external_subscription_id="s", from_us=1, to_us=2),
        Filters(external_subscription_id="s"),
        Filters(transaction_id="t", stored_by_us=1),
    ],
)
def test_no_list_looks_at_every_event(either: Client, filters: Filters) -> None:
    """An index leads to the events of a window, a subscription or an id, however many there are."""
    where, values = filters.where()
    store = either.sandbox.sandbox.store
    find(store, filters, Page())
    plan = store.rows(f"explain query plan select * from {store.live()} {where}", values)
    assert not [step[3] for step in plan if str(step[3]).startswith("SCAN")]
