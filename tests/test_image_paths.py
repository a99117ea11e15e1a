"""A path of a manifest is parted from the image in the file; hashes and notes see both."""

from pathlib import Path

import pytest

from organelle_fusion.image_paths import image_hash, note_image, split_path
from organelle_fusion.provenance import FILES_VARIABLE, file_hash


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.czi", ("a.czi", None)),
        ("dir/a.czi#scene=1", ("dir/a.czi", 1)),
        ("a.zarr#image=12", ("a.zarr", 12)),
        ("a#1.tif", ("a#1.tif", None)),
        ("a.czi#scene=", ("a.czi#scene=", None)),
        ("a.czi#scene=-1", ("a.czi#scene=-1", None)),
        ("a#image=1.tif", ("a#image=1.tif", None)),
        ("a#image=1#image=2", ("a#image=1", 2)),
        ("#image=1", ("#image=1", None)),
    ],
)
def test_split(path, parts):
    assert split_path(path) == (Path(parts[0]), parts[1])
    assert split_path(Path(path)) == (Path(parts[0]), parts[1])


def test_hash_is_that_of_the_file_and_of_which_image(tmp_path):
    path = tmp_path / "a.czi"
    path.write_bytes(b"abc")
    assert image_hash(path) == file_hash(path)
    hashes = {image_hash(f"{path}{end}") for end in ("", "#scene=0", "#scene=1")}
    assert len(hashes) == 3
    assert image_hash(f"{path}#scene=1") == image_hash(f"{path}#image=1")
    first = image_hash(f"{path}#scene=1")
    path.write_bytes(b"abd")
    assert image_hash(f"{path}#scene=1") != first


def test_the_file_is_noted(tmp_path, monkeypatch):
    path = tmp_path / "a.czi"
    path.write_bytes(b"abc")
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path / "notes"))
    note_image(f"{path}#scene=1")
    assert (tmp_path / "notes").read_text().startswith(f'["{path}", ')
