"""Alarms: what a person must hear of, when its reasons change and once a day after."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import requests
import sqlalchemy as sa

from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.alarms import (
    MOST_SUBSCRIPTIONS,
    RUN,
    AlarmLine,
    drop_alarms,
    is_run,
    read_alarms,
    read_latest_subscriptions,
    read_payers,
    run_subject,
    save_alarms,
)
from lago_pipeline.ledger.asks import read_not_closed
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.partitions import PartitionRecord, State
from lago_pipeline.ledger.runs import read_last_end
from lago_pipeline.partition import Partition
from lago_pipeline.refusals import REMEDIES, Reason
from lago_pipeline.settings import ALERT_WEBHOOK

OVERDUE = "overdue"
"""The reason word of a partition that should have been closed long ago, though no run failed."""
DAY_MS = 86_400_000
TOLD_FOR_MS = 23 * 3_600_000
"""Less than a day, so that daily attempts with their jitter do not miss their hour until the next day."""
OVERDUE_AFTER_MS = 6 * 3_600_000
WEBHOOK_SECONDS = 10.0
_MOST_LINES = 10

PeriodEnd = Callable[[str], int | None]
"""When the current billing period of a subscription ends, in epoch milliseconds; None for unknown."""


class Severity(StrEnum):
    """How soon a person should look: `critical` where a bill is about to be made without the usage."""

    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Usage of a sync that is not billed, or a run that failed; `reasons` in words or as reason words.

    `subject` is a partition's key, or `run` with the first and last key of a failed run.
    """

    sync: str
    subject: str
    reasons: str
    severity: Severity
    unbilled: int = 0
    overdue_hours: int = 0

    def __str__(self) -> str:
        return f"{self.sync} {self.partitions}".strip() + f": {self._what}"

    @property
    def partitions(self) -> str:
        """The partition, or `first..last`; empty for a run that does not tell."""
        return self.subject.removeprefix(RUN).strip() if is_run(self.subject) else self.subject

    @property
    def _what(self) -> str:
        if self.reasons == OVERDUE:
            return f"was not closed {self.overdue_hours} h after its end"
        rows = "1 row is" if self.unbilled == 1 else f"{self.unbilled:,} rows are"
        return f"{rows} not billed: {self.reasons}" if self.unbilled else f"a run failed: {self.reasons}"


def partition_alarms(
    ledger: sa.Engine, sync: str, sync_id: int, now_ms: int, period_end_ms: PeriodEnd
) -> list[Alarm]:
    """Alarms of the unsettled partitions that a person was not told of in the last day, as they stand.

    One is raised again at once when its reasons change or a bill is near. Those that are over are forgotten.
    """
    with reading(ledger) as connection:
        begun = read_not_closed(connection, sync_id)
        records = [each for each in begun if each.state is State.UNSETTLED]
        told = read_alarms(connection, sync_id)
        payers = [read_payers(connection, sync_id, each) for each in records]
    keys, unsettled = {each.partition_key for each in begun}, {each.partition_key for each in records}
    drop_alarms(ledger, sync_id, [line for line in told.values() if _is_past(line, keys, unsettled, now_ms)])
    near = _near({name for names in payers for name in names}, now_ms, period_end_ms)
    severities = [_severity(is_near=bool(near.intersection(names))) for names in payers]
    alarms = [
        Alarm(sync, each.partition_key, each.reasons, severity, each.counts.unbilled)
        for each, severity in zip(records, severities, strict=True)
    ]
    return [alarm for alarm in alarms if _is_news(alarm, told.get(alarm.subject), now_ms)]


def run_alarm(
    ledger: sa.Engine,
    sync: str,
    sync_id: int,
    now_ms: int,
    partitions: Sequence[Partition],
    words: str,
    period_end_ms: PeriodEnd,
) -> list[Alarm]:
    """The alarm of a run that failed for another reason than unbilled usage, unless a person knows of it.

    It is news again once the run's partitions came to an end since a person was told.
    """
    with reading(ledger) as connection:
        payers = read_latest_subscriptions(connection, sync_id)
        ended_ms = read_last_end(connection, sync_id, partitions) or 0
        told = read_alarms(connection, sync_id).get(run_subject(partitions))
    near = _near(payers, now_ms, period_end_ms)
    alarm = failed_run(sync, partitions, words, _severity(is_near=bool(near)))
    has_recovered = told is not None and ended_ms > told.alarmed_ms
    return [alarm] if has_recovered or _is_news(alarm, told, now_ms) else []


def failed_run(
    sync: str, partitions: Sequence[Partition], words: str, severity: Severity = Severity.ERROR
) -> Alarm:
    """The alarm of a failed run as such."""
    return Alarm(sync, run_subject(partitions), words, severity)


def overdue_alarms(
    ledger: sa.Engine, sync_name: str, sync_id: int, now_ms: int, closing_delay: timedelta
) -> list[Alarm]:
    """Alarms of partitions that nobody closes though no run fails; those that are over are forgotten."""
    with reading(ledger) as connection:
        begun = read_not_closed(connection, sync_id)
        told = read_alarms(connection, sync_id)
    keys = {each.partition_key for each in begun}
    closed = [line for line in told.values() if line.reasons == OVERDUE and line.subject not in keys]
    drop_alarms(ledger, sync_id, closed)
    late = [each for each in begun if _is_overdue(each, now_ms, closing_delay)]
    alarms = [_overdue(sync_name, each, now_ms) for each in late]
    return [alarm for alarm in alarms if _is_news(alarm, told.get(alarm.subject), now_ms)]


def raise_alarms(
    ledger: sa.Engine,
    sync_id: int,
    alarms: Sequence[Alarm],
    now_ms: int,
    *,
    log: Callable[[str], None],
    webhook: str | None,
) -> None:
    """Log alarms, post them to the webhook, and remember that a person was told.

    Raises RetriableError where the webhook did not take them: they stay news.
    """
    tell(alarms, log=log, webhook=webhook)
    lines = [AlarmLine(each.subject, each.reasons, each.severity.value, now_ms) for each in alarms]
    save_alarms(ledger, sync_id, lines)


def tell(alarms: Sequence[Alarm], *, log: Callable[[str], None], webhook: str | None) -> None:
    """Log alarms and post them, for a sync that has nothing to remember yet; raises as `raise_alarms`."""
    for alarm in alarms:
        log(f"{alarm.severity}: {alarm}")
    if webhook and alarms:
        _post(webhook, alarms)


def document(alarms: Sequence[Alarm]) -> dict[str, Any]:
    """What the webhook gets: `text` for chat systems, and each alarm by itself for programs."""
    worst = _severity(is_near=any(each.severity is Severity.CRITICAL for each in alarms))
    lines = [str(alarm) for alarm in alarms[:_MOST_LINES]]
    if len(alarms) > _MOST_LINES:
        lines.append(f"and {len(alarms) - _MOST_LINES} more: lago-pipeline status {alarms[0].sync}")
    return {
        "text": "\n".join([f"[{worst}] Lago usage is not billed", *lines]),
        "severity": worst,
        "sync": alarms[0].sync,
        "alarms": [_fields(alarm) for alarm in alarms],
    }


def _fields(alarm: Alarm) -> dict[str, Any]:
    words = [] if is_run(alarm.subject) else alarm.reasons.split()
    remedies = {word: REMEDIES[Reason(word)] for word in words if word in set(Reason)}
    first, _, last = alarm.partitions.partition("..")
    return {
        "partition": None if is_run(alarm.subject) else alarm.subject,
        "partitions": {"from": first, "to": last or first} if first else None,
        "severity": alarm.severity,
        "unbilled": alarm.unbilled,
        "reasons": alarm.reasons,
        "remedies": remedies,
    }


def _overdue(sync: str, record: PartitionRecord, now_ms: int) -> Alarm:
    hours = (now_ms - record.partition_end) // 3_600_000
    return Alarm(sync, record.partition_key, OVERDUE, Severity.ERROR, overdue_hours=hours)


def _is_overdue(record: PartitionRecord, now_ms: int, closing_delay: timedelta) -> bool:
    """Counted from when it could close, its last result, and its last change; of samples, none is."""
    delay_ms = closing_delay // timedelta(milliseconds=1)
    is_followed = record.asks > 0 or record.snapshot_ms is not None
    since_ms = max(record.partition_end + delay_ms, record.updated_ms, record.changed_ms or 0)
    return record.state is State.OPEN and is_followed and now_ms > since_ms + OVERDUE_AFTER_MS


def _near(payers: Iterable[str], now_ms: int, period_end_ms: PeriodEnd) -> set[str]:
    """Those whose billing period ends within a day, of 20 that are asked for at the most."""
    asked = sorted(set(payers))[:MOST_SUBSCRIPTIONS]
    return {name for name in asked if now_ms <= (period_end_ms(name) or 0) < now_ms + DAY_MS}


def _severity(*, is_near: bool) -> Severity:
    return Severity.CRITICAL if is_near else Severity.ERROR


def _is_news(alarm: Alarm, told: AlarmLine | None, now_ms: int) -> bool:
    if told is None or told.reasons != alarm.reasons or now_ms - told.alarmed_ms >= TOLD_FOR_MS:
        return True
    return alarm.severity is Severity.CRITICAL and told.severity != Severity.CRITICAL


def _is_past(line: AlarmLine, begun: set[str], unsettled: set[str], now_ms: int) -> bool:
    """Whether an alarm is to be forgotten: a run's after a day, an overdue partition's when it is closed."""
    if is_run(line.subject):
        return now_ms - line.alarmed_ms >= TOLD_FOR_MS
    return line.subject not in (begun if line.reasons == OVERDUE else unsettled)


def _post(webhook: str, alarms: Sequence[Alarm]) -> None:
    """The webhook's address may hold a secret: it is in no message."""
    try:
        answer = requests.post(webhook, json=document(alarms), timeout=WEBHOOK_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise RetriableError(f"{ALERT_WEBHOOK} could not be reached: {type(error).__name__}") from None
    if not answer.ok or answer.is_redirect:
        raise RetriableError(f"{ALERT_WEBHOOK} answered {answer.status_code}")
