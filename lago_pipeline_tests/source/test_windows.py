"""Every row is carried by exactly one partition, however its time is stored and spelled."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lago_pipeline.partition import Partition
from lago_pipeline_tests.source.reading import days, engine_of, holder, hours, placed, usage_sync

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/Santiago", "Asia/Beirut")]
# runs of five days around a day of 23 hours, one of 25 hours, and a plain one
FIRST_DAYS = {
    "UTC": [date(2025, 12, 30), date(2026, 2, 26)],
    "Europe/Berlin": [date(2026, 3, 27), date(2026, 10, 23), date(2025, 12, 30)],
    "America/Santiago": [date(2026, 4, 2), date(2026, 9, 4), date(2025, 12, 30)],
    "Asia/Beirut": [date(2026, 3, 27), date(2026, 10, 23), date(2025, 12, 30)],
}
RUNS = [days(first, 5, zone) for zone in ZONES for first in FIRST_DAYS[zone.key]]
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


Spelling = Callable[[datetime, ZoneInfo], "st.SearchStrategy[Stored]"]


class Stored(NamedTuple):
    """A value of a time column, and the instant it means."""

    value: object
    meant: datetime


@st.composite
def instants(draw: st.DrawFn, run: list[Partition]) -> datetime:
    """An instant within the run, often on or just beside a boundary."""
    boundaries = [part.start.astimezone(UTC) for part in run]
    beside = st.builds(
        lambda boundary, step: boundary + timedelta(microseconds=step),
        st.sampled_from(boundaries),
        st.sampled_from([0, -1, 1, -1_000, 1_000, -1_000_000, 3_599_999_999, 3_600_000_000, -3_600_000_000]),
    )
    whole = int((run[-1].end - run[0].start).total_seconds())
    within = st.integers(0, whole * 1_000_000 - 1).map(
        lambda step: run[0].start.astimezone(UTC) + timedelta(microseconds=step)
    )
    return draw(st.one_of(beside, within))


def _aware(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)


@st.composite
def aware_text(draw: st.DrawFn, instant: datetime, _: ZoneInfo) -> Stored:
    """ISO 8601 with an offset, in one of its spellings."""
    minutes = draw(st.sampled_from([0, 60, 330, -660, 840, -210, 345]))
    local = _aware(instant, timedelta(minutes=minutes))
    sign, (hour, minute) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    suffixes = [f"{sign}{hour:02}:{minute:02}", f"{sign}{hour:02}{minute:02}"]
    suffix = draw(st.sampled_from(suffixes + ["Z"] * (not minutes)))
    form = draw(st.sampled_from(["%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y%m%dT%H%M%S.%f"]))
    return Stored(local.strftime(form) + suffix, instant)


@st.composite
def naive_text(draw: st.DrawFn, instant: datetime, zone: ZoneInfo) -> Stored:
    """ISO 8601 without an offset, cut off somewhere; an ambiguous time is the first one."""
    forms = ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y%m%dT%H%M%S", "%Y%m%d %H%M",
             "%Y-%m-%d", "%Y%m%d", "%Y-%m-%dT%H"]  # fmt: skip
    text = instant.astimezone(zone).strftime(draw(st.sampled_from(forms)))
    return Stored(text, datetime.fromisoformat(text).replace(tzinfo=zone))


@st.composite
def epoch(draw: st.DrawFn, instant: datetime, _: ZoneInfo) -> Stored:
    """Epoch seconds, whole or not, as number or text; finer ones, which are carried to be refused."""
    microseconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    seconds, milliseconds = microseconds // 1_000_000, microseconds // 1000
    value: int | float = draw(
        st.sampled_from([seconds, milliseconds / 1000, milliseconds, microseconds, milliseconds * 1_000_000])
    )
    whole = value == seconds
    meant = (
        datetime.fromtimestamp(seconds, UTC)
        if whole
        else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    )
    return Stored(draw(st.sampled_from([value, str(value)])), meant)


@st.composite
def refused(draw: st.DrawFn, instant: datetime, zone: ZoneInfo) -> Stored:
    """What no event can have for a time, but names a day: it is carried with its reason, not lost."""
    day = instant.astimezone(zone).date()
    forms = [f"{day} noon", f"{day}T25:00", f"{day}?", int(f"{day:%Y%m%d}")]
    return Stored(draw(st.sampled_from(forms)), datetime(day.year, day.month, day.day, tzinfo=zone))


@contextmanager
def sqlite_rows(column_type: str, rows: Mapping[int, object]) -> Iterator[sa.Engine]:
    """A SQLite table in memory with a time column of some declared type."""
    with engine_of("sqlite://", f"create table u (id integer, at {column_type})") as engine:
        with engine.begin() as connection:
            for number, value in rows.items():
                connection.exec_driver_sql("insert into u values (?, ?)", (number, value))
        yield engine


@pytest.mark.parametrize("spelling", [aware_text, naive_text, epoch, refused])
@EXAMPLES
@given(data=st.data())
def test_sqlite_in_every_spelling(spelling: Spelling, data: st.DataObject) -> None:
    """Whatever SQLite stored, one partition of the run holds it: the one it means."""
    run, zone = data.draw(st.sampled_from(RUNS)), data.draw(st.sampled_from(ZONES))
    column_type = data.draw(st.sampled_from(["text", "", "timestamp", "integer", "real"]))
    drawn = data.draw(st.lists(instants(run).flatmap(lambda at: spelling(at, zone)), min_size=1, max_size=30))
    with sqlite_rows(column_type, {number: row.value for number, row in enumerate(drawn)}) as engine:
        found = placed(engine, usage_sync("u", timezone=zone), run)
    expected = {number: holder(run, row.meant) for number, row in enumerate(drawn)}
    assert found == {number: keys for number, keys in expected.items() if keys}


@pytest.fixture
def times(postgres_database: str) -> Iterator[sa.Engine]:
    """A PostgreSQL table with a time column of every kind."""
    table = (
        "create table u (id int, naive timestamp, aware timestamptz, day date, whole bigint, "
        "exact numeric, double double precision)"
    )
    with engine_of(postgres_database, table) as engine:
        yield engine


def _columns(instant: datetime, zone: ZoneInfo) -> dict[str, Stored]:
    """One instant in every kind of column."""
    local = instant.astimezone(zone)
    naive, day = local.replace(tzinfo=None), local.date()
    seconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) / 1000
    floored = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(seconds * 1000))
    return {
        "naive": Stored(naive, naive.replace(tzinfo=zone)),
        "aware": Stored(local, instant),
        "day": Stored(day, datetime(day.year, day.month, day.day, tzinfo=zone)),
        "whole": Stored(int(seconds), datetime.fromtimestamp(int(seconds), UTC)),
        "exact": Stored(str(seconds), floored),
        "double": Stored(seconds, floored),
    }


@EXAMPLES
@given(data=st.data())
def test_postgres_in_every_kind_of_column(times: sa.Engine, data: st.DataObject) -> None:
    """Naive, aware, date and epoch columns put a row into the one partition it means."""
    run, zone = data.draw(st.sampled_from(RUNS)), data.draw(st.sampled_from(ZONES))
    drawn = [_columns(at, zone) for at in data.draw(st.lists(instants(run), min_size=1, max_size=30))]
    with times.begin() as connection:
        connection.exec_driver_sql("truncate u")
        for number, columns in enumerate(drawn):
            values = (number, *(stored.value for stored in columns.values()))
            connection.exec_driver_sql("insert into u values (%s, %s, %s, %s, %s, %s, %s)", values)
    column = data.draw(st.sampled_from(sorted(drawn[0])))
    found = placed(times, usage_sync("u", time_column=column, timezone=zone), run)
    expected = {number: holder(run, columns[column].meant) for number, columns in enumerate(drawn)}
    assert found == {number: keys for number, keys in expected.items() if keys}


@pytest.mark.parametrize("column", ["whole", "exact", "double"])
@pytest.mark.parametrize("digits", [3, 6, 9])
def test_too_fine_epochs_are_fetched_to_be_refused(times: sa.Engine, column: str, digits: int) -> None:
    """Milliseconds and finer are in the partition they mean, where their reason is told."""
    run = days(date(2026, 1, 1), 3, ZoneInfo("UTC"))
    noon = int(datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()) * 10**digits
    with times.begin() as connection:
        connection.exec_driver_sql(f"insert into u (id, {column}) values (1, {noon}), (2, 20260103)")
    assert placed(times, usage_sync("u", time_column=column), run) == {1: ["2026-01-02"], 2: ["2026-01-03"]}


def _doubled_hour() -> list[Partition]:
    return hours(datetime(2026, 10, 24, 22, tzinfo=UTC), 6, BERLIN)


def _gap() -> list[Partition]:
    return hours(datetime(2026, 3, 28, 23, tzinfo=UTC), 5, BERLIN)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "own bounds"])
def test_hours_when_clocks_go_back(request: pytest.FixtureRequest, kind: str) -> None:
    """A naive time of the doubled hour belongs to its first pass, and every row to one hour."""
    run = _doubled_hour()
    assert [part.key for part in run[2:4]] == ["2026-10-25-02:00+0200", "2026-10-25-02:00+0100"]
    local = datetime(2026, 10, 25)  # noqa: DTZ001 - naive is what is tested
    values = {minute: local + timedelta(minutes=minute) for minute in range(0, 300, 15)}
    with _naive_source(request, kind, values) as (engine, source):
        found = placed(engine, usage_sync(timezone=BERLIN, **source), run)
    assert found == {minute: holder(run, at.replace(tzinfo=BERLIN)) for minute, at in values.items()}
    assert {key for (key,) in found.values()} == {part.key for part in run} - {"2026-10-25-02:00+0100"}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "own bounds"])
def test_hours_when_clocks_go_forward(request: pytest.FixtureRequest, kind: str) -> None:
    """A naive time in the gap never happened; its row is carried all the same, and once."""
    run = _gap()
    local = datetime(2026, 3, 29)  # noqa: DTZ001 - naive is what is tested
    values = {minute: local + timedelta(minutes=minute) for minute in range(0, 300, 15)}
    with _naive_source(request, kind, values) as (engine, source):
        found = placed(engine, usage_sync(timezone=BERLIN, **source), run)
    assert set(found) == set(values)
    assert {len(keys) for keys in found.values()} == {1}


@contextmanager
def _naive_source(
    request: pytest.FixtureRequest, kind: str, values: Mapping[int, datetime]
) -> Iterator[tuple[sa.Engine, dict[str, str]]]:
    if kind == "sqlite":
        with sqlite_rows("text", {number: str(at) for number, at in values.items()}) as engine:
            yield engine, {"table": "u"}
        return
    engine = request.getfixturevalue("times")
    with engine.begin() as connection:
        for number, at in values.items():
            connection.exec_driver_sql("insert into u (id, naive) values (%s, %s)", (number, at))
    query = "select id, naive from u where naive >= :start and naive < :end"
    yield engine, {"time_column": "naive", **({"table": "u"} if kind == "postgres" else {"query": query})}


@pytest.mark.parametrize(
    ("column", "bounds"),
    [
        ("naive", "naive >= :start and naive < :end"),
        ("aware", "aware >= :start and aware < :end"),
        ("aware", "aware >= date_trunc('second', :start) and aware < :end"),
        ("whole", "whole >= :start and whole < :end"),
    ],
)
def test_a_query_s_own_bounds_split_rows_alike(times: sa.Engine, column: str, bounds: str) -> None:
    """:start and :end come in the column's own terms, in the source's zone."""
    run = days(date(2026, 10, 23), 4, BERLIN)
    moments = [run[0].start.astimezone(UTC) + timedelta(minutes=20 * number) for number in range(96 * 3 + 3)]
    with times.begin() as connection:
        for number, at in enumerate(moments):
            values = [stored.value for stored in _columns(at, BERLIN).values()]
            connection.exec_driver_sql("insert into u values (%s, %s, %s, %s, %s, %s, %s)", (number, *values))
    sync = usage_sync(query=f"select * from u where {bounds}", time_column=column, timezone=BERLIN)
    found = placed(times, sync, run)
    expected = {number: holder(run, _columns(at, BERLIN)[column].meant) for number, at in enumerate(moments)}
    assert found == {number: keys for number, keys in expected.items() if keys}
