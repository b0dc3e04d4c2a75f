"""`lago-pipeline sandbox`: the command, as a process."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from lago_pipeline.cli.sandbox import sandbox
from lago_pipeline.sandbox import DEMO_API_KEY, SandboxConfig
from lago_pipeline.sandbox.faults import KINDS
from lago_pipeline.sandbox.server import running

CODE = "from lago_pipeline.cli.sandbox import sandbox; sandbox()"


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command until the block ends, with the line it prints when it is ready."""
    command = [sys.executable, "-c", CODE, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize(("options", "ending"), [((), signal.SIGINT), (("--sink", "0"), signal.SIGTERM)])
def test_it_says_where_it_is_and_ends_cleanly(options: tuple[str, ...], ending: signal.Signals) -> None:
    """One line when it answers, nothing more, and exit code 0; with and without a sink."""
    with started(*options) as (process, line):
        url = line.split()[3]
        assert line == f"Lago sandbox: open {url}  API {url}/api/v1  key {DEMO_API_KEY}\n"
        assert requests.get(f"{url}/ready", timeout=10).status_code == 200
        answer = requests.post(f"{url}/api/v1/events", json={"event": {}}, timeout=10)
        assert answer.status_code == (200 if options else 401)
        process.send_signal(ending)
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0


def test_options_reach_the_sandbox(tmp_path: Path) -> None:
    """Store, key, limits and faults; a chosen key is not printed."""
    state = tmp_path / "lago.db"
    faults = (
        '{"kind": "html", "path": "/plans"}',
        '[{"kind": "status", "status": 503, "path": "/customers"}]',
    )
    options = ["--json", "--store", "clickhouse", "--no-dedup", "--state", str(state), "--api-key", "secret"]
    options += ["--batch-max", "1", "--rate-limit", "50", "--rate-limit-others", "40", "--lag", "3600"]
    options += ["--fault", faults[0], "--fault", faults[1]]
    with started(*options) as (_, line):
        said = json.loads(line)
        assert said == said | {"api_url": f"{said['url']}/api/v1", "api_key": None, "store": "clickhouse"}
        with requests.Session() as session:
            session.headers["Authorization"] = "Bearer secret"
            answers = [
                session.get(f"{said['api_url']}/{path}", timeout=10) for path in ("plans", "customers")
            ]
            assert [answer.status_code for answer in answers] == [502, 503]
            assert answers[0].headers["x-ratelimit-limit"] == "40"
            event = {"event": {"transaction_id": "a", "code": "c"}}
            answer = session.post(f"{said['api_url']}/events", json=event, timeout=10)
            assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (200, "50")
            assert session.get(f"{said['api_url']}/events/a", timeout=10).status_code == 404
            events = [{"transaction_id": "a", "code": "c"}] * 2
            answer = session.post(f"{said['api_url']}/events/batch", json={"events": events}, timeout=10)
            assert answer.json()["error_details"] == {"events": ["too_many_events"]}
    assert state.exists()


def test_a_port_in_use_is_named() -> None:
    """In one line, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(sandbox, ["--port", str(port)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in result.output


def test_an_address_that_is_not_ours_is_named() -> None:
    """In one line, with exit code 1."""
    result = CliRunner().invoke(sandbox, ["--port", "0", "--host", "192.0.2.1"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "cannot listen on 192.0.2.1" in result.output


def test_a_state_of_another_store_is_refused(tmp_path: Path) -> None:
    """Its events obey other rules."""
    state = tmp_path / "lago.db"
    with running(SandboxConfig(state=state)):
        pass
    result = CliRunner().invoke(sandbox, ["--port", "0", "--store", "clickhouse", "--state", str(state)])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"cannot keep state in {state}: it holds a postgres store, not clickhouse" in result.output


@pytest.mark.parametrize("content", [None, "no database, but long enough to be looked at as one" * 10])
def test_a_state_that_cannot_be_opened_is_named(tmp_path: Path, content: str | None) -> None:
    """A folder that is a file, and a file that is no database."""
    state = tmp_path / "file"
    state.write_text(content or "")
    path = state if content else state / "lago.db"
    result = CliRunner().invoke(sandbox, ["--port", "0", "--state", str(path)])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"cannot keep state in {path}" in result.output


@pytest.mark.parametrize("fault", ["{", '{"kind": "explode"}'])
def test_a_fault_that_makes_no_sense_is_a_usage_error(fault: str) -> None:
    """It names the option."""
    result = CliRunner().invoke(sandbox, ["--port", "0", "--fault", fault])
    assert result.exit_code == 2
    assert "--fault" in result.output


def test_the_help_names_every_kind_of_fault() -> None:
    """The list is written by hand, so that help needs no import."""
    (option,) = [option for option in sandbox.params if option.name == "faults"]
    said = str(getattr(option, "help", "")).partition("Kinds: ")[2].rstrip(".").split(", ")
    assert tuple(said) == KINDS


def test_every_option_has_help() -> None:
    """And the command is quick to say it: no server is imported for that."""
    assert all(getattr(option, "help", None) for option in sandbox.params)
    code = (
        "import sys, lago_pipeline.cli.sandbox; sys.exit(bool({'uvicorn', 'starlette'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
