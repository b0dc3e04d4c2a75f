"""What a run counts while it goes on, and when it gives up."""

from lago_pipeline.deliver.result import BatchResult, rejected
from lago_pipeline.deliver.tally import Tally
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.event import Event
from lago_pipeline.ledger.events import Line
from lago_pipeline.plan.diff import Plan, plan_range
from lago_pipeline.report import Counts, Status
from lago_pipeline_tests.deliver.world import accepted, event, numbered

GOOD = BatchResult(outcomes=[accepted(event(1))])
LOST = BatchResult(pending=[event(2)], pending_words="HTTP 503")


def taken(*results: BatchResult) -> Tally:
    """A tally of these results, in this order."""
    tally = Tally()
    for result in results:
        tally.take(result)
    return tally


def test_three_batches_in_a_row_without_an_answer_end_the_run() -> None:
    """The others would only burn their tries."""
    assert taken(LOST, LOST).stopped is None
    assert taken(LOST, LOST, LOST).stopped == "Lago gave no answer to 3 batches in a row: HTTP 503"


def test_an_answer_between_them_does_not() -> None:
    """A Lago that fails now and then is still worth asking; batches that never left prove nothing."""
    assert taken(LOST, LOST, GOOD, LOST, LOST).stopped is None
    assert taken(LOST, LOST, BatchResult(pending=[event(3)])).stopped is None


def test_the_first_error_is_the_one_to_tell() -> None:
    """The workers that follow fail for the same reason."""
    first, second = ConfigError("401"), ConfigError("403")
    tally = taken(BatchResult(error=first), BatchResult(error=second), LOST, LOST, LOST)
    assert (tally.error, tally.stopped) == (first, "401")


def refused(known: Event, http_status: int) -> BatchResult:
    """Lago refused an event."""
    result = BatchResult()
    result.settle([(known, rejected("no", http_status))])
    return result


def test_an_event_on_which_lago_failed_is_unclear() -> None:
    """It may hold it all the same; one that it refused it does not hold."""
    assert taken(refused(event(1), 500)).is_unclear
    assert not taken(refused(event(1), 422), GOOD).is_unclear


def test_the_oldest_event_is_one_that_was_billed_or_waits() -> None:
    """One that Lago refuses day after day does not make all usage late."""
    old = event(1, timestamp_ms=1)
    assert taken(refused(old, 422)).oldest_ms is None
    assert taken(GOOD, BatchResult(outcomes=[accepted(old)])).oldest_ms == 1
    assert taken(BatchResult(pending=[old]), GOOD).oldest_ms == 1


def test_why_events_are_pending() -> None:
    """Why the run stopped, else Lago's last words; where nothing is pending there is nothing to tell."""
    assert taken(GOOD).why_pending() is None
    assert taken(LOST).why_pending() == "HTTP 503"
    assert taken(BatchResult(pending=[event(1)])).why_pending() == "the run was stopped"
    assert taken(LOST, LOST, LOST).why_pending() == taken(LOST, LOST, LOST).stopped


def test_an_interrupted_run_counts_the_rest_as_pending() -> None:
    """Whatever it had not planned, and what it planned and did not land."""
    tally = taken(GOOD, LOST)
    tally.plan(Plan(to_send=numbered([1, 2, 3]), unchanged=4, changed=1), 8)
    tally.interrupt(20, KeyboardInterrupt())
    assert tally.counts(0) == Counts(
        extracted=20, unchanged=4, changed=1, accepted=1, pending=14, planned=15
    )  # fmt: skip
    assert tally.stopped == "the run was interrupted"


def test_an_interruption_by_our_own_error_is_told_in_its_words() -> None:
    """A full disk says more than that the run ended."""
    tally = Tally()
    tally.interrupt(0, RetriableError("the ledger could not be used: full"))
    assert tally.stopped == "the ledger could not be used: full"


def test_old_refusals_of_pending_events_are_no_lines_of_this_run() -> None:
    """Until the event has a new outcome, which replaces the line."""
    tally, known = Tally(), event(1)
    line = Line(known.row_key, 0, Status.REJECTED, known.fingerprint)
    tally.plan(plan_range(numbered([1]), [line], {}), 1)
    assert tally.current({"rejected": 5})["rejected"] == 4
    tally.take(refused(known, 422))
    assert tally.current({"rejected": 5})["rejected"] == 5


def test_a_batch_of_nothing_but_duplicates_is_an_answer() -> None:
    """Lago is well: it only holds these events already, as after a lost ledger."""
    tally = Tally()
    lost = BatchResult(pending=[event(1)], pending_words="HTTP 503")
    for result in (lost, lost, BatchResult(duplicates=[event(2)]), lost):
        tally.take(result)
    assert tally.stopped is None
