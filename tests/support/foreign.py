"""`Decay` once more, written by somebody who knows NumPy and nothing else."""

from __future__ import annotations

import numpy as np

from biowm.adapters import wrap, wrap_endpoint
from biowm.core.endpoint import Endpoint
from biowm.core.world import World
from tests.support.decay import SPEC

K, SIGMA = 0.2, 0.1


def encode(times, readings, actions, traits):
    """The last value that was read; 1 where there is none."""
    x = np.ones(len(readings))
    for row in readings[:, :, 0].T:
        x = np.where(np.isnan(row), x, row)
    return x[:, None]


def step(latent, action, dt, noise):
    """The shot at once, then decay towards u / k."""
    gone = np.exp(-K * dt)[:, None]
    mean = (latent + action[:, 1:]) * gone + action[:, :1] / K * (1 - gone)
    return mean + SIGMA * np.sqrt((1 - gone**2) / (2 * K)) * noise


def decode(latent):
    return latent


def predict(times, readings, actions, traits, ask, planned, rng, draws):
    """The same without transition: draws at the times asked, by steps of its own."""
    latent = np.repeat(encode(times, readings, actions, traits), draws, axis=0)
    said = []
    for dt, action in zip(np.diff(ask, axis=1, prepend=0).T, np.moveaxis(planned, 1, 0), strict=True):
        rows = np.repeat(action, draws, axis=0), np.repeat(dt, draws), rng.normal(size=latent.shape)
        latent = step(latent, *rows)
        said.append(latent.reshape(len(times), draws, 1))
    return np.stack(said, axis=2)


def foreign_decay() -> World:
    return wrap(SPEC, 1.0, encode=encode, step=step, decode=decode, noise=1, memory=16, name="numpy-decay")


def foreign_endpoint() -> Endpoint:
    return wrap_endpoint(SPEC, 1.0, predict, name="numpy-endpoint")
