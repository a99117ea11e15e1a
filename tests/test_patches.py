import numpy as np
import pandas as pd
import pytest
from skimage.filters import threshold_otsu
from skimage.transform import resize_local_mean

from organelle_fusion import streaming
from organelle_fusion.intensity import PatchError, stack_statistics
from organelle_fusion.patches import (
    extract_patches,
    foreground_ratio,
    patch_grid,
    patch_table,
    patch_tables,
)
from organelle_fusion.volumes import open_volume, write_ome_tiff


def stack(folder, array, channels=("a", "b"), pixel_size_um=0.5, name="stack"):
    path = folder / f"{name}.ome.tif"
    write_ome_tiff(path, array, channels, pixel_size_um=pixel_size_um, z_step_um=0.5)
    return open_volume(path)


def test_grid_counted_by_hand():
    # 5 × 9 px hold two patches of 4 px; a row and a column remain
    assert patch_grid(5, 9, 4).tolist() == [[0, 0], [0, 4]]
    assert patch_grid(8, 4, 4).tolist() == [[0, 0], [4, 0]]
    assert patch_grid(7, 7, 3).tolist() == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert patch_grid(1364, 1364, 350).shape == (9, 2)
    assert patch_grid(3, 9, 4).shape == (0, 2)


def test_foreground_ratio_is_the_mean_of_each_patch():
    mask = np.random.default_rng(0).random((3, 23, 31)) < 0.3
    expected = [mask[:, y : y + 7, x : x + 7].mean(axis=(1, 2)) for y, x in patch_grid(23, 31, 7)]
    np.testing.assert_allclose(foreground_ratio(mask, 7), np.transpose(expected), rtol=1e-14)
    np.testing.assert_allclose(foreground_ratio(mask[0], 7), np.transpose(expected)[0], rtol=1e-14)


def test_numbers_are_foreground_where_they_are_not_0():
    """Labels of eight bytes each: patches of 2 px hold 3, 0 and 1 of 4."""
    mask = np.array([[5, 0, 0, 0, 0, 0], [1, 9, 0, 0, 0, 256]])
    assert foreground_ratio(mask, 2).tolist() == [0.75, 0, 0.25]


def test_table_counted_by_hand(tmp_path, by_hand):
    table = patch_table(stack(tmp_path, by_hand), 2.0, min_foreground=0.1)
    expected = pd.DataFrame(
        {
            "z": [0, 0, 1, 1],
            "y": [0, 0, 0, 0],
            "x": [0, 4, 0, 4],
            "size_px": [4, 4, 4, 4],
            "foreground_a": [4 / 16, 1 / 16, 0, 1],
            "foreground_b": [4 / 16, 0, 0, 8 / 16],
            "foreground": [7 / 16, 1 / 16, 0, 1],
            "kept": [True, False, False, True],
            "reason": ["", "sparse", "sparse", ""],
        }
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_the_cut_off_itself_is_enough_and_zero_keeps_all(tmp_path, by_hand):
    volume = stack(tmp_path, by_hand)
    assert patch_table(volume, 2.0, min_foreground=1 / 16)["kept"].tolist() == [1, 1, 0, 1]
    assert patch_table(volume, 2.0, min_foreground=0)["kept"].all()


def test_a_channel_left_out_counts_for_nothing(tmp_path, by_hand):
    table = patch_table(stack(tmp_path, by_hand).select(["b"]), 2.0, min_foreground=0.1)
    assert table["foreground"].tolist() == [4 / 16, 0, 0, 8 / 16]
    assert "foreground_a" not in table


def test_size_is_a_length(tmp_path, by_hand):
    volume = stack(tmp_path, by_hand, pixel_size_um=0.25)
    assert patch_table(volume, 1.1, min_foreground=0)["size_px"].unique().tolist() == [4]
    assert patch_table(volume, 0.5, min_foreground=0)["size_px"].unique().tolist() == [2]


def test_masks_are_those_of_the_whole_stack(tmp_path):
    rng = np.random.default_rng(1)
    array = rng.gamma(2, 200, (1, 4, 24, 24)).astype(np.uint16)
    array[0, 0] //= 8  # a dim plane: its own threshold would be lower
    table = patch_table(stack(tmp_path, array, "a"), 4.0, min_foreground=0.1)
    mask = array[0] > threshold_otsu(array[0])
    expected = mask.reshape(4, 3, 8, 3, 8).mean(axis=(2, 4)).ravel()
    np.testing.assert_allclose(table["foreground"], expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_tables_and_patches_are_those_of_plain_masks_whatever_the_threads(
    tmp_path, monkeypatch, dtype
):
    """Sizes with and without a remainder at the border, against means of the thresholded stack."""
    array = np.random.default_rng(5).gamma(2, 12, (2, 5, 30, 43)).clip(0, 120).astype(dtype)
    array[1] -= np.asarray(60 if dtype == "int16" else 0, dtype)
    volume = stack(tmp_path, array)
    statistics = stack_statistics(volume)
    masks = array > statistics["otsu"].to_numpy().reshape(2, 1, 1, 1)
    masks = np.concatenate([masks, masks.any(axis=0, keepdims=True)])
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(streaming, "thread_count", lambda threads=threads: threads)
        tables = patch_tables(volume, [1, 3.5, 15], min_foreground=0.2)
        patches = [
            extract_patches(volume, table, output_px=4, statistics=statistics) for table in tables
        ]
        found.append((tables, patches))
    for size, table, table_2, patches, patches_2 in zip(
        (2, 7, 30), *(each for pair in zip(*found, strict=True) for each in pair), strict=True
    ):
        pd.testing.assert_frame_equal(table, table_2, check_exact=True)
        np.testing.assert_array_equal(patches, patches_2)
        expected = [
            masks[:, z, y : y + size, x : x + size].mean(axis=(1, 2))
            for z in range(5)
            for y in range(0, 31 - size, size)
            for x in range(0, 44 - size, size)
        ]
        names = ["foreground_a", "foreground_b", "foreground"]
        np.testing.assert_allclose(table[names], expected, rtol=1e-14)
        assert 0 < len(patches) == table["kept"].sum()
        assert table["kept"].tolist() == [share[-1] >= 0.2 for share in expected]


def test_several_sizes_are_the_tables_of_each(tmp_path, by_hand):
    volume = stack(tmp_path, by_hand)
    options = {"min_foreground": 0.1, "max_patches": 2}
    for size, table in zip([1, 2], patch_tables(volume, [1, 2], **options), strict=True):
        pd.testing.assert_frame_equal(table, patch_table(volume, size, **options))


def test_over_the_limit_one_patch_of_each_stretch_stays(tmp_path):
    # patches of one pixel, ten of twelve not sparse; the limit of four cuts the ten at
    # 0 2 5 7 10, and the golden ratio's multiples 0, .618, .236, .854 pick 0, 3, 5, 9 of them
    array = np.full((1, 1, 2, 6), 10, np.uint16)
    array[0, 0, 0, 3] = array[0, 0, 1, 1] = 0
    table = patch_table(stack(tmp_path, array, "a"), 0.5, min_foreground=0.5, max_patches=4)
    dense = [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert np.flatnonzero(table["kept"]).tolist() == [dense[k] for k in (0, 3, 5, 9)]
    assert np.flatnonzero(table["reason"] == "sparse").tolist() == [3, 7]
    assert (table["reason"] == "over the limit").sum() == 6


@pytest.mark.parametrize("limit", [6, 12, 72, 143, 144, 500])
def test_the_limit_is_met_in_all_planes_and_columns(tmp_path, limit):
    array = np.arange(12 * 36, dtype=np.uint16).reshape(1, 12, 6, 6)
    table = patch_table(stack(tmp_path, array, "a"), 0.5, min_foreground=0, max_patches=limit)
    kept = table[table["kept"]]
    assert len(kept) == min(limit, 432)
    if limit >= 72:  # a constant step of six would keep to one column
        assert kept["z"].nunique() == 12
        assert kept["x"].nunique() == 6


@pytest.mark.parametrize("size_um", [2.8, 0.1])
def test_a_size_that_does_not_fit_is_refused(tmp_path, by_hand, size_um):
    with pytest.raises(PatchError, match=r"stack.ome.tif: a patch of .* µm is [06] px, .*5×9 px"):
        patch_table(stack(tmp_path, by_hand), size_um, min_foreground=0)


def statistics_by_hand(low, high, channels=("a",)):
    return pd.DataFrame({"channel": list(channels), "otsu": 0, "low": low, "high": high})


def test_scaling_and_averaging_by_hand(tmp_path):
    array = np.zeros((1, 2, 2, 4), np.uint16)
    array[0, 1] = [[100, 200, 50, 400], [300, 400, 100, 140]]
    volume = stack(tmp_path, array, "a")
    statistics = statistics_by_hand(100, 300)
    table = pd.DataFrame(
        {"z": [0, 1, 1], "y": 0, "x": [0, 2, 0], "size_px": 2, "kept": [False, True, True]}
    )
    # 100…300 become 0…255: 50 is clipped to 0, 400 to 255, 140 becomes 51, 200 becomes 127.5
    same = extract_patches(volume, table, output_px=2, statistics=statistics)
    assert same[..., 0].tolist() == [[[0, 255], [0, 51]], [[0, 128], [255, 255]]]
    # means (0 + 255 + 0 + 51)/4 = 76.5, which goes to the even 76, and 637.5/4 = 159.375
    mean = extract_patches(volume, table, output_px=1, statistics=statistics)
    assert (mean.dtype, mean.ravel().tolist()) == (np.uint8, [76, 159])


@pytest.mark.parametrize(("size", "output"), [(117, 56), (67, 56), (112, 56), (40, 56)])
def test_resizing_is_that_of_scikit_image(tmp_path, size, output):
    array = np.random.default_rng(2).gamma(2, 100, (2, 1, size, size)).astype(np.uint16)
    volume = stack(tmp_path, array)
    statistics = statistics_by_hand([20, 60], [500, 900], "ab")
    table = pd.DataFrame({"z": [0], "y": 0, "x": 0, "size_px": size, "kept": True})
    (found,) = extract_patches(volume, table, output_px=output, statistics=statistics)
    for channel, low, high in ((0, 20, 500), (1, 60, 900)):
        scaled = np.clip((array[channel, 0] - float(low)) / (high - low), 0, 1) * 255
        expected = resize_local_mean(scaled, (output, output), preserve_range=True)
        np.testing.assert_array_equal(found[..., channel], np.rint(expected.round(6)))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_signed_and_float_stacks_are_resized_as_by_scikit_image(tmp_path, dtype):
    array = np.random.default_rng(6).normal(-20, 90, (1, 2, 30, 40)).astype(dtype)
    volume = stack(tmp_path, array, "a")
    low, high = (-100, 150) if dtype == "int16" else (-100.25, 150.5)
    statistics = statistics_by_hand(low, high)
    # patches of two sizes, in an order that is not that of the planes
    places = [(1, 3, 9, 23), (0, 0, 0, 30), (1, 7, 10, 23), (1, 0, 5, 30)]
    table = pd.DataFrame(places, columns=["z", "y", "x", "size_px"]).assign(kept=True)
    found = extract_patches(volume, table, output_px=8, statistics=statistics)
    for patch, (z, y, x, size) in zip(found, places, strict=True):
        pixels = array[0, z, y : y + size, x : x + size].astype(float)
        scaled = np.clip((pixels - low) / (high - low), 0, 1) * 255
        expected = resize_local_mean(scaled, (8, 8), preserve_range=True)
        np.testing.assert_array_equal(patch[..., 0], np.rint(expected.round(6)))


def test_statistics_of_other_channels_are_refused(tmp_path, by_hand):
    volume = stack(tmp_path, by_hand)
    with pytest.raises(PatchError, match="expected statistics of b, a, found them of a, b"):
        patch_table(
            volume.select(["b", "a"]), 2, min_foreground=0, statistics=stack_statistics(volume)
        )


@pytest.mark.parametrize("share", [3, 30, -0.1, float("nan")])
def test_a_cut_off_that_is_no_share_is_refused(tmp_path, by_hand, share):
    """Every patch would be sparse, or none."""
    with pytest.raises(PatchError, match=f"min_foreground: expected a share .* found {share}; "):
        patch_table(stack(tmp_path, by_hand), 2.0, min_foreground=share)


def test_patches_without_pixels_are_refused(tmp_path, by_hand):
    volume = stack(tmp_path, by_hand)
    table = patch_table(volume, 2.0, min_foreground=0)
    with pytest.raises(PatchError, match="output_px: expected a pixel or more, found 0; "):
        extract_patches(volume, table, output_px=0, statistics=stack_statistics(volume))


@pytest.mark.parametrize(
    ("name", "value"), [("z", -1), ("z", 2), ("y", -1), ("y", 2), ("x", 6), ("size_px", 0)]
)
def test_a_place_outside_the_stack_is_refused_by_its_row(tmp_path, by_hand, name, value):
    """Of 2 planes of 5×9 px; patches of 4 px begin at y = 1 and x = 5 at the latest."""
    volume = stack(tmp_path, by_hand)
    statistics = stack_statistics(volume)
    table = pd.DataFrame(
        {
            "z": [-5, 1, 0],
            "y": [0, 1, 1],
            "x": [0, 5, 5],
            "size_px": 4,
            "kept": [False, True, True],
        },
        index=[3, 7, 9],
    )
    assert len(extract_patches(volume, table, output_px=2, statistics=statistics)) == 2
    table.loc[9, name] = value
    with pytest.raises(PatchError, match=r"ome.tif: row 9: expected .* 2 planes of 5×9 px, found "):
        extract_patches(volume, table, output_px=2, statistics=statistics)
