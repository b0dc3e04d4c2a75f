"""One sandbox of each kind for all tests, emptied before each."""

from collections.abc import Iterator

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline_tests.sandbox.client import Client, connected


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Client]:
    with connected() as client:
        yield client


@pytest.fixture(scope="session")
def _clickhouse() -> Iterator[Client]:
    with connected(SandboxConfig(store="clickhouse")) as client:
        yield client


@pytest.fixture
def lago(_postgres: Client) -> Client:
    """A Lago with PostgreSQL as event store."""
    _postgres.sandbox.reset(catalog=True)
    return _postgres


@pytest.fixture
def clickhouse(_clickhouse: Client) -> Client:
    """A Lago with ClickHouse as event store."""
    _clickhouse.sandbox.reset(catalog=True)
    return _clickhouse


@pytest.fixture(params=["postgres", "clickhouse"])
def either(request: pytest.FixtureRequest) -> Client:
    """A Lago with either store, for what both do."""
    client: Client = request.getfixturevalue("lago" if request.param == "postgres" else "clickhouse")
    return client
