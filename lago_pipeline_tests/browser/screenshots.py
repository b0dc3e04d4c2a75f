"""The pictures of the README, made anew: `make screenshots`. They show the demo after four weeks."""

import re
import signal
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, Page, expect

from lago_pipeline_tests.browser.chromium import running_chromium
from lago_pipeline_tests.browser.dagster_ui import DagsterUi
from lago_pipeline_tests.demo.dev import ROOT, Dev, demo_command, running_dev

IMAGES = ROOT / "docs/images"
DAYS = "[2026-09-01...2026-09-28]"
_LARGEST = 150_000
_WIDTH, _HEIGHT, _SIDEBAR = 1240, 1120, 240
_DEADLINE_MS = 60_000


def main() -> None:
    """Deliver the demo, open it in a browser, and write the pictures."""
    expect.set_options(timeout=_DEADLINE_MS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_dev(Path(folder)) as dev,
        running_chromium() as browser,
    ):
        dev.wait_until_up()
        subprocess.run(demo_command("run"), cwd=ROOT, env=dev.environment, check=True)
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, locale="en-GB")
        page.set_default_timeout(_DEADLINE_MS)
        _take(page, dev)
        dev.end(signal.SIGINT)


def _take(page: Page, dev: Dev) -> None:
    ui = DagsterUi(page, dev.url)
    ui.open_graph()
    expect(page.get_by_text(re.compile(r"\d / 2 Passed"))).to_be_visible()
    node = ui.node("usage_rows").bounding_box()
    assert node is not None
    _save(page, "graph", top=node["y"] - 25, height=150, right=1190)
    ui.open_deliveries("partitions")
    ui.select_days(DAYS)
    expect(ui.count("Failed")).to_have_text("Failed (6)")
    _save(page, "days", top=0, height=480)
    ui.open_deliveries("overview")
    page.get_by_role("button", name="Plots").click()
    expect(page.locator("canvas").nth(5)).to_be_visible()
    _save(page, "plots", top=330, height=780, right=940)
    page.goto(dev.lago_url)
    _save(page, "events", top=0, height=470, left=0)


def _save(
    page: Page, name: str, *, top: float, height: int, left: int = _SIDEBAR, right: int = _WIDTH
) -> None:
    """Write a part of the page, in CSS pixels; fails when the file is too large for a README."""
    path = IMAGES / f"{name}.png"
    clip: FloatRect = {"x": left, "y": top, "width": right - left, "height": height}
    page.screenshot(path=path, clip=clip, animations="disabled")
    if path.stat().st_size > _LARGEST:
        raise RuntimeError(f"{path.name} has {path.stat().st_size:,} bytes: show less of the page")


if __name__ == "__main__":
    main()
