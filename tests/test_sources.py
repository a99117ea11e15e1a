"""Public crops come whole and unchanged, or not at all; no test leaves this machine."""

import hashlib
import io
import os
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_type_hints

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from organelle_fusion import cli, sources
from organelle_fusion.sources import (
    DATA_VARIABLE,
    SourceUnavailable,
    balanced_subset,
    fetch,
    read_crops,
    read_measurements,
)

NAME = "cell-lines-9"
FILES = ["00002", "00003", "00011", "00205", "09632"]
PARTS = ("blue", "red", "yellow")
CELLS = "mcf10a-mcf7"


@pytest.fixture
def crops(monkeypatch):
    """Five random crops and, in place of the committed list, the list of these."""
    images = np.random.default_rng(4).integers(0, 256, (5, 3, 64, 64)).astype(np.uint8)
    listed = pd.DataFrame(
        {
            "file": FILES,
            "label": ["HeLa", "HeLa", "RT4", "RT4", "RT4"],
            "group": ["g1", "g2", "g3", "g3", "g4"],
            "keep": [True, True, True, False, True],
            "sha256": [hashlib.sha256(crop.tobytes()).hexdigest() for crop in images],
        }
    )
    monkeypatch.setattr(sources, "crop_list", lambda name: listed.copy())
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return images


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder on this machine and let the data set's address point there."""

    class Quiet(SimpleHTTPRequestHandler):
        requests = 0

        def do_GET(self):
            type(self).requests += 1
            super().do_GET()

        def log_message(self, *_):
            """Say nothing."""

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        url = f"http://127.0.0.1:{running.server_port}/archive.zip"
        for name, source in list(sources.SOURCES.items()):
            monkeypatch.setitem(sources.SOURCES, name, source._replace(url=url))
        yield folder / "archive.zip", Quiet
        running.shutdown()
        thread.join()


def grey(plane):
    return plane


def lit_channel(plane, index=1):
    picture = np.zeros((*plane.shape, 3), np.uint8)
    picture[..., index] = plane
    return picture


def with_opacity(plane):
    return np.dstack([lit_channel(plane, 0), np.full(plane.shape, 255, np.uint8)])


def pack(path, images, *, picture=grey, without=(), also=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file, crop in zip(FILES, images, strict=True):
            for part, plane in zip(PARTS, crop, strict=True):
                name = f"{file}_{part}.png"
                if name not in without:
                    png = imagecodecs.png_encode(np.ascontiguousarray(picture(plane)))
                    archive.writestr(f"AI_project-8e61/data/images_train/{name}", png)
        for name, content in also:
            archive.writestr(name, content)


def refusal(*parts, call=fetch, name=NAME, **keywords):
    with pytest.raises(SourceUnavailable) as caught:
        call(name, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


# Downloading.


@pytest.mark.parametrize("picture", [grey, lit_channel, with_opacity])
def test_download_assembles_verified_crops(tmp_path, crops, server, picture):
    archive, handler = server
    pack(archive, crops, picture=picture, also=[("AI_project-8e61/README.md", "x")])
    folder = fetch(NAME, folder=tmp_path / "sources")
    assert folder == tmp_path / "sources" / NAME
    assert sorted(entry.name for entry in folder.iterdir()) == ["images.npz", "manifest.csv"]
    assert [entry.name for entry in (tmp_path / "sources").iterdir()] == [NAME]
    with np.load(folder / "images.npz") as stored:
        np.testing.assert_array_equal(stored["images"], crops)
    images, table, channels = read_crops(NAME, folder=tmp_path / "sources")
    assert handler.requests == 1  # the second reading found the download
    np.testing.assert_array_equal(images, crops)
    assert channels == ("nucleus", "microtubules", "endoplasmic_reticulum")
    assert table.columns.tolist() == ["image", "label", "group", "keep"]
    assert table["image"].tolist() == FILES
    assert table["keep"].tolist() == [True, True, True, False, True]


def test_default_folder_is_that_of_the_repository(tmp_path, crops, server, monkeypatch):
    """Papermill may run a chapter in a folder below."""
    pack(server[0], crops)
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert fetch(NAME) == Path("../data/sources") / NAME
    assert (tmp_path / "data/sources" / NAME / "images.npz").is_file()


def test_outside_a_repository_the_default_folder_is_below_the_working_directory(
    tmp_path, crops, server, monkeypatch
):
    pack(server[0], crops)
    monkeypatch.chdir(tmp_path)
    assert fetch(NAME) == Path("data/sources") / NAME
    assert (tmp_path / "data/sources" / NAME / "images.npz").is_file()


def test_flipped_pixel_in_the_archive(tmp_path, crops, server):
    changed = crops.copy()
    changed[2, 1, 30, 30] ^= 1
    changed[4, 0, 0, 0] ^= 1
    pack(server[0], changed)
    refusal("00011", "2 of 5", DATA_VARIABLE, folder=tmp_path / "sources")
    assert list((tmp_path / "sources").iterdir()) == []


def test_file_missing_in_the_archive(tmp_path, crops, server):
    pack(server[0], crops, without=["00003_red.png", "09632_blue.png"])
    refusal("00003_red.png", "2 of 15", folder=tmp_path / "sources")
    assert list((tmp_path / "sources").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"no png", "none"),
        (imagecodecs.png_encode(np.zeros((9, 9), np.uint8)), "uint8 (9, 9)"),
        (imagecodecs.png_encode(np.zeros((64, 64), np.uint16)), "uint16 (64, 64)"),
    ],
    ids=["no picture", "size", "16 bits"],
)
def test_file_that_is_no_such_crop(tmp_path, crops, server, content, found):
    broken = ("AI_project-8e61/data/images_train/00003_red.png", content)
    pack(server[0], crops, without=["00003_red.png"], also=[broken])
    expected = f"expected an 8-bit PNG (64, 64), found {found}"
    refusal("00003_red.png", expected, folder=tmp_path / "sources")


def test_archive_that_is_none_or_cut_short(tmp_path, crops, server):
    server[0].write_text("an error page")
    refusal("expected a whole zip", folder=tmp_path / "sources")
    pack(server[0], crops)
    server[0].write_bytes(server[0].read_bytes()[:5000])
    refusal("expected a whole zip", folder=tmp_path / "sources")


def test_source_that_is_gone(tmp_path, crops, server):
    refusal("127.0.0.1", "HTTPError", folder=tmp_path / "sources")


def test_no_network(tmp_path, crops, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:1/archive.zip"
    monkeypatch.setitem(sources.SOURCES, NAME, sources.SOURCES[NAME]._replace(url=url))
    parts = (NAME, url, "`organelle-fusion fetch cell-lines-9` with a network", DATA_VARIABLE)
    refusal(*parts, folder=tmp_path / "sources")
    refusal(*parts, folder=tmp_path / "sources", call=read_crops)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))  # set, but it holds nothing
    refusal(*parts, folder=tmp_path / "sources")


@pytest.mark.parametrize(
    ("call", "name", "known"),
    [
        (fetch, "cell-lines-8", "cell-lines-9, mcf10a-mcf7, otccp-eea1"),
        (read_crops, "otccp-eea1", "cell-lines-9, mcf10a-mcf7"),
        (read_measurements, "cell-lines-9", "otccp-eea1"),
    ],
)
def test_unknown_name(call, name, known):
    """The message lists what this function reads, and nothing else."""
    refusal(f"{name}: expected one of {known}; choose", call=call, name=name)


def test_command_names_every_data_set():
    (argument,) = get_type_hints(cli.fetch, include_extras=True)["name"].__metadata__
    assert all(name in argument.help for name in (*sources.SOURCES, *sources.MEASURED))


# Crops kept as arrays.


@pytest.fixture
def cells(monkeypatch):
    """Two random crops of two channels and, in place of the committed list, theirs."""
    images = np.random.default_rng(5).integers(0, 256, (2, 2, 100, 100)).astype(np.uint8)
    listed = pd.DataFrame(
        {
            "file": ["000_104", "001_0"],
            "label": ["MCF7", "MCF10A"],
            "group": ["acq000", "acq001"],
            "keep": [True, True],
            "sha256": [hashlib.sha256(crop.tobytes()).hexdigest() for crop in images],
        }
    )
    monkeypatch.setattr(sources, "crop_list", lambda name: listed.copy())
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return images


def pack_cells(path, images, **changed):
    """Pack the nucleus as N and the membrane as M; `changed` are other contents by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for file, crop in zip(["000_104", "001_0"], images, strict=True):
            for part, plane in zip("NM", crop, strict=True):
                content = changed.get(f"{part}{file}", npy(plane))
                if content is not None:
                    folder = "Breas-Cell-Classification-1f1d/train_folder/train"
                    archive.writestr(f"{folder}/{file}/{file}_{part}.npy", content)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_download_of_arrays(tmp_path, cells, server):
    pack_cells(server[0], cells)
    images, table, channels = read_crops(CELLS, folder=tmp_path / "sources")
    np.testing.assert_array_equal(images, cells)
    assert channels == ("nucleus", "membrane")
    assert table.to_numpy().tolist() == [
        ["000_104", "MCF7", "acq000", True],
        ["001_0", "MCF10A", "acq001", True],
    ]
    assert fetch(CELLS, folder=tmp_path / "sources") == tmp_path / "sources" / CELLS


def test_flipped_pixel_in_an_array(tmp_path, cells, server):
    changed = cells.copy()
    changed[1, 0, 50, 50] ^= 1
    pack_cells(server[0], changed)
    parts = ("crop 001_0", "1 of 2", "fetch mcf10a-mcf7", DATA_VARIABLE)
    refusal(*parts, name=CELLS, folder=tmp_path / "sources")
    assert list((tmp_path / "sources").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "001_0/001_0_M.npy, found no such file, as 1 of 4"),
        (npy(np.zeros((100, 100), np.int16)), "found int16 (100, 100)"),
        (npy(np.zeros((90, 100), np.uint8)), "found uint8 (90, 100)"),
        (npy(np.full((100, 100), 255.0)), "found float64 (100, 100)"),
    ],
    ids=["missing", "type", "size", "range"],
)
def test_array_that_is_no_such_crop(tmp_path, cells, server, content, found):
    pack_cells(server[0], cells, M001_0=content)
    refusal("001_0/001_0_M.npy", found, name=CELLS, folder=tmp_path / "sources")
    assert list((tmp_path / "sources").iterdir()) == []


def test_no_network_for_arrays(tmp_path, cells, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = sources.SOURCES[CELLS]._replace(url="http://127.0.0.1:1/archive.zip")
    monkeypatch.setitem(sources.SOURCES, CELLS, source)
    parts = ("`organelle-fusion fetch mcf10a-mcf7` with a network", f"{CELLS}/images.npz")
    refusal(*parts, name=CELLS, folder=tmp_path / "sources")


# A folder given.


def give(tmp_path, monkeypatch, images, key="images"):
    (tmp_path / "given" / NAME).mkdir(parents=True)
    np.savez(tmp_path / "given" / NAME / "images.npz", **{key: images})
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "given"))
    return tmp_path / "given" / NAME


def test_given_folder_is_verified_and_used(tmp_path, crops, monkeypatch):
    folder = give(tmp_path, monkeypatch, crops)
    assert fetch(NAME, folder=tmp_path / "sources") == folder
    assert not (tmp_path / "sources").exists()
    np.testing.assert_array_equal(read_crops(NAME)[0], crops)


def test_flipped_pixel_in_the_given_folder(tmp_path, crops, monkeypatch):
    crops[3, 2, 63, 63] ^= 1
    folder = give(tmp_path, monkeypatch, crops)
    refusal(str(folder), "00205", "1 of 5", "fetch cell-lines-9")


@pytest.mark.parametrize("change", [lambda a: a[:4], lambda a: a[:, :2], lambda a: a.astype("i2")])
def test_given_array_of_another_shape_or_type(tmp_path, crops, monkeypatch, change):
    give(tmp_path, monkeypatch, change(crops))
    refusal("expected uint8 (5, 3, 64, 64)")


def test_given_file_that_is_damaged(tmp_path, crops, monkeypatch):
    folder = give(tmp_path, monkeypatch, crops, key="pictures")
    refusal(str(folder), "images")
    for content in (b"", b"no archive", (folder / "images.npz").read_bytes()[:2000]):
        (folder / "images.npz").write_bytes(content)
        refusal(str(folder), "damaged")


# The committed list.


def test_committed_list():
    listed = sources.crop_list(NAME)
    assert listed.columns.tolist() == ["file", "label", "group", "keep", "sha256"]
    assert len(listed) == 7731
    assert listed["label"].nunique() == 9
    assert listed["file"].is_unique
    assert listed["file"].str.fullmatch(r"\d{5}").all()
    assert listed["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()
    # One crop of each group is kept, and no group has two labels.
    assert (listed.groupby("group")["keep"].sum() == 1).all()
    assert listed.groupby("group")["label"].nunique().max() == 1
    # Equal pixels are never in two groups: that would be a leak between folds.
    assert listed.groupby("sha256")["group"].nunique().max() == 1


def test_committed_list_of_cells():
    listed = sources.crop_list(CELLS)
    assert listed.columns.tolist() == ["file", "label", "group", "keep", "sha256"]
    assert listed["label"].value_counts().to_dict() == {"MCF7": 697, "MCF10A": 674}
    assert listed["file"].is_unique
    assert listed["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()
    assert listed["sha256"].is_unique  # no crop twice, so all are kept
    assert listed["keep"].all()
    # The group is the acquisition, which the first half of a file's name numbers.
    assert ("acq" + listed["file"].str.split("_").str[0] == listed["group"]).all()
    acquisitions = listed.groupby("label")["group"].nunique()
    assert acquisitions.to_dict() == {"MCF10A": 120, "MCF7": 119}
    assert listed.groupby("group")["label"].nunique().max() == 1


def test_real_cells_agree_with_the_list():
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / CELLS / "images.npz").is_file():
        pytest.skip(f"{DATA_VARIABLE} names no folder with {CELLS}")
    images, table, _ = read_crops(CELLS)
    assert images.shape == (1371, 2, 100, 100)
    manifest = pd.read_csv(Path(folder) / CELLS / "manifest.csv", dtype=str)
    assert table["image"].tolist() == manifest["image_id"].tolist()
    assert table["label"].tolist() == manifest["label"].tolist()
    assert table["group"].tolist() == manifest["group"].tolist()
    assert manifest["keep"].eq("1").all()
    # The public files are read as fractions of 255 if they are no integers: the levels that this
    # loses are those that the crops lack, see `archives`.
    kept = np.unique((np.arange(256) * (1 / 255) * 255).astype(np.uint8))
    assert np.unique(images).tolist() == kept.tolist()
    assert len(kept) == 232


def test_real_crops_agree_with_the_list():
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / NAME / "images.npz").is_file():
        pytest.skip(f"{DATA_VARIABLE} names no folder with {NAME}")
    assert fetch(NAME) == Path(folder) / NAME
    images, table, _ = read_crops(NAME)
    # The hash of the whole array, published beside the data set.
    assert (
        hashlib.sha256(images.tobytes()).hexdigest()
        == "7867e5aa222a96100e5655be751ba460acf25aa1ea70fd3c74e29e1656d96615"
    )
    manifest = pd.read_csv(Path(folder) / NAME / "manifest.csv")
    assert table["label"].tolist() == manifest["label"].tolist()
    assert table["group"].tolist() == manifest["group"].tolist()
    assert table["keep"].tolist() == manifest["keep"].astype(bool).tolist()
    assert table["image"].astype(int).tolist() == manifest["image_id"].tolist()


# Choosing a balanced subset.


def table_of(*rows):
    return pd.DataFrame(rows, columns=["label", "group", "keep"])


def test_subset_is_balanced_kept_and_one_per_group():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "label": rng.choice(["a", "b", "c"], 300, p=[0.6, 0.2, 0.2]),
            "group": [f"g{index // 2}" for index in range(300)],
            "keep": rng.random(300) < 0.8,
        }
    )
    table["group"] = table["label"] + table["group"]
    rows = balanced_subset(table, 20, seed=3)
    chosen = table.iloc[rows]
    assert chosen["label"].value_counts().to_dict() == {"a": 20, "b": 20, "c": 20}
    assert chosen["keep"].all()
    assert chosen["group"].is_unique
    assert rows.tolist() == sorted(rows)
    np.testing.assert_array_equal(balanced_subset(table, 20, seed=3), rows)
    assert balanced_subset(table, 20, seed=4).tolist() != rows.tolist()
    # Positions are meant, whatever the index.
    shifted = table.set_index(np.arange(300)[::-1])
    np.testing.assert_array_equal(balanced_subset(shifted, 20, seed=3), rows)


@pytest.mark.parametrize("seed", range(5))
def test_second_crop_of_a_group_only_where_groups_run_out(seed):
    table = table_of(
        ("a", "g1", True), ("a", "g1", True), ("a", "g1", True), ("a", "g2", True),
        ("b", "g3", True), ("b", "g4", True), ("b", "g5", True), ("b", "g6", False),
    )  # fmt: skip
    groups = table.iloc[balanced_subset(table, 3, seed=seed)]["group"]
    assert sorted(groups) == ["g1", "g1", "g2", "g3", "g4", "g5"]
    groups = table.iloc[balanced_subset(table, 2, seed=seed)]["group"]
    assert sorted(groups)[:2] == ["g1", "g2"]
    assert groups.is_unique


def test_class_with_too_few_crops():
    table = table_of(("a", "g1", True), ("a", "g2", True), ("b", "g3", True), ("b", "g4", False))
    with pytest.raises(SourceUnavailable, match="label b: expected 2 crops or more, found 1"):
        balanced_subset(table, 2, seed=0)
    table["keep"] = table["label"] == "a"  # a class of which nothing is kept
    with pytest.raises(SourceUnavailable, match="label b: expected 1 crops or more, found 0"):
        balanced_subset(table, 1, seed=0)
