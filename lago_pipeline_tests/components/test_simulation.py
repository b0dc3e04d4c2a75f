"""A month by itself: late rows, outages and a daemon that sleeps, on a simulated clock."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from lago_pipeline.ledger.partitions import State
from lago_pipeline_tests.components.unattended import Unattended, at, hours, text_of

pytestmark = pytest.mark.usefixtures("environment")
SOURCE = {"table": "calls", "primary_key": "id", "time_column": "called_at"}


class Company:
    """What happens to the source in a month: usage every hour, and all that goes wrong with it."""

    def __init__(self, world: Unattended, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.number = 0
        self.broken: list[tuple[datetime, str]] = []

    def hour(self, now: datetime) -> None:
        """One hour's rows: most in time, some late, some committed out of order, some not billable."""
        world, chance = self.world, self.random
        for minute in (7, 31, 55):
            self.row(now - timedelta(minutes=minute), loaded=now - timedelta(minutes=minute))
        if chance.random() < 0.15:  # late by up to ten days
            self.row(now - timedelta(hours=chance.randint(24, 240)), loaded=now)
        if chance.random() < 0.1:  # committed half an hour after it was stamped
            self.row(now - timedelta(hours=chance.randint(1, 30)), loaded=now - timedelta(minutes=30))
        if chance.random() < 0.03:  # without an update time
            self.row(now - timedelta(hours=chance.randint(24, 100)), loaded=None)
        if chance.random() < 0.02:  # nobody pays, until somebody mends it two days later
            self.broken.append((now + timedelta(days=2), self.row(now, loaded=now, payer=None)))
        for due, key in [each for each in self.broken if each[0] <= now]:
            world.change(
                "update calls set subscription = 's', loaded_at = ? where id = ?", (text_of(now), key)
            )
            self.broken.remove((due, key))

    def row(self, when: datetime, *, loaded: datetime | None, payer: str | None = "s") -> str:
        """Insert a row; returns its key."""
        self.number += 1
        key = f"r{self.number:06d}"
        when = max(when, at("2026-03-03 00:00"))
        self.world.add((key, text_of(when), payer, 1, loaded and text_of(loaded)))
        return key


@pytest.mark.long
def test_a_month_of_ticks_bills_every_row_once_and_closes_every_day(
    unattended: Callable[..., Unattended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late rows, an outage of Lago, one of the warehouse and a daemon asleep for three days lose nothing."""
    world = unattended("2026-03-03 00:00", source={**SOURCE, "updated_at_column": "loaded_at"})
    company = Company(world, seed=7)
    for now in hours(at("2026-03-03 01:00"), at("2026-04-03 04:00")):
        world.now = now
        if now < at("2026-04-01 00:00"):
            company.hour(now)
        if at("2026-03-10 05:00") <= now < at("2026-03-13 05:00"):
            continue  # the daemon sleeps
        if now == at("2026-03-17 00:00"):
            world.lago.set_faults([{"kind": "status", "status": 503, "path": "/events/batch"}])
        if now == at("2026-03-17 09:00"):
            world.lago.clear_faults()
        if now == at("2026-03-24 00:00"):
            monkeypatch.setenv("WAREHOUSE_URL", "sqlite:////gone.db")
        if now == at("2026-03-24 14:00"):
            monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{world.warehouse}")
        if now.hour % 4 == 0:
            world.tick()
    print(f"{company.number} rows, {dict(world.runs)} runs, {len(world.failures)} failures")
    assert world.billed() == dict.fromkeys(world.source_ids(), 1)
    states = {key: record.state for key, record in world.records().items()}
    open_day = states.pop("2026-04-03", State.OPEN)
    assert open_day is State.OPEN
    assert set(states.values()) == {State.CLOSED}
    assert len(states) == 31
