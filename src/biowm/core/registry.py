"""Registries of worlds, models, gates and tasks: found by file name, loaded on first use, open to third parties.

A file `biowm/worlds/patient/tumour.py` that says `@register("worlds", "patient/tumour")` is all a new world needs. A
model part registers its class under "models" (so that it can be saved) and a function that returns its candidates under
"candidates" (so that it is raced) or "references" (so that reports show it). Other packages register by entry point
(groups `biowm.worlds`, `biowm.mechanisms`, `biowm.models`, `biowm.candidates`, `biowm.references`, `biowm.tasks`,
`biowm.gates`), named like the object they offer.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, TypeVar

Group = Literal["worlds", "mechanisms", "models", "candidates", "references", "tasks", "gates", "planners"]
_HOMES = {
    "worlds": "biowm.worlds",
    "mechanisms": "biowm.core.mechanisms",
    "models": "biowm.models",
    "candidates": "biowm.models",
    "references": "biowm.models",
    "tasks": "biowm.evaluate.tasks",
    "gates": "biowm.evaluate.gates",
    "planners": "biowm.plan.planners",
}
_found: dict[tuple[str, str], Any] = {}
T = TypeVar("T", bound=type | FunctionType)


def register(group: Group, name: str) -> Callable[[T], T]:
    """Class or function decorator: offer it under `name`; a second object of the same name is refused."""

    def keep(item: T) -> T:
        old = _found.get((group, name))
        if old is not None and (old.__module__, old.__qualname__) != (item.__module__, item.__qualname__):
            raise ValueError(f"{group}: {name!r} is registered twice")
        _found[group, name] = item
        return item

    return keep


@functools.cache
def _files(group: Group) -> dict[str, str]:
    """Name -> module for every file of the group's room that registers something; nothing is imported."""
    found: dict[str, str] = {}
    home = importlib.util.find_spec(_HOMES[group])
    for root in home.submodule_search_locations or [] if home else []:
        for file in sorted(Path(root).rglob("*.py")):
            mark = f'@register("{group}", "'
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith(mark):
                    parts = file.relative_to(root).with_suffix("").parts
                    module = ".".join((_HOMES[group], *(p for p in parts if p != "__init__")))
                    found[line[len(mark) :].split('"')[0]] = module
    return found


def _entry_points(group: Group) -> dict[str, metadata.EntryPoint]:
    return {e.name: e for e in metadata.entry_points(group=f"biowm.{group}")}


def names(group: Group) -> list[str]:
    """Everything registered in a group, own and third-party, without importing it."""
    own = {name for kind, name in _found if kind == group}
    return sorted(own | set(_files(group)) | set(_entry_points(group)))


def name_of(item: type) -> str | None:
    """The name an object was registered under; None where it was not."""
    return next((name for (_, name), found in _found.items() if found is item), None)


def get(group: Group, name: str) -> Any:
    """The registered object; KeyError lists the names there are."""
    if (group, name) not in _found:
        if name in _files(group):
            importlib.import_module(_files(group)[name])
        elif name in (points := _entry_points(group)):
            _found[group, name] = points[name].load()
        else:
            raise KeyError(f"no {group[:-1]} {name!r}; there are: {', '.join(names(group)) or 'none'}")
    return _found[group, name]
