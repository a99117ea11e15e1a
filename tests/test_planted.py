"""Planted truth beside patches: variants, masks, and a probe, by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import phantom, planted, preprocessing
from organelle_fusion.config import ORGANELLES, PatchSettings, load_profile
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell
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
    table = pd.DataFrame({"image": list("aaaaabccccc"), "label": "x", "z": 0, "y": 0, "x": 0})
    table["group"] = table["image"]
    patch_set = PatchSet(np.zeros((11, 2, 2, 1), np.uint8), table, ("only",), None)
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

    class Network:
        def load_weights(self, path):
            self.text = path.read_text()

    network = Network()
    found = [
        (network.text, tested.tolist(), trained.tolist())
        for tested, trained in planted.each_network(
            patch_set, folds, network, cells=cells, folder=tmp_path, per_image=2
        )
    ]
    assert found == [("fold 0", [0, 2, 5], [6, 7, 8, 9, 10]), ("fold 1", [6, 8], [5])]


def test_an_organelle_is_named_above_nothing_and_above_the_others():
    """Named; over the others but not over the reference; overlapping the second; no interval."""
    rows = [
        ("m", "a", "a", 0.5, 0.4, 0.6, 0.2), ("m", "a", "b", 0.3, 0.2, 0.39, 0.2),
        ("m", "b", "a", 0.5, 0.4, 0.6, 0.45), ("m", "b", "b", 0.1, 0.0, 0.2, 0.45),
        ("m", "c", "a", 0.4, 0.3, 0.45, 0.2), ("m", "c", "b", 0.5, 0.44, 0.6, 0.2),
        ("m", "d", "a", 1.0, np.nan, np.nan, 0.2), ("m", "d", "b", 0.5, 0.44, 0.6, 0.2),
        ("m", "e", "a", 1.0, np.nan, np.nan, 0.2), ("m", "e", "b", 1.0, np.nan, np.nan, 0.2),
    ]  # fmt: skip
    columns = ["measure", "planted", "organelle", "value", "low", "high", "reference"]
    found = planted.named_organelles(pd.DataFrame(rows, columns=columns))
    assert found["planted"].tolist() == list("abcde")
    nothing = planted.NOTHING
    assert found["named"].tolist() == ["a", nothing, nothing, "a", nothing]


def test_correlations_of_blocks_by_hand():
    """Two channels in the same corner, a third in the opposite one, a fourth everywhere."""
    patches = np.zeros((1, 5, 5, 4), np.uint8)  # the fifth row and column fill no block
    patches[0, :2, :2, 0] = 100
    patches[0, 1, 1, 1] = 200
    patches[0, 2:4, 2:4, 2] = 50
    patches[0, ..., 3] = 9
    found = planted.block_correlations(patches, 2)[0]
    # Means of four blocks (1, 0, 0, 0) and (0, 0, 0, 1): deviations 3/4 and −1/4.
    apart = (2 * 0.75 * -0.25 + 2 * 0.25**2) / (0.75**2 + 3 * 0.25**2)
    np.testing.assert_allclose(found, [1, apart, 0, apart, 0, 0], atol=1e-12)
    rng = np.random.default_rng(1)
    patches = rng.integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)
    means = patches.reshape(3, 4, 2, 4, 2, 2).mean(axis=(2, 4)).reshape(3, 16, 2)
    expected = [np.corrcoef(patch.T)[0, 1] for patch in means]
    np.testing.assert_allclose(planted.block_correlations(patches, 4)[:, 0], expected)


def test_the_probe_sees_contacts_on_a_fine_grid_only():
    """A dot of the second channel on that of the first, or beside it within a quarter."""
    rng = np.random.default_rng(0)
    patches = np.zeros((80, 16, 16, 2), np.uint8)
    labels = np.repeat(["apart", "together"], 40)
    for number, label in enumerate(labels):
        for y, x in (8 * rng.integers(0, 2, 2) for _ in range(2)):
            patches[number, y : y + 4, x : x + 4, 0] = 255
            shift = 0 if label == "together" else 4
            patches[number, y + shift : y + shift + 4, x : x + 4, 1] = 255
    table = pd.DataFrame({"image": [f"{n % 40}{label[0]}" for n, label in enumerate(labels)],
                          "label": labels, "z": 0, "y": 0, "x": 0})  # fmt: skip
    table["group"] = table["image"]
    rows = [
        (fold, group, group[-1], "test" if n // 2 % 2 == fold else "train")
        for fold in (0, 1)
        for n, group in enumerate(sorted(set(table["group"])))
    ]
    folds = pd.DataFrame(rows, columns=["fold", "group", "label", "part"])
    patch_set = PatchSet(patches, table, ("a", "b"), None)
    found = planted.coarse_probe(patch_set, folds, [2, 4])
    right = (found["p:together"] > 0.5) == (found["label"] == "together")
    shares = right.groupby(found["model"]).mean()
    assert shares["grid of 4 × 4"] == 1.0
    assert shares["grid of 2 × 2"] < 0.7
    assert found.groupby("model")["patch"].apply(sorted).map(len).tolist() == [80, 80]
    np.testing.assert_allclose(found[["p:apart", "p:together"]].sum(axis=1), 1)


def grid_scores(*lows):
    """Grids of 2, 7 and 14 blocks, by the lower ends of their intervals; chance is 0.33."""
    rows = [{"value": low + 0.05, "low": low, "high": low + 0.1, "chance": 0.33} for low in lows]
    return pd.DataFrame(rows, index=[f"grid of {n} × {n}" for n in (2, 7, 14)])


def test_blocks_in_micrometres():
    """Of 56 pixels of 0.25 µm: blocks of 28, 8 and 5 pixels, the last with two pixels to spare."""
    table = pd.DataFrame({"image": ["i"], "label": "a", "group": "i", "z": 0, "y": 0, "x": 0})
    patch_set = PatchSet(np.zeros((1, 56, 56, 2), np.uint8), table, ("a", "b"), 0.25)
    assert planted.block_um(patch_set, (7, 2, 11)) == {2: 7.0, 7: 2.0, 11: 1.25}


@pytest.mark.parametrize(
    ("lows", "follows"),
    [
        ((0.30, 0.40, 0.80), "there in means over blocks of 2.0 µm, and it takes something"),
        ((0.40, 0.40, 0.80), "there in means over blocks of 7.0 µm, and"),
        ((0.30, 0.30, 0.80), "blocks of 1.0 µm, but in no coarser ones: that coarse local means"),
        ((0.30, 0.10, 0.20), "That local means hold what is needed is not shown"),
    ],
    ids=["7 × 7", "2 × 2", "fine only", "none"],
)
def test_coarse_means_are_said_to_do_only_if_a_coarse_grid_does(lows, follows):
    """And every grid is named, with its interval, not the best of all alone."""
    words = planted.probe_words(grid_scores(*lows), {2: 7.0, 7: 2.0, 14: 1.0})
    assert follows in words
    for number, edge, low in zip((2, 7, 14), ("7.0", "2.0", "1.0"), lows, strict=True):
        said = "above" if low > 0.33 else "below" if low < 0.23 else "not to be told from"
        ends = f"[{low:.2f}, {low + 0.1:.2f}] ({said} chance)"
        assert f"{number} × {number} blocks of {edge} µm {low + 0.05:.2f} {ends}" in words
