"""The alarm: who hears of what, when, and how gravely."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from lago_pipeline.components import alarm as alarm_module
from lago_pipeline.components.alarm import PeriodEnds
from lago_pipeline.errors import FatalError, PartitionLocked, RetriableError
from lago_pipeline.ledger.alarms import read_alarms
from lago_pipeline.ledger.asks import ask, mark_changed
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.partitions import open_partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.resources import LagoResource
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline.watch.alarms import Alarm, overdue_alarms, partition_alarms, raise_alarms, run_alarm
from lago_pipeline_tests.components.unattended import Unattended, at
from lago_pipeline_tests.components.webhook import Webhook, listening
from lago_pipeline_tests.sandbox.client import Client

Make = Callable[..., Unattended]
MONTH = {"code": "plan", "name": "Plan", "interval": "monthly", "amount_cents": 0, "amount_currency": "EUR",
         "pay_in_advance": False, "charges": []}  # fmt: skip

METRIC = {"name": "m", "code": "calls", "aggregation_type": "sum_agg", "field_name": "units",
          "expression": "event.properties.gone + 1"}  # fmt: skip
OWN_ASSETS = [dg.AssetKey(["calls", name]) for name in ("usage_rows", "events", "deliveries")]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A server that takes alarms, named in the environment."""
    with listening() as hook:
        monkeypatch.setenv("LAGO_PIPELINE_ALERT_WEBHOOK", hook.url)
        yield hook


@pytest.fixture
def world(unattended: Make) -> Unattended:
    """A sync with one row that nobody pays for, on 5 March."""
    made = unattended("2026-03-06 12:00")
    made.add(("a", "2026-03-05 10:00:00", None, 1, None), ("b", "2026-03-05 11:00:00", "s", 1, None))
    made.deliver("2026-03-05")
    return made


def failed_run(
    world: Unattended,
    job: dg.JobDefinition,
    selection: list[dg.AssetKey] | None = None,
    tags: dict[str, str] | None = None,
) -> dg.RunStatusSensorContext:
    """Run a job, for 5 March by default; gives the context in which Dagster tells a sensor of its failure."""
    result = job.execute_in_process(
        instance=world.instance,
        tags=tags or {"dagster/partition": "2026-03-05"},
        asset_selection=selection,
        raise_on_error=False,
    )
    return dg.build_run_status_sensor_context(
        sensor_name="calls_alarm",
        dagster_instance=world.instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources=dict(world.defs.resources or {}),
    )


def alarm(world: Unattended, context: dg.RunStatusSensorContext) -> None:
    """Evaluate the sensor for a failed run."""
    world.defs.resolve_sensor_def("calls_alarm")(context)


def own_job(world: Unattended) -> dg.JobDefinition:
    """The sync's job."""
    return world.defs.resolve_job_def("calls_sync")


def subscribed(lago: RunningSandbox) -> datetime:
    """Make the subscription `s` in Lago; returns the end of its billing period."""
    client = Client(lago)
    client.post("/plans", {"plan": MONTH})
    client.post("/customers", {"customer": {"external_id": "c", "name": "C", "currency": "EUR"}})
    subscription = {"external_customer_id": "c", "plan_code": "plan", "external_id": "s",
                    "subscription_at": "2026-01-01T00:00:00Z", "billing_time": "calendar"}  # fmt: skip
    assert client.post("/subscriptions", {"subscription": subscription}).ok
    ends = client.get("/subscriptions/s").json()["subscription"]["current_billing_period_ending_at"]
    return at(ends[:16].replace("T", " "))


def told(world: Unattended, alarms: list[Alarm]) -> list[str]:
    """Raise alarms of the sync in the ledger; returns their texts."""
    lines: list[str] = []
    with world.ledger() as ledger:
        raise_alarms(ledger, 1, alarms, world.now_ms(), log=lines.append, webhook=None)
    return lines


def run_told(world: Unattended, words: str, *keys: str) -> list[str]:
    """What is said of a failed run of partitions, in a Lago that knows no subscription."""
    partitions = list(world.wiring.partitions(keys))
    with world.ledger() as ledger:
        return told(world, run_alarm(ledger, "calls", 1, world.now_ms(), partitions, words, lambda _: None))


def overdue_told(world: Unattended) -> list[str]:
    """What is said of overdue partitions now."""
    with world.ledger() as ledger:
        return told(world, overdue_alarms(ledger, "calls", 1, world.now_ms(), world.sync.closing_delay))


def breaks(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """Let every extraction fail."""

    def extract(*_: object) -> None:
        raise error()

    monkeypatch.setattr(Pipeline, "extract", extract)


def test_a_person_hears_what_is_not_billed_and_what_to_do(world: Unattended, webhook: Webhook) -> None:
    """The webhook gets a text for people and fields for programs."""
    alarm(world, failed_run(world, own_job(world)))
    (posted,) = webhook.posted
    assert posted["text"].splitlines() == [
        "[error] Lago usage is not billed",
        "calls 2026-03-05: 1 row is not billed: missing_external_subscription_id",
    ]
    assert (posted["sync"], posted["severity"]) == ("calls", "error")
    (line,) = posted["alarms"]
    assert (line["partition"], line["unbilled"]) == ("2026-03-05", 1)
    assert line["partitions"] == {"from": "2026-03-05", "to": "2026-03-05"}
    assert "external id of the subscription" in line["remedies"]["missing_external_subscription_id"]


def test_it_is_said_once_a_day_and_at_once_when_the_reasons_change(
    world: Unattended, webhook: Webhook
) -> None:
    """The same news is not repeated at every attempt; daily attempts, a little early, repeat it daily."""
    context = failed_run(world, own_job(world))
    alarm(world, context)
    world.now += timedelta(hours=22)
    alarm(world, context)
    assert len(webhook.posted) == 1
    world.now += timedelta(hours=1)
    alarm(world, context)
    assert len(webhook.posted) == 2
    world.add(("a", "2026-03-05 12:00:00", "s", 1, None))
    world.deliver("2026-03-05")
    alarm(world, context)
    assert [line["reasons"] for line in webhook.posted[-1]["alarms"]] == ["duplicate_key"]


def test_a_settled_day_alarms_anew_when_it_turns_red_again(world: Unattended, webhook: Webhook) -> None:
    """What was mended is forgotten, so that the same reason is news the next time."""
    context = failed_run(world, own_job(world))
    alarm(world, context)
    world.change("update calls set subscription = 's'")
    world.deliver("2026-03-05")
    alarm(world, context)
    world.add(("c", "2026-03-05 13:00:00", None, 1, None))
    world.deliver("2026-03-05")
    alarm(world, context)
    assert len(webhook.posted) == 2


def test_a_bill_that_is_made_within_a_day_makes_it_critical(
    world: Unattended, webhook: Webhook, lago: RunningSandbox
) -> None:
    """The last day of a subscription's billing period raises the severity, and is news by itself."""
    Client(lago).post("/billable_metrics", {"billable_metric": METRIC})
    ends = subscribed(lago)
    world.add(("d", "2026-03-05 14:00:00", "s", 1, None))
    world.deliver("2026-03-05")
    context = failed_run(world, own_job(world))
    alarm(world, context)
    world.now = ends - timedelta(hours=30)
    alarm(world, context)
    world.now += timedelta(hours=8)
    alarm(world, context)
    assert [posted["severity"] for posted in webhook.posted] == ["error", "error", "critical"]


def test_an_alarm_goes_out_where_lago_cannot_be_asked(
    world: Unattended, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without billing periods the severity stays, and a person still hears of it."""
    context = failed_run(world, own_job(world))
    world.add(("d", "2026-03-05 10:30:00", "s", 1, None), ("d", "2026-03-05 10:40:00", "s", 1, None))
    world.deliver("2026-03-05")
    monkeypatch.setenv("LAGO_API_URL", "http://127.0.0.1:9/api/v1")
    alarm(world, context)
    assert webhook.posted[0]["severity"] == "error"


def test_an_alarm_that_the_webhook_did_not_take_is_raised_again(world: Unattended, webhook: Webhook) -> None:
    """The failure names the variable, not the address, which may hold a secret."""
    context = failed_run(world, own_job(world))
    webhook.status = 500
    with pytest.raises(RetriableError, match=r"^LAGO_PIPELINE_ALERT_WEBHOOK answered 500$"):
        alarm(world, context)
    webhook.status = 200
    alarm(world, context)
    assert len(webhook.posted) == 2


def test_a_run_that_failed_before_delivering_is_told_by_its_own_words(
    world: Unattended, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost warehouse is one line; said once, and again once a run came to its end in between."""
    world.change("update calls set subscription = 's'")
    world.deliver("2026-03-05")
    monkeypatch.setenv("WAREHOUSE_URL", "sqlite:////gone.db")
    context = failed_run(world, own_job(world))
    for _ in range(2):
        world.now += timedelta(hours=1)
        alarm(world, context)
    (posted,) = webhook.posted
    assert posted["alarms"][0]["reasons"].startswith("the warehouse /gone.db does not exist")
    assert posted["alarms"][0]["partition"] is None
    assert "calls 2026-03-05: a run failed: the warehouse" in posted["text"]
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{world.warehouse}")
    world.now += timedelta(hours=1)
    world.deliver("2026-03-05")
    world.now += timedelta(hours=1)
    alarm(world, context)
    assert len(webhook.posted) == 2


def test_backfills_are_heard_and_other_peoples_runs_are_not(
    world: Unattended, webhook: Webhook, environment: Path
) -> None:
    """Backfills run under Dagster's own job; a user's failed asset is none of our business."""
    del environment

    @dg.asset
    def theirs() -> None:
        raise ValueError("theirs")

    merged = dg.Definitions.merge(world.defs, dg.Definitions(assets=[theirs]))
    everything = merged.resolve_implicit_global_asset_job_def()
    alarm(world, failed_run(world, everything, [theirs.key]))
    assert webhook.posted == []
    alarm(world, failed_run(world, everything, OWN_ASSETS))
    assert len(webhook.posted) == 1


def test_a_poison_day_is_told_once_while_other_days_succeed(world: Unattended) -> None:
    """Only a run of the same partitions that came to its end makes old words news."""
    assert run_told(world, "boom", "2026-03-04") == ["error: calls 2026-03-04: a run failed: boom"]
    world.now += timedelta(hours=1)
    world.deliver("2026-03-05")
    assert run_told(world, "boom", "2026-03-04") == []
    world.deliver("2026-03-04")
    world.now += timedelta(hours=1)
    assert len(run_told(world, "boom", "2026-03-04")) == 1


def test_a_run_of_several_days_recovers_when_all_of_them_did(world: Unattended) -> None:
    """The days before the one at fault come to their end each time."""
    span = ("2026-03-04", "2026-03-05")
    assert run_told(world, "boom", *span) == ["error: calls 2026-03-04..2026-03-05: a run failed: boom"]
    world.now += timedelta(hours=1)
    world.deliver("2026-03-04")
    assert run_told(world, "boom", *span) == []
    world.deliver("2026-03-05")
    assert len(run_told(world, "boom", *span)) == 1


def test_days_that_fail_with_different_words_are_each_told_once(world: Unattended) -> None:
    """One does not make the other forgotten."""
    days = {"2026-03-04": "one", "2026-03-05": "two"}
    assert [len(run_told(world, words, key)) for key, words in days.items()] == [1, 1]
    assert [len(run_told(world, words, key)) for key, words in days.items()] == [0, 0]
    assert run_told(world, "three", "2026-03-05") == ["error: calls 2026-03-05: a run failed: three"]


def test_run_alarms_are_forgotten_after_a_day_and_not_before(world: Unattended) -> None:
    """The ledger keeps no line for each run that ever failed."""

    def lines() -> int:
        with world.ledger() as ledger:
            partition_alarms(ledger, "calls", 1, world.now_ms(), lambda _: None)
            with reading(ledger) as connection:
                return len(read_alarms(connection, 1))

    run_told(world, "boom", "2026-03-04")
    assert lines() == 1
    world.now += timedelta(days=1)
    assert lines() == 0


def test_a_range_is_told_by_its_ends_and_a_run_id_is_no_news(
    world: Unattended, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's lock has another id each time."""
    breaks(monkeypatch, lambda: PartitionLocked(f"delivered by run {uuid4()}: wait for it"))
    world.change("update calls set subscription = 's'")
    tags = {
        "dagster/asset_partition_range_start": "2026-03-03",
        "dagster/asset_partition_range_end": "2026-03-05",
    }
    for _ in range(2):
        alarm(world, failed_run(world, own_job(world), tags=tags))
    runs = [line for posted in webhook.posted for line in posted["alarms"] if line["partition"] is None]
    assert [line["reasons"] for line in runs] == ["delivered by run …: wait for it"]
    assert runs[0]["partitions"] == {"from": "2026-03-03", "to": "2026-03-05"}


def test_an_unknown_error_is_told_by_its_innermost_cause(
    world: Unattended, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's own words only name the step."""
    breaks(monkeypatch, lambda: ValueError("boom\nand more"))
    alarm(world, failed_run(world, own_job(world)))
    assert [line["reasons"] for line in webhook.posted[0]["alarms"]][-1] == "ValueError: boom"


def test_a_sync_that_the_ledger_does_not_know_is_told_of(
    unattended: Make, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure of the very first run reaches a person, too."""
    world = unattended("2026-03-06 12:00")
    breaks(monkeypatch, lambda: FatalError("boom"))
    alarm(world, failed_run(world, own_job(world)))
    (posted,) = webhook.posted
    assert posted["text"].endswith("calls 2026-03-05: a run failed: boom")


def test_an_outage_on_the_last_day_of_a_period_is_critical(
    world: Unattended, webhook: Webhook, lago: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending events and lost warehouses do not tell who pays: the latest delivered partition does."""
    context = failed_run(world, own_job(world))
    world.now = subscribed(lago) - timedelta(hours=20)
    world.change("delete from calls where id = 'a'")
    world.add(("e", "2026-03-05 15:00:00", "t", 1, None))
    lago.set_faults([{"kind": "status", "status": 503}])
    world.deliver("2026-03-05")
    alarm(world, context)
    breaks(monkeypatch, lambda: FatalError("boom"))
    alarm(world, failed_run(world, own_job(world)))
    lines = [line for posted in webhook.posted for line in posted["alarms"]]
    assert [(line["unbilled"], line["severity"]) for line in lines] == [(1, "critical"), (0, "critical")]


def test_billing_periods_are_asked_for_once_each_and_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch, lago: RunningSandbox
) -> None:
    """A slow Lago does not keep the alarm from a person."""
    asked: list[str] = []
    seconds = iter([0.0, 14.0, 14.9, 15.0])

    def end_ms(_: object, external_id: str) -> int:
        asked.append(external_id)
        return 7

    monkeypatch.setattr(alarm_module, "billing_period_end_ms", end_ms)
    resource = LagoResource(api_url=lago.api_url, api_key=lago.api_key)
    with ExitStack() as stack:
        ends = PeriodEnds(stack, lambda: resource, pytest.fail, lambda: next(seconds))
        assert [ends(name) for name in ("a", "a", "b", "c", "c")] == [7, 7, 7, None, None]
    assert asked == ["a", "b"]


def test_a_partition_that_nobody_closes_is_told_of_once_a_day(world: Unattended) -> None:
    """A run that hangs fails never: the time since the partition's end tells."""
    world.add(("f", "2026-03-06 10:00:00", "s", 1, None))
    world.deliver("2026-03-06")
    closes = at("2026-03-07 00:00") + world.sync.closing_delay
    world.now = closes + timedelta(hours=6)
    assert overdue_told(world) == []
    world.now += timedelta(minutes=1)
    hours = (world.now - at("2026-03-07 00:00")) // timedelta(hours=1)
    assert overdue_told(world) == [f"error: calls 2026-03-06: was not closed {hours} h after its end"]
    world.now += timedelta(hours=22)
    assert overdue_told(world) == []
    world.now += timedelta(hours=1)
    assert len(overdue_told(world)) == 1


def test_an_overdue_alarm_stands_until_the_partition_closes(world: Unattended) -> None:
    """A failed run of another day does not forget it; closed and red again, it is news."""
    world.add(("f", "2026-03-06 10:00:00", "s", 1, None))
    world.deliver("2026-03-06")
    world.now = at("2026-03-08 12:00")
    assert len(overdue_told(world)) == 1
    with world.ledger() as ledger:
        partition_alarms(ledger, "calls", 1, world.now_ms(), lambda _: None)
    assert overdue_told(world) == []
    world.deliver("2026-03-06")
    assert overdue_told(world) == []
    with world.ledger() as ledger, writing(ledger) as connection:
        mark_changed(connection, 1, world.wiring.partition("2026-03-06"), world.now_ms())
    assert overdue_told(world) == []
    world.now += timedelta(hours=7)
    assert len(overdue_told(world)) == 1


def test_a_backfill_that_began_just_now_and_a_sample_are_not_overdue(world: Unattended) -> None:
    """Six hours count from when a partition was asked for, and a sample's day is none of ours."""
    old, sample = world.wiring.partition("2026-03-02"), world.wiring.partition("2026-03-03")
    with world.ledger() as ledger, writing(ledger) as connection:
        ask(connection, 1, old, 0, world.now_ms())
        open_partition(connection, 1, sample, world.now_ms())
    assert overdue_told(world) == []
    world.now += timedelta(hours=7)
    assert [line.split(": ")[1] for line in overdue_told(world)] == ["calls 2026-03-02"]
