"""When the next request may go."""

import pytest

from lago_pipeline.deliver.pace import Pace
from lago_pipeline.lago.answers import Budget
from lago_pipeline_tests.deliver.world import FakeTime


def paced(rate: float | None) -> tuple[Pace, FakeTime]:
    """A pace on a fake clock."""
    time = FakeTime()
    return Pace(rate, clock=time.clock, sleep=time.sleep), time


def test_without_a_rate_nobody_waits() -> None:
    """Only the pauses of Lago hold requests back."""
    pace, time = paced(None)
    for _ in range(10):
        pace.wait_turn()
    assert time.sleeps == []


def test_turns_come_at_an_even_rate() -> None:
    """The first at once, then one every quarter of a second."""
    pace, time = paced(4.0)
    turns = []
    for _ in range(5):
        pace.wait_turn()
        turns.append(time.now)
    assert turns == [1000.0, 1000.25, 1000.5, 1000.75, 1001.0]


def test_time_that_nobody_used_is_not_saved_up() -> None:
    """After a lull there is no burst."""
    pace, time = paced(2.0)
    pace.wait_turn()
    time.now += 60
    pace.wait_turn()
    pace.wait_turn()
    assert time.sleeps == [0.5]


def test_a_pause_holds_everybody_back_and_is_counted_once() -> None:
    """Several workers that are told to wait at the same time wait together."""
    pace, time = paced(None)
    for seconds in (5.0, 3.0, 5.0):
        pace.pause(seconds)
    pace.wait_turn()
    pace.wait_turn()
    assert time.sleeps == [5.0]
    assert pace.throttled_seconds == pytest.approx(5.0)


def test_after_a_pause_the_rate_holds_again() -> None:
    """Those that waited do not all go at once."""
    pace, time = paced(1.0)
    pace.pause(10.0)
    pace.wait_turn()
    pace.wait_turn()
    assert time.sleeps == [10.0, 1.0]


def test_what_lago_still_allows_is_spread_over_its_time() -> None:
    """Ten requests in five seconds: one each half second, before a 429 comes; then nobody waits."""
    time = FakeTime()
    pace = Pace(None, clock=time.clock, sleep=time.sleep)
    pace.heed(Budget(remaining=10, reset_seconds=5.0))
    for _ in range(10):
        pace.wait_turn()
    assert time.sleeps == [0.5] * 9
    time.sleep(5)
    time.sleeps.clear()
    for _ in range(3):
        pace.wait_turn()
    assert time.sleeps == []


def test_a_budget_that_is_used_up_holds_everybody_back() -> None:
    """Until Lago allows more."""
    time = FakeTime()
    pace = Pace(None, clock=time.clock, sleep=time.sleep)
    pace.heed(Budget(remaining=0, reset_seconds=3.0))
    pace.wait_turn()
    assert (time.sleeps, pace.throttled_seconds) == ([3.0], 3.0)
