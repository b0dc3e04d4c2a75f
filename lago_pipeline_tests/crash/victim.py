"""The test's side of the worker: starts deliveries, ends them at a chosen moment, reads what they left."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.deliver.world import Row

DEADLINE = 60.0
_TICK = 0.01


@dataclass
class Victim:
    """A delivery that can be killed; every run is checked against what the ledger knew before it."""

    folder: Path
    lago: RunningSandbox
    process: subprocess.Popen[bytes]
    _runs: Iterator[int]

    def run(
        self,
        moment: Callable[[], bool] = lambda: False,
        signal_number: int = signal.SIGKILL,
        most_bytes: int = 0,
        step: str = "deliver",
    ) -> int:
        """One run, ended by a signal once `moment` says so; returns its exit status.

        From `step` on, files cannot grow beyond `most_bytes`, if that is given.

        Fails when it sent anything that was settled before it began.
        """
        run_id = f"run{next(self._runs)}"
        settled = self.settled()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{run_id} {most_bytes} {step}\n".encode())
        self.process.stdin.flush()
        child = self._number(lambda: False)
        status = self._number(lambda: moment() and _ended(child, signal_number))
        again = settled.intersection(self.sent(run_id))
        assert not again, f"{run_id} sent {len(again)} events that were settled before, such as {min(again)}"
        return status

    def settled(self) -> set[str]:
        """The transaction ids that the ledger calls accepted."""
        return {
            row[0] for row in self.query("select transaction_id from lago_events where status = 'accepted'")
        }

    def sent(self, run_id: str) -> list[str]:
        """The transaction ids that a run sent, with repeats."""
        path = self.folder / f"{run_id}.sent"
        lines = path.read_text().splitlines() if path.exists() else []
        return [str(transaction_id) for line in lines for transaction_id in json.loads(line)]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What the ledger says; nothing where it does not exist yet."""
        path = self.folder / "ledger.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'lago_events'").fetchall():
                return []
            return connection.execute(sql).fetchall()

    def stored(self) -> int:
        """How many events Lago holds by now."""
        return self.lago.sandbox.store.count("select count(*) from events")

    def _number(self, tick: Callable[[], bool]) -> int:
        """The next number that the worker says; `tick` is asked until it answers True, and no more."""
        output = self.process.stdout
        assert output is not None
        deadline, is_asking = time.monotonic() + DEADLINE, True
        while not select.select([output], [], [], _TICK)[0]:
            assert time.monotonic() < deadline, "the worker says nothing"
            is_asking = is_asking and not tick()
        return int(output.readline())


def _ended(child: int, signal_number: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(child, signal_number)
    return True


@contextmanager
def victim(folder: Path, lago: RunningSandbox, rows: list[Row]) -> Iterator[Victim]:
    """A worker with a source of these rows."""
    with closing(sqlite3.connect(folder / "warehouse.db")) as connection:
        connection.execute("create table usage (id text, ts text, sub text, code text, n)")
        connection.executemany("insert into usage values (?, ?, ?, ?, ?)", rows)
        connection.commit()
    command = [
        sys.executable,
        "-m",
        "lago_pipeline_tests.crash.worker",
        str(folder),
        lago.api_url,
        lago.api_key,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield Victim(folder, lago, process, count())
        finally:
            process.kill()
