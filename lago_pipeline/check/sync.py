"""The checks of one sync: its source, its template, its metric in Lago, and its place in the ledger."""

import re
from collections.abc import Iterable, Iterator

from lago_pipeline.check.checked_sync import CheckedSync
from lago_pipeline.check.finding import Check, Level, Told
from lago_pipeline.check.sample import events, sample, subscriptions

_NEED_A_FIELD = {"sum_agg", "max_agg", "latest_agg", "unique_count_agg", "weighted_sum_agg"}
_VARIABLE = re.compile(r"\bevent\.properties\.(\w+)")
"""What an expression reads of an event; Lago computes the metric's field from it (LAGO.md 5)."""


def _partitions(checked: CheckedSync) -> Iterable[Told]:
    if not checked.partitions:
        says = "none yet: partitions.start lies in the future"
        yield Told(says, Level.WARNING, "wait, or set an earlier partitions.start")
    else:
        yield Told(f"the latest is {checked.partitions[0].key}")


def _source(checked: CheckedSync) -> Iterable[Told]:
    source = checked.sync.source
    yield Told(f"{source.table or 'the query'} has {len(checked.rows.columns)} columns")


def _time_column(checked: CheckedSync) -> Iterable[Told]:
    kinds = {
        "aware": "instants",
        "naive": f"times without a zone, read as {checked.sync.source.timezone.key}",
        "epoch": "epoch seconds",
        "sqlite": "text or epoch seconds, as SQLite stores times",
    }
    kind = checked.rows.window.kind
    yield Told(f"{checked.sync.source.time_column} holds {kinds.get(kind, kind)}")


def _template(checked: CheckedSync) -> Iterable[Told]:
    template = checked.pipeline.template
    template.check_columns(checked.rows.columns)
    yield Told(f"its {len(template.columns)} columns exist")


def _metric(checked: CheckedSync) -> Iterable[Told]:
    if checked.code is None:
        yield Told("not checked: event.code differs by row", Level.SKIPPED)
    elif checked.metric is None:
        says = f"Lago has no billable metric {checked.code!r}"
        remedy = "create it, or correct event.code: until it exists Lago takes events and bills nothing"
        yield Told(says, Level.ERROR, remedy)
    else:
        yield Told(f"{checked.code} is a {checked.metric.get('aggregation_type')}")


def _field(checked: CheckedSync) -> Iterable[Told]:
    """With an expression Lago computes the field itself, and refuses events that lack its variables."""
    metric = checked.metric or {}
    expression = str(metric.get("expression") or "")
    aggregation, name = str(metric.get("aggregation_type")), str(metric.get("field_name") or "")
    needed = set(_VARIABLE.findall(expression)) if expression else {name}
    if aggregation not in _NEED_A_FIELD:
        yield Told(f"{aggregation} needs none")
        return
    for missing in sorted(needed - set(checked.pipeline.template.properties)):
        reader = f"the expression of metric {checked.code}" if expression else f"metric {checked.code}"
        says = f"{reader} ({aggregation}) reads property {missing!r}, which event.properties lacks"
        yield Told(says, Level.ERROR, f"add {missing} to event.properties, or correct the metric in Lago")
    if needed <= set(checked.pipeline.template.properties):
        yield Told(f"{', '.join(sorted(needed)) or 'none'}: in event.properties")


def _registered(checked: CheckedSync) -> Iterable[Told]:
    sync, ledger = checked.sync, checked.ledger
    known = ledger.prefix_of(sync)
    if known is not None and known != sync.transaction_id_prefix:
        says = f"transaction_id_prefix is {sync.transaction_id_prefix!r}, and was {known!r}"
        remedy = f"write transaction_id_prefix: {known}, since another one would bill all usage twice"
        yield Told(says, Level.ERROR, remedy)
    elif ledger.knows(sync):
        yield Told("the ledger knows it")
    else:
        yield from _new(checked)


def _new(checked: CheckedSync) -> Iterator[Told]:
    """A renamed sync looks new, unless it keeps its prefix; a run refuses one whose usage is known."""
    sync = checked.sync
    twin = checked.ledger.twin_of(sync)
    present = {sync.name, *(other.sync.name for other in checked.others)}
    known = checked.ledger.names(sync.destination).items()
    gone = next(((name, prefix) for name, prefix in known if name not in present), None)
    if sync.transaction_id_prefix != sync.name or not (twin or gone):
        yield Told("new: its first run records it")
    elif twin:
        remedy = f"to rename that one, write transaction_id_prefix: {twin[1]}; for another, a new one"
        yield Told(f"the ledger has its usage (code {checked.code}) as sync {twin[0]}", Level.ERROR, remedy)
    elif gone:
        remedy = f"if it was renamed, write transaction_id_prefix: {gone[1]}, or its usage is billed twice"
        yield Told(f"new, and the project has no sync {gone[0]!r} any more", Level.WARNING, remedy)


def _own_ids(checked: CheckedSync) -> Iterable[Told]:
    sync = checked.sync
    mine = (sync.destination, sync.transaction_id_prefix, checked.code)
    twins = [
        other.sync.name
        for other in checked.others
        if mine == (other.sync.destination, other.sync.transaction_id_prefix, other.template.literal_code)
    ]
    if twins and checked.code is not None:
        says = f"{twins[0]} has the same destination, transaction_id_prefix and code: their ids collide"
        yield Told(says, Level.ERROR, "write another transaction_id_prefix in one of the two")
    else:
        yield Told(f"{sync.transaction_id_prefix}:{checked.code or '…'} is no other sync's")


_WAREHOUSE, _LAGO, _LEDGER = "warehouse: reachable", "lago: key", "ledger: schema"
_TRY_PREVIEW = "lago-pipeline preview SYNC shows the rows"

SYNC_CHECKS = (
    Check("partitions", _partitions),
    Check("source", _source, ("partitions", _WAREHOUSE), "correct source in the sync's defs.yaml"),
    Check("time column", _time_column, ("source",)),
    Check("template", _template, ("source",), "correct event in the sync's defs.yaml, or the source"),
    Check("metric", _metric, (_LAGO, "lago: billable metric read")),
    Check("field", _field, ("metric",)),
    Check("sample", sample, ("template",), _TRY_PREVIEW),
    Check("events", events, ("sample",), _TRY_PREVIEW),
    Check("subscriptions", subscriptions, ("sample", "lago: subscription read")),
    Check("ledger", _registered, (_LEDGER,)),
    Check("transaction ids", _own_ids),
)
