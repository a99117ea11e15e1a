"""Public measurements are read as they were published, or refused in one line."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import sources
from organelle_fusion.provenance import FILES_VARIABLE
from organelle_fusion.sources import DATA_VARIABLE, SourceUnavailable, fetch, read_measurements

NAME = "otccp-eea1"
TABLE = (
    "cell_line,image,cell,zoom,object_id,area_um2,triangles,distance_to_nucleus_um\n"
    "NA,i1,i1_c1,3x,0,0.1,268,-0.25\n"
    "NA,i1,i1_c1,3x,1,1e-3,4,0\n"
    "T47D,i2,i2_c1,4x,0,2.3456789012345678,12,7\n"
)


@pytest.fixture
def give(tmp_path, monkeypatch):
    """Write a table where it is looked for, and its hash into the list."""

    def write(text, place="given"):
        path = tmp_path / place / NAME / "objects.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        listed = pd.DataFrame({"file": ["objects.csv"], "sha256": [digest]})
        monkeypatch.setattr(sources, "_registry", lambda name: listed)
        return path

    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "given"))
    return write


def refusal(call=read_measurements, **keywords):
    with pytest.raises(SourceUnavailable) as caught:
        call(NAME, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_values_and_names(give):
    """Numbers to the last digit; names stay text, be it NA or a number."""
    give(TABLE)
    features, table = read_measurements(NAME)
    assert features.columns.tolist() == ["area_um2", "triangles", "distance_to_nucleus_um"]
    assert set(features.dtypes) == {np.dtype(np.float64)}
    assert features.to_numpy().tolist() == [
        [0.1, 268, -0.25], [0.001, 4, 0], [2.3456789012345678, 12, 7],
    ]  # fmt: skip
    assert table.columns.tolist() == ["label", "image", "cell", "batch", "object"]
    assert table.to_numpy().tolist() == [
        ["NA", "i1", "i1_c1", "3x", "0"],
        ["NA", "i1", "i1_c1", "3x", "1"],
        ["T47D", "i2", "i2_c1", "4x", "0"],
    ]
    assert features.index.equals(table.index)


def test_given_folder_comes_first_then_the_working_folder(tmp_path, give):
    kept = give(TABLE, "sources")
    assert fetch(NAME, folder=tmp_path / "sources") == kept.parent
    given = give(TABLE)
    assert fetch(NAME, folder=tmp_path / "sources") == given.parent


def test_file_and_list_are_noted(tmp_path, give, monkeypatch):
    path = give(TABLE)
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path / "notes"))
    read_measurements(NAME)
    notes = [json.loads(line)[0] for line in (tmp_path / "notes").read_text().splitlines()]
    # Both places where it may lie, so that one that comes later is noticed.
    assert notes[0] == path.as_posix()  # the list is a stand-in here
    assert [Path(note).parts[-2:] for note in notes] == [(NAME, path.name)] * 2
    monkeypatch.undo()
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path / "notes"))
    sources._registry(NAME)
    last = json.loads((tmp_path / "notes").read_text().splitlines()[-1])[0]
    assert last.endswith("registry/otccp-eea1.csv")


@pytest.mark.parametrize("call", [fetch, read_measurements])
def test_one_changed_byte(give, call):
    path = give(TABLE)
    path.write_text(TABLE.replace("268", "269"), "utf-8")
    message = refusal(call)
    assert message.startswith(f"{path}: expected the content in the list, SHA-256 ")
    assert DATA_VARIABLE in message


@pytest.mark.parametrize("call", [fetch, read_measurements])
def test_no_table_anywhere(tmp_path, give, call):
    message = refusal(call, folder=tmp_path / "sources")
    for place in ("given", "sources"):
        assert str(tmp_path / place / NAME / "objects.csv") in message
    assert f"set {DATA_VARIABLE} to a folder that holds otccp-eea1/objects.csv" in message
    assert "https://github.com/dancan-sandys/publicotccp, commit f928516" in message
    assert "not downloaded" in message
    assert not (tmp_path / "sources").exists()


@pytest.mark.parametrize("value", ["", "nan", "inf", "-inf", "n/a"])
def test_value_that_is_no_finite_number(give, value):
    """Row 3 of the file is the second object; the header is row 1."""
    path = give(TABLE.replace("1,1e-3,4,0", f"1,1e-3,{value},{value}"))
    message = refusal()
    assert f"{path}: row 3, triangles: expected a finite number, found none" in message
    assert "2 of 9 values" in message


def test_committed_list():
    listed = sources._registry(NAME)
    assert listed.columns.tolist() == ["file", "sha256"]
    assert listed["file"].tolist() == ["objects.csv"]
    assert listed["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()


def test_real_table():
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / NAME / "objects.csv").is_file():
        pytest.skip(f"{DATA_VARIABLE} names no folder with {NAME}")
    assert fetch(NAME) == Path(folder) / NAME
    features, table = read_measurements(NAME)
    assert features.shape == (5432, 22)
    counts = table.groupby(["batch", "label"]).agg(
        objects=("cell", "size"), cells=("cell", "nunique"), images=("image", "nunique")
    )
    assert {key: tuple(row) for key, row in zip(counts.index, counts.to_numpy(), strict=True)} == {
        ("3x", "AU565"): (935, 5, 4),
        ("3x", "MDA-MB-436"): (1018, 5, 3),
        ("3x", "MDA-MB-468"): (595, 3, 2),
        ("4x", "MCF10A"): (1500, 6, 4),
        ("4x", "MDA-MB-231"): (492, 10, 4),
        ("4x", "T47D"): (892, 10, 4),
    }
    assert not table.duplicated(["cell", "object"]).any()
    # Units: of area in µm² and volume in µm³, sphericity follows.
    area, volume = features["area_um2"], features["volume_um3"]
    sphericity = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    np.testing.assert_allclose(features["sphericity"], sphericity, rtol=1e-4)
