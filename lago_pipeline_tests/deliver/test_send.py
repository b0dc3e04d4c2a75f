"""One batch until each of its events has an outcome, against a Lago that misbehaves."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from lago_pipeline.deliver.reader import lookups
from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.deliver.send import INGESTION_SECONDS, BatchSender
from lago_pipeline.errors import ConfigError
from lago_pipeline.event import Event, Events
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.report import Status
from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline.sandbox.server import running
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import World, body, event, numbered, settled
from lago_pipeline_tests.lago.odd_server import API_KEY, Reply, odd_server

BATCH = "/events/batch"
POST, GET, INDEX = "POST /events/batch", "GET /events/{id}", "GET /events"
READS = {"path": "/events", "method": "GET"}
EVENTS = numbered(range(100))


def sender(world: World, client: LagoClient | None = None, **delivery: Any) -> BatchSender:
    """A sender on fake time that waits exactly a second before it tries again."""
    return BatchSender(
        client or world.client,
        Delivery(**delivery),
        stop=threading.Event(),
        clock=world.time.clock,
        sleep=world.time.sleep,
        backoff=lambda _: 1.0,
    )


def statuses(outcomes: Sequence[Outcome]) -> dict[str, Status]:
    """The final state of each event; none may have two."""
    found = {item.row_key: outcome.status for outcome in outcomes for item in outcome.events}
    assert len(found) == len(settled(outcomes))
    return found


def keys(events: Iterable[Event]) -> list[str]:
    """The keys of events, sorted."""
    return sorted(item.row_key for item in events)


def bad(number: int) -> Event:
    """An event whose timestamp Lago refuses."""
    good = event(number)
    return event(number, body=body(good).replace(b'"1767268800"', b'"yesterday"'))


def poison(number: int) -> Event:
    """An event on which Lago fails with a 500, for ever."""
    return event(number, body=body(event(number, properties=r'{"n":"\u0000"}')))


def lone(number: int) -> Event:
    """An event of a subscription of its own."""
    made = event(number, external_subscription_id=f"sub{number}")
    return event(number, external_subscription_id=f"sub{number}", body=body(made))


def all_accepted(world: World, result: BatchResult, events: Iterable[Event]) -> None:
    """Each event is accepted, and Lago holds each exactly once."""
    assert set(statuses(result.outcomes).values()) == {Status.ACCEPTED}
    assert keys(settled(result.outcomes)) == keys(events) == world.held()
    assert (result.pending, result.error) == ([], None)


def test_a_good_batch_is_one_request(world: World) -> None:
    """A hundred events, accepted with Lago's status."""
    result = sender(world).deliver(EVENTS)
    all_accepted(world, result, EVENTS)
    assert {outcome.http_status for outcome in result.outcomes} == {200}
    assert (world.requests(POST), world.time.sleeps) == ({"200": 1}, [])


def test_no_events_are_no_request(world: World) -> None:
    """Nothing to do is nothing done."""
    assert sender(world).deliver(numbered([])) == BatchResult()
    assert world.requests(POST) == {}


def test_one_bad_event_does_not_hold_up_the_other_99(world: World) -> None:
    """Two requests, and the bad one is rejected in Lago's own words."""
    events = Events.of([*EVENTS[:37], bad(37), *EVENTS[38:]])
    result = sender(world).deliver(events)
    (rejected,) = [outcome for outcome in result.outcomes if outcome.status is Status.REJECTED]
    assert keys(rejected.events) == ["k00037"]
    assert (rejected.reason, rejected.http_status) == ("refused_by_lago: timestamp: invalid_format", 422)
    assert len(statuses(result.outcomes)) == 100
    assert world.held() == [item.row_key for item in events if item.row_key != "k00037"]
    assert world.requests(POST) == {"200": 1, "422": 1}


def test_many_bad_events_are_all_named_at_once(world: World) -> None:
    """And a batch of nothing but bad ones ends, too."""
    events = Events.of(bad(number) if number % 2 else event(number) for number in range(100))
    found = statuses(sender(world).deliver(events).outcomes)
    assert sum(status is Status.REJECTED for status in found.values()) == 50
    assert world.requests(POST) == {"200": 1, "422": 1}
    only_bad = sender(world).deliver(Events.of(map(bad, range(200, 230))))
    assert set(statuses(only_bad.outcomes).values()) == {Status.REJECTED}


def test_duplicates_are_read_back_and_compared(world: World) -> None:
    """Equal is accepted, different is a conflict that says how, and the rest of the batch goes through."""
    sender(world).deliver(Events.of([*EVENTS[:5], event(5, properties='{"n":"999"}')]))
    result = sender(world).deliver(EVENTS[:10])
    found = statuses(result.outcomes)
    assert {key for key, status in found.items() if status is Status.ACCEPTED} == {
        f"k{number:05d}" for number in range(10) if number != 5
    }
    (conflict,) = [outcome for outcome in result.outcomes if outcome.status is Status.CONFLICT]
    assert conflict.reason == "different_event_under_this_id: Lago holds n '999' where the row says '5'"
    assert world.held() == keys(EVENTS[:10])


@pytest.mark.parametrize(
    "fault", [{"kind": "drop_after"}, {"kind": "commit_then_status", "status": 500},
              {"kind": "commit_then_status", "status": 504}]
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_answer_doubles_nothing(world: World, fault: dict[str, object], times: int) -> None:
    """Lago committed, we never learned it: the retry finds duplicates, which are ours."""
    world.lago.set_faults([fault | {"times": times, "path": BATCH}])
    all_accepted(world, sender(world).deliver(EVENTS), EVENTS)
    assert (world.requests(INDEX), world.requests(GET)) == ({"200": 1}, {})


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 500}, {"kind": "status", "status": 503}, {"kind": "html"},
              {"kind": "drop_before"}, {"kind": "status", "status": 408}]
)  # fmt: skip
def test_a_passing_failure_is_tried_again(world: World, fault: dict[str, object]) -> None:
    """Twice failed, once done, with a backoff between."""
    world.lago.set_faults([fault | {"times": 2, "path": BATCH}])
    made = sender(world, max_attempts=3)
    all_accepted(world, made.deliver(EVENTS), EVENTS)
    assert (world.time.sleeps, len(made.patience.retries), len(made.latencies)) == ([1.0, 1.0], 2, 3)


def test_tries_end_and_the_events_stay_pending(world: World) -> None:
    """With Lago's last words, and nothing recorded as if it had an outcome."""
    world.lago.set_faults([{"kind": "status", "status": 503}])
    result = sender(world, max_attempts=4).send(EVENTS)
    assert (result.outcomes, keys(result.pending)) == ([], keys(EVENTS))
    assert (result.pending_words, result.error) == ("HTTP 503", None)
    assert world.requests(POST) == {"503": 4}


@pytest.mark.parametrize(
    ("fault", "wait"),
    [({"reset_seconds": 7}, 7.0), ({"retry_after": 3}, 3.0), ({"reset_seconds": 45, "retry_after": 2}, 45.0)],
)
def test_a_throttled_sender_waits_as_long_as_it_is_told(
    world: World, fault: dict[str, object], wait: float
) -> None:
    """Such waits are no tries: more of them than `max_attempts` still end well."""
    world.lago.set_faults([{"kind": "rate_limit", "times": 5} | fault])
    made = sender(world, max_attempts=2)
    all_accepted(world, made.deliver(EVENTS), EVENTS)
    assert sum(world.time.sleeps) == pytest.approx(5 * wait)
    assert made.pace.throttled_seconds == pytest.approx(5 * wait, abs=0.5)


def test_a_lago_that_only_throttles_ends_the_tries(world: World) -> None:
    """After a hundred times the events are left for the next run."""
    world.lago.set_faults([{"kind": "rate_limit", "reset_seconds": 1}])
    result = sender(world).deliver(EVENTS)
    assert (len(result.pending), result.pending_words) == (100, "too many requests")
    assert world.requests(POST) == {"429": 100}


@pytest.mark.parametrize("limit", [1, 7, 25])
def test_a_smaller_limit_is_learned_once_for_the_run(world: World, limit: int) -> None:
    """LAGO_EVENTS_BATCH_MAX_LENGTH may be set below 100; the next batch does not run into it again."""
    with (
        running(SandboxConfig(batch_max=limit)) as sandbox,
        LagoClient(sandbox.api_url, sandbox.api_key) as client,
    ):
        made = sender(world, client)
        first, second = made.deliver(EVENTS[:50]), made.deliver(EVENTS[50:])
        answers = sandbox.stats()["requests"][POST]  # type: ignore[index]
        assert len(sandbox.events()) == 100
    assert set(statuses([*first.outcomes, *second.outcomes]).values()) == {Status.ACCEPTED}
    assert 1 <= answers["422"] <= 6


@pytest.mark.parametrize(
    ("status", "word"), [(400, "400"), (401, "LAGO_API_KEY"), (403, "permission"), (404, "LAGO_API_URL")]
)
def test_what_a_person_must_mend_stops_the_run(world: World, status: int, word: str) -> None:
    """One request, one line, everything pending."""
    world.lago.set_faults([{"kind": "status", "status": status}])
    result = sender(world).deliver(EVENTS)
    assert isinstance(result.error, ConfigError)
    assert word in str(result.error)
    assert "\n" not in str(result.error)
    assert (result.outcomes, keys(result.pending)) == ([], keys(EVENTS))
    assert world.requests(POST) == {str(status): 1}


def test_a_read_back_is_tried_again_at_lagos_pace(world: World) -> None:
    """Lago's cloud allows 50 reads a second: events of many subscriptions need one each."""
    events = Events.of(map(lone, range(100)))
    sender(world).deliver(events)
    world.lago.set_faults(
        [
            {"kind": "rate_limit", **READS, "reset_seconds": 2, "every": 30},
            {"kind": "status", "status": 503, **READS, "every": 17},
        ]
    )
    all_accepted(world, sender(world).deliver(events), events)
    assert sum(seconds >= 1.9 for seconds in world.time.sleeps) == 3
    assert world.requests(GET)["503"] >= 5


def test_duplicates_are_proven_many_at_once(world: World) -> None:
    """A lost ledger: windows of time, page by page, instead of a question for each event."""
    events = numbered(range(2500))
    for first in range(0, len(events), 100):
        sender(world).deliver(events[first : first + 100])
    result = BatchResult()
    for group in lookups(events):
        result.add(sender(world).reader.prove(group))
    all_accepted(world, result, events)
    assert (world.requests(INDEX), world.requests(GET)) == ({"200": 3}, {})


def test_a_window_full_of_other_usage_is_not_read(world: World) -> None:
    """Where it has more pages than we have events, each event is asked for."""
    events = numbered(range(4000))
    for first in range(0, len(events), 100):
        sender(world).deliver(events[first : first + 100])
    result = sender(world).reader.prove(events[:3])
    assert set(statuses(result.outcomes).values()) == {Status.ACCEPTED}
    assert (world.requests(INDEX), world.requests(GET)) == ({"200": 1}, {"200": 3})


def test_without_a_read_back_nothing_is_settled(world: World) -> None:
    """A duplicate that cannot be compared is neither accepted nor refused."""
    sender(world).deliver(EVENTS[:3])
    world.lago.set_faults([{"kind": "status", "status": 503, **READS}])
    result = sender(world, max_attempts=2).deliver(EVENTS)
    assert (len(statuses(result.outcomes)), keys(result.pending), result.error) == (
        97,
        keys(EVENTS[:3]),
        None,
    )
    assert result.pending_words.startswith("Lago could not be asked for an event: ")


def test_a_key_that_may_not_read_stops_the_run(world: World) -> None:
    """It can never verify anything."""
    sender(world).deliver(EVENTS[:3])
    world.lago.set_faults([{"kind": "status", "status": 403, **READS}])
    result = sender(world).deliver(EVENTS)
    assert "permission" in str(result.error)
    assert keys(result.pending) == keys(EVENTS[:3])


def test_an_id_that_lago_hides_is_rejected_with_a_remedy(world: World) -> None:
    """Events deleted with their metric keep their ids: 422 on the way in, 404 on the way back."""
    sender(world).deliver(EVENTS[:1])
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        taken = b'{"error_details":{"0":{"transaction_id":["value_already_exist"]}}}'
        odd.reply(Reply(422, taken), Reply(404, b'{"code":"event_not_found"}'))
        (outcome,) = sender(world, client).deliver(EVENTS[:1]).outcomes
    assert outcome.status is Status.REJECTED
    assert (outcome.reason or "").startswith("id_taken_by_a_deleted_event: ")


@pytest.mark.parametrize(
    "body", [b"", b'{"error_details":"all wrong"}', b'{"error_details":{"700":{"code":["x"]},"-1":{}}}']
)
def test_a_refusal_that_names_nobody_is_narrowed_down(world: World, body: bytes) -> None:
    """Halves of halves, to the single events; an index out of range names nobody."""
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        odd.reply(Reply(422, body))
        result = sender(world, client).deliver(EVENTS[:8])
    assert set(statuses(result.outcomes).values()) == {Status.REJECTED}
    assert len(odd.asked) == 15


def test_an_index_out_of_range_beside_a_good_one_does_no_harm(world: World) -> None:
    """Only events that were sent can be refused."""
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        odd.reply(Reply(422, b'{"error_details":{"1":{"code":["x"]},"99":{"code":["x"]}}}'), Reply(200))
        found = statuses(sender(world, client).deliver(EVENTS[:3]).outcomes)
    assert found == {"k00000": Status.ACCEPTED, "k00001": Status.REJECTED, "k00002": Status.ACCEPTED}


def test_a_body_too_large_for_a_proxy_is_halved(world: World) -> None:
    """A 413 in HTML, as nginx gives it, is no reason to stop."""
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        odd.reply(Reply(413, b"<html>"), Reply(200))
        found = statuses(sender(world, client).deliver(EVENTS[:10]).outcomes)
    assert set(found.values()) == {Status.ACCEPTED}
    assert len(odd.asked) == 3


@pytest.mark.parametrize("places", [{0}, {99}, {50}, {3, 4}, {10, 90}])
def test_an_event_on_which_lago_fails_is_isolated(world: World, places: set[int]) -> None:
    """A permanent 500 names nobody: the others are accepted, and the run says which one it is."""
    events = Events.of(poison(number) if number in places else event(number) for number in range(100))
    result = sender(world).deliver(events)
    rejected = [outcome for outcome in result.outcomes if outcome.status is Status.REJECTED]
    assert {item.row_key for item in settled(rejected)} == {f"k{number:05d}" for number in places}
    assert {outcome.http_status for outcome in rejected} == {500}
    assert len(world.held()) == len(statuses(result.outcomes)) - len(places) == 100 - len(places)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_lago_that_fails_on_everything_is_not_blamed_on_events(world: World, size: int) -> None:
    """Nothing is rejected, and the search for a culprit ends soon."""
    world.lago.set_faults([{"kind": "status", "status": 500}])
    result = sender(world, max_attempts=3).send(EVENTS[:size])
    assert (result.outcomes, keys(result.pending)) == ([], keys(EVENTS[:size]))
    assert result.pending_words == "HTTP 500"
    assert sum(world.requests(POST).values()) < 35


def test_a_stop_ends_waits_and_sends_nothing_more(world: World) -> None:
    """Also a wait for its turn: what has not left stays here."""
    stop = threading.Event()

    def interrupted(seconds: float) -> None:
        world.time.sleep(seconds)
        stop.set()

    world.lago.set_faults([{"kind": "rate_limit", "reset_seconds": 60}])
    made = BatchSender(world.client, Delivery(), stop=stop, clock=world.time.clock, sleep=interrupted)
    assert keys(made.deliver(EVENTS).pending) == keys(EVENTS)
    assert keys(made.deliver(EVENTS).pending) == keys(EVENTS)
    assert world.requests(POST) == {"429": 1}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_after"},
        {"kind": "commit_then_status"},
        {"kind": "commit_then_status", "status": 502},
        {"kind": "drop_before"},
        {"kind": "status", "status": 503},
    ],
)
def test_clickhouse_is_asked_before_anything_is_sent_again(
    clickhouse: World, fault: dict[str, object]
) -> None:
    """It takes every copy: after a lost answer the retry would bill twice."""
    clickhouse.lago.set_faults([fault | {"times": 2, "path": BATCH}])
    made = sender(clickhouse, max_attempts=3)
    all_accepted(clickhouse, made.deliver(EVENTS, reads_back=True), EVENTS)
    assert INGESTION_SECONDS in clickhouse.time.sleeps


def test_clickhouse_is_not_sent_what_it_could_not_be_asked_for(clickhouse: World) -> None:
    """Rather pending than twice."""
    clickhouse.lago.set_faults(
        [
            {"kind": "drop_after", "path": BATCH, "times": 1},
            {"kind": "status", "status": 503, **READS},
        ]
    )
    result = sender(clickhouse, max_attempts=3).deliver(EVENTS, reads_back=True)
    assert (result.outcomes, keys(result.pending)) == ([], keys(EVENTS))
    assert clickhouse.held() == keys(EVENTS)


def test_requests_go_at_the_declared_rate(world: World) -> None:
    """Batches and read-backs alike."""
    made = sender(world, requests_per_second=2.0)
    for first in range(0, 40, 10):
        made.deliver(EVENTS[first : first + 10])
    made.deliver(EVENTS[:2])
    assert world.time.sleeps == [0.5] * 6


def test_a_budget_that_a_good_answer_calls_used_up_is_heeded_at_once(world: World) -> None:
    """The next request waits until Lago allows more, before it must answer 429."""
    used_up = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        odd.reply(Reply(200, headers=used_up), Reply(200))
        made = sender(world, client)
        made.send(numbered([1]))
        assert world.time.sleeps == []
        made.send(numbered([2]))
    assert world.time.sleeps == [9.0]


def test_lagos_trouble_lets_fewer_requests_fly(world: World) -> None:
    """Each failed try halves what was allowed; a run that goes well keeps it."""
    made = sender(world, concurrency=8, max_attempts=3)
    made.send(numbered([1]))
    assert made.concurrency.limit == 8
    world.lago.set_faults([{"kind": "status", "status": 503, "times": 2, "path": "/events/batch"}])
    made.send(numbered([2]))
    assert made.concurrency.limit == 2


def test_the_search_for_an_event_on_which_lago_fails_takes_few_requests(world: World) -> None:
    """All tries for the whole batch, two for each part of it: not six for each, with their backoffs."""
    poison = event(50, properties=r'{"n":"\u0000"}')
    sender(world, max_attempts=6).send(Events.of([*EVENTS[:50], poison, *EVENTS[51:]]))
    assert len(world.held()) == 99
    assert 6 < sum(world.requests("POST /events/batch").values()) <= 30


def test_clickhouse_is_asked_before_parts_of_a_failed_batch_are_sent(clickhouse: World) -> None:
    """The search for an event on which Lago fails must not bill those twice that it took before it failed."""
    fault = {"kind": "commit_then_status", "status": 500, "times": 1, "path": "/events/batch"}
    clickhouse.lago.set_faults([fault])
    result = sender(clickhouse, max_attempts=1).send(EVENTS[:10], reads_back=True)
    assert (len(statuses(result.outcomes)), len(clickhouse.held())) == (10, 10)
