"""The three assets of a sync. Each works on a range of partitions and reports each of them by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from lago_pipeline.components.checks import CHECKS, all_evaluations, check_specs, summary
from lago_pipeline.components.metadata import (
    UNSETTLED,
    Metadata,
    delivery_metadata,
    events_metadata,
    rows_metadata,
)
from lago_pipeline.components.observing import observed
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import LagoPipelineError, RetriableError
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.render.template import EventTemplate
from lago_pipeline.report import DeliveryReport
from lago_pipeline.settings import Settings
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Sync

POOL = "lago_pipeline_delivery"
LAGO_GROUP = "lago"
OWN_NAMES = ("usage_rows", "events", "deliveries")


class DeliveryConfig(dg.Config):
    """What a person may decide in the launchpad, for one run."""

    confirm: bool = Field(
        default=False, description="Send even an unusual number of events, as delivery.max_events_per_run."
    )


Step = Callable[[Partition], Metadata]


def usage_assets(
    sync: Sync, wiring: Wiring, template: EventTemplate
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """`usage_rows`, `events` and `deliveries`, and what Lago holds downstream as an external asset."""
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        _usage_rows(sync, wiring),
        _events(sync, wiring),
        _deliveries(sync, wiring),
    ]
    if template.literal_code is not None:
        assets.append(
            dg.AssetSpec(
                [sync.name, "lago", template.literal_code],
                deps=[asset_keys(sync)[2]],
                # not the sync's group: within one group Dagster takes a table named like the code for this
                # asset, and the graph runs in a circle
                group_name=LAGO_GROUP,
                kinds={"lago"},
                description=f"The billable metric {template.literal_code} in Lago.",
            )
        )
    return assets


def asset_keys(sync: Sync) -> tuple[dg.AssetKey, dg.AssetKey, dg.AssetKey]:
    """The keys of a sync's assets, from the source to Lago."""
    rows, events, deliveries = (dg.AssetKey([sync.name, name]) for name in OWN_NAMES)
    return rows, events, deliveries


def _usage_rows(sync: Sync, wiring: Wiring) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_keys(sync)[0],
        deps=wiring.upstream,
        required_resource_keys={wiring.warehouse},
        kinds={"sql"},
        description=f"Usage rows of {sync.source.table or 'a query'}, as they were when they were read.",
        group_name=sync.name,
        partitions_def=wiring.partitions_def,
        backfill_policy=dg.BackfillPolicy.multi_run(wiring.per_run),
    )
    def usage_rows(context: dg.AssetExecutionContext) -> Iterator[Any]:
        pipeline = _pipeline(context, sync, wiring)
        with _one_line_errors(), wiring.warehouse_of(context.resources).connected() as engine:
            yield from _each(context, wiring, lambda day: rows_metadata(pipeline.extract(day, engine)))

    return usage_rows


def _events(sync: Sync, wiring: Wiring) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_keys(sync)[1],
        deps=[asset_keys(sync)[0]],
        kinds={"liquid"},
        description="Lago's events, rendered from the rows: each has a body, or the reason why not.",
        group_name=sync.name,
        partitions_def=wiring.partitions_def,
        backfill_policy=dg.BackfillPolicy.multi_run(wiring.per_run),
    )
    def events(context: dg.AssetExecutionContext) -> Iterator[Any]:
        pipeline = _pipeline(context, sync, wiring)
        way = pipeline.template.compiled.way
        with _one_line_errors():
            yield from _each(context, wiring, lambda day: events_metadata(pipeline.render(day), way))

    return events


def _deliveries(sync: Sync, wiring: Wiring) -> dg.AssetsDefinition:
    key = asset_keys(sync)[2]

    @dg.asset(
        key=key,
        deps=[asset_keys(sync)[1]],
        required_resource_keys={wiring.lago, wiring.ledger},
        kinds={"lago"},
        pool=POOL,
        check_specs=check_specs(key, wiring.partitions_def),
        description="What Lago accepted, and what is not billed and why.",
        group_name=sync.name,
        partitions_def=wiring.partitions_def,
        backfill_policy=dg.BackfillPolicy.multi_run(wiring.per_run),
    )
    def deliveries(context: dg.AssetExecutionContext, config: DeliveryConfig) -> Iterator[Any]:
        pipeline = _pipeline(context, sync, wiring)
        with (
            _one_line_errors(),
            observed(context, sync.name),
            wiring.lago_of(context.resources).connected() as lago,
            wiring.ledger_of(context.resources).opened() as ledger,
        ):
            yield from _delivered(
                context, wiring, lambda day: pipeline.deliver(day, ledger, lago, confirmed=config.confirm)
            )
        _clean_spool(pipeline)

    return deliveries


def _pipeline(context: dg.AssetExecutionContext, sync: Sync, wiring: Wiring) -> Pipeline:
    spool = Spool(Settings().state / "spool")
    return Pipeline(sync, spool, context.run.run_id, now_ms=wiring.now_ms, say=context.log.info)


def _each(context: dg.AssetExecutionContext, wiring: Wiring, step: Step) -> Iterator[Any]:
    """Take a step for each partition; those before a failure stay materialized."""
    done: list[tuple[str, Metadata]] = []
    for partition in wiring.partitions(context.partition_keys):
        try:
            done.append((partition.key, step(partition)))
        except LagoPipelineError:
            yield from (_materialization(context, key, metadata) for key, metadata in done)
            raise
    yield from _all_good(context, done)


def _delivered(
    context: dg.AssetExecutionContext, wiring: Wiring, deliver: Callable[[Partition], DeliveryReport]
) -> Iterator[Any]:
    """Deliver each partition: settled ones are materialized, the others observed, and the run is red."""
    reports: list[DeliveryReport] = []
    for partition in wiring.partitions(context.partition_keys):
        try:
            report = deliver(partition)
        except LagoPipelineError:
            yield from _told_apart(context, reports)
            raise
        reports.append(report)
        if report.counts.pending:
            break  # Lago takes no more now: the other days would only wait for it again
    unsettled = [report for report in reports if not report.is_settled]
    if unsettled:
        yield from _told_apart(context, reports)
        lines = [f"{report.partition_key}: {summary(report)}" for report in unsettled]
        if left := len(context.partition_keys) - len(reports):
            lines.append(f"{left} more partitions were not tried")
        raise dg.Failure(
            description="\n".join(lines), metadata={UNSETTLED: len(unsettled)}, allow_retries=False
        )
    yield from _all_good(context, [(report.partition_key, delivery_metadata(report)) for report in reports])
    yield from all_evaluations(context, reports)
    for check in CHECKS:
        yield dg.Output(None, output_name=_check_output(context.asset_key, check))


def _all_good(context: dg.AssetExecutionContext, done: list[tuple[str, Metadata]]) -> Iterator[Any]:
    """Metadata by partition: that of a MaterializeResult would be copied to every partition of the run."""
    for key, metadata in done:
        context.add_asset_metadata(metadata, partition_key=key)
    yield dg.MaterializeResult()


def _told_apart(context: dg.AssetExecutionContext, reports: list[DeliveryReport]) -> Iterator[Any]:
    for report in reports:
        event = _materialization if report.is_settled else _observation
        yield event(context, report.partition_key, delivery_metadata(report))
    yield from all_evaluations(context, reports)


def _materialization(
    context: dg.AssetExecutionContext, key: str, metadata: Metadata
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)


def _observation(context: dg.AssetExecutionContext, key: str, metadata: Metadata) -> dg.AssetObservation:
    return dg.AssetObservation(context.asset_key, partition=key, metadata=metadata)


def _check_output(key: dg.AssetKey, check: str) -> str:
    return f"{'__'.join(key.path)}_{check}"


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """An error of ours as Dagster shows it: one line, and whether trying again can help."""
    try:
        yield
    except LagoPipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=isinstance(error, RetriableError)) from error


def _clean_spool(pipeline: Pipeline) -> None:
    kept = timedelta(days=pipeline.sync.retention.spool_days)
    pipeline.spool.remove_older_than(pipeline.sync.name, pipeline.now_ms() / 1000 - kept.total_seconds())
