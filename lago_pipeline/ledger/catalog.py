"""What the ledger remembers of Lago's catalogue, so that refused events are tried again once it changes."""

import sqlalchemy as sa

from lago_pipeline.partition import Partition

_OF_THE_DESTINATION = "(select destination_id from syncs where id = :sync)"


def read_catalog_hash(connection: sa.Connection, sync_id: int) -> str | None:
    """The hash of Lago's metrics as some run of the sync's destination saw them last."""
    statement = sa.text(
        "select d.catalog_hash from destinations d join syncs s on s.destination_id = d.id where s.id = :sync"
    )
    return connection.execute(statement, {"sync": sync_id}).scalar()


def is_catalog_watched(connection: sa.Connection, sync_id: int) -> bool:
    """Whether a partition of the sync's destination waits for a change of Lago's metrics."""
    statement = sa.text(
        "select 1 from partitions p join syncs s on s.id = p.sync_id where p.state = 'unsettled' "
        f"and p.catalog_hash is not null and s.destination_id = {_OF_THE_DESTINATION} limit 1"
    )
    return connection.execute(statement, {"sync": sync_id}).first() is not None


def save_catalog_hash(
    connection: sa.Connection, sync_id: int, catalog_hash: str, refused_in: Partition | None
) -> None:
    """Note the hash of Lago's metrics as they are now, and for the partition in which it refused events."""
    connection.execute(
        sa.text(f"update destinations set catalog_hash = :hash where id = {_OF_THE_DESTINATION}"),
        {"hash": catalog_hash, "sync": sync_id},
    )
    if refused_in is not None:
        connection.execute(
            sa.text(
                "update partitions set catalog_hash = :hash "
                "where sync_id = :sync and partition_start = :start"
            ),
            {"hash": catalog_hash, "sync": sync_id, "start": refused_in.start_ms},
        )
