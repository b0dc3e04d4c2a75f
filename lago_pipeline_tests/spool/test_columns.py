"""A value comes out of the spool as the source gave it, whatever its type."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.spool.columns import decode_row, encode_rows
from lago_pipeline.spool.rows import stored_rows
from lago_pipeline.values import Unsupported
from lago_pipeline_tests.source.reading import engine_of, read, usage_sync
from lago_pipeline_tests.spool.writing import read_values, write_rows

OFFSETS = st.integers(-14 * 3600, 14 * 3600).map(lambda seconds: timezone(timedelta(seconds=seconds)))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**53 - 2, max_value=2**65),
    st.floats(),
    st.decimals(),
    st.builds(lambda digits, scale: Decimal(digits).scaleb(scale), st.integers(), st.integers(-60, 60)),
    st.text(),
    st.text(st.characters()),
    st.datetimes().map(
        lambda moment: moment.replace(fold=0)
    ),  # the first one is meant, whatever a driver says
    st.datetimes(timezones=OFFSETS).map(lambda moment: moment.replace(fold=0)),
    st.dates(),
    st.times().map(lambda time: time.replace(fold=0)),
    st.times(timezones=OFFSETS).map(lambda time: time.replace(fold=0)),
    st.timedeltas(),
    st.uuids(),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
).filter(lambda value: isinstance(value, dict | list))


def letters(value: object) -> tuple[type, str]:
    """What tells two values apart where `==` does not: 1 and True, 1.0 and 1.00, NaN, -0.0, an offset."""
    return type(value), repr(value)


def through(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Rows encoded and decoded."""
    columns, types = encode_rows(rows, len(rows[0]))
    return [
        decode_row(texts, letters) for texts, letters in zip(zip(*columns, strict=True), types, strict=True)
    ]


@settings(max_examples=100)
@given(st.lists(st.tuples(SCALARS, SCALARS, JSON), min_size=1, max_size=8))
def test_every_type_survives_to_the_letter(rows: list[tuple[object, ...]]) -> None:
    """Types may be mixed within a column; scale, sign, offset and every character stay."""
    for given_row, row in zip(rows, through(rows), strict=True):
        assert [letters(value) for value in row] == [letters(value) for value in given_row]


@settings(max_examples=50)
@given(values=st.lists(SCALARS, min_size=1, max_size=50))
def test_every_type_survives_a_file(tmp_path_factory: pytest.TempPathFactory, values: list[object]) -> None:
    """Parquet changes nothing either."""
    path = tmp_path_factory.mktemp("spool") / "rows.parquet"
    write_rows(path, list(enumerate(values)))
    found = {row[0]: letters(row[1]) for row in read_values(path)}
    assert found == {number: letters(value) for number, value in enumerate(values)}


@given(st.lists(st.tuples(SCALARS, SCALARS), min_size=1, max_size=10))
def test_a_sample_is_stored_as_a_file_would(rows: list[tuple[object, ...]]) -> None:
    """A preview sees what a run sees."""
    for given_row, row in zip(rows, stored_rows(rows, ("id", "value"), ("id",)), strict=True):
        assert [letters(value) for value in row.values()] == [letters(value) for value in given_row]


POSTGRES: list[tuple[str, Any]] = [
    ("9007199254740993::bigint", 2**53 + 1),
    ("9223372036854775807::bigint", 2**63 - 1),
    ("92233720368547758079223372036854775807::numeric", Decimal(92233720368547758079223372036854775807)),
    ("1.10::numeric(10,2)", Decimal("1.10")),
    ("0.00000000000000000000000000000000000001::numeric", Decimal("1E-38")),
    ("1e1000::numeric", Decimal(10**1000)),
    ("'NaN'::numeric", Decimal("NaN")),
    ("'Infinity'::numeric", Decimal("Infinity")),
    ("0.1::float8", 0.1),
    ("0.1::float4", 0.1),
    ("'-Infinity'::float8", -math.inf),
    ("true", True),
    ("timestamp '2026-01-01 12:00:00.123456'", datetime(2026, 1, 1, 12, 0, 0, 123456)),  # noqa: DTZ001
    ("timestamptz '2026-01-01 12:00:00.123456+05:30'", datetime(2026, 1, 1, 6, 30, 0, 123456, tzinfo=UTC)),
    ("date '2026-01-31'", date(2026, 1, 31)),
    ("time '23:59:59.999999'", time(23, 59, 59, 999999)),
    ("timetz '12:00+02'", time(12, tzinfo=timezone(timedelta(hours=2)))),
    ("interval '-1 day 2:03:04.000005'", timedelta(days=-1, hours=2, minutes=3, seconds=4, microseconds=5)),
    ("'6d1c2d0e-0a52-4d3c-9f3d-0d5c3c2b1a00'::uuid", UUID("6d1c2d0e-0a52-4d3c-9f3d-0d5c3c2b1a00")),
    ("""'{"a": [1, "x", null, true], "b": {"ü": 9007199254740993}}'::jsonb""",
     {"a": [1, "x", None, True], "b": {"ü": 2**53 + 1}}),
    ("""'{"a": 1.5}'::json""", {"a": Decimal("1.5")}),
    ("""'"text"'::jsonb""", "text"),
    ("""'"half \\ud83d"'::json""", "half \ud83d"),
    ("'null'::jsonb", None),
    ("array[1, null, 3]", [1, None, 3]),
    ("array[['a','b'],['c','d']]", [["a", "b"], ["c", "d"]]),
    ("array[1.50, 2]", [Decimal("1.50"), 2]),
    ("'192.168.0.1'::inet", "192.168.0.1"),
    ("'192.168.0.1/24'::inet", "192.168.0.1/24"),
    ("'2001:db8::/32'::cidr", "2001:db8::/32"),
    ("'fast'::speed", "fast"),
    ("12.5::money", "$12.50"),
    ("b'101'", "101"),
    ("xmlelement(name a)", "<a/>"),
    ("row(1, 'a')", ["1", "a"]),
    ("null", None),
    ("''", ""),
    ("E'tab\\t line\\n \\U0001F600 \\u0301 \\uFFFF'", "tab\t line\n \U0001f600 \u0301 \uffff"),
]  # fmt: skip
UNSUPPORTED = ["'\\x00ff'::bytea", "array['\\x00'::bytea]", "int4range(1, 5)", "array['NaN'::numeric]"]


def _spooled(engine: sa.Engine, expressions: Sequence[str], path: Path) -> list[object]:
    """The values of SQL expressions, read as a source and through a file."""
    values = ", ".join(f"{expression} as c{number}" for number, expression in enumerate(expressions))
    at = "timestamptz '2026-01-01 12:00+00'" if engine.dialect.name == "postgresql" else "'2026-01-01'"
    columns, rows = read(engine, usage_sync(query=f"select 1 as id, {at} as at, {values}"))
    write_rows(path, rows, columns)
    return list(read_values(path)[0][2:])


def test_every_type_of_postgres(postgres_database: str, tmp_path: Path) -> None:
    """What PostgreSQL has is what a template sees."""
    with engine_of(postgres_database, "create type speed as enum ('slow', 'fast')") as engine:
        found = _spooled(engine, [expression for expression, _ in POSTGRES], tmp_path / "rows.parquet")
    assert [letters(value) for value in found] == [letters(value) for _, value in POSTGRES]


def test_what_has_no_place_in_an_event_is_marked(postgres_database: str, tmp_path: Path) -> None:
    """Bytes and ranges, also within arrays, refuse their row later and not the whole extraction."""
    with engine_of(postgres_database) as engine:
        found = _spooled(engine, UNSUPPORTED, tmp_path / "rows.parquet")
    assert [value.type_name for value in found if isinstance(value, Unsupported)] == [
        "bytes", "list", "Range", "list"
    ]  # fmt: skip


def test_mixed_columns_of_sqlite(sqlite_database: str, tmp_path: Path) -> None:
    """SQLite's columns hold any type in any row."""
    values: list[object] = [
        1,
        1.0,
        "1",
        None,
        True,
        2**63 - 1,
        "",
        "a\x00b",
        "\U0001f600",
        1e308,
        -0.0,
        "NaN",
    ]
    path = tmp_path / "rows.parquet"
    with engine_of(sqlite_database, "create table u (id integer, at, v)") as engine:
        with engine.begin() as connection:
            for number, value in enumerate([*values, b"\x00"]):
                connection.exec_driver_sql("insert into u values (?, '2026-01-01', ?)", (number, value))
        columns, rows = read(engine, usage_sync("u"))
        write_rows(path, rows, columns)
    found = {row[0]: row[2] for row in read_values(path)}
    stored = [1 if value is True else value for value in values]
    assert [letters(found[number]) for number in range(len(values))] == [letters(value) for value in stored]
    assert isinstance(found[len(values)], Unsupported)
