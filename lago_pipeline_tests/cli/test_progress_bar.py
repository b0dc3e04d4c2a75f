"""The bar in the terminal."""

from io import StringIO

from rich.console import Console

from lago_pipeline.cli.progress_bar import progress_bar
from lago_pipeline.instrumentation import ProgressDetails, tell

HALF = ProgressDetails("calls", "2026-01-01", 500, 1000, 2.0, 8)


def shown(*, is_terminal: bool) -> str:
    """What is printed while a partition is half done."""
    text = StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=100)
    with progress_bar(console):
        tell(HALF)
    return text.getvalue()


def test_a_person_sees_how_far_a_partition_is() -> None:
    """Its name, events done of all, and the rate."""
    text = shown(is_terminal=True)
    assert "calls 2026-01-01" in text
    assert "500/1000" in text
    assert "250/s" in text


def test_a_file_gets_no_bar() -> None:
    """Nor does a log."""
    assert shown(is_terminal=False) == ""
