"""Hashes and atomic writing."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.config import load_profile
from organelle_fusion.provenance import (
    atomic_path,
    code_version,
    file_hash,
    file_state,
    hash_of,
    is_current,
    provenance,
    read_csv,
    record_files,
    remove_leftovers,
    temporary_name,
    write_csv,
    write_json,
)


def test_hash_depends_on_content_not_on_order_of_keys():
    """Mappings hash by sorted keys, sequences by order."""
    assert hash_of({"a": 1, "b": (1, 2)}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])


def test_hash_of_arrays_sees_shape_and_dtype():
    """The same bytes in another shape or type are another array; memory layout is not."""
    array = np.arange(6, dtype=np.uint8)
    assert hash_of(array) != hash_of(array.reshape(2, 3))
    assert hash_of(array) != hash_of(array.astype(np.int8))
    square = np.arange(9).reshape(3, 3)
    assert hash_of(square.T.copy()) == hash_of(square.T)


def test_hash_of_settings_and_frames():
    """Any changed setting or cell changes the hash."""
    smoke, quick = load_profile("smoke"), load_profile("quick")
    assert hash_of(smoke) == hash_of(load_profile("smoke")) != hash_of(quick)
    frame = pd.DataFrame({"a": [1, 2]})
    assert hash_of(frame) != hash_of(frame.assign(a=[1, 3]))


def test_hash_refuses_nan():
    """JSON has no NaN: a setting that is not a number is an error, not a hash."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        hash_of({"a": float("nan")})


def test_code_version_is_that_of_the_named_sources():
    """Only the named modules count."""
    assert code_version("config") != code_version("config", "provenance")
    assert code_version("config", "provenance") == code_version("provenance", "config")


def test_file_hash_is_sha256(tmp_path):
    """Equal to hashlib over the bytes."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_hash(path) == hashlib.sha256(b"abc").hexdigest()


def test_hash_of_a_folder_sees_names_and_bytes_below_it(tmp_path):
    """Equal trees hash alike, whatever their own name; a byte, a name or a file more changes it."""

    def tree(name, files):
        for place, content in files.items():
            path = tmp_path / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return file_hash(tmp_path / name)

    files = {".zgroup": b"{}", "0/0.0": b"abc", "0/1.0": b"d"}
    known = tree("a", files)
    assert known == tree("b", dict(reversed(files.items())))
    others = [
        files | {"0/0.0": b"abx"},
        files | {"0/2.0": b""},
        {".zgroup": b"{}", "0/0.0": b"ab", "0/1.0": b"cd"},
        {".zgroup": b"{}", "0.0": b"abc", "1.0": b"d"},
    ]
    hashes = {tree(f"c{number}", other) for number, other in enumerate(others)}
    assert len(hashes | {known}) == 5


def test_state_of_a_folder_changes_with_what_is_in_it(tmp_path):
    folder = tmp_path / "a.zarr"
    (folder / "0" / "c").mkdir(parents=True)
    chunk = folder / "0" / "c" / "0"
    chunk.write_bytes(b"abc")
    states = [file_state(folder)]
    later = states[0][0] + 10**9
    chunk.write_bytes(b"abd")
    os.utime(chunk, ns=(later, later))
    states.append(file_state(folder))
    chunk.write_bytes(b"abcd")
    os.utime(chunk, ns=(later, later))
    states.append(file_state(folder))
    chunk.unlink()
    states.append(file_state(folder))
    assert len(set(states)) == 4
    assert file_state(folder) == states[-1]
    assert file_state(tmp_path / "none") == (None, None)


def test_atomic_path_leaves_nothing_after_an_error(tmp_path):
    """Whoever finds the file finds it whole: an interrupted write leaves the old one."""
    path = tmp_path / "deep" / "result.ome.tif"
    with atomic_path(path) as temporary:
        assert temporary.name.endswith(".ome.tif")
        temporary.write_text("whole")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.ome.tif"]


def test_write_json_round_trip(tmp_path):
    """Settings are written as plain JSON."""
    write_json(tmp_path / "x.json", provenance(settings=load_profile("smoke"), seed=3))
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["settings"]["name"] == "smoke"
    assert content["seed"] == 3
    assert {"organelle_fusion", "python", "machine", "created"} <= content.keys()


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes(tmp_path):
    """A file and a folder of a process that is gone; not those of one at work or elsewhere."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from organelle_fusion.provenance import atomic_path, temporary_name\n"
        "Path(sys.argv[1], temporary_name('parts')).mkdir()\n"
        "with atomic_path(Path(sys.argv[1], 'killed.csv')) as path:\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    own = tmp_path / temporary_name("own.csv")
    elsewhere = tmp_path / f".another-host.{2**22 + 1}.00000000.theirs.csv"
    reused = tmp_path / temporary_name("of-an-earlier-process-of-this-number.csv")
    for path in (own, elsewhere, reused):
        path.touch()
    os.utime(reused, (1, 1))
    write_json(tmp_path / "x.json", {})
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere, tmp_path / "x.json"])


def test_two_processes_may_remove_the_same_leftovers(tmp_path, monkeypatch):
    """The other is faster, by all or by a part of a folder."""
    folder = tmp_path / temporary_name("parts")
    for left in (False, True):
        (folder / "below").mkdir(parents=True)

        def other(process, at, left=left):
            shutil.rmtree(folder / "below" if left else folder)
            return False

        monkeypatch.setattr("organelle_fusion.provenance._is_running", other)
        remove_leftovers(tmp_path)
        assert not folder.exists()


def test_a_link_to_nothing_is_no_reason_to_stop(tmp_path):
    """In a folder of many files, or where a part of the path has become a file."""
    (tmp_path / "image.zarr").mkdir()
    (tmp_path / "image.zarr/chunk").write_text("abc")
    (tmp_path / "image.zarr/gone").symlink_to(tmp_path / "nowhere")
    before = file_state(tmp_path / "image.zarr")
    assert before[0] is not None
    (tmp_path / "image.zarr/chunk").write_text("abcd")
    assert file_state(tmp_path / "image.zarr")[1] == before[1] + 1
    assert file_state(tmp_path / "image.zarr/chunk/x") == (None, None)


def test_temporary_names_differ_between_threads():
    """Two writers of one file in one process never write into one another's."""
    assert temporary_name("x.csv") != temporary_name("x.csv")
    assert temporary_name("x.weights.h5").endswith(".x.weights.h5")


def test_a_record_tells_damage_from_other_inputs(tmp_path):
    """Of damage there is a line; of what was made from something else, or never, there is none."""
    record, files = tmp_path / "record.json", [tmp_path / "a", tmp_path / "b"]
    for path in files:
        path.write_text(path.name)
    assert is_current(record, "i", files) == (False, "")
    record_files(record, "i", files)
    assert is_current(record, "i", files) == (True, "")
    assert is_current(record, "other", files) == (False, "")
    assert "expected 2 files, found 1" in is_current(record, "i", files[:1])[1]
    files[1].write_text("B")
    current, line = is_current(record, "i", files)
    assert not current
    assert line.startswith(f"{files[1]}: expected the content that was written")
    files[1].unlink()
    assert (
        is_current(record, "i", files)[1]
        == f"{files[1]}: expected a file, found none; it is made again"
    )
    for content in ("{", "[]", "{}"):
        record.write_text(content)
        current, line = is_current(record, "i", files)
        assert not current
        assert line.startswith(f"{record}: expected a record of files, found it damaged")


def test_names_in_a_table_are_read_as_they_were_written(tmp_path):
    """Only an empty cell is missing; among names, that is a name without letters."""
    frame = pd.DataFrame(
        {"model": ["NA", "null", "01", ""], "data": ["None", "nan", "n/a", None],
         "value": [0.1, np.nan, np.inf, 1.0]}
    )  # fmt: skip
    write_csv(tmp_path / "table.csv", frame)
    found = read_csv(tmp_path / "table.csv", text=("model", "not there"))
    assert found["model"].tolist() == ["NA", "null", "01", ""]
    assert found["data"].tolist()[:3] == ["None", "nan", "n/a"]
    assert pd.isna(found["data"][3])
    np.testing.assert_array_equal(found["value"], frame["value"])
