"""How far a delivery is, as a bar in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lago_pipeline.instrumentation import ProgressDetails, on_progress


@contextmanager
def progress_bar(console: Console) -> Iterator[None]:
    """Show a bar for each partition while it is delivered; none where nobody looks at a terminal."""
    if not console.is_terminal:
        yield
        return
    tasks: dict[tuple[str, str], TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:

        def show(progress: ProgressDetails) -> None:
            key = progress.sync, progress.partition
            if key not in tasks:
                tasks[key] = bar.add_task(" ".join(key), total=progress.total, rate=0.0)
            bar.update(tasks[key], completed=progress.done, rate=progress.events_per_second)
            if progress.done >= progress.total:
                bar.remove_task(tasks.pop(key))

        remove = on_progress(show)
        try:
            yield
        finally:
            remove()
