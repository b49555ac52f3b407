"""House rules that no linter knows."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "hasattr"}
FORBIDDEN_METHODS = {
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("torch", "load"),
    ("os", "system"),
}
HOMES = {
    "worlds": "worlds",
    "models": "models",
    "candidates": "models",
    "references": "models",
    "mechanisms": "core/mechanisms",
    "tasks": "evaluate/tasks",
    "gates": "evaluate/gates",
    "planners": "plan/planners",
}


def breaches(source: str) -> list[str]:
    """What in this source could run code that somebody else wrote into a file, or hides what a thing is."""
    found = []
    tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    safe = {"yaml.SafeLoader"} | {c.name for c in classes if "yaml.SafeLoader" in map(ast.unparse, c.bases)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += _calls(node, safe)
    return found


def _calls(node: ast.Call, safe: set[str]) -> list[str]:
    name = ast.unparse(node.func)
    options = {k.arg: ast.unparse(k.value) for k in node.keywords}
    if name == "yaml.load" and options.get("Loader") in safe:
        return []
    found = ["allow_pickle"] if options.get("allow_pickle", "False") != "False" else []
    if name in FORBIDDEN_CALLS or tuple(name.split(".")[-2:]) in FORBIDDEN_METHODS or name.endswith("_pickle"):
        found.append(f"{name}()")
    return found


def registrations(source: str) -> list[tuple[str, str]]:
    """Group and name of every registration in a source; ValueError for one that the registry would not find."""
    found = []
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).split(".")[-1] == "register":
                    match = re.match(r'@register\("(\w+)", "([^"]+)"\)$', lines[mark.lineno - 1])
                    if not match:
                        raise ValueError(f"line {mark.lineno}: {lines[mark.lineno - 1]}")
                    found.append((match[1], match[2]))
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_source_runs_code_from_a_file(path: Path):
    assert breaches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class L(yaml.Loader): ...\nyaml.load(text, Loader=L)",
        "np.load(f, allow_pickle=True)",
        "frame.to_pickle(f)",
        "pd.read_pickle(f)",
        "hasattr(x, 'y')",
    ],
)
def test_a_breach_is_found(line: str):
    assert breaches(line)


@pytest.mark.parametrize(
    "line",
    [
        "yaml.safe_load(text)",
        "class L(yaml.SafeLoader): ...\nyaml.load(text, Loader=L)",
        "np.load(f, allow_pickle=False)",
        "re.compile('x')",
        "json.load(f)",
    ],
)
def test_what_is_allowed_is_not_found(line: str):
    assert breaches(line) == []


@pytest.mark.parametrize("path", [*SOURCES, *EXAMPLES, *sorted((ROOT / "tests").rglob("*.py"))], ids=_name)
def test_no_file_is_long(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_registrations_are_found_by_the_registry_lie_in_their_room_and_are_unique():
    seen: Counter[tuple[str, str]] = Counter()
    for path in SOURCES:
        for group, name in registrations(path.read_text(encoding="utf-8")):
            seen[group, name] += 1
            home = ROOT / "src/biowm" / HOMES[group]
            assert home in path.parents, f"{_name(path)} registers in {group}, whose home is {HOMES[group]}"
    assert not [key for key, count in seen.items() if count > 1]


@pytest.mark.parametrize(
    "mark", ["@register('worlds', 'a')", '@register("worlds", NAME)', '@registry.register("worlds", "a")']
)
def test_a_registration_that_would_not_be_found_is_refused(mark: str):
    with pytest.raises(ValueError, match="line 1"):
        registrations(f"{mark}\nclass A: ...")
    assert registrations('@register("worlds", "a/b")\nclass A: ...') == [("worlds", "a/b")]
