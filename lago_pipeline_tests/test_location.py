"""The code location and the package, as programs outside of the tests load them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
JOBS = {"active_seats_sync", "api_requests_sync"}


def output_of(*command: str) -> str:
    """What a command prints, run in the repository as a person would."""
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.mark.parametrize("options", [(), ("-w", "workspace.yaml")])
def test_dagster_finds_the_location_with_and_without_the_workspace_file(options: tuple[str, ...]) -> None:
    """Plain `dagster` and `dagster -w workspace.yaml` load one location of one name."""
    told = output_of(str(BIN / "dagster"), "definitions", "validate", *options)
    assert "Validation successful for code location lago_pipeline" in told


def test_dg_finds_the_same_definitions() -> None:
    """`dg list defs` shows the jobs of the demo's syncs."""
    found = output_of(str(BIN / "dg"), "list", "defs", "--json")
    assert all(job in found for job in JOBS)


def test_dg_accepts_the_yaml() -> None:
    """`dg check yaml` passes the demo's files."""
    assert "validated successfully" in output_of(str(BIN / "dg"), "check", "yaml")


def test_the_core_imports_neither_dagster_nor_pandas() -> None:
    """The three steps run without Dagster, and quickly."""
    program = (
        "import sys, lago_pipeline.pipeline, lago_pipeline.sample; "
        "print([name for name in ('dagster', 'pandas', 'alembic') if name in sys.modules])"
    )
    assert output_of(sys.executable, "-c", program).strip() == "[]"
