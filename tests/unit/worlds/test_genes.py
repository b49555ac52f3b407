"""Genes: births and deaths are Poisson, bursts and sizes spread them, knock-outs leave none, libraries scale counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.worlds.cell.genes import Genes, genes, regulated_genes
from biowm.worlds.cell.snapshot import Conditions, Reading, conditions, snapshot
from biowm.worlds.cell.topology import Edge

KEY = jax.random.key(0)
CELLS = 2000


def alone(burst: float = 0.0, size: float = 0.0) -> Genes:
    """Two genes that nothing regulates, with 50 transcripts at rest, in one line."""
    return genes(
        (), alone=("X", "Y"), lines=("A",), level=50.0, between_genes=0.0, size=size, sizes=1 if size == 0 else 32,
        burst=burst,
    )  # fmt: skip


@pytest.mark.parametrize("burst", [0.0, 3.0])
def test_births_and_deaths_have_the_mean_and_the_variance_that_theory_gives(burst: float):
    """Poisson where each birth is one transcript; variance (1 + B) times the mean where they come in bursts."""
    world = alone(burst)
    found = snapshot(world, conditions(world, [{}]), CELLS, KEY).transcripts[0]
    se = np.sqrt(50 * (1 + burst) / CELLS)
    np.testing.assert_allclose(found.mean(0), 50.0, atol=4 * se)
    np.testing.assert_allclose(found.var(0), 50 * (1 + burst), rtol=4 * np.sqrt(2 / CELLS))
    assert abs(np.corrcoef(found.T)[0, 1]) < 4 / np.sqrt(CELLS)
    belief = world.begin(jnp.ones(1))
    np.testing.assert_allclose(belief.mean[0], 50.0, rtol=1e-4)
    np.testing.assert_allclose(belief.cov[0], 50 * (1 + burst) * np.eye(2), rtol=1e-3, atol=1e-2)


def test_the_size_of_a_cell_is_shared_by_its_genes():
    """Var = m + (m sd)^2 or so, and the second part is the covariance."""
    world = alone(size=0.3)
    found = snapshot(world, conditions(world, [{}]), CELLS, KEY).transcripts[0]
    size = np.exp(np.asarray(world.own)[:, 0])
    cov = np.cov(found.T)
    assert cov[0, 1] == pytest.approx(2500 * size.var(), rel=0.15)
    assert cov[0, 0] == pytest.approx(50 * size.mean() + 2500 * size.var(), rel=0.15)


def test_changed_genes_do_what_their_dose_says():
    world = alone()
    sets = [{}, {"X changed": -1.0}, {"X changed": -0.6}, {"X changed": 1.0}, {"X changed": 1.0, "Y changed": -1.0}]
    found = snapshot(world, conditions(world, sets, hours=100.0), 400, KEY)
    control, out, down, up, both = found.transcripts
    assert (out[:, 0] == 0).all()
    assert (found.counts[1][:, 0] == 0).all()
    assert (both[:, 1] == 0).all()
    for cells, mean in ((control, 50.0), (down, 20.0), (up, 200.0), (both, 200.0)):
        assert cells[:, 0].mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / 400))
    assert out[:, 1].mean() == pytest.approx(50.0, abs=4 * np.sqrt(50 / 400))


def test_a_regulator_raises_or_lowers_its_target_as_hills_function_says():
    for sign in (1, -1):
        world = genes((Edge("R", "T", sign),), lines=("A",), level=200.0, between_genes=0.0, size=0.0, sizes=1)
        found = snapshot(world, conditions(world, [{}, {"R changed": -1.0}, {"R changed": 1.0}]), 300, KEY)
        target = found.transcripts[:, :, 1].mean(1)
        raised = np.array([0.5, 0.0, 16 / 17])  # regulator at 1, 0 and 4 times its half, Hill 2
        expected = 200 * (0.2 + 1.6 * (raised if sign > 0 else 1 - raised))
        np.testing.assert_allclose(target, expected, rtol=0.02)


def test_cells_on_the_way_are_read_on_the_way():
    """A gene that is knocked out leaves its transcripts to be lost at .25 per hour."""
    world = alone()
    asked = conditions(world, [{"X changed": -1.0}] * 3)
    hours = np.array([1.0, 4.0, 10.0])
    found = snapshot(world, Conditions(asked.names, asked.dose, asked.traits, hours), 500, KEY)
    expected = 50 * np.exp(-0.25 * hours)
    np.testing.assert_allclose(found.transcripts[:, :, 0].mean(1), expected, rtol=0.06)


def test_libraries_scale_counts_and_batches_belong_to_the_reading():
    world = alone()
    asked = conditions(world, [{}])
    one, two = (
        snapshot(world, asked, 1000, KEY, Reading(library=size, spread=0.3, others=900.0)) for size in (2000.0, 4000.0)
    )
    np.testing.assert_array_equal(one.transcripts, two.transcripts)
    assert two.counts.mean() / one.counts.mean() == pytest.approx(2.0, rel=0.02)
    assert one.counts.dtype == np.int32
    assert np.log(one.library).std() == pytest.approx(0.3, rel=0.1)
    # 1000 transcripts in a cell, 50 of each gene: a twentieth of the library each, besides the spread of libraries.
    assert one.counts.mean() == pytest.approx(2000 * np.exp(0.045) / 20, rel=0.03)
    several = snapshot(world, asked, 1000, KEY, Reading(library=2000.0, batches=3, depth=0.8))
    np.testing.assert_array_equal(several.transcripts, one.transcripts)
    means = [several.counts[0, several.batch[0] == b].mean() for b in range(3)]
    assert max(means) / min(means) > 1.2
    lost = snapshot(world, asked, 1000, KEY, Reading(library=60.0, others=900.0, dropout=0.5))
    kept = snapshot(world, asked, 1000, KEY, Reading(library=60.0, others=900.0))
    assert (lost.counts == 0).mean() > (kept.counts == 0).mean() + 0.1


def test_a_snapshot_names_its_conditions_and_lies_flat_as_tables_do():
    world = regulated_genes()
    name = world.spec.actions[0].name
    found = snapshot(world, conditions(world, [{}, {name: -1.0}], lines=("B",), hours=6.0), 5, KEY, Reading(batches=2))
    assert found.conditions.names == ("control, line=B", f"{name} -1, line=B")
    counts, condition, batch = found.rows()
    assert counts.shape == (10, 10)
    assert condition.tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(counts[7], found.counts[1, 2])
    assert batch[7] == found.batch[1, 2]
    assert found.genes == tuple(c.name for c in world.spec.channels)
    np.testing.assert_array_equal(found.conditions.traits, [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="lines Q, expected some of A, B"):
        conditions(world, [{}], lines=("Q",))
    with pytest.raises(KeyError, match="unknown action 'nope'"):
        conditions(world, [{"nope": 1.0}])
    with pytest.raises(ValueError, match="targets Z, expected genes among X, Y"):
        genes((Edge("X", "Y", 1),), targets=("Z",))
