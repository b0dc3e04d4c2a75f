"""`make run`, the main job on demo data, and `make dev`, the UI: both beside a Lago on this machine."""

import errno
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import click
import requests
import sqlalchemy as sa

from lago_pipeline.cli.output import print_table
from lago_pipeline.demo.catalog import seed_catalog
from lago_pipeline.demo.dev import dagster_ui, end_on_any_signal, wait_until_up, what_to_open
from lago_pipeline.demo.planted import PLANTED
from lago_pipeline.demo.ports import in_use, is_taken
from lago_pipeline.demo.warehouse import FIRST_DAY, LAST_DAY, seed
from lago_pipeline.errors import ConfigError, LagoPipelineError, RetriableError
from lago_pipeline.ledger.database import open_ledger, reading
from lago_pipeline.sandbox.config import SandboxConfig
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline.sandbox.store import StateError
from lago_pipeline.settings import LAGO_API_KEY, LAGO_API_URL, WAREHOUSE_URL, Settings, checked_api_url

_REFUSALS = sa.text(
    "select sync, partition, row_key, status, reason from lago_events where status <> 'accepted' "
    "order by sync desc, partition"
)


@click.group()
def demo() -> None:
    """Run the demo: seed a warehouse, and deliver its usage to a Lago on this machine."""


@demo.command("seed")
def seed_command() -> None:
    """Make the demo warehouse, unless it is there."""
    path = Path(str(sa.make_url(Settings().required(WAREHOUSE_URL)).database))
    summary = seed(path)
    rows = ", ".join(f"{count:,} rows in {table}" for table, count in summary.rows.items())
    click.echo(f"The demo warehouse has {rows}, {FIRST_DAY} to {LAST_DAY}.")


@demo.command("catalog")
def catalog_command() -> None:
    """Make the demo's metrics, plan, customers and subscriptions in the Lago of LAGO_API_URL."""
    settings = Settings()
    seed_catalog(settings.required(LAGO_API_URL), settings.required(LAGO_API_KEY))


@demo.command("run")
@click.option("--from", "first", default=FIRST_DAY.isoformat(), show_default=True, help="The first day.")
@click.option("--to", "last", default=LAST_DAY.isoformat(), show_default=True, help="The last day, included.")
@click.pass_context
def run_command(context: click.Context, first: str, last: str) -> None:
    """Do the main job; the exit code is 0 when exactly the planted rows of these days are refused."""
    context.invoke(seed_command)
    with _lago("run"):
        context.invoke(catalog_command)
        arguments = ["run", "--from", first, "--to", last]
        subprocess.run([sys.executable, "-m", "lago_pipeline.cli", *arguments], check=False)  # noqa: S603
        refused = _print_refusals()
        _print_events()
    planted = Counter(
        f"{plant.table} {plant.day}"
        for plant in PLANTED
        for _ in plant.rows
        if first <= plant.day.isoformat() <= last
    )
    if refused != planted:
        raise click.ClickException(f"refused were {dict(refused)}, but planted were {dict(planted)}")


@demo.command("dev")
@click.option("--port", default=3000, show_default=True, help="The port of Dagster's UI.")
@click.pass_context
def dev_command(context: click.Context, port: int) -> None:
    """Run the Dagster UI with the sandbox beside it; Ctrl-C ends both."""
    if is_taken(port):
        raise in_use(port, "Dagster's UI", "make dev UI_PORT")
    end_on_any_signal()
    context.invoke(seed_command)
    with suppress(KeyboardInterrupt), _lago("dev"):
        context.invoke(catalog_command)
        url, lago = f"http://127.0.0.1:{port}", Settings().required(LAGO_API_URL).replace("/api/v1", "")
        click.echo("Dagster starts, which takes half a minute on a small machine ...")
        with dagster_ui(port) as ui:
            wait_until_up(ui, url)
            click.echo(what_to_open(url, lago, os.environ))
            raise RetriableError(f"Dagster ended by itself (exit code {ui.wait()}): see its lines above")
    click.echo("Dagster and the sandbox have ended.")


@contextmanager
def _lago(command: str) -> Iterator[None]:
    """The sandbox of LAGO_API_URL: one that runs already, or one of our own for as long as this takes."""
    settings = Settings()
    url = checked_api_url(settings.required(LAGO_API_URL))
    if _is_sandbox(url):
        click.echo(f"Using the Lago sandbox that runs at {url}.")
        yield
        return
    config = SandboxConfig(state=settings.state / "sandbox.db", api_key=settings.required(LAGO_API_KEY))
    with ExitStack() as stack:
        sandbox = _started(stack, config, urlsplit(url).port or 80, command)
        click.echo(f"A Lago sandbox runs at {sandbox.api_url}.")
        yield


def _started(stack: ExitStack, config: SandboxConfig, port: int, command: str) -> RunningSandbox:
    try:
        return stack.enter_context(running(config, port=port))
    except StateError as error:
        raise ConfigError(f"{error}: remove it, or set LAGO_PIPELINE_STATE to another folder") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise in_use(port, "the Lago sandbox", f"make {command} LAGO_PORT") from error
        raise ConfigError(f"the Lago sandbox cannot listen on port {port}: {error.strerror}") from error


def _is_sandbox(api_url: str) -> bool:
    try:
        answer = requests.get(api_url.replace("/api/v1", "/sandbox/stats"), timeout=2)
    except requests.RequestException:
        return False
    return answer.status_code == 200


def _print_refusals() -> Counter[str]:
    engine = open_ledger(Settings().ledger_url)
    with reading(engine) as connection:
        rows = [dict(row) for row in connection.execute(_REFUSALS).mappings()]
    engine.dispose()
    if rows:
        print_table(["sync", "partition", "row_key", "status", "reason"], rows, "Not billed, and why")
    return Counter(f"{row['sync']} {row['partition']}" for row in rows)


def _print_events() -> None:
    settings = Settings()
    url = settings.required(LAGO_API_URL)
    for code in ("api_requests", "active_seats"):
        answer = requests.get(
            f"{url}/events",
            params={"code": code, "per_page": "1"},
            headers={"Authorization": f"Bearer {settings.required(LAGO_API_KEY)}"},
            timeout=30,
        )
        answer.raise_for_status()
        click.echo(f"Lago's events list holds {answer.json()['meta']['total_count']:,} events of {code}.")


if __name__ == "__main__":
    try:
        demo.main(standalone_mode=False)
    except LagoPipelineError as error:
        raise SystemExit(f"Error: {error}") from error
    except click.ClickException as error:
        raise SystemExit(f"Error: {error.format_message()}") from error
    except click.Abort as error:
        raise SystemExit(130) from error  # Ctrl-C, as a shell tells it
