"""The ledger's names: destinations with the organization behind them, and the syncs that feed them.

A sync is known by its name. Under a new name it is known by its usage and its transaction id prefix: then
it was renamed, and keeps its lines, its partitions and its activation.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.identity import Usage, usage_of
from lago_pipeline.organization import Organization
from lago_pipeline.sync import Sync

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredSync:
    """A sync's number in the ledger, and since when it runs by itself (epoch milliseconds or None)."""

    sync_id: int
    activated_at_ms: int | None


@dataclass(frozen=True, slots=True)
class RemovedSync:
    """A sync that the ledger knows and the project has no more, with its partitions that are not closed."""

    sync_id: int
    name: str
    destination: str
    unsettled: int
    open: int


@dataclass(frozen=True, slots=True)
class _Known:
    """One line of the syncs table."""

    id: int
    name: str
    transaction_id_prefix: str
    activated_at_ms: int | None
    source: str | None
    code: str | None

    @property
    def usage(self) -> Usage:
        return Usage(self.source, self.code)


def register(engine: sa.Engine, sync: Sync, api_url: str, organization: Organization) -> RegisteredSync:
    """Find, rename or record a sync, and the organization behind its destination.

    Raises ConfigError when the destination's organization is another one than the ledger knows, when the sync
    changed its transaction id prefix, or when it is known under another name and does not say whether that
    was a rename: each would bill everything again.
    """
    with writing(engine) as connection:
        destination_id = _destination(connection, sync.destination)
        _check_organization(connection, sync.destination, api_url, organization)
        return _registered(connection, destination_id, sync)


def find(engine: sa.Engine, sync: Sync) -> RegisteredSync | None:
    """The sync as the ledger knows it, also before a rename, or None before its first delivery or start.

    Only reads and never refuses: a rename is recorded by `register` and `activate`.
    """
    with reading(engine) as connection:
        destination_id = connection.execute(
            sa.text("select id from destinations where name = :name"), {"name": sync.destination}
        ).scalar()
        known = _match(_known_syncs(connection, destination_id), sync) if destination_id else None
    return RegisteredSync(known.id, known.activated_at_ms) if known else None


def activate(engine: sa.Engine, sync: Sync, now_ms: int) -> RegisteredSync:
    """Record the first start of a sync's schedule, once; needs no answer from Lago.

    Raises ConfigError as `register` does, but for the organization.
    """
    statement = "update syncs set activated_at_ms = coalesce(activated_at_ms, :now) where id = :id"
    with writing(engine) as connection:
        destination_id = _destination(connection, sync.destination)
        registered = _registered(connection, destination_id, sync)
        connection.execute(sa.text(statement), {"now": now_ms, "id": registered.sync_id})
        return _registered(connection, destination_id, sync)


def removed_syncs(
    engine: sa.Engine, destinations_and_names: Collection[tuple[str, str]]
) -> list[RemovedSync]:
    """The syncs of the ledger that are none of the project's, given as (destination, name), in order.

    A renamed sync stands here under its old name until its first delivery or start; `find` tells its number.
    """
    statement = sa.text(
        "select s.id, s.name, d.name as destination, "
        "count(case when p.state = 'unsettled' then 1 end) as unsettled, "
        "count(case when p.state = 'open' then 1 end) as still_open "
        "from syncs s join destinations d on d.id = s.destination_id "
        "left join partitions p on p.sync_id = s.id and p.state <> 'closed' "
        "group by s.id, s.name, d.name order by s.id"
    )
    with reading(engine) as connection:
        removed = [RemovedSync(*row) for row in connection.execute(statement)]
    present = set(destinations_and_names)
    return sorted(
        (sync for sync in removed if (sync.destination, sync.name) not in present),
        key=lambda sync: (sync.destination, sync.name),
    )


def _destination(connection: sa.Connection, name: str) -> int:
    """The number of a destination, whose row stays locked: its syncs are registered one after another."""
    found = connection.execute(
        sa.text(
            "insert into destinations (name) values (:name) "
            "on conflict (name) do update set name = excluded.name returning id"
        ),
        {"name": name},
    )
    return int(found.scalar_one())


def _check_organization(
    connection: sa.Connection, name: str, api_url: str, organization: Organization
) -> None:
    known = connection.execute(
        sa.text("select organization_id from destinations where name = :name"), {"name": name}
    ).scalar_one()
    if known is not None and known != organization.lago_id:
        raise ConfigError(
            f"destination {name!r} is the organization {organization.lago_id} ({organization.name}), but "
            f"this ledger belongs to {known}: use that organization's key, or another LEDGER_URL"
        )
    connection.execute(
        sa.text(
            "update destinations set organization_id = :org, api_url = :url, events_store = :store "
            "where name = :name"
        ),
        {"name": name, "url": api_url, "org": organization.lago_id, "store": organization.events_store},
    )


def _registered(connection: sa.Connection, destination_id: int, sync: Sync) -> RegisteredSync:
    syncs = _known_syncs(connection, destination_id)
    known = _match(syncs, sync)
    if known is None:
        _check_is_new(syncs, sync)
        return RegisteredSync(_insert(connection, destination_id, sync), None)
    if known.transaction_id_prefix != sync.transaction_id_prefix:
        raise ConfigError(
            f"sync {sync.name}: transaction_id_prefix was {known.transaction_id_prefix!r}: "
            "set it to that again, since another one would bill all usage twice"
        )
    _record_declaration(connection, known, sync)
    return RegisteredSync(known.id, known.activated_at_ms)


def _known_syncs(connection: sa.Connection, destination_id: int) -> list[_Known]:
    found = connection.execute(
        sa.text(
            "select id, name, transaction_id_prefix, activated_at_ms, source, code from syncs "
            "where destination_id = :destination order by id"
        ),
        {"destination": destination_id},
    )
    return [_Known(*row) for row in found]


def _match(syncs: Sequence[_Known], sync: Sync) -> _Known | None:
    """The sync by its name, else the one that it was before a rename."""
    named = [known for known in syncs if known.name == sync.name]
    prefix = sync.transaction_id_prefix
    renamed = [known for known in _same_usage(syncs, sync) if known.transaction_id_prefix == prefix]
    return next(iter(named + renamed), None)


def _same_usage(syncs: Sequence[_Known], sync: Sync) -> list[_Known]:
    usage = usage_of(sync)
    return [known for known in syncs if usage.is_known and known.usage == usage]


def _check_is_new(syncs: Sequence[_Known], sync: Sync) -> None:
    """Raise ConfigError where a new sync of known usage does not say that a second one is meant."""
    twins = _same_usage(syncs, sync)
    if twins and sync.transaction_id_prefix == sync.name:
        twin = twins[0]
        raise ConfigError(
            f"sync {sync.name}: the ledger has its usage (code {twin.code}) as sync {twin.name}: to rename "
            f"that one, write transaction_id_prefix: {twin.transaction_id_prefix}; for a second sync of the "
            f"same usage, write a transaction_id_prefix that is not {sync.name}"
        )


def _insert(connection: sa.Connection, destination_id: int, sync: Sync) -> int:
    usage = usage_of(sync)
    inserted = connection.execute(
        sa.text(
            "insert into syncs (destination_id, name, transaction_id_prefix, source, code) "
            "values (:destination, :name, :prefix, :source, :code) returning id"
        ),
        {
            "destination": destination_id,
            "name": sync.name,
            "prefix": sync.transaction_id_prefix,
            "source": usage.source,
            "code": usage.code,
        },
    )
    return int(inserted.scalar_one())


def _record_declaration(connection: sa.Connection, known: _Known, sync: Sync) -> None:
    """Keep the name and the usage as they are declared now."""
    usage = usage_of(sync)
    if (known.name, known.usage) == (sync.name, usage):
        return
    if known.name != sync.name:
        logger.info("sync %s was %s before: its lines stay", sync.name, known.name)
    connection.execute(
        sa.text("update syncs set name = :name, source = :source, code = :code where id = :id"),
        {"name": sync.name, "source": usage.source, "code": usage.code, "id": known.id},
    )
