"""`lago-pipeline status`: what is billed, what is not, since when, and what comes next."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import click
import sqlalchemy as sa
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from lago_pipeline.check.ledger import Ledger
from lago_pipeline.cli.output import print_json
from lago_pipeline.cli.paused import paused_words, stopped_names
from lago_pipeline.cli.project import Project, ProjectSync, load_project
from lago_pipeline.cli.status_rows import Shown, age, cells, minute, removed_row, rows_of
from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.database import SCHEMA_VERSION, open_ledger
from lago_pipeline.ledger.registry import RemovedSync, removed_syncs
from lago_pipeline.settings import Settings
from lago_pipeline.watch.status import SyncStatus, sync_status

_ALWAYS = ("sync", "partition", "state", "extracted", "billed", "unbilled")
_NUMBERS = ("extracted", "billed", "changed", "removed", "unbilled", "attempts")
_FILE_WIDTH = 240
"""Columns where output is no terminal, so that no line is folded."""


@click.command()
@click.argument("sync", required=False)
@click.option("--last", type=click.IntRange(0), default=14, show_default=True,
              help="How many closed partitions of a sync to show.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(sync: str | None, last: int, *, as_json: bool) -> None:
    """Show the partitions of SYNC, or of all syncs: every unsettled and open one, and the latest closed ones.

    Reads only: the exit code is 0 whatever it finds; `run` and `check` judge. A year of partitions that were
    never begun is one line. With --json each line is an object with `partition_from`, `partition_to` and
    `partitions` (how many it stands for), and in `summary` what is told above the table; a sync with nothing
    to list, or which the project has no more, is an object whose `partition` is null.
    """
    project = load_project()
    chosen = project.chosen(sync)
    with _ledger(project, chosen[0]) as ledger:
        shown = [_shown(item, ledger, last) for item in chosen]
        removed = _removed(project, ledger, shown) if ledger is not None and sync is None else []
    stopped, problem = _stopped(project)
    if as_json:
        rows = [row for each in shown for row in rows_of(each, stopped)]
        print_json(rows + [removed_row(each) for each in removed])
    else:
        _print(shown, removed, stopped or ())
    if problem is not None:
        raise problem


@contextmanager
def _ledger(project: Project, item: ProjectSync) -> Iterator[sa.Engine | None]:
    """The ledger if there is one: it is not made. One of an older version is brought up to date."""
    declared = (project.definitions.resources or {}).get(item.wiring.ledger)
    url = getattr(declared, "url", None)  # making the resource would take as long as all the rest
    with ExitStack() as stack:
        ledger = Ledger(str(url or Settings().ledger_url), stack)
        if ledger.version in (None, SCHEMA_VERSION):
            yield ledger.engine if ledger.version else None
        else:
            engine = open_ledger(ledger.url)
            stack.callback(engine.dispose)
            yield engine


def _shown(item: ProjectSync, ledger: sa.Engine | None, last: int) -> Shown:
    now_ms = item.wiring.now_ms()
    found = sync_status(ledger, item.sync, item.wiring, now_ms, last) if ledger is not None else SyncStatus()
    return Shown(item, found, now_ms)


def _removed(project: Project, ledger: sa.Engine, shown: Sequence[Shown]) -> list[RemovedSync]:
    """Those that the project has no more, without those that it has under another name."""
    names = [(item.sync.destination, item.sync.name) for item in project.syncs.values()]
    present = {each.status.sync_id for each in shown}
    return [each for each in removed_syncs(ledger, names) if each.sync_id not in present]


def _stopped(project: Project) -> tuple[set[str] | None, RetriableError | None]:
    """What is stopped in Dagster; where that cannot be read, the error, which is told at the end."""
    try:
        return stopped_names(project.location), None
    except RetriableError as error:
        return None, error


def _print(shown: Sequence[Shown], removed: Sequence[RemovedSync], stopped: Collection[str]) -> None:
    for each in shown:
        click.echo(_told(each, stopped))
    for gone in removed:
        click.echo(_told_removed(gone))
    rows = [cells(each, line) for each in shown for line in each.status.lines]
    if rows:
        _print_table(rows)
    elif any(each.status.closed for each in shown):
        click.echo("all that was delivered is closed, and nothing is due")
    else:
        click.echo("nothing was delivered yet: lago-pipeline run SYNC --from DAY --to DAY")


def _print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Without the columns that say nothing; a span of partitions stays on one line."""
    table = Table(header_style="bold")
    for name in (columns := [name for name in rows[0] if name in _ALWAYS or any(row[name] for row in rows)]):
        justify: JustifyMethod = "right" if name in _NUMBERS else "left"
        table.add_column(name, justify=justify, no_wrap=name == "partition", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in columns))
    Console(width=None if sys.stdout.isatty() else _FILE_WIDTH).print(table)


def _told(each: Shown, stopped: Collection[str]) -> str:
    """The one line above the table."""
    found, name = each.status, each.item.sync.name
    parts = [
        _started(each),
        f"{found.open:,} open, {found.unsettled:,} unsettled, {found.closed:,} closed partitions",
    ]
    if found.unbilled:
        parts.append(f"{found.unbilled:,} row{'s' * (found.unbilled != 1)} not billed")
    if (oldest := found.oldest_unsettled) is not None:
        parts.append(f"oldest unsettled {oldest.first.key} ({age(oldest.age_ms(each.now_ms))})")
    paused = paused_words(name, stopped)
    return f"{name}: {'; '.join([*parts, *([paused] if paused else [])])}"


def _started(each: Shown) -> str:
    if each.item.schedule is None:
        return "started by hand only"
    activated_ms = each.status.activated_at_ms
    return f"runs by itself since {minute(activated_ms)}" if activated_ms is not None else "never started"


def _told_removed(gone: RemovedSync) -> str:
    if not gone.open and not gone.unsettled:
        return f"{gone.name}: removed from this project; all of it is closed: nothing to do"
    return (
        f"{gone.name}: removed from this project; {gone.open:,} open, {gone.unsettled:,} unsettled: bring "
        f"the sync back under its name (destination {gone.destination}) to go on with it"
    )
