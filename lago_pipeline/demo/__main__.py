"""`make run`: the main job on demo data, from an empty folder to events in a Lago on this machine."""

import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import requests
import sqlalchemy as sa

from lago_pipeline.cli.output import print_table
from lago_pipeline.demo.catalog import seed_catalog
from lago_pipeline.demo.planted import PLANTED
from lago_pipeline.demo.warehouse import FIRST_DAY, LAST_DAY, seed
from lago_pipeline.errors import ConfigError, LagoPipelineError
from lago_pipeline.ledger.database import open_ledger, reading
from lago_pipeline.sandbox.config import SandboxConfig
from lago_pipeline.sandbox.server import running
from lago_pipeline.settings import LAGO_API_KEY, LAGO_API_URL, WAREHOUSE_URL, Settings, checked_api_url

UI_PORT = 3000
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
    with _lago():
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
@click.pass_context
def dev_command(context: click.Context) -> None:
    """Run the Dagster UI with the sandbox beside it; Ctrl-C ends both."""
    context.invoke(seed_command)
    if _is_taken(UI_PORT):
        raise ConfigError(f"port {UI_PORT} is in use by another program: Dagster's UI needs it")
    with _lago():
        context.invoke(catalog_command)
        page = Settings().required(LAGO_API_URL).replace("/api/v1", "")
        click.echo(
            f"Open http://127.0.0.1:{UI_PORT} for Dagster, {page} for Lago's events. Ctrl-C ends both."
        )
        command = [str(Path(sys.executable).parent / "dagster"), "dev", "--port", str(UI_PORT)]
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
        with subprocess.Popen(command) as ui:  # noqa: S603
            try:
                ui.wait()
            except KeyboardInterrupt:
                ui.terminate()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _lago() -> Iterator[None]:
    """The sandbox of LAGO_API_URL: one that runs already, or one of our own for as long as this takes."""
    settings = Settings()
    url = checked_api_url(settings.required(LAGO_API_URL))
    if _is_sandbox(url):
        click.echo(f"Using the Lago sandbox that runs at {url}.")
        yield
        return
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    config = SandboxConfig(state=settings.state / "sandbox.db", api_key=settings.required(LAGO_API_KEY))
    try:
        with running(config, port=port) as sandbox:
            click.echo(f"A Lago sandbox runs at {sandbox.api_url}.")
            yield
    except OSError as error:
        raise ConfigError(f"port {port} is in use by another program: stop it, or change the port") from error


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
