"""The pictures of the README, made anew: `make screenshots`. They show the demo after four weeks."""

import signal
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from lago_pipeline_tests.browser.chromium import running_chromium
from lago_pipeline_tests.browser.dagster_ui import DagsterUi
from lago_pipeline_tests.demo.dev import ROOT, Dev, demo_command, running_dev

IMAGES = ROOT / "docs/images"
DAYS = "[2026-09-01...2026-09-28]"
_LARGEST = 150_000
_SIDEBAR = 240
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
        page = browser.new_page(viewport={"width": 1240, "height": 700}, locale="en-GB")
        page.set_default_timeout(_DEADLINE_MS)
        _take(page, dev)
        dev.end(signal.SIGINT)


def _take(page: Page, dev: Dev) -> None:
    ui = DagsterUi(page, dev.url)
    ui.open_graph()
    expect(page.get_by_text("2 / 2 Passed")).to_be_visible()
    _save(page, "graph", top=330, height=200)
    ui.open_deliveries("partitions")
    ui.select_days(DAYS)
    expect(ui.count("Failed")).to_have_text("Failed (6)")
    _save(page, "days", top=0, height=480)
    ui.open_deliveries("overview")
    page.get_by_role("button", name="Plots").click()
    expect(page.locator("canvas").nth(3)).to_be_visible()
    page.get_by_text("lago/accepted", exact=True).scroll_into_view_if_needed()
    _save(page, "plots", top=0, height=700)
    page.goto(dev.lago_url)
    _save(page, "events", top=0, height=480, left=0)


def _save(page: Page, name: str, *, top: int, height: int, left: int = _SIDEBAR) -> None:
    """Write a part of the page, in CSS pixels; fails when the file is too large for a README."""
    path = IMAGES / f"{name}.png"
    page.screenshot(
        path=path, clip={"x": left, "y": top, "width": 1240 - left, "height": height}, animations="disabled"
    )
    if path.stat().st_size > _LARGEST:
        raise RuntimeError(f"{path.name} has {path.stat().st_size:,} bytes: show less of the page")


if __name__ == "__main__":
    main()
