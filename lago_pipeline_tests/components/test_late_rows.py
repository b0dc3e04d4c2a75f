"""The sensor for rows that came late or changed, by an update time and by fingerprints."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from lago_pipeline.ledger.partitions import State
from lago_pipeline_tests.components.unattended import Unattended, at, text_of

SOURCE = {"table": "calls", "primary_key": "id", "time_column": "called_at"}
WITH_UPDATES = {"source": {**SOURCE, "updated_at_column": "loaded_at"}}
Row = tuple[object, ...]
Make = Callable[..., Unattended]


def late(key: str, day: int, loaded: str | None, units: int = 1) -> Row:
    """A row of a day in March, with the time at which it was loaded."""
    return key, f"2026-03-{day:02d} 10:00:00", "s", units, loaded


@pytest.fixture
def closed(unattended: Make) -> Make:
    """Make a sync that started on 1 March, whose days up to 8 March are closed at 9 March 12:00."""

    def make(*rows: Row, **changes: object) -> Unattended:
        world = unattended("2026-03-01 00:00", **changes)
        world.add(*rows)
        world.execute(world.schedule())
        world.now = at("2026-03-09 06:00")
        world.execute(world.sensor("not_closed"))
        world.execute(world.sensor("late_rows"))
        assert {record.state for record in world.records().values()} == {State.CLOSED}
        world.now = at("2026-03-09 12:00")
        return world

    return make


def asked(world: Unattended, minutes: int = 5) -> list[tuple[str, str]]:
    """What the sensor asks for some minutes later; it is run, too."""
    world.now += timedelta(minutes=minutes)
    requests = world.sensor("late_rows")
    world.execute(requests)
    return world.spans(requests)


def test_a_late_row_is_billed_and_its_day_closed_again(closed: Make) -> None:
    """Its day is asked for once, with the watermark in the run key, and is closed with the row."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:00:00"))
    world.now += timedelta(minutes=5)
    (request,) = world.sensor("late_rows")
    assert request.run_key is not None
    assert "2026-03-03..2026-03-03@2026-03-09T11:00:00+00:00" in request.run_key
    world.execute([request])
    assert world.billed() == {"a": 1}
    assert world.records()["2026-03-03"].state is State.CLOSED
    assert asked(world) == asked(world) == []


def test_neighbouring_days_become_one_run(closed: Make) -> None:
    """Late rows in five days in a row and in one apart are two runs."""
    world = closed(**WITH_UPDATES)
    world.add(*(late(f"a{day}", day, "2026-03-09 12:00:00") for day in (1, 2, 3, 4, 5, 7)))
    assert asked(world) == [("2026-03-01", "2026-03-05"), ("2026-03-07", "2026-03-07")]


def test_rows_that_share_their_update_time_are_all_found(closed: Make) -> None:
    """A second row with the very update time of the last one seen is not behind the cursor."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:00:00"))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    world.add(late("b", 3, "2026-03-09 12:00:00"), late("c", 4, "2026-03-09 12:00:00"))
    assert asked(world) == [("2026-03-03", "2026-03-04")]
    assert world.billed() == {"a": 1, "b": 1, "c": 1}


def test_a_row_that_is_committed_after_a_later_one_is_found(closed: Make) -> None:
    """An update time up to an hour before the latest one is still looked at."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:04:00"))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    world.add(late("b", 2, "2026-03-09 11:05:00"))
    assert asked(world) == [("2026-03-02", "2026-03-02")]
    assert world.billed() == {"a": 1, "b": 1}


def test_a_row_that_changes_again_in_the_same_minute_is_seen(closed: Make) -> None:
    """Counts alone would not tell: the same row, updated once more."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:00:01"))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    world.change("update calls set units = 9, loaded_at = '2026-03-09 12:00:59'")
    assert asked(world) == [("2026-03-03", "2026-03-03")]


@pytest.mark.parametrize("loaded", ["2026-03-09 12:30:00", "2099-01-01 00:00:00"])
def test_a_clock_ahead_of_ours_hides_nothing(closed: Make, loaded: str) -> None:
    """A row stamped in the future is billed, and rows after it with honest times are found, too."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, loaded))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    assert asked(world) == []
    world.add(late("b", 4, text_of(world.now)))
    assert asked(world) == [("2026-03-04", "2026-03-04")]


def test_a_clock_behind_ours_hides_nothing(closed: Make) -> None:
    """The watermark is the source's own: a warehouse three hours behind is followed all the same."""
    world = closed(late("x", 2, "2026-03-09 02:00:00"), **WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 09:00:00"))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    world.add(late("b", 4, "2026-03-09 09:01:00"))
    assert asked(world) == [("2026-03-04", "2026-03-04")]


@pytest.mark.parametrize("change", ["insert", "delete"])
def test_what_no_update_time_tells_is_found_within_a_day(closed: Make, change: str) -> None:
    """A late row without an update time, and a row that went, show in the day's fingerprint."""
    world = closed(late("old", 3, "2026-03-03 10:00:00"), **WITH_UPDATES)
    if change == "insert":
        world.add(late("a", 3, None))
    else:
        world.change("delete from calls")
    assert asked(world) == []
    assert asked(world, minutes=24 * 60) == [("2026-03-03", "2026-03-03")]
    assert asked(world, minutes=24 * 60) == []


def test_a_lost_cursor_loses_no_row(closed: Make, environment: Path) -> None:
    """The ledger's cursor begins anew at the first start, asks once too often, and goes on from there."""
    world = closed(late("old", 3, "2026-03-03 10:00:00"), **WITH_UPDATES)
    world.add(late("a", 4, "2026-03-09 12:00:00"))
    with closing(sqlite3.connect(environment / "ledger.db")) as ledger, ledger:
        ledger.execute("update syncs set late_cursor = null")
    assert asked(world) == [("2026-03-03", "2026-03-04")]
    assert asked(world) == []
    assert world.billed() == {"old": 1, "a": 1}


def test_a_tick_that_dies_before_its_runs_start_loses_no_row(closed: Make) -> None:
    """The day is open in the ledger before anything is asked for, so that it is asked for again."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:00:00"))
    world.now += timedelta(minutes=5)
    assert len(world.sensor("late_rows")) == 1
    world.now += timedelta(minutes=15)
    requests = world.sensor("not_closed")
    assert world.spans(requests) == [("2026-03-03", "2026-03-03")]
    world.execute(requests)
    assert world.billed() == {"a": 1}


def test_a_run_that_read_before_the_late_row_does_not_close_its_day(closed: Make) -> None:
    """An extraction that began before the change was noticed leaves the day open."""
    world = closed(**WITH_UPDATES)
    world.add(late("a", 3, "2026-03-09 12:00:00"))
    world.now += timedelta(minutes=5)
    assert len(world.sensor("late_rows")) == 1
    world.now -= timedelta(minutes=1)
    world.deliver("2026-03-03")
    assert world.records()["2026-03-03"].state is State.OPEN


def test_a_late_row_wakes_an_unsettled_day(closed: Make) -> None:
    """A mended row is delivered at once, not at the day's next attempt."""
    world = closed(**WITH_UPDATES)
    world.add(("a", "2026-03-03 10:00:00", None, 1, "2026-03-09 12:00:00"))
    assert asked(world) == [("2026-03-03", "2026-03-03")]
    assert world.records()["2026-03-03"].state is State.UNSETTLED
    world.change("update calls set subscription = 's', loaded_at = '2026-03-09 12:06:00'")
    assert asked(world, minutes=2) == [("2026-03-03", "2026-03-03")]
    assert world.records()["2026-03-03"].state is State.CLOSED


def test_late_rows_from_before_the_first_start_are_named_and_left(closed: Make) -> None:
    """They would be billed only by a person; the tick says with which command."""
    world = closed(**WITH_UPDATES, partitions={"start": "2026-02-01"})
    world.deliver("2026-02-10")
    world.add(("a", "2026-02-11 10:00:00", "s", 1, "2026-03-09 12:00:00"))
    world.add(("b", "2026-02-10 10:00:00", "s", 1, "2026-03-09 12:00:00"))
    world.now += timedelta(minutes=5)
    assert world.spans(world.sensor("late_rows")) == [("2026-02-10", "2026-02-10")]


def days_asked(world: Unattended, minutes: Sequence[int]) -> list[list[str]]:
    """The first days of what is asked for, each so many minutes after the one before."""
    return [[first for first, _ in asked(world, step)] for step in minutes]


def test_without_update_times_the_last_week_is_compared_hourly(closed: Make) -> None:
    """A late row of this week is found within the hour."""
    world = closed(source=SOURCE)
    world.add(late("a", 5, None))
    assert days_asked(world, (5, 5)) == [["2026-03-05"], []]
    world.add(late("b", 6, None))
    assert days_asked(world, (30, 30)) == [[], ["2026-03-06"]]
    assert world.billed() == {"a": 1, "b": 1}


def test_without_update_times_the_last_quarter_is_compared_daily(closed: Make) -> None:
    """A late row of a day that ended more than a week ago is found within a day."""
    world = closed(source=SOURCE)
    world.now = at("2026-03-20 12:00")
    world.execute(world.sensor("not_closed"))
    world.add(late("a", 3, None))
    assert days_asked(world, (5, 60)) == [["2026-03-03"], []]
    world.add(late("b", 3, None))
    assert days_asked(world, (120, 24 * 60)) == [[], ["2026-03-03"]]


def test_without_update_times_today_is_compared_at_every_look(closed: Make) -> None:
    """Where the schedule comes rarely, new rows of today do not wait for it."""
    world = closed(source=SOURCE)
    world.deliver("2026-03-09")
    world.add(("a", "2026-03-09 11:00:00", "s", 1, None))
    assert days_asked(world, (15, 15)) == [["2026-03-09"], []]
    assert world.billed() == {"a": 1}


def test_an_aggregating_query_with_updates_is_compared_partition_by_partition(closed: Make) -> None:
    """A late row changes its own day's group, and the day is found by the group's latest update."""
    query = (
        "select subscription || substr(called_at, 1, 10) as id, min(called_at) as called_at, subscription, "
        "sum(units) as units, max(loaded_at) as loaded_at from calls "
        "where called_at >= :start and called_at < :end group by subscription"
    )
    source = {
        "query": query,
        "primary_key": "id",
        "time_column": "called_at",
        "updated_at_column": "loaded_at",
    }
    world = closed(late("a", 3, "2026-03-03 10:00:00"), late("b", 5, "2026-03-05 10:00:00"), source=source)
    world.add(("c", "2026-03-05 11:00:00", "s", 7, "2026-03-09 12:00:00"))
    assert asked(world) == [("2026-03-05", "2026-03-05")]
    assert world.records()["2026-03-05"].counts.changed == 1
    assert asked(world, minutes=60) == []
