"""Promises of the delivery that hold between its parts: the sender and its limits, the guard's two limits."""

import threading
from collections.abc import Mapping
from time import sleep

import pytest

from lago_pipeline.deliver.result import BatchResult, accepted
from lago_pipeline.deliver.send import BatchSender
from lago_pipeline.deliver.settle import Settler
from lago_pipeline.deliver.tally import Tally
from lago_pipeline.errors import ConfirmationNeeded, RetriableError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import Response
from lago_pipeline.lago.windows import Window
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.ledger.lock import partition_lock
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.plan.guard import check_volume, volume_limit
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import DAY, World, event, row
from lago_pipeline_tests.lago.odd_server import API_KEY, Reply, odd_server


def sender(client: LagoClient, world: World, **delivery: int) -> BatchSender:
    """A sender on fake time that waits exactly a second before it tries again."""
    return BatchSender(
        client,
        Delivery(**delivery),
        stop=threading.Event(),
        clock=world.time.clock,
        sleep=world.time.sleep,
        backoff=lambda _: 1.0,
    )


def test_a_budget_that_a_good_answer_calls_used_up_is_heeded_at_once(world: World) -> None:
    """The next request waits until Lago allows more, before it must answer 429."""
    used_up = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}
    with odd_server() as odd, LagoClient(odd.api_url, API_KEY) as client:
        odd.reply(Reply(200, headers=used_up), Reply(200))
        made = sender(client, world)
        made.send([event(1)])
        assert world.time.sleeps == []
        made.send([event(2)])
    assert world.time.sleeps == [9.0]


def test_lagos_trouble_lets_fewer_requests_fly(world: World) -> None:
    """Each failed try halves what was allowed; a run that goes well keeps it."""
    made = sender(world.client, world, concurrency=8, max_attempts=3)
    made.send([event(1)])
    assert made.concurrency.limit == 8
    world.lago.set_faults([{"kind": "status", "status": 503, "times": 2, "path": "/events/batch"}])
    made.send([event(2)])
    assert made.concurrency.limit == 2


class Crowded:
    """Answers yes after a moment, and remembers how many requests were there at once."""

    def __init__(self) -> None:
        self.inside = self.peak = 0
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """As a transport does."""
        del method, url, headers, body
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        sleep(0.02)
        with self._lock:
            self.inside -= 1
        return Response(200, {}, b"")

    def close(self) -> None:
        """Nothing is open."""


def test_no_more_requests_fly_than_are_allowed(world: World) -> None:
    """Whoever sends, from however many threads."""
    crowd = Crowded()
    client = LagoClient("http://127.0.0.1:9/api/v1", API_KEY, transport=lambda _: crowd)
    made = sender(client, world, concurrency=1)
    threads = [threading.Thread(target=made.send, args=([event(number)],)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (crowd.peak, len(made.latencies)) == (1, 5)


def check(events: int, *, usual: int | None, most: int | None) -> None:
    """Raise where so many events would be unusual."""
    limit = volume_limit(usual, most)
    assert limit is not None
    check_volume(events, limit, "usage", DAY)


def test_fewer_than_a_thousand_events_are_never_unusual() -> None:
    """However few are usual; a limit of the sync's own holds for them too."""
    check(999, usual=5, most=None)
    with pytest.raises(ConfirmationNeeded, match="are 10 times the usual 5"):
        check(1000, usual=5, most=None)
    with pytest.raises(ConfirmationNeeded, match="max_events_per_run"):
        check(999, usual=5, most=998)


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (5000, "and 2,000 are 10 times the usual 200"),
        (1500, r"and 1,500 delivery\.max_events_per_run allows"),
    ],
)
def test_of_two_limits_the_smaller_one_holds(most: int, words: str) -> None:
    """What is usual, and what a person allowed."""
    with pytest.raises(ConfirmationNeeded, match=words):
        check(6000, usual=200, most=most)


def test_outcomes_wait_no_longer_than_a_second_for_their_commit(world: World) -> None:
    """However slow Lago is: a run that dies has to verify a second's events, not an hour's."""
    with LedgerWriter(world.ledger) as writer:
        settler = Settler(writer, 1, DAY, "usage", 1, world.time.clock, lambda: 0)

        def settled(number: int) -> int:
            settler.add([accepted(event(number), 200)])
            writer.wait()
            return int(world.query("select count(*) from sent")[0][0])

        assert settled(1) == 1
        world.time.now += 0.9
        assert settled(2) == 1
        world.time.now += 0.2
        assert settled(3) == 3


def test_a_run_that_lost_its_lock_writes_nothing_more(postgres_database: str) -> None:
    """Its session ended, so another run may hold the partition by now: no new session takes its place."""
    engine = open_ledger(postgres_database)
    with (
        partition_lock(engine, 1, DAY, "run") as connection,
        LedgerWriter(engine, connection) as writer,
    ):
        session = writer.now(lambda it: it.exec_driver_sql("select pg_backend_pid()").scalar_one())
        with engine.begin() as other:
            other.exec_driver_sql(f"select pg_terminate_backend({session}, 5000)")
        for _ in range(2):
            with pytest.raises(RetriableError):
                writer.now(lambda it: it.exec_driver_sql("create table written (n int)"))
        with engine.begin() as other:
            found = other.exec_driver_sql("select to_regclass('written') is null").scalar_one()
        assert found
    engine.dispose()


def test_a_batch_of_nothing_but_duplicates_is_an_answer() -> None:
    """Lago is well: it only holds these events already, as after a lost ledger."""
    tally = Tally()
    lost = BatchResult(pending=[event(1)], pending_words="HTTP 503")
    for result in (lost, lost, BatchResult(duplicates=[event(2)]), lost):
        tally.take(result)
    assert tally.stopped is None


def test_the_search_for_an_event_on_which_lago_fails_takes_few_requests(world: World) -> None:
    """All tries for the whole batch, two for each part of it: not six for each, with their backoffs."""
    events = [event(number) for number in range(100)]
    poison = event(50, properties=r'{"n":"\u0000"}')
    sender(world.client, world, max_attempts=6).send([*events[:50], poison, *events[51:]])
    assert len(world.held()) == 99
    assert 6 < sum(world.requests("POST /events/batch").values()) <= 30


def test_clickhouse_is_asked_before_parts_of_a_failed_batch_are_sent(clickhouse: World) -> None:
    """The search for an event on which Lago fails must not bill those twice that it took before it failed."""
    fault = {"kind": "commit_then_status", "status": 500, "times": 1, "path": "/events/batch"}
    clickhouse.lago.set_faults([fault])
    events = [event(number) for number in range(10)]
    result = sender(clickhouse.client, clickhouse, max_attempts=1).send(events, reads_back=True)
    assert (len(result.outcomes), len(clickhouse.held())) == (10, 10)


def test_a_window_reaches_beyond_its_events() -> None:
    """Servers before v1.48.0 may hold an event a little beside its instant."""
    instant = event(1).timestamp_ms or 0
    window = Window.around([event(1), event(2, timestamp_ms=instant + 5000)])
    assert window.first_ms < instant
    assert window.last_ms > instant + 5000


def test_only_a_settled_run_makes_older_files_too_old(world: World) -> None:
    """What an unsettled run left unbilled may be delivered from any file."""
    world.now_ms = lambda: DAY.end_ms
    assert not world.deliver([row("a", sub="")]).is_settled
    world.now_ms = lambda: DAY.end_ms - 1
    assert world.deliver([row("a")]).is_settled


def test_the_metrics_are_noted_where_lago_refused_an_event(world: World) -> None:
    """Once they change, the event is tried again at once."""
    rule = {"kind": "refuse", "path": "/events/batch", "contains": "k00001"}
    world.lago.set_faults([rule])
    assert world.deliver([row("k00001")]).counts.rejected == 1
    noted = "select count(*) from partitions where catalog_hash is not null"
    assert world.query(noted) == [(1,)]
    world.lago.clear_faults()
    assert world.deliver([row("k00001")]).is_settled
    assert world.query(noted) == [(0,)]
