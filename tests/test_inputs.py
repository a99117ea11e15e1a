"""What a chapter was made from: noted whole, and compared before the chapter is executed again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from organelle_fusion import book, config, inputs, sources
from organelle_fusion.computing import run_cells
from organelle_fusion.config import load_profile
from organelle_fusion.folds import read_folds, write_folds
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import open_run
from organelle_fusion.patchset import FILES, PatchSet
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import FILES_VARIABLE, hash_of, note_file, write_csv
from organelle_fusion.volumes import open_volume, write_ome_tiff

PACKAGE = Path(config.__file__).parent

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile

"""
# The first chapter reads a file and writes how many lines it has, the second reads that. What they
# call is added to the copy of the package: it imports faster than what real chapters call.
FIRST = f"""{HEADER}# %%
from organelle_fusion.counting import count

count("input.txt", "count.csv")
"""
SECOND = f"""{HEADER}# %%
from organelle_fusion.provenance import note_file

note_file("count.csv").read_text()
"""
COUNTING = """
def count(source, target):
    from organelle_fusion.counting_lines import count_lines  # inside, as with Keras
    from organelle_fusion.provenance import write_csv
    import pandas as pd

    write_csv(target, pd.DataFrame({"lines": [count_lines(source)]}))
"""
COUNTING_LINES = """
from organelle_fusion.provenance import note_file


def count_lines(path):
    return len(note_file(path).read_text().split())
"""


# --- modules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from organelle_fusion import mosaic", {"mosaic"}),
        ("from organelle_fusion.mosaic import Tissue", {"mosaic"}),
        ("import organelle_fusion.mosaic as m", {"mosaic"}),
        ("def f():\n    from organelle_fusion import mosaic", {"mosaic"}),
        ("from organelle_fusion import __version__", set()),
        ("import numpy", set()),
        ("# from organelle_fusion import mosaic", set()),
    ],
)
def test_every_way_to_import_a_module_counts(tmp_path, code, expected):
    (tmp_path / "x.py").write_text(code, "utf-8")
    (tmp_path / "empty.py").write_text("", "utf-8")
    always = set(inputs.modules_used(tmp_path / "empty.py"))
    assert "chapters" in always  # it executes every chapter
    used = set(inputs.modules_used(tmp_path / "x.py"))
    assert {"mosaic"} & used == expected
    assert expected or used == always


def test_modules_that_a_module_imports_count_too(tmp_path):
    """`sweep` imports `training` inside a function only, `training` imports `models`."""
    source = tmp_path / "x.py"
    source.write_text("from organelle_fusion import sweep", "utf-8")
    used = inputs.modules_used(source)
    assert {"sweep", "training", "models", "predictions", "provenance"} <= set(used)
    assert not {"phantom", "plots", "book"} & set(used)


def test_a_chapter_that_is_no_python_is_one_line(tmp_path):
    source = tmp_path / "x.py"
    source.write_text("a = 1\nb = (\n", "utf-8")
    with pytest.raises(inputs.InputsError, match=r"x\.py, line 2: expected Python") as error:
        inputs.modules_used(source)
    assert "\n" not in str(error.value)


def test_versions_are_those_of_what_this_package_asks_for_itself():
    found = inputs.versions()
    assert found["numpy"] == np.__version__
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert "pytest" not in found  # a tool of those who change the package


# --- notes --------------------------------------------------------------------------------------


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Call a function in `tmp_path`; the paths that were noted meanwhile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILES_VARIABLE, raising=False)

    def call(function, *arguments, **options):
        with inputs.noted_files() as files:
            function(*arguments, **options)
        return set(files)

    return call


def test_a_note_is_relative_below_the_folder_and_says_the_state(tmp_path, noted):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/side.txt").write_text("12345")
    outside = tmp_path.parent / "outside.txt"
    with inputs.noted_files() as files:
        assert note_file("in/side.txt") == Path("in/side.txt")
        note_file(tmp_path / "in" / ".." / "in" / "side.txt")
        note_file(outside)
    found = os.stat(tmp_path / "in/side.txt")
    assert files == {
        "in/side.txt": (found.st_mtime_ns, 5),
        outside.as_posix(): (None, None),
    }


def test_a_folder_is_an_input(tmp_path, recorded):
    """An OME-Zarr counts by what is in it, and a chapter that read it holds until that changes."""
    notebook, found = recorded
    chunk = tmp_path / "a.zarr" / "0" / "c"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"abc")
    with inputs.noted_files() as files:
        note_file("a.zarr")
    inputs.write_record(notebook, found, files)
    assert inputs.difference(notebook, found) == ""
    chunk.write_bytes(b"abcd")
    assert inputs.difference(notebook, found) == "file a.zarr"
    (tmp_path / "a.zarr" / "0" / "d").write_bytes(b"x")
    chunk.write_bytes(b"abc")
    assert inputs.difference(notebook, found) == "file a.zarr"
    (tmp_path / "a.zarr" / "0" / "d").unlink()
    assert inputs.difference(notebook, found) == ""


def test_without_somebody_who_asks_nothing_is_noted(tmp_path, noted):
    """The variable is gone after the block, and a note then writes nothing."""
    noted(note_file, "x")
    assert FILES_VARIABLE not in os.environ
    note_file("x")
    assert list(tmp_path.iterdir()) == []


def test_tables_and_stacks_are_noted(tmp_path, noted):
    frame = pd.DataFrame({"fold": [0], "group": ["g"], "label": ["a"], "part": ["test"]})
    assert noted(write_csv, "deep/x.csv", frame) == {"deep/x.csv"}
    assert pd.read_csv("deep/x.csv").equals(frame)
    assert noted(write_folds, "folds.csv", frame) == {"folds.csv"}
    assert noted(read_folds, "folds.csv") == {"folds.csv"}
    stack = np.zeros((1, 1, 2, 2), np.uint8)
    sizes = {"pixel_size_um": 1.0, "z_step_um": 1.0}
    assert noted(write_ome_tiff, "s.ome.tif", stack, ["a"], **sizes) == {"s.ome.tif"}
    assert noted(open_volume, "s.ome.tif") == {"s.ome.tif"}
    Path("manifest.csv").write_text("image,path,label\ni,s.ome.tif,a\n")
    assert noted(read_manifest, "manifest.csv") == {"manifest.csv"}


def patch_set():
    table = pd.DataFrame({"image": ["i"], "label": ["a"], "group": ["g"], "z": 0, "y": 0, "x": 0})
    return PatchSet(np.zeros((1, 2, 2, 1), np.uint8), table, ("m",), 0.2)


def test_patch_sets_are_noted_saved_left_alone_or_loaded(noted):
    expected = {f"set/{name}" for name in FILES}
    assert noted(patch_set().save, Path("set")) == expected
    assert noted(patch_set().save, Path("set")) == expected
    assert noted(PatchSet.load, Path("set")) == expected


def test_cells_and_what_lies_beside_them_are_noted_computed_or_stored(noted):
    cells = [Cell("toy", 350, "early", fold, 7) for fold in (0, 1)]

    def compute(cell):
        cell.weights_path(Path("runs")).parent.mkdir(parents=True, exist_ok=True)
        cell.weights_path(Path("runs")).touch()
        return pd.DataFrame({"patch": [0]})

    def run():
        run_cells(
            cells,
            compute,
            Path("runs"),
            inputs={},
            beside=lambda cell: [cell.weights_path(Path("runs"))],
        )

    files = [cell.path(Path("runs")) for cell in cells]
    names = {path.as_posix() for path in files}
    beside = {cell.weights_path(Path("runs")).as_posix() for cell in cells}
    assert noted(run) == names | beside
    assert noted(run) == names | beside
    assert noted(read_predictions, files) == names


def test_public_crops_and_their_list_are_noted(tmp_path, noted, monkeypatch):
    monkeypatch.setattr(sources, "_verify", lambda *_: None)
    monkeypatch.setenv(sources.DATA_VARIABLE, str(tmp_path))
    Path("cell-lines-9").mkdir()
    np.savez("cell-lines-9/images.npz", images=np.zeros(1, np.uint8))
    found = noted(sources.read_crops, "cell-lines-9")
    assert found == {
        "cell-lines-9/images.npz",
        (PACKAGE / "registry/cell-lines-9.csv").as_posix(),
    }


def test_a_phantom_is_noted_made_or_stored_and_written_alike(tmp_path, noted):
    """Labels too, which no chapter reads yet; and the manifest is equal when written again."""
    settings = load_profile("smoke").phantom.model_copy(
        update={"shape_zyx": (1, 40, 48), "images_per_class": (1, 0, 0, 0, 0, 0)}
    )
    folder = Path("images")
    stems = {f"images/{part}/full-000.ome.tif" for part in ("stacks", "labels")}
    expected = stems | {"images/stacks/full-000.json", "images/manifest.csv"}
    assert noted(simulate_dataset, folder, settings, progress=False) == expected
    before = {name: Path(name).read_bytes() for name in expected}
    assert noted(simulate_dataset, folder, settings, progress=False) == expected
    assert {name: Path(name).read_bytes() for name in expected} == before


def test_a_required_file_is_noted(tmp_path, noted):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "table.csv").touch()
    run = open_run(load_profile("smoke"))
    assert noted(run.require, Path("table.csv"), "01") == {"table.csv"}


# --- the record ---------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """An executed chapter with its record, in the current folder, and its inputs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "01_x.py").write_text("from organelle_fusion import folds", "utf-8")
    (tmp_path / "01_x.ipynb").write_text("{}", "utf-8")
    (tmp_path / "in.csv").write_text("1", "utf-8")
    found = inputs.chapter_inputs(tmp_path / "01_x.py", load_profile("smoke"), "", "phantom")
    with inputs.noted_files() as files:
        note_file("in.csv")
        note_file("absent.csv")
    inputs.write_record(tmp_path / "01_x.ipynb", found, files)
    return tmp_path / "01_x.ipynb", found


def edit_record():
    """A file of the list fewer: what is left agrees with the files that are there."""
    record = json.loads(Path("01_x.json").read_text("utf-8"))
    del record["files"]["in.csv"]
    Path("01_x.json").write_text(json.dumps(record), "utf-8")


def test_equal_inputs_hold(recorded):
    assert inputs.difference(*recorded) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "other"}, "its source"),
        ({"profile": "other"}, "profile"),
        ({"manifest": "mine.csv"}, "manifest"),
        ({"data": "own stacks (mine.csv)"}, "manifest"),
        ({"code": {"folds": "other"}}, "code: folds"),
        ({"code": {"new": "1", "other": "2"}}, "code: new and 1 more"),
        ({"versions": {"numpy": "0.1"}}, "version: numpy"),
        ({"versions": {"Keras backend": "torch"}}, "version: Keras backend"),
    ],
)
def test_the_first_difference_is_the_reason(recorded, change, reason):
    notebook, found = recorded
    merged = {
        key: {**found[key], **change[key]} if isinstance(change[key], dict) else change[key]
        for key in change
    }
    assert inputs.difference(notebook, {**found, **merged}) == reason


def test_a_module_that_is_used_no_more_is_a_difference(recorded):
    notebook, found = recorded
    code = {name: value for name, value in found["code"].items() if name != "folds"}
    assert inputs.difference(notebook, {**found, "code": code}) == "code: folds"


def test_the_backend_in_force_counts(recorded, monkeypatch):
    notebook = recorded[0]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    again = inputs.chapter_inputs(Path("01_x.py"), load_profile("smoke"), "", "phantom")
    assert inputs.difference(notebook, again) == "version: Keras backend"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: Path("in.csv").write_text("2"), "file in.csv"),
        (lambda: Path("in.csv").unlink(), "file in.csv"),
        (lambda: Path("absent.csv").touch(), "file absent.csv"),
        (lambda: Path("01_x.ipynb").write_text("{} "), "its executed notebook was changed"),
        (lambda: Path("01_x.ipynb").unlink(), "not executed yet"),
        (lambda: Path("01_x.json").unlink(), "no record of its last execution"),
        (lambda: Path("01_x.json").write_text("{"), "the record of its last execution is damaged"),
        (lambda: Path("01_x.json").write_text("{}"), "the record of its last execution is damaged"),
        (lambda: Path("01_x.json").write_text("[]"), "the record of its last execution is damaged"),
        (edit_record, "the record of its last execution is damaged"),
    ],
)
def test_files_are_compared_by_content(recorded, change, reason):
    change()
    assert inputs.difference(*recorded) == reason


def test_a_new_time_alone_is_no_difference(recorded):
    os.utime("in.csv", (1, 1))
    assert inputs.difference(*recorded) == ""


def test_a_file_is_hashed_once_and_again_when_rewritten(recorded, monkeypatch):
    hashed = []
    real = inputs.file_hash
    monkeypatch.setattr(inputs, "file_hash", lambda path: hashed.append(path.name) or real(path))
    Path("in.csv").write_text("22")
    assert inputs.difference(*recorded) == inputs.difference(*recorded) == "file in.csv"
    assert hashed == ["in.csv"]
    Path("in.csv").write_text("1")
    assert inputs.difference(*recorded) == ""


def test_a_file_that_changed_while_the_chapter_ran_never_holds(recorded):
    """Whether the chapter read the old or the new one cannot be known."""
    notebook, found = recorded
    with inputs.noted_files() as files:
        note_file("in.csv")
        Path("in.csv").write_text("meanwhile")
    inputs.write_record(notebook, found, files)
    assert inputs.difference(notebook, found) == "file in.csv"


# --- executing only what has changed ------------------------------------------------------------


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A project of two chapters, both executed, with its own copy of the package."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "notebooks").mkdir()
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\n", "utf-8")
    (folder / "notebooks/01_first.py").write_text(FIRST, "utf-8")
    (folder / "notebooks/02_second.py").write_text(SECOND, "utf-8")
    (folder / "input.txt").write_text("one\ntwo\n", "utf-8")
    text = (PACKAGE / "profiles/smoke.yaml").read_text("utf-8")
    (folder / "mine.yaml").write_text(text.replace("name: smoke", "name: mine"), "utf-8")
    shutil.copytree(
        PACKAGE, folder / "lib/organelle_fusion", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "lib/organelle_fusion/counting.py").write_text(COUNTING, "utf-8")
    (folder / "lib/organelle_fusion/counting_lines.py").write_text(COUNTING_LINES, "utf-8")
    first = execute(folder)
    assert [line.partition(" ")[2] for line in first if "runs" in line] == [
        "01_first runs (not executed yet)",
        "02_second runs (not executed yet)",
    ]
    return folder


@pytest.fixture
def project(executed, tmp_path):
    return Path(shutil.copytree(executed, tmp_path / "project"))


def execute(folder, chapter=""):
    """What is printed of the chapters; in a process of its own, with the copied package."""
    code = (
        "from pathlib import Path\n"
        "from organelle_fusion import book, config, run_log\n"
        f"assert config.__file__.startswith({str(folder)!r})\n"
        "with run_log.on_terminal():\n"
        "    book.execute_chapters(\n"
        f"        Path({str(folder)!r}), config.load_profile('mine.yaml'), 'mine.yaml', '',"
        f" {chapter!r}\n    )\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("[")]


def edit(path, old, new):
    text = path.read_text("utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new), "utf-8")


def states(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_nothing_changed_nothing_runs(project):
    """Not even when a module changes that no chapter uses; and no file is touched."""
    (project / "lib/organelle_fusion/phantom.py").write_text("raise ValueError\n", "utf-8")
    before = states(project)
    assert execute(project) == ["[1/2] 01_first unchanged", "[2/2] 02_second unchanged"]
    assert states(project) == before


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        pytest.param(
            lambda project: edit(
                project / "lib/organelle_fusion/counting_lines.py", "split()", "splitlines()"
            ),
            "runs (code: counting_lines)",
            "unchanged",
            id="library, of the same result",
        ),
        pytest.param(
            lambda project: edit(project / "mine.yaml", "seed: ", "seed: 1"),
            "runs (profile)",
            "runs (profile)",
            id="profile",
        ),
        pytest.param(
            lambda project: edit(project / "notebooks/02_second.py", "# %%\n", "# %%\n1 + 1\n"),
            "unchanged",
            "runs (its source)",
            id="notebook",
        ),
        pytest.param(
            lambda project: edit(project / "input.txt", "two", "three"),
            "runs (file input.txt)",
            "unchanged",
            id="input, of the same result",
        ),
        pytest.param(
            lambda project: edit(project / "input.txt", "two", "two\nthree"),
            "runs (file input.txt)",
            "runs (file count.csv)",
            id="input, of another result",
        ),
        pytest.param(
            lambda project: (project / "count.csv").unlink(),
            "runs (file count.csv)",
            "unchanged",
            id="output deleted",
        ),
    ],
)
def test_what_changed_is_executed_again_and_nothing_else(project, change, first, second):
    """The reason is named; a result that comes out equal does not set off what follows."""
    change(project)
    lines = [line.partition(", about")[0] for line in execute(project) if "done" not in line]
    assert lines == [f"[1/2] 01_first {first}", f"[2/2] 02_second {second}"]


def test_only_what_will_run_counts_as_time_left(project):
    """Of the two chapters one runs, and the time left is what that one took last."""
    edit(project / "notebooks/01_first.py", "# %%\n", "# %%\n1 + 1\n")
    for name, seconds in (("01_first", 100), ("02_second", 7000)):
        path = project / f"book/executed/{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.papermill.duration = seconds
        nbformat.write(notebook, path)
        record = json.loads(inputs.record_path(path).read_text("utf-8"))
        record["notebook"] = inputs.file_hash(path)
        record["checksum"] = hash_of({k: v for k, v in record.items() if k != "checksum"})
        inputs.record_path(path).write_text(json.dumps(record), "utf-8")
    assert execute(project)[0] == (
        "[1/2] 01_first runs (its source), about 100 s left for the chapters by the last run"
    )


def test_a_chapter_asked_for_is_executed_though_unchanged(project):
    lines = execute(project, chapter="2")
    assert lines[0].startswith("[1/1] 02_second runs (asked for)")
    assert len(lines) == 2
    assert execute(project) == ["[1/2] 01_first unchanged", "[2/2] 02_second unchanged"]


def test_a_chapter_without_its_data_or_that_failed_is_tried_again(tmp_path, monkeypatch, caplog):
    """Neither leaves a record, and that of an earlier execution is gone."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    source = tmp_path / "notebooks/01_first.py"
    record = tmp_path / "book/executed/01_first.json"

    def run(body):
        source.write_text(f"{HEADER}# %%\n{body}\n", "utf-8")
        book.execute_chapters(tmp_path, load_profile("smoke"), "smoke")

    run("1")
    assert record.is_file()
    run("from organelle_fusion.sources import SourceUnavailable\nraise SourceUnavailable('away')")
    assert (tmp_path / "book/executed/01_first.ipynb").is_file()
    assert not record.exists()
    run("1")
    assert "01_first runs (no record of its last execution)" in caplog.text
    with pytest.raises(book.BookError, match="ValueError: bad"):
        run("raise ValueError('bad')")
    assert not record.exists()
