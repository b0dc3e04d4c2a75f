"""The console script `lago-pipeline`: its commands, and errors in one line."""

from typing import Any

import click

from lago_pipeline import __version__
from lago_pipeline.cli.check import check
from lago_pipeline.cli.ledger import ledger
from lago_pipeline.cli.preview import preview
from lago_pipeline.cli.run import run
from lago_pipeline.cli.sandbox import sandbox
from lago_pipeline.cli.status import status
from lago_pipeline.errors import LagoPipelineError


class _OneLineErrors(click.Group):
    """Shows an error of ours as one line, and ends with 1."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except LagoPipelineError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lago-pipeline")
def main() -> None:
    """Usage rows in a database become billing events in Lago: every row once, in its own period."""


for command in (run, preview, check, status, ledger, sandbox):
    main.add_command(command)
