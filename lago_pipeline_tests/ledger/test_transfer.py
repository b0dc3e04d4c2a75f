"""The ledger moves between databases whole, proven, or not at all; and an old one is brought up to date."""

import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from lago_pipeline.errors import ConfigError, FatalError
from lago_pipeline.ledger import database, transfer
from lago_pipeline.ledger.archive import Checksum, TableSummary
from lago_pipeline.ledger.database import SCHEMA_VERSION, open_ledger, reading, writing
from lago_pipeline.ledger.registry import activate, find, register
from lago_pipeline.ledger.runs import start_run
from lago_pipeline.ledger.transfer import TABLES, export_ledger, import_ledger
from lago_pipeline.report import Status
from lago_pipeline.sync import Sync
from lago_pipeline_tests.ledger.test_ledger import DAY, LAGO, ODD_KEYS, SYNC, view
from lago_pipeline_tests.postgres import PASSWORD

LINES = int(os.environ.get("LAGO_PIPELINE_LINES", "100000"))
"""`make torture` moves a million."""
_SYNC_ID, _RUN = 41, 97
_PARENTS = f"""
    insert into destinations (id, name, api_url, organization_id) OVERRIDING
        values (7, 'lago', 'http://lago', '0c0ffee0');
    insert into syncs (id, destination_id, name, transaction_id_prefix, activated_at_ms) OVERRIDING
        values ({_SYNC_ID}, 7, 'calls', 'calls', 5);
    insert into partitions
        (sync_id, partition_start, partition_end, partition_key, state, updated_ms, last_run)
        values ({_SYNC_ID}, {DAY.start_ms}, {DAY.end_ms}, '{DAY.key}', 'closed', 1, {_RUN});
    insert into runs (run, run_id, sync_id, partition_start, started_ms) OVERRIDING
        values ({_RUN}, 'run-97', {_SYNC_ID}, {DAY.start_ms}, 1)"""
_MARKS = f"""
    insert into sending values ({_SYNC_ID}, {DAY.start_ms}, {_RUN}, 'a', 'ö', 3);
    insert into alarms values ({_SYNC_ID}, 'partition {DAY.key}', 'held', 'red', 4)"""
_LINE = sa.text(
    "insert into sent values (:sync, :start, :key, 0, :revision, :status, :print, :code, :subscription, :ms, "
    ":properties, :own_id, :reason, :http, 1, :run, 2, 3)"
)


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def filled(engine: sa.Engine) -> sa.Engine:
    """A ledger with something in every table: each status, each odd key, nulls, and bytes of every value."""
    with writing(engine) as connection:
        insert(connection, _PARENTS, _MARKS)
        connection.execute(_LINE, [_line(key, revision) for key in ODD_KEYS for revision in range(6)])
    return engine


def insert(connection: sa.Connection, *scripts: str) -> None:
    """Run inserts that bring their own numbers."""
    overriding = "overriding system value" if connection.dialect.name == "postgresql" else ""
    for script in scripts:
        for statement in script.split(";"):
            connection.exec_driver_sql(statement.replace("OVERRIDING", overriding))


def _line(key: str, revision: int) -> dict[str, object]:
    status = [item.value for item in Status][revision]
    accepted = status == "accepted"
    return {
        "sync": _SYNC_ID, "start": DAY.start_ms, "key": key, "revision": revision, "status": status,
        "print": bytes(range(revision * 16, revision * 16 + 16)), "code": "calls" if accepted else None,
        "subscription": "" if accepted else None, "ms": DAY.start_ms if accepted else None,
        "properties": '{"a":"tab\\t, \\n line\n, back\\\\slash, \\N, \\.\n\\.\n"}' if accepted else None,
        "own_id": "😀" if revision == 1 else None, "reason": None if accepted else "x: y", "run": _RUN,
        "http": 200 if accepted else None,
    }  # fmt: skip


def contents(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, in one order."""
    with reading(engine) as connection:
        return {
            name: sorted(
                (tuple(row) for row in connection.execute(sa.text(f"select * from {name}"))), key=repr
            )
            for name in TABLES
        }


def is_empty(engine: sa.Engine) -> bool:
    """Whether no table holds a row."""
    return not any(contents(engine).values())


@pytest.fixture
def ledgers(sqlite_database: str, postgres_database: str, tmp_path: Path) -> Iterator[list[sa.Engine]]:
    """Three ledgers: SQLite, PostgreSQL, and another SQLite."""
    urls = (sqlite_database, postgres_database, f"sqlite:///{tmp_path / 'back.db'}")
    engines = [open_ledger(url) for url in urls]
    yield engines
    for engine in engines:
        engine.dispose()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The file of a filled SQLite ledger."""
    engine = filled(open_ledger(f"sqlite:///{tmp_path / 'source.db'}"))
    export_ledger(engine, tmp_path / "ledger.zip", quiet)
    engine.dispose()
    return tmp_path / "ledger.zip"


def test_a_ledger_moves_to_postgresql_and_back_unchanged(ledgers: list[sa.Engine], tmp_path: Path) -> None:
    """Every status, null, byte and odd key is the same after SQLite, PostgreSQL, SQLite; so is the proof."""
    source, postgres, back = ledgers
    first = export_ledger(filled(source), tmp_path / "1.zip", quiet)
    assert import_ledger(postgres, tmp_path / "1.zip", quiet) == first
    assert export_ledger(postgres, tmp_path / "2.zip", quiet) == first
    assert import_ledger(back, tmp_path / "2.zip", quiet) == first
    assert contents(source) == contents(postgres) == contents(back)
    assert all(contents(source).values())
    assert first.tables["sent"].rows == len(ODD_KEYS) * 6
    for name in ("1.zip", "2.zip"):
        assert PASSWORD.encode() not in (tmp_path / name).read_bytes()


def test_every_table_is_moved(ledger_engine: sa.Engine) -> None:
    """A table that a later schema adds must be named here too."""
    assert {*TABLES, "lago_pipeline_version"} == set(sa.inspect(ledger_engine).get_table_names())


def test_a_later_column_is_moved_as_it_is(ledgers: list[sa.Engine], tmp_path: Path) -> None:
    """Columns are read from the database: one that a later schema adds needs no change."""
    source, postgres, _ = ledgers
    for engine in (source, postgres):
        with writing(engine) as connection:
            connection.exec_driver_sql("alter table sent add column later text")
    with writing(filled_with_later(source)) as connection:
        connection.exec_driver_sql("update sent set later = row_key")
    export_ledger(source, tmp_path / "ledger.zip", quiet)
    import_ledger(postgres, tmp_path / "ledger.zip", quiet)
    assert contents(source)["sent"] == contents(postgres)["sent"]


def filled_with_later(engine: sa.Engine) -> sa.Engine:
    """One line in a ledger whose sent events have one column more."""
    with writing(engine) as connection:
        insert(connection, _PARENTS)
        connection.exec_driver_sql(
            "insert into sent (sync_id, partition_start, row_key, event_index, revision, status, "
            f"fingerprint, attempts, run, first_seen_ms, updated_ms) values ({_SYNC_ID}, {DAY.start_ms}, "
            f"'a', 0, 0, 'accepted', cast('f' as blob), 1, {_RUN}, 1, 1)"
        )
    return engine


def test_other_columns_are_refused(ledger_engine: sa.Engine, exported: Path) -> None:
    """A file without a column of the ledger is of another version, whatever it says."""
    with writing(ledger_engine) as connection:
        connection.exec_driver_sql("alter table sent add column later text")
    with pytest.raises(ConfigError, match="other columns of sent than the ledger: export and import with"):
        import_ledger(ledger_engine, exported, quiet)
    assert is_empty(ledger_engine)


def test_an_imported_ledger_goes_on(ledger_engine: sa.Engine, exported: Path) -> None:
    """Syncs are found, the views answer, and new rows get numbers after the largest."""
    import_ledger(ledger_engine, exported, quiet)
    assert register(ledger_engine, SYNC, "http://lago", LAGO).sync_id == _SYNC_ID
    with writing(ledger_engine) as connection:
        assert start_run(connection, _SYNC_ID, DAY, "next", 1) == _RUN + 1
    assert activate(ledger_engine, elsewhere(), 1).sync_id == _SYNC_ID + 1
    lines = view(ledger_engine, "lago_events")
    assert len(lines) == len(ODD_KEYS) * 6
    assert {line["run_id"] for line in lines} == {"run-97"}
    assert {line["transaction_id"] for line in lines if line["row_key"] == "ä"} >= {"calls:calls:ä", "😀"}
    assert len(view(ledger_engine, "lago_partitions")) == 1


def elsewhere() -> Sync:
    """The sync for another destination."""
    return replace(SYNC, destination="eu")


def test_another_driver_moves_the_same(
    ledgers: list[sa.Engine], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without psycopg's COPY rows are inserted, and keep their numbers too."""
    _, postgres, back = ledgers
    monkeypatch.setattr(postgres.dialect, "driver", "another")
    import_ledger(postgres, exported, quiet)
    export_ledger(postgres, tmp_path / "again.zip", quiet)
    import_ledger(back, tmp_path / "again.zip", quiet)
    assert contents(postgres) == contents(back)


def test_the_sum_sees_every_value_and_no_order() -> None:
    """Two tables have one sum only when they hold the same rows, in whatever order."""
    rows: list[tuple[object, ...]] = [("a", 1, b"x", None), ("b", 2, b"y", "")]

    def summed(*rows: tuple[object, ...]) -> TableSummary:
        checksum = Checksum()
        checksum.add(rows)
        return checksum.summary()

    assert summed(*rows) == summed(*reversed(rows))
    others: list[tuple[object, ...]] = [("c", 1, b"x", None), ("a", 3, b"x", None), ("a", 1, b"z", None)]
    sums_of_others = {summed(other, rows[1]).checksum for other in (*others, ("a", 1, b"x", ""), rows[1])}
    assert len({summed(*rows).checksum, *sums_of_others}) == 6


def test_a_grown_ledger_moves(ledgers: list[sa.Engine], tmp_path: Path) -> None:
    """From SQLite to PostgreSQL, and both databases count and sum it alike."""
    source, postgres, _ = ledgers
    with writing(source) as connection:
        insert(connection, _PARENTS)
        connection.exec_driver_sql(
            f"with recursive n (i) as (select 0 union all select i + 1 from n where i < {LINES - 1}) "
            f"insert into sent select {_SYNC_ID}, {DAY.start_ms}, printf('%07d', i), 0, 0, "
            "case when i % 50 then 'accepted' else 'rejected' end, "
            "cast(printf('%016d', i * 7) as blob), 'calls', 'sub_' || (i % 1000), i, "
            "'{\"requests\":\"' || i || '\"}', null, case when i % 50 then null else 'no' end, "
            f"200, 1, {_RUN}, i, i from n"
        )
    started = time.monotonic()
    export_ledger(source, tmp_path / "ledger.zip", quiet)
    between = time.monotonic()
    import_ledger(postgres, tmp_path / "ledger.zip", quiet)
    ended = time.monotonic()
    print(f"export {between - started:.1f} s, import {ended - between:.1f} s")
    assert sums(source) == sums(postgres)
    assert sums(source)[:2] == (LINES, LINES)


def sums(engine: sa.Engine) -> tuple[int, ...]:
    """What each database itself says of its sent events."""
    cast = (
        "cast(fingerprint as text)"
        if engine.dialect.name == "sqlite"
        else "convert_from(fingerprint, 'UTF8')"
    )
    with reading(engine) as connection:
        row = connection.exec_driver_sql(
            "select count(*), count(distinct row_key), sum(timestamp_ms), sum(cast(row_key as bigint)), "
            f"sum(cast({cast} as bigint)), sum(length(properties)), count(reason), "
            "count(case when status = 'rejected' then 1 end), sum(updated_ms + run + http_status) from sent"
        ).one()
    return tuple(int(value) for value in row)


def test_an_export_sees_one_moment(ledger_engine: sa.Engine, tmp_path: Path) -> None:
    """What is written while an export runs is not in it, in no table."""
    before = contents(filled(ledger_engine))

    def write(line: str) -> None:
        if line.startswith("export destinations"):
            activate(ledger_engine, elsewhere(), 1)
            with writing(ledger_engine) as connection:
                start_run(connection, _SYNC_ID, DAY, "meanwhile", 1)

    manifest = export_ledger(ledger_engine, tmp_path / "ledger.zip", write)
    assert {name: summary.rows for name, summary in manifest.tables.items()} == {
        name: len(rows) for name, rows in before.items()
    }
    assert len(contents(ledger_engine)["runs"]) == len(before["runs"]) + 1


def test_a_ledger_in_use_is_never_imported_into(ledger_engine: sa.Engine, exported: Path) -> None:
    """One line of anything is enough: the import says where to go instead, and changes nothing."""
    activate(ledger_engine, SYNC, 5)
    before = contents(ledger_engine)
    said = r"the ledger is in use \(it has destinations, syncs\), .* set LEDGER_URL to a new database"
    with pytest.raises(ConfigError, match=said):
        import_ledger(ledger_engine, exported, quiet)
    assert contents(ledger_engine) == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_where_parquet_does_not_look(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"parquet-cpp", b"parquet-cpq"))


def _text(path: Path) -> None:
    path.write_text("no zip")


def _foreign(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")


def _repacked(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _no_parquet(path: Path) -> None:
    _rewrite(path, "sent.parquet", lambda _: b"no Parquet")


def _gone(path: Path) -> None:
    path.unlink()


def _rewrite(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """The archive with another member and right checksums of the zip's own."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "damage", [_cut, _flip, _flip_where_parquet_does_not_look, _text, _foreign, _repacked, _no_parquet, _gone]
)
def test_a_damaged_file_is_refused_and_leaves_nothing(
    ledger_engine: sa.Engine, exported: Path, damage: Callable[[Path], None]
) -> None:
    """A file that is cut, changed, foreign or missing is one line that names it."""
    damage(exported)
    with pytest.raises(
        ConfigError, match=r"ledger\.zip (is no ledger export, or is damaged|cannot be read)"
    ) as error:
        import_ledger(ledger_engine, exported, quiet)
    assert "\n" not in str(error.value)
    assert is_empty(ledger_engine)


@pytest.mark.parametrize(("key", "value"), [("rows", 2), ("checksum", "0" * 32)])
def test_other_rows_than_promised_are_rolled_back(
    ledger_engine: sa.Engine, exported: Path, key: str, value: object
) -> None:
    """The import proves what the ledger holds before it commits; a ledger that it left is as new."""

    def lie(manifest: bytes) -> bytes:
        document = json.loads(manifest)
        document["tables"]["runs"][key] = value
        return json.dumps(document).encode()

    good = exported.read_bytes()
    _rewrite(exported, "manifest.json", lie)
    with pytest.raises(FatalError, match=r"runs: 1 rows with the sum .* nothing was kept"):
        import_ledger(ledger_engine, exported, quiet)
    assert is_empty(ledger_engine)
    exported.write_bytes(good)
    import_ledger(ledger_engine, exported, quiet)
    assert not is_empty(ledger_engine)


def test_an_interrupted_import_leaves_nothing(ledger_engine: sa.Engine, exported: Path) -> None:
    """Ctrl-C in the middle of the rows ends the import, and the next one starts from nothing."""

    def interrupt(line: str) -> None:
        if line.startswith("import sent"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_ledger(ledger_engine, exported, interrupt)
    assert is_empty(ledger_engine)
    import_ledger(ledger_engine, exported, quiet)


def test_a_file_of_another_schema_is_refused(
    ledger_engine: sa.Engine, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older or newer file is never guessed at."""
    monkeypatch.setattr(transfer, "SCHEMA_VERSION", "9999")
    said = (
        f"has the ledger's schema {SCHEMA_VERSION}, and this lago-pipeline has 9999: export and import with"
    )
    with pytest.raises(ConfigError, match=said):
        import_ledger(ledger_engine, exported, quiet)
    assert is_empty(ledger_engine)


def test_an_export_replaces_no_file_and_leaves_no_half_one(ledger_engine: sa.Engine, tmp_path: Path) -> None:
    """An empty ledger, a name that is taken, a folder that is not there: one line each, and no file."""
    folder = tmp_path / "exports"
    folder.mkdir()
    with pytest.raises(ConfigError, match="the ledger holds nothing to export: check LEDGER_URL"):
        export_ledger(ledger_engine, folder / "ledger.zip", quiet)
    filled(ledger_engine)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        export_ledger(ledger_engine, folder / "none" / "ledger.zip", quiet)

    def interrupt(line: str) -> None:
        if line.startswith("verify sent"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_ledger(ledger_engine, folder / "ledger.zip", interrupt)
    assert list(folder.iterdir()) == []
    (folder / "ledger.db").write_text("precious")
    with pytest.raises(ConfigError, match=r"ledger\.db exists already: name another file, or remove it"):
        export_ledger(ledger_engine, folder / "ledger.db", quiet)
    assert (folder / "ledger.db").read_text() == "precious"


def test_a_ledger_of_the_first_schema_is_upgraded_with_its_data(database_url: str) -> None:
    """An old ledger is brought up to date when it is opened, and every line stays."""
    with disposed(database._engine(database_url)) as engine:
        _migrate_to(engine, "0001")
        with writing(engine) as connection:
            insert(connection, _PARENTS)
            connection.execute(_LINE, [_line(key, revision) for key in ODD_KEYS for revision in range(6)])
        with reading(engine) as connection:
            old = connection.execute(sa.text("select * from sent order by row_key, revision")).all()
    with disposed(open_ledger(database_url)) as engine:
        with reading(engine) as connection:
            assert connection.execute(sa.text("select * from sent order by row_key, revision")).all() == old
            version = connection.execute(
                sa.text("select version_num from lago_pipeline_version")
            ).scalar_one()
        assert version == SCHEMA_VERSION
        assert len(view(engine, "lago_events")) == len(old)
        found = find(engine, SYNC)
        assert found is not None
        assert (found.sync_id, found.activated_at_ms) == (_SYNC_ID, 5)
        assert contents(engine)["alarms"] == []
        assert view(engine, "lago_partitions")[0]["state"] == "closed"


@contextmanager
def disposed(engine: sa.Engine) -> Iterator[sa.Engine]:
    """An engine that is disposed of at the end."""
    yield engine
    engine.dispose()


def _migrate_to(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(database._MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
