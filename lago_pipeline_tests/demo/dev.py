"""The demo's commands as a person calls them, in a folder of their own, and what they leave behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lago_pipeline.sandbox.config import DEMO_API_KEY
from lago_pipeline_tests.server_tools import free_port

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 180.0


def demo_environment(folder: Path, **more: str) -> dict[str, str]:
    """The variables that the Makefile sets, with everything below a folder."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "LAGO_PIPELINE_STATE": str(home / "state"),
        "WAREHOUSE_URL": f"sqlite:///{home / 'state' / 'warehouse.db'}",
        "LAGO_API_URL": f"http://127.0.0.1:{free_port()}/api/v1",
        "LAGO_API_KEY": DEMO_API_KEY,
        "LEDGER_URL": "",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def demo_command(*arguments: str) -> tuple[str, ...]:
    """The command line of the demo's program."""
    return (sys.executable, "-m", "lago_pipeline.demo", *arguments)


@dataclass(frozen=True)
class Dev:
    """A running `make dev`: where it is, its processes and their variables."""

    url: str
    lago_url: str
    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    log: Path

    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text()

    def wait_until_up(self) -> None:
        """Wait until it says what to open."""
        waited(lambda: "Open http" in self.said() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()

    def children(self) -> list[psutil.Process]:
        """Every process that it started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        """Send a signal; returns the exit code, and fails when anything that it started is still there."""
        started = self.children()
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        assert [child for child in started if is_running(child)] == []
        return code


@contextmanager
def running_dev(folder: Path, **more: str) -> Iterator[Dev]:
    """Start what `make dev` starts on free ports; ended with the block when it was not before.

    It ignores Ctrl-C when it starts, as whatever a shell's script runs in the background.
    """
    environment = demo_environment(folder, **more)
    port, log = free_port(), folder / "dev.log"
    with log.open("w") as output:
        command = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh", *demo_command("dev", "--port", str(port)))
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    lago_url = environment["LAGO_API_URL"].removesuffix("/api/v1")
    dev = Dev(f"http://127.0.0.1:{port}", lago_url, process, environment, log)
    try:
        yield dev
    finally:
        if process.poll() is None:
            dev.end(signal.SIGINT)


def is_running(process: psutil.Process) -> bool:
    """Whether a process lives; one that only waits to be buried by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def waited(is_so: Callable[[], object]) -> None:
    """Wait until something is so; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "nothing happened before the deadline"
        time.sleep(0.1)
