"""From a dose to signals in cells: a drug is taken, engages its target, and holds that share of a node of the network.

The drug is that of `molecule/engagement` (hours), the cells those of `cell/signalling` (minutes); `coupled.py` joins
them.
"""

from __future__ import annotations

from biowm.core.registry import register

from ..coupled import Coupled, couple
from ..joints import Joint, Part
from ..molecule.engagement import Engagement
from .signalling import growth_signalling

SUBJECTS = 36  # every dish of cells once, each under a drug of another body


@register("worlds", "cell/treated")
def treated() -> Coupled:
    """Growth factor signalling under a drug against MEK that is swallowed, injected or infused.

    Sources: doi:10.1021/acschemneuro.7b00185, doi:10.1186/1752-0509-6-133.
    """
    drug, cells = Part("drug", Engagement(steps=4)), Part("cells", growth_signalling())
    joint = Joint("drug", "occupancy", "cells", "MEKi")
    return couple("cell/treated", (drug, cells), (joint,), spacing=0.5, exchanges=2, subjects=SUBJECTS)
