"""The tests, run with shapes and types checked by `check`."""

from beartype import BeartypeConf, beartype

# An int will do where a float is asked, as PEP 484 has it. jaxtyping's import hook looks for this name.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
