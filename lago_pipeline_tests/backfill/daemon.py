"""A project's web server and daemon, as a person starts them, and its backfills through GraphQL."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from lago_pipeline_tests.backfill.project import OWN_ASSETS, SYNC
from lago_pipeline_tests.stranger.project import BIN, Stranger

LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
PROGRESS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status }
  }
}
"""
LOADED = """
{
  workspaceOrError {
    ... on Workspace { locationEntries { locationOrLoadError { ... on PythonError { message stack } } } }
  }
}
"""
WAITING = ("REQUESTED", "CANCELING")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Served:
    """A project whose web server answers."""

    url: str

    def asked(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        answer = requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        document: dict[str, Any] = answer.json()
        assert "errors" not in document, document
        found: dict[str, Any] = document["data"]
        return found

    def is_up(self) -> bool | None:
        """True once the server answers."""
        try:
            return requests.get(f"{self.url}/server_info", timeout=5).ok or None
        except requests.ConnectionError:
            return None

    def check_loaded(self) -> None:
        """Fail with the error of a project that could not be loaded."""
        entries = self.asked(LOADED)["workspaceOrError"]["locationEntries"]
        errors = [entry["locationOrLoadError"] for entry in entries]
        assert errors == [{}], errors

    def launched(self, days: Sequence[str]) -> str:
        """Start a backfill of the sync's three assets; returns its id."""
        assets = [{"path": [SYNC, name]} for name in OWN_ASSETS]
        params = {"assetSelection": assets, "partitionNames": list(days)}
        answer = self.asked(LAUNCH, params=params)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def end_of(self, backfill: str) -> str | None:
        """How a backfill ended; None while it goes on."""
        found = self.asked(PROGRESS, id=backfill)["partitionBackfillOrError"]
        return None if found["status"] in WAITING else str(found["status"])


@contextmanager
def served(project: Stranger) -> Iterator[Served]:
    """The project's web server and then its daemon, until the block ends.

    One after the other: Dagster does not make the tables of a new home for two processes at once.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    web_server = (str(BIN / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port))
    daemon = (str(BIN / "dagster-daemon"), "run")
    with _started(project, web_server):
        server = Served(f"http://127.0.0.1:{port}")
        waited(server.is_up, 120)
        server.check_loaded()
        with _started(project, daemon):
            yield server


@contextmanager
def _started(project: Stranger, command: tuple[str, ...]) -> Iterator[None]:
    log = project.root.parent / f"{Path(command[0]).name}.log"
    with log.open("w") as output, ExitStack() as stack:
        process = subprocess.Popen(
            command, cwd=project.root, env=project.environment, stdout=output, stderr=output
        )
        stack.callback(process.wait, timeout=60)
        stack.callback(process.terminate)
        yield


def waited(ask: Callable[[], Answer | None], seconds: float) -> Answer:
    """The first answer that is one, asked for until the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.5)
    raise AssertionError("no answer before the deadline")
