"""The 34 features by hand and by SciPy, what is refused, and what is dropped and counted."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from organelle_fusion.handcrafted import (
    DPG,
    FAMILIES,
    FEATURES,
    GROUPS,
    MEASURED,
    NPG,
    OPG,
    POSITION,
    REASONS,
    SUBSETS,
    SUMS,
    TPG,
    ZOOM_SUBSETS,
    FeatureError,
    drop_unusable,
    length_steps,
    object_features,
    same_number_per_cell,
    usual_steps,
    z_steps,
)
from organelle_fusion.sources import DATA_VARIABLE, read_measurements

CORNERS = [(3, 4, 12), (0, 0, 12), (3, 0, 12), (0, 4, -12)]


def measured(positions=CORNERS, image="i1", cell="c1", **columns):
    """Spheres of radius 1 µm at some positions; single columns can be set."""
    x, y, z = np.array(positions, float).T
    values = {
        "image": image,
        "cell": cell,
        "area_um2": 4 * np.pi,
        "volume_um3": 4 / 3 * np.pi,
        "triangles": 320,
        "voxels": 4189.0,
        **dict.fromkeys((f"ellipsoid_axis_{axis}_um" for axis in "abc"), 1.0),
        **dict.fromkeys((f"bbox_aa_{axis}_um" for axis in "xyz"), 2.0),
        **dict.fromkeys((f"bbox_oo_{axis}_um" for axis in "abc"), 2.0),
        "position_x_um": x,
        "position_y_um": y,
        "position_z_um": z,
        "distance_to_nucleus_um": -0.5,
    }
    return pd.DataFrame(values | columns)


def random_objects(number=60, seed=1):
    """Objects of four cells in two images; the cells' names repeat."""
    rng = np.random.default_rng(seed)
    values = pd.DataFrame(rng.uniform(0.5, 2, (number, len(MEASURED))), columns=list(MEASURED))
    return values.assign(
        image=np.repeat(["i1", "i2"], number // 2), cell=np.tile(["c1", "c2"], number // 2)
    )


def test_groups_are_those_of_the_method():
    assert (len(OPG), len(NPG), len(DPG), len(TPG)) == (16, 6, 12, 18)
    assert FEATURES == OPG + NPG + DPG
    assert len(set(FEATURES)) == 34
    assert set(SUMS) < set(DPG)
    assert len(SUBSETS["All without Sums"]) == 29
    for parts in (GROUPS, FAMILIES):
        assert sorted(name for part in parts.values() for name in part) == sorted(FEATURES)


def test_sphere():
    """Sphericity is 1; A³/(16π²V²) is 64π³/(16π²·16π²/9) = 9/4π; no longer than wide."""
    found = object_features(measured()).iloc[0]
    assert found["Sphericity"] == pytest.approx(1)
    assert found["CI"] == pytest.approx(9 / (4 * np.pi))
    assert found["Prolate"] == pytest.approx(0)
    assert found["Oblate"] == pytest.approx(0)
    assert found[["BI_AA", "BI_OO", "Triangles", "Voxels"]].tolist() == [1, 1, 320, 4189]


def test_box_and_ellipsoids():
    """A cube of edge 2 has sphericity (π/6)^(1/3); the ellipsoids are worked out in fractions."""
    objects = measured(
        area_um2=24.0,
        volume_um3=8.0,
        ellipsoid_axis_a_um=[1, 1, 1, 1],
        ellipsoid_axis_b_um=[1, 2, 2, 1],
        ellipsoid_axis_c_um=[2, 2, 3, 1],
        bbox_aa_x_um=3.0,
        bbox_aa_y_um=4.0,
        bbox_aa_z_um=6.0,
        bbox_oo_a_um=2.0,
        bbox_oo_b_um=5.0,
        bbox_oo_c_um=8.0,
    )
    found = object_features(objects)
    np.testing.assert_allclose(found["Sphericity"], (np.pi / 6) ** (1 / 3))
    np.testing.assert_allclose(found["CI"], 24**3 / (16 * np.pi**2 * 64))
    # 2/2·(1−2/8); 2/5·(1−5/8); 2/5·(1−5/18)
    np.testing.assert_allclose(found["Prolate"], [3 / 4, 3 / 20, 13 / 45, 0], atol=1e-15)
    # 2/5·(1−2/5); 8/8·(1−2/8); 8/13·(1−2/13)
    np.testing.assert_allclose(found["Oblate"], [6 / 25, 3 / 4, 88 / 169, 0], atol=1e-15)
    assert set(found["BI_AA"]) == {0.5}
    assert set(found["BI_OO"]) == {0.25}
    boxes = ["BoxAA X", "BoxAA Y", "BoxAA Z", "BoxOO A", "BoxOO B", "BoxOO C"]
    assert found.loc[0, boxes].tolist() == [3, 4, 6, 2, 5, 8]


def test_place_in_the_cell():
    found = object_features(measured())
    assert found.loc[0, ["PosX", "PosY", "PosZ"]].tolist() == [3, 4, 12]
    assert found.loc[0, "Distance to origin"] == pytest.approx(13)
    np.testing.assert_allclose(found["Polarity"], [np.arctan2(4, 3), 0, 0, np.pi / 2])
    assert set(found["Distance to nucleus"]) == {-0.5}


def test_distances_by_hand():
    """A rectangle's corner sees 5, 4 and, 24 µm below, √(9+576)."""
    found = object_features(measured(volume_um3=[2.0, 1, 1, 4])).iloc[0]
    seen = np.array([5, 4, np.sqrt(585)])
    total = 9 + np.sqrt(585)
    assert found["Min"] == 4
    assert found["Max"] == pytest.approx(np.sqrt(585))
    assert found["Median"] == 5
    assert found["Mean"] == pytest.approx(total / 3)
    assert found["Std"] == pytest.approx(np.sqrt(((seen - total / 3) ** 2).sum() / 2))
    assert found["Sum"] == pytest.approx(total)
    assert found["Sum/Volume"] == pytest.approx(total / 2)
    assert found["Sum*Volume"] == pytest.approx(total * 2)
    assert found["Sum/PosZ"] == pytest.approx(total / 12)
    assert found["Sum*PosZ"] == pytest.approx(total * 12)
    below = object_features(measured()).iloc[3]
    assert below["Sum/PosZ"] == pytest.approx(below["Sum"] / -12)


def test_moments_are_scipys():
    objects = random_objects()
    found = object_features(objects)
    positions = objects[list(POSITION)].to_numpy()
    for row in (0, 17, 59):
        same = (objects[["image", "cell"]] == objects.loc[row, ["image", "cell"]]).all(axis=1)
        others = positions[same.to_numpy() & (np.arange(60) != row)]
        seen = np.sqrt(((others - positions[row]) ** 2).sum(axis=1))
        assert len(seen) == 14
        assert found.loc[row, "Skewness"] == pytest.approx(stats.skew(seen))
        assert found.loc[row, "Kurtosis"] == pytest.approx(stats.kurtosis(seen, fisher=False))
        assert found.loc[row, "Std"] == pytest.approx(np.std(seen, ddof=1))


def test_order_and_index_are_kept():
    """Cells of one name in two images are two, however their rows are mixed."""
    objects = random_objects()
    found = object_features(objects)
    assert list(found.columns) == list(FEATURES)
    assert set(found.dtypes) == {np.dtype(float)}
    mixed = objects.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(object_features(mixed), found.loc[mixed.index], rtol=1e-12)
    alone = objects[(objects["image"] == "i1") & (objects["cell"] == "c2")]
    pd.testing.assert_frame_equal(object_features(alone), found.loc[alone.index], rtol=1e-12)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("triangles", np.nan, r"row b \(image i1, cell c1\): triangles: expected a finite number"),
        ("position_x_um", np.inf, "row b .*: position_x_um: expected a finite number, found inf"),
        ("area_um2", "wide", "row b .*: area_um2: expected a finite number, found wide"),
        ("volume_um3", 0.0, r"row b .*: volume_um3: expected more than 0, found 0\.0"),
        ("ellipsoid_axis_a_um", -1.0, "row b .*: ellipsoid_axis_a_um: expected more than 0"),
        ("bbox_oo_c_um", 0.0, "row b .*: bbox_oo_c_um: expected more than 0"),
        ("position_z_um", -9e-4, r"row b .*: position_z_um: expected 0\.001 µm or more from 0"),
    ],
)
def test_a_value_without_features_is_refused(column, value, message):
    objects = measured().set_index(pd.Index(list("abcd"))).astype({column: object})
    objects.loc["b", column] = value
    with pytest.raises(FeatureError, match=f"^objects: {message}") as caught:
        object_features(objects)
    assert "\n" not in str(caught.value)
    assert "drop_unusable" in str(caught.value)


def test_small_z_is_taken_as_it_is():
    found = object_features(measured([(3, 4, 1e-3), (0, 0, 1), (9, 0, 1)]))
    assert found.loc[0, "Sum/PosZ"] == pytest.approx(found.loc[0, "Sum"] * 1000)


def test_tables_and_cells_without_features_are_refused():
    objects = measured()
    for call in (object_features, drop_unusable):
        with pytest.raises(FeatureError, match="found no volume_um3, bbox_aa_z_um; measure them"):
            call(objects.drop(columns=["bbox_aa_z_um", "volume_um3"]))
        with pytest.raises(FeatureError, match="found no cell; add it"):
            call(objects.drop(columns="cell"))
        with pytest.raises(FeatureError, match="row 2: expected an image and a cell, found none"):
            call(objects.assign(cell=["c", "c", None, "c"]))
        with pytest.raises(FeatureError, match="expected at least one row, found none"):
            call(objects[:0])
    with pytest.raises(FeatureError, match=r"image i2, cell c1: expected 3 objects or more"):
        object_features(pd.concat([objects, measured(CORNERS[:2], image="i2")]))
    triangle = [(1, 0, 5), (0, 1, 5), (0, 0, 6)]  # √2 apart, each from each
    with pytest.raises(FeatureError, match=r"image i2, cell c1: .* equally far from all others"):
        object_features(pd.concat([objects, measured(triangle, image="i2")]))


def test_what_is_dropped_is_counted_under_its_first_reason():
    """Of 5 cells one stays whole, one loses an object, one falls below three, two go whole."""
    one_bad = measured([*CORNERS, (7, 7, 7), (8, 7, 7), (9, 9, 1e-4)], cell="c2")
    one_bad.loc[4, "area_um2"] = np.nan
    one_bad.loc[5, ["volume_um3", "position_z_um"]] = 0
    shrunk = measured(CORNERS[:3], cell="c3")
    shrunk.loc[0, "voxels"] = np.inf
    triangle = measured([(1, 0, 5), (0, 1, 5), (0, 0, 6)], cell="c4")
    pair = measured(CORNERS[:2], cell="c1", image="i2")
    objects = pd.concat([shrunk, measured(), one_bad, triangle, pair], ignore_index=True)
    kept, report = drop_unusable(objects)
    assert report["reason"].tolist() == list(REASONS)
    assert report["objects"].tolist() == [2, 1, 1, 4, 3]
    assert report["cells"].tolist() == [2, 1, 1, 2, 1]
    assert kept.index.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    found = object_features(kept)
    # What was dropped is no neighbour of those that stay: both cells hold the same four objects.
    np.testing.assert_array_equal(found.to_numpy()[:4], found.to_numpy()[4:])


def test_nothing_or_all_is_dropped():
    objects = random_objects()
    kept, report = drop_unusable(objects)
    pd.testing.assert_frame_equal(kept, objects)
    assert report["objects"].sum() == 0
    kept, report = drop_unusable(measured(voxels=np.nan))
    assert len(kept) == 0
    assert report["objects"].tolist() == [4, 0, 0, 0, 0]


def test_random_choice_holds_as_many_of_each_cell():
    objects = random_objects()
    chosen = np.arange(60) % 7 == 0
    drawn = same_number_per_cell(objects, chosen, seed=1)
    cells = [objects["image"], objects["cell"]]
    expected = pd.Series(chosen).groupby(cells).sum()
    assert pd.Series(drawn).groupby(cells).sum().tolist() == expected.tolist()
    assert expected.sum() == 9
    assert (drawn & ~chosen).any()
    np.testing.assert_array_equal(drawn, same_number_per_cell(objects, chosen, seed=1))
    assert (drawn != same_number_per_cell(objects, chosen, seed=2)).any()


def test_step_of_lengths_is_found_per_image():
    """Multiples 2, 3, 5, 5 of 0.159 rounded; and lengths that are multiples of nothing long."""
    lengths = pd.Series([0.318, 0.477, 0.795, 0.7950003, 0.5, 0.6, 0.75])
    images = pd.Series(["i1"] * 4 + ["i2"] * 3)
    found = length_steps(lengths, images).set_index("image")
    assert found.loc["i1", "step_um"] == pytest.approx(0.159, rel=1e-6)
    assert found.loc["i1", "off"] < 1e-5
    # Least difference 0.1; 5, 6 and, rounded to the even one, 8 steps are 1.85 µm.
    assert found.loc["i2", "step_um"] == pytest.approx(1.85 / 19)
    assert found.loc["i2", "off"] == pytest.approx(8 - 0.75 * 19 / 1.85)


def test_z_steps_are_those_of_most_images():
    """Zoom 3x: 0.16 µm in two images of three; zoom 4x: one image of 0.25 µm."""
    step_of = {"i1": 0.16, "i2": 0.2, "i3": 0.1604, "i4": 0.25}
    objects = pd.DataFrame(
        [(image, n * step) for image, step in step_of.items() for n in (2, 3, 5)],
        columns=["image", "bbox_aa_z_um"],
    )
    objects["batch"] = np.where(objects["image"] == "i4", "4x", "3x")
    found = z_steps(objects)
    assert found["image"].tolist() == list(step_of)
    assert found["batch"].tolist() == ["3x", "3x", "3x", "4x"]
    assert found["step_um"].tolist() == pytest.approx(list(step_of.values()))
    assert found["step"].tolist() == [0.16, 0.2, 0.16, 0.25]
    assert usual_steps(found) == pytest.approx({"3x": (0.16 + 0.1604) / 2, "4x": 0.25})
    # Objects of one height tell of no step.
    flat = z_steps(objects.groupby("image").head(1))
    assert flat["step"].isna().all()
    assert usual_steps(pd.concat([found.query("batch == '3x'"), flat.query("batch == '4x'")])) == {
        "3x": pytest.approx((0.16 + 0.1604) / 2)
    }


def test_subsets_for_the_zoom_have_the_height_or_do_not():
    rest = ZOOM_SUBSETS["All without BoxAA Z, BI_AA"]
    assert set(FEATURES) - set(rest) == {"BoxAA Z", "BI_AA"}
    assert ZOOM_SUBSETS["BoxAA Z alone"] == ("BoxAA Z",)
    assert list(ZOOM_SUBSETS)[:4] == ["All", *GROUPS]


def test_real_table():
    """Columns that the vendor derived agree to their six digits; no more than 1 % is dropped."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / "otccp-eea1" / "objects.csv").is_file():
        pytest.skip(f"{DATA_VARIABLE} names no folder with otccp-eea1")
    features, table = read_measurements("otccp-eea1")
    kept, report = drop_unusable(pd.concat([table, features], axis=1))
    found = object_features(kept)
    assert np.isfinite(found.to_numpy()).all()
    assert dict(zip(report["reason"], report["objects"], strict=True)) == {
        **dict.fromkeys(REASONS, 0),
        REASONS[2]: 7,
    }
    for ours, column in (
        ("Sphericity", "sphericity"),
        ("Prolate", "ellipticity_prolate"),
        ("Oblate", "ellipticity_oblate"),
    ):
        np.testing.assert_allclose(found[ours], kept[column], rtol=1e-4, atol=1.5e-5)
    steps = length_steps(kept["bbox_aa_z_um"], kept["image"])
    assert steps["off"].max() < 0.01
