"""The phantom: what is planted is there, and nothing else."""

import os
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage, stats
from scipy.spatial import cKDTree
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from organelle_fusion.config import ORGANELLES, PhantomSettings
from organelle_fusion.mosaic import PhantomError
from organelle_fusion.organelles import PHENOTYPES, Phenotype, planted_table
from organelle_fusion.phantom import (
    CHANNELS,
    CONTACT_CLASSES,
    class_names,
    largest_cell,
    median_cell_area,
    simulate_dataset,
    simulate_stack,
)

TINY = PhantomSettings(
    images_per_class=(1, 1, 1, 1, 1, 1),
    contact_images_per_class=(1, 1, 1),
    shape_zyx=(3, 120, 140),
    pixel_size_um=0.10602,
    z_step_um=0.5,
    seed=11,
)
SMALL = TINY.model_copy(update={"shape_zyx": (5, 220, 220)})


@pytest.fixture(scope="module")
def full():
    return {name: simulate_stack(name, index=4, settings=SMALL) for name in PHENOTYPES}


def test_equal_arguments_give_equal_bytes():
    first = simulate_stack("looped-clustered", index=3, settings=TINY)
    second = simulate_stack("looped-clustered", index=3, settings=TINY)
    assert first.image.dtype == first.labels.dtype == np.uint16
    assert first.image.shape == first.labels.shape == (4, 3, 120, 140)
    assert first.channels == CHANNELS == (*ORGANELLES, "nucleus")
    assert first.image.tobytes() == second.image.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    other_index = simulate_stack("looped-clustered", index=5, settings=TINY)
    other_seed = simulate_stack(
        "looped-clustered", index=3, settings=TINY.model_copy(update={"seed": 12})
    )
    for other in (other_index, other_seed):
        for k in range(4):
            assert not np.array_equal(first.image[k], other.image[k])


def test_only_one_organelle_is_that_channel_of_full_and_the_others_of_null():
    full = simulate_stack("fragmented-clustered", index=2, settings=TINY)
    null = simulate_stack("fragmented-clustered", index=2, settings=TINY, variant="null")
    for k, name in enumerate(ORGANELLES):
        only = simulate_stack(
            "fragmented-clustered", index=2, settings=TINY, variant=f"only-{name}"
        )
        for channel in range(4):
            source = full if channel == k else null
            np.testing.assert_array_equal(only.image[channel], source.image[channel])
            np.testing.assert_array_equal(only.labels[channel], source.labels[channel])
        assert not np.array_equal(full.image[k], null.image[k])


def test_null_does_not_know_the_class():
    images = [
        simulate_stack(name, index=7, settings=TINY, variant="null").image for name in PHENOTYPES
    ]
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


def test_organelles_lie_in_cells_outside_nuclei(full):
    for phantom in full.values():
        nucleus = phantom.labels[3]
        assert np.all(phantom.cells[nucleus > 0] == nucleus[nucleus > 0])
        for labels in phantom.labels[:3]:
            assert labels.max() > 20
            assert np.all(phantom.cells[labels > 0] > 0)
            assert not np.any((labels > 0) & (nucleus > 0))
            assert set(np.unique(labels)) == set(range(labels.max() + 1))
            # An object belongs to one cell, but for voxels of its rim.
            inside = labels > 0
            table = pd.crosstab(labels[inside], phantom.cells[inside]).to_numpy()
            assert table.max(1).sum() / table.sum() > 0.99


def test_image_is_bright_where_the_labels_are(full):
    for phantom in full.values():
        for image, labels in zip(phantom.image, phantom.labels, strict=True):
            assert image[labels > 0].mean() > image[labels == 0].mean() + 80


def test_names_say_what_is_seen(full):
    def extents(name):
        boxes = ndimage.find_objects(full[name].labels[1])
        return np.array([np.hypot(y.stop - y.start, x.stop - x.start) for _, y, x in boxes])

    def fullness(name):
        return (np.bincount(full[name].labels[1].ravel())[1:] / extents(name)).mean()

    for kind in ("perinuclear", "scattered"):
        tubular = f"tubular-{kind}"
        for place in ("scattered", "clustered"):
            assert extents(tubular).mean() > 1.5 * extents(f"fragmented-{place}").mean()
        # Loops fill the box about them, tubes run along its diagonal.
        for place in ("clustered", "perinuclear"):
            assert fullness(f"looped-{place}") > 1.2 * fullness(tubular)

    def nearest(name):
        centres = _centres(full[name].labels[0])
        return np.median(_neighbour_distances(centres))

    def beyond_nucleus(name):
        nucleus = full[name].labels[3].max(0) > 0
        distance = ndimage.distance_transform_edt(~nucleus) * SMALL.pixel_size_um
        return distance[full[name].labels[0].max(0) > 0].mean()

    for mitochondria in ("fragmented", "tubular"):
        assert nearest("looped-clustered") < 0.75 * nearest(f"{mitochondria}-scattered")
        assert beyond_nucleus("looped-perinuclear") < 0.75 * beyond_nucleus(
            f"{mitochondria}-scattered"
        )


def test_classes_have_equal_amounts(full):
    # Recycling endosomes that gather at one place hide each other, so more is allowed there.
    for channel, factor in ((0, 2), (1, 2), (2, 5)):
        shares = [(phantom.labels[channel] > 0).mean() for phantom in full.values()]
        assert max(shares) < factor * min(shares)


def test_finer_voxels_show_the_same_cells():
    coarse = simulate_stack("tubular-scattered", index=1, settings=TINY)
    fine = simulate_stack(
        "tubular-scattered",
        index=1,
        settings=TINY.model_copy(
            update={"shape_zyx": (3, 360, 420), "pixel_size_um": TINY.pixel_size_um / 3}
        ),
    )
    centres = fine.cells[:, 1::3, 1::3]
    assert (centres == coarse.cells).mean() > 0.999
    binned = fine.image.reshape(4, 3, 120, 3, 140, 3).mean((3, 5))
    for k in range(4):
        # The same objects, under noise of their own.
        assert np.corrcoef(binned[k].ravel(), coarse.image[k].ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("phenotype", "variant", "message"),
    [
        ("apart", "full", "expected a class out of tubular"),
        ("tubular-scattered", "contact", "expected a class out of apart, half-contact, in-cont"),
        ("tubular-scattered", "only-nucleus", "expected one of full, null, only-early_endosomes"),
    ],
)
def test_unknown_names_are_refused(phenotype, variant, message):
    with pytest.raises(PhantomError, match=message) as error:
        simulate_stack(phenotype, index=0, settings=TINY, variant=variant)
    assert "\n" not in str(error.value)


def _centres(labels):
    """Centres of labelled objects, µm, (N, 3)."""
    ids = np.arange(1, labels.max() + 1)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids))
    return centres * [SMALL.z_step_um, SMALL.pixel_size_um, SMALL.pixel_size_um]


def _neighbour_distances(points):
    return cKDTree(points).query(points, k=2)[0][:, 1]


def _endosome_statistics(phantom):
    """What endosomes alone show: number, size, spread, spacing, brightness, place in the cell."""
    row = {}
    for k in (0, 2):
        labels, image = phantom.labels[k], phantom.image[k].astype(float)
        name = CHANNELS[k]
        cytoplasm = (phantom.cells > 0) & (phantom.labels[3] == 0)
        centres = _centres(labels)
        near = _neighbour_distances(centres)
        tiles = (labels > 0)[:, :220, :220].reshape(-1, 4, 55, 4, 55).mean((0, 2, 4))
        outside = ndimage.distance_transform_edt(~(phantom.labels[3].max(0) > 0))
        row |= {
            f"{name} density": labels.max() / cytoplasm.sum(),
            f"{name} share": (labels > 0).sum() / cytoplasm.sum(),
            f"{name} nearest": np.median(near),
            f"{name} nearest spread": near.std() / near.mean(),
            f"{name} tile spread": tiles.std() / tiles.mean(),
            f"{name} from nucleus": outside[labels.max(0) > 0].mean(),
            f"{name} contrast": image.std() / (image.mean() - 100),
        }
    both = [phantom.labels[k] > 0 for k in (0, 2)]
    row["shared"] = (both[0] & both[1]).sum() / both[0].sum()
    return row


@pytest.fixture(scope="module")
def contact():
    rows = []
    for index in range(36):
        label = CONTACT_CLASSES[index % 3]
        phantom = simulate_stack(label, index=index, settings=SMALL, variant="contact")
        mitochondria = phantom.labels[1] > 0
        overlap = np.mean([mitochondria[phantom.labels[k] > 0].mean() for k in (0, 2)])
        rows.append({"label": label, "overlap": overlap} | _endosome_statistics(phantom))
    return pd.DataFrame(rows)


def test_contact_shows_the_same_mitochondria_in_every_class():
    stacks = [
        simulate_stack(name, index=6, settings=TINY, variant="contact") for name in CONTACT_CLASSES
    ]
    for stack in stacks[1:]:
        for channel in (1, 3):
            np.testing.assert_array_equal(stack.image[channel], stacks[0].image[channel])
        for channel in (0, 2):
            assert not np.array_equal(stack.image[channel], stacks[0].image[channel])


def test_contact_grows_with_the_class(contact):
    overlap = [contact.loc[contact["label"] == name, "overlap"] for name in CONTACT_CLASSES]
    assert overlap[0].max() < overlap[1].min()
    assert overlap[1].max() < overlap[2].min()
    # Endosomes on a shown network overlap it, the others by chance alone: halfway is the mean.
    means = [values.mean() for values in overlap]
    assert means[2] > 0.9
    assert means[0] < 0.35
    assert means[1] == pytest.approx((means[0] + means[2]) / 2, abs=0.05)


def test_endosomes_alone_do_not_tell_contact(contact):
    statistics = contact.drop(columns=["label", "overlap"])
    groups = [contact["label"] == name for name in CONTACT_CLASSES]
    p = np.sort(
        [stats.kruskal(*(statistics.loc[g, name] for g in groups)).pvalue for name in statistics]
    )
    holm = np.maximum.accumulate(p * np.arange(len(p), 0, -1))
    assert holm.min() > 0.05
    # Together they do no better: each row is an image, so folds hold whole images.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    guess = cross_val_predict(model, statistics, contact["label"], cv=folds)
    hits = int((guess == contact["label"]).sum())
    low, high = stats.binomtest(hits, len(contact)).proportion_ci(method="wilson")
    assert low < 1 / 3 < high
    # The overlap does tell.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100))
    guess = cross_val_predict(model, contact[["overlap"]], contact["label"], cv=folds)
    assert (guess == contact["label"]).mean() > 0.9


def test_dataset_resumes(tmp_path):
    settings = TINY.model_copy(update={"shape_zyx": (2, 40, 48)})
    manifest = simulate_dataset(tmp_path, settings, progress=False)
    frame = pd.read_csv(manifest)
    assert list(frame["label"]) == list(class_names("full"))
    assert list(frame["group"]) == list(frame["image"])
    stacks = [tmp_path / path for path in frame["path"]]
    expected = simulate_stack(frame["label"][2], index=2, settings=settings)
    stored = np.moveaxis(tifffile.imread(stacks[2]), 1, 0)
    np.testing.assert_array_equal(stored, expected.image)
    labels = np.moveaxis(tifffile.imread(tmp_path / "labels" / stacks[2].name), 1, 0)
    np.testing.assert_array_equal(labels, expected.labels)

    def age():
        for path in stacks:
            os.utime(path, (1, 1))

    def rewritten():
        return [path.stat().st_mtime != 1 for path in stacks]

    age()
    simulate_dataset(tmp_path, settings, progress=False)
    assert not any(rewritten())
    # Torn: of one stack only the beginning is left, of another the labels are gone.
    content = stacks[0].read_bytes()
    stacks[0].write_bytes(content[: len(content) // 2])
    (tmp_path / "labels" / stacks[3].name).unlink()
    (tmp_path / "stacks" / "full-004.json").write_text("{", "utf-8")
    age()
    simulate_dataset(tmp_path, settings, progress=False)
    assert rewritten() == [True, False, False, True, True, False]
    assert stacks[0].read_bytes() == content
    # One more image in the first class moves all labels but the first; that one stays.
    age()
    more = settings.model_copy(update={"images_per_class": (2, 1, 1, 1, 1, 1)})
    simulate_dataset(tmp_path, more, progress=False)
    assert rewritten() == [False, True, True, True, True, True]
    age()
    simulate_dataset(tmp_path, more.model_copy(update={"seed": 12}), progress=False)
    assert all(rewritten())


def test_numbers_of_images_must_fit_the_classes(tmp_path):
    fewer = TINY.model_copy(update={"images_per_class": (1, 1, 1)})
    with pytest.raises(PhantomError, match="expected images_per_class with 6 entries, found 3"):
        simulate_dataset(tmp_path, fewer, progress=False)


def test_the_contact_variant_has_numbers_of_images_of_its_own(tmp_path):
    settings = TINY.model_copy(
        update={"contact_images_per_class": (2, 1, 1), "shape_zyx": (1, 40, 48)}
    )
    manifest = simulate_dataset(tmp_path, settings, variant="contact", progress=False)
    labels = pd.read_csv(manifest)["label"].tolist()
    assert labels == ["apart", "apart", "half-contact", "in-contact"]


def test_table_of_what_is_planted_says_what_every_parameter_is():
    """One row for each, with unit, meaning and the values of all six phenotypes."""
    table = planted_table()
    assert len(table) == len(fields(Phenotype))
    assert list(table)[:3] == ["parameter", "unit", "meaning"]
    assert list(table)[3:] == list(PHENOTYPES)
    assert (table[["unit", "meaning"]].map(len) > 0).all(axis=None)
    radius = table.set_index("parameter").loc["mitochondria radius"]
    assert radius["unit"] == "µm"
    assert radius["tubular-scattered"] == PHENOTYPES["tubular-scattered"].mitochondria_radius_um


@pytest.mark.parametrize(
    ("plane", "area"),
    [
        # Cells 1 and 5 touch the border; of 2, 3 and 4 the middle one has two pixels.
        ([[1, 0, 0, 0, 0], [0, 2, 3, 3, 5], [0, 4, 4, 4, 5], [0, 0, 0, 0, 0]], 2),
        ([[1, 0, 0, 0], [0, 2, 3, 3], [0, 2, 0, 0], [0, 0, 0, 0]], 2),
    ],
)
def test_median_area_is_of_whole_cells(plane, area):
    assert median_cell_area(np.array(plane, np.uint16)) == area


def test_without_a_whole_cell_no_area_is_known():
    assert np.isnan(median_cell_area(np.array([[0, 1], [2, 2]], np.uint16)))


def test_largest_cell_by_hand():
    """Cell 2 covers four pixels, cell 5 three; what lies between cells is none."""
    plane = np.array([[0, 0, 0, 0], [2, 2, 0, 5], [2, 2, 0, 5], [0, 0, 0, 5]], np.uint16)
    found = largest_cell(plane)
    np.testing.assert_array_equal(found, plane == 2)


def test_a_plane_without_cells_has_no_largest():
    assert not largest_cell(np.zeros((3, 3), np.uint8)).any()
