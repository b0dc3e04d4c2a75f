"""The demo's resources."""

import dagster as dg

from lago_pipeline.resources import LoopbackLagoResource

_DEMO_LAGO = LoopbackLagoResource()


@dg.definitions
def resources() -> dg.Definitions:
    """A Lago that must be on this machine, under the key that the demo syncs name as their destination.

    Backfills run in one process too, as the syncs' jobs do.
    """
    return dg.Definitions(resources={"demo_lago": _DEMO_LAGO}, executor=dg.in_process_executor)
