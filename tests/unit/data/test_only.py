"""A study of some of its subjects holds nothing of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from biowm.core.path import stack
from biowm.data.study import from_frame, only

CONFIG = {
    "study": "three",
    "subject": "who",
    "time": {"column": "t", "unit": "d"},
    "channels": {"x": {"unit": "mg/L", "link": "log"}},
    "groups": {"site": "site"},
    "split": {"column": "part"},
    "na": ["?"],
}
ROWS = [
    *[("a", t, 1.0, "north", "train") for t in (0, 1, 2)],
    *[("b", t, 2.0, "south", "test") for t in (0, 9, 18)],
    *[("c", t, 3.0 if t else "?", "north", "train") for t in (0, 3, 6)],
]


def test_the_others_leave_no_trace():
    study = from_frame(pd.DataFrame(ROWS, columns=["who", "t", "x", "site", "part"]), CONFIG)
    assert study.spacing == 3.0  # the median of 1, 1, 9, 9 and 3
    few = only(study, [2, 0])
    assert few.subjects == ("c", "a")
    assert np.nanmax(stack(few.paths).x[1]) == 1
    assert few.groups == {"site": ("north", "north")}
    assert few.given_split == ("train", "train")
    assert few.spacing == 1.0  # of 1, 1 and 3
    assert few.repairs == ()
    assert few.sha256 not in (study.sha256, only(study, [0, 2]).sha256)
    assert few.spec == study.spec
