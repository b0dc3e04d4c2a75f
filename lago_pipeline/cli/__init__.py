"""The command line: one module a command."""

from lago_pipeline.cli.main import main as main
