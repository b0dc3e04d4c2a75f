"""How much a partition holds: a fingerprint of its source that costs one query."""

from dataclasses import dataclass


@dataclass(slots=True)
class Extent:
    """The number of rows of a partition, and the latest time among them (epoch milliseconds, -1 for none).

    `updated_ms` is the latest update of an aggregating query's rows, which no search for late rows can see;
    None for other sources.
    """

    rows: int = 0
    latest_ms: int = -1
    updated_ms: int | None = None

    def add(self, rows: int, latest_ms: int, updated_ms: int | None = None) -> None:
        """Count a chunk of rows."""
        self.rows += rows
        self.latest_ms = max(self.latest_ms, latest_ms)
        if updated_ms is not None:
            self.updated_ms = max(self.updated_ms or -1, updated_ms)

    @property
    def fingerprint(self) -> str:
        """Text that differs once a row came, went, or moved past the latest."""
        updated = "" if self.updated_ms is None else f":{self.updated_ms}"
        return f"{self.rows}:{self.latest_ms}{updated}"
