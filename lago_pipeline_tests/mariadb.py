"""A real MariaDB for the tests, from the packages of the system: `mariadb-server-core` of Debian."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
import pytest

from lago_pipeline_tests.server_tools import account, free_port, run_as

USER = "lago"
PASSWORD = "open-sesame"
_MISSING = (
    "MariaDB is not installed, and these tests need it: "
    "apt-get update && apt-get install -y mariadb-server-core mariadb-client-core"
)
_STARTS = 5
_PATIENCE_SECONDS = 60
_NUMBERS = count(1)
_CANNOT_BIND = "Bind on TCP/IP port"
# nothing here outlives the tests, so nothing needs to reach the disk
_SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "ON",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "OFF",
    "innodb-log-file-size": "32M",
    "innodb-buffer-pool-size": "64M",
    "performance-schema": "OFF",
    "character-set-server": "utf8mb4",
}


@dataclass(frozen=True)
class MariaServer:
    """A running server on loopback; `url` is SQLAlchemy's for one of its databases."""

    port: int

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        """The URL of a database for an account."""
        return f"mariadb+pymysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as an account that may do all; returns the rows of the last."""
        with closing(self._connect(USER, PASSWORD)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """An empty database, by name; it is dropped at the end."""
        name = f"test_{next(_NUMBERS)}"
        self.execute(f"create database {name}")
        try:
            yield name
        finally:
            self.execute(f"drop database {name}")

    def open(self) -> bool:
        """Make the account of the tests; False while the server does not answer yet."""
        try:
            connection = self._connect("root", "")
        except pymysql.OperationalError:
            return False
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(f"create user {USER}@'%' identified by '{PASSWORD}'")
            cursor.execute(f"grant all on *.* to {USER}@'%' with grant option")
        return True

    def _connect(self, user: str, password: str) -> "pymysql.Connection[Any]":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, autocommit=True
        )


@contextmanager
def running_mariadb() -> Iterator[MariaServer]:
    """A server with its own data folder; fails the test, in words, where MariaDB is not installed."""
    server, install = shutil.which("mariadbd", path=_path()), shutil.which("mariadb-install-db", path=_path())
    if server is None or install is None:
        pytest.fail(_MISSING, pytrace=False)
    with tempfile.TemporaryDirectory(prefix="lago-mariadb-", ignore_cleanup_errors=True) as name:
        folder, owner = Path(name), account("mysql")
        if owner:
            shutil.chown(folder, owner)
        data = ["--no-defaults", f"--datadir={folder / 'data'}"]
        accounts = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        run_as([install, *data, *accounts], folder, owner)
        with _started([server, *data, *([f"--user={owner}"] if owner else [])], folder) as running:
            yield running


def _path() -> str:
    """Debian keeps servers where only root looks."""
    return f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"


@contextmanager
def _started(command: list[str], folder: Path) -> Iterator[MariaServer]:
    """Start on a free port; another process may take it first, so try again with the next."""
    log = folder / "log"
    for _ in range(_STARTS):
        port = free_port()
        settings = {**_SETTINGS, "port": port, "socket": folder / "socket", "pid-file": folder / "pid"}
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in settings.items())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            if _answers(server := MariaServer(port), process):
                yield server
                return
        finally:
            process.kill()
            process.wait()
        if _CANNOT_BIND not in log.read_text():
            break
    raise RuntimeError(f"MariaDB did not start:\n{log.read_text()}")


def _answers(server: MariaServer, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if server.open():
            return True
        time.sleep(0.05)
    return False
