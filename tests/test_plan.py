"""What a run will train, counted by hand, by Keras-Tuner and by the patches that are cut."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import plan, plan_data
from organelle_fusion.config import load_profile
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.pages import Run
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.preprocessing import tabulate_patches
from organelle_fusion.volumes import write_ome_tiff

SMOKE = load_profile("smoke")
PHANTOM = Run(Path("data/runs/smoke/phantom"), Path("manifest.csv"), True)
OWN = Run(Path("data/runs/smoke/own-stacks"), Path("stacks.csv"), False)


def stacks(**columns):
    """Two classes of three stacks of 10 planes, 250 × 240 pixels of three paper pixels."""
    names = [f"i{number}" for number in range(6)]
    frame = pd.DataFrame({"image": names, "label": list("ababab"), "group": names})
    common = {"channels": ", ".join(SMOKE.channels), "z": 10, "y": 250, "x": 240}
    return frame.assign(**common | {"pixel_size_um": 0.10602, "dtype": "uint16"} | columns)


def planned(run, of_stacks=None, profile=SMOKE):
    if of_stacks is None:
        of_stacks = plan_data.phantom_stacks(profile.phantom, profile.channels)
    return plan.planned_trainings(profile, of_stacks, run)


# --- patches ------------------------------------------------------------------------------------


def test_patches_are_counted_by_hand():
    """350 paper pixels are 117 here: 2 × 2 in a plane; 200 are 67: 3 × 3; 500 are 167: 1 × 1."""
    counts = plan_data.count_patches(stacks(), SMOKE.patches)
    assert counts["grid"].to_dict() == {200: 6 * 90, 350: 6 * 40, 500: 6 * 10}
    assert counts["used"].to_dict() == {200: 48, 350: 48, 500: 48}  # 8 of each image
    without = SMOKE.patches.model_copy(update={"max_per_image": None})
    assert plan_data.count_patches(stacks(), without)["used"].to_dict() == counts["grid"].to_dict()


def test_patches_are_those_that_are_cut(tmp_path):
    """A stack of another shape and pixel size, tabulated by what the chapters call."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (3, 2, 211, 307), dtype=np.uint16)
    write_ome_tiff(
        tmp_path / "s.ome.tif", array, SMOKE.channels, pixel_size_um=0.09, z_step_um=None
    )
    (tmp_path / "m.csv").write_text("image,path,label\ns,s.ome.tif,a\n", encoding="utf-8")
    tabulated = tabulate_patches(
        read_manifest(tmp_path / "m.csv"),
        channels=SMOKE.channels,
        settings=SMOKE.patches,
        sizes_px=SMOKE.patches.sizes_px,
        progress=False,
    )
    counts = plan_data.count_patches(
        stacks(z=2, y=211, x=307, pixel_size_um=0.09).iloc[:1], SMOKE.patches
    )
    assert counts["grid"].to_dict() == tabulated.table.groupby("paper_px").size().to_dict()


def test_a_patch_larger_than_an_image_is_refused():
    """As when it is cut: one line with the image and the sizes."""
    with pytest.raises(PatchError, match=r"image i0: a patch of 17.67 µm is 167 px, expected 1 to"):
        plan_data.count_patches(stacks(y=150), SMOKE.patches)


def test_a_phantom_is_planned_as_it_will_be(tmp_path):
    """What is known of its stacks beforehand is what the files say afterwards."""
    settings = SMOKE.phantom.model_copy(
        update={"images_per_class": (1, 2, 1, 1, 1, 1), "shape_zyx": (2, 50, 60)}
    )
    path = simulate_dataset(tmp_path, settings, progress=False)
    rows = []
    for row in read_manifest(path).itertuples():
        volume = open_image(row)
        rows.append((*volume.shape[1:], volume.pixel_size_um, str(volume.dtype), volume.channels))
    expected = plan_data.phantom_stacks(settings, SMOKE.channels)
    channels = [tuple(sorted(text.split(", "))) for text in expected["channels"]]
    columns = ["z", "y", "x", "pixel_size_um", "dtype"]
    assert [row[:-1] for row in rows] == [
        (z, y, x, pytest.approx(pixel), dtype)
        for z, y, x, pixel, dtype in expected[columns].itertuples(index=False)
    ]
    assert [tuple(sorted(row[-1])) for row in rows] == channels
    labels = read_manifest(path)["label"]
    assert sorted(labels.value_counts()) == sorted(expected["label"].value_counts())


# --- the search ---------------------------------------------------------------------------------


@pytest.mark.keras
@pytest.mark.parametrize(("longest", "factor"), [(2, 2), (8, 3), (9, 3), (30, 3), (27, 3), (50, 4)])
def test_trials_and_epochs_are_keras_tuners(longest, factor, tmp_path):
    """Its oracle is asked for trials until it has no more, without training any."""
    import keras_tuner

    parameters = keras_tuner.HyperParameters()
    parameters.Float("x", 0, 1)
    oracle = keras_tuner.oracles.HyperbandOracle(
        keras_tuner.Objective("score", "max"),
        max_epochs=longest,
        factor=factor,
        seed=1,
        hyperparameters=parameters,
    )
    oracle._set_project_dir(tmp_path, "search")
    oracle.save = lambda: None
    oracle.verbose = 0
    epochs = []
    while (trial := oracle.create_trial("one")).status == "RUNNING":
        value_of = trial.hyperparameters.get
        epochs.append(value_of("tuner/epochs") - value_of("tuner/initial_epoch"))
        oracle.update_trial(trial.trial_id, {"score": value_of("x")})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    settings = SMOKE.tuning.model_copy(update={"max_epochs": longest, "factor": factor})
    rounds = plan.hyperband_rounds(settings)
    assert sum(trials for trials, _ in rounds) == len(epochs)
    assert sum(trials * each for trials, each in rounds) == sum(epochs)


# --- trainings ----------------------------------------------------------------------------------


def test_trainings_of_the_smoke_profile_by_hand():
    """Three sizes, three folds, two repeats, four folds by patch, two settings to choose among."""
    found = planned(PHANTOM).groupby("chapter")[["trainings", "files"]].sum()
    expected = {
        "03": (3 * (3 + 3 + 3), 27),  # scored, second phantom, turned
        "04": (5 + 3, 3),  # trials leave no file
        "06": (5 * 3 + 2 * 3, 8 * 3),  # without intermediate, which is in 03; late trains nothing
        "07": (6 * (3 + 4), 7 * (3 + 4)),
        "09": (6 * 3, 7 * 3),
        # one left out, slabs, settings; the same with folds by patch and repeats on the null
        # phantom; crops
        "10": ((18 + 4 + 6) + (18 + 4 + 6 + 4 + 6) + (4 + 4 + 3), 77),
        # labels by lot; three channels and their fusion of the null phantom; one channel planted,
        # three times; contacts: six networks, a wide head, three of fewer patches
        "11": (1 + (4 + 3 + 6 + 1 + 3) * 3, 52),
        "12": ((3 + 2 + 1) * 3, 18),  # pairs; a student on labels and taught; another backbone
    }
    assert {key: tuple(row) for key, row in zip(found.index, found.to_numpy(), strict=True)} == (
        expected
    )


def test_trainings_of_own_stacks():
    """No second and no null phantom; a search in each fold; no nucleus to add."""
    found = planned(OWN, stacks())
    files = found.groupby(["chapter", "dataset"])["files"].sum()
    assert files["03"].to_dict() == {"cv5": 9, "cv5-rotated-30": 9}
    assert files["04"].to_dict() == {"cv5-tuned": 3}
    assert found.query("chapter == '04'")["trainings"].sum() == 3 * 5 + 3
    assert files["06"].to_dict() == {"cv5": 18, "cv5-unfiltered": 3}
    assert set(found["folder"]) == {
        "own-stacks/predictions",
        "cell-lines-9/predictions",
        "mcf10a-mcf7",
    }
    assert "11" not in files.index.get_level_values("chapter")  # nothing is planted in them
    assert files["10", "leave-one-out"] == 6
    assert files["10", "cv4-by-slab"] == 4


@pytest.mark.parametrize(
    ("columns", "dataset", "files"),
    [
        ({"channels": ", ".join([*SMOKE.channels, "nucleus"])}, "cv5-nucleus", 3),
        ({"channels": ", ".join([*SMOKE.channels, "nucleus, nucleus"])}, "cv5-nucleus", 0),
        ({"channels": [", ".join(SMOKE.channels)] * 5 + ["nucleus"]}, "cv5-nucleus", 0),
        ({"z": [10] * 5 + [2]}, "cv4-by-slab", 0),
        ({"z": [10] * 5 + [3]}, "cv4-by-slab", 4),  # two slabs and one plane between them
        ({"group": list("aabbcc")}, "leave-one-out", 3),
    ],
    ids=["nucleus", "two nuclei", "not in all", "too flat", "just deep", "groups"],
)
def test_what_stacks_decide(columns, dataset, files):
    """Their channels, planes and groups."""
    found = planned(OWN, stacks(**columns))
    assert found.query("dataset == @dataset")["files"].sum() == files


def test_patches_and_epochs_of_a_training():
    """144 patches: a third is tested, by patch a quarter, and of the rest 34 % validate."""
    frame = planned(PHANTOM).set_index(["chapter", "dataset", "size_px", "model"])
    columns = ["train", "validation", "test", "epochs_least", "epochs_most"]
    one = frame.loc[("06", "cv5", 350, "early"), columns]
    assert one.tolist() == [63, 33, 48, 1, 1]
    assert frame.loc[("07", "cv4-by-patch", 350, "early"), columns[:3]].tolist() == [71, 37, 36]
    longer = SMOKE.model_copy(
        update={"training": SMOKE.training.model_copy(update={"epochs": 100, "patience": 15})}
    )
    frame = planned(PHANTOM, profile=longer).set_index(["chapter", "dataset", "size_px", "model"])
    assert frame.loc[("06", "cv5", 350, "early"), columns[3:]].tolist() == [16, 100]
    assert frame.loc[("07", "cv4-by-patch", 350, "early"), columns[3:]].tolist() == [1, 1]


def test_slabs_train_on_fewer_patches_for_longer():
    """Of 10 planes one is left out, so of 48 patches five; and 20 epochs become 22."""
    many = SMOKE.many_folds.model_copy(update={"epochs": 20})
    found = planned(OWN, stacks(), SMOKE.model_copy(update={"many_folds": many}))
    row = found.query("dataset == 'cv4-by-slab'").iloc[0]
    assert row[["train", "validation", "test"]].sum() == 43  # nine tenths of 48
    assert row["epochs_most"] == 22


def test_networks_and_their_channels():
    """A channel by itself, of the stacks or of crops, is a single network; late fusion is none."""
    frame = planned(PHANTOM).drop_duplicates(["chapter", "dataset", "model"])
    frame = frame.set_index(["dataset", "model"])[["network", "channels", "edge_px"]]
    frame = frame[~frame.index.duplicated()]
    assert frame.loc[("cv5", "mitochondria")].tolist() == ["single", 1, 28]
    assert frame.loc[("cell-lines-9", "microtubules")].tolist() == ["single", 1, 64]
    assert frame.loc[("cv5-nucleus", "intermediate")].tolist() == ["intermediate", 4, 28]
    assert frame.loc[("cv4-by-crop", "early")].tolist() == ["early", 2, 50]
    assert frame.loc[("cv5", "late"), "network"] == ""


@pytest.mark.parametrize("spatial", [True, False])
def test_another_fusion_is_planned_where_chapters_train_it(spatial, monkeypatch):
    """In 06, 07 and 09, which train all fusions; spatial fusion is left out of 07 on demand."""
    monkeypatch.setattr(plan, "FUSIONS", (*plan.FUSIONS, "gated"))
    many = SMOKE.many_folds.model_copy(update={"spatial": spatial})
    found = planned(PHANTOM, profile=SMOKE.model_copy(update={"many_folds": many}))
    for name, expected in (("gated", {"06", "07", "09"}), ("spatial", {"06", "09", "11"})):
        chapters = set(found.query("model == @name")["chapter"])
        assert chapters == expected | ({"07"} if spatial and name == "spatial" else set())


def test_crops_are_as_many_as_the_lists_say():
    """12 of each of nine cell lines; 1,371 crops of two lines, halved from 100 pixels."""
    crops = plan_data.public_crops(SMOKE)
    assert crops["cell-lines-9"][:2] == (108, 64)
    assert crops["mcf10a-mcf7"][:2] == (1371, 50)


# --- against files ------------------------------------------------------------------------------


def test_planned_files_beside_those_that_are_there(tmp_path):
    """Missing and unexpected ones show; files of other folders and other kinds do not count."""
    frame = planned(OWN, stacks()).query("chapter == '06' and dataset == 'cv5-unfiltered'")
    for path in (
        "own-stacks/predictions/cv5-unfiltered/350px/intermediate/fold-00-seed-7.parquet",
        "own-stacks/predictions/cv5-unfiltered/350px/intermediate/fold-01-seed-7.parquet",
        "own-stacks/predictions/cv5-unfiltered/350px/intermediate/fold-01-seed-7.weights.h5",
        "own-stacks/predictions/cv9/200px/early/fold-00-seed-7.parquet",
        "own-stacks/patches/350px/patches.parquet",
        "otccp-eea1/cv5/0px/forest/fold-00-seed-7.parquet",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = plan.compare_with_files(frame, tmp_path)
    place = "own-stacks/predictions"
    assert found.T.to_dict("list") == {
        (place, "cv5-unfiltered", 350, "intermediate"): [3, 2],
        (place, "cv9", 200, "early"): [0, 1],
    }
