"""`lago-pipeline status`: what is billed, what is not, and what comes next."""

import click
import sqlalchemy as sa

from lago_pipeline.cli.output import print_json, print_table
from lago_pipeline.cli.project import load_project
from lago_pipeline.ledger.database import reading

_COLUMNS = ["sync", "partition", "state", "extracted", "billed", "changed", "removed", "unbilled", "reasons",
            "next_attempt_at"]  # fmt: skip
_STATEMENT = sa.text(
    "select sync, partition, state, extracted, unchanged + accepted + changed as billed, changed, removed, "
    "held + rejected + quarantined + conflict + pending as unbilled, reasons, snapshot_at, next_attempt_at, "
    "attempts, run_id, updated_at from lago_partitions where sync = :sync order by starts_at desc"
)


@click.command()
@click.argument("sync", required=False)
@click.option("--last", default=14, show_default=True, help="How many settled partitions of a sync to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(sync: str | None, last: int, *, as_json: bool) -> None:
    """Show the partitions of SYNC, or of all syncs: every unsettled one, and the latest of the others."""
    project = load_project()
    found = []
    for item in project.chosen(sync):
        with (
            project.resources(item.wiring.ledger) as (resource,),
            resource.opened() as ledger,
            reading(ledger) as connection,
        ):
            rows = [dict(row) for row in connection.execute(_STATEMENT, {"sync": item.sync.name}).mappings()]
        settled = [row for row in rows if row["state"] != "unsettled"][:last]
        found += [row for row in rows if row["state"] == "unsettled" or row in settled]
    if as_json:
        print_json(found)
    elif found:
        print_table(_COLUMNS, found)
    else:
        click.echo("nothing was delivered yet: lago-pipeline run SYNC --from DAY --to DAY")
