"""Worlds as Gymnasium environments: `import biowm.envs` registers them, `gymnasium.make("biowm/Glucose-v0")` makes one.

What each observes, rewards and costs stands, with units, in the docstring of its class. Any other world becomes an
environment by `WorldEnv(Open(world, steps=...))`.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

IDS = {
    "biowm/TumourPKPD-v0": "biowm.envs.tumour:TumourPKPD",
    "biowm/Glucose-v0": "biowm.envs.glucose:GlucoseControl",
    "biowm/ICUSepsis-v0": "biowm.envs.sepsis:ICUSepsis",
}

for _id, _entry in IDS.items():
    if _id not in registry:
        register(_id, entry_point=_entry)
