"""The API key and the passwords of URLs are in nothing that a run leaves behind."""

import logging
import traceback

import pytest
import requests
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError, LagoPipelineError, RetriableError
from lago_pipeline.instrumentation import on_refused, on_retry
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import TransportOptions
from lago_pipeline.resources import LagoResource, LedgerResource, WarehouseResource
from lago_pipeline_tests.deliver.world import World, row, rows

SECRET = "a-password-that-must-not-leak"


def everything_left(world: World) -> bytes:
    """All files of the run: spool, ledger, locks and warehouse."""
    return b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())


def test_a_run_with_failures_leaves_no_key_anywhere(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not in its files, logs, report, hooks or errors, nor on Lago's page of events."""
    told: list[object] = []
    removes = [on_retry(told.append), on_refused(told.append)]
    faults: list[dict[str, object]] = [
        {"kind": "status", "status": 503, "times": 1},
        {"kind": "drop_after", "times": 1},
        {"kind": "refuse", "contains": "k00003"},
        {"kind": "rate_limit", "reset_seconds": 1, "times": 1},
    ]
    world.lago.set_faults(faults)
    with caplog.at_level(logging.DEBUG):
        report = world.deliver([*rows(range(40)), row("bad", sub="")])
        world.lago.set_faults([{"kind": "status", "status": 401}])
        with pytest.raises(ConfigError) as error:
            world.deliver(rows(range(50)))
    for remove in removes:
        remove()
    page = requests.get(world.lago.url, timeout=10).text
    texts = [caplog.text, repr(report), repr(told), *world.said, repr(world.client), repr(vars(world.client))]
    texts += [*traceback.format_exception(error.value), page]
    key = world.lago.api_key
    assert told
    assert not [text for text in texts if key in text]
    assert key.encode() not in everything_left(world)


def test_resources_and_options_show_no_secret() -> None:
    """Neither in their text nor in that of their errors."""
    proxy = f"http://user:{SECRET}@127.0.0.1:9"
    lago = LagoResource(api_url="http://127.0.0.1:9/api/v1", api_key=SECRET, proxy=proxy)
    warehouse = WarehouseResource(url=f"postgresql://reader:{SECRET}@127.0.0.1:9/usage")
    ledger = LedgerResource(url=f"postgresql://lago:{SECRET}@127.0.0.1:9/ledger")
    texts = [str(made) + repr(made) for made in (lago, warehouse, ledger, TransportOptions(proxy=proxy))]
    with pytest.raises(RetriableError) as no_lago, lago.connected() as client:
        client.organization()
    with pytest.raises(sa.exc.OperationalError) as no_warehouse, warehouse.connected() as engine:
        engine.connect()
    with pytest.raises(RetriableError) as no_ledger, ledger.opened():
        pass
    for error in (no_lago, no_warehouse, no_ledger):
        texts += traceback.format_exception(error.value)
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@lago.example/api/v1",
        f"https://{SECRET}@lago.example/api/v1",
        f"https://lago.example/api/v1?api_key={SECRET}",
        f"https://lago.example/api/v1#{SECRET}",
    ],
)
def test_a_secret_in_lagos_url_is_refused_and_not_repeated(url: str) -> None:
    """URLs end up in logs: the key belongs in a variable of its own."""
    with pytest.raises(LagoPipelineError) as error:
        LagoClient(url, "a-key")
    assert SECRET not in str(error.value)
