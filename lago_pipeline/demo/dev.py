"""Dagster beside the sandbox: started, waited for, and ended with all that it has started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
import requests

from lago_pipeline.errors import RetriableError

READY_SECONDS = 180.0
_ENDING = ((signal.SIGINT, 20.0), (signal.SIGKILL, 5.0))
"""What is sent to Dagster's processes in turn, and the seconds that they have to end."""


def end_on_any_signal() -> None:
    """Make a closed terminal and a polite kill end the program as Ctrl-C does.

    Ctrl-C itself too: a shell starts what runs in the background without it, and Dagster would inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def dagster_ui(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run Dagster's web server, daemon and code server, all ended with the block.

    They are a process group of their own, so that Ctrl-C reaches them through this program only.
    """
    superseded = "ignore:Function `dev_command` is superseded"  # by dg, which only developers have
    command = (sys.executable, "-W", superseded, "-m", "dagster", "dev", "--port", str(port))
    process = subprocess.Popen((*command, "--log-level", "warning"), start_new_session=True)  # noqa: S603
    try:
        yield process
    finally:
        _end(process)


def wait_until_up(ui: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when the UI answers; raises RetriableError when it ends instead or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if ui.poll() is not None:
            raise RetriableError(f"Dagster ended by itself (exit code {ui.returncode}): see its lines above")
        if _answers(url):
            return
        time.sleep(0.2)
    raise RetriableError(f"Dagster does not answer at {url} after {READY_SECONDS:.0f} seconds: try again")


def what_to_open(ui_url: str, lago_url: str, environment: Mapping[str, str]) -> str:
    """What a person opens in a browser; where this machine shows none, also how another one reaches it."""
    said = f"Open {ui_url} for Dagster and {lago_url} for Lago's events. Ctrl-C ends both."
    if sys.platform == "darwin" or environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        return said
    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in (_port(ui_url), _port(lago_url)))
    return f"{said}\nFrom another machine, first: ssh -N {forwards} THIS_MACHINE"


def _port(url: str) -> str:
    return url.rsplit(":", 1)[1]


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=2).ok
    except requests.RequestException:
        return False


def _end(leader: "subprocess.Popen[bytes]") -> None:
    """End the whole group, politely first; a second Ctrl-C hurries."""
    for number, seconds in _ENDING:
        try:
            _signal(leader.pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if leader.poll() is not None and not _lives(leader.pid):
                    return
                time.sleep(0.1)
        except KeyboardInterrupt:
            continue


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _lives(group: int) -> bool:
    """Whether a process of the group runs; those that are dead and not buried by their parent do not."""
    return any(
        process.info["status"] != psutil.STATUS_ZOMBIE and _group_of(process.pid) == group
        for process in psutil.process_iter(["status"])
    )


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
