"""One episode of an environment under a simple policy: what was seen, given, earned and paid."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env
from jaxtyping import Float

from biowm.core import registry
from biowm.core.errors import BadInput, place

from . import IDS
from .base import Quantity, SubjectEnv
from .world import Open, WorldEnv


@dataclass(frozen=True)
class Played:
    """One episode: `seen` at each `t` (first before any action); `given`, `reward`, `cost` of each of m - 1 steps."""

    id: str
    policy: str
    seed: int
    clock: str
    shows: tuple[Quantity, ...]
    gives: tuple[Quantity, ...]
    t: Float[np.ndarray, " m"]
    seen: Float[np.ndarray, "m d"]
    given: Float[np.ndarray, "n a"]
    reward: Float[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"]
    terminated: bool
    truncated: bool

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm env rollout --json` prints."""
        return {
            "id": self.id,
            "policy": self.policy,
            "seed": self.seed,
            "steps": len(self.reward),
            "return": float(self.reward.sum()),
            "cost": float(self.cost.sum()),
            "terminated": self.terminated,
            "truncated": self.truncated,
            "clock": self.clock,
            "t": self.t.tolist(),
            "observation": {q.name: self.seen[:, j].tolist() for j, q in enumerate(self.shows)},
            "given": {q.name: self.given[:, j].tolist() for j, q in enumerate(self.gives)},
            "units": {q.name: q.unit for q in (*self.shows, *self.gives)},
            "reward": self.reward.tolist(),
            "costs": self.cost.tolist(),
        }


def make(name: str) -> SubjectEnv:
    """An environment by its id, or a registered world by its name. Raises BadInput listing those there are."""
    if name in IDS:
        found = gymnasium.make(name).unwrapped
        assert isinstance(found, SubjectEnv)
        return found
    if name in registry.names("worlds"):
        return WorldEnv(Open(registry.get("worlds", name)()))
    known = ", ".join([*IDS, *registry.names("worlds")])
    raise BadInput(place(column="ID", found=name, expected=f"one of {known}"))


def environments() -> dict[str, str]:
    """The data sheet of every registered environment."""
    return {name: inspect.getdoc(load_env_creator(entry)) or "" for name, entry in IDS.items()}


def check(env: gymnasium.Env) -> None:
    """Gymnasium's own checker; what it warns of is an error, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if env.spec is None:  # a world as it is: it cannot be made anew by an id, and its channels may have no bounds
            warnings.filterwarnings("ignore", ".*environment not having a spec.*")
            warnings.filterwarnings("ignore", ".*observation space .* value is -?infinity.*")
        check_env(env)


def play(
    env: SubjectEnv, name: str, policy: str, seed: int, tell: Callable[[float], None] = lambda share: None
) -> Played:
    """Play one episode; `tell` hears of the share of the horizon that is done.

    Raises: BadInput for a policy that the environment does not have.
    """
    seen, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    act = _policy(env, policy, seed)
    t, shown, given, reward, cost = [info["t"]], [seen], [], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        seen, earned, terminated, truncated, info = env.step(act(seen))
        t.append(info["t"])
        shown.append(seen)
        given.append([info["given"][q.name] for q in env.gives])
        reward.append(earned)
        cost.append(info["cost"])
        tell(len(cost) / env.steps)
    return Played(
        id=name,
        policy=policy,
        seed=seed,
        clock=env.clock,
        shows=env.shows,
        gives=env.gives,
        t=np.array(t, float),
        seen=np.array(shown, float).reshape(len(t), -1),
        given=np.array(given, float),
        reward=np.array(reward, float),
        cost=np.array(cost, float),
        terminated=terminated,
        truncated=truncated,
    )


def _policy(env: SubjectEnv, name: str, seed: int) -> Callable[[Any], Any]:
    if name == "random":
        return lambda seen: env.action_space.sample()
    own = env.policies()
    if name not in own:
        raise BadInput(place(column="--policy", found=name, expected=f"one of {', '.join(['random', *own])}"))
    return own[name](np.random.default_rng(seed))
