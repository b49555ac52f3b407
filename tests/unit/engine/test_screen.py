"""In-silico screens: every condition there, sets and contexts as asked, replicates that differ, and a fit of one."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from biowm.core.forecast import forecast
from biowm.core.path import lengths, take
from biowm.core.queries import Queries
from biowm.core.schedule import entries
from biowm.engine.cohort import had_been
from biowm.engine.screen import Screen, crossed, simulate_screen
from biowm.train.fit import fit_paths
from biowm.train.horizons import Horizons
from biowm.worlds.cell.signalling import growth_signalling

STIMULI = [{}, {"EGF": 1.0}, {"HGF": 1.0}]
INHIBITORS = [{}, {"MEKi": 0.9}, {"AKTi": 0.9}, {"PI3Ki": 0.9}]
TIMES = (5.0, 15.0, 60.0)


def small(replicates: int, lines: str = "A") -> Screen:
    contexts = [{"line": line} for line in lines]
    return simulate_screen(
        growth_signalling(), crossed(STIMULI, INHIBITORS), TIMES, contexts=contexts, replicates=replicates
    )


def test_every_condition_is_there_and_given_as_asked():
    screen = small(2)
    paths, spec = screen.cohort.paths, screen.cohort.world.spec
    assert paths.x.shape[0] == 24
    assert len(set(screen.units)) == 12
    assert "EGF 1+MEKi 0.9, line=A" in screen.units
    row = screen.units.index("EGF 1+MEKi 0.9, line=A")
    given = {spec.actions[e.card].name: (e.dose, e.onset, e.stop) for e in entries(take(paths, row).plan)}
    assert given == {"EGF": (1.0, 0.0, 60.0), "MEKi": (pytest.approx(0.9), 0.0, 60.0)}
    np.testing.assert_array_equal(lengths(paths), 4)
    assert np.isnan(np.asarray(paths.x)[:, 0]).all()
    np.testing.assert_array_equal(np.asarray(paths.t)[0, :4], [0.0, *TIMES])
    np.testing.assert_array_equal(paths.traits, np.tile([1.0, 0.0, 0.0], (24, 1)))
    one, two = (np.asarray(paths.x)[i, 1:4] for i in (row, row + 1))
    assert 0 < np.abs(one - two).max() < 0.4, "replicates differ, but not by much"


def test_what_would_have_been_read_under_another_set_is_known():
    screen = small(1)
    paths, spec = screen.cohort.paths, screen.cohort.world.spec
    row, other = screen.units.index("EGF 1, line=A"), screen.units.index("EGF 1+MEKi 0.9, line=A")
    plans = take(paths.plan, [row, other])
    grid = np.array([5.0, 15.0, 30.0, 45.0, 60.0])
    own, held = had_been(screen.cohort, np.array([row, row]), plans, grid)
    np.testing.assert_allclose(own[[0, 1, 4]], np.asarray(paths.x)[row, 1:4], rtol=1e-4, atol=1e-5)
    mek = spec.channel("MEK")
    assert held[-1, mek] < 0.5 * own[-1, mek]
    egfr = spec.channel("EGFR")
    np.testing.assert_allclose(held[:, egfr], own[:, egfr], atol=1e-5)


@pytest.mark.parametrize(
    ("sets", "times", "contexts", "says"),
    [
        ([{"nope": 1.0}], (5.0,), [{}], "unknown action 'nope'"),
        ([{}], (5.0, 5.0), [{}], "expected them to rise"),
        ([{}], (5.0,), [{"line": "Q"}], r"found context line=Q, expected .* \(line: A, B, C\)"),
    ],
)
def test_what_cannot_be_is_refused(sets, times, contexts, says: str):
    with pytest.raises((KeyError, ValueError), match=says):
        simulate_screen(growth_signalling(), sets, times, contexts=contexts)


@pytest.mark.slow
def test_the_default_fit_foretells_sets_that_it_never_saw():
    screen = small(2, "ABC")
    paths, spec = screen.cohort.paths, screen.cohort.world.spec
    unseen = np.array(["EGF 1+MEKi" in u or "HGF 1+AKTi" in u for u in screen.units])
    train, test = np.flatnonzero(~unseen), np.flatnonzero(unseen)
    fitted = fit_paths(
        spec, take(paths, train), Horizons("clock", TIMES, spec.clock, "start"),
        units=[screen.units[i] for i in train], halves=False,
    )  # fmt: skip
    asked = Queries(np.arange(len(test)), np.zeros(len(test), int), np.tile(np.float32(TIMES), (len(test), 1)))
    said = forecast(fitted.world, take(paths, test), asked, key=jax.random.key(0), draws=200).mean(1)
    truth = np.asarray(paths.x)[test, 1:4]
    mean = np.asarray(paths.x)[train, 1:4].mean(0)
    error, alone = (np.sqrt(np.mean((guess - truth) ** 2)) for guess in (said, np.broadcast_to(mean, truth.shape)))
    assert error < 0.6 * alone, (error, alone)
