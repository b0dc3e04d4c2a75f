"""The two laws as asset checks, one result a day."""

from collections.abc import Iterator

import dagster as dg

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


def evaluations(deliveries: dg.AssetKey, report: DeliveryReport) -> Iterator[dg.AssetCheckEvaluation]:
    """The results for one day."""
    counts = report.counts
    yield dg.AssetCheckEvaluation(
        asset_key=deliveries,
        check_name=CONSERVED,
        passed=not report.broken_laws,
        partition=report.partition_key,
        description="; ".join(report.broken_laws) or "all counts agree",
    )
    yield dg.AssetCheckEvaluation(
        asset_key=deliveries,
        check_name=ALL_ACCEPTED,
        passed=counts.is_settled,
        partition=report.partition_key,
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
