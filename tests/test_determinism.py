"""Equal seeds give equal bytes, in whatever process, interrupted or not.

That trainings are equal too, to the byte and in several processes, is tested where they are killed,
in test_killed_runs.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from organelle_fusion.cli import INTERRUPTED
from organelle_fusion.config import load_profile

MAKE = """
import sys
from pathlib import Path

from organelle_fusion.config import load_profile
from organelle_fusion.folds import make_folds, write_folds
from organelle_fusion.manifest import read_manifest
from organelle_fusion.preprocessing import build_patch_set

folder, profile = Path(sys.argv[1]), load_profile(sys.argv[2])
patch_set, table, statistics = build_patch_set(
    read_manifest(folder / "manifest.csv"),
    channels=profile.channels,
    settings=profile.patches,
    output_px=16,
    progress=False,
)
patch_set.save(folder / "patches")
folds = make_folds(patch_set.table, n_splits=2, validation_share=0.4, seed=profile.folds.seed)
write_folds(folder / "folds.csv", folds)
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The smoke profile with stacks of two coarse planes, of which the variant contact has nine."""
    settings = load_profile("smoke").model_dump(mode="json") | {"name": "tiny"}
    settings["phantom"] |= {"shape_zyx": [2, 200, 200], "pixel_size_um": 0.21204}
    path = tmp_path_factory.mktemp("profile") / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings), "utf-8")
    return path


def simulate(folder, profile, **options):
    command = [sys.executable, "-m", "organelle_fusion", "simulate", folder, "--profile", profile]
    command += ["--variant", "contact"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, command)), **streams, **options)


def contents(folder):
    """Bytes of all files, but for the time that the record of a patch set holds."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.name == "patches.json":
            facts = json.loads(path.read_text("utf-8"))
            del facts["created"]
            found[str(path.relative_to(folder))] = facts
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_two_processes_make_the_same_phantom_patches_and_folds(tmp_path, profile):
    """One goes through; the other is interrupted by Ctrl-C, says so in a line, and goes on."""
    whole, other = tmp_path / "whole", tmp_path / "other"
    # Behind this process, or on a machine with much to do it may be through before it is stopped.
    process = simulate(other, profile, preexec_fn=lambda: os.nice(19))
    deadline = time.monotonic() + 120
    while not list(other.glob("stacks/contact-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate()
    assert process.returncode == INTERRUPTED
    assert complaint.splitlines()[-1] == ("interrupted: results that were finished are kept")
    assert "Traceback" not in complaint
    kept = len(list(other.glob("stacks/contact-*.json")))
    assert 1 <= kept < 9
    for folder in (whole, other):
        process = simulate(folder, profile)
        assert process.wait() == 0, process.communicate()
        subprocess.run([sys.executable, "-c", MAKE, folder, profile], check=True)
    expected, found = contents(whole), contents(other)
    assert len(expected) == 9 * 3 + 1 + 3 + 1
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_full_disk_is_one_line_and_the_command_goes_on_later(tmp_path, profile):
    """Files end at 100 kB, as on a full disk; for the superuser too."""

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    process = simulate(tmp_path / "x", profile, preexec_fn=little_room)
    _, complaint = process.communicate()
    assert process.returncode == 1
    last = complaint.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("check the path, its permissions and the free space")
    assert "Traceback" not in complaint
    assert not [path for path in (tmp_path / "x").rglob("*") if path.is_file()]


def obey_permissions():
    """Give up the superuser's right to write where nobody may (Linux: PR_CAPBSET_DROP)."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(24, 1, 0, 0, 0):  # CAP_DAC_OVERRIDE is 1
            raise OSError(ctypes.get_errno(), "prctl")


def test_a_folder_that_may_only_be_read_is_one_line_and_the_command_goes_on_later(
    tmp_path, profile
):
    """For the superuser too, who gives up the right to write all the same."""
    folder = tmp_path / "x"
    folder.mkdir()
    folder.chmod(0o500)
    process = simulate(folder, profile, preexec_fn=obey_permissions)
    _, complaint = process.communicate()
    assert process.returncode == 1
    last = complaint.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("Permission denied; check the path, its permissions and the free space")
    assert "Traceback" not in complaint
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    assert simulate(folder, profile, preexec_fn=obey_permissions).wait() == 0
    assert list(folder.glob("*.csv"))
