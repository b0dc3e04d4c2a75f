"""One sync as its checks see it: what was declared, and what its source and Lago say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lago_pipeline.check.finding import Need
from lago_pipeline.check.lago import Lago
from lago_pipeline.check.ledger import Ledger
from lago_pipeline.check.warehouse import Warehouse
from lago_pipeline.event import Event
from lago_pipeline.lago.probe import billable_metric
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.sample import Sample, sample_rows
from lago_pipeline.source.query import SourceReader, SourceRows
from lago_pipeline.sync import Sync

SAMPLE_ROWS = 20


@dataclass(frozen=True)
class CheckedSync:
    """A sync and what it is tied to; `partitions` are the latest, newest first, `others` the other syncs."""

    pipeline: Pipeline
    partitions: Sequence[Partition]
    warehouse: Warehouse
    lago: Lago
    ledger: Ledger
    others: Sequence[Pipeline]
    needs: Sequence[Need] = ()

    @property
    def sync(self) -> Sync:
        """What was declared."""
        return self.pipeline.sync

    @property
    def code(self) -> str | None:
        """The billable metric's code, where it is the same for every row."""
        return self.pipeline.template.literal_code

    @property
    def name(self) -> str:
        """What its findings are grouped under."""
        return f"sync {self.sync.name}"

    @property
    def neighbours(self) -> Mapping[str, str]:
        """Its warehouse, its Lago and its ledger."""
        return {"warehouse": self.warehouse.name, "lago": self.lago.name, "ledger": self.ledger.name}

    @cached_property
    def rows(self) -> SourceRows:
        """The probed source."""
        return SourceReader(self.warehouse.engine, self.sync).probe(self.partitions[0])

    @cached_property
    def metric(self) -> Mapping[str, Any] | None:
        """The billable metric that Lago has under the code."""
        return billable_metric(self.lago.client, self.code) if self.code else None

    @cached_property
    def sample(self) -> tuple[Partition | None, list[Sample]]:
        """The first rows of the latest partition that has some."""
        engine = self.warehouse.engine
        found = ((day, sample_rows(self.pipeline, day, engine, SAMPLE_ROWS)) for day in self.partitions)
        return next(((day, taken) for day, taken in found if taken), (None, []))

    @property
    def events(self) -> list[Event]:
        """What these rows become."""
        return [sample.event for sample in self.sample[1]]
