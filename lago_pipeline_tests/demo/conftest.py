"""One seeded warehouse for all tests of this folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lago_pipeline.demo.warehouse import SeedSummary, seed


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SeedSummary]:
    """Seed a fresh file once; tests that change it take a copy."""
    path = tmp_path_factory.mktemp("demo") / "warehouse.db"
    return path, seed(path)


@pytest.fixture
def warehouse(seeded: tuple[Path, SeedSummary]) -> Iterator[sqlite3.Connection]:
    """Open the seeded file."""
    with closing(sqlite3.connect(seeded[0])) as database:
        database.row_factory = sqlite3.Row
        yield database
