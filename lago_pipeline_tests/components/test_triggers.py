"""What the schedule asks for, at given times."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lago_pipeline.components.requests import SYNC_TAG, range_tags, ranges
from lago_pipeline_tests.components.conftest import add_calls, definitions, loaded

pytestmark = pytest.mark.usefixtures("environment")


def asked(instance: dg.DagsterInstance, now: datetime) -> list[tuple[str, str]]:
    """The first and last partition of each run that the schedule asks for."""
    defs = definitions()
    with context(instance, now, defs) as tick:
        data = defs.resolve_schedule_def("calls_schedule").evaluate_tick(tick)
    requests = data.run_requests or []
    return [
        (request.partition_key, request.partition_key)
        if request.partition_key
        else (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ]


@contextmanager
def context(
    instance: dg.DagsterInstance, now: datetime, defs: dg.Definitions
) -> Iterator[dg.ScheduleEvaluationContext]:
    """A tick at a given time."""
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=now,
        repository_def=defs.get_repository_def(),
        resources=dict(defs.resources or {}),
    ) as tick:
        yield tick


def deliver(instance: dg.DagsterInstance, day: str) -> None:
    """Run the job for a day, now."""
    job = definitions().resolve_job_def("calls_sync")
    job.execute_in_process(instance=instance, partition_key=day, raise_on_error=False)


def test_the_first_start_asks_only_for_the_open_day(instance: dg.DagsterInstance) -> None:
    """Deploying bills nothing of the past by itself."""
    assert asked(instance, datetime(2026, 3, 5, 12, tzinfo=UTC)) == [("2026-03-05", "2026-03-05")]


def test_yesterday_is_asked_for_until_it_is_closed(instance: dg.DagsterInstance) -> None:
    """The last rows before midnight are never forgotten: yesterday stays due until it is closed."""
    asked(instance, datetime(2026, 3, 5, 12, tzinfo=UTC))
    late = datetime(2026, 3, 6, 0, 15, tzinfo=UTC)
    assert asked(instance, late) == [("2026-03-06", "2026-03-06"), ("2026-03-05", "2026-03-05")]
    deliver(instance, "2026-03-05")  # long after its end: this closes it
    assert asked(instance, late) == [("2026-03-06", "2026-03-06")]


def test_days_that_were_missed_become_ranges(instance: dg.DagsterInstance) -> None:
    """A daemon that slept for ten days asks for all of them, in runs of at most seven days."""
    asked(instance, datetime(2026, 3, 5, 12, tzinfo=UTC))
    now = datetime(2026, 3, 14, 12, tzinfo=UTC)
    days = [("2026-03-14", "2026-03-14"), ("2026-03-05", "2026-03-11"), ("2026-03-12", "2026-03-13")]
    assert asked(instance, now) == days


def test_an_unsettled_day_waits_for_its_next_attempt(
    instance: dg.DagsterInstance, warehouse: Path, environment: Path
) -> None:
    """A day with unbilled usage is asked for again only when its next attempt is due."""
    add_calls(warehouse, ("a", "2026-03-05 10:00:00", None, 1))
    asked(instance, datetime(2026, 3, 5, 12, tzinfo=UTC))
    deliver(instance, "2026-03-05")
    now = datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert asked(instance, now) == [("2026-03-07", "2026-03-07"), ("2026-03-06", "2026-03-06")]
    with sqlite3.connect(environment / "ledger.db") as ledger:
        ledger.execute("update partitions set next_attempt_ms = 0")
    ledger.close()
    assert asked(instance, now) == [("2026-03-07", "2026-03-07"), ("2026-03-05", "2026-03-05")]


@pytest.mark.parametrize("kind", ["job", "backfill"])
def test_a_partition_with_a_run_under_way_is_left_alone(instance: dg.DagsterInstance, kind: str) -> None:
    """No second run is asked for while one is queued or started, by the job or by a backfill."""
    job = definitions().resolve_job_def("calls_sync")
    asked(instance, datetime(2026, 3, 5, 12, tzinfo=UTC))
    instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"job": {SYNC_TAG: "calls"}, "backfill": {}}[kind] | range_tags(["2026-03-05", "2026-03-06"]),
        asset_selection=frozenset({dg.AssetKey(["calls", "deliveries"])}) if kind == "backfill" else None,
    )
    assert asked(instance, datetime(2026, 3, 7, 1, tzinfo=UTC)) == [("2026-03-07", "2026-03-07")]


def test_ranges_are_runs_of_neighbours() -> None:
    """Only neighbouring partitions share a run."""
    wiring = loaded().wiring()
    days = [wiring.partition(f"2026-03-0{day}") for day in (1, 2, 4, 5, 6, 8)]
    found = [[day.key[-1] for day in part] for part in ranges(days, 2)]
    assert found == [["1", "2"], ["4", "5"], ["6"], ["8"]]
