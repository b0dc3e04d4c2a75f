"""The component: a sync declared in YAML becomes assets, a job, a schedule and checks."""

import re
import warnings
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import BaseModel, Field, PrivateAttr

from lago_pipeline.components.assets import OWN_NAMES, usage_assets
from lago_pipeline.components.attributes import (
    DeliveryAttributes,
    EventAttributes,
    Names,
    PartitionsAttributes,
    RetentionAttributes,
    SourceAttributes,
    duration,
)
from lago_pipeline.components.scaffolding import UsageSyncScaffolder
from lago_pipeline.components.schema import DescribedSchema
from lago_pipeline.components.triggers import sync_triggers
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import ConfigError
from lago_pipeline.render.template import event_template
from lago_pipeline.resources import DEFAULT_RESOURCES, LAGO_KEY, LEDGER_KEY, WAREHOUSE_KEY
from lago_pipeline.sync import Delivery, Retention, Source, Sync

_ASSET_NAME = re.compile(r"[A-Za-z0-9_]+")
_PER_RUN = {"daily": 7, "hourly": 168}


@dg.scaffold_with(UsageSyncScaffolder)
class UsageSync(dg.Component, dg.Model, DescribedSchema):
    """Usage rows of one source, delivered to Lago as billing events, partition by partition."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="Names the assets: <name>/usage_rows, <name>/events, <name>/deliveries.",
    )
    source: SourceAttributes = Field(description="Where usage rows come from.")
    event: EventAttributes = Field(
        description="Lago's event fields with Liquid in every value, or the JSON text pasted from Hightouch."
    )
    partitions: PartitionsAttributes = Field(description="How usage is cut into partitions.")
    schedule: str | None = Field(
        default="*/15 * * * *",
        description="When to deliver the open partition and those not closed: a cron line; null for never.",
    )
    delivery: DeliveryAttributes = Field(default=DeliveryAttributes(), description="How events are sent.")
    destination: str | None = Field(
        default=None, description="The key of another LagoResource of your project."
    )
    transaction_id_prefix: str | None = Field(
        default=None, min_length=1, description="The start of every transaction id; by default the name."
    )
    retention: RetentionAttributes = Field(
        default=RetentionAttributes(), description="How long copies are kept."
    )
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Load the component and remember its folder, in which `query_file` lies."""
        component = super().load(attributes, context)
        component._folder = context.path.parent if context.path.is_file() else context.path  # noqa: SLF001 - our own, not set by YAML
        return component

    def sync(self) -> Sync:
        """The sync as the core knows it; raises ConfigError where `query_file` cannot be read."""
        source = self.source
        return Sync(
            name=self.name,
            source=Source(
                primary_key=tuple(_listed(source.primary_key)),
                time_column=source.time_column,
                table=source.table,
                query=self._query_text(),
                timezone=ZoneInfo(source.timezone),
                updated_at_column=source.updated_at_column,
            ),
            event=self.event,
            transaction_id_prefix=self.transaction_id_prefix or self.name,
            destination=self.destination or "lago",
            closing_delay=duration(self.partitions.closing_delay),
            delivery=Delivery(**self.delivery.model_dump()),
            retention=Retention(**self.retention.model_dump()),
        )

    def wiring(self) -> Wiring:
        """How the sync is tied into Dagster: its partitions, resources and neighbours."""
        partitions = self.partitions
        kind = (
            dg.DailyPartitionsDefinition if partitions.cadence == "daily" else dg.HourlyPartitionsDefinition
        )
        first = partitions.start if partitions.cadence == "daily" else f"{partitions.start}-00:00"
        return Wiring(
            partitions_def=kind(start_date=str(first), timezone=partitions.timezone, end_offset=1),
            per_run=partitions.per_run or _PER_RUN[partitions.cadence],
            warehouse=self.source.connection or WAREHOUSE_KEY,
            lago=self.destination or LAGO_KEY,
            ledger=LEDGER_KEY,
            upstream=tuple(self._upstream()),
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Definitions of the sync; raises ConfigError or TemplateError for what YAML alone cannot check."""
        del context
        return usage_definitions(self.sync(), self.wiring(), self.schedule)

    def _query_text(self) -> str | None:
        if self.source.query_file is None:
            return self.source.query
        path = self._folder / self.source.query_file
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"sync {self.name}: query_file {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"sync {self.name}: query_file {path} is not UTF-8 text") from error

    def _upstream(self) -> list[dg.AssetKey]:
        if self.source.asset:
            return [dg.AssetKey.from_user_string(name) for name in _listed(self.source.asset)]
        path = (self.source.table or "").split(".")
        # Dagster would take a table `events` for our asset of that name, in a circle
        is_own = path[0] in OWN_NAMES if len(path) == 1 else path[0] == self.name and path[1] in OWN_NAMES
        is_key = all(_ASSET_NAME.fullmatch(part) for part in path)
        return [dg.AssetKey(path)] if is_key and not is_own else []


def usage_definitions(sync: Sync, wiring: Wiring, schedule: str | None) -> dg.Definitions:
    """The assets, job, schedule and sensors of a sync, with the default resources that it uses.

    `schedule` is a cron line, or None for a sync that is started by hand. Raises TemplateError for an event
    template that cannot bill anything.
    """
    used = {wiring.warehouse, wiring.lago, wiring.ledger}
    template = event_template(sync)
    with warnings.catch_warnings():
        # ranges need backfill policies (beta), a check result a day needs partitioned checks (preview)
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = dg.Definitions(
            assets=usage_assets(sync, wiring, template),
            resources={key: resource for key, resource in DEFAULT_RESOURCES.items() if key in used},
        )
        return dg.Definitions.merge(assets, sync_triggers(sync, wiring, template.hash, schedule))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else names
