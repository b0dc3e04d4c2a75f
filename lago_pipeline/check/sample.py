"""The checks of a few rows of a sync: what they become, and whether Lago would bill it."""

from collections.abc import Iterable, Iterator, Sequence

from lago_pipeline.check.checked_sync import CheckedSync
from lago_pipeline.check.finding import Level, Told
from lago_pipeline.lago.probe import SubscriptionSpan, subscription_spans
from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.refusals import REMEDIES, Reason


def sample(checked: CheckedSync) -> Iterable[Told]:
    """The latest partition that has rows has some."""
    day, samples = checked.sample
    if day is None:
        says = f"no rows in the last {len(checked.partitions)} partitions"
        yield Told(says, Level.WARNING, "check source.time_column and partitions.start, or wait for usage")
    else:
        yield Told(f"{len(samples)} rows of {day.key}")


def events(checked: CheckedSync) -> Iterable[Told]:
    """Every sample row becomes an event; one finding a reason."""
    problems: dict[str, list[str]] = {}
    for event in checked.events:
        if event.problem is not None:
            problems.setdefault(event.problem.partition(":")[0], []).append(event.problem)
    for reason, found in problems.items():
        says = f"{len(found)} of {len(checked.events)} sample rows cannot be billed: {found[0]}"
        yield Told(says, Level.ERROR, REMEDIES[Reason(reason)])
    if not problems:
        yield Told("every sample row becomes an event")


def subscriptions(checked: CheckedSync) -> Iterable[Told]:
    """Lago has the subscriptions of the sample rows, and bills their times to them."""
    times: dict[str, list[int]] = {}
    for event in checked.events:
        if event.external_subscription_id is not None and event.timestamp_ms is not None:
            times.setdefault(event.external_subscription_id, []).append(event.timestamp_ms)
    problems = [told for name, found in times.items() for told in _uncovered(checked, name, found)]
    yield from problems
    if not times:
        yield Told("not checked: no sample row becomes an event", Level.SKIPPED)
    elif not problems:
        yield Told(f"{len(times)} in the sample: Lago has them, and they cover its rows")


def _uncovered(checked: CheckedSync, external_id: str, times: Sequence[int]) -> Iterator[Told]:
    spans: list[SubscriptionSpan] = []
    for span in subscription_spans(checked.lago.client, external_id):
        spans.append(span)
        if not _outside(spans, times):
            return
    if not spans:
        says = f"Lago has no subscription {external_id!r}"
        remedy = "create it in Lago, or correct event.external_subscription_id: else nobody is billed"
        yield Told(says, Level.ERROR, remedy)
        return
    first = from_epoch_ms(_outside(spans, times)[0])
    says = f"{external_id!r} ({spans[0].status}) does not cover its row of {first:%Y-%m-%d %H:%M:%S} UTC"
    remedy = "correct its dates in Lago, or set partitions.start later: Lago bills nothing outside of them"
    yield Told(says, Level.ERROR, remedy)


def _outside(spans: Sequence[SubscriptionSpan], times: Sequence[int]) -> list[int]:
    return [instant for instant in times if not any(span.covers(instant) for span in spans)]
