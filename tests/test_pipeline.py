"""The chain of chapters in a copy of the repository: the smoke profile, resumed, and faults."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import plan, plan_data
from organelle_fusion.config import load_profile
from organelle_fusion.pages import Run
from organelle_fusion.volumes import write_ome_tiff

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("organelle-fusion")
NAMES = ["early_endosomes", "mitochondria", "recycling_endosomes"]


def copy_of_repository(folder):
    for name in ("book", "notebooks", "_config.yml", "_toc.yml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("executed", ".ipynb*")
            )
        else:
            shutil.copy(source, folder / name)
    for name in ("data/published", "data/benchmarks", "data/controls"):
        shutil.copytree(ROOT / name, folder / name)
    # a page shows the settings of the package
    shutil.copytree(
        ROOT / "src/organelle_fusion/profiles", folder / "src/organelle_fusion/profiles"
    )
    return folder


def states(folder, chapters):
    """Time of the last change of every result, and of everything about some executed chapters."""
    executed = (folder / "book/executed").rglob("*")
    files = [*(folder / "data").rglob("*"), *(path for path in executed if path.stem in chapters)]
    return {path: path.stat().st_mtime_ns for path in files if path.is_file()}


def in_copy(folder, *command):
    """Run a command without the study's tables: the book is made with them, if they are there.

    Chapter 05 would take minutes more, and this is how it looks to who has them not.
    """
    public = folder / "public"
    public.mkdir(exist_ok=True)
    given = os.environ.get("ORGANELLE_FUSION_DATA")
    for place in Path(given).iterdir() if given else ():
        if place.name != "otccp-eea1" and not (public / place.name).exists():
            (public / place.name).symlink_to(place.resolve())
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "ORGANELLE_FUSION_DATA": str(public)} if given else None,
        capture_output=True,
        text=True,
        check=False,
    )


def reproduce(folder, *arguments):
    return in_copy(folder, COMMAND, "reproduce", "--profile", "smoke", *arguments)


def execute(folder, chapter=""):
    """Execute the chapters of a copy that holds some of them, without building pages."""
    code = (
        "from pathlib import Path; from organelle_fusion.book import execute_chapters; "
        "from organelle_fusion.config import load_profile; from organelle_fusion import run_log\n"
        "with run_log.on_terminal():\n"
        f"    execute_chapters(Path.cwd(), load_profile('smoke'), 'smoke', chapter={chapter!r})"
    )
    return in_copy(folder, sys.executable, "-c", code)


def files_of_few_folds(folder):
    """Files of chapter 06, in which every model predicts every patch once."""
    phantom = folder / "data/runs/smoke/phantom"
    files = sorted((phantom / "predictions/cv5/350px").rglob("*-seed-7.parquet"))
    assert len(files) == 7 * 3  # models × folds
    late = [pd.read_parquet(path) for path in files if path.parent.name == "late"]
    tested = pd.concat(late).query("part == 'test'")
    patches = pd.read_parquet(phantom / "patches/350px/patches.parquet")
    assert sorted(tested["patch"]) == list(range(len(patches)))
    return files


# Not marked keras: whatever the variable says of other tests, smoke computes on its own backend.
def test_the_first_chapters_run_and_resume(tmp_path):
    """Every cell is there; a second run executes no chapter.

    One that is asked for is executed and trains nothing.
    """
    folder = copy_of_repository(tmp_path)
    first_chapters = ("01", "02", "03", "05", "06")
    for path in (folder / "notebooks").glob("[0-9]*"):
        if not path.name.startswith(first_chapters):
            path.unlink()
    first = execute(folder)
    assert first.returncode == 0, first.stdout + first.stderr
    # Chapter 03 trains intermediate fusion at the size that 06 shares.
    assert "18 cells: 3 stored, 15 to compute" in first.stdout
    files = files_of_few_folds(folder)
    settings, phantom = load_profile("smoke"), folder / "data/runs/smoke/phantom"
    stacks = plan_data.phantom_stacks(settings.phantom, settings.channels)
    planned = plan.planned_trainings(settings, stacks, Run(phantom, phantom / "manifest.csv", True))
    own = planned[planned["chapter"].isin(first_chapters)]
    compared = plan.compare_with_files(own, phantom.parent)
    assert compared["found"].tolist() == compared["planned"].tolist()
    assert compared["planned"].sum() > 50
    written = [path.stat().st_mtime_ns for path in files]
    # Without its public data a chapter ends early, has no record, and is tried again.
    complete = {path.stem for path in (folder / "book/executed").glob("[0-9]*.json")}
    assert {"01_data", "02_preprocessing", "06_fusion_cv5"} <= complete
    before = states(folder, complete)
    second = execute(folder)
    assert second.returncode == 0, second.stdout + second.stderr
    unchanged = re.findall(r"^\[\d+/\d+\] (\w+) unchanged$", second.stdout, flags=re.MULTILINE)
    assert set(unchanged) == complete
    assert states(folder, complete) == before
    third = execute(folder, "06")
    assert third.returncode == 0, third.stdout + third.stderr
    assert "06_fusion_cv5 runs (asked for)" in third.stdout
    assert "18 cells: 18 stored, 0 to compute" in third.stdout
    assert [path.stat().st_mtime_ns for path in files] == written


@pytest.mark.parametrize(
    ("fault", "message", "asked_for"),
    [
        (lambda array: np.full_like(array, 7), "expected intensities that vary, found 7", "02"),
        (lambda array: np.where(array > 195, np.nan, array), "found NaN or infinity", ""),
    ],
    ids=["constant", "NaN"],
)
def test_a_stack_without_an_image_stops_in_one_line(tmp_path, fault, message, asked_for):
    """The line names chapter, file and remedy, and nothing is left that a later run would trust.

    Whether the chapters are run in their order or this one is asked for.
    """
    folder = copy_of_repository(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["image,path,label"]
    for number in range(6):
        array = rng.integers(0, 200, (3, 2, 240, 240)).astype(np.float32)
        if number == 5:
            array[1] = fault(array[1])
        path = folder / f"s{number}.ome.tif"
        write_ome_tiff(path, array, NAMES, pixel_size_um=0.10602, z_step_um=0.5)
        lines.append(f"s{number},{path.name},{'ab'[number % 2]}")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = reproduce(folder, "--manifest", folder / "mine.csv", "--chapter", asked_for)
    assert result.returncode == 1
    last = result.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: 02_preprocessing")
    assert all(part in last for part in ("s5.ome.tif", "mitochondria", message))
    assert not list((folder / "data/runs").rglob("patches.json"))
    assert not (folder / "book/executed/02_preprocessing.ipynb").exists()
