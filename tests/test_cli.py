"""The command as a user runs it: what it prints, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from organelle_fusion import __version__, book, cli, cluster
from organelle_fusion.locks import run_lock
from organelle_fusion.volumes import write_ome_tiff

COMMAND = Path(sys.executable).with_name("organelle-fusion")
ROOT = Path(__file__).parents[1]


def run(*arguments, cwd=ROOT, environment=None):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
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


def test_help_fits_a_terminal_and_lists_what_comes_first_first():
    """At 80 columns each command is one line, in groups, in the order of a first visit."""
    result = run("--help", environment={"COLUMNS": "80"})
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split()[1] for line in lines if re.match(r"│ [a-z]", line)]
    assert named == ["reproduce", "pdf", "init", "check", "pack", "predict", "simulate", "fetch"]
    assert "\033" not in result.stdout


def complete(line, cwd=ROOT):
    """What bash offers at the end of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    words["_ORGANELLE_FUSION_COMPLETE"] = "complete_bash"
    return run(cwd=cwd, environment=words).stdout.split()


def test_shell_completes_commands_profiles_and_chapters(tmp_path):
    """A profile that no name begins like may be a file; chapters are those of the repository."""
    assert complete("organelle-fusion re") == ["reproduce"]
    assert complete("organelle-fusion check --profile q") == ["quick"]
    chapters = [path.stem[:2] for path in sorted((ROOT / "notebooks").glob("*.py"))]
    assert complete("organelle-fusion reproduce --chapter ", cwd=ROOT / "book") == chapters
    (tmp_path / "mine.yaml").touch()
    assert complete("organelle-fusion reproduce --profile m", cwd=tmp_path) == ["mine.yaml"]
    assert complete("organelle-fusion reproduce --chapter 0", cwd=tmp_path) == []


def test_quiet_and_verbose_contradict_each_other():
    message = one_line(run("--quiet", "--verbose", "fetch", "no-such-set"))
    assert message.startswith("error: --quiet, --verbose: expected one of them, found both")


def test_details_do_not_get_into_what_was_asked_for(tmp_path):
    """They go to stderr, so that stdout can be piped; quietly there are none."""
    manifest = tmp_path / "m.csv"
    manifest.write_text("image,path,label,group\na,none.tif,x,\n", "utf-8")
    told = run("--verbose", "check", manifest, "--json")
    assert json.loads(told.stdout)["ok"] is False
    assert re.match(r"profile quick read from .*quick\.yaml\n", told.stderr)
    silent = run("--quiet", "check", manifest)
    assert (silent.returncode, silent.stderr) == (1, "")
    # Lines are broken by the length of this folder's path.
    words = " ".join(silent.stdout.split())
    assert re.search(r"→ check the path.* m\.csv, .*: \d+ errors?, ", words)


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
        (["reproduce", "--profile", "quik"], "profile 'quik': expected one of paper, quick"),
        (["reproduce", "--profile", "none.yaml"], "none.yaml: expected a profile file"),
        (["reproduce", "--manifest", "none.csv"], "none.csv"),
        (["reproduce", "--chapter", "99"], "chapter 99: expected one of 01_data"),
        (["reproduce", "--profile", "paper"], "name it by MANIFEST=stacks.csv"),
        (["reproduce", "--profile", "paper", "--dry-run"], "name it by MANIFEST=stacks.csv"),
        (["reproduce", "--dry-run", "--chapter", "06"], "--dry-run: expected no --chapter"),
        (
            ["reproduce", "--profile", "reference", "--scheduler", "tcp://a:1"],
            "no --manifest, --ch",
        ),
        (["simulate", "nowhere", "--profile", "paper"], "expected a section phantom"),
        (["fetch", "no-such-set"], "no-such-set"),
        (["pack", "network.h5"], "network.h5: expected a name that ends in .keras"),
        (["pack", "x.keras", "--profile", "paper"], "name it by MANIFEST=stacks.csv"),
        (["predict", "none.keras", "s.tif"], "none.keras: expected the file of a network"),
        (["predict", "none.keras", "none.csv"], "none.csv: expected a manifest"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    """A wrong name says what there is."""
    assert message in one_line(run(*arguments))


def test_chapters_compute_on_the_scheduler_that_is_named(monkeypatch):
    """Its address is where the processes of the chapters look for it."""
    found = []
    monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, "")
    monkeypatch.setattr(
        book, "reproduce", lambda *_: found.append(os.environ[cluster.SCHEDULER_VARIABLE])
    )
    arguments = ["reproduce", "--profile", "smoke", "--scheduler", "tcp://host:8786"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.exception
    assert found == ["tcp://host:8786"]


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


@pytest.fixture
def clone(tmp_path):
    """What makes a folder one of the repository; nothing is to be added to it."""
    folder = tmp_path / "clone"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "_toc.yml").touch()
    return folder


def test_dry_run_plans_the_phantom_and_writes_nothing(clone):
    """Every chapter that trains is in the plan, which is timed here."""
    result = run("reproduce", "--profile", "smoke", "--dry-run", cwd=clone)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Plan of profile smoke for phantom: 18 images in 6 classes")
    chapters = {line[:2] for line in lines[4:] if line[:2].isdigit()}
    assert chapters == {"03", "04", "06", "07", "09", "10", "11", "12"}
    assert re.search(r"^all +263 ", result.stdout, flags=re.MULTILINE)
    assert "none of 271 files of predictions is there yet" in " ".join(result.stdout.split())
    assert sorted(path.name for path in clone.rglob("*")) == ["_toc.yml", "notebooks"]


def test_dry_run_of_the_paper_reads_own_stacks(stacks, clone, monkeypatch):
    """Their number, planes and size; the networks are not timed, which takes minutes here."""
    from organelle_fusion import costs

    rng = np.random.default_rng(0)
    names = ["early_endosomes", "mitochondria", "recycling_endosomes"]
    for number in range(6):
        array = rng.integers(0, 200, (3, 7, 180, 190), dtype=np.uint16)
        path = stacks / f"s{number}.ome.tif"
        write_ome_tiff(path, array, names, pixel_size_um=0.106, z_step_um=0.5)
    step = costs.NetworkCost(2.0, 0.1, 1.0, 10**7, 10**7, 10**6)
    monkeypatch.setattr(costs, "time_network", lambda *arguments: step)
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))
    monkeypatch.chdir(clone)
    arguments = ["--profile", "paper", "--manifest", str(stacks / "stacks.csv"), "--dry-run"]
    with pytest.warns(UserWarning, match="some test folds will lack a class"):
        result = CliRunner().invoke(cli.app, ["reproduce", *arguments])
    assert result.exception is None, result.output
    text = " ".join(result.stdout.split())
    assert "own stacks (stacks.csv): 6 images in 2 classes, 42 planes of 180 × 190 pixels" in text
    # Of 190 × 180 pixels, 67 and 83 of the paper's 200 and 250 px fit 2 × 2 times, others once.
    assert "200 px 168; 250 px 168; 300 px 42; 350 px 42; 400 px 42; 450 px 42; 500 px 42;" in text
    assert "null phantom" not in text
    assert sorted(path.name for path in clone.rglob("*")) == ["_toc.yml", "notebooks"]


def test_a_warning_is_one_line(stacks):
    """Too few groups for the folds, before the error that ends it here: patches do not fit."""
    result = run("reproduce", "--manifest", stacks / "stacks.csv", "--dry-run")
    assert result.returncode == 1
    warning, error = result.stderr.splitlines()
    assert warning.startswith("warning: ")
    assert "some test folds will lack a class" in warning
    assert "image s0: a patch of" in error


def test_simulate_refuses_an_unknown_variant(tmp_path):
    """A misspelt variant names the known ones."""
    assert "contact" in one_line(run("simulate", tmp_path, "--variant", "nul"))


def test_init_and_check_go_from_a_folder_to_a_verdict(tmp_path):
    """The template names the next command; a check ends with 1 as long as there are errors."""
    names = ["early_endosomes", "mitochondria", "recycling_endosomes"]
    y, x = np.mgrid[:170, :170]
    for number in range(6):
        (tmp_path / "img" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        slopes = [
            [((x + y * c + 9 * number + 2 * z) / 100) ** 3 * 900 for z in range(2)]
            for c in range(3)
        ]
        path = tmp_path / "img" / "ab"[number % 2] / f"s{number}.ome.tif"
        array = np.array(slopes, np.uint16)
        write_ome_tiff(path, array, names, pixel_size_um=0.106, z_step_um=0.5)
    (tmp_path / "img" / "notes.txt").touch()
    written = run("init", "img", "--output", "m.csv", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert written.stdout.splitlines()[:2] == [
        "m.csv: 6 images of 2 classes", "Passed over: files .txt (1)"
    ]  # fmt: skip
    assert written.stdout.endswith("Next: organelle-fusion check m.csv\n")
    assert "m.csv: expected no such file" in one_line(
        run("init", "img", "--output", "m.csv", cwd=tmp_path)
    )
    sound = run("check", "m.csv", "--profile", "smoke", cwd=tmp_path)
    assert (sound.returncode, sound.stderr) == (0, ""), sound.stdout
    assert " ".join(sound.stdout.split()).endswith("no errors, no warnings; can be analysed")
    (tmp_path / "img" / "a" / "s2.ome.tif").unlink()
    faulty = run("check", "m.csv", "--json", cwd=tmp_path)
    assert (faulty.returncode, faulty.stderr) == (1, "")
    document = json.loads(faulty.stdout)
    assert document["ok"] is False
    assert document["problems"][0]["where"] == "row 3, path"


def test_check_of_no_manifest_prints_no_json(tmp_path):
    """What cannot be checked is an error like any other, and stdout stays empty."""
    result = run("check", tmp_path / "none.csv", "--json")
    assert result.stdout == ""
    assert "found no such file" in one_line(result)


def test_a_second_run_is_told_who_is_at_work(clone):
    """Two books of one folder would exchange each other's pages."""
    with run_lock(clone / "book" / "executed"):
        message = one_line(run("reproduce", "--profile", "smoke", cwd=clone))
    assert f"expected no other run at work here, found process {os.getpid()} on " in message


def test_a_run_leaves_a_log_which_its_error_names(clone):
    """With what the chapter printed and where it failed; quietly the error is all that is shown."""
    (clone / "notebooks" / "01_first.py").write_text(
        "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n#     language: python\n"
        "#     display_name: Python 3\n# ---\n\n# %%\nfrom tqdm import tqdm\n\n"
        "print('3 cells')\nfor _ in tqdm(range(3)):\n    pass\n\n# %%\nfew = 1 / 0\n"
    )
    result = run("--quiet", "reproduce", "--profile", "smoke", cwd=clone)
    assert result.stdout == ""
    message = one_line(result)
    assert "01_first, cell 3: ZeroDivisionError" in message
    (name,) = re.findall(r" \(log: (data/runs/smoke/logs/\S+-reproduce\.log)\)\n$", message)
    log = (clone / name).read_text("utf-8")
    expected = (
        r"^organelle-fusion --quiet reproduce --profile smoke$",
        r"^[-\d]+ [:\d]+ INFO    \[1/1\] 01_first runs \(not executed yet\)$",
        r"^[-\d]+ [:\d]+ INFO    3 cells$",
        r"^[-\d]+ [:\d]+ DEBUG   .*few = 1 / 0$",
        r"^[-\d]+ [:\d]+ ERROR   01_first, cell 3: ZeroDivisionError",
    )
    for pattern in expected:
        assert re.search(pattern, log, flags=re.MULTILINE), pattern
    assert len(re.findall(r"3/3 \[", log)) == 1  # of the bar its end


def test_ctrl_c_is_one_line_and_a_code_of_its_own(clone):
    """In the middle of a chapter, that leaves nothing half done; also where papermill is."""
    (clone / "notebooks" / "01_first.py").write_text(
        "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n#     language: python\n"
        "#     display_name: Python 3\n# ---\n\n# %%\nimport time\n\n"
        "print('begun', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(
        [COMMAND, "reproduce", "--profile", "smoke"],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if line == "begun\n":
            break
    time.sleep(1)  # multiprocessing's own process, begun for the bar, has to know of Ctrl-C
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert complaint == "interrupted: results that were finished are kept\n"
    assert process.returncode == cli.INTERRUPTED == 130
    assert [path.name for path in (clone / "book" / "executed").iterdir()] == []


def test_a_terminal_that_lacks_a_letter_shows_its_number(tmp_path):
    """Where Python would end in a traceback, with half of the report written."""
    manifest = tmp_path / "m.csv"
    manifest.write_text("image,path,label\nżółć,gone.tif,a\n", "utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "organelle_fusion", "check", str(manifest)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert process.returncode == 1
    assert process.stderr == b""
    assert "\\u017có\\u0142\\u0107" in process.stdout.decode("latin-1")
