"""Every row is carried by exactly one partition, however its time is stored and spelled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lago_pipeline.partition import Partition
from lago_pipeline.source.query import SourceReader
from lago_pipeline.sync import Source, Sync
from lago_pipeline_tests.source.reading import days, engine_of, holder, hours, placed, usage_sync, write

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
EXAMPLES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

FEW_EXAMPLES = settings(EXAMPLES, max_examples=10)

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


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ"])
def test_sqlite_gives_no_other_days_than_it_must(form: str) -> None:
    """Also at the turn of a year: else a day would be found by reading months of rows into Python."""
    hours_of_weeks = [datetime(2025, 12, 20, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 42)]
    with sqlite_rows(
        "text", {number: at.strftime(form) for number, at in enumerate(hours_of_weeks)}
    ) as engine:
        for day in days(date(2025, 12, 30), 4, ZoneInfo("UTC")):
            reader = SourceReader(engine, usage_sync("u"))
            rows = reader.probe(day)
            with reader.session(day) as session:
                fetched = [row for chunk in session.chunks(rows.sql, rows.parameters) for row in chunk]
            assert len(fetched) == 24


TIMES = {
    "postgres": ("timestamp", "timestamptz", "date", "bigint", "numeric", "double precision"),
    "mariadb": ("datetime(6)", "timestamp(6) null", "date", "bigint", "decimal(30,6)", "double"),
    "duckdb": ("timestamp", "timestamptz", "date", "hugeint", "decimal(30,6)", "double"),
}
COLUMNS = ("naive", "aware", "day", "whole", "exact", "real_number")


@dataclass(frozen=True)
class Times:
    """A table with a time column of every kind."""

    url: str
    kind: str

    def insert(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Let the table hold exactly these rows, which may lack columns."""
        insert = sa.insert(sa.table("u", sa.column("id"), *map(sa.column, COLUMNS)))
        engine = sa.create_engine(self.url, connect_args=self._in_utc)
        with engine.begin() as connection:
            connection.exec_driver_sql("delete from u")
            for row in rows:
                connection.execute(insert.values(row))
        engine.dispose()

    def placed(self, sync: Sync, partitions: Sequence[Partition]) -> Mapping[object, list[str]]:
        """For each id, the keys of the partitions that carry it."""
        with engine_of(self.url) as engine:
            return placed(engine, sync, partitions)

    def stored(self, instant: datetime, zone: ZoneInfo) -> dict[str, Stored]:
        """One instant in every kind of column; MariaDB's driver drops the zone of what it writes."""
        columns = _columns(instant, zone)
        if self.kind == "mariadb":
            columns["aware"] = Stored(instant.astimezone(UTC).replace(tzinfo=None), instant)
        return columns

    @property
    def _in_utc(self) -> dict[str, str]:
        return {"init_command": "set time_zone = '+00:00'"} if self.kind == "mariadb" else {}


@pytest.fixture(params=list(TIMES))
def times(request: pytest.FixtureRequest) -> Times:
    """An empty table in each of the servers, and in DuckDB."""
    url: str = request.getfixturevalue(f"{request.param}_database")
    columns = ", ".join(f"{name} {type_}" for name, type_ in zip(COLUMNS, TIMES[request.param], strict=True))
    write(url, f"create table u (id int, {columns})")
    return Times(url, request.param)


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
        "real_number": Stored(seconds, floored),
    }


@FEW_EXAMPLES
@given(data=st.data())
def test_every_kind_of_column(times: Times, data: st.DataObject) -> None:
    """Naive, aware, date and epoch columns put a row into the one partition it means."""
    run, zone = data.draw(st.sampled_from(RUNS)), data.draw(st.sampled_from(ZONES))
    drawn = [times.stored(at, zone) for at in data.draw(st.lists(instants(run), min_size=5, max_size=30))]
    times.insert(
        [
            {"id": number, **{name: stored.value for name, stored in columns.items()}}
            for number, columns in enumerate(drawn)
        ]
    )
    for column in data.draw(st.permutations(COLUMNS))[:2]:
        found = times.placed(usage_sync("u", time_column=column, timezone=zone), run)
        expected = {number: holder(run, columns[column].meant) for number, columns in enumerate(drawn)}
        assert found == {number: keys for number, keys in expected.items() if keys}


@pytest.mark.parametrize("digits", [3, 6, 9])
def test_too_fine_epochs_are_fetched_to_be_refused(times: Times, digits: int) -> None:
    """Milliseconds and finer are in the partition they mean, where their reason is told."""
    run = days(date(2026, 1, 1), 3, ZoneInfo("UTC"))
    noon = int(datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()) * 10**digits
    numbers = ("whole", "exact", "real_number")
    times.insert([{"id": 1, **dict.fromkeys(numbers, noon)}, {"id": 2, **dict.fromkeys(numbers, 20260103)}])
    for column in numbers:
        found = times.placed(usage_sync("u", time_column=column), run)
        assert found == {1: ["2026-01-02"], 2: ["2026-01-03"]}


def _doubled_hour() -> list[Partition]:
    return hours(datetime(2026, 10, 24, 22, tzinfo=UTC), 6, BERLIN)


def _gap() -> list[Partition]:
    return hours(datetime(2026, 3, 28, 23, tzinfo=UTC), 5, BERLIN)


NAIVE_SOURCES = ["table", "own bounds"]


@pytest.mark.parametrize("declared", NAIVE_SOURCES)
def test_hours_when_clocks_go_back(times: Times, declared: str) -> None:
    """A naive time of the doubled hour belongs to its first pass, and every row to one hour."""
    run = _doubled_hour()
    local = datetime(2026, 10, 25)  # noqa: DTZ001 - naive is what is tested
    values = {minute: local + timedelta(minutes=minute) for minute in range(0, 300, 15)}
    check_doubled_hour(run, values, times.placed(_naive_sync(times, declared, values), run))


def test_hours_of_sqlite_when_clocks_go_back() -> None:
    """The same for text."""
    run = _doubled_hour()
    local = datetime(2026, 10, 25)  # noqa: DTZ001 - naive is what is tested
    values = {minute: local + timedelta(minutes=minute) for minute in range(0, 300, 15)}
    with sqlite_rows("text", {number: str(at) for number, at in values.items()}) as engine:
        check_doubled_hour(run, values, placed(engine, usage_sync("u", timezone=BERLIN), run))


def check_doubled_hour(
    run: Sequence[Partition], values: Mapping[int, datetime], found: Mapping[object, list[str]]
) -> None:
    """Each row is in the hour it means, and none in the second pass."""
    assert [part.key for part in run[2:4]] == ["2026-10-25-02:00+0200", "2026-10-25-02:00+0100"]
    assert found == {minute: holder(run, at.replace(tzinfo=BERLIN)) for minute, at in values.items()}
    assert {key for (key,) in found.values()} == {part.key for part in run} - {"2026-10-25-02:00+0100"}


@pytest.mark.parametrize("declared", NAIVE_SOURCES)
def test_hours_when_clocks_go_forward(times: Times, declared: str) -> None:
    """A naive time in the gap never happened; its row is carried all the same, and once."""
    run = _gap()
    local = datetime(2026, 3, 29)  # noqa: DTZ001 - naive is what is tested
    values = {minute: local + timedelta(minutes=minute) for minute in range(0, 300, 15)}
    found = times.placed(_naive_sync(times, declared, values), run)
    assert set(found) == set(values)
    assert {len(keys) for keys in found.values()} == {1}


def test_hours_of_sqlite_when_clocks_go_forward() -> None:
    """The same for text."""
    local = datetime(2026, 3, 29)  # noqa: DTZ001 - naive is what is tested
    values = {minute: str(local + timedelta(minutes=minute)) for minute in range(0, 300, 15)}
    with sqlite_rows("text", values) as engine:
        found = placed(engine, usage_sync("u", timezone=BERLIN), _gap())
    assert set(found) == set(values)
    assert {len(keys) for keys in found.values()} == {1}


def _naive_sync(times: Times, declared: str, values: Mapping[int, datetime]) -> Sync:
    """A sync of rows with these local times."""
    times.insert([{"id": number, "naive": at} for number, at in values.items()])
    query = "select id, naive from u where naive >= :start and naive < :end"
    source = {"table": "u"} if declared == "table" else {"query": query}
    return usage_sync(time_column="naive", timezone=BERLIN, **source)


@pytest.mark.parametrize(
    ("column", "bounds"),
    [
        ("naive", "naive >= :start and naive < :end"),
        ("aware", "aware >= :start and aware < :end"),
        ("aware", "aware >= :start + interval '0' second and aware < :end"),
        ("whole", "whole >= :start and whole < :end"),
    ],
)
def test_a_query_s_own_bounds_split_rows_alike(times: Times, column: str, bounds: str) -> None:
    """:start and :end come in the column's own terms, in the source's zone, also to functions."""
    run = days(date(2026, 10, 23), 4, BERLIN)
    moments = [run[0].start.astimezone(UTC) + timedelta(minutes=20 * number) for number in range(96 * 3 + 3)]
    drawn = [times.stored(at, BERLIN)[column] for at in moments]
    times.insert([{"id": number, column: stored.value} for number, stored in enumerate(drawn)])
    sync = usage_sync(query=f"select * from u where {bounds}", time_column=column, timezone=BERLIN)
    expected = {number: holder(run, stored.meant) for number, stored in enumerate(drawn)}
    assert times.placed(sync, run) == {number: keys for number, keys in expected.items() if keys}


def test_the_doubled_hour_is_found_where_times_are_in_utc(tmp_path: Path) -> None:
    """A partition ends at an hour that its own zone has twice; SQLite is asked for days of UTC."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/usage.db", poolclass=sa.NullPool)
    texts = [f"2026-10-25T{hour:02d}:30:00Z" for hour in range(4)]
    with engine.begin() as connection:
        connection.exec_driver_sql("create table calls (id text, called_at text)")
        connection.exec_driver_sql("insert into calls values (?, ?)", [(text, text) for text in texts])
    source = Source(("id",), "called_at", table="calls")
    sync = Sync("calls", source, {"code": "c", "external_subscription_id": "s"}, "calls", "lago")
    for hour, text in enumerate(texts):
        start = datetime(2026, 10, 25, hour, tzinfo=UTC)
        end = start + timedelta(hours=1)
        partition = Partition(text, start.astimezone(BERLIN), end.astimezone(BERLIN))
        reader = SourceReader(engine, sync, "run")
        found = [row[0] for chunk in reader.stream(reader.probe(partition)) for row in chunk]
        assert found == [text]
