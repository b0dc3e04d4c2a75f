"""`lago-pipeline preview`: sample rows, the events they become, and with --send Lago's answers."""

from collections.abc import Iterator
from typing import Any

import click
import orjson
from rich.json import JSON

from lago_pipeline.cli.output import console, print_json
from lago_pipeline.cli.project import Project, ProjectSync, load_project, partitions_between
from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.runs import PREVIEW_RUN
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.report import Status
from lago_pipeline.sample import ACCEPTED_BEFORE, Sample, sample_rows, send_samples
from lago_pipeline.settings import Settings
from lago_pipeline.spool.folder import Spool

_MOST_EMPTY = 400
_BILLED = (Status.ACCEPTED, ACCEPTED_BEFORE)


@click.command()
@click.argument("sync")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1, 100), help="How many rows.")
@click.option(
    "--partition", metavar="DAY", help="The partition to take them from; by default the latest with rows."
)
@click.option("--send", is_flag=True, help="Send the events to Lago, and record the outcome in the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preview(sync: str, rows: int, partition: str | None, *, send: bool, as_json: bool) -> None:
    """Test SYNC with sample rows: each source row, the body it becomes, and with --send Lago's answer."""
    project = load_project()
    (item,) = project.chosen(sync)
    pipeline = Pipeline(item.sync, Spool(Settings().state / "spool"), PREVIEW_RUN, say=lambda _: None)
    candidates = partitions_between(item.wiring, partition, partition)[: -_MOST_EMPTY - 1 : -1]
    with project.resources(item.wiring.warehouse) as (warehouse,), warehouse.connected() as engine:
        found = ((day, sample_rows(pipeline, day, engine, rows)) for day in candidates)
        day, samples = next(((day, taken) for day, taken in found if taken), (None, []))
    if day is None:
        raise ConfigError(
            f"sync {sync}: no rows in the last {len(candidates)} partitions: name one with --partition"
        )
    answers = list(_sent(project, item, pipeline, day, samples)) if send else []
    documents = list(_documents(day, samples, answers))
    _print(documents, as_json=as_json)
    if any(document["problem"] for document in documents) or any(answer not in _BILLED for answer in answers):
        raise click.exceptions.Exit(1)


def _sent(
    project: Project, item: ProjectSync, pipeline: Pipeline, day: Partition, samples: list[Sample]
) -> Iterator[str]:
    with (
        project.resources(item.wiring.lago, item.wiring.ledger) as (lago_resource, ledger_resource),
        lago_resource.connected() as lago,
        ledger_resource.opened() as ledger,
    ):
        yield from send_samples(pipeline, day, samples, ledger, lago)


def _documents(day: Partition, samples: list[Sample], answers: list[str]) -> Iterator[dict[str, Any]]:
    for index, sample in enumerate(samples):
        body = sample.event.body
        yield {
            "partition": day.key,
            "row": sample.row,
            "event": orjson.loads(body) if body is not None else None,
            "problem": sample.event.problem,
            **({"lago": answers[index]} if answers else {}),
        }


def _print(documents: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(documents)
        return
    out = console()
    for document in documents:
        out.rule(f"row of {document['partition']}", align="left")
        out.print(JSON.from_data(document["row"], default=str, ensure_ascii=False))
        if document["problem"]:
            out.print(f"cannot be billed: {document['problem']}", style="red", markup=False)
        else:
            out.print("becomes", JSON.from_data({"event": document["event"]}, ensure_ascii=False))
        if "lago" in document:
            out.print(f"Lago: {document['lago']}", markup=False)
