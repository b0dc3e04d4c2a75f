"""The project's own checks: its environment, its folders, and the resources that its syncs name."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lago_pipeline.check.finding import Check, Level, Need, Told
from lago_pipeline.errors import ConfigError
from lago_pipeline.settings import (
    ALERT_WEBHOOK,
    LAGO_API_KEY,
    LAGO_API_URL,
    LEDGER_URL,
    WAREHOUSE_URL,
    Settings,
    checked_api_url,
)

DAGSTER_HOME = "DAGSTER_HOME"
STATE_FOLDER = "state folder"


@dataclass(frozen=True, slots=True)
class NamedResource:
    """The key of a resource, the syncs that name it, and the code that would declare it."""

    key: str
    is_declared: bool
    syncs: tuple[str, ...]
    code: str


@dataclass(frozen=True, slots=True)
class Project:
    """The project: `variables` are those that its resources take from the environment."""

    settings: Settings
    variables: tuple[str, ...]
    resources: tuple[NamedResource, ...]
    name: str = "project"
    needs: Sequence[Need] = ()
    neighbours: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """A variable's value, empty where it is not set."""
        return self.settings.environment.get(name, "")


def resource_check(key: str) -> str:
    """The name of the check that a resource is declared."""
    return f"resource {key}"


def project_checks(project: Project) -> list[Check[Project]]:
    """The table of checks: one a variable and one a resource, and the folders."""
    return [
        *(Check(name, partial(_variable, name=name)) for name in project.variables),
        Check(LEDGER_URL, _ledger_url),
        Check(STATE_FOLDER, _state_folder),
        Check(DAGSTER_HOME, _dagster_home),
        Check(ALERT_WEBHOOK, _alert_webhook),
        *(Check(resource_check(item.key), partial(_resource, item=item)) for item in project.resources),
    ]


def unwritable(folder: Path) -> str | None:
    """Why a folder can be neither written nor made, in a few words; None where it can."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written"


def _variable(project: Project, name: str) -> Iterable[Told]:
    """Says only that it is set: its value may hold a password."""
    if name not in (WAREHOUSE_URL, LAGO_API_URL, LAGO_API_KEY) and not project.value(name):
        yield Told(f"the environment variable {name} is not set", Level.ERROR, "set it: a resource reads it")
        return
    try:
        value = project.value(name) or project.settings.required(name)
        if name == LAGO_API_URL:
            checked_api_url(value)
    except ConfigError as error:
        says, _, remedy = str(error).partition(": ")
        yield Told(says, Level.ERROR, remedy)
    else:
        yield Told("set")


def _ledger_url(project: Project) -> Iterable[Told]:
    """Whether it is a good one is for the ledger's own checks."""
    is_set = bool(project.value(LEDGER_URL))
    yield Told("set" if is_set else "not set: a SQLite file in the state folder")


def _state_folder(project: Project) -> Iterable[Told]:
    folder = project.settings.state
    if problem := unwritable(folder):
        remedy = "make it a folder that this user may write, or set LAGO_PIPELINE_STATE to another"
        yield Told(problem, Level.ERROR, remedy)
    else:
        yield Told(str(folder) if folder.exists() else f"{folder} will be created")


def _dagster_home(project: Project) -> Iterable[Told]:
    home = project.value(DAGSTER_HOME)
    if not home:
        says = "not set: runs are not kept, and schedules need it"
        yield Told(says, Level.WARNING, "set DAGSTER_HOME to the absolute path of a folder")
    elif not Path(home).is_absolute() or not Path(home).is_dir():
        yield Told(
            f"{home} is no absolute path of a folder", Level.ERROR, "make the folder: Dagster needs it"
        )
    else:
        yield Told(home)


def _alert_webhook(project: Project) -> Iterable[Told]:
    """Says only whether it can be one: such a URL is a secret."""
    value = project.value(ALERT_WEBHOOK)
    if not value:
        yield Told("not set: alarms are log lines only")
    elif not _is_http(value):
        remedy = f"set {ALERT_WEBHOOK} to an address that takes a POST, or leave it empty"
        yield Told("not an http(s) URL", Level.ERROR, remedy)
    else:
        yield Told("set")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _resource(project: Project, item: NamedResource) -> Iterable[Told]:
    del project
    users = ", ".join(item.syncs)
    if item.is_declared:
        yield Told(f"declared, for {users}")
        return
    remedy = f'add "{item.key}": {item.code} to the resources of your definitions, as in defs/resources.py'
    yield Told(f"not declared, and named by {users}", Level.ERROR, remedy)
