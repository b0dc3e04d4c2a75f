"""The first schema: destinations, syncs, partitions, sent events, sending marks, runs and the two views."""

from alembic import op

revision = "0001"
down_revision = None

_COUNTS = [
    "extracted",
    "unchanged",
    "accepted",
    "changed",
    "removed",
    "ignored",
    "held",
    "rejected",
    "quarantined",
    "conflict",
    "pending",
    "planned",
    "duplicates",
]
_COUNT_COLUMNS = ", ".join(f"{name} bigint not null default 0" for name in _COUNTS)


def upgrade() -> None:
    """Create the tables and views."""
    connection = op.get_bind()
    is_postgres = connection.dialect.name == "postgresql"
    for statement in (*_tables(is_postgres=is_postgres), *_views(is_postgres=is_postgres)):
        connection.exec_driver_sql(statement)


def _tables(*, is_postgres: bool) -> tuple[str, ...]:
    identity = "bigint generated always as identity primary key" if is_postgres else "integer primary key"
    key = 'text collate "C"' if is_postgres else "text"
    blob = "bytea" if is_postgres else "blob"
    without_rowid = "" if is_postgres else " without rowid"
    return (
        f"""create table destinations (
            id {identity}, name text not null unique, api_url text,
            organization_id text, events_store text)""",
        f"""create table syncs (
            id {identity}, destination_id bigint not null references destinations (id),
            name text not null, transaction_id_prefix text not null, activated_at_ms bigint,
            unique (destination_id, name))""",
        f"""create table partitions (
            sync_id bigint not null references syncs (id), partition_start bigint not null,
            partition_end bigint not null, partition_key text not null, state text not null,
            snapshot_ms bigint, template_hash text, fingerprint_version integer, digest text,
            {_COUNT_COLUMNS}, reasons text not null default '', attempts integer not null default 0,
            last_run bigint, next_attempt_ms bigint, updated_ms bigint not null,
            primary key (sync_id, partition_start)){without_rowid}""",
        f"""create table sent (
            sync_id bigint not null, partition_start bigint not null, row_key {key} not null,
            event_index integer not null, revision integer not null, status text not null,
            fingerprint {blob} not null, code text, external_subscription_id text, timestamp_ms bigint,
            properties text, transaction_id text, reason text, http_status integer,
            attempts integer not null, run bigint not null, first_seen_ms bigint not null,
            updated_ms bigint not null,
            primary key (sync_id, partition_start, row_key, event_index, revision)){without_rowid}""",
        """create index sent_not_accepted on sent (sync_id, partition_start, status)
            where status <> 'accepted'""",
        "create index sent_row_key on sent (row_key)",
        f"""create table sending (
            sync_id bigint not null, partition_start bigint not null, run bigint not null,
            first_key {key} not null, last_key {key} not null, started_ms bigint not null,
            primary key (sync_id, partition_start, run, first_key)){without_rowid}""",
        f"""create table runs (
            run {identity}, run_id text not null, sync_id bigint not null,
            partition_start bigint not null, started_ms bigint not null, ended_ms bigint,
            {_COUNT_COLUMNS}, requests bigint, retries bigint)""",
        "create index runs_partition on runs (sync_id, partition_start, run)",
    )


def _views(*, is_postgres: bool) -> tuple[str, ...]:
    def instant(column: str) -> str:
        if is_postgres:
            return f"to_timestamp({column} / 1000.0)"
        return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1000.0, 'unixepoch')"

    hexadecimal = "encode(e.fingerprint, 'hex')" if is_postgres else "lower(hex(e.fingerprint))"
    counts = ", ".join(f"p.{name}" for name in _COUNTS)
    return (
        f"""create view lago_events as
            select d.name as destination, s.name as sync, p.partition_key as partition, e.row_key, e.revision,
                coalesce(e.transaction_id,
                    s.transaction_id_prefix || ':' || e.code || ':' || e.row_key) as transaction_id,
                e.code, e.external_subscription_id, {instant("e.timestamp_ms")} as "timestamp", e.properties,
                {hexadecimal} as fingerprint, e.status, e.reason, e.http_status, e.attempts, r.run_id,
                {instant("e.first_seen_ms")} as first_seen_at, {instant("e.updated_ms")} as updated_at
            from sent e
            join syncs s on s.id = e.sync_id
            join destinations d on d.id = s.destination_id
            join partitions p on p.sync_id = e.sync_id and p.partition_start = e.partition_start
            left join runs r on r.run = e.run""",
        f"""create view lago_partitions as
            select d.name as destination, s.name as sync, p.partition_key as partition, p.state, {counts},
                p.reasons, {instant("p.partition_start")} as starts_at,
                {instant("p.partition_end")} as ends_at,
                {instant("p.snapshot_ms")} as snapshot_at, {instant("p.next_attempt_ms")} as next_attempt_at,
                p.attempts, r.run_id, {instant("p.updated_ms")} as updated_at
            from partitions p
            join syncs s on s.id = p.sync_id
            join destinations d on d.id = s.destination_id
            left join runs r on r.run = p.last_run""",
    )
