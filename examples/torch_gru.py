"""A recurrent network in PyTorch, as its maker would write it, and the few lines that make a world of it.

pip install "biowm[torch]"
biowm certify examples/torch_gru.py --on studies/ias.yaml
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from biowm.adapters import Histories, histories, wrap
from biowm.core.path import stack
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.data.study import Study


class Gru(nn.Module):
    """Standardised readings z, carried by a hidden state: what is read corrects z, and time and actions move it."""

    def __init__(self, spec: WorldSpec, spacing: float, told: Histories, hidden: int = 32) -> None:
        super().__init__()
        self.is_log = np.array([c.link == "log" for c in spec.channels])
        self.floor = np.array([max(c.floor, 1e-3) for c in spec.channels], np.float32)
        self.low = np.array([-np.inf if c.low is None else c.low for c in spec.channels], np.float32)
        link = self.link(told.readings)
        self.mean, self.sd = np.nanmean(link, (0, 1)), np.nanstd(link, (0, 1))
        self.most = torch.tensor(np.maximum(np.abs(told.actions).max((0, 1)), 1e-6))
        self.spacing, self.width, self.hidden = spacing, len(spec.channels), hidden
        self.cell = nn.GRUCell(self.width + len(spec.actions) + 1 + spec.trait_width, hidden)
        self.head = nn.Linear(hidden, 2 * self.width)

    def link(self, x: np.ndarray) -> np.ndarray:
        return np.where(self.is_log, np.log(np.maximum(x, 0) + self.floor), x).astype(np.float32)

    def forward(self, h: Tensor, z: Tensor, traits: Tensor, action: Tensor, dt: Tensor, noise: Tensor):
        """One step: hidden state, a draw of z after dt, and its mean and sd."""
        lag = dt[:, None] / self.spacing
        h = self.cell(torch.cat([z, action / self.most, lag, traits], 1), h)
        rise, spread = self.head(h).chunk(2, 1)
        mean, sd = z + lag * rise, (softplus(spread) + 1e-3) * torch.sqrt(lag)
        return h, mean + sd * noise, mean, sd

    def read(self, times, readings, actions, traits, hide: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state and z after the last row, and the log loss of what was read; some of it may be hidden."""
        x = torch.tensor((self.link(readings) - self.mean) / self.sd)
        seen, given, traits = torch.isfinite(x), torch.as_tensor(actions), torch.as_tensor(traits)
        dt = torch.tensor(np.diff(times, axis=1, prepend=times[:, :1]))
        h, z = torch.zeros(len(x), self.hidden), torch.zeros(len(x), self.width)
        started, losses = torch.zeros(len(x), 1, dtype=torch.bool), []
        for k in range(x.shape[1]):
            row = seen[:, k].any(1, keepdim=True)
            noise = torch.randn_like(z) if hide else torch.zeros_like(z)  # who encodes must not draw by himself
            ahead, drawn, mean, sd = self(h, z, traits, given[:, k], dt[:, k], noise)
            scored = seen[:, k] & started & (dt[:, k] > 0)[:, None]
            off = (torch.nan_to_num(x[:, k]) - mean) / torch.where(scored, sd, 1.0)
            losses.append((0.5 * off**2 + torch.log(torch.where(scored, sd, 1.0)))[scored])
            shown = seen[:, k] & ((torch.rand(len(x), 1) >= hide) | ~started)
            h = torch.where(row, ahead, h)
            z = torch.where(shown, torch.nan_to_num(x[:, k]), torch.where(row & started, drawn, z))
            started = started | row
        return h, z, torch.cat(losses).mean()

    @torch.no_grad()
    def encode(self, times, readings, actions, traits) -> np.ndarray:
        h, z, _ = self.read(times, readings, actions, traits)
        return torch.cat([h, z, torch.as_tensor(traits)], 1).numpy()

    @torch.no_grad()
    def step(self, latent, action, dt, noise) -> np.ndarray:
        h, z, traits = torch.tensor_split(torch.as_tensor(latent), (self.hidden, self.hidden + self.width), 1)
        h, z, _, _ = self(h, z, traits, *(torch.as_tensor(a) for a in (action, dt, noise)))
        return torch.cat([h, z, traits], 1).numpy()

    def decode(self, latent) -> np.ndarray:
        value = latent[:, self.hidden : self.hidden + self.width].clip(-8, 8) * self.sd + self.mean
        return np.maximum(np.where(self.is_log, np.exp(value) - self.floor, value), self.low)


def fit_gru(spec: WorldSpec, spacing: float, told: Histories, *, epochs: int = 300, seed: int = 0) -> World:
    """Maximum likelihood of every reading, half of them hidden: the network must also go on from its own draws."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = Gru(spec, spacing, told)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3, weight_decay=1e-4)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = net.read(told.times, told.readings, told.actions, told.traits, hide=0.5)[2]
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return wrap(spec, spacing, encode=net.encode, step=net.step, decode=net.decode, noise=net.width, name="torch-gru")


def make(study: Study) -> World:
    """The world from the subjects of a study: `biowm certify` gives it the training subjects alone."""
    return fit_gru(study.spec, study.spacing, histories(study.spec, stack(study.paths)))
