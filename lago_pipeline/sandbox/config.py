"""What a person decides about one sandbox, as frozen values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lago_pipeline.sandbox.faults import FaultRule

DEMO_API_KEY = "5a6d0b0c-1a90-4e0f-9d6b-0c0ffee0da7a"
"""The key of a sandbox that was given none. It opens nothing but local sandboxes."""

StoreName = Literal["postgres", "clickhouse"]


@dataclass(frozen=True)
class RateLimit:
    """So many API requests in every window of so many seconds, as Lago's cloud gateway counts them.

    With `others` POSTs to /events have a window of their own, and all other requests share one of this size.
    """

    requests: int
    per_seconds: float = 1.0
    others: int | None = None


@dataclass(frozen=True)
class SandboxConfig:
    """One sandbox: which of Lago's event stores it imitates, where it keeps state, and how it misbehaves.

    `state` is a file, or None for a state in memory that ends with the process. `dedup` counts only with
    the ClickHouse store (Lago: `organization.clickhouse_deduplication_enabled`). `lag` is how many seconds
    after its storage an event can be read, which is ClickHouse's pipeline. With `sink` posted events are
    counted and answered after so many seconds, and neither checked nor stored; faults do not concern them.
    """

    host: str = "127.0.0.1"
    store: StoreName = "postgres"
    dedup: bool = True
    lag: float = 0.0
    state: Path | None = None
    api_key: str = DEMO_API_KEY
    batch_max: int = 100
    rate_limit: RateLimit | None = None
    sink: float | None = None
    faults: tuple[FaultRule, ...] = ()
