"""From manifests to patch sets: what is kept of every image, in which order, and how much of it."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.config import PAPER_PIXEL_UM, PatchSettings
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.preprocessing import (
    build_patch_set,
    each_patch_set,
    patch_yield,
    tabulate_patches,
)
from organelle_fusion.volumes import Volume, VolumeError, open_volume, write_ome_tiff

SETTINGS = PatchSettings(size_px=4, sizes_px=(2, 4), min_foreground=0.1)


def stack(folder, array, channels=("a", "b"), pixel_size_um=0.5, name="stack"):
    path = folder / f"{name}.ome.tif"
    write_ome_tiff(path, array, channels, pixel_size_um=pixel_size_um, z_step_um=0.5)
    return open_volume(path)


@pytest.fixture
def manifest(tmp_path, by_hand):
    """Two images at the paper's pixel size; the second has its channels the other way round."""
    nucleus = np.arange(by_hand[0].size, dtype=np.uint16).reshape(by_hand[0].shape)
    stack(tmp_path, np.stack([*by_hand, nucleus]), ("a", "b", "n"), PAPER_PIXEL_UM, "one")
    swapped = np.stack([nucleus, by_hand[1], by_hand[0]])
    stack(tmp_path, swapped, ("n", "b", "a"), PAPER_PIXEL_UM, "two")
    path = tmp_path / "manifest.csv"
    path.write_text(
        "image,path,label,group\none,one.ome.tif,x,day1\ntwo,two.ome.tif,y,day2\n", "utf-8"
    )
    return read_manifest(path)


def test_a_patch_set_by_hand(manifest):
    built, table, statistics = build_patch_set(
        manifest, channels=("a", "b"), settings=SETTINGS, output_px=2, progress=False
    )
    # of each image the patches (z 0, x 0) and (z 1, x 4), see `by_hand`; 10 becomes 255
    assert built.table["image"].tolist() == ["one", "one", "two", "two"]
    assert built.table["label"].tolist() == ["x", "x", "y", "y"]
    assert built.table["group"].tolist() == ["day1", "day1", "day2", "day2"]
    assert built.table[["z", "y", "x"]].to_numpy().tolist() == [[0, 0, 0], [1, 0, 4]] * 2
    half = 128  # 127.5, to even
    np.testing.assert_array_equal(built.patches[0, ..., 0], [[half, half], [0, 0]])
    np.testing.assert_array_equal(built.patches[0, ..., 1], [[half, 0], [half, 0]])
    np.testing.assert_array_equal(built.patches[1, ..., 0], [[255, 255], [255, 255]])
    np.testing.assert_array_equal(built.patches[1, ..., 1], [[255, 255], [0, 0]])
    np.testing.assert_array_equal(built.patches[2:], built.patches[:2])  # by name, not position
    assert built.channels == ("a", "b")
    assert built.pixel_size_um == pytest.approx(2 * PAPER_PIXEL_UM)
    assert table.groupby("image")["reason"].agg(list).tolist() == [["", "sparse", "sparse", ""]] * 2
    assert statistics[["image", "channel"]].to_numpy().tolist() == [
        ["one", "a"],
        ["one", "b"],
        ["two", "a"],
        ["two", "b"],
    ]


def test_tables_made_before_give_the_same_set(manifest):
    options = {"channels": ("a", "b"), "settings": SETTINGS, "progress": False}
    tabulated = tabulate_patches(manifest, sizes_px=[2, 4], **options)
    assert tabulated.table.groupby(["image", "paper_px"]).size().tolist() == [16, 4, 16, 4]
    for size in (2, 4):
        direct = build_patch_set(manifest, output_px=2, size_px=size, **options)
        shared = build_patch_set(
            manifest, output_px=2, size_px=size, tabulated=tabulated, **options
        )
        assert shared[0].data_hash == direct[0].data_hash
        pd.testing.assert_frame_equal(shared[1], direct[1])
    with pytest.raises(PatchError, match="image one: expected its patches of 3 px in `tabulated`"):
        build_patch_set(manifest, output_px=2, size_px=3, tabulated=tabulated, **options)


def test_no_page_is_read_more_than_twice_to_tabulate_nor_once_to_cut(manifest, monkeypatch):
    """Two images with two planes of two channels; each page counted where its pixels are read."""
    read = []
    original = Volume.plane

    def counted(volume, z, out=None):
        read.extend((volume.path.name, z, name) for name in volume.channels)
        return original(volume, z, out)

    monkeypatch.setattr(Volume, "plane", counted)
    options = {"channels": ("a", "b"), "settings": SETTINGS, "progress": False}
    tabulated = tabulate_patches(manifest, sizes_px=[2, 4], **options)
    names = ("one.ome.tif", "two.ome.tif")
    pages = [(name, z, channel) for name in names for z in (0, 1) for channel in "ab"]
    assert Counter(read) == dict.fromkeys(pages, 2)
    read.clear()
    build_patch_set(manifest, output_px=2, tabulated=tabulated, **options)
    assert Counter(read) == dict.fromkeys(pages, 1)


def test_an_image_without_patches_is_named_with_the_remedy(manifest, tmp_path, by_hand):
    by_hand[:, :, :4, :8] = 0  # only the border remainder is left bright
    stack(tmp_path, by_hand, ("a", "b"), PAPER_PIXEL_UM, "two")
    with pytest.raises(PatchError, match=r"two.ome.tif: image two: .*none among 4; lower") as error:
        build_patch_set(
            manifest, channels=("a", "b"), settings=SETTINGS, output_px=2, progress=False
        )
    assert "\n" not in str(error.value)


def test_a_channel_that_no_file_has_is_refused(manifest):
    with pytest.raises(VolumeError, match="golgi"):
        tabulate_patches(manifest, channels=("a", "golgi"), settings=SETTINGS, progress=False)


def test_yield_counts_what_the_filter_removes():
    """Patches over the limit are not the filter's doing: 4 extracted, 1 sparse, 3 left."""
    table = pd.DataFrame(
        {
            "paper_px": [200, 200, 200, 200, 350],
            "reason": ["", "sparse", "over the limit", "", "sparse"],
        }
    )
    found = patch_yield(table)
    assert found["size_px"].tolist() == [200, 350]
    assert found["extracted"].tolist() == [4, 1]
    assert found["kept"].tolist() == [3, 0]
    assert found["attrition"].tolist() == [0.25, 1]
    np.testing.assert_allclose(found["size_um"], [200 * PAPER_PIXEL_UM, 350 * PAPER_PIXEL_UM])


def test_sets_of_all_sizes_are_those_of_each(manifest):
    """One table of both sizes, and for each the patches that it has by itself."""
    settings = SETTINGS.model_copy(update={"size_px": 4, "sizes_px": (2, 4)})
    options = {"channels": ("a", "b"), "settings": settings, "output_px": 2, "progress": False}
    common = {name: options[name] for name in ("channels", "settings", "progress")}
    tabulated = tabulate_patches(manifest, sizes_px=(2, 4), **common)
    sets = dict(each_patch_set(manifest, tabulated, **options))
    assert list(sets) == [2, 4]
    assert tabulated.table["paper_px"].value_counts().to_dict() == {2: 32, 4: 8}
    for size, patch_set in sets.items():
        assert (
            patch_set.data_hash == build_patch_set(manifest, size_px=size, **options)[0].data_hash
        )
