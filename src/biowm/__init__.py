"""BioWM: biomedical world models that simulate futures before anyone acts, and say how far to trust them.

The verbs are loaded on first use, so that `import biowm` is quick.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import bench, certify, cohort, fit, load, plan, propose, simulate
    from .core.cite import cite

__version__ = "0.1.0"
__all__ = ["__version__", "bench", "certify", "cite", "cohort", "fit", "load", "plan", "propose", "simulate"]

_HOMES = {
    "bench": "biowm.api",
    "certify": "biowm.api",
    "cite": "biowm.core.cite",
    "cohort": "biowm.api",
    "fit": "biowm.api",
    "load": "biowm.api",
    "plan": "biowm.api",
    "propose": "biowm.api",
    "simulate": "biowm.api",
}


class _Package(ModuleType):
    """`biowm.plan` is the verb, whatever was imported before; the room is reached by `from biowm.plan import ...`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
