"""`lago-pipeline check`: whether what is declared can be billed, before anything is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from lago_pipeline.check.checked_sync import CheckedSync
from lago_pipeline.check.environment import NamedResource, project_checks, resource_check
from lago_pipeline.check.environment import Project as CheckedProject
from lago_pipeline.check.finding import Checkup, Finding, Level, Need
from lago_pipeline.check.lago import LAGO_CHECKS, Lago
from lago_pipeline.check.ledger import LEDGER_CHECKS, Ledger
from lago_pipeline.check.sync import SYNC_CHECKS
from lago_pipeline.check.warehouse import WAREHOUSE_CHECKS, Warehouse
from lago_pipeline.cli.output import console, print_json
from lago_pipeline.cli.project import Project, ProjectSync, load_project
from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.settings import LAGO_API_KEY, LAGO_API_URL, WAREHOUSE_URL, Settings
from lago_pipeline.spool.folder import Spool

_MOST_EMPTY = 400
_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.ERROR: "bold red"}
_WAREHOUSE_CODE = "WarehouseResource(url=…)"
_LAGO_CODE = "LagoResource(api_url=…, api_key=…)"


@click.command()
@click.argument("sync", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def check(sync: str | None, *, as_json: bool) -> None:
    """Check that SYNC, or every sync, can bill: environment, databases, Lago, metrics and sample rows.

    Sends no event and changes nothing. The exit code is 0 only when nothing is wrong; warnings do not fail.
    """
    findings = _findings(sync)
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise click.exceptions.Exit(1)


def _findings(sync: str | None) -> list[Finding]:
    try:
        project = load_project()
    except ConfigError as error:
        remedy = "correct what it names, in the folder of your Dagster project"
        return [Finding("project", "definitions", Level.ERROR, str(error), remedy)]
    chosen = project.chosen(sync)
    with ExitStack() as stack:
        return _Plan(project, chosen, stack).findings()


class _Plan:
    """What is checked: the project, then each connection once, then the syncs."""

    def __init__(self, project: Project, chosen: Sequence[ProjectSync], stack: ExitStack) -> None:
        self._project = project
        self._chosen = chosen
        self._stack = stack
        self._declared = project.definitions.resources or {}
        self._settings = Settings()
        self._pipelines = [self._pipeline(item) for item in project.syncs.values()]
        self._ledger = self._checked_ledger()
        self._warehouses = {item.wiring.warehouse: self._warehouse(item.wiring.warehouse) for item in chosen}
        self._lagos = {item.wiring.lago: self._lago(item) for item in chosen}

    def findings(self) -> list[Finding]:
        """Run every check."""
        checkup = Checkup()
        project = self._checked_project()
        checkup.run(project, project_checks(project))
        for warehouse in self._warehouses.values():
            checkup.run(warehouse, WAREHOUSE_CHECKS)
        checkup.run(self._ledger, LEDGER_CHECKS)
        for lago in self._lagos.values():
            checkup.run(lago, LAGO_CHECKS)
        for item in self._chosen:
            checkup.run(self._sync(item), SYNC_CHECKS)
        return checkup.findings

    def _checked_project(self) -> CheckedProject:
        warehouses = {item.wiring.warehouse: _WAREHOUSE_CODE for item in self._chosen}
        keys = warehouses | {item.wiring.lago: _LAGO_CODE for item in self._chosen}
        variables = [name for key in keys for name in self._variables(key)]
        named = [
            NamedResource(key, key in self._declared, self._users(key), code) for key, code in keys.items()
        ]
        return CheckedProject(self._settings, tuple(dict.fromkeys(variables)), tuple(named))

    def _users(self, key: str) -> tuple[str, ...]:
        wirings = {item.sync.name: item.wiring for item in self._chosen}
        return tuple(name for name, wiring in wirings.items() if key in (wiring.warehouse, wiring.lago))

    def _variables(self, key: str) -> list[str]:
        """The variables that a resource takes from the environment, by itself or by an EnvVar."""
        from lago_pipeline.resources import LagoResource, WarehouseResource

        match self._declared.get(key):
            case WarehouseResource(url=url):
                given = {WAREHOUSE_URL: url}
            case LagoResource(api_url=url, api_key=api_key):
                given = {LAGO_API_URL: url, LAGO_API_KEY: api_key}
            case _:
                given = {}
        names = (getattr(value, "env_var_name", None) if value else name for name, value in given.items())
        return [name for name in names if name]

    def _needs(self, key: str) -> list[Need]:
        return [("project", name) for name in (resource_check(key), *self._variables(key))]

    def _connected(self, key: str) -> Callable[[], AbstractContextManager[Any]]:
        return partial(_connected, self._project, key)

    def _warehouse(self, key: str) -> Warehouse:
        return Warehouse(_title("warehouse", key), self._connected(key), self._stack, self._needs(key))

    def _lago(self, item: ProjectSync) -> Lago:
        key, destination = item.wiring.lago, item.sync.destination
        fellows = (self._pipeline(each) for each in self._chosen if each.wiring.lago == key)
        code = next((each.template.literal_code for each in fellows if each.template.literal_code), None)
        connected, needs = self._connected(key), self._needs(key)
        return Lago(_title("Lago", key), destination, connected, self._ledger, self._stack, code, needs)

    def _checked_ledger(self) -> Ledger:
        """Its URL only: the resource itself would make the ledger."""
        key = self._chosen[0].wiring.ledger
        url = getattr(self._declared.get(key), "url", None)
        return Ledger(str(url or self._settings.ledger_url), self._stack)

    def _pipeline(self, item: ProjectSync) -> Pipeline:
        return Pipeline(item.sync, Spool(self._settings.state / "spool"), "check", say=lambda _: None)

    def _sync(self, item: ProjectSync) -> CheckedSync:
        wiring = item.wiring
        return CheckedSync(
            self._pipeline(item),
            _latest(item),
            self._warehouses[wiring.warehouse],
            self._lagos[wiring.lago],
            self._ledger,
            [other for other in self._pipelines if other.sync.name != item.sync.name],
        )


@contextmanager
def _connected(project: Project, key: str) -> Iterator[Any]:
    """What a resource connects to; raises ConfigError where Dagster cannot make the resource."""
    import dagster as dg

    try:
        with project.resources(key) as (resource,):
            if not hasattr(resource, "connected"):
                raise ConfigError(f"the resource {key!r} is neither a WarehouseResource nor a LagoResource")
            with resource.connected() as connection:
                yield connection
    except dg.DagsterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(f"the resource {key!r} cannot be made: {cause}") from error


def _title(role: str, key: str) -> str:
    return role if key.startswith("lago_pipeline__") else f"{role} {key}"


def _latest(item: ProjectSync) -> list[Partition]:
    keys = item.wiring.partitions_def.get_partition_keys()
    return list(item.wiring.partitions(keys[: -_MOST_EMPTY - 1 : -1]))


def _document(finding: Finding) -> dict[str, object]:
    return {
        "subject": finding.subject,
        "check": finding.check,
        "ok": finding.ok,
        "level": finding.level.value,
        "says": finding.says,
        "remedy": finding.remedy or None,
    }


def _print(findings: Sequence[Finding]) -> None:
    """Aligned lines by subject, each remedy under its line, and a last line that counts."""
    out = console()
    width = max(len(finding.check) for finding in findings)
    for subject in dict.fromkeys(finding.subject for finding in findings):
        out.print(Text(subject, style="bold"))
        out.print(_lines([finding for finding in findings if finding.subject == subject], width))
    out.print(Text(_summary(findings), style="bold"))


def _lines(findings: Sequence[Finding], width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=9)
    table.add_column(width=width)
    table.add_column(overflow="fold")
    for finding in findings:
        level = Text(f"  {finding.level}", style=_STYLES.get(finding.level, "dim"))
        table.add_row(level, Text(finding.check), Text(finding.says))
        if finding.remedy:
            table.add_row("", "", Text(f"→ {finding.remedy}"))
    return table


def _summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    told = [(Level.ERROR, "errors"), (Level.WARNING, "warnings"), (Level.SKIPPED, "not checked")]
    words = ", ".join(f"{counts[level]} {word}" for level, word in told if counts[level])
    return f"{counts[Level.OK] + counts[Level.NOTE]} ok{', ' if words else ''}{words}"
