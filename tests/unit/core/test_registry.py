from __future__ import annotations

import subprocess
import sys

import pytest

from biowm.core import registry


def test_listing_names_imports_nothing_of_what_it_lists():
    code = (
        "import sys; from biowm.core import registry; names = registry.names('worlds'); "
        "assert 'patient/tumour' in names, names; "
        "loaded = [m for m in sys.modules if m.startswith('biowm.worlds.') or m == 'jax']; assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_get_loads_what_is_asked_for():
    from biowm.worlds.patient.tumour import Tumour

    assert registry.get("worlds", "patient/tumour") is Tumour
    with pytest.raises(KeyError, match=r"no world 'patient/tumor'; there are: .*patient/tumour"):
        registry.get("worlds", "patient/tumor")


def test_a_second_object_of_a_name_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_found", {})

    @registry.register("worlds", "test/one")
    class One:
        pass

    assert registry.get("worlds", "test/one") is One
    assert "test/one" in registry.names("worlds")
    registry.register("worlds", "test/one")(One)  # the same again (a reload) is fine
    with pytest.raises(ValueError, match="registered twice"):

        @registry.register("worlds", "test/one")
        class Two:
            pass

    registry.register("models", "test/one")(One)  # groups do not mix
