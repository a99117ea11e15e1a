"""Parcels: what comes out is what went in, and large arrays are shared by a file."""

import gc
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from organelle_fusion import patchset
from organelle_fusion.handover import parcel, unpack


def test_small_values_travel_by_value(tmp_path):
    """A function defined in a function, with what it refers to; nothing on the disk."""
    offset = 3

    def shifted(x):
        return x + offset

    with parcel(shifted, tmp_path) as sent:
        assert sent.path is None
        assert list(tmp_path.iterdir()) == []
        assert unpack(sent)(4) == 7


def test_large_arrays_are_mapped_and_equal(tmp_path):
    """Types, shapes and values are kept; the arrays cannot be written; the file goes away."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 40, 3), dtype=np.uint8)
    turned = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    with parcel({"pixels": pixels, "turned": turned, "name": "a"}, tmp_path / "new") as sent:
        assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".parcel"]
        assert sent.content == b""
        found = unpack(sent)
        assert unpack(sent) is found  # read once
        np.testing.assert_array_equal(found["pixels"], pixels)
        assert found["pixels"].dtype == np.uint8
        np.testing.assert_array_equal(found["turned"], turned)
        with pytest.raises(ValueError, match="read-only"):
            found["pixels"][0, 0, 0, 0] = 1
    assert list((tmp_path / "new").iterdir()) == []
    np.testing.assert_array_equal(found["pixels"], pixels)  # as long as it is held


@pytest.mark.parametrize("rows", [40, 20_000], ids=["by value", "in a file"])
def test_what_is_sent_by_name_is_kept_as_long_as_the_parcel(tmp_path, monkeypatch, rows):
    """Mapped patches go with the set that holds them, which the sender may drop at once."""
    monkeypatch.setattr(patchset, "MEMORY_SHARE", 0)

    def mean_of_patches():
        pixels = patchset.new_patches((rows, 2, 2, 1))
        pixels[:] = 3
        names = {"image": "a", "group": "a", "label": ["x", "y"] * (rows // 2)}
        table = pd.DataFrame({**names, "z": 0, "y": 0, "x": 0})
        patch_set = patchset.PatchSet(pixels, table, ("c",), None)
        return lambda: float(patch_set.patches.mean()), Path(pixels.filename)

    mean, file = mean_of_patches()
    with parcel(mean, tmp_path) as sent:
        assert (sent.path is None) == (rows == 40)
        del mean
        gc.collect()
        assert file.exists()
        assert unpack(sent)() == 3
    gc.collect()
    assert not file.exists()


def test_another_process_reads_it(tmp_path):
    """Sum of the pixels, computed by a process that gets nothing but the parcel."""
    pixels = np.full((100, 50, 50), 7, np.uint8)

    def total():
        return int(pixels.sum())

    with parcel(total, tmp_path) as sent:
        tmp_path.joinpath("sent").write_bytes(cloudpickle.dumps(sent))
        code = (
            "import pathlib, pickle, sys; from organelle_fusion.handover import unpack; "
            "print(unpack(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()))())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "sent")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert int(done.stdout) == 7 * 250_000


def test_an_error_leaves_no_file(tmp_path):
    """The file is deleted however the block ends."""

    def interrupted():
        with parcel(np.zeros(200_000), tmp_path):
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
