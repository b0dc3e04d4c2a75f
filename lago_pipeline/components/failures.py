"""Why a step failed, in one line: for the alarm and for the command line."""

import dagster as dg

from lago_pipeline.components.metadata import UNSETTLED


def failure_words(event: dg.DagsterEvent) -> str | None:
    """Why a step failed, in one line; None where only unbilled usage is to blame."""
    failure = event.step_failure_data
    told = failure.user_failure_data
    if told is not None and UNSETTLED in (told.metadata or {}):
        return None
    words = (told.description if told else None) or _innermost(event)
    return (words.strip().splitlines() or ["a step failed"])[0]


def _innermost(event: dg.DagsterEvent) -> str:
    """The words of the first cause that has any: Dagster's own only name the step."""
    words, error = "", event.step_failure_data.error
    while error is not None:
        words = error.message.strip() or words
        error = error.cause
    return words
