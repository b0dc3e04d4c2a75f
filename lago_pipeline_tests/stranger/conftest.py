"""The wheel, built and installed once a process, and what strangers' projects talk to."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.stranger.project import Stranger, make_warehouse, new_project, sync_yaml

ROOT = Path(__file__).parents[2]
_PLAN = {
    "name": "Pay as you go",
    "code": "payg",
    "interval": "monthly",
    "amount_cents": 0,
    "amount_currency": "EUR",
    "pay_in_advance": False,
}


def _pip(*arguments: str) -> None:
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package from the repository, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed and nothing else; it comes first on the path of every project."""
    folder = tmp_path_factory.mktemp("site")
    _pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


@pytest.fixture(scope="module")
def lago() -> Iterator[RunningSandbox]:
    """A Lago that bills the metrics of the tests to one subscription."""
    with running() as server:
        _catalogue(server, "calls", "other", "hourly_jobs")
        yield server


def _catalogue(server: RunningSandbox, *codes: str) -> None:
    metrics = [
        ("billable_metrics", {"billable_metric": {"name": code, "code": code, "aggregation_type": "sum_agg",
                                                  "field_name": "units"}})
        for code in codes
    ]  # fmt: skip
    subscription = {"external_customer_id": "cus_1", "plan_code": "payg", "external_id": "sub_1",
                    "subscription_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    for path, body in (
        *metrics,
        ("plans", {"plan": _PLAN}),
        ("customers", {"customer": {"external_id": "cus_1", "name": "Café Zoë", "currency": "EUR"}}),
        ("subscriptions", {"subscription": subscription}),
    ):
        key = {"Authorization": f"Bearer {server.api_key}"}
        answer = requests.post(f"{server.api_url}/{path}", json=body, headers=key, timeout=10)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def one_file(site: Path, lago: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """A project with nothing of ours but one `defs.yaml`, and the variables of DESIGN 2.2."""
    folder = tmp_path_factory.mktemp("one_file")
    project = new_project(
        folder / "billing",
        site,
        WAREHOUSE_URL=make_warehouse(folder / "warehouse.db", "calls"),
        LAGO_API_URL=lago.api_url,
        LAGO_API_KEY=lago.api_key,
    )
    project.write("defs/calls/defs.yaml", sync_yaml("calls"))
    return project
