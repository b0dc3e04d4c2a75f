"""How a command finds the project that it is called in; in this process, so with the checkout."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lago_pipeline.cli.project import Project, load_project
from lago_pipeline.errors import ConfigError
from lago_pipeline_tests.stranger.project import DEFINITIONS, PYPROJECT, sync_yaml

Make = Callable[..., Path]
MERGED = """\
from pathlib import Path
import dagster as dg
from lago_pipeline.resources import LagoResource

{name} = dg.Definitions.merge(
    dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
    dg.Definitions(resources={{"lago_eu": LagoResource()}}),
)
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Make:
    """Make a project with a package name of its own, and be in it."""
    name = f"stranger_{abs(hash(request.node.nodeid))}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.delenv("LAGO_PIPELINE_STATE", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def made(
        files: dict[str, str], config: str = "", source: str = "src", yaml: str = sync_yaml("calls")
    ) -> Path:
        package = tmp_path / source / name
        files = {"__init__.py": "", "defs/__init__.py": "", "defs/calls/defs.yaml": yaml, **files}
        for path, text in files.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_text(text.replace("PACKAGE", name))
        text = PYPROJECT.replace("billing", name) + config.replace("PACKAGE", name)
        (tmp_path / "pyproject.toml").write_text(text)
        monkeypatch.chdir(tmp_path)
        importlib.invalidate_caches()
        return package

    return made


def resource_keys(project: Project) -> set[str]:
    """The keys of the project's resources."""
    return set(project.definitions.resources or {})


@pytest.mark.parametrize("source", ["src", "."])
def test_a_project_that_is_not_installed_is_found(make: Make, source: str) -> None:
    """Both layouts load where the package is not installed, as `dg` could with it on the path."""
    make({"definitions.py": DEFINITIONS}, source=source)
    assert set(load_project().syncs) == {"calls"}


def test_a_definitions_object_is_taken(make: Make) -> None:
    """Definitions that are built when the module is imported count as those that are built when asked for."""
    make({"definitions.py": MERGED.format(name="defs")})
    assert "lago_eu" in resource_keys(load_project())


def test_the_module_that_the_project_names_is_taken(make: Make) -> None:
    """`code_location_target_module` names another module than `definitions`."""
    files = {"definitions.py": DEFINITIONS, "location.py": MERGED.format(name="everything")}
    make(files, 'code_location_target_module = "PACKAGE.location"\n')
    assert "lago_eu" in resource_keys(load_project())


def test_the_module_for_dagster_is_taken(make: Make) -> None:
    """`[tool.dagster] module_name` is read where `[tool.dg]` names no module."""
    make({"location.py": MERGED.format(name="defs")}, '\n[tool.dagster]\nmodule_name = "PACKAGE.location"\n')
    assert "lago_eu" in resource_keys(load_project())


@pytest.mark.parametrize("files", [{}, {"definitions.py": "import dagster as dg\n"}])
def test_without_definitions_the_defs_folder_counts(make: Make, files: dict[str, str]) -> None:
    """A project without Definitions in a module is its defs folder."""
    make(files)
    assert set(load_project().syncs) == {"calls"}


def test_a_subfolder_is_in_the_project(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a subfolder the project, its `.env` and its state folder are the same."""
    package = make({"definitions.py": DEFINITIONS})
    (tmp_path / ".env").write_text("WAREHOUSE_URL=sqlite:///of_the_project.db\n")
    monkeypatch.chdir(package / "defs" / "calls")
    load_project()
    assert os.environ["WAREHOUSE_URL"] == "sqlite:///of_the_project.db"
    assert os.environ["LAGO_PIPELINE_STATE"] == str(tmp_path / ".lago_pipeline")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"definitions.py": DEFINITIONS + "again = defs\nmore = definitions(lambda: None)\n"}, "keep one"),
        (
            {"definitions.py": "import no_such_module\n"},
            "ModuleNotFoundError: No module named 'no_such_module' (src/",
        ),
        ({"definitions.py": DEFINITIONS, "defs/team.py": "{}['key']\n"}, "KeyError: 'key' (src/"),
    ],
)
def test_code_that_cannot_be_loaded_is_named(make: Make, files: dict[str, str], said: str) -> None:
    """An error of the project's own code is one line with its file."""
    make(files)
    with pytest.raises(ConfigError) as caught:
        load_project()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    """A wrong `root_module` is one line that says where it was looked for."""
    make({})
    (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "nobody_has_this"\n')
    with pytest.raises(ConfigError, match="package nobody_has_this is neither installed nor in"):
        load_project()


def test_a_workspace_is_not_a_project(tmp_path: Path) -> None:
    """A workspace has several projects: the message asks for one of them."""
    (tmp_path / "dg.toml").write_text('directory_type = "workspace"\n')
    with pytest.raises(ConfigError, match="call it in one of the projects"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("primary_key: id", "", 4, "source.primary_key is missing (The column, or columns, that identify"),
        ("  name:", "  nam:", 3, "nam is no option: did you mean name? Allowed are delivery, destination,"),
        ("id\n", "[id, id]\n", 6, "source.primary_key: primary_key needs at least one column"),
        ("2026-03-01", "soon", 13, "partitions.start: 'soon' is no day: write one such as 2026-01-01"),
        ("row.units", "row.units | nope", 12, "event.properties.units: unknown filter nope"),
        ("code:", "cod:", 10, "event.cod: Lago drops this field: did you mean code?"),
        ("{units: ", "[units: ", 12, "this is not YAML"),
    ],
)
def test_yaml_errors_name_file_line_and_what_is_allowed(
    make: Make, old: str, new: str, line: int, said: str
) -> None:
    """A wrong line of a `defs.yaml` is named with what is wrong with it."""
    package = make({"definitions.py": DEFINITIONS}, yaml=sync_yaml("calls").replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_project()
    assert str(caught.value).startswith(f"src/{package.name}/defs/calls/defs.yaml:{line}: {said}")


def test_an_event_of_a_wrong_type_is_told_what_it_may_be(make: Make) -> None:
    """`event` is a mapping or a text."""
    text = sync_yaml("calls")
    start, end = text.index("  event:"), text.index("  partitions:")
    make({"definitions.py": DEFINITIONS}, yaml=f"{text[:start]}  event: 3\n{text[end:]}")
    with pytest.raises(
        ConfigError, match=r"defs\.yaml:9: event: .*dictionary .*or the JSON text pasted from"
    ):
        load_project()


def test_the_second_document_of_a_file_has_its_own_lines(make: Make) -> None:
    """An error in the second sync of a file is found there."""
    wrong = sync_yaml("other").replace("primary_key", "primary_kee")
    make({"definitions.py": DEFINITIONS}, yaml=f"{sync_yaml('calls')}---\n{wrong}")
    with pytest.raises(ConfigError, match=r"defs\.yaml:21: source\.primary_kee is no option"):
        load_project()
