"""A run of chapter 6 becomes a file, and the file predicts as the chapter did."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

keras = pytest.importorskip("keras")

from organelle_fusion import cli  # noqa: E402
from organelle_fusion.cluster import HERE  # noqa: E402
from organelle_fusion.config import load_profile, paper_px_to_um  # noqa: E402
from organelle_fusion.folds import fold_parts, make_folds, write_folds  # noqa: E402
from organelle_fusion.intensity import stack_statistics  # noqa: E402
from organelle_fusion.manifest import open_image, read_manifest  # noqa: E402
from organelle_fusion.metrics import scores  # noqa: E402
from organelle_fusion.model_file import read_facts  # noqa: E402
from organelle_fusion.packing import PackError, own_cut_off, score_of  # noqa: E402
from organelle_fusion.pages import PageError, open_run  # noqa: E402
from organelle_fusion.patches import patch_table  # noqa: E402
from organelle_fusion.predictions import Cell  # noqa: E402
from organelle_fusion.preprocessing import build_patch_set  # noqa: E402
from organelle_fusion.sweep import train_cells  # noqa: E402
from organelle_fusion.volumes import write_ome_tiff  # noqa: E402

pytestmark = pytest.mark.keras

ROOT = Path(__file__).parents[1]

CHANNELS = ("early_endosomes", "mitochondria", "recycling_endosomes")
MODELS = ("intermediate", "mitochondria")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A repository in which chapters 1, 2 and 6 were run on six small stacks of one's own."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "notebooks").mkdir()
    (folder / "_toc.yml").touch()
    content = yaml.safe_load(load_profile("smoke").model_dump_json())
    content |= {"name": "tiny"}
    content["patches"] |= {"size_px": 60, "sizes_px": [60], "max_per_image": 5}
    content["patches"]["min_foreground"] = 0.1
    content["folds"] |= {"n_splits": 3, "validation_share": 0.34}
    content["encoder"] |= {"input_px": 16}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content), "utf-8")
    random = np.random.default_rng(0)
    lines = ["image,path,label"]
    for number in range(6):
        array = random.integers(0, 50, (3, 2, 70, 70), dtype=np.uint16)
        array[number % 2, :, :, :40] += random.integers(0, 400, (2, 70, 40), dtype=np.uint16)
        path = folder / f"s{number}.ome.tif"
        write_ome_tiff(path, array, CHANNELS, pixel_size_um=0.10602, z_step_um=0.5)
        lines.append(f"s{number},{path.name},{'ab'[number % 2]}")
    (folder / "stacks.csv").write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KERAS_BACKEND", keras.backend.backend())
        profile = load_profile("tiny.yaml")
        run = open_run(profile, "stacks.csv")
        patch_set, _, _ = build_patch_set(
            read_manifest("stacks.csv"),
            channels=profile.channels,
            settings=profile.patches,
            output_px=16,
            progress=False,
        )
        patch_set.save(run.folder / "patches" / "60px")
        folds = make_folds(patch_set.table, **profile.folds.model_dump())
        write_folds(run.folder / "folds" / "cv3.csv", folds)
        train_cells(
            patch_set, folds, models=MODELS, profile=profile, dataset="cv5", size_px=60,
            folder=run.folder / "predictions", seed=profile.folds.seed, workers=HERE,
        )  # fmt: skip
    return folder


@pytest.fixture
def call(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"))

    def run(command, *arguments):
        return CliRunner().invoke(cli.app, [command, *map(str, arguments)])

    return run


RUN = ("--profile", "tiny.yaml", "--manifest", "stacks.csv")


def stored(clone, model, fold):
    folder = clone / "data/runs/tiny/own-stacks/predictions"
    return pd.read_parquet(Cell("cv5", 60, model, fold, 7).path(folder))


@pytest.mark.parametrize(("model", "fold"), [("intermediate", 0), ("mitochondria", 1)])
def test_a_packed_network_predicts_as_the_chapter_did(clone, call, tmp_path, model, fold):
    """The same patches of a test image have the probabilities that were stored in training."""
    path = tmp_path / "network.keras"
    result = call("pack", path, *RUN, "--model", model, "--fold", fold)
    assert result.exit_code == 0, result.exception
    printed = " ".join(result.output.split())  # wherever its lines end
    assert f"model {model}, the network of fold {fold} of 3 (profile tiny" in printed
    assert "On images that it has not seen: balanced accuracy" in printed
    tested = stored(clone, model, fold).query("part == 'test'")
    patches = pd.read_parquet(clone / "data/runs/tiny/own-stacks/patches/60px/patches.parquet")
    places = patches[["z", "y", "x"]].iloc[tested["patch"]].reset_index(drop=True)
    tested = pd.concat([tested.reset_index(drop=True), places], axis=1)
    images = sorted(set(tested["image"]))
    output = tmp_path / "out"
    files = [clone / f"{name}.ome.tif" for name in images]
    result = call("predict", path, *files, "--output", output, "--no-maps")
    assert result.exit_code == 0, result.output
    for image in images:
        found = pd.read_csv(output / image / "patches.csv")
        both = tested[tested["image"] == image].merge(found, on=["z", "y", "x"])
        both = both[both["counted"]]
        assert len(both) >= 2
        np.testing.assert_allclose(both["p:a_x"], both["p:a_y"], atol=1e-5)
        counted = found[found["counted"]]
        row = pd.read_csv(output / "predictions.csv").set_index("image").loc[image]
        np.testing.assert_allclose(row["p:a"], counted["p:a"].mean(), atol=1e-6)


def test_facts_are_those_of_the_run(clone, call, tmp_path):
    """Ranges over the images that are not tested, scores of the test part, hashes of the cell."""
    path = tmp_path / "network.keras"
    assert call("pack", path, *RUN).exit_code == 0
    facts = read_facts(path)
    assert (facts.strategy, facts.channels, facts.classes) == ("intermediate", CHANNELS, ("a", "b"))
    assert (facts.fold, facts.n_folds, facts.is_phantom) == (0, 3, False)
    assert facts.patch_um == pytest.approx(60 * 0.03534)
    images = read_manifest(clone / "stacks.csv")
    folds = pd.read_csv(clone / "data/runs/tiny/own-stacks/folds/cv3.csv")
    trained = images[fold_parts(folds, images["group"], 0) != "test"]
    assert facts.seen.images == len(trained) == 4
    high, kept = [], []
    for row in trained.itertuples():
        volume = open_image(row)
        statistics = stack_statistics(volume)
        high.append(statistics["high"].iloc[1])
        kept.append(
            patch_table(volume, paper_px_to_um(60), min_foreground=0.1)["foreground"].ge(0.1).sum()
        )
    assert facts.seen.intensities["mitochondria"].high == (min(high), max(high))
    assert facts.seen.patches == (min(kept), max(kept))
    assert max(kept) > 5  # the limit per image is one of the training only
    tested = stored(clone, "intermediate", 0).query("part == 'test'")
    expected = scores(tested["label"], tested[["p:a", "p:b"]].to_numpy(), ["a", "b"])
    assert facts.score.value == pytest.approx(expected["balanced_accuracy"])
    assert (facts.score.patches, facts.score.images) == (len(tested), 2)
    assert facts.score.low is None  # one image of each class
    assert facts.score_of_all_folds.images == 6
    assert facts.score_of_all_folds.low <= facts.score_of_all_folds.value


def test_a_network_of_one_organelle_has_a_cut_off_of_its_own(clone, call, tmp_path):
    """As many patches of the training images as all organelles keep, counted by hand."""
    path = tmp_path / "network.keras"
    result = call("pack", path, *RUN, "--model", "mitochondria", "--fold", "1")
    assert result.exit_code == 0, result.exception
    facts = read_facts(path)
    folder = clone / "data/runs/tiny/own-stacks"
    folds, images = pd.read_csv(folder / "folds/cv3.csv"), read_manifest(clone / "stacks.csv")
    trained = images[fold_parts(folds, images["group"], 1) != "test"]
    tables = [
        patch_table(open_image(row).select(CHANNELS), paper_px_to_um(60), min_foreground=0.1)
        for row in trained.itertuples()
    ]
    own = pd.concat(tables)["foreground_mitochondria"]
    kept = sum(table["foreground"].ge(0.1).sum() for table in tables)
    assert (own >= facts.min_foreground).sum() == min(kept, (own > 0).sum())
    assert facts.min_foreground != 0.1
    patches = pd.read_parquet(folder / "patches/60px/patches.parquet")
    tested = stored(clone, "mitochondria", 1).query("part == 'test'")
    counted = patches["foreground_mitochondria"].to_numpy()[tested["patch"]] >= facts.min_foreground
    assert facts.score.patches == counted.sum()
    printed = " ".join(result.output.split())
    assert "It knows mitochondria alone, so images are filtered by them: patches with" in printed


def test_a_cut_off_keeps_as_many_patches_and_no_empty_one():
    """Two of four pass together; of the organelle the second most has 0.02. Three would be one."""
    table = pd.DataFrame(
        {
            "foreground_x": [0.5, 0.0, 0.02, 0.0],
            "reason": ["", "sparse", "sparse", "over the limit"],
        }
    )
    assert own_cut_off(table, "x") == 0.02
    assert own_cut_off(table.assign(reason=["", "", "", "sparse"]), "x") == 0.02
    assert own_cut_off(table.assign(foreground_x=0.0), "x") == 1


def test_score_counts_images_by_their_mean():
    """Image x: 0.9 and 0.2 for its class, mean 0.55, right; y: 0.4, wrong. By patch, 1/2 and 0."""
    frame = pd.DataFrame(
        {
            "model": "m", "fold": 0, "seed": 1, "patch": [0, 1, 2], "part": "test",
            "image": ["x", "x", "y"], "group": ["x", "x", "y"], "label": ["a", "a", "b"],
            "p:a": [0.9, 0.2, 0.6], "p:b": [0.1, 0.8, 0.4],
        }
    )  # fmt: skip
    score = score_of(frame, load_profile("smoke"))
    assert score.value == pytest.approx(0.25)
    assert (score.images, score.images_right, score.patches, score.classes) == (2, 1, 3, 2)
    assert (score.low, score.high) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--model", "late"], PackError, "late fusion has no network of its own"),
        (["--model", "nucleus"], PackError, "expected one of early, intermediate, spatial, early_"),
        (["--fold", "3"], PackError, "fold: expected one of 0, 1, 2, found 3"),
        (["--model", "early"], PageError, "run `make chapter N=06` first"),
    ],
)
def test_what_is_not_there_is_refused(call, tmp_path, arguments, error, words):
    """An unknown model or fold, and a chapter that has not been run: nothing is written."""
    result = call("pack", tmp_path / "x.keras", *RUN, *arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_never_made_is_refused(call, tmp_path):
    result = call("pack", tmp_path / "x.keras", "--profile", "smoke")
    assert re.search(r"cv3\.csv: expected .* run `make chapter N=06`", str(result.exception))


def test_a_network_of_other_settings_is_refused(clone, call, tmp_path):
    other = tmp_path / "tiny.yaml"
    text = (clone / "tiny.yaml").read_text("utf-8")
    assert "dropout: 0.4" in text
    other.write_text(text.replace("dropout: 0.4", "dropout: 0.3"), "utf-8")
    arguments = ["--profile", other, "--manifest", "stacks.csv"]
    result = call("pack", tmp_path / "x.keras", *arguments)
    assert "trained on the settings that are here now" in str(result.exception)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.iloc[1:], "expected the images .* found no image"),
        (lambda t: t.assign(image=t["image"] + "x"), "x, of which there is no patch"),
        (lambda t: t.assign(group="one"), "with group one, not"),
        (lambda t: t.assign(label=t["label"].to_list()[::-1]), "with label .*, not"),
        (lambda t: t.assign(pixel_size_um=0.3), "with patches of .* px, not"),
    ],
    ids=["fewer", "renamed", "regrouped", "labels swapped", "of other sizes"],
)
def test_a_manifest_that_has_changed_is_refused(clone, call, tmp_path, change, words):
    """The facts would be those of other images than the network has seen."""
    manifest = clone / "stacks.csv"
    before = manifest.read_bytes()
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    change(table).to_csv(manifest, index=False)
    result = call("pack", tmp_path / "x.keras", *RUN)
    manifest.write_bytes(before)
    assert re.search(words, str(result.exception)), result.output
    assert not (tmp_path / "x.keras").exists()


def test_a_manifest_that_is_not_there_is_named(call, tmp_path):
    result = call("pack", tmp_path / "x.keras", "--profile", "tiny.yaml", "--manifest", "no.csv")
    assert str(result.exception).startswith("no.csv: expected a manifest, found no such file")


def test_a_file_that_is_there_is_left(call, tmp_path):
    path = tmp_path / "x.keras"
    path.write_text("mine")
    result = call("pack", path, *RUN)
    assert "expected no such file, found one" in str(result.exception)
    assert path.read_text() == "mine"


def test_a_network_that_predicts_otherwise_is_not_written(clone, call, tmp_path, monkeypatch):
    """Its weights are another fold's: what is stored beside them is not what it gives."""
    from organelle_fusion import packing

    other = Cell("cv5", 60, "intermediate", 1, 7)
    load = packing.load_weights
    monkeypatch.setattr(packing, "load_weights", lambda network, _, at: load(network, other, at))
    monkeypatch.setattr(packing, "_TOLERANCE", 1e-6)
    result = call("pack", tmp_path / "x.keras", *RUN)
    assert "expected the stored probabilities of" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_commands_of_the_page_do_as_they_say(clone, call):
    """Those of the section in book/reproducing.md, with the profile of this test."""
    text = (ROOT / "book/reproducing.md").read_text("utf-8")
    section = text.split("## Use a trained network on new images\n")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)[1]
    (clone / "new").mkdir()
    for number, suffix in ((1, "ome.tif"), (2, "ome.tif"), (3, "tif")):
        shutil.copy(clone / f"s{number}.ome.tif", clone / "new" / f"c{number}.{suffix}")
    (clone / "new.csv").write_text("image,path,label\nx,new/c1.ome.tif,?\n", "utf-8")
    for line in block.splitlines():
        name, command, *arguments = shlex.split(line, comments=True)
        assert name == ".venv/bin/organelle-fusion"
        extra = ["--profile", "tiny.yaml"] if command == "pack" else []
        result = call(command, *arguments, *extra)
        assert result.exit_code == 0, result.output
    for folder, images in (("predictions", ["c1", "c2"]), ("c3", ["c3"]), ("all", ["x"])):
        table = pd.read_csv(clone / folder / "predictions.csv")
        assert table["image"].tolist() == images
        named = set(re.findall(r"^\| `<image>/(\S+)`", section, flags=re.MULTILINE))
        assert {path.name for path in (clone / folder / images[0]).iterdir()} == named
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(
        " ".join(line.split("#")[0].split()) in block
        for line in re.findall(r"^\.venv/bin/organelle-fusion p.*$", readme, flags=re.MULTILINE)
    )
