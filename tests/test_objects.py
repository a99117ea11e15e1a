"""Objects measured in stacks of known geometry: balls and ellipsoids on anisotropic voxels."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from organelle_fusion.cells import Cells
from organelle_fusion.objects import (
    NO_CONTRAST,
    NO_NUCLEUS,
    TOO_SMALL,
    ObjectError,
    cell_pictures,
    contact_objects,
    measure_stack,
    object_level,
)
from organelle_fusion.surfaces import mesh_objects, signed_distances
from organelle_fusion.volumes import open_volume, write_ome_tiff

SPACING = (0.1, 0.035, 0.035)  # µm; planes three times as far apart as pixels
VOXEL = 0.035
SIZE = (3.0, 5.0, 5.0)
NUCLEUS = ((1.5, 3.5, 2.5), (0.8, 0.8, 1.2))  # centre and semi-axes, µm, z y x


def ellipsoid(centre, semi_axes, spacing=SPACING, size=SIZE, parts=4):
    """Share of each voxel that lies in an ellipsoid along the axes, by counting parts³ points."""
    shape = [round(length / step) for length, step in zip(size, spacing, strict=True)]
    axes = [
        ((np.arange(n * parts) + 0.5) / parts - 0.5) * step
        for n, step in zip(shape, spacing, strict=True)
    ]
    z, y, x = (((axis - c) / a) ** 2 for axis, c, a in zip(axes, centre, semi_axes, strict=True))
    share = np.zeros(shape, np.float32)
    for k in range(shape[0]):
        inside = np.zeros((shape[1], shape[2]))
        for part in z[k * parts : (k + 1) * parts]:
            cut = (part + y[:, None] + x[None, :]) <= 1
            inside += cut.reshape(shape[1], parts, shape[2], parts).sum((1, 3))
        share[k] = inside / parts**3
    return share


def stack_of(tmp_path, channels, *, spacing=SPACING, noise=0.0):
    """A file with 500 counts outside and 1500 inside of each channel's shares, and one cell."""
    rng = np.random.default_rng(0)
    image = np.stack([500 + 1000 * np.clip(share, 0, 1) for share in channels.values()])
    image = np.rint(image + rng.normal(0, noise, image.shape) if noise else image)
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(
        path,
        image.astype(np.uint16),
        list(channels),
        pixel_size_um=spacing[1],
        z_step_um=spacing[0],
    )
    labels = np.zeros(image.shape[2:], np.uint16)
    labels[3:-3, 3:-3] = 1
    return open_volume(path), Cells(labels, labels, {})


def measured(tmp_path, channels, *, voxel_um=VOXEL, min_volume_um3=0.01, **options):
    volume, cells = stack_of(tmp_path, {**channels, "nucleus": ellipsoid(*NUCLEUS)}, **options)
    return measure_stack(
        volume, list(channels), cells, voxel_um=voxel_um, min_volume_um3=min_volume_um3
    )


def sphericity(row):
    return np.pi ** (1 / 3) * (6 * row["volume_um3"]) ** (2 / 3) / row["area_um2"]


@pytest.mark.parametrize("radius", [0.3, 0.5])
@pytest.mark.parametrize("noise", [0.0, 40.0])
def test_a_ball_has_its_volume_area_and_shape(tmp_path, radius, noise):
    """4/3 π r³ and 4 π r² within 3 %, semi-axes r, boxes 2 r, and the place it was put at."""
    centre = (1.53, 1.41, 2.02)
    found = measured(tmp_path, {"a": ellipsoid(centre, [radius] * 3)}, noise=noise)
    assert len(found) == 1
    row = found.iloc[0]
    assert row["volume_um3"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    assert row["area_um2"] == pytest.approx(4 * np.pi * radius**2, rel=0.03)
    assert 0.97 <= sphericity(row) <= 1
    for name in "abc":
        assert row[f"ellipsoid_axis_{name}_um"] == pytest.approx(radius, abs=VOXEL / 2)
        assert row[f"bbox_oo_{name}_um"] == pytest.approx(2 * radius, abs=VOXEL)
    for name in "xyz":
        assert row[f"bbox_aa_{name}_um"] == pytest.approx(2 * radius, abs=VOXEL)
    # The nucleus is long in x, and the cell reaches farther to the left of it by nothing: ±.
    offset = np.array(centre) - np.array(NUCLEUS[0])
    assert row["position_z_um"] == pytest.approx(offset[0], abs=VOXEL / 2)
    assert abs(row["position_x_um"]) == pytest.approx(abs(offset[2]), abs=VOXEL / 2)
    assert abs(row["position_y_um"]) == pytest.approx(abs(offset[1]), abs=VOXEL / 2)
    # The gap to an ellipsoid, by points all over it.
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 721), np.linspace(-1, 1, 401))
    ring = np.sqrt(1 - height**2)
    points = np.stack([height, ring * np.sin(angle), ring * np.cos(angle)], -1) * NUCLEUS[1]
    gap = np.linalg.norm(points + NUCLEUS[0] - np.array(centre), axis=-1).min() - radius
    assert row["distance_to_nucleus_um"] == pytest.approx(gap, abs=VOXEL / 2)


@pytest.mark.parametrize("size_um", np.arange(4.0, 4.3, 0.035))
def test_objects_at_the_border_of_a_cell_close(tmp_path, size_um):
    """Voxels of 4.3 pixels, of which the last may lie inside the cell but for the margin.

    Objects fill the cell on one side, where their contact and surface would reach the border.
    """
    size = (3.0, 5.0, size_um)
    near = ellipsoid((1.5, 2.5, size_um), (0.9, 1.2, 1.2), size=size)
    other = ellipsoid((1.5, 4.0, size_um), (0.9, 0.9, 1.2), size=size)
    nucleus = ellipsoid(*NUCLEUS, size=size)
    volume, _ = stack_of(tmp_path, {"a": near, "b": other, "nucleus": nucleus})
    labels = np.zeros(near.shape[1:], np.uint16)
    labels[3:-3, 3:-1] = 1
    for edge in (1, 12):  # the border of the image, and that of the box
        labels[:, -edge:] = 0
        cells = Cells(labels, labels, {})
        found = measure_stack(volume, ["a", "b"], cells, voxel_um=0.15, min_volume_um3=0.01)
        assert set(found["kind"]) == {"a", "b", "a × b"}
        # Half an ellipsoid, 1.2 µm long, less what is cut off at its middle: at most 0.3 µm (two
        # voxels), or 12 pixels and a voxel; of the half, 3/2 times the part of the length.
        half = {"a": 2 / 3 * np.pi * 0.9 * 1.2**2, "b": 2 / 3 * np.pi * 0.9**2 * 1.2}
        for kind, volume_um3 in half.items():
            share = found.set_index("kind").loc[kind, "volume_um3"] / volume_um3
            assert (0.6 if edge == 1 else 0.3) < share < (1.0 if edge == 1 else 0.6)


def test_an_ellipsoid_has_its_axes(tmp_path):
    """Semi-axes 0.35, 0.5, 0.9 µm, volume 4/3 π abc, area after Thomsen's formula (1 % exact)."""
    axes = (0.35, 0.5, 0.9)
    row = measured(tmp_path, {"a": ellipsoid((1.5, 1.5, 2.2), axes)}).iloc[0]
    p, (a, b, c) = 1.6075, axes
    area = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    assert row["volume_um3"] == pytest.approx(4 / 3 * np.pi * a * b * c, rel=0.03)
    assert row["area_um2"] == pytest.approx(area, rel=0.03)
    for name, axis in zip("abc", axes, strict=True):
        assert row[f"ellipsoid_axis_{name}_um"] == pytest.approx(axis, abs=VOXEL / 2)
        assert row[f"bbox_oo_{name}_um"] == pytest.approx(2 * axis, abs=VOXEL)
    for name, axis in zip("zyx", axes, strict=True):
        assert row[f"bbox_aa_{name}_um"] == pytest.approx(2 * axis, abs=VOXEL)


def test_distances_between_balls(tmp_path):
    """Apart: the gap. Touching: 0. Intersecting: 0. Inside: minus the way to the surface."""
    # Along y, radius 0.3 each; b at 0.5 µm, touching, cut, and around the last one.
    a = [(1.5, y, 1.0) for y in (0.6, 2.0, 3.2)] + [(1.5, 2.0, 3.8)]
    b = [(1.5, 0.6, 2.1), (1.5, 2.0, 1.6), (1.5, 3.2, 1.4)]
    channels = {
        "a": sum(ellipsoid(centre, [0.3] * 3) for centre in a),
        "b": sum(ellipsoid(centre, [0.3] * 3) for centre in b)
        + ellipsoid((1.5, 2.0, 3.8), [0.75] * 3),
    }
    found = measured(tmp_path, channels)
    of_a = found[found["kind"] == "a"].reset_index(drop=True)
    centres = of_a[["position_y_um", "position_x_um"]].to_numpy()
    # The frame may be turned by half a turn about the nucleus.
    turned = np.array([[c[1] - NUCLEUS[0][1], c[2] - NUCLEUS[0][2]] for c in a])
    sign = min((1, -1), key=lambda s: np.abs(np.sort(s * turned, 0) - np.sort(centres, 0)).sum())
    order = [np.abs(centres - sign * place).sum(axis=1).argmin() for place in turned]
    distance = of_a.loc[order, "distance_to_b_um"].to_numpy()
    assert distance[0] == pytest.approx(0.5, abs=VOXEL / 2)
    assert distance[1] == 0
    assert distance[2] == 0
    assert distance[3] == pytest.approx(-0.45, abs=VOXEL / 2)
    assert of_a["distance_to_a_um"].isna().all()
    of_b = found[found["kind"] == "b"]
    assert sorted(of_b["distance_to_a_um"].round(6) == 0) == [False, True, True, True]


def test_two_balls_that_touch_make_one_object_or_a_contact(tmp_path):
    """In one channel they are one object of twice the volume; in two, a disc around the seam."""
    first, second = ((1.5, 1.6, 1.0), (1.5, 1.6, 2.0))
    balls = [ellipsoid(centre, [0.5] * 3) for centre in (first, second)]
    one = measured(tmp_path, {"a": balls[0] + balls[1]})
    assert len(one) == 1
    assert one["volume_um3"].iloc[0] == pytest.approx(2 * 4 / 3 * np.pi * 0.5**3, rel=0.03)
    two = measured(tmp_path, {"a": balls[0], "b": balls[1]})
    contact = two[two["kind"] == "a × b"]
    assert len(contact) == 1
    row = contact.iloc[0]
    assert row["area_um2"] == pytest.approx(row["voxels"] * VOXEL**2)
    assert row["volume_um3"] == pytest.approx(row["voxels"] * VOXEL**3)
    # What of one ball is less than h away from the other lies within √(r h) of the axis.
    assert 0 < row["area_um2"] < np.pi * 0.5 * 1.5 * VOXEL
    middle = abs((first[2] + second[2]) / 2 - NUCLEUS[0][2])
    assert abs(row["position_x_um"]) == pytest.approx(middle, abs=2 * VOXEL)
    assert np.isnan(row["distance_to_a_um"])


def test_contacts_are_the_shell_by_the_distance_transform():
    """The rule 0 < d ≤ 1.5, with the distances of SciPy's transform, on random blobs."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 24, 30, 28)), (0, 2, 2, 2))
    primary, secondary = noise > 0.05
    found = contact_objects(primary, secondary)
    distance = ndimage.distance_transform_edt(~primary)
    expected = (distance > 0) & (distance <= 1.5) & secondary
    np.testing.assert_array_equal(found > 0, expected)
    assert found.max() == ndimage.label(expected, np.ones((3, 3, 3)))[1]
    assert not contact_objects(primary, np.zeros_like(primary)).any()


def test_the_contact_of_two_boxes_is_their_common_face():
    """A face of 6 × 7 voxels: the next layer is 2 away, and corners 1.7; two apart touch none."""
    primary, secondary = np.zeros((2, 20, 20, 20), bool)
    primary[2:8, 3:10, 1:9] = True
    secondary[2:8, 3:10, 9:15] = True
    found = contact_objects(primary, secondary)
    assert found.max() == 1
    assert np.count_nonzero(found) == 42
    assert np.unique(np.nonzero(found)[2]).tolist() == [9]
    assert not contact_objects(primary, np.roll(secondary, 1, axis=2)).any()
    # A corner alone: diagonal by an edge counts (1.41), through the corner does not (1.73).
    one, two = np.zeros((2, 4, 4, 4), bool)
    one[1, 1, 1] = two[2, 2, 2] = True
    assert not contact_objects(one, two).any()
    two[1, 2, 2] = True
    assert np.argwhere(contact_objects(one, two)).tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("bright", [10, 200])
def test_the_level_lies_between_the_medians(bright):
    """90 values about 10 and others at 110: the middle is 60, be these the fewer or the more."""
    values = np.append(np.tile([8.0, 10.0, 12.0], 30), np.full(bright, 110.0)).astype(np.float32)
    level, contrast = object_level(values)
    assert level == pytest.approx(60)
    assert contrast == pytest.approx((60 - 10) / (1.4826 * 2))


def test_noise_and_constants_have_no_contrast():
    noise = np.random.default_rng(0).normal(100, 10, 20_000).astype(np.float32)
    # Of halves of a normal, medians are 0.674 from the middle; the absolute deviation is 0.40.
    assert object_level(noise)[1] == pytest.approx(0.674 / (1.4826 * 0.40), rel=0.1)
    for value in (0.0, 100.0):
        assert object_level(np.full(50, value, np.float32))[1] == 0
    assert object_level(np.float32([100, 100.0001] * 20))[1] == 0  # rounding


def test_small_objects_empty_cells_and_missing_nuclei_are_counted(tmp_path):
    ball, speck = ellipsoid((1.5, 1.5, 1.5), [0.4] * 3), ellipsoid((1.5, 1.5, 3.5), [0.1] * 3)
    rng = np.random.default_rng(1)
    nothing = rng.normal(0, 0.02, ball.shape).clip(0)
    found = measured(tmp_path, {"a": ball + speck, "b": nothing}, noise=5.0)
    assert found["kind"].tolist() == ["a"]
    assert np.isnan(found["distance_to_b_um"].item())  # no object is b, and its column is there
    assert found.attrs["dropped"] == [
        {"what": "a", "reason": TOO_SMALL, "number": 1},
        {"what": "b", "reason": NO_CONTRAST, "number": 1},
    ]
    volume, cells = stack_of(tmp_path, {"a": ball, "nucleus": nothing}, noise=5.0)
    empty = measure_stack(volume, ["a"], cells, voxel_um=VOXEL, min_volume_um3=0.01)
    assert len(empty) == 0
    assert empty.attrs["dropped"] == [{"what": "cells", "reason": NO_NUCLEUS, "number": 1}]


def test_tables_without_objects_have_the_columns_of_others(tmp_path):
    """Without a cell, and with a nucleus alone, they are those of two organelles in a cell."""
    balls = {name: ellipsoid((1.5, 1.5, x), [0.4] * 3) for name, x in (("a", 1.2), ("b", 3.5))}
    expected = {name: dtype.kind for name, dtype in measured(tmp_path, balls).dtypes.items()}
    volume, cells = stack_of(tmp_path, {**balls, "nucleus": ellipsoid(*NUCLEUS)})
    options = {"voxel_um": VOXEL, "min_volume_um3": 0.01}
    none = cells._replace(labels=np.zeros_like(cells.labels))
    large = {**options, "min_volume_um3": 1.0}  # balls have 0.27 µm³
    for given, how in ((none, options), (cells, large)):
        found = measure_stack(volume, ["a", "b"], given, **how)
        assert len(found) == 0
        assert {name: dtype.kind for name, dtype in found.dtypes.items()} == expected


def test_a_cell_that_was_removed_leaves_the_others_their_numbers(tmp_path):
    """Three cells side by side in x; of the first and third the table is as before."""
    channels = {
        name: sum(ellipsoid((1.5, y, x), axes) for x in (0.9, 2.5, 4.1))
        for name, y, axes in (("a", 1.5, [0.3] * 3), ("nucleus", 3.5, (0.8, 0.8, 0.5)))
    }
    volume, _ = stack_of(tmp_path, channels)
    labels = np.zeros(volume.shape[2:], np.uint16)
    for number, start in enumerate((3, 49, 95), start=1):
        labels[3:-3, start : start + 45] = number
    options = {"voxel_um": 0.07, "min_volume_um3": 0.01}
    whole = measure_stack(volume, ["a"], Cells(labels, labels, {}), **options)
    assert whole["cell"].tolist() == ["1", "2", "3"]
    cells = Cells(np.where(labels == 2, 0, labels), labels, {})
    found = measure_stack(volume, ["a"], cells, **options)
    assert found.equals(whole[whole["cell"] != "2"].reset_index(drop=True))
    _, of_third = cell_pictures(volume, ["a"], cells, 3, **options)
    assert set(of_third) == {"a", "nucleus"}
    with pytest.raises(ObjectError, match=r"cell 2: expected a number .* found none; take"):
        cell_pictures(volume, ["a"], cells, 2, **options)


def test_stacks_that_cannot_be_measured_are_refused(tmp_path):
    ball = ellipsoid((1.5, 1.5, 1.5), [0.4] * 3)
    image = np.stack([ball, ball]) * 1000
    options = {"voxel_um": VOXEL, "min_volume_um3": 0.01}
    cells = Cells(np.ones(ball.shape[1:], np.uint16), None, {})

    def file(name, array, z_step_um):
        path = tmp_path / f"{name}.ome.tif"
        write_ome_tiff(
            path,
            array.astype(np.uint16),
            ["a", "nucleus"],
            pixel_size_um=0.035,
            z_step_um=z_step_um,
        )
        return open_volume(path)

    with pytest.raises(ObjectError, match=r"flat.*found none; give the manifest column z_step_um"):
        measure_stack(file("flat", image, None), ["a"], cells, **options)
    with pytest.raises(ObjectError, match="two planes or more, found 1"):
        measure_stack(file("plane", image[:, :1], 0.1), ["a"], cells, **options)
    image[0] = 0
    with pytest.raises(ObjectError, match="channel a: expected signal, found 0 everywhere"):
        measure_stack(file("dark", image, 0.1), ["a"], cells, **options)


def test_distances_of_tangled_objects_are_nearly_the_least(tmp_path):
    """Against all points of one surface to all of the other, on blobs of smoothed noise."""
    rng = np.random.default_rng(5)
    fields = ndimage.gaussian_filter(rng.normal(size=(2, 30, 60, 60)), (0, 2, 2, 2))
    meshes, masks = [], []
    for field in fields:
        field[0] = field[-1] = field[:, 0] = field[:, -1] = field[..., 0] = field[..., -1] = -1
        labels = ndimage.label(field > 0.07, np.ones((3, 3, 3)))[0]
        meshes.append(mesh_objects(field.astype(np.float32), 0.07, labels))
        masks.append(labels)
    tree = cKDTree(meshes[1].points)
    found = signed_distances(masks[0], meshes[0], masks[1] > 0, tree)
    least = np.array(
        [
            tree.query(meshes[0].points[meshes[0].owner == number])[0].min()
            for number in range(1, masks[0].max() + 1)
        ]
    )
    sizes = np.bincount(masks[0].ravel())[1:]
    shared = np.bincount(masks[0][masks[1] > 0], minlength=len(sizes) + 1)[1:]
    partly = (shared > 0) & (shared < sizes)
    assert partly.sum() > 10
    assert (~partly).sum() > 20
    assert (found[partly] == 0).all()
    assert (np.sign(found[shared == sizes]) <= 0).all()
    off = np.abs(found[~partly]) - np.where(least < 0.5, 0, least)[~partly]
    assert off.min() >= -1e-6
    assert (off <= 0.5).mean() > 0.9
    assert off.max() < 2
