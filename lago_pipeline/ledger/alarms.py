"""The ledger's alarms: what a person was told of a sync, how gravely, and when."""

from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.partition import Partition
from lago_pipeline.report import UNBILLED

_MOST_SUBSCRIPTIONS = 20


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """What a person was told last of one subject: a partition's key, or a run that failed."""

    subject: str
    reasons: str
    severity: str
    alarmed_ms: int


def read_alarms(connection: sa.Connection, sync_id: int) -> dict[str, AlarmLine]:
    """The alarms of a sync that still stand, by subject."""
    statement = sa.text("select subject, reasons, severity, alarmed_ms from alarms where sync_id = :sync")
    lines = (AlarmLine(*row) for row in connection.execute(statement, {"sync": sync_id}))
    return {line.subject: line for line in lines}


def save_alarm(connection: sa.Connection, sync_id: int, line: AlarmLine) -> None:
    """Record that a person was told."""
    connection.execute(
        sa.text(
            "insert into alarms (sync_id, subject, reasons, severity, alarmed_ms) "
            "values (:sync, :subject, :reasons, :severity, :now) on conflict (sync_id, subject) "
            "do update set reasons = :reasons, severity = :severity, alarmed_ms = :now"
        ),
        {
            "sync": sync_id,
            "subject": line.subject,
            "reasons": line.reasons,
            "severity": line.severity,
            "now": line.alarmed_ms,
        },
    )


def drop_alarm(connection: sa.Connection, sync_id: int, subject: str) -> None:
    """Forget an alarm whose cause is gone, so that it is raised anew if it comes back."""
    connection.execute(
        sa.text("delete from alarms where sync_id = :sync and subject = :subject"),
        {"sync": sync_id, "subject": subject},
    )


def read_unbilled_subscriptions(connection: sa.Connection, sync_id: int, partition: Partition) -> list[str]:
    """Subscriptions that unbilled events of a partition are for, 20 at the most."""
    statement = sa.text(
        "select distinct external_subscription_id from sent where sync_id = :sync "
        "and partition_start = :start and status <> 'accepted' and status in :unbilled "
        f"and external_subscription_id is not null order by 1 limit {_MOST_SUBSCRIPTIONS}"
    ).bindparams(sa.bindparam("unbilled", expanding=True))
    values = {"sync": sync_id, "start": partition.start_ms, "unbilled": [status.value for status in UNBILLED]}
    return [str(found) for found in connection.execute(statement, values).scalars()]
