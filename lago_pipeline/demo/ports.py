"""The ports that the demo's servers need, and who holds one that cannot be had."""

import socket
from itertools import count

import psutil

from lago_pipeline.errors import ConfigError

_UNKNOWN = "a program of another user or container"


def is_taken(port: int) -> bool:
    """Whether somebody on this machine answers at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def in_use(port: int, needed_by: str, choice: str) -> ConfigError:
    """The error for a taken port: its holder, and the command that takes a free one.

    `choice` is that command up to the number, such as `make dev UI_PORT`.
    """
    free = next(other for other in count(port + 1) if not is_taken(other))
    return ConfigError(
        f"port {port}, which {needed_by} needs, is in use by {_holder(port)}: "
        f"end that program, or take another port: {choice}={free}"
    )


def _holder(port: int) -> str:
    """Name the program that listens, without its arguments: they may hold secrets."""
    try:
        listening = (found for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN)
        pid = next(found.pid for found in listening if found.laddr[1:] == (port,))
        process = psutil.Process(pid) if pid else None
        return f"{process.name()} (process {pid}, started in {process.cwd()})" if process else _UNKNOWN
    except (StopIteration, psutil.Error):  # ended meanwhile, or told to its owner only
        return _UNKNOWN
