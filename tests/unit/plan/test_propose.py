"""Proposals of a small screen of drugs: who is proposed, what is said of them, and what is refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from tests.support.screen import EFFECTS, PAIRS, SINGLES, condition, drugs, fitted_screen, screen, trunk

from biowm import api
from biowm.core.errors import BadInput
from biowm.core.path import stack
from biowm.core.spec import ActionCard
from biowm.models.blend import blend
from biowm.models.sets.known import pooled
from biowm.plan.proposal import describe
from biowm.train.fitted import Fitted


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Singles in both lines, the first six pairs in line A."""
    return fitted_screen(drugs(), [*screen([*SINGLES, *PAIRS[:6]]), *screen(SINGLES, line=1, seed=1)])


def sets(found: api.Proposal) -> list[tuple[str, str]]:
    return [(row.set, row.context) for row in found.rows]


def test_what_was_measured_is_left_out_in_its_context(fitted: Fitted):
    every = api.propose(fitted, count=24)
    assert (every.considered, every.known) == (30, 6)
    names = ["+".join("abcdef"[a] for a, _ in pair) for pair in PAIRS]
    wanted = {(name, "line=A") for name in names[6:]} | {(name, "line=B") for name in names}
    assert set(sets(every)) == wanted
    assert len(sets(every)) == 24
    assert [row.rank for row in every.rows] == list(range(1, 25))
    assert {row.measured for row in every.rows if row.set == "a+b"} == {(7, 4)}
    only = api.propose(fitted, count=9, context=["line=A"])
    assert {context for _, context in sets(only)} == {"line=A"}
    assert (only.considered, only.known) == (15, 6)


def test_each_tells_less_than_the_one_before_and_together_what_a_gaussian_says(fitted: Fitted):
    found = api.propose(fitted, count=5, context=["line=B"], by="information")
    nats = [row.information for row in found.rows]
    assert all(a >= b for a, b in pairwise(nats))
    given = [[("abcdef".index(m), 0.5 + "abcdef".index(m)) for m in row.members] for row in found.rows]
    known = fitted.world.known(stack([condition(g, line=1) for g in given]), np.ones((5, 1), int))  # type: ignore[attr-defined]
    half, noise = known.half[:, :, 0], known.noise[:, 0, 0]
    direct = sum(0.5 * np.linalg.slogdet(np.eye(5) + h @ h.T / n)[1] for h, n in zip(half, noise, strict=True))
    assert found.information == pytest.approx(direct, rel=1e-6)
    assert sum(nats) == found.information


def test_one_channel_is_foretold_in_its_unit_and_several_by_the_size_of_the_response(fitted: Fitted):
    up = api.propose(fitted, count=9, context=["line=A"], channels=["up"])
    assert (up.response, up.channels) == ("up", ("up",))
    for row in up.rows:
        truth = sum(EFFECTS[0, "abcdef".index(m)] for m in row.members)
        assert abs(row.mean - truth) < 0.35
        assert 0 < row.sd < 0.3
    both = api.propose(fitted, count=9, context=["line=A"])
    assert both.response == "size of the response in 2 channels"
    sd = np.asarray(trunk_of(fitted).frame.scale.sd)
    for row in both.rows:
        truth = EFFECTS[:, ["abcdef".index(m) for m in row.members]].sum(1) / sd
        assert abs(row.mean - np.sqrt((truth**2).mean())) < 0.35
    assert both.information > up.information


def trunk_of(fitted: Fitted):
    return fitted.members["sets(additive)"]


def test_doses_are_those_given_most_often_or_those_that_are_named(fitted: Fitted):
    found = api.propose(fitted, count=1, members=["b", "c=700 nM"], context=["line=B"])
    assert found.rows[0].doses == ("1.5 uM", "0.7 uM")
    assert found.rows[0].members == ("b", "c")
    two = api.propose(fitted, count=2, members=["b=1 uM", "b=2 uM", "c"], context=["line=B"])  # not b with b
    assert {row.doses for row in two.rows} == {("1 uM", "2.5 uM"), ("2 uM", "2.5 uM")}
    outside = api.propose(fitted, count=1, members=["b=9 uM", "c"], context=["line=B"]).rows[0]
    assert outside.support.verdict == "outside"
    assert "9 uM is above the largest training dose" in outside.support.reasons[-1]
    assert found.rows[0].support.verdict == "inside"  # b and c were given together in line A, e and f nowhere
    assert api.propose(fitted, count=1, members=["e", "f"]).rows[0].support.verdict == "edge"


def test_a_balanced_design_starts_with_what_was_measured_least():
    world = fitted_screen(drugs(), screen([*SINGLES, *PAIRS[:5], *SINGLES[:4]]))  # e and f least
    found = api.propose(world, count=3, by="balanced", context=["line=A"])
    assert found.rows[0].set == "e+f"
    assert found.by == "balanced"
    known = world.world.known(stack([condition(PAIRS[14])]), np.ones((1, 1), int))  # type: ignore[attr-defined]
    alone = 0.5 * np.log1p(known.variance()[0, 0] / known.noise[:, 0, 0]).sum()
    assert found.rows[0].information == pytest.approx(alone, rel=1e-6)


def test_members_of_one_target_count_as_one_and_make_no_pair_of_their_own():
    spec = drugs()
    aimed = dataclasses.replace(
        spec, actions=tuple(dataclasses.replace(c, target="AB" if c.name in "ab" else None) for c in spec.actions)
    )
    world = fitted_screen(aimed, screen([*SINGLES, *PAIRS[1:4]]))  # a with c, d, e: a and b are measured most
    assert "a+b" not in {name for name, _ in sets(api.propose(world, count=11, context=["line=A"]))}
    by = [row.members for row in api.propose(world, count=6, by="balanced", context=["line=A"]).rows]
    assert by[0][1] == "f"
    assert not any("b" in pair for pair in by[:3])  # b itself was measured once, as f was, but its target five times
    both = fitted_screen(aimed, screen([*SINGLES, PAIRS[0]]))
    found = api.propose(both, count=15, context=["line=B"])
    assert "a+b" in {name for name, _ in sets(found)}  # such a pair was measured, in line A


def test_singles_and_all(fitted: Fitted):
    spec = drugs("abcdefz")
    world = fitted_screen(spec, screen([*SINGLES, *PAIRS[:6]]))
    with pytest.raises(BadInput, match="at most 0"):
        api.propose(world, count=1, candidates="singles", context=["line=A"])  # z was never given: it has no dose
    found = api.propose(world, count=1, candidates="singles", members=["a", "z=1 uM"], context=["line=A"])
    assert sets(found) == [("z", "line=A")]
    assert found.rows[0].measured == (0,)
    assert found.rows[0].support.verdict == "outside"
    every = api.propose(fitted, count=3, candidates="all", members=["a", "b", "f=1 uM"], context=["line=A"])
    assert set(sets(every)) == {("f", "line=A"), ("a+f", "line=A"), ("b+f", "line=A")}


def test_a_blend_is_taken_by_its_first_two_moments(fitted: Fitted):
    assert fitted.cohort is not None
    shared = trunk(fitted.spec, fitted.cohort.paths, "sets(shared)")
    worlds = {"one": trunk_of(fitted), "two": shared}
    both = dataclasses.replace(fitted, world=blend(fitted.spec, worlds, {"one": 0.25, "two": 0.75}))
    found = api.propose(both, count=1, members=["a", "f"], context=["line=B"]).rows[0]
    one = stack([condition([SINGLES[0][0], SINGLES[5][0]], line=1)]), np.ones((1, 1), int)
    known = pooled([(worlds["one"].known(*one), 0.25), (worlds["two"].known(*one), 0.75)])
    assert found.information == pytest.approx(
        0.5 * np.log1p(known.variance()[0, 0] / known.noise[:, 0, 0]).sum(), rel=1e-5
    )


def test_the_same_seed_says_the_same_and_the_record_holds_what_was_asked(fitted: Fitted):
    one, same = (api.propose(fitted, count=4, seed=5) for _ in range(2))
    assert sets(one) == sets(same)
    assert one.record is not None
    assert same.record is not None
    assert one.record.id == same.record.id
    assert one.record.config["count"] == 4
    body = one.to_json()
    assert [e["set"] for e in body["experiments"]] == [name for name, _ in sets(one)]
    table = one.table()
    assert list(table["rank"]) == [1, 2, 3, 4]
    assert table["measured"].iloc[0] == "+".join(map(str, one.rows[0].measured))
    text = describe(one)
    assert "6 of 30 were measured already and are left out" in text
    assert all(name in text for name, _ in sets(one))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"count": 25}, "at most 24: of 30 pairs 6 were measured already"),
        ({"count": 0}, "at least 1"),
        ({"members": ["a", "nobody"]}, "'nobody', expected members that this world has: a, b, c"),
        ({"members": ["a", "b=5 mg"]}, "--pairs-of"),
        ({"members": ["a"]}, "at most 0"),
        ({"channels": ["sideways"]}, "one of up, down"),
        ({"context": ["line=C"]}, "line=C"),
        ({"discount": -0.1}, "0 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(fitted: Fitted, how: dict, said: str):
    with pytest.raises(BadInput, match=said):
        api.propose(fitted, **{"count": 2, **how})


def test_a_world_that_is_no_screen_or_has_no_conditions_says_so(fitted: Fitted):
    spec = dataclasses.replace(fitted.spec, actions=(ActionCard("drug", "mg/d", "rate"),))
    with pytest.raises(BadInput, match=r"no screen.*found actions drug \(rate\), expected some of kind: set-member"):
        api.propose(dataclasses.replace(fitted, spec=spec), count=1)
    with pytest.raises(BadInput, match="--no-data"):
        api.propose(dataclasses.replace(fitted, cohort=None), count=1)
    never = dataclasses.replace(fitted_screen(drugs("abcdefz"), screen([*SINGLES, *PAIRS[:6]])), rows=())
    with pytest.raises(BadInput, match="its dose, such as 'z=1 uM'"):
        api.propose(never, count=1, members=["a", "z"])
