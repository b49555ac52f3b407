"""Task `glucose`: what is eaten, what controllers give by hand's reckoning, what is logged and what is scored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.schedule import entries
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._diabetes import Patient, Seen, Trace, meals, paths, patients
from biowm.evaluate.tasks._insulin import SPEC, BasalBolus, Habit, Pid, rule, scales, traits
from biowm.evaluate.tasks.glucose import GlucoseTask, percents

KEY = jax.random.key(0)
ONE = Patient(*(jnp.asarray(v, jnp.float32) for v in (np.zeros(3), 50.0, 0.8, 10.0, 40.0)))
WHO = patients([0, 13])


def seen(reading: float, meal: float, t: float = 0.0) -> Seen:
    return Seen(*(jnp.asarray(v, jnp.float32) for v in (t, reading, meal)))


def test_meals_are_those_of_the_scenario():
    eaten = meals(200, 3, [0])
    assert eaten.shape == (200, 144)
    assert eaten.max() <= 100.0
    days = eaten.reshape(600, 48)
    assert days.sum(1).mean() == pytest.approx(0.95 * (45 + 70 + 80) + 0.3 * 30, rel=0.03)
    assert np.mean(days[:, 24 - 4 : 24 + 5].max(1) > 30) == pytest.approx(0.95, abs=0.03)  # lunch
    assert (days[:, :10] == 0).all()  # before 5 h
    np.testing.assert_array_equal(eaten, meals(200, 3, [0]))
    assert not np.array_equal(eaten, meals(200, 3, [1]))


def test_basal_bolus_by_hand():
    for reading, meal, units in (
        (120.0, 60.0, 6.0),
        (190.0, 60.0, 6.0 + 50 / 40),
        (190.0, 0.0, 0.0),
        (150.0, 20.0, 2.0),
    ):
        assert float(rule(ONE, seen(reading, meal))) == pytest.approx(units)
    _, dose = BasalBolus().decide(ONE, (), seen(120.0, 60.0), key=KEY)
    assert [float(d) for d in dose] == pytest.approx([0.8, 6.0])


def test_pid_by_hand():
    pid = Pid(*(jnp.asarray(g) for g in (0.01, 1e-4, 0.5, 0.5, 120.0)))
    memory, first = pid.decide(ONE, pid.start(ONE), seen(170.0, 40.0), key=KEY)
    assert [float(d) for d in first] == pytest.approx([0.8 * (1 + 0.5), 2.0])
    _, second = pid.decide(ONE, memory, seen(180.0, 0.0), key=KEY)
    assert float(second.rate) == pytest.approx(0.8 * (1 + 0.6 + 1e-4 * 250 + 0.5 * 2.0))
    low, stopped = pid.decide(ONE, memory, seen(40.0, 0.0), key=KEY)
    assert float(stopped.rate) == 0.0
    assert float(low[0]) == float(memory[0])  # the integral waits


@pytest.mark.slow
def test_habit_is_basal_bolus_with_errors():
    habit, keys = Habit(), jax.random.split(KEY, 2000)
    give = jax.jit(jax.vmap(lambda key: habit.decide(ONE, habit.start(ONE), seen(120.0, 60.0), key=key)[1]))
    rate, bolus = (np.asarray(d) for d in give(keys))
    assert np.median(np.log(rate / 0.8)) == pytest.approx(np.log(0.8), abs=0.04)
    assert np.log(rate / 0.8).std() == pytest.approx(0.5, rel=0.1)
    assert np.mean(bolus == 0) == pytest.approx(0.1, abs=0.03)
    usual = np.log(bolus[bolus > 0] / 6.0)
    assert np.median(usual) == pytest.approx(np.log(0.8), abs=0.05)
    assert usual.std() == pytest.approx(0.3, rel=0.2)


def test_habit_stops_the_pump_where_glucose_is_low():
    habit, keys = Habit(), jax.random.split(KEY, 200)
    give = jax.jit(jax.vmap(lambda key: habit.decide(ONE, habit.start(ONE), seen(79.0, 0.0), key=key)[1]))
    assert all(float(jnp.abs(d).max()) == 0.0 for d in give(keys))
    memory, dose = habit.decide(ONE, jnp.asarray(0.5), seen(79.0, 60.0, t=30.0), key=KEY)
    assert (float(memory), float(dose.rate)) == (0.5, 0.0)  # what it pumps again once glucose is back


def test_a_world_knows_the_rules_that_the_pump_knows():
    insulin, meal = scales(ONE)
    assert float(insulin * ONE.basal) == pytest.approx(1.0)  # the basal rate is 1
    assert float(meal * 60.0) == pytest.approx(float(insulin * 60.0 / ONE.ratio))  # a meal counts as what covers it
    assert traits(ONE).shape == (SPEC.trait_width,)
    assert float(jnp.exp(traits(ONE)[0])) == pytest.approx(0.8 * 40)  # mg/dL an hour


def test_logs_say_what_was_done():
    reading = np.array([[100.0, 110, 120, 130]], np.float32)
    meal, rate, bolus = (jnp.array([row], jnp.float32) for row in ([0, 50, 0, 0], [1, 1, 2, 2], [0, 4, 0, 0]))
    past = Trace(jnp.zeros((1, 24)), jnp.asarray(reading), meal, rate, bolus)
    logged = jax.tree.map(lambda leaf: leaf[0], paths(past, np.array([0.5]), np.array([0.1]), np.array([[3.0]])))
    np.testing.assert_array_equal(np.asarray(logged.x)[:4, 0], reading[0])
    assert np.asarray(logged.traits).tolist() == [3.0]
    assert [(e.card, e.dose, e.onset, e.stop) for e in entries(logged.plan)] == [
        (0, 0.5, 0.0, 30.0), (0, 4.5, 30.0, 60.0), (1, 5.0, 30.0, 30.0), (0, 1.0, 60.0, 120.0),
    ]  # fmt: skip


def test_percent_of_the_time_by_patient():
    scores = percents(np.array([[60.0, 100, 180, 181], [50.0, 53, 70, 69]]), ("a", "b"))
    found = {name: interval(sums).value for (_, name), sums in scores.items()}
    assert found == pytest.approx({"time_in_range": 37.5, "time_below_70": 50.0, "time_below_54": 25.0})
    assert scores["unseen", "time_in_range"].units.tolist() == ["a", "b"]


@pytest.mark.slow
def test_nobody_is_learned_from_and_treated():
    quick = GlucoseTask().make(0, Setting("quick"))
    learned = {float(w) for w in quick.practice.who.weight}
    assert not learned & {float(w) for w in quick.ward.who.weight}
    assert len(quick.names) == 6
    assert quick.ward.eaten.shape == (6, 48)
    assert quick.watched.reading.shape == (6, 48)
