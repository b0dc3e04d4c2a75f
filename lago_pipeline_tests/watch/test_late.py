"""The search for late rows without Dagster: loads that are too big for one look, and what is not followed."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.ledger.asks import ask
from lago_pipeline.ledger.database import open_ledger, writing
from lago_pipeline.ledger.registry import RegisteredSync, activate
from lago_pipeline.partition import epoch_ms
from lago_pipeline.source.changed import ChangeReader
from lago_pipeline.watch.late import LateCursor, LateRows, find_late_rows
from lago_pipeline_tests.source.reading import engine_of, usage_sync
from lago_pipeline_tests.watch.calendars import Days

SYNC = usage_sync(table="usage", updated_at_column="loaded")
STARTED = epoch_ms(datetime(2026, 3, 3, 15, tzinfo=UTC))
NOON = epoch_ms(datetime(2026, 3, 9, 12, tzinfo=UTC))
TABLE = "create table usage (id integer, at timestamptz, loaded timestamptz)"


@pytest.fixture
def ledger(sqlite_database: str) -> Iterator[sa.Engine]:
    """A new ledger on SQLite."""
    engine = open_ledger(sqlite_database)
    yield engine
    engine.dispose()


@pytest.fixture
def known(ledger: sa.Engine) -> RegisteredSync:
    """The sync, first started on 3 March."""
    return activate(ledger, SYNC, STARTED)


def look(
    ledger: sa.Engine, known: RegisteredSync, source: sa.Engine, now_ms: int = NOON, most: int = 10
) -> LateRows:
    """One look at the source, which reads at most so many rows."""
    return find_late_rows(ledger, known, ChangeReader(source, SYNC, most_rows=most), Days(), lambda: now_ms)


def keys(late: LateRows) -> list[str]:
    """The days that changed."""
    return [partition.key for partition in late.changed]


def load(day: str, minute: int, count: int, seconds: int = 0) -> str:
    """SQL that loads rows of a day at a minute of 9 March, 11 o'clock."""
    loaded = f"2026-03-09 11:{minute:02d}:{seconds:02d}Z"
    return f"insert into usage select n, '{day} 10:00Z', '{loaded}' from generate_series(1, {count}) n"


def test_a_load_over_many_minutes_is_found_in_several_looks(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """Each look goes on where the last one stopped, and no day is left out."""
    loads = [load(f"2026-03-0{day}", 10 * day, 6) for day in (3, 4, 5)]
    with engine_of(postgres_database, TABLE, *loads) as source:
        found = [keys(look(ledger, known, source)) for _ in range(5)]
    assert sorted({key for days in found for key in days}) == ["2026-03-03", "2026-03-04", "2026-03-05"]
    assert found[-1] == []


def test_a_load_that_fills_one_minute_marks_every_day_it_may_have_touched(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """Where one minute has more rows than a look reads, its days are asked for from first to last."""
    loads = [load("2026-03-04", 20, 40), load("2026-03-06", 20, 40, seconds=30), load("2026-03-07", 40, 2)]
    with engine_of(postgres_database, TABLE, *loads) as source:
        found = [keys(look(ledger, known, source)) for _ in range(6)]
    assert ["2026-03-04", "2026-03-05", "2026-03-06"] in found
    assert ["2026-03-07"] in found
    assert found[-1] == []


def test_days_before_the_first_start_are_told_apart(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """A day that was never delivered is not marked; one that a person had delivered is."""
    first = Days().at(STARTED - 2 * 86_400_000)
    assert first is not None
    with writing(ledger) as connection:
        ask(connection, known.sync_id, first, 0, STARTED)
    with engine_of(postgres_database, TABLE, load("2026-03-01", 5, 1), load("2026-03-02", 5, 1)) as source:
        late = look(ledger, known, source)
    assert keys(late) == ["2026-03-01"]
    assert [partition.key for partition in late.ignored] == ["2026-03-02"]


def test_a_quiet_source_moves_the_watermark_with_its_newest_usage(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """Usage of today is no late row, but the next look begins an hour before its update."""
    today = "insert into usage values (1, '2026-03-09 11:00Z', '2026-03-09 11:30Z')"
    with engine_of(postgres_database, TABLE, today) as source:
        late = look(ledger, known, source)
    assert (late.changed, late.watermark_ms) == ([], NOON - 90 * 60_000)


@given(
    st.integers(0, 2**45),
    st.dictionaries(
        st.tuples(st.integers(0, 2**45), st.integers(0, 2**45)),
        st.tuples(st.integers(1, 9), st.integers(0, 9)),
    ),
)
def test_a_cursor_is_read_as_it_was_written(
    from_ms: int, seen: dict[tuple[int, int], tuple[int, int]]
) -> None:
    """Nothing of what a look saw is lost between two looks."""
    cursor = LateCursor(from_ms, seen)
    assert LateCursor.of_text(cursor.text()) == cursor


def test_a_cut_look_does_not_lose_the_overlap(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """A row that is committed late, behind a load that took several looks, is found all the same."""
    loads = [load(f"2026-03-0{day}", 10 * day, 6) for day in (3, 4, 5)]
    with engine_of(postgres_database, TABLE, *loads) as source:
        for _ in range(6):
            look(ledger, known, source)
        with source.begin() as connection:
            connection.exec_driver_sql(load("2026-03-07", 25, 1))
        found = [keys(look(ledger, known, source)) for _ in range(4)]
    assert sorted(key for days in found for key in days) == ["2026-03-07"]


def test_a_load_from_the_future_does_not_hide_what_comes_after(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """A whole look full of rows of the year 2099 moves nothing past now."""
    future = "insert into usage select n, '2026-03-04 10:00Z', '2099-01-01' from generate_series(1, 30) n"
    with engine_of(postgres_database, TABLE, future) as source:
        assert keys(look(ledger, known, source)) == ["2026-03-04"]
        with source.begin() as connection:
            connection.exec_driver_sql(load("2026-03-05", 30, 1))
        assert "2026-03-05" in keys(look(ledger, known, source))
        assert keys(look(ledger, known, source)) == []


def test_a_start_that_was_moved_leaves_earlier_days_alone(
    ledger: sa.Engine, known: RegisteredSync, postgres_database: str
) -> None:
    """Late rows of before the new start are nobody's, and those after it are found."""
    first = Days().at(STARTED)
    assert first is not None
    with writing(ledger) as connection:
        ask(connection, known.sync_id, first, 0, STARTED)
    moved = Days(first_ms=first.start_ms + 2 * 86_400_000)
    with engine_of(postgres_database, TABLE, load("2026-03-03", 5, 1), load("2026-03-06", 5, 1)) as source:
        reader = ChangeReader(source, SYNC)
        assert keys(find_late_rows(ledger, known, reader, moved, lambda: NOON)) == ["2026-03-06"]
