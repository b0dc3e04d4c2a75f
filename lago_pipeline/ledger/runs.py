"""The ledger's runs: an append-only audit of what each run of a partition counted."""

from collections.abc import Mapping

import sqlalchemy as sa

from lago_pipeline.partition import Partition
from lago_pipeline.report import COUNT_NAMES, Counts, Wire


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
            f"update runs set ended_ms = :now, requests = :requests, retries = :retries, {counted} where run = :run"
        ),
        values,
    )
