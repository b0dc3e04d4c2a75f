"""The tables of a sandbox's state file."""

TABLES = """
create table if not exists settings (name text primary key, value text not null) without rowid;
create table if not exists events (
    seq integer primary key,               -- order of storage
    transaction_id text,
    code text,
    external_subscription_id text,
    timestamp_us integer not null,
    precise_total_amount_cents text,
    properties text not null,
    created_us integer not null
);
create index if not exists events_by_time on events (timestamp_us desc, transaction_id);
-- Events of a metric that was deleted: those of its code up to this one. They still are duplicates.
create table if not exists deletions (code text primary key, seq integer not null) without rowid;
create view if not exists live_events as
select * from events where not exists (
    select 1 from deletions where deletions.code = events.code and events.seq <= deletions.seq
);
create table if not exists resources (
    seq integer primary key,               -- order of creation
    kind text not null,
    lago_id text not null unique,
    key text not null,                     -- code or external_id, not unique (subscriptions come back)
    body text not null
);
create index if not exists resources_by_key on resources (kind, key);
"""

BY_SUBSCRIPTION = """create index if not exists events_by_subscription
on events (external_subscription_id, code, timestamp_us)"""
"""Made when a subscription's events are first asked for: it doubles what an insert costs."""

# Lago: index_unique_transaction_id (structure.sql). Nulls are distinct, in PostgreSQL as in SQLite.
_POSTGRES = """
create unique index if not exists events_once on events (transaction_id, external_subscription_id);
create view if not exists counted_events as select * from live_events;
"""

_CLICKHOUSE = """
create index if not exists events_by_id on events (transaction_id);
create view if not exists counted_events as select * from live_events;
"""

# Lago: clickhouse_store.rb; the newest copy of (code, subscription, transaction_id, millisecond) counts.
_CLICKHOUSE_DEDUP = """
create index if not exists events_by_id on events (transaction_id);
create view if not exists counted_events as
select * from live_events where seq in (
    select max(seq) from events
    group by code, external_subscription_id, transaction_id,
        (timestamp_us - ((timestamp_us % 1000) + 1000) % 1000) / 1000
);
"""

OF_STORE = {
    "postgres": _POSTGRES,
    "clickhouse": _CLICKHOUSE_DEDUP,
    "clickhouse without dedup": _CLICKHOUSE,
}
"""What distinguishes the event stores: when an event is a duplicate, and which copies are billed."""
