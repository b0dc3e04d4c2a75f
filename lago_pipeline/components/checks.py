"""The two laws as asset checks, one result a day."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)

from lago_pipeline.report import DeliveryReport

CONSERVED = "conserved"
ALL_ACCEPTED = "all_accepted"
CHECKS = (CONSERVED, ALL_ACCEPTED)

_DESCRIPTIONS = {
    CONSERVED: "Every row and every event of the run is accounted for, by counts made apart from each other.",
    ALL_ACCEPTED: "No usage is held, rejected, quarantined, in conflict or pending: all of it is billed.",
}


def check_specs(
    deliveries: dg.AssetKey, wiring_partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetCheckSpec]:
    """The checks of a sync's deliveries."""
    return [
        dg.AssetCheckSpec(name, asset=deliveries, description=text, partitions_def=wiring_partitions)
        for name, text in _DESCRIPTIONS.items()
    ]


def all_evaluations(
    context: dg.AssetExecutionContext, reports: Sequence[DeliveryReport]
) -> Iterator[dg.AssetCheckEvaluation]:
    """The results for each day, once those that are settled are materialized.

    Dagster shows a result only while it points to the latest materialization of its day.
    """
    settled = [report.partition_key for report in reports if report.is_settled]
    unsettled = [report.partition_key for report in reports if not report.is_settled]
    targets = _latest(context, settled)
    for day in unsettled:  # an earlier run's, or none
        targets |= _latest(context, [day])
    for report in reports:
        yield from _evaluations(context.asset_key, report, targets.get(report.partition_key))


def _latest(context: dg.AssetExecutionContext, days: Sequence[str]) -> dict[str | None, Target]:
    """What points to the latest materialization of each day; those of several days were just made."""
    if not days:
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=days)
    return {
        each.partition_key: Target(storage_id=each.storage_id, run_id=each.run_id, timestamp=each.timestamp)
        for each in context.instance.fetch_materializations(wanted, limit=len(days)).records
    }


def _evaluations(
    deliveries: dg.AssetKey, report: DeliveryReport, target: Target | None
) -> Iterator[dg.AssetCheckEvaluation]:
    counts = report.counts
    yield dg.AssetCheckEvaluation(
        asset_key=deliveries,
        check_name=CONSERVED,
        passed=not report.broken_laws,
        partition=report.partition_key,
        target_materialization_data=target,
        description="; ".join(report.broken_laws) or "all counts agree",
    )
    yield dg.AssetCheckEvaluation(
        asset_key=deliveries,
        check_name=ALL_ACCEPTED,
        passed=counts.is_settled,
        partition=report.partition_key,
        target_materialization_data=target,
        description=summary(report),
        metadata={"unbilled": counts.unbilled},
    )


def summary(report: DeliveryReport) -> str:
    """One line on what is not billed and why."""
    if report.is_settled:
        return "everything is billed"
    reasons = [f"{refusal.count} {refusal.status}: {refusal.reason}" for refusal in report.refusals]
    if report.counts.pending or report.stopped:
        reasons.append(f"{report.counts.pending} pending: {report.stopped or 'the run stopped'}")
    return "; ".join([*reasons, *report.broken_laws])
