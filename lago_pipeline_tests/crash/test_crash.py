"""A run may die at any moment: the next one neither loses nor doubles anything."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline.sandbox.server import running
from lago_pipeline_tests.crash.victim import Victim, victim
from lago_pipeline_tests.crash.worker import FAILED, INTERRUPTED
from lago_pipeline_tests.deliver.world import rows

KILLS = int(os.environ.get("LAGO_PIPELINE_KILLS", "20"))
ROWS = 3000
FAULTS: list[dict[str, object]] = [
    {"kind": "latency", "seconds": 0.005, "every": 3},
    {"kind": "status", "status": 503, "every": 13},
    {"kind": "drop_after", "every": 17},
    {"kind": "drop_before", "every": 29},
]


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Victim]:
    """3,000 rows on their way to a Lago that fails now and then."""
    with running() as lago, victim(tmp_path, lago, rows(range(ROWS))) as made:
        lago.set_faults(FAULTS)
        yield made


def after(seconds: float) -> Callable[[], bool]:
    """True once so many seconds have passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def reached(made: Victim, events: int) -> Callable[[], bool]:
    """True once Lago holds so many events."""
    return lambda: made.stored() >= events


def known(made: Victim, events: int) -> Callable[[], bool]:
    """True once the ledger has settled so many events."""
    return lambda: len(made.settled()) >= events


def everything_once(made: Victim, count: int = ROWS) -> None:
    """Lago holds exactly the expected events, once each, and the ledger says just that."""
    expected = [f"usage:api:k{number:05d}" for number in range(count)]
    held = made.lago.events()
    assert sorted(str(event["transaction_id"]) for event in held) == expected
    assert all(
        event["properties"] == {"n": str(int(str(event["transaction_id"])[-5:]))}
        and event["timestamp"] == "2026-01-01T12:00:00.000Z"
        for event in held
    )
    assert made.query("select transaction_id, status from lago_events order by 1") == [
        (transaction_id, "accepted") for transaction_id in expected
    ]
    assert made.query("select state, reasons from lago_partitions") == [("closed", "")]
    assert made.query("select count(*) from sending") == [(0,)]


def test_a_run_killed_at_any_moment_loses_and_doubles_nothing(killed: Victim) -> None:
    """Killed while it extracts, renders, plans, sends and settles; then one run comes to the end.

    No run sends again what was settled before it began.
    """
    chance = random.Random(20260101)
    goals = sorted(chance.randrange(ROWS) for _ in range(KILLS))
    kills = 0
    for goal in goals:
        early, at_lago, settled = after(chance.uniform(0, 0.8)), reached(killed, goal), known(killed, goal)
        status = killed.run(chance.choice([early, at_lago, settled]))
        assert status in {-signal.SIGKILL, 0}
        kills += status != 0
    assert kills >= KILLS // 2
    assert killed.run() == 0
    everything_once(killed)
    assert killed.run() == 0
    assert killed.sent(f"run{KILLS + 1}") == []


def test_clickhouse_is_not_billed_twice_by_a_killed_run(tmp_path: Path) -> None:
    """It takes every copy, so that only reading back protects it: after a kill, and after a lost answer."""
    config = SandboxConfig(store="clickhouse", dedup=False)
    with running(config) as lago, victim(tmp_path, lago, rows(range(600))) as made:
        lago.set_faults([{"kind": "drop_after", "every": 10}])
        for goal in (60, 200, 400):
            assert made.run(reached(made, goal)) == -signal.SIGKILL
        assert made.run() == 0
        everything_once(made, 600)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_settles_what_is_in_flight(killed: Victim, signal_number: int) -> None:
    """Ctrl-C, or Dagster's termination: Lago and the ledger agree, and the rest is pending."""
    killed.lago.set_faults([{"kind": "latency", "seconds": 0.01}])
    assert killed.run(reached(killed, 700), signal_number) == INTERRUPTED
    held = {str(event["transaction_id"]) for event in killed.lago.events()}
    assert 700 <= len(held) < ROWS
    assert killed.settled() == held
    assert killed.query("select state, reasons, accepted, pending from lago_partitions") == [
        ("unsettled", "pending", len(held), ROWS - len(held))
    ]
    assert killed.run() == 0
    assert len(killed.sent("run1")) == ROWS - len(held)
    everything_once(killed)


def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The ledger cannot be written any more: one line says so, and the next run repairs it."""
    with running() as lago, victim(tmp_path, lago, rows(range(600))) as made:
        assert made.run(most_bytes=120_000) == FAILED
        error = (tmp_path / "run0.error").read_text()
        assert error.startswith("RetriableError: the ledger could not be used: ")
        assert "\n" not in error
        assert len(made.settled()) < made.stored()
        assert made.run() == 0
        everything_once(made, 600)


def test_a_disk_full_of_spool_files_leaves_no_half_of_one(tmp_path: Path) -> None:
    """One line says so; no file of the partition is left, nothing was sent, and the next run does it all."""
    with running() as lago, victim(tmp_path, lago, rows(range(600))) as made:
        assert made.run(most_bytes=2_000, step="extract") == FAILED
        error = (tmp_path / "run0.error").read_text()
        assert error.startswith("RetriableError: the spool ")
        assert " cannot be written: " in error
        assert "\n" not in error
        assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []
        assert made.run() == 0
        everything_once(made, 600)
