"""The pictures of `--plot`: from a result of a verb to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from biowm import api
from biowm.core.do import describe
from biowm.core.errors import BadInput, place
from biowm.core.futures import Futures
from biowm.evaluate.reports.figures import Bound, Scene, comparison, plan_figure, save_png, to_svg, trajectory
from biowm.plan.goals import parse_limit
from biowm.plan.result import Plan
from biowm.plan.whatif import schedule_of, what_if
from biowm.train.fitted import Fitted


def save(figure: Figure, file: Path) -> None:
    """Write a picture as .png or .svg; BadInput for any other name."""
    if file.suffix not in (".png", ".svg"):
        raise BadInput(place(column="--plot", found=file.name, expected="a name that ends in .png or .svg"))
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".png":
        save_png(figure, file)
    else:
        file.write_text(to_svg(figure), encoding="utf-8")


def simulated(asked: api.Question, futures: Futures, names: tuple[str, str]) -> Figure:
    """One future, or two beside each other under the names of their schedules."""
    main = Scene(names[0], futures, schedule_of(futures, asked.now))
    if futures.against is None:
        return trajectory(asked.path, main, now=asked.now, title=f"Subject {asked.subject}: {names[0]}")
    other = Scene(names[1], futures.against, schedule_of(futures.against, asked.now))
    return comparison(asked.path, main, other, now=asked.now, title=f"Subject {asked.subject}")


def planned(
    fitted: Fitted,
    asked: api.Question,
    plan: Plan,
    limits: Sequence[str],
    *,
    seed: int,
    truth: Callable[[Futures], Float[np.ndarray, "t d"]] | None = None,
) -> Figure:
    """A plan beside no treatment at all, its limits, and the value promised for it; `truth` where it is known."""
    spec = fitted.spec
    own = [e._replace(onset=e.onset - asked.now, stop=e.stop - asked.now) for e in plan.entries]
    do = [describe(own, spec)] if own else []
    futures = what_if(fitted, asked, do=do, against=["zero"], others="zero", horizon=plan.horizon, seed=seed)
    assert futures.against is not None
    scenes = [
        Scene(name, f, schedule_of(f, asked.now), truth(f) if truth else None)
        for name, f in (("plan", futures), ("nothing given", futures.against))
    ]
    named = (*plan.goal.limits, *(parse_limit(text, spec) for text in limits))
    bounds = [Bound(x.quantity.name, x.bound, x.meaning) for x in named if x.quantity.stat in ("max", "min")]
    return plan_figure(asked.path, scenes[0], scenes[1:], now=asked.now, bounds=bounds, goal=plan.goal.text,
                       promise=plan.promise, unit=plan.goal.quantity.unit)  # fmt: skip
