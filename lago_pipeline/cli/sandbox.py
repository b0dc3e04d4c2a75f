"""`lago-pipeline sandbox`: a local Lago to build and test against."""

import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lago_pipeline.sandbox.config import SandboxConfig, StoreName
    from lago_pipeline.sandbox.faults import FaultRule
    from lago_pipeline.sandbox.server import RunningSandbox


@click.command("sandbox")
@click.option(
    "--port",
    default=3900,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--store",
    default="postgres",
    show_default=True,
    type=click.Choice(["postgres", "clickhouse"]),
    help="Which of Lago's event stores to imitate; ClickHouse never refuses a duplicate.",
)
@click.option(
    "--no-dedup",
    is_flag=True,
    help="With ClickHouse: bill every copy of an event, as older organisations do.",
)
@click.option(
    "--lag",
    default=0.0,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long a stored event cannot be read, as in ClickHouse's pipeline.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps events and catalogue; without it they end with the process.",
)
@click.option("--api-key", metavar="KEY", help="The API key to accept; the demo's by default.")
@click.option(
    "--batch-max", default=100, show_default=True, type=click.IntRange(1), help="Most events in one batch."
)
@click.option(
    "--rate-limit", type=click.IntRange(1), metavar="N", help="Answer 429 beyond N API requests a second."
)
@click.option(
    "--rate-limit-others",
    type=click.IntRange(1),
    metavar="N",
    help="With --rate-limit: count all but POSTs of events apart, up to N a second.",
)
@click.option(
    "--sink",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="For benchmarks: count posted events and answer after so long, 0 at once; nothing is stored.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="JSON",
    help='A fault rule, repeatable: \'{"kind": "status", "status": 503, "times": 3}\'. Kinds: status, '
    "commit_then_status, html, empty, text, redirect, rate_limit, refuse, drop_before, drop_after, "
    "answer_late, drip, cut_answer, half_answer, latency, hide_details, partial_store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON.")
def sandbox(  # noqa: PLR0913 - one argument an option
    *,
    port: int,
    host: str,
    store: "StoreName",
    no_dedup: bool,
    lag: float,
    state: Path | None,
    api_key: str | None,
    batch_max: int,
    rate_limit: int | None,
    rate_limit_others: int | None,
    sink: float | None,
    faults: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a local Lago: its event API, its catalogue and faults on demand, until Ctrl-C.

    The events page is at the address printed; POST /sandbox/faults changes the faults while it runs.
    """
    from lago_pipeline.sandbox.config import DEMO_API_KEY, RateLimit, SandboxConfig
    from lago_pipeline.sandbox.server import serve
    from lago_pipeline.sandbox.store import StateError

    config = SandboxConfig(
        host=host,
        store=store,
        dedup=not no_dedup,
        lag=lag,
        state=state,
        api_key=api_key or DEMO_API_KEY,
        batch_max=batch_max,
        rate_limit=RateLimit(rate_limit, others=rate_limit_others) if rate_limit else None,
        sink=sink,
        faults=tuple(rule for text in faults for rule in _rules(text)),
    )
    try:
        serve(config, port=port, on_ready=lambda running: _announce(running, config, as_json=as_json))
    except StateError as problem:
        raise click.ClickException(str(problem)) from problem
    except OSError as problem:
        raise click.ClickException(_cannot_listen(problem, host, port)) from problem


def _rules(text: str) -> "list[FaultRule]":
    from lago_pipeline.sandbox.fault_json import rules_from_json
    from lago_pipeline.sandbox.faults import InvalidFaultError

    try:
        return rules_from_json(json.loads(text))
    except (InvalidFaultError, json.JSONDecodeError) as problem:
        raise click.BadParameter(str(problem), param_hint="--fault") from problem


def _announce(running: "RunningSandbox", config: "SandboxConfig", *, as_json: bool) -> None:
    """Print where to look and where to send, once both answer."""
    from lago_pipeline.sandbox.config import DEMO_API_KEY

    # A key that somebody chose may open more than this sandbox: it is not printed.
    key = DEMO_API_KEY if config.api_key == DEMO_API_KEY else None
    if as_json:
        said = {"url": running.url, "api_url": running.api_url, "api_key": key, "store": config.store}
        click.echo(json.dumps(said))
    else:
        click.echo(
            f"Lago sandbox: open {running.url}  API {running.api_url}" + (f"  key {key}" if key else "")
        )


def _cannot_listen(problem: OSError, host: str, port: int) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another with --port, or --port 0 for any free one"
    return f"cannot listen on {host} port {port}: {problem.strerror}"
