"""Every SQL type of each database, as the property that Lago gets, by way of the spool."""

from collections.abc import Sequence

import pytest

from lago_pipeline.refusals import ProblemError
from lago_pipeline.source.query import SourceReader
from lago_pipeline.spool.rows import stored_rows
from lago_pipeline.values import property_text
from lago_pipeline_tests.source.reading import FIRST, engine_of, usage_sync

REFUSED = "refused"
"""For a value that no property can hold: its row is refused with a reason when the template uses it."""

Case = tuple[str, str | None]
"""A value as SQL, and what it becomes."""

POSTGRES: list[Case] = [
    ("true", "true"),
    ("7::smallint", "7"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("170141183460469231731687303715884105727::numeric", "170141183460469231731687303715884105727"),
    ("1.50::numeric(10,4)", "1.5000"),
    ("1e-20::numeric", "0.00000000000000000001"),
    ("0.1::real", "0.1"),
    ("1e22::double precision", "10000000000000000000000"),
    ("'NaN'::double precision", REFUSED),
    ("'Infinity'::numeric", REFUSED),
    ("19.99::money", "$19.99"),
    ("'ü😀'::varchar(9)", "ü😀"),
    ("'ab'::char(4)", "ab  "),
    ("'\\xff'::bytea", REFUSED),
    ("date '2026-01-01'", "2026-01-01"),
    ("time '12:34:56.5'", "12:34:56.500000"),
    ("timetz '12:34:56+02'", "12:34:56+02:00"),
    ("timestamp '2026-01-01 12:00:00.123456'", "2026-01-01T12:00:00.123456"),
    ("timestamptz '2026-01-01 12:00+02'", "2026-01-01T10:00:00Z"),
    ("interval '1 day 2:03:04.5'", "93784.5"),
    ("'1b4e28ba-2fa1-11d2-883f-0016d3cca427'::uuid", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
    ("""'{"a": [1.50, null, "x"]}'::jsonb""", '{"a":[1.5,null,"x"]}'),
    ("array[1,2]", "[1,2]"),
    ("array['a',null]", '["a",null]'),
    ("'10.0.0.0/8'::inet", "10.0.0.0/8"),
    ("int4range(1,5)", REFUSED),
    ("b'101'::bit(3)", "101"),
    ("point(1,2)", "(1,2)"),
    ("row(1,'x')", '["1","x"]'),
    ("null::int", None),
]
MARIADB: list[Case] = [
    ("true", "1"),
    ("cast(18446744073709551615 as unsigned)", "18446744073709551615"),
    ("cast(-7 as signed)", "-7"),
    ("cast(1.5 as decimal(65,30))", "1.500000000000000000000000000000"),
    ("cast(0.1 as float)", "0.1"),
    ("cast(1e22 as double)", "10000000000000000000000"),
    ("'ü😀'", "ü😀"),
    ("cast('ab' as char(4))", "ab"),
    ("x'ff00'", REFUSED),
    ("b'101'", REFUSED),
    ("date '2026-01-01'", "2026-01-01"),
    ("year('2026-01-01')", "2026"),
    ("time '-12:34:56.5'", "-45296.5"),
    ("cast('2026-01-01 12:00:00.123456' as datetime(6))", "2026-01-01T12:00:00.123456"),
    ("from_unixtime(1767268800)", "2026-01-01T12:00:00"),
    ("cast('1b4e28ba-2fa1-11d2-883f-0016d3cca427' as uuid)", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
    ("""json_object('a', 1.50)""", '{"a": 1.50}'),
    ("cast('10.0.0.1' as inet4)", "10.0.0.1"),
    ("cast('::1' as inet6)", "::1"),
    ("point(1,2)", REFUSED),
    ("null", None),
]
DUCKDB: list[Case] = [
    ("true", "true"),
    ("255::utinyint", "255"),
    ("170141183460469231731687303715884105727::hugeint", "170141183460469231731687303715884105727"),
    ("12345678901234567890123456789012345678901234::bignum", "12345678901234567890123456789012345678901234"),
    ("1.50::decimal(38,10)", "1.5000000000"),
    ("0.1::float", "0.1"),
    ("'nan'::float", REFUSED),
    ("1e22::double", "10000000000000000000000"),
    ("'ü😀'", "ü😀"),
    ("'\\xFF'::blob", REFUSED),
    ("date '2026-01-01'", "2026-01-01"),
    ("time '12:34:56.5'", "12:34:56.500000"),
    ("'12:34:56+02'::timetz", "12:34:56+02:00"),
    ("timestamp '2026-01-01 12:00:00.123456'", "2026-01-01T12:00:00.123456"),
    ("'2026-01-01 12:00'::timestamp_s", "2026-01-01T12:00:00"),
    ("'2026-01-01 12:00:00.123456789'::timestamp_ns", "2026-01-01T12:00:00.123456"),
    ("timestamptz '2026-01-01 12:00+02'", "2026-01-01T10:00:00Z"),
    ("interval '1 day 2 hours 3 minutes 4.5 seconds'", "93784.5"),
    ("'1b4e28ba-2fa1-11d2-883f-0016d3cca427'::uuid", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
    ("""'{"a": [1.50, null, "x"]}'::json""", '{"a":[1.5,null,"x"]}'),
    ("[1,2]", "[1,2]"),
    ("array_value(1,2)", "[1,2]"),
    ("{'a': 1.50, 'b': null}", '{"a":1.50,"b":null}'),
    ("map{'k': 1}", '{"k":1}'),
    ("'a'::enum('a','b')", "a"),
    ("union_value(a := 1)", "1"),
    ("'101'::bit", "101"),
    ("null::int", None),
]
SQLITE: list[Case] = [
    ("1 = 1", "1"),
    ("9223372036854775807", "9223372036854775807"),
    ("0.1", "0.1"),
    ("1e22", "10000000000000000000000"),
    ("9e999", REFUSED),
    ("'ü😀'", "ü😀"),
    ("x'ff'", REFUSED),
    ("'1.50'", "1.50"),
    ("""json('{"a": 1.50}')""", '{"a":1.50}'),
    ("null", None),
]
KINDS = {"sqlite": SQLITE, "postgres": POSTGRES, "mariadb": MARIADB, "duckdb": DUCKDB}


def told(value: object) -> str | None:
    """A value as a property."""
    try:
        return property_text(value)
    except ProblemError:
        return REFUSED


def properties(url: str, cases: Sequence[Case]) -> list[str | None]:
    """What the values become on their way through the spool."""
    columns = ", ".join(f"{sql} as v{number}" for number, (sql, _) in enumerate(cases))
    query = f"select 1 as id, 1767268800 as happened, {columns}"
    with engine_of(url) as engine:
        reader = SourceReader(engine, usage_sync(query=query, time_column="happened"))
        rows = reader.probe(FIRST)
        ((row,),) = reader.stream(rows)
    (stored,) = stored_rows([row], rows.columns, ["id"])
    return [told(value) for value in stored.values()[2:]]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_type_becomes_the_property_it_should(request: pytest.FixtureRequest, kind: str) -> None:
    """Exactly, or refused with a reason: docs/databases.md lists the same."""
    found = properties(request.getfixturevalue(f"{kind}_database"), KINDS[kind])
    assert dict(zip([sql for sql, _ in KINDS[kind]], found, strict=True)) == dict(KINDS[kind])
