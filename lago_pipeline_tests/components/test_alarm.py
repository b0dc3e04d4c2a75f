"""The alarm: who hears of what, when, and how gravely."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from lago_pipeline.errors import RetriableError
from lago_pipeline.sandbox.server import RunningSandbox
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
    world: Unattended, job: dg.JobDefinition, selection: list[dg.AssetKey] | None = None
) -> dg.RunStatusSensorContext:
    """Run a job for 5 March, and give the context in which Dagster would tell a sensor of its failure."""
    result = job.execute_in_process(
        instance=world.instance,
        tags={"dagster/partition": "2026-03-05"},
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


def test_a_person_hears_what_is_not_billed_and_what_to_do(world: Unattended, webhook: Webhook) -> None:
    """The webhook gets a text for people and fields for programs."""
    alarm(world, failed_run(world, own_job(world)))
    (posted,) = webhook.posted
    assert posted["text"].splitlines() == [
        "[error] Lago usage is not billed",
        "calls 2026-03-05: 1 row is not billed: missing_external_subscription_id",
    ]
    assert (posted["sync"], posted["severity"]) == ("calls", "error")
    (told,) = posted["alarms"]
    assert (told["partition"], told["unbilled"]) == ("2026-03-05", 1)
    assert "external id of the subscription" in told["remedies"]["missing_external_subscription_id"]


def test_it_is_said_once_a_day_and_at_once_when_the_reasons_change(
    world: Unattended, webhook: Webhook
) -> None:
    """The same news is not repeated at every attempt."""
    context = failed_run(world, own_job(world))
    alarm(world, context)
    world.now += timedelta(hours=23)
    alarm(world, context)
    assert len(webhook.posted) == 1
    world.now += timedelta(hours=1)
    alarm(world, context)
    assert len(webhook.posted) == 2
    world.add(("a", "2026-03-05 12:00:00", "s", 1, None))
    world.deliver("2026-03-05")
    alarm(world, context)
    assert [told["reasons"] for told in webhook.posted[-1]["alarms"]] == ["duplicate_key"]


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
    client = Client(lago)
    client.post("/billable_metrics", {"billable_metric": METRIC})
    client.post("/plans", {"plan": MONTH})
    client.post("/customers", {"customer": {"external_id": "c", "name": "C", "currency": "EUR"}})
    subscription = {"external_customer_id": "c", "plan_code": "plan", "external_id": "s",
                    "subscription_at": "2026-01-01T00:00:00Z", "billing_time": "calendar"}  # fmt: skip
    assert client.post("/subscriptions", {"subscription": subscription}).ok
    ends = client.get("/subscriptions/s").json()["subscription"]["current_billing_period_ending_at"]
    world.add(("d", "2026-03-05 14:00:00", "s", 1, None))
    world.deliver("2026-03-05")
    context = failed_run(world, own_job(world))
    alarm(world, context)
    world.now = at(ends[:16].replace("T", " ")) - timedelta(hours=30)
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
