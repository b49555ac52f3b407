"""What was published about one step ahead on the defective generator, for `tumour-cf`.

Normalised RMSE (%), mean and standard deviation of five runs, from the README of the Causal Transformer's repository
(github.com/Valentyn1997/CausalTransformer, arXiv:2204.07258, Table 9 as updated after its bug fixes). Tables 10 and 11
(two to six steps) are left out: their code starts from a forecast of the last reading, and `tumour-cf` from the reading
itself, so they are no figures of this task.
"""

from __future__ import annotations

from collections.abc import Iterator

from biowm.core.interval import Interval, Row, row

_RUNS = 5
_ONE_STEP = {  # mean and standard deviation at gamma 0, 1, 2, 3, 4
    "MSM": ((1.091, 0.115), (1.202, 0.108), (1.383, 0.090), (1.647, 0.121), (1.981, 0.232)),
    "RMSN": ((0.834, 0.072), (0.860, 0.025), (1.000, 0.134), (1.131, 0.057), (1.434, 0.148)),
    "CRN": ((0.755, 0.059), (0.788, 0.057), (0.881, 0.066), (1.062, 0.088), (1.358, 0.167)),
    "G-Net": ((0.795, 0.066), (0.841, 0.038), (0.946, 0.083), (1.057, 0.146), (1.319, 0.248)),
    "CT": ((0.770, 0.049), (0.783, 0.071), (0.864, 0.059), (1.098, 0.097), (1.413, 0.259)),
}


def quoted() -> Iterator[Row]:
    """One row a method and gamma; the interval is one standard deviation over runs to either side."""
    for method, figures in _ONE_STEP.items():
        for gamma, (mean, sd) in enumerate(figures):
            number = Interval(mean, mean - sd, mean + sd, _RUNS)
            yield row(f"published:{method}", "published", f"gamma{gamma}/one-step", "nrmse", number)
