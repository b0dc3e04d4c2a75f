"""A past period through the UI: a backfill that the daemon takes up, in runs of seven days."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from lago_pipeline_tests.backfill.conftest import Past, day
from lago_pipeline_tests.backfill.daemon import served, waited
from lago_pipeline_tests.backfill.project import SYNC

DAYS = range(1, 11)
EMPTY = (3, 4, 10)
BAD = 9
DEADLINE_SECONDS = 240.0


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A server for alarms: its address, and what it got."""
    got: list[str] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", got
        finally:
            server.shutdown()


def accepted(past: Past) -> dict[str, int]:
    """How many rows each green day's own metadata says Lago accepted."""
    key, found = dg.AssetKey([SYNC, "deliveries"]), {}
    with dg.DagsterInstance.from_config(str(past.project.home)) as instance:
        for record in instance.fetch_materializations(key, limit=100, ascending=True).records:
            event = record.asset_materialization
            assert event is not None
            found[str(event.partition)] = int(str(event.metadata["lago/accepted"].value))
    return found


@pytest.mark.long
def test_a_backfill_in_the_ui_bills_the_past_and_tells_of_what_it_could_not(past: Past) -> None:
    """Good and empty days are green with their own numbers, the bad one red and told to the webhook."""
    counts = {number: number % 3 + 1 for number in DAYS if number not in (*EMPTY, BAD)}
    good = [(number, f"row-{number:02}-{index}") for number in counts for index in range(counts[number])]
    past.add(*((key, number, "sub_1", '{"units": 3}') for number, key in good), ("bad", BAD, None, "{}"))
    with webhook() as (url, alarms):
        variables = {**past.project.variables, "LAGO_PIPELINE_ALERT_WEBHOOK": url}
        with served(replace(past.project, variables=variables)) as server:
            backfill = server.launched([day(number) for number in DAYS])
            end = waited(lambda: server.end_of(backfill), DEADLINE_SECONDS)
            waited(lambda: alarms or None, DEADLINE_SECONDS)
    assert end == "COMPLETED_FAILED"
    assert past.colours() == {day(number): "FAILED" if number == BAD else "MATERIALIZED" for number in DAYS}
    assert accepted(past) == {day(number): counts.get(number, 0) for number in DAYS if number != BAD}
    assert past.billed() == sorted(key for _, key in good)
    assert any(day(BAD) in alarm and "missing_external_subscription_id" in alarm for alarm in alarms)
