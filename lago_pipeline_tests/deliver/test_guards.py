"""A run that would send an unusual number of events waits for a person."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lago_pipeline.errors import ConfirmationNeeded
from lago_pipeline.partition import Partition
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import DAY, SYNC, Row, World, row

BULK = replace(SYNC, delivery=Delivery(batch_size=100))
DAYS = [
    Partition(f"2026-01-0{day + 1}", DAY.start + timedelta(days=day), DAY.end + timedelta(days=day))
    for day in range(5)
]


def usage(partition: Partition, count: int) -> list[Row]:
    """So many rows of a day."""
    return [
        row(f"{partition.key}-{number:05d}", number, ts=f"{partition.key} 12:00:00")
        for number in range(count)
    ]


def ordinary(world: World) -> None:
    """Four days with a hundred rows each, all closed."""
    world.sync = BULK
    for partition in DAYS[:4]:
        world.deliver(usage(partition, 100), partition)
    assert world.query("select distinct state from lago_partitions") == [("closed",)]


def test_many_times_the_usual_number_is_not_sent(world: World) -> None:
    """A join that multiplies rows bills nobody: the line says how many, and how to go on."""
    ordinary(world)
    world.source(usage(DAYS[4], 1001))
    pipeline = world.prepare(DAYS[4])
    with pytest.raises(ConfirmationNeeded) as stopped:
        pipeline.deliver(DAYS[4], world.ledger, world.client)
    assert str(stopped.value) == (
        "partition 2026-01-05: 1,001 events would be sent, and 1,000 are 10 times the usual 100: look for a "
        "join that multiplies rows; to send them, "
        "lago-pipeline run usage --from 2026-01-05 --to 2026-01-05 --confirm"
    )
    assert len(world.held()) == 400
    last = "select state, reasons, pending from lago_partitions where partition = '2026-01-05'"
    assert world.query(last) == [("unsettled", "needs_confirmation", 1001)]
    report = pipeline.deliver(DAYS[4], world.ledger, world.client, confirmed=True)
    assert (report.is_settled, report.counts.accepted) == (True, 1001)


def test_what_was_accepted_before_is_not_sent_and_does_not_count(world: World) -> None:
    """A confirmed day may be delivered again, and late rows of it too."""
    ordinary(world)
    world.deliver(usage(DAYS[4], 1001), DAYS[4], confirmed=True)
    assert world.deliver(usage(DAYS[4], 1050), DAYS[4]).counts.accepted == 49


def test_few_events_and_few_days_are_never_unusual(world: World) -> None:
    """A small customer's first busy day, and the first days of a sync."""
    ordinary(world)
    assert world.deliver(usage(DAYS[4], 999), DAYS[4]).is_settled
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("update partitions set state = 'open' where partition_key > '2026-01-02'")
    assert world.deliver(usage(DAYS[3], 1500), DAYS[3]).is_settled


def test_new_keys_for_old_usage_are_noticed(world: World) -> None:
    """What was accepted under other keys is no reason to send as many again; nor is an interrupted run."""
    ordinary(world)
    world.deliver(usage(DAYS[4], 999), DAYS[4])
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("update partitions set accepted = 0, unchanged = 0, digest = null")
    assert world.deliver(usage(DAYS[4], 1050), DAYS[4]).counts.accepted == 51
    renamed = [row(f"new-{each[0]}", *each[4:], ts=each[1]) for each in usage(DAYS[4], 1050)]
    with pytest.raises(ConfirmationNeeded, match="1,050 events would be sent"):
        world.deliver(renamed, DAYS[4])


def test_a_limit_of_its_own_stops_a_run(world: World) -> None:
    """`delivery.max_events_per_run`, whatever is usual; events that cannot be sent do not count."""
    world.sync = replace(SYNC, delivery=Delivery(max_events_per_run=10))
    assert world.deliver([*usage(DAY, 10), row("bad", sub="")]).counts.accepted == 10
    with pytest.raises(
        ConfirmationNeeded, match=r"11 events would be sent, and 10 delivery\.max_events_per_run"
    ):
        world.deliver(usage(DAYS[1], 11), DAYS[1])


def test_rows_that_vanish_in_numbers_are_told(world: World) -> None:
    """Nothing is undone in Lago; the run says where to look."""
    world.sync = BULK
    world.deliver(usage(DAY, 1000))
    report = world.deliver(usage(DAY, 400))
    assert (report.counts.removed, report.is_settled) == (600, True)
    assert any("400 rows where 1,000 were billed before" in line for line in world.said)
