"""Whole images: each explained by the weights of the fold that tested it."""

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import explain  # noqa: E402
from organelle_fusion.config import PAPER_PIXEL_UM, load_profile  # noqa: E402
from organelle_fusion.intensity import display_plane, stack_statistics  # noqa: E402
from organelle_fusion.manifest import open_image, read_manifest  # noqa: E402
from organelle_fusion.models import build_model  # noqa: E402
from organelle_fusion.predictions import Cell  # noqa: E402
from organelle_fusion.volumes import write_ome_tiff  # noqa: E402
from organelle_fusion.whole_images import explain_images  # noqa: E402

pytestmark = pytest.mark.keras

SMOKE = load_profile("smoke")
PROFILE = SMOKE.model_copy(
    update={"patches": SMOKE.patches.model_copy(update={"size_px": 30, "sizes_px": (30,)})}
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
    models = {}
    for fold, cell in cells.items():
        keras.utils.set_random_seed(fold)
        models[fold] = network()
        cell.weights_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        models[fold].save_weights(cell.weights_path(tmp_path))
    rows = [
        ("one", "test", 0, 0.9, 0.1), ("one", "test", 0, 0.2, 0.8), ("two", "validation", 0, 1, 0),
        ("two", "test", 1, 0.9, 0.1), ("one", "validation", 1, 0, 1),
    ]  # fmt: skip
    predictions = pd.DataFrame(rows, columns=["image", "part", "fold", "p:a", "p:b"])
    found = explain_images(
        images, predictions, network(), profile=PROFILE, cells=cells, folder=tmp_path
    )
    for name, fold, target in (("one", 0, 0), ("two", 1, 1)):
        volume = open_image(images.set_index("image", drop=False).loc[name])
        statistics = stack_statistics(volume)
        for squares, overlap in (("side by side", False), ("overlapping", True)):
            plane = found.planes[squares][name]
            expected = explain.plane_maps(
                models[fold], volume, 1, target,
                size_um=30 * PAPER_PIXEL_UM, statistics=statistics, overlap=overlap,
            )  # fmt: skip
            np.testing.assert_allclose(plane.maps, expected, atol=1e-6)
            np.testing.assert_array_equal(plane.planes, display_plane(volume, 1, statistics))
            assert plane.label == {"one": "a", "two": "b"}[name]
            assert plane.predicted == "a"  # the mean over the patches of its own test part
            of_plane = found.similarity.query("image == @name and squares == @squares")
            assert set(of_plane["label"]) == {plane.label}
            assert set(of_plane["group"]) == {name}
            own = explain.map_similarity(expected, PROFILE.channels)["value"]
            np.testing.assert_allclose(of_plane["value"], own, atol=1e-4)
