"""What every folder of tests may use: databases of both kinds, fresh for each test."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from hypothesis import settings

from lago_pipeline.ledger.database import open_ledger
from lago_pipeline_tests.postgres import PostgresServer, running_postgres

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long goes first: it mostly waits, for a daemon or a browser, while other workers compute."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def dagster_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of a new Dagster instance, to be copied: making them takes half a second."""
    folder = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(folder)):
        return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the tests of this process, started when the first test asks for it."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database."""
    with postgres_server.fresh_database() as name:
        yield postgres_server.url(name)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty SQLite database."""
    path = tmp_path / "database.db"
    path.touch()
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once of each kind."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def ledger_engine(database_url: str) -> Iterator[sa.Engine]:
    """A new ledger, once of each kind."""
    engine = open_ledger(database_url)
    yield engine
    engine.dispose()
