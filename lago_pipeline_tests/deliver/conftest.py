"""A Lago of each kind for all tests of these folders, emptied before each, and a world around it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import TransportOptions
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.deliver.world import World


@pytest.fixture(scope="session")
def _postgres_lago() -> Iterator[RunningSandbox]:
    with running() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def _clickhouse_lago() -> Iterator[RunningSandbox]:
    with running(SandboxConfig(store="clickhouse", dedup=False)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite ledger to copy: migrating each test's own would take most of its time."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    open_ledger(f"sqlite:///{path}").dispose()
    return path


@contextmanager
def world_around(folder: Path, ledger: Path, sandbox: RunningSandbox) -> Iterator[World]:
    """A world in a folder, with a copy of an empty ledger."""
    sandbox.reset(catalog=True)
    shutil.copy(ledger, folder / "ledger.db")
    engine = open_ledger(f"sqlite:///{folder}/ledger.db")
    try:
        with LagoClient(sandbox.api_url, sandbox.api_key, options=TransportOptions(5.0, 5.0)) as client:
            yield World(folder, engine, sandbox, client)
    finally:
        engine.dispose()


@pytest.fixture
def world(tmp_path: Path, empty_ledger: Path, _postgres_lago: RunningSandbox) -> Iterator[World]:
    """With a Lago that keeps events in PostgreSQL."""
    with world_around(tmp_path, empty_ledger, _postgres_lago) as made:
        yield made


@pytest.fixture
def clickhouse(tmp_path: Path, empty_ledger: Path, _clickhouse_lago: RunningSandbox) -> Iterator[World]:
    """With a Lago that keeps events in ClickHouse and bills every copy."""
    with world_around(tmp_path, empty_ledger, _clickhouse_lago) as made:
        yield made
