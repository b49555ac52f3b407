"""Virtual subjects of a drug: how parameters vary between them, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.mechanism import Mechanism, parameters
from biowm.core.units import quantity

SUBJECTS = 64
MOLAR_MASS = "450 g/mol"


@dataclass(frozen=True)
class Varied:
    """A parameter among subjects: its median with a unit, and the sd of its logarithm (of the logit of a share)."""

    median: str
    sd: float = 0.0


# Assumed: a small molecule of no name, taken by mouth once or twice a day, of the sizes that textbooks take as typical
# (Gabrielsson and Weiner 2016; turnover of proteins: hours to days, doi:10.1038/nature10098). No drug is meant.
_BODY = {
    "absorption": Varied("1 1/h", 0.4),
    "bioavailability": Varied("0.6 dimensionless", 0.3),
    "clearance": Varied("8 L/h", 0.3),
    "volume": Varied("40 L", 0.2),
    "exchange": Varied("6 L/h", 0.2),
    "tissue_volume": Varied("60 L", 0.2),
    "deep_exchange": Varied("1 L/h", 0.2),
    "deep_volume": Varied("100 L", 0.2),
    "unbound": Varied("0.05 dimensionless", 0.2),
    "turnover": Varied("0.84 1/d", 0.3),
}
# Bound target goes twice as fast as free target: the drug has some of it degraded. It leaves within hours.
REVERSIBLE = {
    **_BODY,
    "affinity": Varied("40 nmol/L", 0.4),
    "bound_turnover": Varied("1.7 1/d", 0.3),
    "off": Varied("0.5 1/h", 0.3),
}
# Bound target goes as free target does; the drug leaves with it.
COVALENT = {
    **_BODY,
    "affinity": Varied("200 nmol/L", 0.4),
    "bound_turnover": Varied("0.84 1/d", 0.3),
    "inactivation": Varied("0.001 1/s", 0.3),
}


def virtual_subjects(
    mechanism: Mechanism,
    population: Mapping[str, Varied],
    *,
    n: int = SUBJECTS,
    compartments: Literal[1, 2, 3] = 3,
    molar_mass: str = MOLAR_MASS,
    seed: int = 0,
) -> Float[np.ndarray, "n p"]:
    """Parameters of `n` virtual subjects, in the order and the units of the mechanism.

    Medians may be per mol where the mechanism counts in mass: `molar_mass` turns one into the other. With fewer than
    three `compartments` the exchange with those left out is 0.
    Raises: UnitError naming the parameter for a median whose unit does not fit; KeyError for one that is missing.
    """
    declared = parameters(mechanism)
    luck = np.random.default_rng(seed).standard_normal((n, len(declared)))
    columns = []
    for (name, p), z in zip(declared.items(), luck.T, strict=True):
        median = in_mass(population[name].median, p.unit, molar_mass, name)
        columns.append(
            np.asarray(jax.vmap(p.value)(p.free(median) + jnp.asarray(population[name].sd * z, jnp.float32)))
        )
        if (name == "exchange" and compartments < 2) or (name == "deep_exchange" and compartments < 3):
            columns[-1] = np.zeros(n)
    return np.stack(columns, axis=1).astype(np.float32)


def in_mass(text: str, unit: str, molar_mass: str = MOLAR_MASS, what: str = "value") -> float:
    """A quantity such as '40 nmol/L' in `unit`, such as mg/L; one that is in mass already needs no molar mass.

    Raises: UnitError naming `what`, the text found and the unit expected.
    """
    if "mol" in text and "mol" not in unit:
        return quantity(text, f"({unit}) * mol / g", what) * quantity(molar_mass, "g/mol", "molar mass")
    return quantity(text, unit, what)
