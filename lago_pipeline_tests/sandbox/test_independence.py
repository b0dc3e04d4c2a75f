"""The sandbox is Lago's side of the contract: it knows nothing of the client's."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from lago_pipeline import sandbox

ALLOWED = ("lago_pipeline.sandbox", "orjson", "starlette", "uvicorn")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file names in its imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield str(node.module)


def test_a_misreading_cannot_cancel_out() -> None:
    """Nothing of the package but the sandbox itself is imported."""
    files = sorted(Path(sandbox.__path__[0]).glob("**/*.py"))
    others = {
        (path.name, name)
        for path in files
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED)
    }
    assert len(files) > 20
    assert others == set()
