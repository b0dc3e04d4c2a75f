"""docs/databases.md names only URLs that work here."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from lago_pipeline.source.dialects import DIALECTS, dialect_named
from lago_pipeline.source.warehouse import warehouse_engine

TEXT = (Path(__file__).parents[2] / "docs/databases.md").read_text(encoding="utf-8")
URLS = sorted(set(re.findall(r"`((?:sqlite|postgresql|mariadb|mysql|duckdb)(?:[+]\w+)?:///?[^`\s]+)`", TEXT)))


@pytest.mark.parametrize("url", URLS)
def test_every_url_has_a_driver_and_a_dialect(url: str) -> None:
    """Its database is supported, and the extra's driver takes its options."""
    name = sa.make_url(url).get_backend_name()
    assert dialect_named(name).driver in ("", url.partition("://")[0])
    if "/srv/" not in url:
        engine = warehouse_engine(url)
        engine.dialect.create_connect_args(engine.url)
        engine.dispose()


def test_every_dialect_has_a_url() -> None:
    """Nothing is supported in secret."""
    assert {sa.make_url(url).get_backend_name() for url in URLS} == set(DIALECTS)
