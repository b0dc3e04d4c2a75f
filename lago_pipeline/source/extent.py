"""How much a partition holds: a fingerprint of its source that costs one query."""

from dataclasses import dataclass


@dataclass(slots=True)
class Extent:
    """The number of rows of a partition, and the latest time among them (epoch milliseconds, -1 for none)."""

    rows: int = 0
    latest_ms: int = -1

    def add(self, rows: int, latest_ms: int) -> None:
        """Count a chunk of rows."""
        self.rows += rows
        self.latest_ms = max(self.latest_ms, latest_ms)

    @property
    def fingerprint(self) -> str:
        """Text that differs once a row came, went, or moved past the latest."""
        return f"{self.rows}:{self.latest_ms}"
