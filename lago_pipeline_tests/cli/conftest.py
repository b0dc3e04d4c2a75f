"""The demo's project with a small warehouse and a Lago sandbox, as a person would call commands in it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lago_pipeline.cli import main
from lago_pipeline.demo.catalog import seed_catalog
from lago_pipeline.demo.warehouse import seed
from lago_pipeline.sandbox.server import RunningSandbox, running

ROOT = Path(__file__).parents[2]
Command = Callable[..., Result]


@pytest.fixture(scope="session")
def demo_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's warehouse, made once."""
    path = tmp_path_factory.mktemp("demo") / "warehouse.db"
    seed(path)
    return path


@pytest.fixture
def lago() -> Iterator[RunningSandbox]:
    """A Lago with the demo's catalogue."""
    with running() as server:
        seed_catalog(server.api_url, server.api_key)
        yield server


@pytest.fixture
def environment(
    tmp_path: Path, demo_warehouse: Path, lago: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The variables that `make run` sets; returns the state folder."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{demo_warehouse}")
    monkeypatch.setenv("LAGO_API_URL", lago.api_url)
    monkeypatch.setenv("LAGO_API_KEY", lago.api_key)
    monkeypatch.setenv("LAGO_PIPELINE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("LEDGER_URL", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path / "state"


@pytest.fixture
def command(environment: Path) -> Command:
    """Call `lago-pipeline` with arguments."""
    del environment
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def document(result: Result) -> Any:
    """What a command printed with --json."""
    return json.loads(result.stdout)


def ledger_rows(state: Path, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the ledger, read as a person with SQL would."""
    connection = sqlite3.connect(state / "ledger.db")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
