"""Dagster's UI as `make dev` opens it: deliveries are started and read there."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lago_pipeline_tests.browser.dagster_ui import DagsterUi
from lago_pipeline_tests.demo.dev import running_dev

GOOD, BAD, LAST = "2026-09-02", "2026-09-03", "2026-09-05"
DELIVERED_MS = 180_000  # the daemon looks for backfills every thirty seconds
REASON = "missing_external_subscription_id"


@pytest.mark.long
def test_deliveries_are_started_and_read_in_a_browser(tmp_path: Path, page: Page) -> None:
    """One day and a backfill from the UI; red and green days, plots, checks; then Ctrl-C leaves nothing."""
    with running_dev(tmp_path) as dev:
        dev.wait_until_up()
        ui = DagsterUi(page, dev.url)
        started_from_the_graph(ui)
        days_are_red_and_green(ui)
        numbers_are_plotted(ui)
        checks_say_why(ui)
        events_are_in_lago(page, dev.lago_url)
        assert dev.end(signal.SIGINT) == 0


def started_from_the_graph(ui: DagsterUi) -> None:
    """The graph leads from the usage rows to Lago's metric; one day and three more are asked for there."""
    ui.open_graph()
    expect(ui.page.get_by_role("img", name="open_in_new")).to_have_count(2)  # its neighbours in other groups
    ui.materialize(f"[{BAD}...{LAST}]")
    ui.materialize(GOOD)


def days_are_red_and_green(ui: DagsterUi) -> None:
    """The run and the daemon's backfill end with one red day among green ones."""
    ui.open_deliveries("partitions")
    ui.select_days(f"[{GOOD}...{LAST}]")
    expect(ui.count("Materialized")).to_have_text("Materialized (3)", timeout=DELIVERED_MS)
    expect(ui.count("Failed")).to_have_text("Failed (1)", timeout=DELIVERED_MS)
    colours = {day: ui.colour(day) for day in (GOOD, BAD, "2026-09-04", LAST)}
    assert colours == {GOOD: "green", BAD: "red", "2026-09-04": "green", LAST: "green"}


def numbers_are_plotted(ui: DagsterUi) -> None:
    """Each number of the deliveries has its chart."""
    ui.open_deliveries("overview")
    ui.page.get_by_role("button", name="Plots").click()
    for name in ("lago/accepted", "lago/extracted", "lago/quarantined"):
        expect(ui.page.get_by_text(name, exact=True)).to_be_visible()
    assert ui.page.locator("canvas").count() >= 3


def checks_say_why(ui: DagsterUi) -> None:
    """The check of the red day tells what is not billed and why."""
    ui.open_deliveries("checks")
    ui.page.get_by_text("all_accepted").first.click()
    ui.page.get_by_text("Execution history", exact=True).click()
    row = ui.page.get_by_role("row").filter(has_text=BAD)
    expect(row.get_by_text("Failed")).to_be_visible()
    expect(row).to_contain_text(REASON)


def events_are_in_lago(page: Page, url: str) -> None:
    """The sandbox's page lists what was delivered."""
    page.goto(url)
    page.get_by_label("From").fill(GOOD)
    page.get_by_label("To").fill(GOOD)
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#total")).to_have_text("3,354")
