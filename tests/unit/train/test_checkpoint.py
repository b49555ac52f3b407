from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from tests.support.tiny import tiny_cohort

from biowm.core.errors import BadInput
from biowm.core.forecast import forecast
from biowm.core.interval import Row
from biowm.core.queries import Queries
from biowm.core.record import digest
from biowm.train.checkpoint import load_fitted, save_fitted
from biowm.train.contest import DRAWS
from biowm.train.fitted import Cohort, Fitted

from .conftest import arrays

FILES = (
    "world.json", "weights.safetensors", "calibration.json", "metrics.json", "record.json", "histories.safetensors",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(fitted: Fitted) -> Fitted:
    """The fit with a cohort, a held-out row and a description."""
    paths = tiny_cohort(24, 8)
    n = len(paths.t)
    split = ("train", "calibrate", "test") * (n // 3)
    cohort = Cohort(tuple(f"s{i}" for i in range(n)), paths, split, tuple(0.5 * i for i in range(n)))
    row = Row("world", "ours", "1 d", "crps", 0.5, 0.25, 0.75, 24)
    return dataclasses.replace(fitted, cohort=cohort, rows=(row,), study='{"study": "tiny"}')


@pytest.fixture(scope="module")
def saved(whole: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact") / "run"
    save_fitted(whole, folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_all_files_are_there_and_nothing_else(saved: Path):
    assert {f.name for f in saved.iterdir()} == set(FILES)


def test_every_field_comes_back(saved: Path, whole: Fitted):
    back = load_fitted(saved)
    for a, b in zip(arrays(whole), arrays(back), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert jax.tree.structure(back.world) == jax.tree.structure(whole.world)
    assert jax.tree.structure(back.halves) == jax.tree.structure(whole.halves)
    for name in ("spec", "race", "horizons", "rows", "record", "study"):
        assert getattr(back, name) == getattr(whole, name), name
    for name, found in {**back.rules_calibration, "world": back.calibration}.items():
        expected = whole.calibration if name == "world" else whole.rules_calibration[name]
        same_fields(found, expected)
    same_fields(back.envelope, whole.envelope)
    assert back.cohort is not None
    assert whole.cohort is not None
    same_fields(back.cohort, whole.cohort)


def same_fields(found: object, expected: object) -> None:
    """Bit for bit the same, types of arrays included."""
    for field in dataclasses.fields(expected):
        left, right = jax.tree.leaves(getattr(found, field.name)), jax.tree.leaves(getattr(expected, field.name))
        for a, b in zip(left, right, strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype, field.name
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=field.name)


def test_forecasts_are_the_same_bits(saved: Path, whole: Fitted):
    """With the shapes of the race, so that nothing is compiled anew: a model read back is the same program."""
    paths = tiny_cohort(24, 8)
    who = np.arange(24)
    asked = Queries(who, np.full(24, 3), paths.t[who][:, [5, 7]])
    back = load_fitted(saved)
    for name in ("ridge", "knn"):
        both = [forecast(f.members[name], paths, asked, key=jax.random.key(0), draws=DRAWS) for f in (whole, back)]
        np.testing.assert_array_equal(*both)


def test_the_same_fit_writes_the_same_world(saved: Path, whole: Fitted, tmp_path: Path):
    save_fitted(whole, tmp_path)
    assert (tmp_path / "world.json").read_bytes() == (saved / "world.json").read_bytes()


def test_without_data_no_history_is_left(copy: Path, whole: Fitted):
    """Also where an earlier fit left some in the same folder."""
    save_fitted(whole, copy, keep_data=False)
    assert {f.name for f in copy.iterdir()} == set(FILES) - {"histories.safetensors"}
    assert "s7" not in (copy / "world.json").read_text()
    assert load_fitted(copy).cohort is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing", "pickle"])
def test_a_damaged_file_is_refused_by_name(copy: Path, name: str, how: str):
    file = copy / name
    body = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(body[: len(body) // 2])
    elif how == "flipped":
        place = body.find(b'"config"') + 2 if name == "record.json" else len(body) // 2
        body[place] ^= 1
        file.write_bytes(body)
    elif how == "missing":
        file.unlink()
    else:
        file.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(BadInput) as error:
        load_fitted(copy)
    assert str(copy) in str(error.value)
    assert name in str(error.value)


def test_any_bit_of_the_weights_counts(copy: Path):
    file = copy / "weights.safetensors"
    body = file.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(body), 20):
        flipped = bytearray(body)
        flipped[place] ^= 1 << int(place) % 8
        file.write_bytes(flipped)
        with pytest.raises(BadInput, match=r"weights\.safetensors"):
            load_fitted(copy)


def test_a_pickle_in_place_of_the_folder_is_refused(tmp_path: Path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(BadInput, match=r"model\.pkl.*found 'a pickle'.*never read"):
        load_fitted(file)
    file.write_text("hello")
    with pytest.raises(BadInput, match="found 'a file'"):
        load_fitted(file)


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadInput, match=r"no world\.json"):
            load_fitted(folder)


def resealed(folder: Path, **changes: object) -> None:
    """Change world.json and its own hash with it, as another program might."""
    file = folder / "world.json"
    body = {**json.loads(file.read_bytes()), **changes}
    del body["id"]
    file.write_text(json.dumps({"id": digest(body), **body}))


def test_another_format_is_refused(copy: Path):
    resealed(copy, format=99)
    with pytest.raises(BadInput, match=r"world\.json: found 'format 99', expected format 6"):
        load_fitted(copy)


@pytest.mark.parametrize("kind", ["Unheard", "os.system"])
def test_only_registered_classes_are_made(copy: Path, kind: str):
    members = json.loads((copy / "world.json").read_bytes())["members"]
    members["persistence"]["class"] = kind
    resealed(copy, members=members)
    with pytest.raises(BadInput, match=kind):
        load_fitted(copy)


def test_a_crash_while_writing_leaves_nothing_that_opens(whole: Fitted, tmp_path: Path, monkeypatch):
    from biowm.train import checkpoint

    real, written = checkpoint.write_atomic, []

    def crash(file: Path, body: bytes) -> None:
        if file.name == "world.json":
            raise OSError("killed")
        written.append(file.name)
        real(file, body)

    monkeypatch.setattr(checkpoint, "write_atomic", crash)
    with pytest.raises(OSError, match="killed"):
        save_fitted(whole, tmp_path)
    assert set(written) == set(FILES) - {"world.json"}
    with pytest.raises(BadInput, match=r"no world\.json"):
        load_fitted(tmp_path)
