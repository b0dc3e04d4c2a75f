"""Files are sorted by row key as a whole, however rows arrive."""

import random
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any
from unicodedata import category

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lago_pipeline.errors import RetriableError
from lago_pipeline.event import Event, event_batch
from lago_pipeline.spool import events as events_module
from lago_pipeline.spool import parquet
from lago_pipeline.spool.events import EventsFooter, events_opened, events_written
from lago_pipeline.spool.keys import KEYLESS
from lago_pipeline.spool.rows import rows_opened, stored_rows
from lago_pipeline_tests.spool.writing import COLUMNS, read_rows, write_rows


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few thousand rows are merged of many runs, and have many row groups."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    monkeypatch.setattr(parquet, "RUN_BYTES", 30_000)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 25_000])
@pytest.mark.parametrize("distinct", [3, 10_000])
def test_merged_groups_are_sorted_as_python_sorts(tmp_path: Path, count: int, distinct: int) -> None:
    """Every row is there once, and equal keys are neighbours."""
    chance = random.Random(count + distinct)
    alphabet = "aZ09:% é\u00ff\u0301\U0001f600\uffff"
    keys = ["".join(chance.choices(alphabet, k=chance.randint(0, 6))) for _ in range(distinct)]
    rows = [(chance.choice(keys), number) for number in range(count)]
    path = tmp_path / "rows.parquet"
    write_rows(path, rows, chunk=700)
    found = read_rows(path)
    stored = stored_rows(rows, COLUMNS, ["id"])
    assert [row.row_key for row in found] == sorted(row.row_key for row in stored)
    assert sorted(row.texts[1] or "" for row in found) == sorted(str(number) for number in range(count))


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("order", ["ascending", "descending", "equal"])
def test_rows_already_in_order_stay_so(tmp_path: Path, order: str) -> None:
    """Groups that do not overlap, overlap wholly or hold a single key merge alike."""
    keys = {"ascending": range(5_500), "descending": range(5_500, 0, -1), "equal": [7] * 5_500}[order]
    path = tmp_path / "rows.parquet"
    write_rows(path, [(f"{key:05}", number) for number, key in enumerate(keys)], chunk=500)
    assert [row.row_key for row in read_rows(path)] == sorted(f"{key:05}" for key in keys)


def test_wide_rows_fill_a_group_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by size too, and the order holds."""
    monkeypatch.setattr(parquet, "RUN_BYTES", 100_000)
    path = tmp_path / "rows.parquet"
    write_rows(path, [(number % 50, "x" * 10_000) for number in range(200)], chunk=10)
    assert [row.row_key for row in read_rows(path)] == sorted(str(number % 50) for number in range(200))


@pytest.mark.parametrize("count", [0, 3, 250])
def test_the_footer_says_what_was_written(tmp_path: Path, count: int) -> None:
    """An empty partition has a file too, with its columns."""
    path = tmp_path / "rows.parquet"
    write_rows(path, [(number, "x") for number in range(count)])
    with rows_opened(path) as file:
        assert (file.footer.rows, file.footer.run, file.footer.snapshot_ms) == (
            count,
            "run-1",
            1_767_225_600_123,
        )
        assert file.columns == COLUMNS
        assert sum(map(len, file.rows())) == count


def test_columns_of_any_name_are_kept(tmp_path: Path) -> None:
    """A source's column may be called like one of ours, or like nothing else."""
    columns = ["row_key", "types", "row.x", "", "ü:😀", "a b"]
    path = tmp_path / "rows.parquet"
    write_rows(path, [(1, 2, 3, 4, 5, 6)], columns, ["types"])
    with rows_opened(path) as file:
        assert file.columns == tuple(columns)
        assert [row.row_key for row in next(file.rows())] == ["2"]


SCALARS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.binary(max_size=3))


@given(st.sets(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=50))
def test_composite_keys_never_collide(parts: set[tuple[str, str]]) -> None:
    """Whatever the parts hold, different keys have different texts, and no text has a NUL."""
    rows = [row.row_key for row in stored_rows(sorted(parts), COLUMNS, COLUMNS)] if parts else []
    assert len(set(rows)) == len(parts)
    assert not any("\x00" in key for key in rows)


def test_keys_of_every_kind(tmp_path: Path) -> None:
    """A part is escaped; a long key is cut for indexes and stays unique; no key is a hash of the row."""
    rows = [("a:b%", 1), ("x\x00y", 1), ("it's \"q\" 😀", 1), (None, 1), (None, 2), ("é" * 5_000, 1),
            ("é" * 5_000 + "!", 1), (b"\x00:", 1), ("half \ud83d", 1)]  # fmt: skip
    path = tmp_path / "rows.parquet"
    write_rows(path, rows)
    keys = [row.row_key for row in read_rows(path)]
    assert len(set(keys)) == len(rows)
    assert {"a%3Ab%25", "x%00y", 'it\'s "q" 😀', r"half \ud83d"} < set(keys)
    assert sum(key.startswith(KEYLESS) for key in keys) == 2
    assert {len(key.encode()) for key in keys if key.startswith("é")} == {2_200}
    assert all(category(character) != "Cc" for key in keys for character in key)


def test_keys_with_half_a_character_are_kept_apart(tmp_path: Path) -> None:
    """Also where all keys are texts without anything else to escape."""
    path = tmp_path / "rows.parquet"
    write_rows(path, [("half \ud83d", 1), ("half \ud83c", 1), ("whole", 1)])
    assert [row.row_key for row in read_rows(path)] == [r"half \ud83c", r"half \ud83d", "whole"]


def test_a_group_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is written beside the making of the next one, and that one can be written."""
    monkeypatch.setattr(events_module, "GROUP_EVENTS", 2)
    write, full = pq.ParquetWriter.write_table, [OSError(28, "No space left on device")]

    def write_table(writer: pq.ParquetWriter, *arguments: Any, **options: Any) -> None:
        if full:
            raise full.pop()
        write(writer, *arguments, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    path, footer = tmp_path / "events.parquet", EventsFooter(1, 2, 4, 0, 0, "00", "hash", "run")
    with pytest.raises(RetriableError, match="No space left"), events_written(path, lambda: footer) as writer:
        for first in ("a", "b"):
            writer.write(event_batch([_event(first, 0), _event(first, 1)]))
    assert list(tmp_path.iterdir()) == []


def _event(key: str, index: int) -> Event:
    return Event(key, index, f"p:c:{key}", "c", "s", 1, "{}", b"{}", bytes(16), None)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(repeats=st.lists(st.integers(1, 8), max_size=60))
def test_event_groups_never_split_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeats: list[int]
) -> None:
    """A group of events is a range of keys, so that each can be planned alone."""
    monkeypatch.setattr(events_module, "GROUP_EVENTS", 10)
    events = [_event(f"{key:03}", index) for key, count in enumerate(repeats) for index in range(count)]
    footer = EventsFooter(1, 2, len(events), 0, 0, "00", "hash", "run")
    path = tmp_path / "events.parquet"
    with events_written(path, lambda: footer) as writer:
        for _, same_key in groupby(events, key=attrgetter("row_key")):
            writer.write(event_batch(same_key))
    with events_opened(path) as file:
        groups = list(file.groups())
        assert file.footer == footer
    assert [event for group in groups for event in group] == events
    ranges = [(group[0].row_key, group[-1].row_key) for group in groups]
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert all(10 <= len(group) <= 17 for group in groups[:-1])
