"""The ledger's names: destinations with the organization behind them, and the syncs that feed them."""

from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.database import writing
from lago_pipeline.sync import Sync


@dataclass(frozen=True, slots=True)
class Organization:
    """Lago's organization behind an API key; `events_store` is `postgres` or `clickhouse`."""

    lago_id: str
    name: str
    events_store: str


@dataclass(frozen=True, slots=True)
class RegisteredSync:
    """A sync's number in the ledger, and since when it runs by itself (epoch milliseconds or None)."""

    sync_id: int
    activated_at_ms: int | None


def register(engine: sa.Engine, sync: Sync, api_url: str, organization: Organization) -> RegisteredSync:
    """Find or record a sync and its destination.

    Raises ConfigError when the destination's organization is another one than the ledger knows, or when the
    sync changed its transaction id prefix: either would bill everything again.
    """
    with writing(engine) as connection:
        destination_id = _destination(connection, sync.destination, api_url, organization)
        return _sync(connection, destination_id, sync)


def find(engine: sa.Engine, sync: Sync) -> RegisteredSync | None:
    """The sync as the ledger knows it, or None before its first delivery or start."""
    with writing(engine) as connection:
        return _find(connection, sync)


def activate(engine: sa.Engine, sync_id: int, now_ms: int) -> int:
    """Record the first start of a sync's schedule, once; returns when it was, in epoch milliseconds."""
    statement = "update syncs set activated_at_ms = coalesce(activated_at_ms, :now) where id = :id"
    with writing(engine) as connection:
        connection.execute(sa.text(statement), {"now": now_ms, "id": sync_id})
        found = connection.execute(
            sa.text("select activated_at_ms from syncs where id = :id"), {"id": sync_id}
        )
        return int(found.scalar_one())


def _destination(connection: sa.Connection, name: str, api_url: str, organization: Organization) -> int:
    found = connection.execute(
        sa.text("select id, organization_id, events_store, api_url from destinations where name = :name"),
        {"name": name},
    ).one_or_none()
    values = {"name": name, "url": api_url, "org": organization.lago_id, "store": organization.events_store}
    if found is None:
        return int(
            connection.execute(
                sa.text(
                    "insert into destinations (name, api_url, organization_id, events_store) "
                    "values (:name, :url, :org, :store) returning id"
                ),
                values,
            ).scalar_one()
        )
    if found.organization_id != organization.lago_id:
        raise ConfigError(
            f"destination {name!r} is the organization {organization.lago_id} ({organization.name}), but this "
            f"ledger belongs to {found.organization_id}: use that organization's key, or another LEDGER_URL"
        )
    if (found.events_store, found.api_url) != (organization.events_store, api_url):
        connection.execute(
            sa.text("update destinations set api_url = :url, events_store = :store where name = :name"),
            values,
        )
    return int(found.id)


def _sync(connection: sa.Connection, destination_id: int, sync: Sync) -> RegisteredSync:
    found = connection.execute(
        sa.text(
            "select id, activated_at_ms, transaction_id_prefix from syncs "
            "where destination_id = :destination and name = :name"
        ),
        {"destination": destination_id, "name": sync.name},
    ).one_or_none()
    if found is None:
        inserted = connection.execute(
            sa.text(
                "insert into syncs (destination_id, name, transaction_id_prefix) "
                "values (:destination, :name, :prefix) returning id"
            ),
            {"destination": destination_id, "name": sync.name, "prefix": sync.transaction_id_prefix},
        )
        return RegisteredSync(int(inserted.scalar_one()), None)
    if found.transaction_id_prefix != sync.transaction_id_prefix:
        raise ConfigError(
            f"sync {sync.name}: transaction_id_prefix was {found.transaction_id_prefix!r}: "
            f"set it to that again, since another one would bill all usage twice"
        )
    return RegisteredSync(int(found.id), found.activated_at_ms)


def _find(connection: sa.Connection, sync: Sync) -> RegisteredSync | None:
    found = connection.execute(
        sa.text(
            "select s.id, s.activated_at_ms from syncs s join destinations d on d.id = s.destination_id "
            "where d.name = :destination and s.name = :name"
        ),
        {"destination": sync.destination, "name": sync.name},
    ).one_or_none()
    return RegisteredSync(int(found.id), found.activated_at_ms) if found else None
