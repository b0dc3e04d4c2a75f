"""Why a project cannot be loaded, in one line: which file and line, what is wrong, what is allowed."""

import re
import sysconfig
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from yaml import MarkedYAMLError

from lago_pipeline.errors import ConfigError, LagoPipelineError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_FAILED_AT = re.compile(r"(?:loading component|building definitions for) (.+?)(?:\[(\d+)\])?:")
_FILES = ("defs.yaml", "defs.yml", "component.yaml")
_RANKS = ("extra_forbidden", "missing")
_ATTRIBUTES = "attributes"
_NOT_THEIRS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[1]))

Place = tuple[Path, int]
"""A YAML file, and which of its documents."""


def one_line(error: BaseException, defs: Path | None) -> LagoPipelineError:
    """What went wrong at the bottom of Dagster's chain of errors; `defs` is the project's defs folder."""
    chain = list(_chain(error))
    place = _place(chain, defs)
    for link in reversed(chain):
        if isinstance(link, LagoPipelineError):
            named = str(link).split(":", maxsplit=1)[0]
            return type(link)(f"{_at(place, named.split('.'))}{link}")
        if isinstance(link, ValidationError):
            option, told = _refused(link)
            return ConfigError(f"{_at(place, option)}{told}")
        if isinstance(link, MarkedYAMLError) and link.problem_mark is not None:
            where = f"{_shown(link.problem_mark.name)}:{link.problem_mark.line + 1}"
            return ConfigError(f"{where}: this is not YAML: {link.problem}")
    return ConfigError(f"the project cannot be loaded: {_at(place, ())}{_told_by_code(error)}")


def _chain(error: BaseException, *, also_replaced: bool = True) -> Iterator[BaseException]:
    """An error and its causes, by default also those that Dagster replaced by a text of many lines."""
    link: BaseException | None = error
    while link is not None:
        yield link
        hidden = link.__suppress_context__ and not also_replaced
        link = link.__cause__ or (None if hidden else link.__context__)


def _place(chain: Sequence[BaseException], defs: Path | None) -> Place | None:
    """Where Dagster was, read from its message: it says so nowhere else."""
    from dagster.components.core.component_tree import ComponentTreeException

    texts = [str(link) for link in chain if isinstance(link, ComponentTreeException)]
    found = [match for text in texts if (match := _FAILED_AT.search(text))]
    if defs is None or not found:
        return None
    files = [file for name in _FILES if (file := defs / found[0][1] / name).is_file()]
    return (files[0], int(found[0][2] or 0)) if files else None


def _at(place: Place | None, option: Sequence[str]) -> str:
    """`file:line: ` of an option, or of the nearest to it that is there."""
    if place is None:
        return ""
    from dagster_shared.yaml_utils import parse_yamls_with_source_position

    file, index = place
    document = parse_yamls_with_source_position(file.read_text(encoding="utf-8"))[index]
    position, _ = document.source_position_tree.lookup_closest_and_path([_ATTRIBUTES, *option], None)
    return f"{_shown(file)}:{position.start.line}: "


def _shown(file: Path | str) -> Path:
    path = Path(file)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _refused(error: ValidationError) -> tuple[list[str], str]:
    """The option of a sync that is refused, and a text that names it and what is allowed."""
    from lago_pipeline.components.schema import sections
    from lago_pipeline.components.usage_sync import UsageSync

    problem = min(error.errors(), key=_relevance)
    section = {kind.__name__: [name] for name, kind in sections(UsageSync).items()}
    loc = [*section.get(error.title, ()), *map(str, problem["loc"])]
    if error.title not in {*section, UsageSync.__name__, UsageSync.model().__name__}:
        return loc, f"{error.title}: {'.'.join(loc)}: {problem['msg']}"
    option, owner, field = _option(loc, UsageSync)
    if problem["type"] == "extra_forbidden":
        return [*option, loc[-1]], f"{'.'.join([*option, loc[-1]])} is no option: {_allowed(loc[-1], owner)}"
    described = f" ({field.description})" if field is not None and field.description else ""
    if problem["type"] == "missing":
        return option, f"{'.'.join(option)} is missing{described}"
    ours = "Value error, "
    told = problem["msg"].removeprefix(ours)
    return option, f"{'.'.join(option)}: {told}{'' if problem['msg'].startswith(ours) else described}"


def _relevance(problem: Any) -> tuple[int, bool, int]:  # noqa: ANN401 - pydantic's ErrorDetails
    """Every option may also be a text for Jinja: that it is none is the least of what there is to tell."""
    rank = _RANKS.index(problem["type"]) if problem["type"] in _RANKS else len(_RANKS)
    return rank, problem["type"] == "string_type", -len(problem["loc"])


def _option(
    loc: Sequence[str], owner: "type[BaseModel]"
) -> tuple[list[str], "type[BaseModel]", "FieldInfo | None"]:
    """An option's path without the types that pydantic puts between, the section it leads to, its field."""
    from lago_pipeline.components.schema import sections

    path: list[str] = []
    field = None
    for part in loc:
        if part in owner.model_fields:
            path.append(part)
            field = owner.model_fields[part]
            owner = sections(owner).get(part, owner)
    return path, owner, field


def _allowed(wrong: str, owner: "type[BaseModel]") -> str:
    names = sorted(owner.model_fields)
    close = get_close_matches(wrong, names, n=1)
    return f"{f'did you mean {close[0]}? ' if close else ''}Allowed are {', '.join(names)}"


def _told_by_code(error: BaseException) -> str:
    """An error of the project's own code, with the last line of that code."""
    bottom = list(_chain(error, also_replaced=False))[-1]
    lines = str(bottom).strip().splitlines() or [""]
    files = [(frame.filename, frame.lineno) for frame in extract_tb(bottom.__traceback__)]
    theirs = [f" ({_shown(file)}:{line})" for file, line in files
              if not file.startswith(("<", *_NOT_THEIRS)) and Path(file).is_file()]  # fmt: skip
    return f"{type(bottom).__name__}: {lines[0]}{theirs[-1] if theirs else ''}"
