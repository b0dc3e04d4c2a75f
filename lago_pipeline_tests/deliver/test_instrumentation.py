"""What hooks hear of a delivery, and what it says of itself."""

import logging
from collections.abc import Callable, Iterator

import pytest

from lago_pipeline.instrumentation import (
    BatchDetails,
    ProgressDetails,
    RefusedDetails,
    RetryDetails,
    on_batch,
    on_progress,
    on_refused,
    on_retry,
)
from lago_pipeline_tests.deliver.world import World, row, rows


@pytest.fixture
def heard() -> Iterator[list[object]]:
    """Everything that hooks of all kinds hear."""
    details: list[object] = []
    removes: list[Callable[[], None]] = [
        register(details.append) for register in (on_batch, on_retry, on_refused, on_progress)
    ]
    yield details
    for remove in removes:
        remove()


def of(kind: type[object], heard: list[object]) -> list[object]:
    """Those of one kind."""
    return [details for details in heard if type(details) is kind]


def test_hooks_hear_of_batches_refusals_and_retries(world: World, heard: list[object]) -> None:
    """Each batch with its counts, each event that is not billed, each try that is followed by another."""
    world.lago.set_faults([{"kind": "status", "status": 503, "times": 1}])
    world.deliver([*rows(range(15)), row("bad", sub="")])
    assert sum(details.accepted for details in of(BatchDetails, heard)) == 15  # type: ignore[attr-defined]
    (refused,) = of(RefusedDetails, heard)
    assert isinstance(refused, RefusedDetails)
    assert (refused.sync, refused.partition, refused.row_key, refused.status) == (
        "usage", "2026-01-01", "bad", "quarantined"
    )  # fmt: skip
    assert refused.reason.startswith("missing_external_subscription_id")
    (retry,) = of(RetryDetails, heard)
    assert isinstance(retry, RetryDetails)
    assert (retry.attempt, retry.words) == (1, "HTTP 503")
    assert retry.wait_seconds > 0


def test_progress_ends_at_the_total(world: World, heard: list[object]) -> None:
    """The last word is that all of it is done."""
    world.deliver(rows(range(35)))
    last = of(ProgressDetails, heard)[-1]
    assert isinstance(last, ProgressDetails)
    assert (last.done, last.total, last.limit) == (35, 35, 2)


def test_a_hook_that_fails_stops_no_billing(
    world: World, heard: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the other hooks are called."""

    def broken(_: BatchDetails) -> None:
        raise ValueError("the metrics system is down")

    remove = on_batch(broken)
    with caplog.at_level(logging.ERROR, "lago_pipeline"):
        assert world.deliver(rows(range(5))).is_settled
    remove()
    assert "a hook for BatchDetails failed" in caplog.text
    assert of(BatchDetails, heard)


def test_a_long_delivery_says_how_far_it_is(world: World) -> None:
    """Every few seconds: rate, share, time left, and how many requests may fly."""
    world.lago.set_faults([{"kind": "rate_limit", "reset_seconds": 6, "every": 3}])
    world.deliver(rows(range(100)))
    lines = [line for line in world.said if " of 100 events (" in line]
    assert lines
    assert all("/s, about " in line and "requests in flight" in line for line in lines)
