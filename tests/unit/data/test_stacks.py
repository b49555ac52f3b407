"""Image stacks: what is written is read again by us and by others, units are kept, and a missing frame is told."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr

from biowm.core.errors import BadInput
from biowm.data.stack_write import Frames, StackWriter, write_stack
from biowm.data.stacks import read_stack

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 2, 6, 8)).astype(np.float32)
X[2] = 0.0  # an empty frame is a frame
WHAT = Frames(np.array([0.0, 6, 12, 30]), "h", ("live", "oxygen"), (6, 8), 2.5)


@pytest.fixture
def written(tmp_path):
    write_stack(tmp_path / "s.ome.zarr", X, WHAT)
    return tmp_path / "s.ome.zarr"


def test_what_is_written_is_read_again(written):
    found = read_stack(written)
    assert (found.channels, found.size, found.pixel) == (("live", "oxygen"), (6, 8), 2.5)
    np.testing.assert_array_equal(found.times, WHAT.times)
    np.testing.assert_array_equal(found.all(), X)
    np.testing.assert_allclose(read_stack(written, clock="d").times, WHAT.times / 24)


def test_the_library_of_the_format_reads_it(written):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    where = parse_url(written)
    assert where is not None
    node = next(iter(Reader(where)()))
    assert [a["name"] for a in node.metadata["axes"]] == ["t", "c", "y", "x"]
    np.testing.assert_array_equal(np.asarray(node.data[0]), X)


def test_an_ensemble_is_an_axis_of_its_own(tmp_path):
    draws = np.stack([X, X + 1, X - 1])
    write_stack(tmp_path / "f.ome.zarr", draws, Frames(WHAT.times, "h", WHAT.channels, (6, 8), 2.5, members=3))
    root = zarr.open_group(str(tmp_path / "f.ome.zarr"), mode="r")
    image = dict(root["1"].attrs)["ome"]["multiscales"][0]
    assert image["name"] == "oxygen"
    assert [a["name"] for a in image["axes"]] == ["t", "member", "y", "x"]
    np.testing.assert_array_equal(np.asarray(root["1/0"]), draws[:, :, 1].swapaxes(0, 1))


def test_a_frame_that_was_never_written_is_missing(tmp_path):
    writer = StackWriter(tmp_path / "s.ome.zarr", WHAT)
    for i in (0, 1, 3):
        writer.write(i, X[i])
    with pytest.raises(BadInput, match=r"s.ome.zarr, row frame 2: found no chunk"):
        read_stack(tmp_path / "s.ome.zarr")


def test_nothing_is_written_over(written):
    with pytest.raises(FileExistsError):
        write_stack(written, X, WHAT)


def test_ome_tiff_and_imagej_say_their_times_and_pixels(tmp_path):
    meta = {"axes": "TCYX", "TimeIncrement": 30.0, "TimeIncrementUnit": "min", "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["phase", "dead"]}}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", X, metadata=meta)
    found = read_stack(tmp_path / "a.ome.tif")
    assert (found.channels, found.pixel) == (("phase", "dead"), 0.5)
    np.testing.assert_allclose(found.times, [0, 0.5, 1.0, 1.5])
    np.testing.assert_array_equal(found.all(), X)
    tifffile.imwrite(tmp_path / "b.tif", X[:, 0], imagej=True, metadata={"axes": "TYX", "finterval": 3600.0})
    found = read_stack(tmp_path / "b.tif")
    np.testing.assert_allclose(found.times, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.all()[:, 0], X[:, 0])


def test_a_tiff_without_times_needs_them(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", X[:, 0], photometric="minisblack")
    with pytest.raises(BadInput, match="4 frames without their times"):
        read_stack(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_stack(tmp_path / "c.tif", times=[0, 1, 2, 5]).times, [0, 1, 2, 5])
    with pytest.raises(BadInput, match="row frame 2: found time 1 after 1"):
        read_stack(tmp_path / "c.tif", times=[0, 1, 1, 5])
    with pytest.raises(BadInput, match="found 4 frames, expected 3"):
        read_stack(tmp_path / "c.tif", times=[0, 1, 2])


def test_numbered_files_have_no_gap_and_one_size(tmp_path):
    for i in range(4):
        tifffile.imwrite(tmp_path / f"well_B2_t{i:03d}.tif", X[i, 0])
    found = read_stack(tmp_path, times=range(4))
    np.testing.assert_array_equal(found.all()[:, 0], X[:, 0])
    (tmp_path / "well_B2_t002.tif").unlink()
    with pytest.raises(BadInput, match="row frame 2: found missing"):
        read_stack(tmp_path, times=range(3))
    tifffile.imwrite(tmp_path / "well_B2_t002.tif", X[0, 0, :4])
    with pytest.raises(BadInput, match=r"t002.tif: found \(4, 8\)"):
        read_stack(tmp_path, times=range(4)).all()


def test_what_is_no_stack_is_refused(tmp_path, written):
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "y.tif").write_bytes(b"II*\x00 and nothing more")
    whole = tmp_path / "z.tif"
    tifffile.imwrite(whole, np.zeros((2, 3, 4, 5, 6), np.float32), photometric="minisblack", metadata={"axes": "TZCYX"})
    for name, said in {
        "none.zarr": "no such file", "x.png": "ending in '.png'", "y.tif": "no TIFF that can be read",
        "z.tif": r"z \(3\)",
    }.items():  # fmt: skip
        with pytest.raises(BadInput, match=said):
            read_stack(tmp_path / name)
    zarr.open_group(str(tmp_path / "bare.zarr"), mode="w")
    with pytest.raises(BadInput, match="no multiscales"):
        read_stack(tmp_path / "bare.zarr")
    with pytest.raises(BadInput, match="2 channels, expected 1: live"):
        read_stack(written, channels=["live"])


def test_a_truncated_ome_tiff_names_the_frame(tmp_path):
    file = tmp_path / "t.ome.tif"
    tifffile.imwrite(file, X[:, 0], metadata={"axes": "TYX", "TimeIncrement": 1.0, "TimeIncrementUnit": "h"})
    body = file.read_bytes()
    file.write_bytes(body.replace(b'SizeT="4"', b'SizeT="6"'))
    with pytest.raises(BadInput, match=r"t.ome.tif"):
        read_stack(file)
