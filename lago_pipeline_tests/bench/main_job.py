"""The three steps on one partition of SQLite rows, delivered to the sandbox in a process of its own."""

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
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

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


@click.command()
@click.option("--rows", default=200_000, show_default=True, help="Rows of the partition.")
def main(rows: int) -> None:
    """Print rows a second and peak memory of each step, of a first run and of a second one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed(folder / "warehouse.db", rows)
        with sandbox(folder) as api_url:
            lines = [line for run in ("first", "second") for line in measured(folder, api_url, run, rows)]
    print_table(["run", "step", "rows", "seconds", "rows a second", "peak MB"], lines)


def seed(path: Path, rows: int) -> None:
    """A warehouse with rows of one day, keyed by random UUIDs."""
    chance = random.Random(7)
    connection = sqlite3.connect(path)
    connection.execute(
        "create table calls "
        "(id text, called_at text, subscription text, units integer, weight text, region text)"
    )
    connection.executemany(
        "insert into calls values (?, ?, ?, ?, ?, ?)",
        (
            (
                str(uuid.UUID(int=chance.getrandbits(128))),
                f"2026-01-01 {index % 24:02d}:{index % 60:02d}:{index * 7 % 60:02d}.{index % 1000:03d}",
                f"sub_{index % 50}",
                index % 97,
                f"{index % 7}.{index % 1000:03d}",
                ("EU-West", "us-east", 'Ü"\\')[index % 3],
            )
            for index in range(rows)
        ),
    )
    connection.commit()
    connection.close()


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """A Lago sandbox in a process of its own; yields its API URL."""
    command = [sys.executable, "-m", "lago_pipeline.cli", "sandbox", "--port", "0", "--json"]
    with subprocess.Popen([*command, "--state", str(folder / "lago.db")], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield str(json.loads(server.stdout.readline())["api_url"])
        finally:
            server.terminate()


def measured(folder: Path, api_url: str, run: str, rows: int) -> Iterator[dict[str, object]]:
    """One run of the three steps, each checked and timed."""
    pipeline = Pipeline(SYNC, Spool(folder / "spool"), run, say=lambda _: None)
    warehouse = warehouse_engine(f"sqlite:///{folder / 'warehouse.db'}")
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    yield timed(run, "usage_rows", rows, lambda: pipeline.extract(DAY, warehouse).rows == rows)
    yield timed(run, "events", rows, lambda: pipeline.render(DAY).events == rows)
    with LagoClient(api_url, DEMO_API_KEY) as lago:
        yield timed(run, "deliveries", rows, lambda: pipeline.deliver(DAY, ledger, lago).is_settled)


def timed(run: str, step: str, rows: int, work: Callable[[], bool]) -> dict[str, object]:
    """One step's line; raises SystemExit where its result is wrong."""
    started = time.perf_counter()
    if not work():
        raise SystemExit(f"{run} run: {step} gave a wrong result")
    seconds = time.perf_counter() - started
    return {
        "run": run,
        "step": step,
        "rows": rows,
        "seconds": f"{seconds:.1f}",
        "rows a second": int(rows / seconds),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
