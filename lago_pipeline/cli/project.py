"""The Dagster project that a command is called in: its syncs, their definitions and resources."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lago_pipeline.cli.causes import one_line
from lago_pipeline.cli.location import load_location
from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.sync import Sync

if TYPE_CHECKING:
    import dagster as dg

    from lago_pipeline.components.wiring import Wiring

_YAML_FILES = ("defs.yaml", "component.yaml")


@dataclass(frozen=True, slots=True)
class ProjectSync:
    """One sync of the project, with what ties it into Dagster; without a `schedule` it is started by hand."""

    sync: Sync
    wiring: "Wiring"
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """The syncs of a project by name, its definitions, and the name of its code location, if it has one."""

    syncs: dict[str, ProjectSync]
    definitions: "dg.Definitions"
    location: str | None = None

    def chosen(self, name: str | None) -> list[ProjectSync]:
        """One sync, or all of them; raises ConfigError for an unknown name."""
        if name is None:
            return list(self.syncs.values())
        if name not in self.syncs:
            raise ConfigError(
                f"there is no sync {name!r} here: the project has {', '.join(sorted(self.syncs))}"
            )
        return [self.syncs[name]]

    @contextmanager
    def resources(self, *keys: str) -> Iterator[list[Any]]:
        """Resources of the project by key, ready to use; raises ConfigError for one that is not declared."""
        import dagster as dg

        declared = self.definitions.resources or {}
        for key in keys:
            if key not in declared:
                raise ConfigError(f"the project declares no resource {key!r}: add it to your definitions")
        with dg.build_resources({key: declared[key] for key in keys}) as resources:
            yield [getattr(resources, key) for key in keys]


def load_project(folder: Path | None = None) -> Project:
    """Find the project of a folder (by default the current one): its own code location, and its syncs.

    Raises ConfigError where there is no Dagster project, no sync, two of one name, or a definition that
    cannot be loaded.
    """
    import dagster as dg

    from lago_pipeline.components.usage_sync import UsageSync

    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", category)  # Dagster's own, on how it loads a defs folder
    folder = folder or Path.cwd()
    try:
        definitions, tree = load_location(folder)
        components = tree.get_all_components(of_type=UsageSync)
        syncs = [ProjectSync(item.sync(), item.wiring(), item.schedule) for item in components]
    except Exception as error:
        raise one_line(error, _defs_folder(folder)) from error
    if not components:
        raise ConfigError(
            "this project has no sync: add one with dg scaffold defs lago_pipeline.UsageSync NAME"
        )
    _check_names(syncs, tree)
    return Project({item.sync.name: item for item in syncs}, definitions, tree.code_location_name)


def _check_names(syncs: Sequence[ProjectSync], tree: "dg.ComponentTree") -> None:
    """Raise ConfigError where two syncs have one name: one of them would take the other's place."""
    counted = Counter(item.sync.name for item in syncs)
    for name, times in counted.items():
        if times > 1:
            files = ", ".join(_files_of(tree, name))
            raise ConfigError(f"sync {name} is declared {times} times ({files}): give each a name of its own")


def _files_of(tree: "dg.ComponentTree", name: str) -> Iterator[str]:
    """The files that declare a sync."""
    from dagster.components.core.defs_module import ComponentPath

    from lago_pipeline.components.usage_sync import UsageSync

    for loc, decl in tree.find_root_decl().iterate_loc_component_decl_pairs():
        if not isinstance(loc, ComponentPath) or not issubclass(decl.component_type, UsageSync):
            continue
        component = tree.load_component(loc)
        if isinstance(component, UsageSync) and component.name == name:
            path = loc.file_path
            files = [file for each in _YAML_FILES if (file := path / each).is_file()] or [path]
            yield os.path.relpath(files[0])


def _defs_folder(folder: Path) -> Path | None:
    """The project's defs folder, for telling where an error is; None where that fails itself."""
    import dagster as dg

    try:
        return dg.ComponentTree.for_project(folder).defs_module_path
    except Exception:  # what is told is the first error, not this one
        return None


def partitions_between(wiring: "Wiring", first: str | None, last: str | None) -> list[Partition]:
    """The partitions from one key to another, both included; a day stands for all of its hours.

    Raises ConfigError for a key that the sync does not have, and for a sync that begins in the future.
    """
    keys = wiring.partitions_def.get_partition_keys()
    if not keys:
        raise ConfigError(
            f"this sync begins at {wiring.partitions_def.start:%Y-%m-%d %H:%M %Z}: it has no partition yet"
        )
    start = 0 if first is None else _matching(keys, first)[0]
    end = len(keys) - 1 if last is None else _matching(keys, last)[-1]
    if start > end:
        raise ConfigError(f"--from {first} is after --to {last}")
    return list(wiring.partitions(keys[start : end + 1]))


def _matching(keys: Sequence[str], wanted: str) -> list[int]:
    exact = [index for index, key in enumerate(keys) if key == wanted]
    found = exact or [index for index, key in enumerate(keys) if key.startswith(f"{wanted}-")]
    if not found:
        raise ConfigError(f"there is no partition {wanted!r}: this sync has {keys[0]} to {keys[-1]}")
    return found
