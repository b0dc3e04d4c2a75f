"""A spool file is whole or absent, and says so when it is neither."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lago_pipeline.errors import FatalError, RetriableError
from lago_pipeline.spool import parquet
from lago_pipeline.spool.events import events_opened
from lago_pipeline.spool.folder import Spool, written_aside
from lago_pipeline.spool.rows import RowsFooter, rows_opened, rows_written
from lago_pipeline_tests.spool.writing import COLUMNS, read_rows, read_values, write_rows

DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a partition's rows lie; the folder is made by the first file."""
    return Spool(tmp_path).rows("usage", "2026-01-01")


def test_a_failure_leaves_the_old_file(path: Path) -> None:
    """Nothing else is left in the folder either."""
    write_rows(path, [(1, "old")])

    class StopError(Exception):
        pass

    with pytest.raises(StopError), rows_written(path, COLUMNS, ["id"], _never) as writer:
        writer.write([(2, "new")])
        raise StopError
    assert read_values(path) == [[1, "old"]]
    assert list(path.parent.iterdir()) == [path]


def _never() -> RowsFooter:
    raise AssertionError


def test_a_failure_in_the_merge_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The footer is asked last: an error there leaves no merged file behind."""
    write_rows(path, [(1, "old")])
    monkeypatch.setattr(parquet, "RUN_BYTES", 100)
    with pytest.raises(AssertionError), rows_written(path, COLUMNS, ["id"], _never) as writer:
        for first in range(0, 100, 10):
            writer.write([(number, "new") for number in range(first, first + 10)])
    assert read_values(path) == [[1, "old"]]
    assert list(path.parent.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from lago_pipeline.spool.rows import RowsFooter, rows_written
with rows_written(Path(sys.argv[1]), ["id", "value"], ["id"], lambda: RowsFooter(1, 1, "r")) as writer:
    for _ in range(3):
        writer.write([(number, "new") for number in range(60_000)])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_the_old_file(path: Path) -> None:
    """What it wrote aside is never read, and goes with age."""
    write_rows(path, [(1, "old")])
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
    assert done.returncode == -9
    assert read_values(path) == [[1, "old"]]
    assert len(list(path.parent.iterdir())) == 2
    spool = Spool(path.parent.parent)
    assert spool.remove_older_than("usage", time.time() + DAY) == 2
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk: test_a_file_too_big_is_retriable covers the rest")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_retriable(full_disk: Path) -> None:
    """The old file stays, and the space of the new one is given back."""
    path = Spool(full_disk).rows("usage", "2026-01-01")
    write_rows(path, [(1, "old")])
    free = os.statvfs(full_disk).f_bfree
    with pytest.raises(RetriableError, match=r"the spool .* cannot be written: .*No space left on device"):
        write_rows(path, [(number, os.urandom(100).hex()) for number in range(20_000)])
    assert read_values(path) == [[1, "old"]]
    assert list(path.parent.iterdir()) == [path]
    assert os.statvfs(full_disk).f_bfree == free


TOO_BIG = """
import os, resource, signal, sys
from pathlib import Path
from lago_pipeline.errors import RetriableError
from lago_pipeline_tests.spool.writing import read_values, write_rows
path = Path(sys.argv[1])
write_rows(path, [(1, "old")])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    write_rows(path, [(number, os.urandom(100).hex()) for number in range(20_000)])
except RetriableError as error:
    print(error)
assert read_values(path) == [[1, "old"]] and list(path.parent.iterdir()) == [path]
"""


def test_a_file_too_big_is_retriable(path: Path) -> None:
    """The operating system's own limit, told in one line; the old file stays."""
    done = subprocess.run([sys.executable, "-c", TOO_BIG, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"the spool {path.parent} cannot be written: ")
    assert len(done.stdout.splitlines()) == 1


def test_a_folder_that_is_a_file_is_retriable(tmp_path: Path) -> None:
    """Whatever the operating system says about the folder, it is said in one line."""
    (tmp_path / "usage").touch()
    with pytest.raises(RetriableError, match=r"cannot be written: (Not a directory|File exists)"):
        write_rows(Spool(tmp_path).rows("usage", "2026-01-01"), [(1, "x")])


def test_a_write_error_of_the_caller_is_not_hidden(path: Path) -> None:
    """The words are the operating system's."""
    with pytest.raises(RetriableError, match=os.strerror(errno.EIO)), written_aside(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_missing_file_is_fatal_with_its_remedy(path: Path) -> None:
    """The message says which asset to materialize."""
    with pytest.raises(FatalError, match="is missing: materialize usage_rows for this partition again"):
        read_rows(path)
    with pytest.raises(FatalError, match="is missing: materialize events"), events_opened(path):
        pass


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_what_is_no_parquet_file_is_fatal(path: Path, content: bytes) -> None:
    """A file of another kind is damaged."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FatalError, match=r"2026-01-01.rows.parquet is damaged: materialize usage_rows"):
        read_rows(path)


def test_a_file_of_another_version_is_fatal(path: Path) -> None:
    """An upgrade never meets an old footer with a traceback."""
    write_rows(path, [(1, "x")])
    with pytest.raises(FatalError, match="is of another version: materialize events"), events_opened(path):
        pass


def test_every_flipped_byte_of_the_data_is_noticed(path: Path) -> None:
    """A bad disk never changes a bill: a page with a wrong checksum, or too few rows, is damaged."""
    write_rows(path, [(number, f"text {number}") for number in range(200)])
    good, rows = path.read_bytes(), read_rows(path)
    data = good.rindex(b"PAR1") - int.from_bytes(good[-8:-4], "little")
    assert data > 500
    for position in range(0, data - 4, 3):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        try:
            assert read_rows(path) == rows
        except FatalError as error:
            assert "is damaged: materialize usage_rows" in str(error)  # noqa: PT017 - some bytes do not matter


def test_every_truncation_is_noticed(path: Path) -> None:
    """A file that lost its end is damaged."""
    write_rows(path, [(number, f"text {number}") for number in range(200)])
    good = path.read_bytes()
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(FatalError, match="is damaged"):
            read_rows(path)


@pytest.mark.parametrize("key", ["2026-10-25-02:00+0100", "2026-01-01", "../../etc", "a/b|c", "ü %", "."])
def test_any_partition_key_has_a_file_of_its_own(tmp_path: Path, key: str) -> None:
    """Keys become names within the sync's folder, and stay apart."""
    spool = Spool(tmp_path)
    assert spool.rows("usage", key).parent == spool.events("usage", key).parent == tmp_path / "usage"
    assert not set(":+/|% ") & set(spool.rows("usage", key).name.replace("%", ""))
    write_rows(spool.rows("usage", key), [(1, key)])
    assert read_values(spool.rows("usage", key)) == [[1, key]]
    other = key.replace("+0100", "+0200") + "2"
    assert len({spool.rows("usage", key), spool.rows("usage", other), spool.events("usage", key)}) == 3


def test_old_files_go_and_young_ones_stay(tmp_path: Path) -> None:
    """Only this sync's, by when they were last written; a folder that is not there is no error."""
    spool, now = Spool(tmp_path), 1_767_225_600
    ages = {"2026-01-01": 8, "2026-01-02": 7.01, "2026-01-03": 6.99, "2026-01-04": 0}
    for key, age in ages.items():
        for sync in ("usage", "other"):
            write_rows(spool.rows(sync, key), [])
            os.utime(spool.rows(sync, key), (now, now - age * DAY))
    assert spool.remove_older_than("usage", now - 7 * DAY) == 2
    assert [spool.rows("usage", key).exists() for key in ages] == [False, False, True, True]
    assert all(spool.rows("other", key).exists() for key in ages)
    assert spool.remove_older_than("never_ran", now) == 0


def test_a_file_held_open_stays_the_same(path: Path) -> None:
    """A reader never sees half of one extraction and half of the next."""
    old = [(number, "old") for number in range(30_000)]
    write_rows(path, old)
    with rows_opened(path) as file:
        rows = file.rows()
        first = next(rows)
        write_rows(path, [(number, "new") for number in range(10)])
        assert {row.texts[1] for stored in [first, *rows] for row in stored} == {"old"}
        assert file.footer.rows == len(old)
    assert {row[1] for row in read_values(path)} == {"new"}
