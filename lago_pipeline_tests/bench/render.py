"""Rendering: compiled, by python-liquid and in Python by hand, and what the steps around it cost."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import click
import orjson

from lago_pipeline.arrow import column_values
from lago_pipeline.cli.output import print_table
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.folder import Spool
from lago_pipeline.spool.rows import StoredRows, rows_opened
from lago_pipeline_tests.bench.main_job import DAY, SYNC, seed

TEMPLATE = {
    "code": "calls",
    "external_subscription_id": "{{ row.subscription }}",
    "properties": {
        "units": "{{ row.units }}",
        "weight": "{{ row.weight | round: 2 }}",
        "region": "{{ row.region | downcase }}",
    },
}
"""Five columns, with the time column, and two filters."""
_CENTS = Decimal("0.01")
Texts = list[list[str | None]]
Bodies = Iterator[bytes | None]


@click.command()
@click.option("--rows", default=50_000, show_default=True, help="Rows of the partition.")
@click.option("--rounds", default=5, show_default=True, help="Each is timed as often; the best counts.")
def main(rows: int, rounds: int) -> None:
    """Print microseconds a row, and how each compares with the compiled template."""
    with tempfile.TemporaryDirectory() as name:
        print_table(["what", "us a row", "times compiled", "goal"], list(lines(Path(name), rows, rounds)))


def lines(folder: Path, rows: int, rounds: int) -> Iterator[dict[str, object]]:
    """One line a way; raises SystemExit where two ways give different bodies."""
    seed(folder / "warehouse.db", rows)
    pipeline = Pipeline(replace(SYNC, event=TEMPLATE), Spool(folder / "spool"), "bench", say=lambda _: None)
    pipeline.extract(DAY, warehouse_engine(f"sqlite:///{folder / 'warehouse.db'}"))
    with rows_opened(pipeline.spool.rows(SYNC.name, DAY.key)) as file:
        columns, stored = file.columns, list(file.rows())
    renderer = EventRenderer(pipeline.sync, pipeline.template, DAY)
    few = stored[0].between(0, 2_000)
    texts = [[column_values(column) for column in rows.texts] for rows in stored]

    ways: dict[str, tuple[Callable[[], object], int, str]] = {
        "compiled": (lambda: list(compiled(renderer, columns, stored)), rows, ""),
        "python-liquid": (lambda: list(by_liquid(renderer, columns, few)), len(few), "at least 10"),
        "by hand": (lambda: list(by_hand(texts)), rows, "at least 0.5"),
        "events: read, render, write": (lambda: pipeline.render(DAY), rows, "at most 2"),
    }
    first = list(compiled(renderer, columns, stored))
    if first != list(by_hand(texts)) or first[: len(few)] != list(by_liquid(renderer, columns, few)):
        raise SystemExit("the ways give different bodies")
    best = timed({what: (work, count) for what, (work, count, _) in ways.items()}, rounds)
    for what, seconds in best.items():
        yield {
            "what": what,
            "us a row": f"{seconds * 1e6:.2f}",
            "times compiled": f"{seconds / best['compiled']:.2f}",
            "goal": ways[what][2],
        }


def timed(ways: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    """The best seconds a row of each way; they take turns, so that a busy machine slows all of them."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for what, (work, count) in ways.items():
            started = time.perf_counter()
            work()
            best[what] = min(best[what], (time.perf_counter() - started) / count)
    return best


def compiled(renderer: EventRenderer, columns: Sequence[str], stored: list[StoredRows]) -> Bodies:
    """As a run renders: bodies, fingerprints and all else of an event."""
    for events in partition_events(renderer, columns, stored, RenderCounts()):
        yield from column_values(events["body"])


def by_liquid(renderer: EventRenderer, columns: Sequence[str], stored: StoredRows) -> Bodies:
    """Row by row, as what the compiler does not cover."""
    for row in stored:
        yield renderer.event(row.row_key, dict(zip(columns, row.values(), strict=True))).body


def by_hand(stored: list[Texts]) -> Bodies:
    """What a careful person would write for this one table, without a fingerprint or any check."""
    for texts in stored:
        for key, at, subscription, units, weight, region in zip(*texts, strict=True):
            seconds = datetime.fromisoformat(at or "").replace(tzinfo=UTC).timestamp()
            yield orjson.dumps(
                {
                    "transaction_id": f"bench:calls:{key}",
                    "external_subscription_id": subscription,
                    "code": "calls",
                    "timestamp": f"{seconds:.0f}" if seconds.is_integer() else f"{seconds:.3f}",
                    "properties": {
                        "units": units,
                        "weight": str(Decimal(weight or "").quantize(_CENTS, ROUND_HALF_UP)),
                        "region": (region or "").lower(),
                    },
                }
            )


if __name__ == "__main__":
    main()
