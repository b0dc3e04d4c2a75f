"""A project with a past of some weeks, its warehouse, and the Lago that it is billed in."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from lago_pipeline.cli import main
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.backfill.project import SYNC, past_project
from lago_pipeline_tests.stranger.project import NAME, Stranger, billed

START = date(2026, 3, 1)
QUERY = """\
query: >-
      select id, called_at, subscription, json_extract(call, '$.units') as units, 'EU' as region
      from calls where called_at >= :start and called_at < :end\
"""
"""Its own window, so that a row whose JSON is broken fails its day and no other."""


def day(number: int) -> str:
    """The partition of a day of the past, from 1 on."""
    return f"{START + timedelta(days=number - 1)}"


@dataclass(frozen=True)
class Past:
    """A project, what a person does in it, and what came of it."""

    project: Stranger
    warehouse: Path
    lago: RunningSandbox

    def add(self, *rows: tuple[str, int, str | None, str]) -> None:
        """Insert rows of (id, number of the day, subscription, JSON of the call)."""
        values = [(key, f"{day(number)} 10:00:00", who, call) for key, number, who, call in rows]
        with closing(sqlite3.connect(self.warehouse)) as connection, connection:
            connection.executemany("insert into calls values (?, ?, ?, ?)", values)

    def change(self, statement: str) -> None:
        """Change the warehouse."""
        with closing(sqlite3.connect(self.warehouse)) as connection, connection:
            connection.execute(statement)

    def run(self, first: int, last: int, *more: str) -> Result:
        """Call `lago-pipeline run` for some days."""
        return CliRunner().invoke(main, ["run", SYNC, "--from", day(first), "--to", day(last), *more])

    def billed(self) -> list[str]:
        """The keys of the rows that Lago holds."""
        return billed(self.lago)

    def states(self) -> dict[str, str]:
        """The ledger's state of each partition."""
        with closing(sqlite3.connect(self.project.home / "lago_pipeline/ledger.db")) as connection:
            return dict(connection.execute("select partition, state from lago_partitions"))

    def colours(self, name: str = "deliveries") -> dict[str, str]:
        """How Dagster shows each day of an asset that it has heard of."""
        partitions = dg.DailyPartitionsDefinition(str(START), end_offset=1)
        keys = partitions.get_partition_keys()
        with dg.DagsterInstance.from_config(str(self.project.home)) as instance:
            found = instance.get_status_by_partition(dg.AssetKey([SYNC, name]), keys, partitions)
        return {key: status.name for key, status in (found or {}).items() if status is not None}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """A Lago for the tests of one module."""
    with running() as server:
        yield server


@pytest.fixture
def lago(sandbox: RunningSandbox) -> RunningSandbox:
    """The module's Lago, empty and without faults."""
    sandbox.clear_faults()
    sandbox.reset()
    return sandbox


@pytest.fixture
def past(tmp_path: Path, lago: RunningSandbox, dagster_tables: Path) -> Past:
    """A project whose warehouse has an empty table."""
    warehouse = tmp_path / "warehouse.db"
    project = past_project(
        tmp_path,
        start=str(START),
        per_run=7,
        source=QUERY,
        more="  delivery: {max_attempts: 1}\n",
        WAREHOUSE_URL=f"sqlite:///{warehouse}",
        LAGO_API_URL=lago.api_url,
        LAGO_API_KEY=lago.api_key,
    )
    shutil.copytree(dagster_tables, project.home, dirs_exist_ok=True)
    made = Past(project, warehouse, lago)
    made.change("create table calls (id text, called_at text, subscription text, call text)")
    return made


@pytest.fixture
def within(past: Past, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    """Be in the project, with its variables, so that commands can be called in this process."""
    monkeypatch.chdir(past.project.root)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("LEDGER_URL", "LAGO_PIPELINE_STATE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DAGSTER_HOME", "WAREHOUSE_URL", "LAGO_API_URL", "LAGO_API_KEY"):
        monkeypatch.setenv(name, past.project.environment[name])
    yield past
    for module in [module for module in sys.modules if module.split(".")[0] == NAME]:
        del sys.modules[module]
