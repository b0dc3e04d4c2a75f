"""Delivery to an instant sink: how near it comes to what its HTTP layer, its ledger and the wire allow."""

import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import orjson
import requests
import sqlalchemy as sa

from lago_pipeline.cli.output import print_table
from lago_pipeline.collecting import rare_collections
from lago_pipeline.deliver.batches import batches
from lago_pipeline.event import Event, Events
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.ledger.outcomes import Outcome, settled_lines, write_lines
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.report import Counts, Status
from lago_pipeline.sandbox.config import DEMO_API_KEY
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.events import events_opened
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Delivery, Sync
from lago_pipeline_tests.bench.main_job import DAY, SYNC, seed, sink

IN_FLIGHT = 16
LATENCY = 0.05
COMMIT_BATCHES = 100
COLUMNS = ["what", "events/s", "compared with", "ratio", "goal"]


@click.command()
@click.option("--rows", default=200_000, show_default=True, help="Events of the partition.")
@click.option("--settled", default=1_000_000, show_default=True, help="Outcomes to settle.")
def main(rows: int, settled: int) -> None:
    """Print events a second of each way, and ratios of one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed(folder / "warehouse.db", rows)
        ready = prepared(folder, SYNC)
        lines = [*instant(folder, ready, rows), *distant(folder, ready, rows), *settling(folder, settled)]
    print_table(COLUMNS, lines)


def prepared(folder: Path, sync: Sync) -> Pipeline:
    """A pipeline whose events are ready in the spool."""
    pipeline = Pipeline(sync, Spool(folder / "spool"), "bench", say=lambda _: None)
    pipeline.extract(DAY, warehouse_engine(f"sqlite:///{folder / 'warehouse.db'}"))
    pipeline.render(DAY)
    return pipeline


def instant(folder: Path, pipeline: Pipeline, rows: int) -> Iterator[dict[str, object]]:
    """The HTTP layer alone, a delivery with all that belongs to it, and deliveries of nothing new."""
    bodies = first_bodies(pipeline)
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    with sink(folder, 0) as api_url, LagoClient(api_url, DEMO_API_KEY) as lago:
        calls = rows // 100
        loop = rate(rows, lambda: [lago.post_events(bodies) for _ in range(calls)])
        anew = rate(rows // 20, lambda: [post_anew(api_url, bodies) for _ in range(calls // 20)])
        client = lago_client(api_url, bodies)
        theirs = rate(rows // 20, lambda: [client() for _ in range(calls // 20)])
        yield line("one ready body in a loop", loop)
        yield line("the same, a new connection a call", anew)
        yield line("the same events, Lago's own Python client", theirs)
        accepted, unchanged = Counts(extracted=rows, accepted=rows, planned=rows), Counts(rows, rows)
        deliver = partial(delivered, pipeline, ledger, lago)
        full = rate(rows, lambda: deliver(accepted))
        yield line("delivery of ready events, settled", full, "the loop", full / loop, "0.6")
        yield line("", full, "a new connection a call", full / anew, "5")
        yield line("", full, "Lago's own Python client", full / theirs, "")
        posted = sunk(api_url)
        with closing(ledger.raw_connection()) as connection:
            connection.cursor().execute("update partitions set digest = null")
            connection.commit()
        again = rate(rows, lambda: deliver(unchanged))
        yield line("second run, nothing new, row by row", again, "150,000/s", again / 150_000, "1")
        digest = rate(rows, lambda: deliver(unchanged))
        yield line("second run, nothing new, by its digest", digest, "row by row", digest / again, "")
        if sunk(api_url) != posted:
            raise SystemExit("a run without news sent something")


def distant(folder: Path, pipeline: Pipeline, rows: int) -> Iterator[dict[str, object]]:
    """A Lago that takes 50 ms for each answer."""
    sync = replace(SYNC, delivery=Delivery(concurrency=IN_FLIGHT))
    ledger = open_ledger(f"sqlite:///{folder / 'distant.db'}")
    with sink(folder, LATENCY) as api_url, LagoClient(api_url, DEMO_API_KEY) as lago:
        accepted = Counts(extracted=rows, accepted=rows, planned=rows)
        found = rate(rows, lambda: delivered(replace(pipeline, sync=sync), ledger, lago, accepted))
    most = IN_FLIGHT * 100 / LATENCY
    what = f"delivery at {LATENCY * 1000:.0f} ms, {IN_FLIGHT} in flight"
    yield line(what, found, f"{most:,.0f}/s, which the wire allows", found / most, "0.9")


def settling(folder: Path, count: int) -> Iterator[dict[str, object]]:
    """Outcomes with UUID keys into a new ledger, as a delivery settles them."""
    chance = random.Random(5)
    keys = sorted(str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(count))
    ledger = open_ledger(f"sqlite:///{folder / 'settled.db'}")

    seconds = 0.0
    for first in range(0, count, 100_000):
        events = Events.of(map(event, keys[first : first + 100_000]))
        outcomes = [Outcome(batch, Status.ACCEPTED, None, 200) for batch in batches(events, 100)]
        started = time.perf_counter()
        settle_in_commits(ledger, outcomes)
        seconds += time.perf_counter() - started
    found = count / seconds
    with ledger.connect() as connection:
        if connection.execute(sa.text("select count(*) from sent")).scalar_one() != count:
            raise SystemExit("the ledger lost something")
    yield line(f"settle {count:,}, UUID keys, SQLite", found, "150,000/s", found / 150_000, "1")


def settle_in_commits(ledger: sa.Engine, outcomes: list[Outcome]) -> None:
    """Ready outcomes, by the thread and in the commits of a delivery."""
    with rare_collections(), LedgerWriter(ledger) as writer:
        for first in range(0, len(outcomes), COMMIT_BATCHES):
            several = outcomes[first : first + COMMIT_BATCHES]
            lines = settled_lines(several, 1, DAY, prefix="bench", run=1, now_ms=DAY.start_ms)
            writer.later(partial(write_lines, lines=lines))
        writer.wait()


def event(key: str) -> Event:
    """An event of the usual size."""
    properties = '{"units":"12","weight":"3.123","region":"eu-west"}'
    id_, fingerprint = f"bench:calls:{key}", key.encode()[:16]
    return Event(key, 0, id_, "calls", "sub_7", DAY.start_ms, properties, b"", fingerprint, None)


def delivered(pipeline: Pipeline, ledger: sa.Engine, lago: LagoClient, counts: Counts) -> None:
    """Deliver; raises SystemExit where the counts are others."""
    report = pipeline.deliver(DAY, ledger, lago)
    if report.counts != counts or not report.is_settled:
        raise SystemExit(f"{report.counts} instead of {counts}: {report.broken_laws}")


def first_bodies(pipeline: Pipeline) -> list[bytes]:
    """A batch of ready bodies."""
    with events_opened(pipeline.spool.events(SYNC.name, DAY.key)) as file:
        return next(file.groups())[:100].column("body")


def post_anew(api_url: str, bodies: list[bytes]) -> requests.Response:
    """As a client without a session does."""
    body = b'{"events":[' + b",".join(bodies) + b"]}"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {DEMO_API_KEY}"}
    return requests.post(f"{api_url}/events/batch", data=body, headers=headers, timeout=30)


def lago_client(api_url: str, bodies: list[bytes]) -> Callable[[], object]:
    """A batch sent by lago-python-client, which connects anew for each call."""
    from lago_python_client.client import Client  # which takes a second, and Python up to 3.13
    from lago_python_client.models import BatchEvent, Event

    client = Client(DEMO_API_KEY, api_url.removesuffix("/api/v1"))
    events = [orjson.loads(body) for body in bodies]
    return lambda: client.events.batch_create(BatchEvent(events=[Event(**event) for event in events]))


def sunk(api_url: str) -> int:
    """How many events the sink has counted."""
    stats = requests.get(api_url.replace("/api/v1", "/sandbox/stats"), timeout=30).json()
    return int(stats["events_sunk"])


def rate(count: int, work: Callable[[], object]) -> float:
    """Events a second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def line(
    what: str, rate: float, compared: str = "", ratio: float | None = None, goal: str = ""
) -> dict[str, object]:
    """A line of the table."""
    values = (what, f"{rate:,.0f}", compared, "" if ratio is None else f"{ratio:.2f}", goal)
    return dict(zip(COLUMNS, values, strict=True))


if __name__ == "__main__":
    main()
