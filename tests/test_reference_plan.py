"""The plan of the reference run as text."""

import subprocess
import sys
from pathlib import Path

import pytest

from organelle_fusion import reference, reference_plan
from organelle_fusion.config import load_profile
from organelle_fusion.reference_results import RESULTS

REFERENCE = load_profile("reference")
ROOT = Path(__file__).parents[1]


def test_table_by_hand(tmp_path):
    """Nothing is done: minutes are the stated ones, bytes those of all files."""
    table = reference_plan.plan_table(REFERENCE, tmp_path).set_index(["dataset", "step"])
    assert table["cells"].tolist() == [15, 5, 35, 35, 75]
    assert table["done"].sum() == 0
    (wide,) = (
        one for one in reference.planned_trainings(REFERENCE)
        if one.dataset == "contact" and "wide" in one.step and one.cell.fold == 0
    )  # fmt: skip
    contact = 36 * 12 * 9  # stacks, planes, patches of a plane
    expected = 5 * reference.stated_seconds(wide, contact) / 60
    assert table.loc[("contact", "contacts, wide head"), "minutes"] == pytest.approx(expected)
    # A fifth is tested, and a fifth of the rest validates.
    rows = contact * (0.2 + 0.8 * 0.2)
    expected = 5 * (22_000 + rows * (14 + 3 * 4))
    assert table.loc[("contact", "contacts, wide head"), "bytes"] == pytest.approx(expected)
    assert table["bytes"].sum() < reference_plan.LIMIT_BYTES


def test_text_says_what_is_left(tmp_path):
    """36 and 26 stacks, 165 cells; what lies in the folder is weighed."""
    (tmp_path / RESULTS).mkdir(parents=True)
    (tmp_path / RESULTS / "file").write_bytes(bytes(1_500_000))
    lines = reference_plan.dry_run(REFERENCE, tmp_path).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split()[-4:] == ["0", "of", "36", "done"]
    assert lines[2].split()[-4:] == ["0", "of", "26", "done"]
    assert "0 of 165 cells are done." in lines[8]
    assert lines[-1].startswith("Results in data/reference: 1.5 MB now")


def test_the_command_loads_no_keras():
    """A plan is read before anything is installed for it."""
    code = (
        "import sys; sys.argv = ['x', 'reproduce', '--profile', 'reference', '--dry-run']\n"
        "from organelle_fusion.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print([n for n in ('keras', 'jax', 'tensorflow', 'pooch', 'papermill', 'matplotlib')"
        " if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "of 165 cells are done" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
