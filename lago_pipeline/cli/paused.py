"""What of a sync is switched off in Dagster: its schedule and its sensors."""

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy.exc import SQLAlchemyError

from lago_pipeline.errors import RetriableError
from lago_pipeline.settings import Settings

_SENSORS = ("not_closed", "late_rows", "alarm")


def stopped_names(location: str | None) -> set[str] | None:
    """The schedules and sensors that somebody stopped in the instance of $DAGSTER_HOME; None without one.

    Of several code locations that have one of a name, the project's own counts; where Dagster runs it under
    another name than the project gives it, all of them must be stopped. Raises RetriableError where the
    instance cannot be read.
    """
    import dagster as dg

    if not Settings().environment.get("DAGSTER_HOME"):
        return None
    try:
        with dg.DagsterInstance.get() as instance:
            states = instance.all_instigator_state()
    except (dg.DagsterError, SQLAlchemyError, OSError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RetriableError(f"what is paused cannot be read from $DAGSTER_HOME: {words}") from error
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for state in states:
        found[state.name][state.origin.location_name] = not state.is_running
    return {name for name, stopped in found.items() if stopped.get(location or "", all(stopped.values()))}


def stopped_of(sync: str, stopped: Collection[str]) -> list[str]:
    """The schedule and the sensors of a sync that are stopped, the schedule first."""
    names = (f"{sync}_schedule", *(f"{sync}_{kind}" for kind in _SENSORS))
    return [name for name in names if name in stopped]


def paused_words(sync: str, stopped: Collection[str]) -> str:
    """What is stopped, such as `paused: the schedule and 2 sensors are stopped`; empty where nothing is."""
    names = stopped_of(sync, stopped)
    schedule = ["the schedule"] if f"{sync}_schedule" in names else []
    sensors = [name for name in names if name != f"{sync}_schedule"]
    counted = [f"{len(sensors)} sensors"] if len(sensors) > 1 else [f"the sensor {name}" for name in sensors]
    verb = "are" if len(names) > 1 else "is"
    return f"paused: {' and '.join(schedule + counted)} {verb} stopped" if names else ""
