"""Whole images: each explained by the weights of the fold that tested it."""

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from skimage.transform import resize  # noqa: E402

from organelle_fusion import whole_images  # noqa: E402
from organelle_fusion.config import PAPER_PIXEL_UM, EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.evidence import plane_evidence  # noqa: E402
from organelle_fusion.explain import grad_cam  # noqa: E402
from organelle_fusion.gradients import ExplainError  # noqa: E402
from organelle_fusion.intensity import PatchError, display_plane, stack_statistics  # noqa: E402
from organelle_fusion.manifest import open_image, read_manifest  # noqa: E402
from organelle_fusion.models import build_model, set_seed  # noqa: E402
from organelle_fusion.patches import patch_table  # noqa: E402
from organelle_fusion.predictions import Cell, write_predictions  # noqa: E402
from organelle_fusion.similarity import map_similarity  # noqa: E402
from organelle_fusion.volumes import open_volume, write_ome_tiff  # noqa: E402
from organelle_fusion.whole_images import (  # noqa: E402
    WITHOUT_SPARSE,
    explain_images,
    plane_maps,
    sparse_places,
)

pytestmark = pytest.mark.keras

SMOKE = load_profile("smoke")
PROFILE = SMOKE.model_copy(
    update={
        "patches": SMOKE.patches.model_copy(update={"size_px": 30, "sizes_px": (30,)}),
        "encoder": EncoderSettings(kind="compact", input_px=16, filters=(4, 8)),
    }
)


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(5)
    for name in ("one", "two"):
        array = random.integers(0, 1000, (3, 3, 40, 52)).astype(np.uint16)
        path = tmp_path / f"{name}.ome.tif"
        write_ome_tiff(path, array, PROFILE.channels, pixel_size_um=PAPER_PIXEL_UM, z_step_um=1.0)
    text = "image,path,label\none,one.ome.tif,a\ntwo,two.ome.tif,b\n"
    (tmp_path / "manifest.csv").write_text(text, "utf-8")
    return read_manifest(tmp_path / "manifest.csv")


def network():
    return build_model(
        "intermediate",
        channels=PROFILE.channels,
        n_classes=2,
        encoder=PROFILE.encoder,
        training=PROFILE.training,
    )


def test_each_image_is_explained_by_the_network_that_tested_it(images, tmp_path):
    """Fold 0 validates on "two" and tests "one", fold 1 the other way round."""
    cells = {fold: Cell("cv5", 30, "intermediate", fold, 7) for fold in (0, 1)}
    for fold, cell in cells.items():
        set_seed(fold)
        cell.weights_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        network().save_weights(cell.weights_path(tmp_path))
        stored = pd.DataFrame({"patch": [0]})
        write_predictions(stored, cell.path(tmp_path), {}, [cell.weights_path(tmp_path)])
    rows = [
        ("one", "test", 0, 0.9, 0.1), ("one", "test", 0, 0.2, 0.8), ("two", "validation", 0, 1, 0),
        ("two", "test", 1, 0.9, 0.1), ("one", "validation", 1, 0, 1),
    ]  # fmt: skip
    predictions = pd.DataFrame(rows, columns=["image", "part", "fold", "p:a", "p:b"])
    model = network()  # compiled once

    def pretrained():  # as of published weights: the same, whatever the seed
        built = network()
        built.set_weights(model.get_weights())
        return built

    found = explain_images(
        images, predictions, pretrained, network, profile=PROFILE, cells=cells, folder=tmp_path,
        random_seeds=(4, 5), shown=["one", "two"],
    )  # fmt: skip
    for name, fold, target in (("one", 0, 0), ("two", 1, 1)):
        model.load_weights(cells[fold].weights_path(tmp_path))
        volume = open_image(images.set_index("image", drop=False).loc[name])
        statistics = stack_statistics(volume)
        for squares, overlap in (("side by side", False), ("overlapping", True)):
            plane = found.planes[squares][name]
            expected = plane_maps(
                model, volume, 1, target,
                size_um=30 * PAPER_PIXEL_UM, statistics=statistics, overlap=overlap,
            )  # fmt: skip
            np.testing.assert_allclose(plane.maps, expected, atol=1e-6)
            np.testing.assert_array_equal(plane.planes, display_plane(volume, 1, statistics))
            assert plane.label == {"one": "a", "two": "b"}[name]
            assert plane.predicted == "a"  # the mean over the patches of its own test part
            of_plane = found.similarity.query("image == @name and squares == @squares")
            assert set(of_plane["label"]) == {plane.label}
            assert set(of_plane["group"]) == {name}
            own = map_similarity(expected, PROFILE.channels)["value"]
            np.testing.assert_allclose(of_plane["value"], own, atol=1e-4)
            of_image = found.evidence.query("image == @name and squares == @squares")
            own = plane_evidence(plane.maps, plane.sparse, PROFILE.channels)
            assert of_image[list(own)].to_numpy().tolist() == own.to_numpy().tolist()
            assert of_image[["label", "group"]].to_numpy().tolist() == [[plane.label, name]]
            assert plane.sparse.shape == (40, 52)
            assert not plane.sparse.any()
            if overlap:  # the rows without sparse squares are the same, as there are none
                rows = found.similarity[found.similarity["squares"] == WITHOUT_SPARSE]
                dense = rows[rows["image"] == name]
                np.testing.assert_allclose(dense["value"], of_plane["value"])
    keys = ["image", "squares", "organelle", "compared_with"]
    one, two = (found.randomised[found.randomised["seed"] == seed] for seed in (4, 5))
    for drawn in (one, two):
        assert len(drawn) == len(drawn.drop_duplicates(keys)) == len(found.similarity)
    assert not np.allclose(one["value"], two["value"], equal_nan=True)
    fewer = explain_images(
        images, predictions, pretrained, network, profile=PROFILE, cells=cells, folder=tmp_path,
        random_seeds=(4, 5), shown=["two"],
    )  # fmt: skip
    assert [list(planes) for planes in fewer.planes.values()] == [["two"], ["two"]]
    pd.testing.assert_frame_equal(fewer.similarity, found.similarity)


@pytest.fixture(scope="module")
def small_network():
    set_seed(3)
    return build_model(
        "intermediate",
        channels=PROFILE.channels,
        n_classes=4,
        encoder=PROFILE.encoder,
        training=PROFILE.training,
    )


@pytest.fixture
def volume(tmp_path):
    array = np.random.default_rng(2).integers(0, 1000, (3, 2, 40, 52)).astype(np.uint16)
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(path, array, list(PROFILE.channels), pixel_size_um=0.5, z_step_um=1.0)
    return open_volume(path)


@pytest.mark.parametrize("overlap", [False, True])
def test_plane_is_put_together_from_its_tiles(volume, small_network, overlap, monkeypatch):
    """Tiles of 10 µm are 20 px; cut, averaged down and scaled here once more, by other means."""
    model = small_network
    statistics = stack_statistics(volume)
    monkeypatch.setattr(whole_images, "TILES_AT_ONCE", 4)  # of 6 and 15
    at_once, explain = [], whole_images.explain_patches

    def noted(model, patches, *more):
        at_once.append(len(patches))
        return explain(model, patches, *more)

    monkeypatch.setattr(whole_images, "explain_patches", noted)
    found = plane_maps(model, volume, 1, 2, size_um=10, statistics=statistics, overlap=overlap)
    assert at_once == ([4, 4, 4, 3] if overlap else [4, 2])
    low, high = (statistics[name].to_numpy()[:, None, None] for name in ("low", "high"))
    plane = np.clip((volume.plane(1) - low) / (high - low), 0, 1) * 255
    starts = ([0, 10, 20], [0, 10, 20, 30, 32]) if overlap else ([0, 20], [0, 20, 32])
    profile = np.minimum(np.arange(20) + 0.5, 19.5 - np.arange(20)) if overlap else np.ones(20)
    window = profile[:, None] * profile
    total, weight = np.zeros((3, 40, 52)), np.zeros((40, 52))
    fine = np.repeat(np.arange(20), 4)  # 80 px: five for each of the 16
    for y in starts[0]:
        for x in starts[1]:
            tile = plane[:, y : y + 20, x : x + 20][:, fine][:, :, fine]
            small = np.rint(tile.reshape(3, 16, 5, 16, 5).mean(axis=(2, 4)).round(6))
            maps = grad_cam(model, np.uint8(small.transpose(1, 2, 0))[None], [2])[0]
            for k in range(3):
                large = resize(maps[k], (20, 20), order=1, mode="edge", anti_aliasing=False)
                total[k, y : y + 20, x : x + 20] += window * large
            weight[y : y + 20, x : x + 20] += window
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, total / weight, rtol=1e-3, atol=1e-5 * np.abs(total).max())


def test_planes_that_do_not_fit_are_refused(volume, small_network):
    """Channels in the model's order, tiles no larger than the plane, and one of its classes."""
    model, statistics = small_network, stack_statistics(volume)
    with pytest.raises(PatchError, match="40 µm is 80 px, expected 1 to 40"):
        plane_maps(model, volume, 0, 0, size_um=40, statistics=statistics, overlap=False)
    turned = volume.select(PROFILE.channels[::-1])
    with pytest.raises(ExplainError, match=f"found {', '.join(PROFILE.channels[::-1])}"):
        plane_maps(model, turned, 0, 0, size_um=10, statistics=statistics, overlap=False)
    for target, found in ((4, "4 for patch 0"), (1.9, "float64")):
        with pytest.raises(ExplainError, match=f"integers from 0 to 3 .* found {found}"):
            plane_maps(model, volume, 0, target, size_um=10, statistics=statistics, overlap=False)


@pytest.fixture
def half_empty(tmp_path):
    """Bright pixels in the left 20 columns of 60, of which patches of 20 px are full."""
    array = np.random.default_rng(4).integers(0, 50, (3, 3, 40, 60)).astype(np.uint16)
    array[:, :, :, :20] += 500
    path = tmp_path / "half.ome.tif"
    write_ome_tiff(path, array, list(PROFILE.channels), pixel_size_um=0.5, z_step_um=1.0)
    return open_volume(path)


def test_sparse_places_are_what_the_filter_would_drop(half_empty):
    """Side by side the table of patches; of overlapping squares not those half over it."""
    statistics = stack_statistics(half_empty)
    options = {"size_um": 10, "min_foreground": 0.1, "statistics": statistics}
    found = sparse_places(half_empty, 1, overlap=False, **options)
    table = patch_table(half_empty, 10, min_foreground=0.1, statistics=statistics).query("z == 1")
    expected = np.zeros((40, 60), bool)
    for patch in table.query("reason == 'sparse'").itertuples():
        expected[patch.y : patch.y + 20, patch.x : patch.x + 20] = True
    np.testing.assert_array_equal(found, expected)
    assert found.any(axis=0).tolist() == [False] * 20 + [True] * 40
    found = sparse_places(half_empty, 1, overlap=True, **options)
    assert found.any(axis=0).tolist() == [False] * 30 + [True] * 30
    options["min_foreground"] = 0
    assert not sparse_places(half_empty, 1, overlap=True, **options).any()
    options["min_foreground"] = 7  # as of percent: all would be sparse
    with pytest.raises(PatchError, match=r"share from 0 to 1, found 7; write it like 0.1"):
        sparse_places(half_empty, 1, overlap=True, **options)


def test_a_stack_is_timed_on_the_patches_that_the_filter_keeps(images, monkeypatch):
    """Counted in its table; what is classified first is one empty patch, before the clock."""
    given, clock = [], iter([10.0, 12.5])
    monkeypatch.setattr(whole_images, "predict_proba", lambda _, patches: given.append(patches))
    monkeypatch.setattr(whole_images.time, "perf_counter", lambda: next(clock))
    row = images.iloc[0]
    found = whole_images.time_stack(network(), row, PROFILE)
    volume = open_image(row).select(PROFILE.channels)
    table = patch_table(
        volume,
        30 * PAPER_PIXEL_UM,
        min_foreground=PROFILE.patches.min_foreground,
        statistics=stack_statistics(volume),
    )
    assert found == (table["kept"].sum(), 2.5)
    assert [len(patches) for patches in given] == [1, found.patches]
    assert not given[0].any()
