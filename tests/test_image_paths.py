"""A path of a manifest is parted from the image in the file; hashes and notes see both."""

from pathlib import Path

import pytest

from organelle_fusion.image_paths import as_stored, image_hash, note_image, split_path
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


def test_a_part_is_found_under_its_name_on_the_disk(tmp_path):
    """ö as two signs finds ö as one, and the reverse; between two that are alike none is chosen."""
    one, two = "\u00f6", "o\u0308"
    (tmp_path / one).mkdir()
    (tmp_path / one / f"{two}.tif").touch()
    assert as_stored(tmp_path / two / f"{one}.tif") == tmp_path / one / f"{two}.tif"
    assert as_stored(tmp_path / two / "none.tif") == tmp_path / one / "none.tif"
    for name in (one + two, two + one):
        (tmp_path / name).touch()
        assert as_stored(tmp_path / name) == tmp_path / name
    assert as_stored(tmp_path / (two + two)) == tmp_path / (two + two)


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
