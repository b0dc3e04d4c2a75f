"""The sensor for partitions that are not closed: when it asks, how often, and for what at once."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from lago_pipeline.components.requests import MOST_DOUBTFUL_RUNS, MOST_RUNS
from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.database import writing
from lago_pipeline.ledger.partitions import State, open_partition
from lago_pipeline.ledger.runs import PREVIEW_RUN, start_run
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.components.unattended import Unattended, at
from lago_pipeline_tests.components.webhook import listening
from lago_pipeline_tests.sandbox.client import Client

Make = Callable[..., Unattended]
FAILING = "select *, abs(case id when 'bad' then -9223372036854775808 else 0 end) as x from calls"
"""A query that fails on the row `bad`."""


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
        asked = world.schedule()
        assert world.spans(asked) == [("2026-03-06", "2026-03-06"), ("2026-03-05", "2026-03-05")]
        world.execute(asked)


def test_runs_that_brought_no_result_are_asked_for_again_in_smaller_ranges(unattended: Make) -> None:
    """After 15 minutes the first time, hourly from then on; seven days, then three, then one a run."""
    world = started(unattended, "2026-03-05 12:00")
    world.now = at("2026-03-12 02:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-11")]
    asked = []
    for minutes in range(5, 140, 5):
        world.now = at("2026-03-12 02:00") + timedelta(minutes=minutes)
        if requests := world.sensor("not_closed"):
            asked.append((minutes, [len(world.keys(request)) for request in requests]))
    assert asked == [(15, [3, 3, 1]), (75, [1] * 5), (80, [1, 1]), (135, [1] * 5)]


def test_an_outage_does_not_end_in_a_storm_of_runs(unattended: Make) -> None:
    """Half a year of days without any result asks for at most five runs a tick after the first ranges."""
    world = started(unattended, "2026-03-05 12:00")
    world.now = at("2026-09-05 12:00")
    first = sum(len(world.sensor("not_closed")) for _ in range(3))
    later = 0
    for _ in range(24):
        world.now += timedelta(minutes=5)
        later += len(world.sensor("not_closed"))
    assert first == 27
    assert 24 < later <= 24 * MOST_DOUBTFUL_RUNS


def test_a_year_of_gaps_becomes_ranges_and_the_open_day_comes_first(unattended: Make) -> None:
    """A daemon that slept for a year asks for 54 runs, 20 a tick, and today is not kept waiting by them."""
    world = started(unattended, "2025-03-05 12:00", partitions={"start": "2025-01-01"})
    world.now = at("2026-03-05 12:00")
    ticks = [world.schedule(), world.sensor("not_closed"), world.sensor("not_closed")]
    assert [len(requests) for requests in ticks] == [MOST_RUNS, MOST_RUNS, 14]
    assert world.keys(ticks[0][0]) == ["2026-03-05"]
    priorities = [request.tags["dagster/priority"] for requests in ticks for request in requests]
    assert priorities == ["1", *["0"] * 53]
    days = [key for requests in ticks for request in requests for key in world.keys(request)]
    assert (min(days), max(days), len(days), len(set(days))) == ("2025-03-05", "2026-03-05", 366, 366)


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
    world = started(
        unattended,
        "2026-03-05 12:00",
        ("bad", "2026-03-08 11:00:00", "s", 1, None),
        ("a", "2026-03-05 10:00:00", "s", 1, None),
        ("b", "2026-03-10 10:00:00", "s", 1, None),
        source={"query": FAILING, "primary_key": "id", "time_column": "called_at"},
    )
    for moment in ("2026-03-12 02:00", "2026-03-12 02:15", "2026-03-12 03:15", "2026-03-12 03:20"):
        world.now = at(moment)
        world.execute(world.sensor("not_closed"))
    open_days = [key for key, record in world.records().items() if record.state is State.OPEN]
    assert open_days == ["2026-03-08"]
    assert world.billed() == {"a": 1, "b": 1}


def test_a_bad_day_that_waits_for_rows_does_not_keep_today_waiting(unattended: Make) -> None:
    """The open partition always has a run of its own."""
    world = started(
        unattended,
        "2026-03-05 12:00",
        ("bad", "2026-03-05 13:00:00", "s", 1, None),
        ("a", "2026-03-06 01:00:00", "s", 1, None),
        source={
            "query": f"{FAILING} where called_at >= :start and called_at < :end",
            "primary_key": "id",
            "time_column": "called_at",
        },
        partitions={"start": "2026-03-01", "closing_delay": "2d"},
    )
    world.now = at("2026-03-06 02:00")
    world.execute(world.schedule())
    assert world.billed() == {"a": 1}


def test_a_run_that_died_with_its_machine_does_not_hold_its_partition_for_ever(unattended: Make) -> None:
    """Dagster calls it started for ever; after six hours the partition is asked for again."""
    world = started(unattended, "2026-03-05 12:00")
    job = world.defs.resolve_job_def("calls_sync")
    tags = {"lago/sync": "calls", "dagster/partition": "2026-03-05"}
    world.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    (record,) = world.instance.get_run_records(limit=1)
    late = Unattended(
        world.warehouse, world.lago, world.instance, record.update_timestamp, world.sync, world.wiring
    )
    late.now += timedelta(hours=5, minutes=59)
    first = {key for request in late.sensor("not_closed") for key in late.keys(request)}
    late.now += timedelta(minutes=1)
    second = {key for request in late.sensor("not_closed") for key in late.keys(request)}
    assert ("2026-03-05" in first, "2026-03-05" in second) == (False, True)


def test_runs_of_partitions_that_are_no_more_do_no_harm(unattended: Make) -> None:
    """A queued run of before a moved start, or of another cadence, does not fail every tick."""
    world = started(unattended, "2026-03-05 12:00")
    job = world.defs.resolve_job_def("calls_sync")
    for tags in (
        {"dagster/partition": "2026-01-01-05:00"},
        {
            "dagster/asset_partition_range_start": "2025-01-01",
            "dagster/asset_partition_range_end": "2025-01-03",
        },
    ):
        world.instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={"lago/sync": "calls", **tags}
        )
    world.now = at("2026-03-06 01:00")
    assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-05")]


def test_a_sample_that_was_sent_does_not_bring_its_day_along(unattended: Make) -> None:
    """`preview --send` bills its samples only, also of a day before the first start."""
    world = started(unattended, "2026-03-05 12:00", ("a", "2026-03-02 10:00:00", "s", 1, None))
    day = world.wiring.partition("2026-03-02")
    with world.ledger() as ledger, writing(ledger) as connection:
        open_partition(connection, 1, day, 0)
        start_run(connection, 1, day, PREVIEW_RUN, 0)
    world.now = at("2026-03-05 13:00")
    assert world.sensor("not_closed") == []


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


def test_a_change_of_cadence_is_refused_while_a_partition_is_not_closed(
    unattended: Make, environment: Path
) -> None:
    """The rest of what the old partition covers would be delivered by nobody: the line says what to do."""
    world = started(unattended, "2026-03-05 12:00")
    with closing(sqlite3.connect(environment / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "insert into partitions "
            "(sync_id, partition_start, partition_end, partition_key, state, updated_ms) "
            "values (1, 1772600400000, 1772604000000, '2026-03-04-05:00', 'unsettled', 0)"
        )
    world.now = at("2026-03-06 01:00")
    with pytest.raises(
        ConfigError, match=r"^partition 2026-03-04-05:00 is not closed, .* set partitions.cadence"
    ):
        world.sensor("not_closed")


def test_a_partition_that_nobody_closes_is_told_of_though_no_run_fails(
    unattended: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven hours after it could close, a person hears of it, also where the webhook fails at first."""
    world = started(unattended, "2026-03-05 12:00")
    with listening() as webhook:
        monkeypatch.setenv("LAGO_PIPELINE_ALERT_WEBHOOK", webhook.url)
        webhook.status = 500
        world.now = at("2026-03-06 01:00")
        world.sensor("not_closed")
        world.now = at("2026-03-06 07:15")
        assert world.spans(world.sensor("not_closed")) == [("2026-03-05", "2026-03-05")]
        webhook.status = 200
        for _ in range(3):
            world.now += timedelta(minutes=5)
            world.sensor("not_closed")
    told = [posted["alarms"][0]["reasons"] for posted in webhook.posted]
    assert told == ["overdue", "overdue"]  # once refused by the webhook, once taken
