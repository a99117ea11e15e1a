"""The command as a user runs it: what it prints, and how it ends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from organelle_fusion import __version__
from organelle_fusion.volumes import write_ome_tiff

COMMAND = Path(sys.executable).with_name("organelle-fusion")
ROOT = Path(__file__).parents[1]


def run(*arguments, cwd=ROOT):
    return subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


def one_line(result):
    """The error is one line on stderr, no traceback, exit code 1."""
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_version_and_help():
    """`--version` and `--help` answer without doing anything."""
    assert run("--version").stdout == f"organelle-fusion {__version__}\n"
    text = run("--help").stdout
    assert all(name in text for name in ("reproduce", "simulate", "fetch"))


def test_importing_the_package_is_cheap():
    """Neither the package nor its command imports Keras or a backend."""
    code = (
        "import sys, organelle_fusion, organelle_fusion.cli;"
        "print([n for n in ('keras', 'tensorflow', 'jax') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "--profile", "quik"], "profile 'quik': expected one of quick, smoke"),
        (["reproduce", "--profile", "none.yaml"], "none.yaml: expected a profile file"),
        (["reproduce", "--manifest", "none.csv"], "none.csv"),
        (["reproduce", "--chapter", "99"], "chapter 99: expected one of 01_data"),
        (["fetch", "no-such-set"], "no-such-set"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    """A wrong name says what there is."""
    assert message in one_line(run(*arguments))


@pytest.fixture
def stacks(tmp_path):
    """Two classes with three stacks each, and a manifest of them; small enough to write fast."""
    rng = np.random.default_rng(0)
    lines = ["image,path,label,group"]
    names = ["early_endosomes", "mitochondria", "recycling_endosomes"]
    for number in range(6):
        array = rng.integers(0, 200, (3, 1, 20, 20), dtype=np.uint16)
        write_ome_tiff(
            tmp_path / f"s{number}.ome.tif", array, names, pixel_size_um=0.1, z_step_um=None
        )
        lines.append(f"s{number},s{number}.ome.tif,{'ab'[number % 2]},")
    (tmp_path / "stacks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def edit(folder, old, new):
    path = folder / "stacks.csv"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("s3.ome.tif", "gone.ome.tif", ["stacks.csv", "row 5", "gone.ome.tif"]),
        ("group", "grp", ["stacks.csv", "grp"]),
        ("s1,s1", "s0,s1", ["stacks.csv", "row 3", "s0"]),
        ("s4.ome.tif,a", "s4.ome.tif,b", ["stacks.csv", "a", "3"]),
    ],
    ids=["missing file", "unknown column", "duplicate image", "class with two groups"],
)
def test_a_bad_manifest_stops_before_any_chapter(stacks, old, new, parts):
    """File, row and finding are named, and no run folder appears."""
    message = one_line(run("reproduce", "--manifest", edit(stacks, old, new)))
    assert all(part in message for part in parts), message
    assert not (ROOT / "data" / "runs" / "quick" / "own-stacks").exists()


def test_channels_that_differ_between_images_are_refused(stacks):
    """A stack without mitochondria names the file and the remedy."""
    array = np.arange(1200, dtype=np.uint16).reshape(3, 1, 20, 20)
    names = ["early_endosomes", "tubulin", "recycling_endosomes"]
    write_ome_tiff(stacks / "s2.ome.tif", array, names, pixel_size_um=0.1, z_step_um=None)
    message = one_line(run("reproduce", "--manifest", stacks / "stacks.csv"))
    assert all(part in message for part in ("s2", "mitochondria", "tubulin", "channel_map"))


def test_simulate_refuses_an_unknown_variant(tmp_path):
    """A misspelt variant names the known ones."""
    assert "contact" in one_line(run("simulate", tmp_path, "--variant", "nul"))
