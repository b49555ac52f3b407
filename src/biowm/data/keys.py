"""Reading a YAML file strictly and turning a failed validation into one message that names file and key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from biowm.core.errors import BadInput

from .faults import fault

_LISTED = 40  # names in a message: a screen has thousands of genes


class Keys(BaseModel):
    """A block of the study file: its keys are its fields, and any other key is refused with the closest one.

    A field whose key is no name for it (`from`, `schema`) has that key as its alias.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        keys = [field.alias or name for name, field in cls.model_fields.items()]
        if not isinstance(data, dict):
            raise ValueError(f"expected a block with the keys {', '.join(keys)}")
        for key in data:
            if key not in keys and key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}{closest(str(key), keys)}")
        return data


def closest(name: str, names: Any) -> str:
    """The tail of a message that a name is unknown: the likely meaning and the names there are (the first of many)."""
    names = [str(n) for n in names]
    folded = {n.casefold(): n for n in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    guess = f" (did you mean {folded[near[0]]!r}?)" if near else ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{guess}; there are: {', '.join(names[:_LISTED]) or 'none'}{more}"


class _Loader(yaml.SafeLoader):
    """YAML in which `on`, `no` and `yes` are names, and a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not (tag.endswith(":bool") and first not in "tTfF")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(file: Path) -> Any:
    """The content of a YAML file. Raises BadInput naming the file and the line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise fault("no file", "a study file (YAML) at this path", file=file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise fault(str(error), "a readable UTF-8 text file", file=file) from None
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise fault(str(error.problem), "valid YAML", file=file, row=line) from None
    except yaml.YAMLError as error:
        raise fault(str(error), "valid YAML", file=file) from None


def refuse(error: ValidationError, file: object) -> BadInput:
    """The first fault of a failed validation, as one message."""
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return fault(f"no key {key}", "it: this key is required", file=file)
    given = first["input"]
    shown = "" if first["type"] == "value_error" or isinstance(given, dict) else f", found {given!r}"
    more = f" ({len(faults) - 1} more after this one)" if len(faults) > 1 else ""
    return BadInput(f"file {file}, key {key}{shown}: {message}{more}")
