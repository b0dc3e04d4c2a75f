"""What starting a real database server takes: an account, a free port, and its own tools."""

import os
import pwd
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def account(name: str) -> str | None:
    """Whom a server runs as: none refuses an ordinary user, and all refuse root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return name if name in names else "nobody"


def free_port() -> int:
    """A port of loopback that nothing listens on now; another process may take it first."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_as(command: Sequence[str | Path], folder: Path, owner: str | None) -> str:
    """Run a server's tool, and return what it said.

    Its output goes to a file, since a server that it starts inherits it and stays. Raises RuntimeError where
    the tool fails.
    """
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            user=owner,
            group=pwd.getpwnam(owner).pw_gid if owner else None,
            extra_groups=[] if owner else None,
            env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        said = output.read()
    if done.returncode:
        log = folder / "log"
        raise RuntimeError(f"{command[0]} failed: {said}{log.read_text() if log.exists() else ''}")
    return said
