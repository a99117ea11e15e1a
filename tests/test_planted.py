"""Planted truth beside patches: variants, masks, and who has not seen what, by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import phantom, planted, preprocessing
from organelle_fusion.config import ORGANELLES, PatchSettings, load_profile
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, write_predictions
from organelle_fusion.volumes import open_volume

SMALL = load_profile("smoke").phantom.model_copy(
    update={
        "shape_zyx": (2, 64, 64),
        "images_per_class": (1,) * 6,
        "contact_images_per_class": (1, 1, 1),
    }
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The smallest phantoms of three variants."""
    root = tmp_path_factory.mktemp("planted")
    for variant in ("full", "null", "only-mitochondria"):
        phantom.simulate_dataset(root / variant, SMALL, variant=variant, progress=False)
    return root


@pytest.fixture(scope="module")
def full(folders):
    settings = PatchSettings(size_px=90, sizes_px=(90,), min_foreground=0.0)  # 30 of these pixels
    return preprocessing.build_patch_set(
        read_manifest(folders / "full" / "manifest.csv"),
        channels=ORGANELLES,
        settings=settings,
        output_px=15,
        progress=False,
    )[0]


def other_images(places, variant):
    return places.assign(image=places["image"].str.replace("full", variant))


def test_only_an_organelle_is_the_variant_that_is_simulated(folders, full):
    """One channel of full, the others of null: pixel by pixel what only-mitochondria gives."""
    cut = {
        variant: preprocessing.cut_places(
            other_images(full.table, variant),
            read_manifest(folders / variant / "manifest.csv"),
            ORGANELLES,
            15,
        )
        for variant in ("null", "only-mitochondria")
    }
    found = planted.only_organelle(full, cut["null"], "mitochondria")
    np.testing.assert_array_equal(found.patches, cut["only-mitochondria"])
    assert (found.patches != full.patches).any()
    with pytest.raises(PatchError, match="only-nucleus: expected a channel of early_endosomes"):
        planted.only_organelle(full, cut["null"], "nucleus")


def test_places_go_to_the_images_of_another_variant(folders, full):
    """By place in the manifest, whatever images are called, and in the order of the rows."""
    images, null = (
        read_manifest(folders / variant / "manifest.csv") for variant in ("full", "null")
    )
    places = full.table.iloc[::-3].reset_index(drop=True)
    found = planted.of_images(places, images, null)
    expected = other_images(places, "null")
    assert (found["image"] != places["image"]).all()
    pd.testing.assert_frame_equal(found, expected.assign(group=expected["image"]))
    with pytest.raises(PatchError, match="expected those of 6 images with their classes in one"):
        planted.of_images(places, images, null[::-1])
    with pytest.raises(PatchError, match="expected other in the first manifest, found none"):
        planted.of_images(places.assign(image="other"), images, null)


def test_masks_cover_the_planted_labels(folders, full):
    """Half or more of the four pixels that become one; in the order of the places."""
    order = np.random.default_rng(0).permutation(len(full.table))
    places = full.table.iloc[order].reset_index(drop=True)
    masks = planted.planted_masks(places, folders / "full", ORGANELLES, 15)
    assert masks.any(axis=(0, 1, 2)).all()
    for row, found in zip(places.itertuples(), masks, strict=True):
        labels = open_volume(folders / "full" / "labels" / f"{row.image}.ome.tif")
        plane = labels.select(ORGANELLES).plane(row.z)[:, row.y : row.y + 30, row.x : row.x + 30]
        covered = (plane > 0).reshape(3, 15, 2, 15, 2).mean(axis=(2, 4))
        np.testing.assert_array_equal(found, covered.transpose(1, 2, 0) >= 0.5)


def test_each_network_comes_with_patches_it_has_not_seen(tmp_path):
    """Fold 1 tests c alone; of five patches two are taken, of one the only one."""
    table = pd.DataFrame(
        {"image": list("aaaaabccccc"), "label": list("xxxxxyxxxxx"), "z": 0, "y": 0, "x": 0}
    )
    table["group"] = table["image"]
    patches = np.arange(11 * 4, dtype=np.uint8).reshape(11, 2, 2, 1)
    patch_set = PatchSet(patches, table, ("only",), None)
    parts = {0: {"a": "test", "b": "test", "c": "train"}, 1: {"a": "validation", "b": "train"}}
    parts[1]["c"] = "test"
    folds = pd.DataFrame(
        [(fold, group, "x", part) for fold, of in parts.items() for group, part in of.items()],
        columns=["fold", "group", "label", "part"],
    )
    cells = {fold: Cell("toy", 1, "intermediate", fold, 0) for fold in (0, 1)}
    for fold, cell in cells.items():
        cell.weights_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        cell.weights_path(tmp_path).write_text(f"fold {fold}")
        rows = pd.DataFrame({"patch": [0]})
        write_predictions(rows, cell.path(tmp_path), {}, [cell.weights_path(tmp_path)])

    class Network:
        def load_weights(self, path):
            self.text = path.read_text()

    network = Network()
    networks = planted.each_network(
        patch_set, folds, network, cells=cells, folder=tmp_path, per_image=2
    )
    found = [(network.text, shown) for shown in networks]
    assert [text for text, _ in found] == ["fold 0", "fold 1"]
    for (_, shown), rows, targets, trained in zip(
        found, ([0, 2, 5], [6, 8]), ([0, 0, 1], [0, 0]), ([6, 7, 8, 9, 10], [5]), strict=True
    ):
        assert (shown.rows.tolist(), shown.targets.tolist()) == (rows, targets)
        np.testing.assert_array_equal(shown.patches, patches[rows])
        np.testing.assert_array_equal(shown.training, patches[trained])
    # The pixels of row 5 are 20 to 23, their mean 21.5, and halves are rounded to even numbers.
    assert found[1][1].mean.tolist() == [22.0]


def test_variants_are_each_organelle_and_nothing(full):
    """Every channel out of the full patches once, and never in the last."""
    null = 255 - full.patches
    found = planted.variants(full, null)
    assert list(found) == [*ORGANELLES, planted.NOTHING]
    for name, of_set in found.items():
        for position, channel in enumerate(ORGANELLES):
            source = full.patches if name == channel else null
            np.testing.assert_array_equal(of_set.patches[..., position], source[..., position])
    assert all(of_set.table is full.table for of_set in found.values())


def test_labels_by_lot_are_dealt_out_among_groups():
    """As many groups of each class, a group whole, the lots those of NumPy; seeds differ."""
    groups = list("cabdcc")  # c has three patches
    labels = dict(zip("abcd", "xxyy", strict=True))
    table = pd.DataFrame({"image": groups, "group": groups, "z": 0, "y": 0, "x": 0})
    table["label"] = table["group"].map(labels)
    patch_set = PatchSet(np.zeros((6, 2, 2, 1), np.uint8), table, ("only",), None)
    dealt = [planted.labels_by_lot(patch_set, seed).table for seed in range(9)]
    for seed, of_seed in enumerate(dealt):
        drawn = dict(of_seed[["group", "label"]].drop_duplicates().to_numpy())
        assert sorted(drawn.values()) == list("xxyy")
        order = np.random.default_rng(seed).permutation(4)
        assert [drawn[group] for group in "abcd"] == ["xxyy"[place] for place in order]
    assert len({tuple(of_seed["label"]) for of_seed in dealt}) > 1
    assert patch_set.table["label"].tolist() == list("yxxyyy")
