"""How commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_FILE_WIDTH = 180
"""Columns where output is no terminal, so that no line is folded."""


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(
    columns: Sequence[str], rows: Sequence[Mapping[str, object]], title: str | None = None
) -> None:
    """A table of values by column; numbers are set to the right, zeros are left out."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        is_number = all(isinstance(row[name], int) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in columns))
    console().print(table)


def console() -> Console:
    """Standard output, wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)


def _cell(value: object) -> str:
    if value is None or value == 0:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
