"""How many requests are in flight, as Lago's answers come."""

import threading
from collections.abc import Mapping
from time import sleep

from lago_pipeline.deliver.concurrency import Concurrency
from lago_pipeline.lago.answers import Answer, Meaning, lost
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import Response
from lago_pipeline_tests.deliver.test_send import sender
from lago_pipeline_tests.deliver.world import FakeTime, World, numbered
from lago_pipeline_tests.lago.odd_server import API_KEY

GOOD = Answer(Meaning.ACCEPTED, 200, "accepted")
THROTTLED = Answer(Meaning.THROTTLED, 429, "too many requests")


def after(*answers: tuple[Answer, float], most: int = 16) -> int:
    """The limit after answers that took so long, each asked for once the one before was there."""
    time = FakeTime()
    made = Concurrency(most, time.clock)
    for answer, seconds in answers:
        began = time.clock()
        time.sleep(seconds)
        made.saw(answer, began, seconds)
    return made.limit


def test_all_that_is_allowed_may_fly_at_first() -> None:
    """A person chose the number; Lago has not complained."""
    assert after() == 16


def test_trouble_halves_it_down_to_one() -> None:
    """A 429, a 5xx, no answer: whatever says that it is too much."""
    assert after((THROTTLED, 1)) == 8
    assert after((Answer(Meaning.UNCERTAIN, 503, "HTTP 503"), 1), (lost("no answer in time"), 1)) == 4
    assert after(*[(THROTTLED, 1.0)] * 20) == 1


def test_those_in_flight_together_halve_it_once() -> None:
    """Sixteen refusals of one moment are one sign, not sixteen."""
    time = FakeTime()
    made = Concurrency(16, time.clock)
    began = time.clock()
    time.sleep(1)
    for _ in range(16):
        made.saw(THROTTLED, began, 1)
    assert made.limit == 8


def test_it_grows_by_one_with_each_round() -> None:
    """From four: four good answers make five; and never beyond what a person allowed."""
    down = [(THROTTLED, 1.0)] * 2
    assert after(*down) == 4
    assert after(*down, *[(GOOD, 0.1)] * 5) == 5
    assert after(*down, *[(GOOD, 0.1)] * 1000) == 16


def test_an_answer_that_takes_much_longer_than_usual_halves_it() -> None:
    """Lago slows down before it fails; the new pace becomes the usual one."""
    usual = [(GOOD, 0.1)] * 10
    assert after(*usual, (GOOD, 0.3)) == 16
    assert after(*usual, (GOOD, 2.0)) == 8
    assert after(*usual, *[(GOOD, 2.0)] * 200) == 16


def test_the_first_answers_are_no_sign() -> None:
    """A new connection is slow, and so is a server that has just been started."""
    assert after((GOOD, 0.01), (GOOD, 3.0)) == 16


def test_no_more_than_the_limit_fly_at_once() -> None:
    """Whoever wants a slot waits for one."""
    made = Concurrency(2, FakeTime().clock)
    flying, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2)

    def fly() -> None:
        nonlocal flying, most
        with made.slot():
            with lock:
                flying += 1
                most = max(most, flying)
            together.wait(timeout=10)
            with lock:
                flying -= 1

    threads = [threading.Thread(target=fly) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


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
    made = sender(world, client, concurrency=1)
    threads = [threading.Thread(target=made.send, args=(numbered([number]),)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (crowd.peak, len(made.latencies)) == (1, 5)
