"""`lago-pipeline run`: deliver partitions now, through Dagster, or only say what would be delivered."""

import gc
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa
from rich.console import Console

from lago_pipeline.cli.instance import opened_instance
from lago_pipeline.cli.output import print_json, print_table
from lago_pipeline.cli.progress_bar import progress_bar
from lago_pipeline.cli.project import Project, ProjectSync, load_project, partitions_between
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.registry import find
from lago_pipeline.ledger.runs import read_run
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.render.template import event_template
from lago_pipeline.report import COUNT_NAMES
from lago_pipeline.spool.folder import Spool
from lago_pipeline.watch.closing import scheduled_partitions

if TYPE_CHECKING:
    import dagster as dg

_SHOWN = ("extracted", "unchanged", "accepted", "changed", "removed", "held", "rejected", "quarantined",
          "conflict", "pending")  # fmt: skip
Line = dict[str, Any]
Deliver = Callable[[list[Partition]], tuple[list[Line], str | None]]


@click.command()
@click.argument("sync", required=False)
@click.option("--from", "first", metavar="DAY", help="The first partition, such as 2026-01-01.")
@click.option("--to", "last", metavar="DAY", help="The last partition, included.")
@click.option("--dry-run", is_flag=True, help="Extract, render and plan; send nothing, record nothing.")
@click.option("--confirm", is_flag=True, help="Send even an unusual number of events of a partition.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def run(
    sync: str | None, first: str | None, last: str | None, *, dry_run: bool, confirm: bool, as_json: bool
) -> None:
    """Deliver the usage of SYNC, or of all syncs.

    Without --from and --to: the open partition and those not closed since the sync was first started. The
    exit code is 0 only when all usage of these partitions is billed.
    """
    project = load_project()
    gc.freeze()  # what was loaded stays: the collector need not walk through it again and again
    lines: list[Line] = []
    errors: list[str] = []
    for item in project.chosen(sync):
        partitions = _partitions(project, item, first, last)
        step = (
            _planned(project, item, partitions)
            if dry_run
            else _delivered(project, item, partitions, errors, confirm=confirm)
        )
        with progress_bar(Console(stderr=True)):
            for line in step:
                lines.append(line)
                if not as_json:
                    click.echo(_told(line), err=True)
    _print(lines, errors, as_json=as_json)
    if errors or any(line["unbilled"] or line["reasons"] for line in lines):
        raise click.exceptions.Exit(1)


def _partitions(project: Project, item: ProjectSync, first: str | None, last: str | None) -> list[Partition]:
    if first is not None or last is not None:
        return partitions_between(item.wiring, first, last)
    with project.resources(item.wiring.ledger) as (resource,), resource.opened() as ledger:
        known, now_ms = find(ledger, item.sync), item.wiring.now_ms()
        template_hash = event_template(item.sync).hash
        due = scheduled_partitions(ledger, known, item.wiring, now_ms, template_hash)
    return [each.partition for each in due]


def _delivered(
    project: Project, item: ProjectSync, partitions: list[Partition], errors: list[str], *, confirm: bool
) -> Iterator[Line]:
    """Materialize the partitions in runs of at most `per_run`, as a backfill does; stops at an error.

    Where a run of several fails, those of it that were not delivered are tried one by one, so that all before
    the one at fault are delivered.
    """
    from lago_pipeline.components.requests import ranges

    with (
        opened_instance() as instance,
        project.resources(item.wiring.ledger) as (resource,),
        resource.opened() as ledger,
    ):
        deliver = partial(_materialized, item, _quiet_job(project, item), instance, ledger, confirm)
        for chunk in ranges(partitions, item.wiring.per_run):
            error = yield from _chunk(chunk, deliver)
            if error:
                errors.append(f"{item.sync.name} {error}")
                return


def _chunk(partitions: list[Partition], deliver: Deliver) -> Generator[Line, None, str | None]:
    """Deliver partitions in one run, or one by one after it failed; returns where it stopped, and why."""
    tried = partitions
    lines, error = deliver(tried)
    yield from lines
    delivered = {line["partition"] for line in lines}
    is_over = len(partitions) == 1 or any(line["pending"] for line in lines)  # Lago takes no more
    left = [] if is_over else [each for each in partitions if each.key not in delivered]
    for each in left if error else []:
        tried = [each]
        lines, error = deliver(tried)
        yield from lines
        if error:
            break
    return f"{_span(tried)}: {error}" if error else None


def _span(partitions: list[Partition]) -> str:
    first, last = partitions[0].key, partitions[-1].key
    return first if first == last else f"{first} to {last}"


def _materialized(
    item: ProjectSync,
    job: "dg.JobDefinition",
    instance: "dg.DagsterInstance",
    ledger: sa.Engine,
    confirm: bool,
    partitions: list[Partition],
) -> tuple[list[Line], str | None]:
    """One run: the lines of what it delivered, and why it failed, unless it only found unbilled usage."""
    from lago_pipeline.components.requests import range_tags

    result = job.execute_in_process(
        instance=instance,
        tags=range_tags([partition.key for partition in partitions]),
        raise_on_error=False,
        run_config={
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            "ops": {f"{item.sync.name}__deliveries": {"config": {"confirm": confirm}}},
        },
    )
    lines = _lines(ledger, item, result.run_id)
    if _is_interrupted(result):
        for line in lines:
            click.echo(_told(line), err=True)
        raise click.Abort  # Ctrl-C: what was in flight is settled, the rest is pending
    return lines, _error(result, lines)


def _quiet_job(project: Project, item: ProjectSync) -> "dg.JobDefinition":
    """The sync's job, whose console says nothing here; the project's own loggers may lack a console."""
    import dagster as dg

    job = project.definitions.resolve_job_def(f"{item.sync.name}_sync")
    return job.with_logger_defs({**job.loggers, "console": dg.colored_console_logger})


def _lines(ledger: sa.Engine, item: ProjectSync, run_id: str) -> list[Line]:
    with reading(ledger) as connection:
        return [
                {"sync": item.sync.name, "partition": key, **counts.as_mapping(),
                 "unbilled": counts.unbilled, "reasons": reasons}
                for key, counts, reasons in read_run(connection, run_id)
            ]  # fmt: skip


def _error(result: "dg.ExecuteInProcessResult", lines: list[Line]) -> str | None:
    """Why a run failed, unless it only found unbilled usage that its lines tell, and Lago took the rest."""
    from lago_pipeline.components.failures import failure_words

    for event in result.all_events:
        if event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            summaries = str(told.description) if told else ""
            return failure_words(event) or _why_pending(summaries, lines)
    return None if result.success else "the run failed"


def _why_pending(summaries: str, lines: list[Line]) -> str | None:
    """The summary of the first day that Lago took no more of: the next ones would only wait for it again."""
    pending = tuple(f"{line['partition']}: " for line in lines if line["pending"])
    return next((text for text in summaries.splitlines() if text.startswith(pending)), None)


def _is_interrupted(result: "dg.ExecuteInProcessResult") -> bool:
    failures = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    errors = [failure.error for failure in failures if failure.error]
    return any(error.cls_name == "DagsterExecutionInterruptedError" for error in errors)


def _planned(project: Project, item: ProjectSync, partitions: list[Partition]) -> Iterator[Line]:
    """Count what a delivery would do, in a spool of its own that is thrown away."""
    wiring = item.wiring
    with (
        tempfile.TemporaryDirectory() as folder,
        project.resources(wiring.warehouse, wiring.ledger) as (warehouse, ledger_resource),
        warehouse.connected() as engine,
        ledger_resource.opened() as ledger,
    ):
        pipeline = Pipeline(item.sync, Spool(Path(folder)), "dry run", say=lambda _: None)
        known = find(ledger, item.sync)
        for partition in partitions:
            pipeline.extract(partition, engine)
            pipeline.render(partition)
            counts, reasons = pipeline.plan(partition, ledger, known)
            yield {"sync": item.sync.name, "partition": partition.key, **counts.as_mapping(),
                   "unbilled": counts.unbilled - counts.pending, "reasons": reasons}  # fmt: skip


def _told(line: Line) -> str:
    numbers = ", ".join(f"{line[name]:,} {name}" for name in _SHOWN if line[name])
    reasons = f" ({line['reasons']})" if line["reasons"] else ""
    return f"{line['sync']} {line['partition']}: {numbers or 'no rows'}{reasons}"


def _print(lines: list[Line], errors: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"partitions": lines, "errors": errors})
        return
    totals = [_total(name, [line for line in lines if line["sync"] == name]) for name in _names(lines)]
    if totals:
        shown = [name for name in _SHOWN if any(total[name] for total in totals)]
        print_table(["sync", "partitions", *shown], totals)
    for error in errors:
        click.echo(f"Error: {error}", err=True)


def _names(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(line["sync"] for line in lines))


def _total(name: str, lines: list[Line]) -> Line:
    counts = {count: sum(line[count] for line in lines) for count in COUNT_NAMES}
    return {"sync": name, "partitions": len(lines), **counts}
