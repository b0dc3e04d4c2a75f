"""A project's own code location: the definitions that `dg` and `dagster` load, and their components."""

import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lago_pipeline.errors import ConfigError
from lago_pipeline.settings import STATE, Settings

if TYPE_CHECKING:
    import dagster as dg


def load_location(folder: Path) -> tuple["dg.Definitions", "dg.ComponentTree"]:
    """The definitions of the project that a folder is in, and the tree of its components.

    Raises ConfigError where there is no project, and whatever the project's own code raises.
    """
    import dagster as dg

    config = _config_file(folder)
    settings = _project_settings(config)
    _as_dagster_runs_it(config.parent)
    _make_importable(config.parent, settings["root_module"])
    definitions = None if settings["autoload_defs"] else _definitions_of(settings["code_location"])
    tree = definitions.component_tree if definitions is not None else None
    tree = tree or dg.ComponentTree.for_project(config.parent)
    return definitions if definitions is not None else tree.build_defs(), tree


def _config_file(folder: Path) -> Path:
    from dagster_shared.utils.config import discover_config_file

    if found := discover_config_file(folder):
        return found
    raise ConfigError(
        f"Could not find config file of a Dagster project in {folder} or a folder above: "
        "call it in a project whose pyproject.toml has [tool.dg], or which has a dg.toml"
    )


def _project_settings(config: Path) -> dict[str, Any]:
    """What `[tool.dg.project]` says; `[tool.dagster]` is read for a module that it alone names."""
    from dagster_shared.utils.config import load_toml_as_dict

    document = load_toml_as_dict(config)
    tool = document.get("tool", {})
    project = (document if config.name == "dg.toml" else tool.get("dg", {})).get("project", {})
    root = project.get("root_module") or str(project.get("defs_module", "")).split(".")[0]
    if not root:
        raise ConfigError(f"{config}: a project needs root_module under [tool.dg.project]; "
                          "of a workspace, call it in one of the projects")  # fmt: skip
    named = project.get("code_location_target_module") or tool.get("dagster", {}).get("module_name")
    return {
        "root_module": root,
        "code_location": named or f"{root}.definitions",
        "autoload_defs": project.get("autoload_defs", False),
    }


def _as_dagster_runs_it(root: Path) -> None:
    """The project's `.env`, which Dagster reads too, and its state folder, also from a subfolder."""
    from dotenv import dotenv_values

    os.environ.update(
        {key: value for key, value in dotenv_values(root / ".env").items() if value is not None}
    )
    state = Settings().state
    if not state.is_absolute() and root != Path.cwd():
        os.environ[STATE] = str(root / state)


def _make_importable(root: Path, module: str) -> None:
    """Find the project's package also where it is not installed; an installed one comes first."""
    package = module.split(".", maxsplit=1)[0]
    if find_spec(package) is None:
        sys.path += [str(folder) for folder in (root / "src", root) if (folder / package).is_dir()]
        importlib.invalidate_caches()
    if find_spec(package) is None:
        raise ConfigError(
            f"the project's package {package} is neither installed nor in {root / 'src'} or {root}: "
            "install the project, or correct root_module under [tool.dg.project]"
        )


def _definitions_of(module_name: str) -> "dg.Definitions | None":
    """What the module of the code location holds, or None where it holds no Definitions."""
    import dagster as dg
    from dagster.components.definitions import LazyDefinitions

    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            return None
        raise
    lazy = _only(module, LazyDefinitions)
    found = lazy() if lazy is not None else _only(module, dg.Definitions)
    return found if isinstance(found, dg.Definitions) else None


def _only(module: ModuleType, kind: type[Any]) -> Any:  # noqa: ANN401 - one of Dagster's classes
    """The object of a kind that a module holds, or None; raises ConfigError where it holds several."""
    held = {id(value): value for value in vars(module).values() if isinstance(value, kind)}
    if len(held) > 1:
        raise ConfigError(
            f"module {module.__name__} holds {len(held)} Definitions: keep one, as Dagster asks"
        )
    return next(iter(held.values()), None)
