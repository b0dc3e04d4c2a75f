"""A local Lago: enough of Lago's API to build, test and demonstrate against, with faults on demand.

It is written from Lago's own source and imports nothing of the rest of this package, so that a
misreading by the client cannot cancel out.
"""

from lago_pipeline.sandbox.config import DEMO_API_KEY, RateLimit, SandboxConfig

__all__ = ["DEMO_API_KEY", "RateLimit", "SandboxConfig"]
