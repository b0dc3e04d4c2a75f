"""The databases that usage rows may come from: one server of each kind, an empty database for each test."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from lago_pipeline_tests.mariadb import MariaServer, running_mariadb

SOURCES = ("sqlite", "postgres", "mariadb", "duckdb")


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaServer]:
    """One MariaDB for the tests of this process, started when the first test asks for it."""
    with running_mariadb() as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: MariaServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty MariaDB database."""
    with mariadb_server.fresh_database() as name:
        yield mariadb_server.url(name)


@pytest.fixture
def duckdb_database(tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty DuckDB file."""
    path = tmp_path / "usage.duckdb"
    duckdb.connect(str(path)).close()
    return f"duckdb:///{path}"


@pytest.fixture(params=SOURCES)
def source_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_database")
    return url
