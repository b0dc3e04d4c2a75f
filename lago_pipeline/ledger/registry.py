"""The ledger's names: destinations with the organization behind them, and the syncs that feed them."""

from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.organization import Organization
from lago_pipeline.sync import Sync


@dataclass(frozen=True, slots=True)
class RegisteredSync:
    """A sync's number in the ledger, and since when it runs by itself (epoch milliseconds or None)."""

    sync_id: int
    activated_at_ms: int | None


def register(engine: sa.Engine, sync: Sync, api_url: str, organization: Organization) -> RegisteredSync:
    """Find or record a sync, and the organization behind its destination.

    Raises ConfigError when the destination's organization is another one than the ledger knows, or when the
    sync changed its transaction id prefix: either would bill everything again.
    """
    with writing(engine) as connection:
        destination_id = _destination(connection, sync.destination)
        _check_organization(connection, sync.destination, api_url, organization)
        return _registered(connection, destination_id, sync)


def find(engine: sa.Engine, sync: Sync) -> RegisteredSync | None:
    """The sync as the ledger knows it, or None before its first delivery or start."""
    with reading(engine) as connection:
        found = connection.execute(
            sa.text(
                "select s.id, s.activated_at_ms from syncs s join destinations d on d.id = s.destination_id "
                "where d.name = :destination and s.name = :name"
            ),
            {"destination": sync.destination, "name": sync.name},
        ).one_or_none()
    return RegisteredSync(int(found.id), found.activated_at_ms) if found else None


def activate(engine: sa.Engine, sync: Sync, now_ms: int) -> RegisteredSync:
    """Record the first start of a sync's schedule, once; needs no answer from Lago."""
    statement = "update syncs set activated_at_ms = coalesce(activated_at_ms, :now) where id = :id"
    with writing(engine) as connection:
        destination_id = _destination(connection, sync.destination)
        registered = _registered(connection, destination_id, sync)
        connection.execute(sa.text(statement), {"now": now_ms, "id": registered.sync_id})
        return _registered(connection, destination_id, sync)


def _destination(connection: sa.Connection, name: str) -> int:
    connection.execute(
        sa.text("insert into destinations (name) values (:name) on conflict (name) do nothing"),
        {"name": name},
    )
    found = connection.execute(sa.text("select id from destinations where name = :name"), {"name": name})
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
    values = {"destination": destination_id, "name": sync.name, "prefix": sync.transaction_id_prefix}
    connection.execute(
        sa.text(
            "insert into syncs (destination_id, name, transaction_id_prefix) "
            "values (:destination, :name, :prefix) on conflict (destination_id, name) do nothing"
        ),
        values,
    )
    found = connection.execute(
        sa.text(
            "select id, activated_at_ms, transaction_id_prefix from syncs "
            "where destination_id = :destination and name = :name"
        ),
        values,
    ).one()
    if found.transaction_id_prefix != sync.transaction_id_prefix:
        raise ConfigError(
            f"sync {sync.name}: transaction_id_prefix was {found.transaction_id_prefix!r}: "
            "set it to that again, since another one would bill all usage twice"
        )
    return RegisteredSync(int(found.id), found.activated_at_ms)
