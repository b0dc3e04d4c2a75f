"""A run started in the web interface of a stranger's project."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.stranger.project import BIN, DAY, DEADLINE_SECONDS, Stranger, billed

LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
Answer = TypeVar("Answer")


@pytest.fixture
def web_server(one_file: Stranger) -> Iterator[str]:
    """The address of the project's web server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = (str(BIN / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port))
    log = Path(one_file.root.parent / "web_server.log")
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=one_file.root, env=one_file.environment, stdout=output, stderr=output
        )
        try:
            yield f"http://127.0.0.1:{port}/graphql"
        finally:
            server.terminate()
            server.wait(timeout=30)


def asked(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """The data of a GraphQL answer."""
    answer = requests.post(url, json={"query": query, "variables": variables}, timeout=60)
    document: dict[str, Any] = answer.json()
    assert "errors" not in document, document
    found: dict[str, Any] = document["data"]
    return found


def waited(ask: Callable[[], Answer | None]) -> Answer:
    """The first answer that is one, asked for until the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.1)
    raise AssertionError("no answer before the deadline")


def is_up(url: str) -> bool | None:
    """True once the server answers."""
    try:
        return requests.get(url.replace("graphql", "server_info"), timeout=5).ok or None
    except requests.ConnectionError:
        return None


def test_a_run_launched_in_the_web_interface_delivers(
    one_file: Stranger, lago: RunningSandbox, web_server: str
) -> None:
    """A partition that is materialized in the UI is billed, with the ledger in the instance's home."""
    lago.reset()
    waited(lambda: is_up(web_server))
    selector = {
        "repositoryLocationName": "billing.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "calls_sync",
    }
    tags = [{"key": "dagster/partition", "value": DAY}]
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    launched = asked(web_server, LAUNCH, run=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]

    def end() -> str | None:
        status = str(asked(web_server, STATUS, id=run_id)["runOrError"]["status"])
        return status if status in ENDED else None

    assert waited(end) == "SUCCESS"
    assert billed(lago) == ["calls-0", "calls-1", "calls-2"]
    assert (one_file.home / "lago_pipeline/ledger.db").is_file()
