"""The ledger's alarms: what a person was told of a sync, how gravely, and when."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from lago_pipeline.ledger.database import writing
from lago_pipeline.ledger.partitions import PartitionRecord
from lago_pipeline.partition import Partition
from lago_pipeline.report import UNBILLED

MOST_SUBSCRIPTIONS = 20
"""Subscriptions that are looked at for one alarm."""


RUN = "run"
"""What the subject of a run that failed begins with."""


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """What a person was told last of one subject: a partition's key, or `run` with those of a failed run."""

    subject: str
    reasons: str
    severity: str
    alarmed_ms: int


def is_run(subject: str) -> bool:
    """Whether a subject is a run that failed, and not a partition."""
    return subject == RUN or subject.startswith(f"{RUN} ")


def run_subject(partitions: Sequence[Partition]) -> str:
    """The subject of a run by its partitions, in order: `run`, and `first..last` or the only key."""
    ends = dict.fromkeys(each.key for each in (*partitions[:1], *partitions[-1:]))
    return f"{RUN} {'..'.join(ends)}".strip()


def read_alarms(connection: sa.Connection, sync_id: int) -> dict[str, AlarmLine]:
    """The alarms of a sync that still stand, by subject."""
    statement = sa.text("select subject, reasons, severity, alarmed_ms from alarms where sync_id = :sync")
    lines = (AlarmLine(*row) for row in connection.execute(statement, {"sync": sync_id}))
    return {line.subject: line for line in lines}


def save_alarms(engine: sa.Engine, sync_id: int, lines: Sequence[AlarmLine]) -> None:
    """Record that a person was told."""
    statement = sa.text(
        "insert into alarms (sync_id, subject, reasons, severity, alarmed_ms) "
        "values (:sync, :subject, :reasons, :severity, :alarmed_ms) on conflict (sync_id, subject) "
        "do update set reasons = :reasons, severity = :severity, alarmed_ms = :alarmed_ms"
    )
    if lines:
        with writing(engine) as connection:
            connection.execute(statement, [{"sync": sync_id, **asdict(line)} for line in lines])


def drop_alarms(engine: sa.Engine, sync_id: int, lines: Sequence[AlarmLine]) -> None:
    """Forget alarms whose cause is gone, so that they are raised anew if it comes back."""
    statement = sa.text("delete from alarms where sync_id = :sync and subject = :subject")
    if lines:
        with writing(engine) as connection:
            connection.execute(statement, [{"sync": sync_id, "subject": line.subject} for line in lines])


def read_payers(connection: sa.Connection, sync_id: int, record: PartitionRecord) -> list[str]:
    """Subscriptions that unbilled events of a partition are for, as far as they can be known.

    Pending events have no line that tells: the latest ones of the sync stand in for theirs.
    """
    latest = read_latest_subscriptions(connection, sync_id) if record.counts.pending else []
    return _unbilled_subscriptions(connection, sync_id, record) + latest


def read_latest_subscriptions(connection: sa.Connection, sync_id: int) -> list[str]:
    """Subscriptions of the latest partition that Lago took events of, 20 at the most."""
    where = (
        "status = 'accepted' and partition_start = "
        "(select max(partition_start) from sent where sync_id = :sync and status = 'accepted')"
    )
    return _subscriptions(connection, where, sync=sync_id)


def _unbilled_subscriptions(connection: sa.Connection, sync_id: int, record: PartitionRecord) -> list[str]:
    words = [status.value for status in UNBILLED]
    unbilled: sa.BindParameter[str] = sa.bindparam("unbilled", words, expanding=True)
    where = "partition_start = :start and status <> 'accepted' and status in :unbilled"
    return _subscriptions(connection, where, unbilled, sync=sync_id, start=record.partition_start)


def _subscriptions(
    connection: sa.Connection, where: str, *bound: sa.BindParameter[Any], **values: int
) -> list[str]:
    statement = sa.text(
        f"select distinct external_subscription_id from sent where sync_id = :sync and {where} "
        f"and external_subscription_id is not null order by 1 limit {MOST_SUBSCRIPTIONS}"
    ).bindparams(*bound)
    return [str(found) for found in connection.execute(statement, values).scalars()]
