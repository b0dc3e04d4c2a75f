"""A sync that is paused, removed or renamed, on a simulated clock: nothing is forgotten or billed twice."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
import pytest

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.partitions import State
from lago_pipeline.ledger.registry import removed_syncs
from lago_pipeline_tests.components.conftest import loaded
from lago_pipeline_tests.components.unattended import Unattended, at, hours, text_of

pytestmark = pytest.mark.usefixtures("environment")
Make = Callable[..., Unattended]
REFUSED = (
    "sync phone_calls: the ledger has its usage (code calls) as sync calls: to rename that one, write "
    "transaction_id_prefix: calls; for a second sync of the same usage, write a transaction_id_prefix that "
    "is not phone_calls"
)


@dataclass
class Renamed(Unattended):
    """The same company after its sync got another name."""

    def evaluated(self) -> list[dg.RunRequest]:
        """What the schedule of the new name asks for now."""
        name = f"{self.sync.name}_schedule"
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=self.now, **self._context
        ) as tick:
            return list(self.defs.resolve_schedule_def(name).evaluate_tick(tick).run_requests or [])


def again(world: Unattended, **changes: str) -> Renamed:
    """The sync as it is declared now, loaded anew in the same company."""
    component = loaded(**changes)
    sync, wiring = component.sync(), component.wiring()
    return Renamed(world.warehouse, world.lago, world.instance, world.now, sync, wiring)


def use(world: Unattended, days: int, *, ticks: bool) -> None:
    """Days of usage with a row every six hours; with `ticks` the daemon is awake every six hours, too."""
    first = world.now
    for now in hours(first + timedelta(hours=1), first + timedelta(days=days)):
        world.now = now
        if now.hour % 6 == 0:
            when = text_of(now - timedelta(minutes=30))
            world.add((f"{now:%d%H}", when, "sub_1", 1, text_of(now)))
            if ticks:
                world.tick()


def settle(world: Unattended) -> None:
    """Time for what the daemon catches up with: three ticks after the last day's closing time."""
    for _ in range(3):
        world.now += timedelta(hours=2)
        world.tick()


def closed_days(world: Unattended) -> list[str]:
    """The days that are closed."""
    return [key for key, record in world.records().items() if record.state is State.CLOSED]


def days(first: int, last: int) -> list[str]:
    """Keys of days of the month."""
    return [f"2026-03-{day:02}" for day in range(first, last + 1)]


def test_ten_paused_days_are_delivered_and_closed_afterwards(unattended: Make) -> None:
    """A schedule and sensors that are not evaluated for ten days forget nothing and double nothing."""
    world = unattended("2026-03-05 00:00")
    use(world, 2, ticks=True)
    use(world, 10, ticks=False)
    assert len(world.lago.events()) == 8
    settle(world)
    assert world.billed() == dict.fromkeys(world.source_ids(), 1)
    assert len(world.lago.events()) == 48
    assert closed_days(world) == days(5, 16)
    assert not world.failures


def test_a_sync_that_comes_back_goes_on_under_its_name(unattended: Make) -> None:
    """A sync that was removed for days and is declared again keeps its ids, and bills nothing twice."""
    world = unattended("2026-03-05 00:00")
    use(world, 2, ticks=True)
    before = {str(event["transaction_id"]) for event in world.lago.events()}
    with world.ledger() as ledger:
        (gone,) = removed_syncs(ledger, [])
        assert (gone.name, gone.open, gone.unsettled) == ("calls", 2, 0)
    use(world, 3, ticks=False)
    back = again(world)
    settle(back)
    after = {str(event["transaction_id"]) for event in back.lago.events()}
    assert before < after
    assert {id_.rpartition(":")[0] for id_ in after} == {"calls:calls"}
    assert back.billed() == dict.fromkeys(back.source_ids(), 1)
    assert closed_days(back) == days(5, 9)


def test_a_rename_with_the_old_prefix_bills_nothing_twice(unattended: Make) -> None:
    """Under a new name and the old prefix it is the same sync: its days go on, also delivered ones."""
    world = unattended("2026-03-05 00:00")
    use(world, 2, ticks=True)
    renamed = again(world, name="phone_calls", transaction_id_prefix="calls")
    renamed.now = at("2026-03-07 06:00")
    renamed.add(("late", "2026-03-06 12:00:00", "sub_1", 1, None))
    renamed.execute(renamed.evaluated())
    renamed.deliver("2026-03-05", "2026-03-06")
    assert renamed.billed() == dict.fromkeys(renamed.source_ids(), 1)
    ids = {str(event["transaction_id"]).rpartition(":")[0] for event in renamed.lago.events()}
    assert ids == {"calls:calls"}
    assert closed_days(renamed) == days(5, 6)


def test_a_rename_without_the_prefix_is_refused_before_anything_is_sent(unattended: Make) -> None:
    """The first run of a new name and its schedule's tick are refused in a line that says what to write."""
    world = unattended("2026-03-05 00:00")
    use(world, 2, ticks=True)
    held = world.billed()
    renamed = again(world, name="phone_calls")
    with pytest.raises(ConfigError) as first_run:
        renamed.deliver("2026-03-05")
    assert str(first_run.value) == REFUSED
    with pytest.raises(ConfigError) as tick:
        renamed.evaluated()
    assert str(tick.value) == REFUSED
    assert renamed.billed() == held
