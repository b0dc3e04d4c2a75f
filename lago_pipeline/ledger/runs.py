"""The ledger's runs: an append-only audit of what each run of a partition counted."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from lago_pipeline.partition import Partition
from lago_pipeline.report import COUNT_NAMES, Counts, Wire

PREVIEW_RUN = "preview"
"""The run id of samples that a person sent."""


def start_run(connection: sa.Connection, sync_id: int, partition: Partition, run_id: str, now_ms: int) -> int:
    """Record the start of a run of one partition; returns its number."""
    inserted = connection.execute(
        sa.text(
            "insert into runs (run_id, sync_id, partition_start, started_ms) "
            "values (:run_id, :sync, :start, :now) returning run"
        ),
        {"run_id": run_id, "sync": sync_id, "start": partition.start_ms, "now": now_ms},
    )
    return int(inserted.scalar_one())


def end_run(connection: sa.Connection, run: int, counts: Counts, wire: Wire, now_ms: int) -> None:
    """Record what a run counted."""
    counted = ", ".join(f"{name} = :{name}" for name in COUNT_NAMES)
    values: Mapping[str, object] = {
        **counts.as_mapping(),
        "run": run,
        "now": now_ms,
        "requests": wire.requests,
        "retries": wire.retries,
    }
    connection.execute(
        sa.text(
            "update runs set ended_ms = :now, requests = :requests, retries = :retries, "
            f"{counted} where run = :run"
        ),
        values,
    )


def read_last_end(connection: sa.Connection, sync_id: int, partitions: Sequence[Partition]) -> int | None:
    """Since when each begun one of neighbouring partitions has a run that came to its end; 0 for never.

    In epoch milliseconds; None where none was begun.
    """
    statement = sa.text(
        "select min(ended) from (select coalesce(max(ended_ms), 0) as ended from runs where sync_id = :sync "
        "and partition_start between :first and :last group by partition_start) as ends"
    )
    if not partitions:
        return None
    values = {"sync": sync_id, "first": partitions[0].start_ms, "last": partitions[-1].start_ms}
    return connection.execute(statement, values).scalar()


def read_run(connection: sa.Connection, run_id: str) -> list[tuple[str, Counts, str]]:
    """The partitions that a run delivered, in order: key, counts, and the reasons why it is not settled."""
    counted = ", ".join(f"r.{name}" for name in COUNT_NAMES)
    found = connection.execute(
        sa.text(
            f"select p.partition_key, p.reasons, {counted} from runs r join partitions p "
            "on p.sync_id = r.sync_id and p.partition_start = r.partition_start "
            "where r.run_id = :run_id and r.ended_ms is not null order by r.run"
        ),
        {"run_id": run_id},
    ).mappings()
    return [
        (row["partition_key"], Counts(**{name: row[name] for name in COUNT_NAMES}), row["reasons"])
        for row in found
    ]
