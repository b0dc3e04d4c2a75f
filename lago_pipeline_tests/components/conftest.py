"""A small warehouse, a Lago sandbox, and the definitions of one sync between them."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lago_pipeline.components.usage_sync import UsageSync
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.components.unattended import COLUMNS, Unattended, at

ATTRIBUTES: Mapping[str, Any] = {
    "name": "calls",
    "source": {"table": "calls", "primary_key": "id", "time_column": "called_at"},
    "event": {
        "code": "calls",
        "external_subscription_id": "{{ row.subscription }}",
        "properties": {"units": "{{ row.units }}"},
    },
    "partitions": {"start": "2026-03-01"},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """A Lago for the tests of one module."""
    with running() as server:
        yield server


@pytest.fixture
def lago(sandbox: RunningSandbox) -> RunningSandbox:
    """The module's Lago, empty and without faults or metrics."""
    sandbox.clear_faults()
    sandbox.reset(catalog=True)
    return sandbox


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A SQLite warehouse with an empty table `calls`."""
    path = tmp_path / "warehouse.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table calls (id text, called_at text, subscription text, units integer)")
    connection.close()
    return path


@pytest.fixture
def environment(
    tmp_path: Path, warehouse: Path, lago: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The variables of DESIGN 2.2, as an operator would set them; returns the state folder."""
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{warehouse}")
    monkeypatch.setenv("LAGO_API_URL", lago.api_url)
    monkeypatch.setenv("LAGO_API_KEY", lago.api_key)
    monkeypatch.setenv("LAGO_PIPELINE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("LEDGER_URL", raising=False)
    return tmp_path / "state"


def add_calls(warehouse: Path, *rows: tuple[object, ...]) -> None:
    """Insert rows of (id, called_at, subscription, units)."""
    with sqlite3.connect(warehouse) as connection:
        connection.executemany("insert into calls values (?, ?, ?, ?)", rows)
    connection.close()


def loaded(**changes: Any) -> UsageSync:
    """The component with some attributes replaced."""
    return UsageSync.from_attributes_dict(attributes={**ATTRIBUTES, **changes})


def definitions(**changes: Any) -> dg.Definitions:
    """The definitions of the component with some attributes replaced."""
    return loaded(**changes).build_defs(dg.ComponentTree.for_test().load_context)


@pytest.fixture
def instance(tmp_path: Path, dagster_tables: Path) -> Iterator[dg.DagsterInstance]:
    """An instance for one test, on disk, as a schedule's process would open it."""
    home = shutil.copytree(dagster_tables, tmp_path / "dagster")
    with dg.DagsterInstance.local_temp(str(home)) as local:
        yield local


@pytest.fixture
def unattended(
    environment: Path, warehouse: Path, lago: RunningSandbox, instance: dg.DagsterInstance
) -> Callable[..., Unattended]:
    """Make a sync that runs by itself from an instant on; its source has `loaded_at`."""
    del environment

    def make(now: str, **changes: Any) -> Unattended:
        component = loaded(**changes)
        world = Unattended(warehouse, lago, instance, at(now), component.sync(), component.wiring())
        world.change("drop table calls")
        world.change(f"create table calls ({COLUMNS})")
        return world

    return make
