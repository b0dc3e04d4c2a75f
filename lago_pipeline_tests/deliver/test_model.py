"""Random histories of rows, answers, faults, crashes and reruns, against a model as plain as can be."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lago_pipeline.errors import RetriableError
from lago_pipeline.instrumentation import BatchDetails, on_batch
from lago_pipeline.report import Counts
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.deliver.conftest import world_around
from lago_pipeline_tests.deliver.world import DAY, NEXT_DAY, World, row

DAYS = (DAY, NEXT_DAY)
PATH = "/events/batch"
CUT_OFF = "create trigger cut_off before insert on sent begin select raise(abort, 'cut off'); end"
READS: dict[str, object] = {"path": "/events", "method": "GET"}
FAULTS: list[dict[str, object]] = [
    {"kind": "drop_after"},
    {"kind": "drop_before"},
    {"kind": "commit_then_status"},
    {"kind": "commit_then_status", "status": 503},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "html"},
    {"kind": "half_answer"},
    {"kind": "cut_answer"},
    {"kind": "text"},
    {"kind": "partial_store"},
    {"kind": "rate_limit", "reset_seconds": 2},
    {"kind": "status", "status": 503, **READS},
    {"kind": "rate_limit", "retry_after": 1, **READS},
]
fault = st.builds(
    lambda rule, times, every: {"path": PATH, **rule, "times": times, "every": every},
    st.sampled_from(FAULTS),
    st.integers(1, 12),
    st.integers(1, 3),
)
usage = st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans())
"""A row's day, its value, and whether it names a subscription."""
edits = st.dictionaries(st.integers(0, 39), st.none() | usage, max_size=30)
crash = st.none() | st.tuples(st.sampled_from(["interrupted", "cut off"]), st.integers(1, 3))
"""How a run dies, and at which batch: by Ctrl-C, or so that nothing is settled from then on."""
step = st.tuples(edits, st.integers(0, 1), st.lists(fault, max_size=3), crash)
Crash = tuple[str, int] | None
Step = tuple[dict[int, "Usage | None"], int, list[dict[str, object]], Crash]
Usage = tuple[int, int, bool]


@dataclass
class Model:
    """What the source holds, and what has been billed: the first good version of a row that was delivered."""

    rows: dict[int, Usage] = field(default_factory=dict)
    billed: dict[int, tuple[int, int]] = field(default_factory=dict)

    def edit(self, changes: dict[int, Usage | None]) -> None:
        """Add, change and move rows; None removes one."""
        for key, change in changes.items():
            self.rows.pop(key, None)
            if change is not None:
                self.rows[key] = change

    def deliver(self, day: int) -> Counts:
        """Bill a day; returns what a run afterwards must count."""
        counts = dict.fromkeys(("unchanged", "changed", "held", "quarantined"), 0)
        for key, (where, n, is_good) in self.rows.items():
            if where != day:
                continue
            if is_good:
                self.billed.setdefault(key, (day, n))
            counts[self._fate(key, n, is_good=is_good)] += 1
        removed = [key for key, (where, _) in self.billed.items()
                   if where == day and (key not in self.rows or self.rows[key][0] != day)]  # fmt: skip
        return Counts(
            **counts,
            extracted=sum(counts.values()),
            planned=counts["held"] + counts["quarantined"],
            removed=len(removed),
        )

    def _fate(self, key: int, n: int, *, is_good: bool) -> str:
        day, billed_n = self.billed.get(key, (None, None))
        if day == self.rows[key][0]:
            return "unchanged" if is_good and n == billed_n else "changed"
        if not is_good:
            return "quarantined"
        return "held"

    def source(self) -> list[tuple[object, ...]]:
        """The rows as the warehouse holds them."""
        return [
            row(f"k{key:05d}", n, ts=f"2026-01-0{day + 1} 12:00:00", sub="sub" if is_good else "")
            for key, (day, n, is_good) in self.rows.items()
        ]


@contextmanager
def dying(world: World, how: Crash) -> Iterator[None]:
    """Let the run in this block die, if it is to, once so many batches are done."""
    batches = 0

    def strike(_: BatchDetails) -> None:
        nonlocal batches
        batches += 1
        if how is None or batches != how[1]:
            return
        if how[0] == "interrupted":
            raise KeyboardInterrupt
        with world.ledger.begin() as connection:
            connection.exec_driver_sql(CUT_OFF)

    remove = on_batch(strike)
    with suppress(KeyboardInterrupt, RetriableError):
        yield
    remove()
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger if exists cut_off")


def check(world: World, model: Model, steps: list[Step]) -> None:
    """Live through a history; after each step a run without faults settles what they left."""
    for changes, day, faults, how in steps:
        model.edit(changes)
        world.source(model.source())
        world.lago.set_faults(faults)
        with dying(world, how):
            assert world.deliver(partition=DAYS[day]).broken_laws == ()
        world.lago.clear_faults()
        assert world.deliver(partition=DAYS[day]).broken_laws == ()
        report = world.deliver(partition=DAYS[day])
        assert (report.counts, report.broken_laws) == (model.deliver(day), ())
        held = {(str(item["transaction_id"])[-5:], str(item["timestamp"])[:10], item["properties"]["n"])  # type: ignore[index]
                for item in world.lago.events()}  # fmt: skip
        assert held == {
            (f"{key:05d}", f"2026-01-0{where + 1}", str(n)) for key, (where, n) in model.billed.items()
        }
        assert len(world.lago.events()) == len(model.billed)
        accepted = world.query("select row_key from lago_events where status = 'accepted' order by 1")
        assert [key for (key,) in accepted] == [f"k{key:05d}" for key in sorted(model.billed)]


@pytest.fixture(params=["postgres", "clickhouse"])
def lago(request: pytest.FixtureRequest) -> RunningSandbox:
    """A Lago of either kind; the one with ClickHouse bills every copy."""
    made: RunningSandbox = request.getfixturevalue(f"_{request.param}_lago")
    return made


@contextmanager
def _fresh(ledger: Path, lago: RunningSandbox) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, world_around(Path(folder), ledger, lago) as world:
        yield world


@settings(
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(step, min_size=1, max_size=5))
def test_any_history_ends_with_every_row_billed_once(
    empty_ledger: Path,
    lago: RunningSandbox,
    steps: list[Step],
) -> None:
    """Rows come, change, move and go, Lago fails, runs die: each row is billed once, as it first was."""
    with _fresh(empty_ledger, lago) as world:
        check(world, Model(), steps)
