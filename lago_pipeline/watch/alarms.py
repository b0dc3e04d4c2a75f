"""Alarms: what a person must hear of, when its reasons change and once a day after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import requests
import sqlalchemy as sa

from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.alarms import (
    AlarmLine,
    drop_alarm,
    read_alarms,
    read_unbilled_subscriptions,
    save_alarm,
)
from lago_pipeline.ledger.asks import read_not_closed
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.partitions import PartitionRecord, State
from lago_pipeline.ledger.runs import read_last_end
from lago_pipeline.refusals import REMEDIES, Reason
from lago_pipeline.settings import ALERT_WEBHOOK

RUN = "run"
"""The subject of a run that failed before it could say what is not billed."""
DAY_MS = 86_400_000
WEBHOOK_SECONDS = 10.0
_MOST_SUBSCRIPTIONS = 20
_MOST_LINES = 10


class Severity(StrEnum):
    """How soon a person should look: `critical` where a bill is about to be made without the usage."""

    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Usage of a sync that is not billed, or a run that failed; `reasons` in words or as reason words."""

    sync: str
    subject: str
    reasons: str
    severity: Severity
    unbilled: int = 0

    def __str__(self) -> str:
        rows = "1 row is" if self.unbilled == 1 else f"{self.unbilled:,} rows are"
        what = f"{rows} not billed" if self.unbilled else "a run failed"
        where = "" if self.subject == RUN else f" {self.subject}"
        return f"{self.sync}{where}: {what}: {self.reasons}"


def partition_alarms(
    ledger: sa.Engine, sync: str, sync_id: int, now_ms: int, period_end_ms: Callable[[str], int | None]
) -> list[Alarm]:
    """Alarms of the unsettled partitions that a person was not told of in the last day, as they stand.

    One is raised again at once when its reasons change or a bill is near. `period_end_ms` tells when the
    billing period of a subscription ends. Alarms whose cause is gone are forgotten.
    """
    with reading(ledger) as connection:
        records = [each for each in read_not_closed(connection, sync_id) if each.state is State.UNSETTLED]
        told = read_alarms(connection, sync_id)
        payers = [read_unbilled_subscriptions(connection, sync_id, each.partition) for each in records]
    _forget(ledger, sync_id, set(told) - {each.partition_key for each in records} - {RUN})
    asked = sorted({name for names in payers for name in names})[:_MOST_SUBSCRIPTIONS]
    near = {name for name in asked if _is_near(period_end_ms(name), now_ms)}
    alarms = [
        _alarm(sync, each, near.intersection(names)) for each, names in zip(records, payers, strict=True)
    ]
    return [alarm for alarm in alarms if _is_news(alarm, told.get(alarm.subject), now_ms)]


def run_alarm(ledger: sa.Engine, sync: str, sync_id: int, now_ms: int, words: str) -> list[Alarm]:
    """The alarm of a run that failed for another reason than unbilled usage, unless a person knows of it.

    It is news again once a run of the sync came to an end since a person was told.
    """
    with reading(ledger) as connection:
        told = read_alarms(connection, sync_id).get(RUN)
        ended_ms = read_last_end(connection, sync_id) or 0
    alarm = Alarm(sync, RUN, words, Severity.ERROR)
    has_recovered = told is not None and ended_ms > told.alarmed_ms
    return [alarm] if has_recovered or _is_news(alarm, told, now_ms) else []


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
    for alarm in alarms:
        log(f"{alarm.severity}: {alarm}")
    if webhook and alarms:
        _post(webhook, alarms)
    with writing(ledger) as connection:
        for alarm in alarms:
            line = AlarmLine(alarm.subject, alarm.reasons, alarm.severity.value, now_ms)
            save_alarm(connection, sync_id, line)


def document(alarms: Sequence[Alarm]) -> dict[str, Any]:
    """What the webhook gets: `text` for chat systems, and each alarm by itself for programs."""
    worst = (
        Severity.CRITICAL if any(each.severity is Severity.CRITICAL for each in alarms) else Severity.ERROR
    )
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
    words = alarm.reasons.split() if alarm.subject != RUN else []
    remedies = {word: REMEDIES[Reason(word)] for word in words if word in set(Reason)}
    subject = None if alarm.subject == RUN else alarm.subject
    return {
        "partition": subject,
        "severity": alarm.severity,
        "unbilled": alarm.unbilled,
        "reasons": alarm.reasons,
        "remedies": remedies,
    }


def _alarm(sync: str, record: PartitionRecord, near: set[str]) -> Alarm:
    severity = Severity.CRITICAL if near else Severity.ERROR
    return Alarm(sync, record.partition_key, record.reasons, severity, record.counts.unbilled)


def _is_near(period_end_ms: int | None, now_ms: int) -> bool:
    return period_end_ms is not None and now_ms <= period_end_ms < now_ms + DAY_MS


def _is_news(alarm: Alarm, told: AlarmLine | None, now_ms: int) -> bool:
    if told is None or told.reasons != alarm.reasons or now_ms - told.alarmed_ms >= DAY_MS:
        return True
    return alarm.severity is Severity.CRITICAL and told.severity != Severity.CRITICAL


def _forget(ledger: sa.Engine, sync_id: int, subjects: set[str]) -> None:
    if subjects:
        with writing(ledger) as connection:
            for subject in subjects:
                drop_alarm(connection, sync_id, subject)


def _post(webhook: str, alarms: Sequence[Alarm]) -> None:
    """The webhook's address may hold a secret: it is in no message."""
    try:
        answer = requests.post(webhook, json=document(alarms), timeout=WEBHOOK_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise RetriableError(f"{ALERT_WEBHOOK} could not be reached: {type(error).__name__}") from None
    if not answer.ok or answer.is_redirect:
        raise RetriableError(f"{ALERT_WEBHOOK} answered {answer.status_code}")
