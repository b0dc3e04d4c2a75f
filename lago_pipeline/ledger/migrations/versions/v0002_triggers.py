"""What triggers need: when a partition was asked for, what its source looked like, and raised alarms."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "alter table destinations add column catalog_hash text",
    "alter table syncs add column source text",
    "alter table syncs add column code text",
    "alter table syncs add column late_cursor text",
    "alter table partitions add column asks integer not null default 0",
    "alter table partitions add column asked_ms bigint",
    "alter table partitions add column changed_ms bigint",
    "alter table partitions add column source_fingerprint text",
    "alter table partitions add column checked_ms bigint",
    "alter table partitions add column catalog_hash text",
    "create index partitions_not_closed on partitions (sync_id, partition_start) where state <> 'closed'",
    """create table alarms (
        sync_id bigint not null references syncs (id), subject text not null, reasons text not null,
        severity text not null, alarmed_ms bigint not null, primary key (sync_id, subject))""",
)


def upgrade() -> None:
    """Add the columns, the index and the table."""
    connection = op.get_bind()
    for statement in _STATEMENTS:
        connection.exec_driver_sql(statement)
