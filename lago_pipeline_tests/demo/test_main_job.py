"""`make run`'s program: from an empty folder to events in Lago, and a second time with nothing to send."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lago_pipeline.sandbox.config import DEMO_API_KEY


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables that the Makefile sets, in a folder of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "LAGO_PIPELINE_STATE": str(home / "state"),
        "WAREHOUSE_URL": f"sqlite:///{home / 'state' / 'warehouse.db'}",
        "LAGO_API_URL": f"http://127.0.0.1:{free_port()}/api/v1",
        "LAGO_API_KEY": DEMO_API_KEY,
        "LEDGER_URL": "",
    }


def test_the_main_job_bills_all_but_the_planted_rows_and_a_second_run_nothing_new(
    environment: dict[str, str],
) -> None:
    """Exit code 0 means that exactly the planted rows are refused; a second run sends nothing twice."""
    command = [sys.executable, "-m", "lago_pipeline.demo", "run", "--to", "2026-09-08"]
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
