"""A year of daily partitions delivered to the sandbox, by how many partitions one run takes."""

import resource
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import requests

from lago_pipeline.cli.output import print_table
from lago_pipeline.sandbox.config import DEMO_API_KEY
from lago_pipeline_tests.backfill.daemon import served, waited
from lago_pipeline_tests.backfill.project import SYNC, past_project
from lago_pipeline_tests.bench.main_job import sandbox
from lago_pipeline_tests.stranger.project import Stranger

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
POLICIES = (1, 7, 31, 365)
DAEMON_POLICIES = (7, 31)
COLUMNS = ["by", "per_run", "partitions", "seconds", "CPU seconds", "partitions/s", "rows/s", "note"]
SEED = f"""
with recursive n(i) as (select 0 union all select i + 1 from n where i + 1 < :days * :rows)
insert into calls
select printf('%08x-%06d', i * 2654435761 % 4294967296, i),
       datetime({int(FIRST.timestamp())} + (i / :rows) * 86400 + i % :rows * 86400 / :rows, 'unixepoch'),
       'sub_' || (i % 50), i % 100, 'EU-West'
from n
"""


@dataclass(frozen=True)
class Year:
    """What is delivered: so many days of so many rows each."""

    days: int
    rows: int

    @property
    def keys(self) -> list[str]:
        """The partitions."""
        return [f"{FIRST + timedelta(days=day):%Y-%m-%d}" for day in range(self.days)]


@click.command()
@click.option("--rows", default=1000, show_default=True, help="Rows of each partition.")
@click.option("--days", default=365, show_default=True, help="Partitions.")
@click.option("--per-run", "policies", multiple=True, type=int, help="Only these policies.")
@click.option("--daemon", is_flag=True, help="Also through the daemon's backfill.")
def main(rows: int, days: int, policies: tuple[int, ...], *, daemon: bool) -> None:
    """Print how long a backfill takes by `lago-pipeline run --from --to`, by partitions of a run."""
    chosen = [("run", per_run) for per_run in policies or POLICIES]
    chosen += [("daemon", per_run) for per_run in policies or DAEMON_POLICIES] if daemon else []
    lines = []
    for by, per_run in chosen:
        # a run for each day costs the same every day: a part of the year tells all of it
        part = Year(max(days // 12, 1) if per_run == 1 else days, rows)
        deliver = by_daemon if by == "daemon" else by_command
        lines.append(line(by, per_run, part, days, measured(per_run, part, deliver)))
    print_table(COLUMNS, lines)


def seed(path: Path, year: Year) -> None:
    """A warehouse with rows of every day."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "create table calls "
            "(id text primary key, called_at text, subscription text, units integer, region text)"
        )
        connection.execute(SEED, {"days": year.days, "rows": year.rows})
        connection.execute("create index calls_by_time on calls (called_at)")


def measured(per_run: int, year: Year, deliver: Callable[[Stranger, Year], None]) -> tuple[float, float]:
    """Seconds, and CPU seconds of the processes that ended; raises SystemExit where the result is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed(folder / "warehouse.db", year)
        with sandbox(folder) as api_url:
            project = past_project(
                folder,
                start=year.keys[0],
                per_run=per_run,
                source="table: calls",
                WAREHOUSE_URL=f"sqlite:///{folder / 'warehouse.db'}",
                LAGO_API_URL=api_url,
                LAGO_API_KEY=DEMO_API_KEY,
            )
            cpu, started = cpu_seconds(), time.perf_counter()
            deliver(project, year)
            seconds = time.perf_counter() - started
            check(project, api_url, year)
            return seconds, cpu_seconds() - cpu


def by_command(project: Stranger, year: Year) -> None:
    """Deliver the year as a person would on the command line."""
    command = ("lago-pipeline", "run", SYNC, "--from", year.keys[0], "--to", year.keys[-1])
    result = subprocess.run(
        command, cwd=project.root, env=project.environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(result.stdout + result.stderr)


def by_daemon(project: Stranger, year: Year) -> None:
    """Deliver the year as a person would in the UI; the web server's and the daemon's start counts too."""
    with served(project) as server:
        backfill = server.launched(year.keys)
        end = waited(lambda: server.end_of(backfill), 3600)
    if end != "COMPLETED_SUCCESS":
        raise SystemExit(f"the backfill ended as {end}")


def check(project: Stranger, api_url: str, year: Year) -> None:
    """Raise SystemExit unless Lago holds each row once, and every partition is closed."""
    stats = requests.get(api_url.replace("/api/v1", "/sandbox/stats"), timeout=60).json()
    with closing(sqlite3.connect(project.home / "lago_pipeline/ledger.db")) as ledger:
        closed = ledger.execute("select count(*) from lago_partitions where state = 'closed'").fetchone()[0]
        accepted = ledger.execute(
            "select count(distinct transaction_id) from lago_events where status = 'accepted'"
        ).fetchone()[0]
    found = (stats["events_stored"], stats["duplicates_refused"], accepted, closed)
    wanted = (year.days * year.rows, 0, year.days * year.rows, year.days)
    if found != wanted:
        raise SystemExit(f"stored, refused, accepted, closed: {found} instead of {wanted}")


def cpu_seconds() -> float:
    """Of the processes that this one has waited for, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line(by: str, per_run: int, part: Year, days: int, times: tuple[float, float]) -> dict[str, object]:
    """A line of the table, for all of the days."""
    seconds, cpu = (each * days / part.days for each in times)
    return {
        "by": by,
        "per_run": per_run,
        "partitions": days,
        "seconds": f"{seconds:.0f}",
        "CPU seconds": f"{cpu:.0f}",
        "partitions/s": f"{days / seconds:.1f}",
        "rows/s": int(days * part.rows / seconds),
        "note": f"extrapolated from {part.days}" if part.days < days else "",
    }


if __name__ == "__main__":
    main()
