"""From manifests to patch sets: what is kept of every image, in which order, and how much of it."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import tifffile

from organelle_fusion import preprocessing
from organelle_fusion.config import PAPER_PIXEL_UM, PatchSettings
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.preprocessing import (
    build_patch_set,
    covered_share,
    cut_places,
    each_patch_set,
    patch_yield,
    seconds_of_one,
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


def test_a_place_beyond_the_border_of_its_image_is_refused(manifest):
    """Images have 5×9 px, and a patch of 4 px that begins at y = 2 ends at 6."""
    places = pd.DataFrame(
        {"image": ["one", "two", "one", "two"], "z": 0, "y": [1, 1, 2, 0], "x": 0, "size_px": 4}
    )
    with pytest.raises(PatchError, match=r"row 2: expected a patch .* y, x = 0, 2, 0; "):
        cut_places(places, manifest, ["a"], 2)


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


def test_share_covered_by_the_grid_by_hand(manifest):
    """Of planes of 5 × 9 pixels, 2 × 4 patches of 2 × 2 cover 32, and 1 × 3 of 3 × 3 cover 27."""
    tabulated = tabulate_patches(
        manifest, channels=("a", "b"), settings=SETTINGS, sizes_px=(2, 3), progress=False
    )
    shares = covered_share(tabulated.table, manifest)
    assert shares.to_dict() == pytest.approx({2: 32 / 45, 3: 27 / 45})


def test_one_image_is_timed_with_all_the_patches_of_the_filter(manifest, monkeypatch):
    """The limit of the profile would make it look faster than it is."""
    cut = []
    monkeypatch.setattr(
        preprocessing, "extract_patches", lambda volume, table, **_: cut.append(table["kept"].sum())
    )
    limited = SETTINGS.model_copy(update={"max_per_image": 1, "min_foreground": 0.0})
    seconds = seconds_of_one(
        next(manifest.itertuples(index=False)), channels=("a", "b"), settings=limited, output_px=2
    )
    assert seconds > 0
    assert cut[0] > 1


def test_sets_of_all_sizes_are_those_of_each(manifest):
    """One table of both sizes, and for each the patches that it has by itself."""
    settings = SETTINGS.model_copy(update={"size_px": 4, "sizes_px": (2, 4)})
    common = {"channels": ("a", "b"), "settings": settings}
    options = {**common, "output_px": 2}
    tabulated = tabulate_patches(manifest, sizes_px=(2, 4), **common)
    sets = dict(each_patch_set(manifest, tabulated, **options))
    assert list(sets) == [2, 4]
    assert tabulated.table["paper_px"].value_counts().to_dict() == {2: 32, 4: 8}
    for size, patch_set in sets.items():
        assert (
            patch_set.data_hash == build_patch_set(manifest, size_px=size, **options)[0].data_hash
        )


def test_all_formats_give_the_same_patches(tmp_path, write_lsm, write_czi, write_ome_zarr):
    """One stack in eight files, their channels in another order in some of them."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 100, (2, 3, 40, 52), np.uint16)
    for c, z, y, x in rng.integers(0, (2, 3, 34, 46), (30, 4)):
        array[c, z, y : y + 6, x : x + 6] += 2000
    names, turned = ("a", "b"), (array[::-1].copy(), ("b", "a"))
    scenes = {0: (array[:, :, ::-1].copy(), (0, 0)), 1: (array, (100, -20))}
    write_ome_tiff(tmp_path / "a.ome.tif", array, names, pixel_size_um=0.1, z_step_um=0.5)
    metadata = {"axes": "ZCYX", "unit": "um", "spacing": 0.5, "Labels": list(names) * 3}
    pages = array.transpose(1, 0, 2, 3)
    tifffile.imwrite(tmp_path / "b.tif", pages, imagej=True, resolution=(10, 10), metadata=metadata)
    write_lsm(tmp_path / "c.lsm", *turned)
    write_lsm(tmp_path / "d.lsm", array, names, lzw=True)
    write_czi(tmp_path / "e.czi", *turned, compression="zstd1:ExplicitLevel=1")
    write_czi(tmp_path / "f.czi", scenes, names)
    write_ome_zarr(tmp_path / "g.zarr", array, names, version="0.4", chunks=(2, 2, 20, 30))
    write_ome_zarr(tmp_path / "h.zarr", *turned)
    paths = ["a.ome.tif", "b.tif", "c.lsm", "d.lsm", "e.czi", "f.czi#scene=1", "g.zarr", "h.zarr"]
    rows = [f"{path[0]},{path},{'xy'[number % 2]}" for number, path in enumerate(paths)]
    (tmp_path / "m.csv").write_text("\n".join(["image,path,label", *rows]), "utf-8")
    built, table, statistics = build_patch_set(
        read_manifest(tmp_path / "m.csv"),
        channels=names,
        settings=PatchSettings(size_px=34, sizes_px=(34,), min_foreground=0.05),
        output_px=12,
        progress=False,
    )
    own = ["image", "label", "group"]
    first, *others = (part for _, part in table.groupby("image"))
    assert len(first) == 3 * 3 * 4  # 1.2 µm, 12 px
    assert 0 < (first["reason"] == "").sum() < 36
    for other in others:
        pd.testing.assert_frame_equal(
            other.drop(columns=own).reset_index(drop=True), first.drop(columns=own)
        )
    kept = built.patches.reshape(len(paths), -1, 12, 12, 2)
    assert (kept == kept[0]).all()
    sums = statistics.groupby("channel", sort=False).nunique()
    assert (sums.drop(columns="image") == 1).all(axis=None)
