"""Worlds that are joined: the hand-joined equations, a port that is cut, units, clocks, and a belief of the whole."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from biowm.core.mechanism import vector
from biowm.core.rollout import rollout
from biowm.core.schedule import Entry, schedule
from biowm.core.units import UnitError
from biowm.worlds.cell.network import slope
from biowm.worlds.cell.signalling import Signalling, signalling
from biowm.worlds.cell.topology import Edge
from biowm.worlds.coupled import Coupled, couple
from biowm.worlds.joints import Joint, Part
from biowm.worlds.molecule.engagement import Engagement
from biowm.worlds.patient.androgen import AndrogenWorld

KEY = jax.random.key(0)
JOINT = Joint("drug", "occupancy", "cells", "Ai")
_rollout = eqx.filter_jit(rollout)


def cells() -> Signalling:
    """A -> B without noise, with an inhibitor of A."""
    world = signalling(
        (Edge("A", "B", 1),), {"S": {"A": 0.9}}, {"Ai": ["A"]}, lines=("A",), dishes=1, between_lines=0.0,
        between_dishes=0.0,
    )  # fmt: skip
    return replace(world, wander=0.0, reading=0.0)


def drug(n: int = 1) -> Engagement:
    return Engagement(subjects=Engagement().subjects[:n], noise=(1e-6, 1e-6), steps=8)


def joined(*joints: Joint, n: int = 1, exchanges: int = 8, steps: int = 1) -> Coupled:
    parts = (Part("drug", drug(n)), Part("cells", cells(), steps=steps))
    return couple("joined", parts, joints, spacing=2.0, exchanges=exchanges, subjects=n)


def plan(world: Coupled):
    action = world.spec.action
    return schedule([Entry(action("S"), 1.0, 0.0, 24.0), Entry(action("oral"), 100.0, 4.0, 4.0)])


TIMES = jnp.asarray(2.0 * np.arange(1, 13), jnp.float32)


@pytest.mark.slow
def test_it_is_the_equations_joined_by_hand():
    world = joined(JOINT)
    read = _rollout(world, world.begin(jnp.ones(1)), plan(world), TIMES, key=KEY, draws=1)[0]
    one, net = drug().of(drug().subjects[0]), cells().dish(jnp.asarray(0), jnp.zeros(4))

    @jax.jit
    def moved(y: jax.Array) -> jax.Array:
        held = jnp.stack([one.occupancy(y[:6]), jnp.zeros(())])
        signals = 60 * slope(net, y[6:], jnp.ones(1), held)  # the network's clock is the minute
        return jnp.concatenate([vector(one.slope(y[:6], jnp.zeros(3))), signals])

    def follow(y: np.ndarray, until: float) -> np.ndarray:
        def f(_: float, y: np.ndarray) -> np.ndarray:
            return np.asarray(moved(jnp.asarray(y, jnp.float32)), float)

        return solve_ivp(f, (0.0, until), y, method="LSODA", rtol=1e-5, atol=1e-7).y[:, -1]

    rest = np.asarray(cells().begin(jnp.ones(1)).mean[0], float)
    y = follow(np.concatenate([[0, 0, 0, 0, 1, 0], rest]), 4.0)
    y[0] += 100.0 * float(one.bioavailability)
    for until, row in ((4.0, 3), (20.0, 11)):
        after = follow(y, until)
        level, free = after[1] / float(one.volume), after[4]
        np.testing.assert_allclose(read[row], [level, free, *after[6:]], rtol=5e-3, atol=2e-3)
        assert row > 3 or after[6] < 0.45, "most of A is held by then"


@pytest.mark.slow
def test_finer_exchanges_come_nearer():
    ends = [
        np.asarray(_rollout(w, w.begin(jnp.ones(1)), plan(w), TIMES[:3], key=KEY, draws=1))[0, -1]
        for w in (joined(JOINT, exchanges=8), joined(JOINT, exchanges=16), joined(JOINT, exchanges=64))
    ]
    coarse, fine = (np.abs(end - ends[-1]).max() for end in ends[:2])
    assert fine < 0.5 * coarse + 1e-5


def test_a_port_that_is_cut_is_felt_below_it_and_only_there():
    whole, cut = joined(JOINT), joined()
    assert [a.name for a in whole.spec.actions] == ["oral", "iv", "infusion", "S"]
    assert [a.name for a in cut.spec.actions] == ["oral", "iv", "infusion", "S", "Ai"]
    one, two = (
        np.asarray(_rollout(w, w.begin(jnp.ones(1)), plan(w), TIMES, key=KEY, draws=1))[0] for w in (whole, cut)
    )
    np.testing.assert_allclose(one[:, :2], two[:, :2], rtol=1e-4)
    np.testing.assert_allclose(one[:2, 2:], two[:2, 2:], atol=1e-5)
    assert np.all(one[2:5, 2] < 0.7 * two[2:5, 2]), "in the hours after the dose"
    assert np.all(one[2:, 2:] < two[2:, 2:])


def test_units_and_clocks_are_checked_and_converted():
    with pytest.raises(UnitError, match=r"drug.free_concentration to cells.Ai: unit mismatch: 'mg/L'"):
        joined(Joint("drug", "free_concentration", "cells", "Ai"))
    assert joined(JOINT).clocks == (1.0, pytest.approx(60.0))
    other = cells()
    card = replace(other.spec.actions[1], unit="ug/L")
    other = replace(other, spec=replace(other.spec, actions=(other.spec.actions[0], card)))
    joint = Joint("drug", "free_concentration", "cells", "Ai")
    parts = (Part("drug", drug()), Part("cells", other))
    world = couple("x", parts, (joint,), spacing=2.0, exchanges=8, subjects=1)
    assert world.wires[0].factor == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("joint", "says"),
    [
        (Joint("durg", "occupancy", "cells", "Ai"), "found part 'durg', expected one of drug, cells"),
        (Joint("drug", "taste", "cells", "Ai"), "found outlet of drug 'taste', expected one of free_concentration"),
        (Joint("drug", "occupancy", "cells", "Bi"), "found action of cells 'Bi', expected one of S, Ai"),
        (Joint("cells", "A", "drug", "oral"), "cells.A to drug.oral: found a bolus, expected an action that is held"),
    ],
)
def test_joints_that_cannot_be_are_refused(joint: Joint, says: str):
    with pytest.raises(ValueError, match=says):
        joined(joint)


def test_steps_that_are_too_long_and_actions_driven_twice_are_refused():
    with pytest.raises(ValueError, match="part cells: found steps of 30 min, expected at most 15 min"):
        joined(JOINT, exchanges=4)
    joined(JOINT, exchanges=4, steps=2)
    with pytest.raises(ValueError, match="driven twice"):
        joined(JOINT, Joint("cells", "B", "cells", "Ai"))


def test_the_belief_of_the_whole_weighs_its_parts_as_they_do():
    """With one dish, and the drug's reading alone, the wholes are weighed as the drug's own belief weighs subjects."""
    real = Engagement(subjects=Engagement().subjects[:5], steps=8)
    parts = (Part("drug", real), Part("cells", cells()))
    world = couple("joined", parts, (JOINT,), spacing=2.0, exchanges=8, subjects=5)
    dose = jnp.zeros(4).at[0].set(100.0)
    reading, mask = jnp.array([0.9, 0.3, 0.0, 0.0]), jnp.array([True, True, False, False])

    @eqx.filter_jit
    def follow(world: Coupled, fine: Engagement) -> tuple[jax.Array, jax.Array]:
        two = jnp.asarray(2.0)
        whole = world.predict(world.impulse(world.begin(jnp.ones(1)), dose), jnp.zeros(4), two)
        alone = fine.predict(fine.impulse(fine.begin(jnp.zeros(0)), dose[:3]), jnp.zeros(3), two)
        whole, alone = world.update(whole, reading, mask), fine.update(alone, reading[:2], mask[:2])
        return jnp.exp(whole.weight), jnp.exp(alone.weight)

    whole, alone = (np.asarray(w) for w in follow(world, replace(real, steps=64)))  # as many steps as in all exchanges
    assert sorted(np.asarray(world.who)[:, 0]) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(whole, alone[np.asarray(world.who)[:, 0]], rtol=1e-2, atol=1e-5)


@pytest.mark.slow
def test_what_is_read_below_tells_about_what_is_above():
    """A dish whose A is held tells that the drug is there: the weights of wholes move by a reading of A alone."""
    quiet = replace(cells(), reading=0.03)
    parts = (Part("drug", Engagement(subjects=Engagement().subjects[:16], steps=8)), Part("cells", quiet))
    world = couple("joined", parts, (JOINT,), spacing=2.0, exchanges=8, subjects=16)

    @eqx.filter_jit
    def follow(world: Coupled, read: jax.Array) -> tuple[jax.Array, jax.Array]:
        given = world.impulse(world.begin(jnp.ones(1)), jnp.zeros(4).at[0].set(20.0))
        for _ in range(3):
            given = world.predict(given, jnp.zeros(4).at[3].set(1.0), jnp.asarray(2.0))
        after = world.update(given, jnp.zeros(4).at[2].set(read), jnp.zeros(4, bool).at[2].set(True))
        held = jax.vmap(parts[0].world.shown)(after.parts[0])[:, 1]
        return jnp.exp(after.weight) @ held, held.mean()

    low, usual = follow(world, jnp.asarray(0.2))
    high, _ = follow(world, jnp.asarray(0.8))
    assert float(low) > float(usual) + 0.03
    assert float(high) < float(usual) - 0.03


@pytest.mark.slow
def test_a_whole_is_a_part_of_a_larger_one():
    inner = Part("inner", joined(JOINT), steps=84)
    outer = couple(
        "outer", (Part("men", AndrogenWorld()), inner), (Joint("inner", "occupancy", "men", "on"),), spacing=7.0,
        exchanges=1, subjects=4,
    )  # fmt: skip
    assert [c.name for c in outer.spec.channels] == ["psa", "concentration", "free", "A", "B"]
    assert outer.clocks == (1.0, pytest.approx(24.0))
    belief = eqx.filter_eval_shape(outer.begin, jnp.ones(1))
    after = eqx.filter_eval_shape(outer.predict, belief, jnp.zeros(4), jnp.asarray(7.0))
    assert jax.tree.leaves(after) == jax.tree.leaves(belief)
