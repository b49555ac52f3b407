"""How many planted faults the tests tell: cosmic-ray on what every number and every verdict rests on.

    make mutation JOBS=2

One operator, number, comparison or decorator is changed at a time and the module's own tests are run on it. There are
too many such mutants to run them all, so those of each module are put in an order drawn from a seed and as many are
run as SAMPLED says; whoever raises it keeps the mutants of before and adds to them. Left out beforehand: annotations
and formatted texts, in which a change breaks no promise; `strict` and `frozen`, which guard against mistakes of whoever
changes the code; and bit operators and `is` in place of arithmetic and `==`.
The tests run without the shape checker, which costs most of the time and would only tell more. What is mutated is a
clone of the last commit; the result that is kept is tests/mutation.json.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

from biowm.core.record import digest
from biowm.evaluate.metrics import exact_share

SEED, TIMEOUT = 0, 180.0
_UNIT, _CERTIFY = "tests/unit/evaluate", "tests/unit/evaluate/test_certify.py"
_GATES = "abstention closure constraints context counterfactual exploit observability overlap policy_rank support time"
_OWN = {f"evaluate/gates/{name}.py": f"{_UNIT}/gates/test_{name}.py" for name in _GATES.split()}

# Module, and the tests that are to tell its faults.
TESTS = {
    "evaluate/metrics.py": f"{_UNIT}/test_metrics.py",
    "core/scores.py": f"{_UNIT}/test_scores.py",
    "core/interval.py": f"{_UNIT}/test_metrics.py {_UNIT}/test_bench.py",
    "train/calibrate.py": "tests/unit/train/test_calibrate.py",
    "evaluate/bands.py": f"{_UNIT}/test_bands.py",
    "data/splits.py": "tests/unit/data/test_splits_and_audit.py -k 'folds or words or shares or training or describe'",
    "evaluate/gates/action.py": f"{_CERTIFY} {_UNIT}/gates/test_action.py -k 'action or wrong_way or true_world'",
    "evaluate/gates/calibration.py": f"{_CERTIFY} -k 'bands or promise or coverage_is_told or true_world'",
    "evaluate/gates/skill.py": f"{_CERTIFY} -k 'last_value or best_rule or true_world'",
    "evaluate/gates/state.py": f"{_CERTIFY} -k 'hidden_memory or round_trip or true_world'",
} | _OWN
# Of numbers these are refused at once, or say the same: to tell them proves nothing.
_NEVER = re.compile(
    r"core/ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(BitAnd|BitOr|BitXor|LShift|RShift)"
    r"|core/ReplaceComparisonOperator_(?!Is)\w+_(Is|IsNot)"
)
SAMPLED = {
    "evaluate/metrics.py": 30, "core/scores.py": 30, "core/interval.py": 4, "train/calibrate.py": 30,
    "evaluate/bands.py": 15, "data/splits.py": 30,
} | {name: 10 for name in TESTS if "/gates/" in name}  # fmt: skip


def main(out: Path, jobs: int) -> None:
    """Run the sample, `jobs` mutants at a time, each in a clone of its own under `out`; keep out/mutation.json."""
    head = subprocess.check_output(["git", "rev-parse", "--short=9", "HEAD"], text=True).strip()
    out.mkdir(parents=True, exist_ok=True)
    found = {module: [] for module in TESTS}
    with ProcessPoolExecutor(jobs, initializer=_settle, initargs=(Path.cwd(), out)) as pool:
        failed = [module for module, passed in zip(TESTS, pool.map(_passes, TESTS), strict=True) if not passed]
        if failed:
            raise SystemExit(f"the tests of {', '.join(failed)} fail as they are, expected them to pass")
        drawn = dict(zip(TESTS, pool.map(_drawn, TESTS), strict=True))
        rounds = zip_longest(*([(module, m) for m in drawn[module][:n]] for module, n in SAMPLED.items()))
        runs = {pool.submit(_run, *pair): pair[0] for one in rounds for pair in one if pair is not None}
        for done in as_completed(runs):
            found[runs[done]].append(done.result())
            text = json.dumps(_told(head, {name: len(m) for name, m in drawn.items()}, found), indent=1)
            (out / "mutation.json").write_text(text + "\n", encoding="utf-8")


def _settle(repo: Path, out: Path) -> None:
    """A worker works in its own clone, compiled beforehand: while mutants run no bytecode is written."""
    clone = out / f"clone-{os.getpid()}"
    subprocess.run(["git", "clone", "--quiet", str(repo), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "src", "tests"], check=True, cwd=clone)
    os.chdir(clone)
    os.environ["PYTHONPATH"] = str(clone / "src")


def _passes(module: str) -> bool:
    return subprocess.run(shlex.split(_command(module)), stdout=subprocess.DEVNULL).returncode == 0


def _command(module: str) -> str:
    options = "-x -q --override-ini=addopts=--import-mode=importlib -p no:cacheprovider"
    return f"{sys.executable} -m pytest {options} {TESTS[module]}"


def _drawn(module: str) -> list[MutationSpec]:
    """Every mutant of a module that is not left out, in the order drawn from the seed."""
    path = Path("src/biowm") / module
    with use_db(":memory:", WorkDB.Mode.create) as work:
        init([path], work, {})
        mutants = [item.mutations[0] for item in work.work_items]
    left_out = _left_out(path.read_text(encoding="utf-8"))
    able = [m for m in mutants if not _NEVER.fullmatch(m.operator_name)]
    kept = [m for m in able if not any(a <= m.start_pos and m.end_pos <= b for a, b in left_out)]
    return sorted(kept, key=lambda m: digest(f"{SEED} {module} {m.operator_name} {m.occurrence}".encode()))


def _left_out(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where what is left out reaches (line from 1, column from 0)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        parts = [part for name in ("annotation", "returns") if (part := getattr(node, name, None)) is not None]
        if isinstance(node, ast.JoinedStr):
            parts = [node]
        if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen"):
            parts = [node.value]
        found += [((p.lineno, p.col_offset), (p.end_lineno, p.end_col_offset)) for p in parts]
    return found


def _run(module: str, mutation: MutationSpec) -> dict:
    """What became of one mutant: killed, survived or timeout, with its change where no test told it."""
    result = mutate_and_test([mutation], _command(module), TIMEOUT)
    outcome = "timeout" if result.output == "timeout" else str(result.test_outcome.value)
    print(f"{outcome:9} {module}:{mutation.start_pos[0]} {mutation.operator_name}", flush=True)
    told = {"line": mutation.start_pos[0], "operator": mutation.operator_name, "occurrence": mutation.occurrence}
    changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return told | {"outcome": outcome} | ({"diff": changed} if outcome == "survived" else {})


def _told(head: str, mutants: dict[str, int], found: dict[str, list[dict]]) -> dict:
    """What is written: counts by module, survivors one by one, and the share killed with its exact 95 % interval."""
    modules = {}
    for module, runs in found.items():
        count = {o: sum(r["outcome"] == o for r in runs) for o in ("killed", "timeout", "survived", "incompetent")}
        modules[module] = {"mutants": mutants[module], "sampled": len(runs)} | count | {
            "survivors": [{k: v for k, v in r.items() if k != "outcome"} for r in runs if r["outcome"] == "survived"]
        }  # fmt: skip
    total = sum(m["sampled"] for m in modules.values())
    killed = exact_share(sum(m["killed"] + m["timeout"] for m in modules.values()), total)
    tool = f"cosmic-ray {version('cosmic-ray')}"
    return {"tool": tool, "commit": head, "seed": SEED, "killed": asdict(killed), "modules": modules}


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
