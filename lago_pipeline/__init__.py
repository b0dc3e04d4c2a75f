"""Usage rows in a database become billing events in Lago: every row once, in its own period."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lago_pipeline.components.usage_sync import UsageSync as UsageSync

__version__ = "0.1.0"
__all__ = ["UsageSync", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562 fixes this signature
    """Load `UsageSync` on first use, so that importing the package does not import Dagster (PEP 562)."""
    if name == "UsageSync":
        return import_module("lago_pipeline.components.usage_sync").UsageSync
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List `UsageSync` too: Dagster's registry finds components by looking here."""
    return sorted({*globals(), *__all__})
