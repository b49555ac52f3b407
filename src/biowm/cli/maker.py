"""A model in a Python file of the user's own: `FILE.py` has a function `make(study)`, `FILE.py:name` another."""

from __future__ import annotations

import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from biowm.evaluate.foreign import Maker

_FILE = re.compile(r"(.+\.py)(?::(\w+))?")


def load_maker(text: str) -> Maker | None:
    """The function that makes the model; None where the text names no Python file.

    The file is run: the user named it. Raises: BadInput where it is missing, does not run or has no such function.
    """
    named = _FILE.fullmatch(text)
    if named is None:
        return None
    from biowm.core.errors import BadInput, place

    file, name = Path(named[1]), named[2] or "make"
    expected = f"a Python file with a function {name}(study) that returns a model (see biowm.adapters)"
    if not file.is_file():
        raise BadInput(place(file=file, found="no such file", expected=expected))
    module = _run(file)
    make = vars(module).get(name)
    if not callable(make):
        own = [n for n, v in vars(module).items() if isinstance(v, FunctionType) and v.__module__ == module.__name__]
        raise BadInput(place(file=file, found=f"only {', '.join(own)}" if own else "no function", expected=expected))
    return cast("Maker", make)


def _run(file: Path) -> ModuleType:
    """The file as a module; it finds its neighbours, as it does when Python runs it."""
    from biowm.adapters.functions import called

    module = ModuleType(f"biowm_model_{file.stem}")
    loader = SourceFileLoader(module.__name__, str(file))
    sys.modules[module.__name__] = module  # dataclasses look theirs up by name
    sys.path.append(str(file.resolve().parent))  # last: a neighbour hides nothing that is installed
    called(f"file {file}", loader.exec_module, module)
    return module
