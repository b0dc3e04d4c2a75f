"""What a person does in Dagster's UI, by the words and roles that they see there."""

import re
from dataclasses import dataclass
from typing import ClassVar

from playwright.sync_api import Locator, Page, expect

OWN_ASSETS = ("usage_rows", "events", "deliveries")


@dataclass(frozen=True)
class DagsterUi:
    """Dagster's UI at an address, in one page of a browser, for one sync of the demo."""

    page: Page
    url: str
    sync: str = "api_requests"
    location: ClassVar[str] = "lago_pipeline"

    def open_graph(self) -> None:
        """Show the sync's assets as a graph."""
        self.page.goto(f"{self.url}/locations/{self.location}/asset-groups/{self.sync}")
        for name in OWN_ASSETS:
            expect(self.node(name)).to_be_visible()

    def node(self, name: str) -> Locator:
        """A node of the graph."""
        return self.page.get_by_text(name, exact=True).filter(visible=True).first

    def materialize(self, days: str) -> None:
        """Launch what the graph shows for some days: one, or `[first...last]`."""
        self.page.get_by_role("button", name="Materialize all").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Last 90 days").click()
        self.page.get_by_role("menuitem", name="All time").click()
        field = dialog.get_by_role("textbox").first
        field.fill(days)
        field.press("Enter")
        dialog.get_by_role("button", name=re.compile("^Launch")).click()
        expect(dialog).to_be_hidden()

    def open_deliveries(self, view: str) -> None:
        """Show a view of the sync's deliveries: overview, partitions, events or checks."""
        self.page.goto(f"{self.url}/assets/{self.sync}/deliveries?view={view}")

    def select_days(self, days: str) -> None:
        """Look at some days only, on the partitions view."""
        field = self.page.get_by_role("textbox").first
        expect(field).to_have_value(re.compile(r"^\[.*]$"))
        field.fill(days)
        field.press("Enter")

    def count(self, status: str) -> Locator:
        """The number of selected days of a status, as in `Failed (1)`."""
        return self.page.get_by_text(re.compile(rf"^{status} \(\d+\)$"))

    def colour(self, day: str) -> str:
        """The colour of a day in the list of days: red, green or grey."""
        row = self.page.get_by_title(day).first.locator("xpath=../following-sibling::div[1]")
        red, green = re.findall(r"\d+", row.evaluate("dot => getComputedStyle(dot).backgroundColor"))[:2]
        strongest = max((int(red), "red"), (int(green), "green"))
        return strongest[1] if abs(int(red) - int(green)) > 60 else "grey"
