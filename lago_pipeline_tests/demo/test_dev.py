"""`make dev`: what it says, how its ports are chosen, and that nothing of it is left."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from lago_pipeline.demo.__main__ import demo
from lago_pipeline.demo.dev import what_to_open
from lago_pipeline.demo.ports import in_use, is_taken
from lago_pipeline.demo.warehouse import SeedSummary
from lago_pipeline_tests.demo.dev import ROOT, demo_environment, is_running, running_dev, waited
from lago_pipeline_tests.server_tools import free_port


@pytest.fixture
def seeded_url(seeded: tuple[Path, SeedSummary]) -> str:
    """A demo warehouse that needs no time to be made."""
    return f"sqlite:///{seeded[0]}"


def test_what_ends_it_ends_all_that_it_started(tmp_path: Path, seeded_url: str) -> None:
    """A terminal that is closed ends grandchildren too, even while they start."""
    with running_dev(tmp_path, WAREHOUSE_URL=seeded_url) as dev:
        waited(lambda: any("code-server" in child.cmdline() for child in dev.children()))
        assert dev.end(signal.SIGHUP) == 0
        assert "Dagster and the sandbox have ended." in dev.said()


def test_when_dagster_dies_it_says_so_and_ends_the_orphans(tmp_path: Path, seeded_url: str) -> None:
    """A Dagster that was killed cannot end its own children: they are ended for it."""
    with running_dev(tmp_path, WAREHOUSE_URL=seeded_url) as dev:
        waited(lambda: any("code-server" in child.cmdline() for child in dev.children()))
        leader, *orphans = dev.children()
        leader.kill()
        assert dev.process.wait(timeout=60) == 1
        assert orphans
        assert [orphan for orphan in orphans if is_running(orphan)] == []
        assert "Error: Dagster ended by itself (exit code -9)" in dev.said()


@pytest.mark.parametrize(
    ("server", "choice"), [("Dagster's UI", "make dev UI_PORT"), ("the Lago sandbox", "make run LAGO_PORT")]
)
def test_a_taken_port_is_named_with_its_holder_and_a_free_one(
    seeded_url: str, tmp_path: Path, server: str, choice: str
) -> None:
    """One line says who holds the port, where that was started, and the command that avoids it."""
    environment = demo_environment(tmp_path, WAREHOUSE_URL=seeded_url)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        environment["LAGO_API_URL"] = f"http://127.0.0.1:{port}/api/v1"
        command = ["dev", "--port", str(port)] if "dev" in choice else ["run"]
        error = str(CliRunner().invoke(demo, command, env=environment).exception)
    assert error.startswith(f"port {port}, which {server} needs, is in use by ")
    assert f"(process {os.getpid()}, started in {Path.cwd()}): end that program" in error
    free = re.search(rf"{choice}=(\d+)$", error)
    assert free is not None
    assert not is_taken(int(free[1]))


def test_a_holder_that_cannot_be_told_is_not_made_up() -> None:
    """Other users' programs are hidden from us."""
    assert "in use by a program of another user or container: end" in str(in_use(free_port(), "it", "make X"))


def test_make_passes_the_chosen_ports_on() -> None:
    """What the error proposes is what the Makefile understands."""
    told = subprocess.run(
        ("make", "-n", "-p", "dev", "UI_PORT=4123", "LAGO_PORT=4124"),
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "-m lago_pipeline.demo dev --port 4123" in told
    assert "LAGO_API_URL := http://127.0.0.1:4124/api/v1" in told


@pytest.mark.parametrize("display", [{"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}, {}])
def test_it_says_what_to_open_also_where_no_browser_can_run(display: dict[str, str]) -> None:
    """Without a display it also says how another machine's browser gets here."""
    said = what_to_open("http://127.0.0.1:3000", "http://127.0.0.1:3900", display)
    assert said.startswith("Open http://127.0.0.1:3000 for Dagster and http://127.0.0.1:3900 for Lago's")
    forwards = "ssh -N -L 3000:127.0.0.1:3000 -L 3900:127.0.0.1:3900 "
    assert (forwards in said) == (not display)
