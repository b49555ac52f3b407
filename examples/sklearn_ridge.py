"""Ridge regressions by scikit-learn, with a transition (`make`) and as answers alone (`make_endpoint`).

biowm certify examples/sklearn_ridge.py --on studies/ias.yaml
biowm certify examples/sklearn_ridge.py:make_endpoint --on studies/ias.yaml
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from biowm.adapters import Histories, histories, wrap, wrap_endpoint
from biowm.core.endpoint import Endpoint
from biowm.core.path import stack
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.data.study import Study


class Units:
    """Readings to standardised z (of the logarithm, where the study says so) and back, and amounts to shares."""

    def __init__(self, spec: WorldSpec, told: Histories) -> None:
        self.is_log = np.array([c.link == "log" for c in spec.channels])
        self.floor = np.array([max(c.floor, 1e-3) for c in spec.channels])
        self.low = np.array([-np.inf if c.low is None else c.low for c in spec.channels])
        self.high = np.array([np.inf if c.high is None else c.high for c in spec.channels])
        self.is_bolus = np.array([a.kind == "bolus" for a in spec.actions], bool)
        self.mean, self.sd = np.zeros(len(spec.channels)), np.ones(len(spec.channels))
        z = self.z(told.readings)
        self.mean, self.sd = np.nanmean(z, (0, 1)), np.nanstd(z, (0, 1)) + 1e-6
        self.most = np.abs(told.actions).max((0, 1)) + 1e-6

    def z(self, x):
        """Standardised readings; what was not read stays NaN."""
        return (np.where(self.is_log, np.log(np.maximum(x, 0) + self.floor), x) - self.mean) / self.sd

    def x(self, z):
        """Readings in their units, not far beyond what was seen."""
        link = np.clip(z, -8, 8) * self.sd + self.mean
        return np.clip(np.where(self.is_log, np.exp(link) - self.floor, link), self.low, self.high)

    def dose(self, action, time):
        """What is given in `time`, as a share of the most: totals of boluses, rates by their time."""
        return np.where(self.is_bolus, action, action * time[..., None]) / self.most


def carried(z):
    """The last reading of each channel at every row; the mean where there is none."""
    z, last = z.copy(), np.zeros_like(z[:, 0])
    for k in range(z.shape[1]):
        z[:, k] = last = np.where(np.isnan(z[:, k]), last, z[:, k])
    return z


def fitted(features, rise) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [F, D] and spread [D], each channel from the rows at which its rise is known."""
    known = np.isfinite(rise)
    ridges = [Ridge(1.0, fit_intercept=False).fit(features[at], rise[at, j]) for j, at in enumerate(known.T)]
    weights = np.stack([ridge.coef_ for ridge in ridges], axis=1)
    return weights, np.sqrt(np.nanmean((rise - features @ weights) ** 2, axis=0))


class Steps:
    """The rise from one reading to the next, by time, level, traits and dose; the state is what was last read."""

    def __init__(self, spec: WorldSpec, spacing: float, told: Histories) -> None:
        self.units, self.spacing, self.width = Units(spec, told), spacing, len(spec.channels)
        z, dt = self.units.z(told.readings), np.diff(told.times, axis=1)
        traits = np.repeat(np.nan_to_num(told.traits)[:, None], dt.shape[1], axis=1)
        features = self.features(carried(z)[:, :-1], traits, told.actions[:, 1:], dt)
        after = dt > 0
        self.weights, self.spread = fitted(features[after], np.diff(z, axis=1)[after])

    def features(self, z, traits, action, dt):
        """One row a step: everything is per usual gap between readings, but a dose counts as what was given."""
        lag = (dt / self.spacing)[..., None]
        return np.concatenate([lag, lag * z, lag * traits, self.units.dose(action, dt / self.spacing)], -1)

    def encode(self, times, readings, actions, traits):
        """What was last read of each channel, and the traits."""
        return np.concatenate([carried(self.units.z(readings))[:, -1], np.nan_to_num(traits)], 1)

    def step(self, latent, action, dt, noise):
        """The expected rise, and chance that grows with the root of time."""
        z, traits = np.split(latent, [self.width], axis=1)
        mean = z + self.features(z, traits, action, dt) @ self.weights
        chance = self.spread * np.sqrt(dt / self.spacing)[:, None] * noise
        return np.concatenate([np.clip(mean + chance, -8, 8), traits], 1)

    def decode(self, latent):
        """What will be read."""
        return self.units.x(latent[:, : self.width])


def make(study: Study) -> World:
    """The world from the subjects of a study: `biowm certify` gives it the training subjects alone."""
    model = Steps(study.spec, study.spacing, histories(study.spec, stack(study.paths)))
    return wrap(
        study.spec, study.spacing, encode=model.encode, step=model.step, decode=model.decode, noise=model.width,
        name="sklearn-ridge",
    )  # fmt: skip


class Leads:
    """The rise from now to any later time at once: most of it comes within a few usual gaps, and then it levels off."""

    def __init__(self, spec: WorldSpec, spacing: float, told: Histories) -> None:
        self.units, self.spacing, self.width = Units(spec, told), spacing, len(spec.channels)
        z, traits = self.units.z(told.readings), np.nan_to_num(told.traits)
        total = np.cumsum(self.units.dose(told.actions, np.diff(told.times, axis=1, prepend=told.times[:, :1])), axis=1)
        pairs = [(i, j) for j in range(z.shape[1]) for i in range(j)]
        rows = [
            (*self.features(carried(z)[:, i], traits, told.times[:, j] - told.times[:, i], total[:, j] - total[:, i]),
             z[:, j] - z[:, i])
            for i, j in pairs
        ]  # fmt: skip
        features, share, rise = (np.concatenate(part) for part in zip(*rows, strict=True))
        after = share[:, 0] > 0
        self.weights, _ = fitted(features[after], rise[after])
        left = (rise - features @ self.weights)[after] / np.sqrt(share[after])
        self.spread = np.sqrt(np.nanmean(left**2, axis=0))

    def features(self, z, traits, lead, total):
        """Features of one lead a row, and the share of the whole way that has passed by then."""
        share = (lead / (lead + 4 * self.spacing))[:, None]
        mean_dose = total / np.maximum(lead, 1e-6)[:, None]
        return share * np.concatenate([np.ones_like(share), z, traits, mean_dose], 1), share

    def predict(self, times, readings, actions, traits, ask, planned, rng, draws):
        """Draws of what will be read at each lead; the chance of one draw has one sign on its whole way."""
        now, traits = carried(self.units.z(readings))[:, -1], np.nan_to_num(traits)
        total = np.cumsum(self.units.dose(planned, np.diff(ask, axis=1, prepend=0)), axis=1)
        chance, said = rng.normal(size=(len(ask), draws, self.width)), []
        for lead, given in zip(ask.T, np.moveaxis(total, 1, 0), strict=True):
            features, share = self.features(now, traits, lead, given)
            mean = now + features @ self.weights
            said.append(self.units.x(mean[:, None] + self.spread * np.sqrt(share)[..., None] * chance))
        return np.stack(said, axis=2)


def make_endpoint(study: Study) -> Endpoint:
    """The same question answered without a transition: what needs one is marked as not applicable."""
    model = Leads(study.spec, study.spacing, histories(study.spec, stack(study.paths)))
    return wrap_endpoint(study.spec, study.spacing, model.predict, name="sklearn-endpoint")
