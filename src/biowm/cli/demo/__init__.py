"""`biowm demo`: the main job on a simulated cohort whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biowm.cli import options, output, runtime


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("demo_out"),
    seed: options.Seed = 0,
) -> None:
    """Run the main job in three minutes: simulated patients, fit, what if, plan, certify, report.

    Everything goes through the public verbs, from a table and a study file that are left in the folder.

    \b
    biowm demo
    biowm demo --out /tmp/demo
    """
    runtime.prepare()
    with output.progress("demo", resumes=True) as tell:
        tell("starting", 0.0)
        from biowm import api

        from . import cohort, report, story

        tell("simulating patients", 0.01)
        simulated = cohort.simulate_cohort(seed)
        study = cohort.write_study(simulated, out)
        fitted = api.fit(
            study, out=out / "world", seed=seed, progress=lambda text, share: tell(text, 0.05 + 0.45 * share)
        )
        tell("what if, against the known truth", 0.5)
        told = story.what_if(fitted, simulated, seed)
        tell("planning", 0.65)
        plan = story.plan(fitted, simulated, seed)
        tell("certifying", 0.8)
        gates = api.certify(fitted, seed=seed)
        tell("writing the report", 0.97)
        report.write(out, fitted, simulated, told, plan, gates, seed)
    output.console().print("\n".join(report.summary(fitted, told, plan, gates)), markup=False)
    output.console().print(
        f"\nRead {out / 'report.html'}. Go on with: biowm simulate {out / 'world'} --help", markup=False
    )
