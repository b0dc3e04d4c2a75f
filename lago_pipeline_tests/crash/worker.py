"""A process that delivers one partition in children of its own, for a test to kill.

It imports everything once and then forks a child for each line it reads: `<run id> <bytes> <step>`, where
bytes limits the size of the files that the child may write from a step on (0: none). It answers with the
child's process id, and with its exit status once it has ended. Arguments: the folder, Lago's URL and key.
"""

import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import orjson

from lago_pipeline.errors import LagoPipelineError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import CurlTransport, Response, TransportOptions
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import DAY, SYNC

INTERRUPTED = 130
FAILED = 70
UNSETTLED = 71
_LONGEST_SLEEP = 0.02
_LATE_IMPORTS = ("alembic.command", "pandas")
"""What a first run imports on its way (pandas for pyarrow): done once here, not in every child."""


class RecordingTransport(CurlTransport):
    """Notes the ids of every batch in a file before it goes: a kill cannot take that back."""

    def __init__(self, path: Path, options: TransportOptions) -> None:
        super().__init__(options)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Note, then send."""
        if body is not None:
            events = orjson.loads(body)["events"]
            os.write(self._file, orjson.dumps([event["transaction_id"] for event in events]) + b"\n")
        return super().send(method, url, headers, body)


def deliver(folder: Path, api_url: str, api_key: str, run_id: str, most_bytes: int, step: str) -> int:
    """All three steps, as an asset would take them; returns the exit status."""
    sync = replace(SYNC, delivery=Delivery(batch_size=20, concurrency=4, max_attempts=8))
    pipeline = Pipeline(sync, Spool(folder / "spool"), run_id, say=lambda _: None)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # as Dagster does, also where a shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        if step == "extract":
            _limit(most_bytes)
        pipeline.extract(DAY, warehouse_engine(f"sqlite:///{folder}/warehouse.db"))
        pipeline.render(DAY)
        ledger = open_ledger(f"sqlite:///{folder}/ledger.db")
        if step == "deliver":
            _limit(most_bytes)
        transport = partial(RecordingTransport, folder / f"{run_id}.sent")
        with LagoClient(api_url, api_key, transport=transport) as lago:
            report = pipeline.deliver(
                DAY, ledger, lago, stop=stop, sleep=lambda seconds: stop.wait(min(seconds, _LONGEST_SLEEP))
            )
    except KeyboardInterrupt:
        return INTERRUPTED
    except LagoPipelineError as error:
        (folder / f"{run_id}.error").write_text(f"{type(error).__name__}: {error}")
        return FAILED
    return 0 if report.is_settled else UNSETTLED


def _limit(most_bytes: int) -> None:
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def main(folder: str, api_url: str, api_key: str) -> None:
    """Fork a child for each line."""
    if "dagster" in sys.modules:
        raise SystemExit("the pipeline must not import Dagster")
    for name in _LATE_IMPORTS:
        import_module(name)
    for line in sys.stdin:
        run_id, most_bytes, step = line.split()
        child = os.fork()
        if child == 0:
            os._exit(deliver(Path(folder), api_url, api_key, run_id, int(most_bytes), step))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
