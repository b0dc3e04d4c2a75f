"""What a run's numbers are called in the UI; keys and types stay the same from run to run."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from lago_pipeline.report import DeliveryReport
from lago_pipeline.spool.events import EventsFooter
from lago_pipeline.spool.rows import RowsFooter

Metadata = Mapping[str, dg.MetadataValue[Any]]
UNSETTLED = "lago/unsettled"
"""On the failure of a run that did its work and found usage that is not billed."""
_ROW_COUNT = "dagster/partition_row_count"


def rows_metadata(footer: RowsFooter) -> Metadata:
    """Of an extracted partition."""
    return {
        _ROW_COUNT: dg.MetadataValue.int(footer.rows),
        "lago/snapshot_at": dg.MetadataValue.timestamp(footer.snapshot_ms / 1000),
    }


def events_metadata(footer: EventsFooter, way: str) -> Metadata:
    """Of a rendered partition; `way` is how its template renders rows."""
    return {
        "lago/template": dg.MetadataValue.text(way),
        _ROW_COUNT: dg.MetadataValue.int(footer.events),
        "lago/duplicates": dg.MetadataValue.int(footer.duplicates),
        "lago/problems": dg.MetadataValue.int(footer.problems),
        "lago/snapshot_at": dg.MetadataValue.timestamp(footer.snapshot_ms / 1000),
    }


def delivery_metadata(report: DeliveryReport) -> Metadata:
    """Of a delivered partition: every number, and a table of refusals by reason with an example each."""
    numbers = {
        f"lago/{name}": dg.MetadataValue.float(value)
        if isinstance(value, float)
        else dg.MetadataValue.int(value)
        for name, value in report.numbers().items()
    }
    return {**numbers, "lago/refusals": _refusals(report)}


def _refusals(report: DeliveryReport) -> dg.TableMetadataValue:
    names = ("status", "reason", "rows", "example", "detail", "remedy")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "status": refusal.status.value,
                    "reason": refusal.reason,
                    "rows": refusal.count,
                    "example": refusal.example,
                    "detail": refusal.words,
                    "remedy": refusal.remedy,
                }
            )
            for refusal in report.refusals
        ],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name, "int" if name == "rows" else "string") for name in names]
        ),
    )
