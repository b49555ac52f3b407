"""The diabetes simulator against simglucose, linear theory and balances, and its belief against Bayes' rule."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats
from tests.support import glucose_day

from biowm.core.do import parse_do
from biowm.core.errors import BadInput
from biowm.evaluate.tasks._simglucose import simglucose
from biowm.worlds.patient import glucose_patients
from biowm.worlds.patient.glucose import SPEC, Glucose, GlucoseBelief, GlucoseState, patient
from biowm.worlds.patient.glucose_body import Body, Compartments, carry, give, glucose, rest
from biowm.worlds.patient.glucose_patients import NAMES, VALUES, Parameters, basal, value

KEY = jax.random.key(0)
WORLD = Glucose()
EVERYONE = jnp.asarray(VALUES, jnp.float32)
BASAL = jnp.asarray(basal(VALUES), jnp.float32)
REST = eqx.filter_jit(rest)(EVERYONE)
P = Parameters(*VALUES.T)
SD = np.sqrt(0.49 / 0.51)  # of e <- 0.7 (e + N(0, 1))
ERROR = stats.johnsonsu(-0.5444 / SD, 1.6898 / SD, loc=-5.47, scale=15.9574)  # of the sensor, at a random time


def state(body: Body) -> Compartments:
    return Compartments(*np.moveaxis(np.asarray(body.x), -1, 0))


@eqx.filter_jit
def live(own, bodies: Body, rates, boluses, carbs, dt, bites: int = 1) -> Body:
    """Bodies of patients at the end of each step, under U/h, U and g in each step [n, steps]."""

    def one(own, body, *given):
        def step(body, now):
            rate, bolus, grams = now
            body = carry(own, give(own, body, bolus, grams), rate / 60, dt, bites)
            return body, body

        return jax.lax.scan(step, body, given)[1]

    return jax.vmap(one)(own, bodies, rates, boluses, carbs)


def day(minutes: int = 1440, *, rate=1.0, bolus=0.0, meal=0.0, start: Body | None = None) -> Body:
    """All thirty, minute by minute, at `rate` times their basal one; a bolus (U) and a meal (g) after half an hour."""
    shape = (len(NAMES), minutes)
    at_once = jnp.zeros(shape).at[:, 30].set(1.0)
    rates = jnp.broadcast_to(rate * BASAL[:, None], shape)
    start = REST if start is None else start
    return live(EVERYONE, start, rates, bolus * at_once, meal * at_once, jnp.float32(1.0))


def levels(bodies: Body) -> np.ndarray:
    """Glucose (mg/dL) of all thirty at all times."""
    return np.asarray(bodies.x)[..., -1] / P.Vg[:, None]


def as_simglucose(minutes: int, *, pumped: bool) -> float:
    """The largest error (mg/dL) over 24 h of all patients in steps of so many minutes, boluses pumped or at once."""
    rates, boluses = (np.array([of(i) for i in range(30)]) for of in (glucose_day.basals, glucose_day.boluses))
    grams = np.tile(glucose_day.carbs(), (30, 1))
    if pumped:
        rates, boluses = rates + 60 * boluses, 0 * boluses
    rate, bolus, meal = (a.reshape(30, -1, minutes) for a in (rates, boluses, grams))
    given = (jnp.asarray(a, jnp.float32) for a in (rate.mean(2), bolus.sum(2), meal.sum(2)))
    bodies = live(EVERYONE, REST, *given, jnp.float32(minutes), minutes)
    expected = glucose_day.reference()
    assert expected.shape == (30, 48)
    assert np.ptp(expected) > 500  # a day that tells
    return float(np.abs(levels(bodies)[:, 30 // minutes - 1 :: 30 // minutes] - expected).max())


def test_a_day_of_every_patient_is_that_of_simglucose():
    """Same patient, meals and insulin, which a pump gives within the minute: below the 1 mg/dL that was asked for."""
    assert as_simglucose(1, pumped=True) < 0.5


def test_a_bolus_at_once_and_steps_of_a_quarter_hour_are_about_the_same():
    """A bolus at its instant comes half a minute before one that is pumped in a minute, and no more."""
    assert as_simglucose(15, pumped=False) < 1.5


@pytest.mark.slow
@pytest.mark.skipif(simglucose() is None, reason="extra [peers]: simglucose")
@pytest.mark.filterwarnings("ignore")
def test_the_reference_is_what_simglucose_says():
    np.testing.assert_allclose(glucose_day.ask("child#007"), glucose_day.reference()[26], atol=1e-4)


def test_everyone_stays_at_rest_at_their_basal_rate():
    body = day()
    np.testing.assert_allclose(levels(body), np.tile(P.Gpb / P.Vg, (1440, 1)).T, atol=0.05)
    np.testing.assert_allclose(state(body).insulin[:, -1], P.Ipb, rtol=1e-4)


def test_insulin_lowers_meals_raise_and_no_insulin_raises():
    usual = levels(day())
    more, less, pump_off = (levels(day(**how)) for how in ({"bolus": 1.0}, {"meal": 30.0}, {"rate": 0.0}))
    np.testing.assert_array_equal(more[:, :30], usual[:, :30])
    assert (more.min(1) < usual.min(1) - 5).all()
    assert (less.max(1) > usual.max(1) + 20).all()
    assert (pump_off[:, -1] > usual[:, -1] + 50).all()


def test_every_gram_is_eaten_emptied_and_absorbed_once():
    body = day(400, meal=60.0)
    x = state(body)
    eaten = 60.0 - np.asarray(body.to_eat)
    np.testing.assert_allclose(eaten[:, 30:42], 5.0 * np.arange(1, 13) * np.ones((30, 1)), rtol=1e-6)
    assert (eaten[:, 42:] == 60.0).all()
    inside = (x.solid + x.liquid + x.gut) / 1000
    rate = P.kabs[:, None] * x.gut / 1000
    absorbed = np.cumsum((rate[:, 1:] + rate[:, :-1]) / 2, axis=1)
    np.testing.assert_allclose((inside[:, 1:] + absorbed)[:, 30:], eaten[:, 31:], atol=0.3)


SEVEN = ("depot", "monomers", "insulin", "liver", "delay", "production", "uptake")
# How fast insulin goes from one place to another (1/min), losses on the diagonal.
FLOWS = {
    ("depot", "depot"): -P.ka1 - P.kd,
    ("monomers", "depot"): P.kd,
    ("monomers", "monomers"): -P.ka2,
    ("insulin", "depot"): P.ka1,
    ("insulin", "monomers"): P.ka2,
    ("insulin", "insulin"): -P.m2 - P.m4,
    ("insulin", "liver"): P.m1,
    ("liver", "liver"): -P.m1 - P.m30,
    ("liver", "insulin"): P.m2,
    ("delay", "delay"): -P.ki,
    ("delay", "insulin"): P.ki / P.Vi,
    ("production", "production"): -P.ki,
    ("production", "delay"): P.ki,
    ("uptake", "uptake"): -P.p2u,
    ("uptake", "insulin"): P.p2u / P.Vi,
}


def test_insulin_moves_as_linear_theory_says():
    """From under the skin through blood and liver to where it acts: a linear system, solved by a matrix exponential."""
    body = day(120, rate=2.0, bolus=3.0)
    start, before, after = (
        np.stack([getattr(x, name) for name in SEVEN], axis=1)
        for x in (state(REST), state(_at(body, 29)), state(_at(body, 119)))
    )
    for i in range(0, 30, 7):
        flow = np.zeros((8, 8))  # the last place is the constant 1
        for (to, of), rate in FLOWS.items():
            flow[SEVEN.index(to), SEVEN.index(of)] = rate[i]
        flow[0, 7], flow[6, 7] = 2 * P.u2ss[i], -P.p2u[i] * P.Ib[i]
        expected = linalg.expm(30 * flow) @ np.append(start[i], 1.0)
        np.testing.assert_allclose(before[i], expected[:7], rtol=2e-3, atol=1e-2)
        expected[0] += 3.0 * 6000 / P.BW[i]
        np.testing.assert_allclose(after[i], (linalg.expm(90 * flow) @ expected)[:7], rtol=2e-3, atol=1e-2)


def _at(body: Body, k: int) -> Body:
    return jax.tree.map(lambda leaf: leaf[:, k], body)


def test_nothing_falls_below_zero_and_glucose_comes_back():
    """After far too much insulin glucose is gone, not negative; carbohydrate brings it back."""
    body = day(600, bolus=25.0)
    x = state(body)
    assert np.isfinite(body.x).all()
    assert all((v >= 0).all() for v in x._replace(uptake=np.zeros(1)))
    assert x.blood[:, -1].min() == 0.0
    last = _at(body, -1)
    assert (levels(day(600, meal=100.0, start=last)).max(1) > 20.0).all()


@pytest.mark.slow
def test_steps_may_be_cut_and_may_be_long():
    carbs = jnp.full((30, 1), 40.0)
    none = jnp.zeros((30, 1))
    whole = live(EVERYONE, REST, none, none + 1, carbs, jnp.float32(15.0), 15)
    third = jnp.concatenate([carbs, 0 * carbs, 0 * carbs], axis=1)
    for bites, apart in ((5, 0.01), (15, 0.5)):  # the same bites; and shorter ones, which count as eaten less early
        parts = live(EVERYONE, REST, 0 * third, third / 40, third, jnp.float32(5.0), bites)
        np.testing.assert_allclose(levels(parts)[:, -1], levels(whole)[:, -1], atol=apart)
    long = live(EVERYONE, REST, BASAL[:, None], none, none, jnp.float32(24 * 60.0), 15)
    np.testing.assert_allclose(levels(long)[:, -1], P.Gpb / P.Vg, atol=0.05)
    fed = live(EVERYONE, REST, BASAL[:, None], none, carbs, jnp.float32(24 * 60.0), 15)
    assert np.isfinite(fed.x).all()
    assert (levels(fed)[:, -1] < 1000).all()


@pytest.mark.slow
def test_gradients_by_doses_and_by_every_parameter_are_finite():
    def late(own, bolus, carbs):
        body = give(own, rest(own), bolus, carbs)
        return glucose(own, carry(own, body, basal(own) / 60, jnp.float32(60.0), 60))

    for i in (0, 15, 29):
        by_own, by_bolus, by_carbs = eqx.filter_jit(jax.grad(late, (0, 1, 2)))(
            EVERYONE[i], jnp.float32(1.0), jnp.float32(40.0)
        )
        assert np.isfinite(by_own).all()
        assert by_bolus < 0 < by_carbs


@pytest.mark.parametrize(
    ("text", "dose"),
    [("basal=0.02 U_insulin/min@0:60 min", 1.2), ("meal=0.05 kg@0", 50.0), ("bolus=2500 mU_insulin@0", 2.5)],
)
def test_doses_are_turned_into_the_units_of_the_cards(text: str, dose: float):
    assert parse_do([text], SPEC, 120.0)[0].dose == pytest.approx(dose)


@pytest.mark.parametrize(
    "text",
    [
        "basal=1 U_insulin@0:60 min",
        "bolus=2 U_insulin/h@0",
        "basal=100 pmol/min@0:60 min",
        "bolus=6000 pmol@0",
        "bolus=2 IU@0",
        "bolus=2 U@0",
        "bolus=-1 U_insulin@0",
        "basal=-1 U_insulin/h@0:60 min",
        "meal=-20 g@0",
        "meal=40@0",
        "meal=40 g@-30 min",
    ],
)
def test_doses_in_wrong_units_below_zero_or_in_the_past_are_refused(text: str):
    with pytest.raises(BadInput):
        parse_do([text], SPEC, 120.0)


_begin, _update = eqx.filter_jit(Glucose.begin), eqx.filter_jit(Glucose.update)
_give, _ahead = eqx.filter_jit(Glucose.impulse), eqx.filter_jit(Glucose.predict)
_observe = eqx.filter_jit(lambda states: jax.vmap(WORLD.observe)(states).mean[:, 0])
_step = eqx.filter_jit(jax.vmap(lambda s, action, dt, key: WORLD.step(s, action, dt, key=key), (0, None, None, 0)))
_draw = eqx.filter_jit(lambda belief, keys: jax.vmap(lambda key: WORLD.draw(belief, key=key))(keys))
QUARTER = jnp.float32(15.0)


def begun(group: int | None = None, world: Glucose = WORLD) -> GlucoseBelief:
    return _begin(world, jnp.asarray(np.eye(4, 3)[3 if group is None else group], jnp.float32))


def read(belief: GlucoseBelief, value: float) -> GlucoseBelief:
    return _update(WORLD, belief, jnp.array([value]), jnp.ones(1, bool))


def test_a_group_says_who_it_may_be():
    for group, own in enumerate((slice(0, 10), slice(10, 20), slice(20, 30))):
        weight = np.exp(begun(group).weight)
        np.testing.assert_allclose(weight[own], 0.1, rtol=1e-5)
        assert weight.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.exp(begun().weight), 1 / 30, rtol=1e-5)
    few = Glucose(patients=EVERYONE[:2], groups=WORLD.groups[:2])
    np.testing.assert_allclose(np.exp(begun(2, few).weight), 0.5, rtol=1e-5)  # nobody here is a child


def test_readings_weigh_the_patients_as_bayes_says():
    """The sensor's error at a random time is Johnson SU; a reading at a limit is one beyond it."""
    level = P.Gpb / P.Vg
    for shown, likely in (
        (120.0, ERROR.pdf(120.0 - level)),
        (170.0, ERROR.pdf(170.0 - level)),
        (39.0, ERROR.cdf(39.0 - level)),
        (600.0, ERROR.sf(600.0 - level)),
    ):
        np.testing.assert_allclose(np.exp(read(begun(), shown).weight), likely / likely.sum(), rtol=2e-3)


def test_what_was_read_is_known_and_is_forgotten_in_time():
    belief = read(begun(), 170.0)
    np.testing.assert_array_equal(belief.doubt, 0.0)
    states = _draw(belief, jax.random.split(KEY, 64))
    np.testing.assert_allclose(_observe(states), 170.0, rtol=1e-5)
    later = _ahead(WORLD, belief, jnp.zeros(3), QUARTER)
    np.testing.assert_allclose(later.error, 0.7 * belief.error, rtol=1e-5)
    np.testing.assert_allclose(later.doubt, 0.49, rtol=1e-5)


@pytest.mark.parametrize(("limit", "side"), [(39.0, -1.0), (600.0, 1.0)])
def test_after_a_reading_at_a_limit_the_error_is_one_beyond_it(limit: float, side: float):
    belief = read(begun(), limit)
    bound = -0.5444 + 1.6898 * np.arcsinh((limit - P.Gpb / P.Vg + 5.47) / 15.9574)
    for i in (0, 12, 25):
        ends = (bound[i] / SD, np.inf) if side > 0 else (-np.inf, bound[i] / SD)
        mean, var = stats.truncnorm.stats(*ends, scale=SD, moments="mv")
        assert float(belief.error[i]) == pytest.approx(mean, rel=1e-3)
        assert float(belief.doubt[i]) == pytest.approx(var, rel=0.05)


def test_a_patient_is_known_by_a_meal():
    """Readings after a meal tell adults apart: most of the weight goes to the one who ate it."""
    who = 13
    now = jax.tree.map(lambda leaf: leaf[None], patient(EVERYONE[who]))
    belief = begun(1)
    action = jnp.zeros(3).at[0].set(BASAL[who])
    for k in range(12):
        dose = jnp.array([0.0, 2.0, 60.0]) if k == 1 else jnp.zeros(3)
        now = _step(_give(WORLD, now, dose), action, QUARTER, jax.random.fold_in(KEY, k)[None])
        belief = _ahead(WORLD, _give(WORLD, belief, dose), action, QUARTER)
        belief = read(belief, float(_observe(now)[0]))
    assert int(np.argmax(belief.weight)) == who
    assert float(np.exp(belief.weight[who])) > 0.5


def test_the_sensor_errs_as_published():
    states: GlucoseState = _draw(begun(0), jax.random.split(KEY, 4096))
    after = _step(states, jnp.zeros(3), QUARTER, jax.random.split(jax.random.key(1), 4096))
    hidden, later = np.asarray(states.error), np.asarray(after.error)
    assert hidden.std() == pytest.approx(SD, rel=0.04)
    assert later.std() == pytest.approx(SD, rel=0.04)
    assert np.corrcoef(hidden, later)[0, 1] == pytest.approx(0.7, abs=0.03)
    errors = np.asarray(_observe(states)) - np.asarray(eqx.filter_jit(jax.vmap(glucose))(states.own, states.body))
    assert stats.kstest(errors, ERROR.cdf).pvalue > 0.01


def test_the_table_is_whole():
    assert VALUES.shape == (30, len(Parameters._fields))
    assert np.isfinite(VALUES).all()
    assert (VALUES > 0).all()
    assert NAMES[0] == "adolescent#001"
    assert NAMES[29] == "child#010"
    assert (glucose_patients.GROUP.sum(0) == 10).all()
    np.testing.assert_allclose(value(VALUES, "BW")[:2], [68.706, 51.046], rtol=1e-6)
