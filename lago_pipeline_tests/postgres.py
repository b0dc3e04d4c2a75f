"""A real PostgreSQL for the tests, from the packages of the system: `apt-get install postgresql`."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lago_pipeline_tests.server_tools import account, free_port, run_as

USER = "lago"
PASSWORD = "open-sesame"
_MISSING = (
    "PostgreSQL is not installed, and these tests need it: apt-get update && apt-get install -y postgresql"
)
_STARTS = 5
_NUMBERS = count(1)
# nothing here outlives the tests, so nothing needs to reach the disk
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
}


@dataclass(frozen=True)
class PostgresServer:
    """A running server on loopback; `url` is SQLAlchemy's for one of its databases.

    `restart` ends every connection, and returns once the server takes new ones.
    """

    port: int
    restart: Callable[[], object]

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        """The URL of a database for an account."""
        return f"postgresql+psycopg://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the server's owner, each by itself; returns the rows of the last."""
        with self.connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection of the server's owner."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=USER, password=PASSWORD, autocommit=True
        )

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """An empty database, by name; it is dropped at the end, also while something is connected."""
        name = f"test_{next(_NUMBERS)}"
        self.execute("postgres", f"create database {name}")
        try:
            yield name
        finally:
            self.execute("postgres", f"drop database {name} with (force)")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server with its own data folder; fails the test, in words, where PostgreSQL is not installed."""
    binaries = _binaries()
    with tempfile.TemporaryDirectory(prefix="lago-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        owner = account("postgres")
        if owner:
            shutil.chown(folder, owner)
        _init(binaries, folder, owner)
        server = _start(binaries, folder, owner)
        try:
            yield server
        finally:
            run_as(
                [binaries / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", folder / "data"], folder, owner
            )


def _binaries() -> Path:
    """The folder of initdb and pg_ctl: Debian's newest, what pg_config names, or what PATH holds."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    candidates = sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    if config := shutil.which("pg_config"):
        named = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        candidates.append(Path(named.stdout.strip()))
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).parent)
    for folder in candidates:
        if (folder / "initdb").is_file() and (folder / "pg_ctl").is_file():
            return folder
    pytest.fail(_MISSING, pytrace=False)


def _init(binaries: Path, folder: Path, owner: str | None) -> None:
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    arguments: list[str | Path] = [
        "-D",
        folder / "data",
        "-U",
        USER,
        "--pwfile",
        password,
        "-A",
        "scram-sha-256",
    ]
    version = run_as([binaries / "initdb", "--version"], folder, owner).split()[2]
    if int(version.split(".")[0]) >= 15:
        # a language's order, as in production: what must sort by code point has to say so
        arguments += ["--locale-provider=icu", "--icu-locale=en-US"]
    run_as(
        [binaries / "initdb", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", *arguments],
        folder,
        owner,
    )


def _start(binaries: Path, folder: Path, owner: str | None) -> PostgresServer:
    """Start on a free port; another process may take it first, so try again with the next."""
    for _ in range(_STARTS):
        port = free_port()
        settings = " ".join(f"-c {name}='{value}'" for name, value in {**_SETTINGS, "port": port}.items())
        tool: list[str | Path] = [binaries / "pg_ctl", "-w", "-s", "-t", "60", "-D", folder / "data"]
        tool += ["-l", folder / "log"]
        try:
            run_as([*tool, "-o", settings, "start"], folder, owner)
        except RuntimeError:
            if "could not bind" not in (folder / "log").read_text():
                raise
        else:
            return PostgresServer(port, partial(run_as, [*tool, "-m", "fast", "restart"], folder, owner))
    raise RuntimeError(f"PostgreSQL found no free port:\n{(folder / 'log').read_text()}")
