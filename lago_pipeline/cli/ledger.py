"""`lago-pipeline ledger`: the ledger into a file, and from a file into another database."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
import sqlalchemy as sa

from lago_pipeline.cli.output import print_json, print_table
from lago_pipeline.ledger.archive import Manifest
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.ledger.transfer import export_ledger, import_ledger
from lago_pipeline.settings import Settings

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_Transfer = Callable[[sa.Engine, Path, Callable[[str], None]], Manifest]


@click.group()
def ledger() -> None:
    """Move the ledger that LEDGER_URL names: export it here, import it into an empty one there.

    Stop the deliveries first: what is settled after the export is not in the file.
    """


@ledger.command("export")
@_FILE
@_JSON
def export(file: Path, *, as_json: bool) -> None:
    """Write the whole ledger to the new FILE, and check that it can be read back."""
    _transfer(export_ledger, file, as_json=as_json)


@ledger.command("import")
@_FILE
@_JSON
def import_(file: Path, *, as_json: bool) -> None:
    """Fill an empty ledger from FILE, all or nothing, and check that it holds every row."""
    _transfer(import_ledger, file, as_json=as_json)


def _transfer(transfer: _Transfer, file: Path, *, as_json: bool) -> None:
    started = time.monotonic()
    engine = open_ledger(Settings().ledger_url)
    try:
        manifest = transfer(engine, file, lambda line: click.echo(line, err=True))
    finally:
        engine.dispose()
    if as_json:
        print_json({"file": file, "seconds": round(time.monotonic() - started, 1), **asdict(manifest)})
    else:
        print_table(
            ["table", "rows", "checksum"],
            [{"table": name, **asdict(summary)} for name, summary in manifest.tables.items()],
            title=f"verified: {file}",
        )
