"""The whole job: one partition of SQLite rows to an instant sink in a process of its own, and its memory."""

import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow as pa

from lago_pipeline.cli.output import print_table
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.sandbox.config import DEMO_API_KEY
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Source, Sync

DAY = Partition("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
SYNC = Sync(
    name="bench",
    source=Source(primary_key=("id",), time_column="called_at", table="calls"),
    event={
        "code": "calls",
        "external_subscription_id": "{{ row.subscription }}",
        "properties": {
            "units": "{{ row.units }}",
            "weight": "{{ row.weight }}",
            "region": "{{ row.region | downcase }}",
        },
    },
    transaction_id_prefix="bench",
    destination="bench",
)


COLUMNS = ["step", "rows", "seconds", "rows/s", "peak MB", "goal"]
_GOALS = {"usage_rows": "300,000/s", "whole job": "60,000/s, 300 MB"}


@click.command()
@click.option("--rows", default=200_000, show_default=True, help="Rows of the partition.")
@click.option("--many", default=5_000_000, show_default=True, help="Rows of another, for its memory.")
@click.option("--alone", is_flag=True, help="Only the first, in this process, as JSON.")
def main(rows: int, many: int, *, alone: bool) -> None:
    """Print rows a second and the peak memory of each step, for a partition and for a much larger one.

    Each is delivered in a process of its own, whose start is not counted.
    """
    if alone:
        print(json.dumps(job(rows)))
        return
    lines = [line for count in (rows, many) if count for line in apart(count)]
    print_table(COLUMNS, lines)


def apart(rows: int) -> list[dict[str, object]]:
    """The lines of a job in a process of its own."""
    command = [sys.executable, "-m", "lago_pipeline_tests.bench.main_job", "--alone", "--rows", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    lines: list[dict[str, object]] = json.loads(done.stdout)
    return lines


def job(rows: int) -> list[dict[str, object]]:
    """A line for each step, and one for all; raises SystemExit where a result is wrong."""
    pa.array([""])  # the first array of Python's values imports pandas, where it is installed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed(folder / "warehouse.db", rows)
        with sink(folder, 0) as api_url:
            times = {step: timed(step, work) for step, work in steps(folder, api_url, rows)}
    return [
        {
            "step": step,
            "rows": rows,
            "seconds": f"{seconds:.1f}",
            "rows/s": f"{rows / seconds:,.0f}",
            "peak MB": peak,
            "goal": _GOALS.get(step, ""),
        }
        for step, (seconds, peak) in {**times, "whole job": whole(times)}.items()
    ]


def whole(times: dict[str, tuple[float, int]]) -> tuple[float, int]:
    """Seconds of all steps, and the peak of the process."""
    return sum(seconds for seconds, _ in times.values()), max(peak for _, peak in times.values())


def usage(rows: int) -> Iterator[tuple[object, ...]]:
    """Rows of one day, keyed by random UUIDs."""
    chance = random.Random(7)
    return (
        (
            str(uuid.UUID(int=chance.getrandbits(128))),
            f"2026-01-01 {index % 24:02d}:{index % 60:02d}:{index * 7 % 60:02d}.{index % 1000:03d}",
            f"sub_{index % 50}",
            index % 97,
            f"{index % 7}.{index % 1000:03d}",
            ("EU-West", "us-east", 'Ü"\\')[index % 3],
        )
        for index in range(rows)
    )


def seed(path: Path, rows: int) -> None:
    """A SQLite warehouse with such rows."""
    connection = sqlite3.connect(path)
    connection.execute(
        "create table calls "
        "(id text, called_at text, subscription text, units integer, weight text, region text)"
    )
    connection.executemany("insert into calls values (?, ?, ?, ?, ?, ?)", usage(rows))
    connection.commit()
    connection.close()


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[str]:
    """A Lago sandbox in a process of its own; yields its API URL."""
    command = [sys.executable, "-m", "lago_pipeline.cli", "sandbox", "--port", "0", "--json", *options]
    with subprocess.Popen([*command, "--state", str(folder / "lago.db")], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield str(json.loads(server.stdout.readline())["api_url"])
        finally:
            server.terminate()


def sink(folder: Path, seconds: float) -> AbstractContextManager[str]:
    """A sandbox that counts events and answers after so many seconds."""
    return sandbox(folder, "--sink", str(seconds))


def steps(folder: Path, api_url: str, rows: int) -> Iterator[tuple[str, Callable[[], bool]]]:
    """The steps by their assets' names; each says whether its result is right."""
    pipeline = Pipeline(SYNC, Spool(folder / "spool"), "bench", say=lambda _: None)
    warehouse = warehouse_engine(f"sqlite:///{folder / 'warehouse.db'}")
    yield "usage_rows", lambda: pipeline.extract(DAY, warehouse).rows == rows
    yield "events", lambda: pipeline.render(DAY).events == rows
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    with LagoClient(api_url, DEMO_API_KEY) as lago:
        yield "deliveries", lambda: pipeline.deliver(DAY, ledger, lago).counts.accepted == rows


def timed(step: str, work: Callable[[], bool]) -> tuple[float, int]:
    """Seconds of a step, and the process's peak memory in MB after it."""
    started = time.perf_counter()
    if not work():
        raise SystemExit(f"{step} gave a wrong result")
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
