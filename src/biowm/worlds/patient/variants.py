"""The tumour under equations that the default trunk cannot write down: what a learned world is really tried on.

The plain equations lie inside the feature library of the mixed trunk. Each variant bends them once, mildly; the
constants were chosen before any score was seen.
"""

from __future__ import annotations

from .tumour import Tumour

VARIANTS: dict[str, Tumour] = {
    # Half of the kill is lost at 10 mg/m3, which is where daily chemotherapy leads; a single dose loses a third.
    "saturating": Tumour(saturation=0.1),
    # Kill passes two stages of 2 d each: the effect peaks 2 d after a treatment and lasts about a week.
    "delay": Tumour(delay=2.0),
    # A tenth of every tumour is less sensitive: two weeks of treatment make it the larger part.
    "clone": Tumour(clone=0.1),
}
