"""The gate `context`: worlds that hold, or do not, at sites that training never met."""

from dataclasses import replace

import equinox as eqx
import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import Decay
from tests.support.sitting import sit

from biowm.evaluate.gates import context

SITES = tuple("abcd"[i // 10] for i in range(40))


def exam(world, met, sites=SITES, **more):
    return replace(sit(world, **more), contexts={"site": sites}, trained_on={"site": frozenset(met)})


def test_a_world_that_holds_everywhere_passes_and_every_site_has_its_row():
    verdict = context.check(exam(Decay(), "abc"))
    assert verdict.status == "passed", verdict.detail
    assert verdict.value is not None
    assert verdict.value.low < 1.1
    rows = verdict.evidence.metrics["contexts"]["site"]
    assert {name: row["met_in_training"] for name, row in rows.items()} == {"a": True, "b": True, "c": True, "d": False}
    assert [row["subjects"] for row in rows.values()] == [10] * 4
    assert all(row["coverage"]["low"] < 0.9 < row["coverage"]["high"] for row in rows.values())


def test_the_ratio_is_that_of_the_errors_in_the_table():
    verdict = context.check(exam(Decay(), "ab"))
    rows = verdict.evidence.metrics["contexts"]["site"]
    error = {name: (row["crps"]["value"], row["crps"]["n"]) for name, row in rows.items()}
    new, met = (np.average([error[s][0] for s in pair], weights=[error[s][1] for s in pair]) for pair in ("cd", "ab"))
    assert verdict.value is not None
    assert verdict.value.value == pytest.approx(new / met, rel=0.02)
    assert verdict.value.low < verdict.value.value < verdict.value.high


def test_a_world_that_is_lost_at_a_new_site_fails():
    paths, subjects = cohort()
    noise = np.random.default_rng(0).normal(0.0, 3.0, paths.x.shape)
    x = np.where((np.array(SITES) == "d")[:, None, None], paths.x + noise, paths.x).astype(np.float32)
    moved = eqx.tree_at(lambda p: p.x, paths, x)
    verdict = context.check(exam(Decay(), "abc", given=(moved, subjects)))
    assert verdict.status == "failed"
    assert "unseen site" in verdict.detail
    assert "clearly worse" in verdict.detail
    assert verdict.value is not None
    assert verdict.value.low > 1.1
    assert verdict.evidence.metrics["unseen_to_met"]["site"]["persistence"]["value"] > 1.1
    same = context.check(exam(Decay(), "d", given=(moved, subjects)))  # known to be hard: the others are the new ones
    assert same.status == "passed"


@pytest.mark.parametrize(
    ("met", "why"), [("abcd", "0 subjects of unseen"), ("", "0 of met"), (None, "training met is not known")]
)
def test_where_no_context_is_held_out_it_does_not_apply_and_shows_its_table(met, why):
    sat = exam(Decay(), met or "")
    sat = replace(sat, trained_on={}) if met is None else sat
    verdict = context.check(sat)
    assert (verdict.status, verdict.value) == ("not_applicable", None)
    assert why in verdict.detail
    assert set(verdict.evidence.metrics["contexts"]["site"]) == set("abcd")


def test_unknown_contexts_are_on_neither_side():
    sites = ("",) * 10 + SITES[10:]
    verdict = context.check(exam(Decay(), "bc", sites=sites))
    assert verdict.value is not None
    with_all = context.check(exam(Decay(), "abc"))
    assert verdict.value.n < with_all.value.n
    assert "unknown" in verdict.evidence.metrics["contexts"]["site"]


def test_without_groupings_it_does_not_apply():
    assert "no grouping" in context.check(sit(Decay())).detail
