"""`make run`'s program: from an empty folder to events in Lago, and a second time with nothing to send."""

import subprocess
from pathlib import Path

import pytest

from lago_pipeline_tests.demo.dev import demo_command, demo_environment


@pytest.mark.long
def test_the_main_job_bills_all_but_the_planted_rows_and_a_second_run_nothing_new(
    tmp_path: Path,
) -> None:
    """Exit code 0 means that exactly the planted rows are refused; a second run sends nothing twice."""
    environment, command = demo_environment(tmp_path), demo_command("run", "--to", "2026-09-08")
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    told = [line for line in first.stdout.splitlines() if line.startswith("Lago's events list holds")]
    assert len(told) == 2
    assert [line for line in second.stdout.splitlines() if line.startswith("Lago's events")] == told
    assert "accepted" in first.stderr
    assert "unchanged" in second.stderr
    assert "accepted" not in second.stderr
