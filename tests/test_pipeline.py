"""The whole chain by the command, in a copy of the repository: the smoke profile, and faults."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
    # a page shows the settings of the package
    shutil.copytree(
        ROOT / "src/organelle_fusion/profiles", folder / "src/organelle_fusion/profiles"
    )
    return folder


def reproduce(folder, *arguments):
    return subprocess.run(
        [COMMAND, "reproduce", "--profile", "smoke", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.keras
def test_smoke_runs_the_whole_chain_and_resumes(tmp_path):
    """Every page is built, every cell is there, and a second run trains nothing."""
    folder = copy_of_repository(tmp_path)
    first = reproduce(folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.rstrip().endswith(str(folder / "_build/html/index.html"))
    for page in ("01_data", "02_preprocessing", "06_fusion_cv5", "09_real_cells"):
        assert (folder / f"_build/html/book/executed/{page}.html").is_file()
    phantom = folder / "data/runs/smoke/phantom"
    files = sorted((phantom / "predictions").rglob("*.parquet"))
    assert len(files) == 6 * 3  # models × folds
    tested = pd.read_parquet(phantom / "predictions/cv5/350px/late").query("part == 'test'")
    patches = pd.read_parquet(phantom / "patches/350px/patches.parquet")
    assert sorted(tested["patch"]) == list(range(len(patches)))
    written = [path.stat().st_mtime_ns for path in files]
    second = reproduce(folder, "--chapter", "06")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "15 cells: 15 stored, 0 to compute" in second.stdout
    assert [path.stat().st_mtime_ns for path in files] == written


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda array: np.full_like(array, 7), "expected intensities that vary, found 7"),
        (lambda array: np.where(array > 195, np.nan, array), "found NaN or infinity"),
    ],
    ids=["constant", "NaN"],
)
def test_a_stack_without_an_image_stops_in_one_line(tmp_path, fault, message):
    """The line names chapter, file and remedy, and nothing is left that a later run would trust."""
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
    result = reproduce(folder, "--manifest", folder / "mine.csv")
    assert result.returncode == 1
    last = result.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: 02_preprocessing")
    assert all(part in last for part in ("s5.ome.tif", "mitochondria", message))
    assert not list((folder / "data/runs").rglob("patches.json"))
    assert not (folder / "book/executed/02_preprocessing.ipynb").exists()
