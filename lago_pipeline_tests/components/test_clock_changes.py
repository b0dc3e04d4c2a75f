"""Days of 23 and 25 hours, days without a midnight, and the hour that comes twice, by themselves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lago_pipeline.ledger.partitions import State
from lago_pipeline_tests.components.unattended import Unattended

HALF_HOUR = timedelta(minutes=30)
CHANGES = {
    "Berlin, spring": ("Europe/Berlin", "2026-03-28", [48, 46, 48]),
    "Berlin, autumn": ("Europe/Berlin", "2026-10-24", [48, 50, 48]),
    "Santiago, no midnight": ("America/Santiago", "2026-09-05", [48, 46, 48]),
    "Santiago, midnight twice": ("America/Santiago", "2026-04-03", [48, 50, 48]),
    "Beirut, no midnight": ("Asia/Beirut", "2026-03-28", [48, 46, 48]),
    "Beirut, midnight twice": ("Asia/Beirut", "2026-10-23", [48, 50, 48]),
}


def lived_through(
    unattended: Callable[..., Unattended], zone: str, first: str, *, days: int, every: timedelta, cadence: str
) -> Unattended:
    """Let a sync run by itself from a local day on, with a row every half hour, until all is closed."""
    begin = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    last_day = datetime.fromisoformat(first) + timedelta(days=days)
    end = last_day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    partitions = {"start": first, "timezone": zone, "cadence": cadence}
    world = unattended(f"{begin:%Y-%m-%d %H:%M}", partitions=partitions)
    while world.now <= end + timedelta(hours=1):
        world.tick()
        until = world.now + every
        while world.now < until:
            if world.now < end:
                world.add((f"{world.now:%d-%H%M}", f"{world.now:%Y-%m-%dT%H:%M:%SZ}", "s", 1, None))
            world.now += HALF_HOUR
    world.tick()
    return world


@pytest.mark.parametrize("change", list(CHANGES))
def test_every_row_of_an_odd_day_is_billed_once_in_its_day(
    unattended: Callable[..., Unattended], change: str
) -> None:
    """Half hours of 23, 24 and 25 hours are in their own days, once each, and every day is closed."""
    zone, first, expected = CHANGES[change]
    world = lived_through(unattended, zone, first, days=3, every=timedelta(hours=6), cadence="daily")
    assert world.failures == []
    assert world.billed() == dict.fromkeys(world.source_ids(), 1)
    closed = [each for each in world.records().values() if each.state is State.CLOSED]
    assert [each.counts.extracted for each in closed] == expected


@pytest.mark.parametrize("change", ["Berlin, autumn", "Santiago, no midnight"])
def test_hourly_partitions_cover_the_doubled_and_the_missing_hour(
    unattended: Callable[..., Unattended], change: str
) -> None:
    """Every hour that there was has a partition of its own with its two rows, the doubled hour two."""
    zone, first, expected = CHANGES[change]
    world = lived_through(unattended, zone, first, days=2, every=timedelta(hours=5), cadence="hourly")
    assert world.failures == []
    assert world.billed() == dict.fromkeys(world.source_ids(), 1)
    used = [each for each in world.records().values() if each.counts.extracted]
    assert {each.state for each in used} == {State.CLOSED}
    assert [each.counts.extracted for each in used] == [2] * (sum(expected[:2]) // 2)
