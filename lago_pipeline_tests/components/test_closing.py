"""The sensor for partitions that are not closed: when it asks, how often, and for what at once."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from lago_pipeline.components.requests import MOST_RUNS
from lago_pipeline.ledger.partitions import State
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.components.unattended import Unattended, at
from lago_pipeline_tests.sandbox.client import Client

Make = Callable[..., Unattended]


def started(unattended: Make, now: str, *rows: tuple[object, ...], **changes: object) -> Unattended:
    """A sync whose schedule first ran at an instant, with rows in its source."""
    world = unattended(now, **changes)
    world.add(*rows)
    world.execute(world.schedule())
    return world


def test_a_partition_closes_exactly_at_its_delay(unattended: Make) -> None:
    """An hour after midnight, not a second before, the sensor asks for yesterday, and the run closes it."""
    world = started(unattended, "2026-03-05 23:50", ("a", "2026-03-05 23:55:00", "s", 1, None))
    world.now = at("2026-03-06 00:59:59")
    assert world.sensor("not_closed") == []
    world.deliver("2026-03-05")
    assert world.records()["2026-03-05"].state is State.OPEN
    world.now = at("2026-03-06 01:00:00")
    asked = world.sensor("not_closed")
    assert world.spans(asked) == [("2026-03-05", "2026-03-05")]
    world.execute(asked)
    assert world.records()["2026-03-05"].state is State.CLOSED
    assert world.billed() == {"a": 1}


def test_schedule_and_sensor_do_not_ask_for_the_same_partition(unattended: Make) -> None:
    """Whoever evaluates first asks; the other leaves the partition alone."""
    world = started(unattended, "2026-03-05 12:00")
    world.now = at("2026-03-06 02:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-05")]
    assert world.spans(world.schedule()) == [("2026-03-06", "2026-03-06")]
    assert world.sensor("not_closed") == []


def test_a_partition_that_waits_for_rows_is_asked_for_at_every_scheduled_tick(unattended: Make) -> None:
    """Until it may close, rows from just before midnight are delivered as the schedule comes, not later."""
    world = started(unattended, "2026-03-05 23:00")
    for minute in (5, 10, 15):
        world.now = at(f"2026-03-06 00:{minute:02d}")
        assert world.spans(world.schedule()) == [("2026-03-05", "2026-03-06")]


def test_a_run_that_brought_no_result_is_asked_for_again_and_alone(unattended: Make) -> None:
    """After 15 minutes the first time, hourly from then on, each partition in a run of its own."""
    world = started(unattended, "2026-03-05 12:00")
    world.now = at("2026-03-08 02:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-07")]
    asked = []
    for minutes in range(5, 200, 5):
        world.now = at("2026-03-08 02:00") + timedelta(minutes=minutes)
        if requests := world.sensor("not_closed"):
            asked.append((minutes, [first for first, _ in world.spans(requests)]))
    days = ["2026-03-05", "2026-03-06", "2026-03-07"]
    assert asked == [(15, days), (75, days), (135, days), (195, days)]


def test_a_year_of_gaps_becomes_ranges_and_the_open_day_comes_first(unattended: Make) -> None:
    """A daemon that slept for a year asks for 53 runs, 20 a tick, and today is not kept waiting by them."""
    world = started(unattended, "2026-03-05 12:00", partitions={"start": "2026-01-01"})
    world.now = at("2027-03-05 12:00")
    ticks = [world.schedule(), world.sensor("not_closed"), world.sensor("not_closed")]
    assert [len(requests) for requests in ticks] == [MOST_RUNS, MOST_RUNS, 13]
    assert "2027-03-05" in world.keys(ticks[0][0])
    priorities = [request.tags["dagster/priority"] for requests in ticks for request in requests]
    assert priorities == ["1", *["0"] * 52]
    days = [key for requests in ticks for request in requests for key in world.keys(request)]
    assert (min(days), max(days), len(days), len(set(days))) == ("2026-03-05", "2027-03-05", 366, 366)


def test_partitions_before_the_first_start_are_left_to_people(unattended: Make) -> None:
    """Deploying bills nothing of the past; a day that a person delivered is followed like any other."""
    world = started(unattended, "2026-03-05 12:00", ("a", "2026-03-02 10:00:00", None, 1, None))
    world.now = at("2026-03-05 12:30")
    assert world.sensor("not_closed") == []
    world.deliver("2026-03-02")
    assert world.records()["2026-03-02"].state is State.UNSETTLED
    world.now = at("2026-03-05 12:45")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-02", "2026-03-02")]


def test_an_unsettled_partition_is_tried_after_15_minutes_1_hour_6_hours_and_daily(unattended: Make) -> None:
    """The times between its attempts grow, and a good row at last settles it."""
    world = started(unattended, "2026-03-05 12:00", ("a", "2026-03-05 12:00:00", None, 1, None))
    world.now = at("2026-03-06 01:00")
    world.execute(world.sensor("not_closed"))
    tried, asked = world.now, list[float]()
    while len(asked) < 4 and world.now < at("2026-03-10 00:00"):
        world.now += timedelta(minutes=15)
        requests = world.sensor("not_closed")
        world.execute(requests)
        if any("2026-03-05" in world.keys(request) for request in requests):
            asked.append((world.now - tried) / timedelta(hours=1))
            tried = world.now
    assert asked == [0.25, 1, 6, 24]
    world.change("update calls set subscription = 's'")
    world.now += timedelta(days=1)
    world.execute(world.sensor("not_closed"))
    assert world.records()["2026-03-05"].state is State.CLOSED


def test_another_template_wakes_an_unsettled_partition(unattended: Make) -> None:
    """A mended template is tried at once, not at the next attempt; and once, not at every tick."""
    world = started(unattended, "2026-03-05 12:00", ("a", "2026-03-05 12:00:00", None, 1, None))
    world.now = at("2026-03-06 01:00")
    world.execute(world.sensor("not_closed"))
    event = {"code": "calls", "external_subscription_id": "{{ row.subscription | default: 'house' }}"}
    sync = replace(world.sync, event=event)
    now = at("2026-03-06 01:05")
    mended = Unattended(world.warehouse, world.lago, world.instance, now, sync, world.wiring)
    asked = mended.sensor("not_closed")
    assert mended.spans(asked) == [("2026-03-05", "2026-03-05")]
    assert mended.sensor("not_closed") == []
    mended.execute(asked)
    assert mended.billed() == {"a": 1}


def test_another_metric_in_lago_wakes_what_lago_refused(unattended: Make, lago: RunningSandbox) -> None:
    """Once the metric's expression is mended, the next run of any day notices, and the refused day is due."""
    catalog = Client(lago)
    metric = {"name": "m", "code": "calls", "aggregation_type": "sum_agg", "field_name": "units"}
    catalog.post(
        "/billable_metrics", {"billable_metric": {**metric, "expression": "event.properties.gone * 2"}}
    )
    world = started(unattended, "2026-03-05 12:00", ("a", "2026-03-05 12:00:00", "s", 1, None))
    world.now = at("2026-03-06 01:00")
    world.execute(world.sensor("not_closed"))
    assert world.records()["2026-03-05"].reasons == "refused_by_lago"
    lago.reset(catalog=True)
    catalog.post(
        "/billable_metrics", {"billable_metric": {**metric, "expression": "event.properties.units * 2"}}
    )
    world.now = at("2026-03-06 01:05")
    assert world.sensor("not_closed") == []
    world.deliver("2026-03-06")
    asked = world.sensor("not_closed")
    assert world.spans(asked) == [("2026-03-05", "2026-03-05")]
    world.execute(asked)
    assert world.records()["2026-03-05"].state is State.CLOSED


def test_one_partition_that_cannot_be_extracted_does_not_hold_up_its_neighbours(unattended: Make) -> None:
    """A day at which the query fails spoils one range; then each day has its own run, and most close."""
    query = "select *, abs(case id when 'bad' then -9223372036854775808 else 0 end) as x from calls"
    world = started(
        unattended,
        "2026-03-05 12:00",
        ("bad", "2026-03-08 11:00:00", "s", 1, None),
        ("a", "2026-03-05 10:00:00", "s", 1, None),
        ("b", "2026-03-10 10:00:00", "s", 1, None),
        source={"query": query, "primary_key": "id", "time_column": "called_at"},
    )
    world.now = at("2026-03-12 02:00")
    world.execute(world.sensor("not_closed"))
    assert len(world.failures) == 1
    world.now = at("2026-03-12 02:15")
    world.execute(world.sensor("not_closed"))
    open_days = [key for key, record in world.records().items() if record.state is State.OPEN]
    # SQLite's text is fetched with some days around it
    assert open_days == ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09"]
    assert world.billed() == {"a": 1, "b": 1}


def test_a_partition_with_a_run_not_yet_started_is_left_alone(unattended: Make) -> None:
    """No second run is asked for while one waits to start, whoever asked for it."""
    world = started(unattended, "2026-03-05 12:00")
    world.now = at("2026-03-07 02:00")
    job = world.defs.resolve_job_def("calls_sync")
    tags = {"lago/sync": "calls", "dagster/partition": "2026-03-05"}
    world.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED, tags=tags)
    assert world.spans(world.sensor("not_closed")) == [("2026-03-06", "2026-03-06")]


def test_the_sensor_reads_only_the_ledger(unattended: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the warehouse nor Lago needs to answer for it to know what is due."""
    world = started(unattended, "2026-03-05 12:00")
    monkeypatch.setenv("WAREHOUSE_URL", "sqlite:////gone.db")
    monkeypatch.setenv("LAGO_API_URL", "http://127.0.0.1:9/api/v1")
    world.now = at("2026-03-06 01:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-05")]


def test_a_change_of_cadence_leaves_old_partitions_alone(unattended: Make, environment: Path) -> None:
    """Partitions that the sync has no more are not asked for: Dagster would refuse the whole tick."""
    world = started(unattended, "2026-03-05 12:00")
    with closing(sqlite3.connect(environment / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "insert into partitions "
            "(sync_id, partition_start, partition_end, partition_key, state, updated_ms) "
            "values (1, 1772600400000, 1772604000000, '2026-03-04-05:00', 'unsettled', 0)"
        )
    world.now = at("2026-03-06 01:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-05")]
