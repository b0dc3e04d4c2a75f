"""Past periods by `lago-pipeline run SYNC --from --to`, in runs of seven days."""

import subprocess
from collections.abc import Sequence

import pytest

from lago_pipeline.lago.answers import Answer
from lago_pipeline.lago.client import LagoClient
from lago_pipeline_tests.backfill.conftest import Past, day
from lago_pipeline_tests.backfill.project import OWN_ASSETS, SYNC

GOOD = '{"units": 3}'
LOGGERS = """\
import logging

import dagster as dg


@dg.definitions
def loggers() -> dg.Definitions:
    return dg.Definitions(loggers={"audit": dg.LoggerDefinition(lambda _: logging.getLogger("audit"))})
"""
EVERY = range(1, 17)
UP_TO_9 = range(1, 10)


def rows(*numbers: int) -> list[tuple[str, int, str | None, str]]:
    """A good row for each day."""
    return [(f"row-{number:02}", number, "sub_1", GOOD) for number in numbers]


def keys(*numbers: int) -> list[str]:
    """The keys of those rows."""
    return [f"row-{number:02}" for number in numbers]


def progress(stderr: str) -> list[str]:
    """The partitions whose delivery was told, in order."""
    return [line.split()[1].rstrip(":") for line in stderr.splitlines() if line.startswith("calls 2026-")]


def test_a_day_that_cannot_be_extracted_keeps_those_before(within: Past) -> None:
    """All days before the one at fault are delivered, told and green; one line names it and the reason."""
    within.add(*rows(*EVERY))
    within.change(f"update calls set call = '{{broken' where called_at like '{day(10)}%'")
    failed = within.run(1, 16)
    assert failed.exit_code == 1
    (error,) = [line for line in failed.stderr.splitlines() if line.startswith("Error:")]
    assert day(10) in error
    assert "malformed JSON" in error
    assert "Traceback" not in failed.output
    assert progress(failed.stderr) == [day(number) for number in UP_TO_9]
    assert within.billed() == keys(*UP_TO_9)
    green = [key for key, colour in within.colours().items() if colour == "MATERIALIZED"]
    assert sorted(green) == [day(number) for number in UP_TO_9]


def test_mending_the_day_delivers_the_rest_and_nothing_twice(within: Past) -> None:
    """The same command again, once the source is mended, bills what is left and finds the rest unchanged."""
    within.add(*rows(*range(1, 10)))
    within.change(f"update calls set call = '{{broken' where called_at like '{day(5)}%'")
    assert within.run(1, 9).exit_code == 1
    within.change(f"update calls set call = '{GOOD}'")
    again = within.run(1, 9)
    assert again.exit_code == 0, again.output
    assert progress(again.stderr) == [day(number) for number in range(1, 10)]
    assert within.billed() == keys(*range(1, 10))
    assert within.lago.stats()["duplicates_refused"] == 0
    assert within.states() == {day(number): "closed" for number in range(1, 10)}


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 503}, {"kind": "drop_before", "path": "/"}],
    ids=["refuses", "gone"],
)
def test_lago_down_in_the_middle_keeps_the_days_before(
    within: Past, fault: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Lago goes down the run stops with its reason; once it is back, the command delivers the rest."""
    post = LagoClient.post_events

    def falling(client: LagoClient, bodies: Sequence[bytes]) -> Answer:
        if len(within.lago.events()) == 9:
            within.lago.set_faults([fault])
        return post(client, bodies)

    within.add(*rows(*range(1, 16)))
    with monkeypatch.context() as patch:
        patch.setattr(LagoClient, "post_events", falling)
        failed = within.run(1, 15)
    assert failed.exit_code == 1
    (error,) = [line for line in failed.stderr.splitlines() if line.startswith("Error:")]
    assert day(10) in error or day(11) in error
    assert day(15) not in progress(failed.stderr)
    assert within.billed() == keys(*range(1, 10))
    within.lago.clear_faults()
    assert within.run(1, 15).exit_code == 0
    assert within.billed() == keys(*range(1, 16))
    assert within.lago.stats()["duplicates_refused"] == 0


def test_a_day_with_a_row_that_cannot_be_billed_stops_no_other(within: Past) -> None:
    """All other days are delivered, the bad one is told with its reason and red, and the exit code is 1."""
    within.add(*rows(*(number for number in EVERY if number != 12)), ("bad", 12, None, GOOD))
    result = within.run(1, 16)
    assert result.exit_code == 1
    assert progress(result.stderr) == [day(number) for number in EVERY]
    assert f"calls {day(12)}: 1 extracted, 1 quarantined (missing_external_subscription_id)" in result.stderr
    assert within.billed() == keys(*(number for number in EVERY if number != 12))
    green = {day(number): "MATERIALIZED" for number in EVERY}
    assert within.colours() == {**green, day(12): "FAILED"}


def test_days_without_rows_are_done(within: Past) -> None:
    """A day without rows is told, green in all three assets, and closed: nothing asks for it again."""
    within.add(*rows(2))
    result = within.run(1, 9)
    assert result.exit_code == 0, result.output
    assert progress(result.stderr) == [day(number) for number in range(1, 10)]
    assert f"calls {day(1)}: no rows" in result.stderr
    green = {day(number): "MATERIALIZED" for number in range(1, 10)}
    assert [within.colours(name) for name in OWN_ASSETS] == [green] * 3
    assert within.states() == {day(number): "closed" for number in range(1, 10)}


def test_a_project_with_loggers_of_its_own(within: Past) -> None:
    """Loggers that a project declares, none of them the console, are no reason to stop, and none to talk."""
    within.project.write("defs/loggers.py", LOGGERS)
    within.add(*rows(1))
    result = within.run(1, 1)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [f"calls {day(1)}: 1 extracted, 1 accepted"]


def test_progress_is_told_while_the_command_goes_on(past: Past) -> None:
    """The days of a run are told when it ends, long before those of the last run."""
    past.add(*rows(*range(1, 16)))
    command = ("lago-pipeline", "run", SYNC, "--from", day(1), "--to", day(15))
    project = past.project
    with subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        billed = past.billed()
        others = process.stderr.read()
    assert process.returncode == 0, others
    assert keys(*range(1, 8)) == billed[:7]
    assert len(billed) < 15
    assert progress(first + others) == [day(number) for number in range(1, 16)]
