"""The reference run: what is planned, what a call does in its time, and what the next one does."""

import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from organelle_fusion import reference, reference_data, sources, sweep
from organelle_fusion.config import load_profile
from organelle_fusion.folds import fold_parts
from organelle_fusion.predictions import read_predictions, read_provenance
from organelle_fusion.reference_data import CROPS
from organelle_fusion.reference_results import RESULTS

REFERENCE = load_profile("reference")
SMOKE = load_profile("smoke")


def tiny(**changes):
    """Two folds of a few small stacks; no further seeds."""
    sections = {
        "phantom": {
            "images_per_class": (3, 0, 3, 0, 0, 0),
            "contact_images_per_class": (3, 3, 0),
            "shape_zyx": (2, 260, 260),
        },
        "patches": {"max_per_image": 6, "min_foreground": 0.0},
        "folds": {"n_splits": 2},
        "many_folds": {"repeats": 1},
        "real_cells": {"crops_per_class": 6},
        **changes,
    }
    update = {
        name: getattr(SMOKE, name).model_copy(update=values) for name, values in sections.items()
    }
    return SMOKE.model_copy(update={**update, "reference": REFERENCE.reference})


def predict(cell, patch_set, folds, profile, folder):
    """Stands in for `sweep._train`: the same rows, chances drawn by the cell; no network."""
    predict.cells.append((patch_set.classes, cell))
    parts = fold_parts(folds, patch_set.table["group"], cell.fold)
    rows = np.flatnonzero(parts != "train")
    frame = patch_set.table.loc[rows, ["image", "group", "label"]].reset_index(drop=True)
    frame.insert(0, "patch", rows)
    frame["part"] = parts[rows]
    random = np.random.default_rng([cell.fold, cell.seed, *cell.model.encode()])
    chances = random.dirichlet(np.ones(len(patch_set.classes)), len(rows)).astype(np.float32)
    for column, name in enumerate(patch_set.classes):
        frame[f"p:{name}"] = chances[:, column]
    frame.attrs = {"device_name": "a device"}
    return frame


def cut_here(images, profile, dataset, folder):
    """Stands in for processes, each of which takes seconds to start."""
    for image in images:
        reference_data._cut_and_write(profile, dataset, folder, image)


@pytest.fixture
def stand_in(monkeypatch):
    """Trainings that take no time; one process cuts the stacks; the crops are not at hand."""
    import joblib

    predict.cells = []
    monkeypatch.setattr(sweep, "_train", predict)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(reference, "cut_images", cut_here)
    monkeypatch.setattr(reference, "keras_device", lambda: "cpu")
    monkeypatch.setattr(sweep, "keras_device", lambda: "cpu")
    monkeypatch.setattr(reference, "device_name", lambda: "a device")
    monkeypatch.setattr(sources, "at_hand", lambda name, folder: False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return predict


def bring_crops(monkeypatch):
    """Twelve crops of noise for each of nine classes, in groups of two."""
    number = np.arange(108)
    table = pd.DataFrame(
        {
            "image": [f"crop {n}" for n in number],
            "label": [f"line {n % 9}" for n in number],
            "group": [f"group {n // 18 * 9 + n % 9}" for n in number],
            "keep": True,
        }
    )
    crops = np.random.default_rng(0).integers(0, 256, (108, 3, 64, 64), dtype=np.uint8)
    channels = sources.SOURCES[CROPS].channels
    monkeypatch.setattr(sources, "at_hand", lambda name, folder: True)
    monkeypatch.setattr(sources, "read_crops", lambda name, folder: (crops, table, channels))


def result_files(root):
    return {
        path.relative_to(root / RESULTS).as_posix(): path.read_bytes()
        for path in sorted((root / RESULTS).rglob("*"))
        if path.is_file()
    }


def test_the_plan_by_hand():
    """Five folds of 3 networks, of 1, of 7 and 7; then five further seeds of 3; first contacts."""
    planned = reference.planned_trainings(REFERENCE)
    counts = pd.Series([(one.dataset, one.step) for one in planned]).value_counts(sort=False)
    assert list(counts.items()) == [
        (("contact", "planted contacts"), 15),
        (("contact", "contacts, wide head"), 5),
        (("cell-lines-9", "all networks"), 35),
        (("phantom", "all networks"), 35),
        (("phantom", "further seeds"), 75),
    ]
    assert len({(one.dataset, one.cell) for one in planned}) == 165
    assert {one.cell.seed for one in planned if one.step == "further seeds"} == {8, 9, 10, 11, 12}
    assert planned[0].cell.path("") == planned[0].cell.path("").with_name("fold-00-seed-7.parquet")
    (wide,) = {one.profile.training.dense_units for one in planned if "wide" in one.step}
    assert wide == 1024
    (edge,) = {one.profile.encoder.input_px for one in planned if one.dataset == CROPS}
    assert edge == 64
    # Late fusion comes after what it combines.
    names = [one.cell.model for one in planned if one.dataset == "phantom"][:35]
    assert names.index("late") > max(names.index(name) for name in REFERENCE.channels)


def test_stated_seconds_by_hand():
    """1,000 patches: 640 trained on and 160 validated in each of 40 epochs, 360 predicted."""
    of = {
        one.network: one
        for one in reference.planned_trainings(REFERENCE)
        if one.dataset == "phantom"
    }
    seen = 40 * (640 + 160 / 3) + 360 / 3
    assert reference.stated_seconds(of["intermediate"], 1000) == pytest.approx(seen / 900)
    assert reference.stated_seconds(of["early"], 1000) == pytest.approx(seen / 2700)
    assert reference.stated_seconds(of["late"], 1000) == 0


def test_a_training_of_the_profile_fits_into_a_call():
    """The longest, spatial fusion on all contact patches, even at a third of the stated speed."""
    longest = max(
        reference.stated_seconds(one, 36 * 12 * 9)
        for one in reference.planned_trainings(REFERENCE)
        if one.dataset == "contact"
    )
    assert 3 * longest < 60 * REFERENCE.reference.minutes


def test_a_profile_without_the_section_is_refused():
    """Quick runs chapters."""
    with pytest.raises(reference.ReferenceRunError, match="profile quick: expected sections"):
        reference.planned_trainings(load_profile("quick"))


def test_calls_go_on_where_the_last_one_stopped(tmp_path, monkeypatch, stand_in, caplog):
    """A clock of one minute a look: each call does some, nothing twice, and all is as at once."""
    caplog.set_level("INFO")
    profile = tiny()
    ticks = iter(range(10**6))
    messages = []
    for _ in range(100):
        text = reference.run_steps(profile, tmp_path, minutes=12, clock=lambda: 60.0 * next(ticks))
        messages.append(text)
        for path in (tmp_path / RESULTS).rglob("*.parquet"):
            read_provenance(path)  # whole
        if CROPS in text:
            break
    assert len(messages) > 3
    assert messages[-1].startswith("22 of 36 cells are done; cell-lines-9 is outstanding, set ORG")
    assert all("run again to go on" in text for text in messages[:-1])
    assert len(stand_in.cells) == len(set(stand_in.cells)) == 6 * 2 + 4 * 2  # late trains nothing
    assert "cell-lines-9 is not here: 14 cells are outstanding" in caplog.text
    assert not list((tmp_path / RESULTS).rglob("*.h5"))

    bring_crops(monkeypatch)
    text = reference.run_steps(profile, tmp_path)
    assert text == "36 of 36 cells are done; nothing is left"
    assert len(stand_in.cells) == 20 + 12
    before = result_files(tmp_path)
    assert reference.run_steps(profile, tmp_path) == text
    assert result_files(tmp_path) == before

    other = tmp_path / "other"
    reference.run_steps(profile, other)
    folder = "phantom/predictions/cv5/350px"
    for name in ("late", "spatial"):
        here, there = (
            read_predictions(sorted((root / RESULTS / folder / name).glob("*")))
            for root in (tmp_path, other)
        )
        assert_frame_equal(here, there)
    assert sum(map(len, before.values())) < 2e6


def test_the_first_thing_and_the_first_training_of_a_call_are_always_done(tmp_path, stand_in):
    """Even if they take longer than there is: one stack a call, and after the last a training."""
    profile = tiny()
    cut = sum(profile.phantom.contact_images_per_class)
    for number in range(1, cut + 3):
        reference.run_steps(profile, tmp_path, minutes=1e-9)
        assert len(stand_in.cells) == max(0, number - cut + 1)


def test_every_call_gets_on_where_all_stacks_have_to_be_cut_again(tmp_path, stand_in):
    """A borrowed machine begins with the results alone, and cutting leaves no time to train."""
    profile, ticks = tiny(), iter(range(10**6))
    for number in range(1, 4):
        minutes = sum(profile.phantom.contact_images_per_class) * 3.0
        reference.run_steps(profile, tmp_path, minutes=minutes, clock=lambda: 60.0 * next(ticks))
        reference.run_steps(profile, tmp_path, minutes=1e-9)
        assert len(stand_in.cells) >= number
        (tmp_path / "data/runs").rename(tmp_path / f"gone-{number}")


def test_large_networks_are_not_begun_on_a_processor(tmp_path, stand_in):
    """It would take days, and its results would keep a GPU out."""
    encoder = REFERENCE.encoder.model_copy(update={"input_px": 64})
    profile = tiny().model_copy(update={"encoder": encoder})
    with pytest.raises(reference.ReferenceRunError, match=r"expected a GPU to train resnet50 enc"):
        reference.run_steps(profile, tmp_path)
    assert stand_in.cells == []


def test_results_alone_are_enough_to_go_on(tmp_path, stand_in):
    """On another machine patches are cut only where something is left to train on them."""
    profile = tiny()
    reference.run_steps(profile, tmp_path)
    done = len(stand_in.cells)
    (tmp_path / "data/runs").rename(tmp_path / "gone")
    for path in (tmp_path / RESULTS / "contact/predictions").rglob("*/spatial/*"):
        path.unlink()
    reference.run_steps(profile, tmp_path)
    assert [cell.model for _, cell in stand_in.cells[done:]] == ["spatial"] * 2
    cut = {path.name for path in (tmp_path / "data/runs/smoke").iterdir()}
    assert cut == {"contact"}


def test_other_settings_train_again_and_other_devices_are_refused(tmp_path, stand_in, monkeypatch):
    """Predictions of two kinds of device are not mixed; of another dropout they do not hold."""
    profile = tiny()
    reference.run_steps(profile, tmp_path)
    done = len(stand_in.cells)
    training = profile.training.model_copy(update={"dropout": 0.1})
    reference.run_steps(profile.model_copy(update={"training": training}), tmp_path)
    assert len(stand_in.cells) == 2 * done
    (tmp_path / RESULTS / "contact/predictions/cv5/350px/early/fold-00-seed-7.parquet").unlink()
    monkeypatch.setattr(reference, "keras_device", lambda: "gpu")
    for settings in (profile, profile.model_copy(update={"training": training})):
        with pytest.raises(reference.ReferenceRunError, match=r"go on on a cpu, .* found a gpu"):
            reference.run_steps(settings, tmp_path)


def test_a_changed_single_combines_late_fusion_again(tmp_path, stand_in, monkeypatch):
    """Late fusion depends on the rows of the single channels, not on when they were computed."""
    profile = tiny()
    reference.run_steps(profile, tmp_path)
    place = tmp_path / RESULTS / "phantom/predictions/cv5/350px"
    late = place / "late/fold-00-seed-7.parquet"
    stamp = late.stat().st_mtime_ns
    single = place / "mitochondria/fold-00-seed-7.parquet"
    single.write_bytes(b"torn")
    assert reference.run_steps(profile, tmp_path).startswith("22 of 36")
    read_provenance(single)  # whole
    assert late.stat().st_mtime_ns == stamp

    def others(cell, *arguments):
        frame = predict(cell, *arguments)
        chances = [name for name in frame if name.startswith("p:")]
        frame[chances] = frame[chances[::-1]].to_numpy()
        return frame

    monkeypatch.setattr(sweep, "_train", others)
    single.write_bytes(b"torn")
    assert reference.run_steps(profile, tmp_path).startswith("22 of 36")
    assert late.stat().st_mtime_ns > stamp


@pytest.mark.keras
def test_a_rehearsal_with_networks(tmp_path, monkeypatch):
    """Two datasets, folds and devices as they are: files with provenance, and nothing else."""
    import joblib

    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(sources, "at_hand", lambda name, folder: False)
    profile = tiny()
    encoder = profile.encoder.model_copy(update={"input_px": 16, "filters": (2, 2)})
    profile = profile.model_copy(update={"encoder": encoder})
    text = reference.run_steps(profile, tmp_path, minutes=60)
    assert text.startswith("22 of 36 cells are done; cell-lines-9 is outstanding")
    run = json.loads((tmp_path / RESULTS / "run.json").read_text("utf-8"))
    assert run["settings"]["name"] == "smoke"
    assert {"device", "profile", "backend", "organelle_fusion", "created"} <= run.keys()
    files = sorted((tmp_path / RESULTS).rglob("*.parquet"))
    assert len(files) == 22
    names = {read_provenance(path)["details"].get("device_name") for path in files}
    assert names - {None} == {run["device"]}
    assert {path.suffix for path in (tmp_path / RESULTS).rglob("*") if path.is_file()} == {
        ".csv",
        ".json",
        ".parquet",
    }
    predictions = read_predictions(
        sorted((tmp_path / RESULTS / "phantom/predictions/cv5/350px/early").glob("*.parquet"))
    )
    tested = predictions[predictions["part"] == "test"]
    record = json.loads((tmp_path / RESULTS / "phantom/patches.json").read_text("utf-8"))
    assert sorted(tested["patch"]) == list(range(record["patches"]))
    own = reference_data.phantom_patches(
        profile, "phantom", reference_data.cut_folder(profile, "phantom", tmp_path)
    )
    assert own.data_hash == record["data_hash"]
