"""The plan as text, from steps whose times are given."""

import re
from pathlib import Path

import pytest

from organelle_fusion import costs, devices, dry_run, plan_data
from organelle_fusion.config import load_profile
from organelle_fusion.costs import NetworkCost, PreprocessingCost
from organelle_fusion.intensity import PatchError
from organelle_fusion.pages import Run

pytestmark = pytest.mark.keras

SMOKE = load_profile("smoke")
STACKS = plan_data.phantom_stacks(SMOKE.phantom, SMOKE.channels)


@pytest.fixture
def text_of(monkeypatch, tmp_path):
    """Gives the text for steps of `step` seconds each, where nothing else takes time."""

    def text(step, *, profile=SMOKE, preprocessing=PreprocessingCost(0, 0, 0, 0)):  # noqa: B008
        cost = NetworkCost(step, 0.0, 0.0, 10**6, 10**6, 10**5)
        monkeypatch.setattr(costs, "time_network", lambda *arguments: cost)

        def time_preprocessing(*arguments):
            if isinstance(preprocessing, Exception):
                raise preprocessing
            return preprocessing

        monkeypatch.setattr(costs, "time_preprocessing", time_preprocessing)
        monkeypatch.setattr(devices, "keras_device", lambda: "cpu")
        run = Run(tmp_path / "smoke" / "phantom", Path("manifest.csv"), True)
        return dry_run.dry_run(profile, STACKS, run)

    return text


def cells(text, beginning):
    """Columns of the line that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return re.split(r"\s{2,}", line)


def test_what_is_not_trained_has_no_numbers(text_of):
    """Thirty runs of one repeat are those of chapter 6 for all but the folds by patch."""
    once = SMOKE.many_folds.model_copy(update={"repeats": 1})
    text = text_of(0.01, profile=SMOKE.model_copy(update={"many_folds": once}))
    line = next(line for line in text.splitlines() if "all networks, 1 times" in line)
    assert re.split(r"\s{2,}", line.strip())[:3] == ["07", "all networks, 1 times", "0"]


def test_it_fits_one_screen_and_says_what_it_is(text_of):
    """No line is longer than 100 characters, nor are there more than 60."""
    lines = text_of(0.01).splitlines()
    assert lines[0] == (
        "Plan of profile smoke for phantom: 18 images in 6 classes, 54 planes of 400 × 400 pixels."
    )
    assert "Nothing is trained" in lines[1]
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 60


def test_times_add_up(text_of):
    """A step takes an hour, so that hours are steps, which are counted by hand."""
    text = text_of(3600.0)
    assert cells(text, "     chapter")[5:7] == ["from, h", "to, h"]
    assert cells(text, "06   all networks")[2:6] == ["15", "63", "1", "30"]
    chapter_03 = 3 * 3 * (2 + 2 + 2)  # 63 patches are two batches, at every size
    chapter_04 = 2 * (2 + 1 + 2 * 2) + 3 * 2  # trials times epochs, and the settings found
    chapter_06 = 2 * 15 + 2 * 3 + 2 * 3 * 4 / 3  # the last with a fourth encoder
    chapter_07 = 2 * 18 + 3 * 24  # by patch 71, three batches
    crops_09 = 18 * 2 * (64 / 28) ** 2
    # One left out: three batches; by slab and settings: two. Null phantom: by patch, repeats too.
    own, null = 3 * 18 + 2 * 4 + 2 * 6, 3 * 4 + 2 * 6
    crops_10 = (22 * 8 + 19 * 3) * (50 / 28) ** 2  # 678 and 603 patches
    chapter_11 = 3 + 2 * 21 + 30  # labels by lot: 72 patches; contacts: 31 to train on, or 15
    steps = chapter_03 + chapter_04 + chapter_06 + chapter_07 + crops_09 + 2 * own + null + crops_10
    chapter_12 = 9 * 2 * 2 / 3 + 2 * 6 + 2 * 3  # pairs have two encoders of three
    steps += chapter_11 + chapter_12
    assert cells(text, "all                  ")[1:] == ["263", *[f"{steps:,.0f}"] * 2]


@pytest.mark.parametrize(
    ("step", "unit"), [(1e-3, "s"), (1.0, "min"), (100.0, "h")], ids=["short", "longer", "long"]
)
def test_unit_suits_the_whole(text_of, step, unit):
    """Seconds, minutes or hours."""
    assert cells(text_of(step), "     chapter")[5] == f"from, {unit}"


def test_early_stopping_makes_a_range(text_of):
    """16 epochs if nothing improves after the first, 100 if something always does."""
    settings = SMOKE.training.model_copy(update={"epochs": 100, "patience": 15})
    text = text_of(1.0, profile=SMOKE.model_copy(update={"training": settings}))
    least, most = 15 * 16 * 2 / 3600, 15 * 100 * 2 / 3600
    assert cells(text, "06   all networks")[4:] == [
        "16–100", f"{least:.2f}", f"{most:.2f}", cells(text, "06   all networks")[-1]
    ]  # fmt: skip


def test_preprocessing_counts_as_well(text_of):
    """63 stacks at 2 s, 54 planes at 1 s turned and 621 at 1 s tabulated, nothing for the cuts."""
    text = text_of(0.0, preprocessing=PreprocessingCost(2, 1, 1, 0))
    seconds = 63 * 2 + 54 + 621
    assert cells(text, "all  stacks and patches")[2] == f"{seconds / 60:.0f}"


def test_a_plane_without_an_image_is_said(text_of):
    """The plan is made all the same."""
    text = " ".join(text_of(1.0, preprocessing=PatchError("constant")).split())
    assert "so that preprocessing is left out" in text


def test_memory_and_disk_by_hand(text_of):
    """Four values of 4 bytes for each of a million parameters; layers of 32 patches."""
    text = " ".join(text_of(1.0).split())
    assert "16 MB for single fusion" not in text
    assert "16 MB for the largest network" in text
    assert "up to 13 MB for its layers" in text  # 10⁵ × 4 × 32
    # All but the trials; three networks have a fourth encoder, nine lack the third.
    files = 263 - 5 + 3 / 3 - 9 / 3
    assert f"{files * 4e-3:.1f} GB of weights" in text


def test_files_that_are_there_are_counted(text_of, tmp_path):
    """Those of a plan only."""
    assert "none of 271 files of predictions is there yet" in " ".join(text_of(1.0).split())
    folder = tmp_path / "smoke/phantom/predictions/cv5/350px/early"
    folder.mkdir(parents=True)
    for fold in range(2):
        (folder / f"fold-{fold:02d}-seed-7.parquet").touch()
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "fold-00-seed-7.parquet").touch()
    assert "2 of 271 files of predictions are there already" in " ".join(text_of(1.0).split())


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.0123, "0.012"), (0.0999, "0.10"), (0.534, "0.53"), (0.999, "1.0"), (4.24, "4.2"),
     (9.96, "10"), (318.4, "318"), (12345.0, "12,345")],
)  # fmt: skip
def test_numbers_have_the_digits_that_count(value, expected):
    assert dry_run._figure(value) == expected
