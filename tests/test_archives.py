"""Pictures leave an archive as they went in; what is no such picture is named and refused."""

import io
import zipfile

import imagecodecs
import numpy as np
import pytest

from organelle_fusion.archives import ArchiveError, read_pictures


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def pack(folder, **files):
    """Write files, dots for underscores, below one folder of a zip archive."""
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"repository-1f1d/{name.replace('_', '.')}", content)
    return folder / "archive.zip"


def refusal(archive, paths, height_width=(1, 3)):
    with pytest.raises(ArchiveError) as caught:
        read_pictures(archive, paths, height_width)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pictures_come_in_the_order_asked_for(tmp_path):
    archive = pack(
        tmp_path,
        a_npy=npy(np.array([[1, 2, 3]], np.uint8)),
        b_npy=npy(np.array([[250, 0, 33]], np.uint8)),
        c_npy=b"not asked for",
    )
    pictures = read_pictures(archive, ["b.npy", "a.npy"], (1, 3))
    assert pictures.dtype == np.uint8
    assert pictures.tolist() == [[[250, 0, 33]], [[1, 2, 3]]]


def test_arrays_in_columns_are_not_transposed(tmp_path):
    array = np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    pictures = read_pictures(pack(tmp_path, a_npy=npy(array)), ["a.npy"], (2, 3))
    assert pictures.tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_fractions_are_cut_to_levels(tmp_path):
    """0.5 · 255 = 127.5 is cut, not rounded; 1 is the highest level."""
    archive = pack(tmp_path, a_npy=npy(np.array([[0.0, 0.5, 1.0]])))
    assert read_pictures(archive, ["a.npy"], (1, 3)).tolist() == [[[0, 127, 255]]]


def test_brightest_colour_of_a_png_without_opacity(tmp_path):
    colours = np.array([[[1, 9, 2, 255], [7, 0, 3, 255], [0, 0, 5, 0]]], np.uint8)
    archive = pack(tmp_path, a_png=imagecodecs.png_encode(colours))
    assert read_pictures(archive, ["a.png"], (1, 3)).tolist() == [[[9, 7, 5]]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found none"),
        (b"no array", "found none"),
        (npy(np.zeros((1, 3), np.uint8))[:-1], "found none"),
        (npy(np.array([[None, 1, "x"]], object)), "found none"),
        (npy(np.zeros((1, 3), np.uint16)), "found uint16 (1, 3)"),
        (npy(np.zeros((1, 3), np.float32)), "found float32 (1, 3)"),
        (npy(np.array([[0, 1.5, 1]])), "found float64 (1, 3)"),
        (npy(np.array([[0, np.nan, 1]])), "found float64 (1, 3)"),
        (npy(np.zeros((3, 1), np.uint8)), "found uint8 (3, 1)"),
        (npy(np.zeros((0, 3))), "found uint8 (0, 3)"),
        (imagecodecs.png_encode(np.zeros((1, 3), np.uint8)), "found none"),
    ],
    ids=[
        *("empty", "text", "cut short", "objects", "16 bits", "float32", "beyond 1", "nan"),
        *("turned", "no pixels", "png"),
    ],
)
def test_file_that_is_no_such_array(tmp_path, content, found):
    message = refusal(pack(tmp_path, a_npy=content), ["a.npy"])
    assert message.startswith("a.npy: expected an NPY file of uint8, or of float64 from 0 to 1,")
    assert message.endswith(f"(1, 3), {found}")


def test_missing_files_are_counted(tmp_path):
    archive = pack(tmp_path, a_npy=npy(np.zeros((1, 3), np.uint8)))
    message = refusal(archive, ["a.npy", "b.npy", "c.npy"])
    assert message == "expected b.npy, found no such file, as 2 of 3 files"


def test_archive_that_is_none(tmp_path):
    (tmp_path / "archive.zip").write_text("an error page")
    assert "expected a whole zip archive" in refusal(tmp_path / "archive.zip", ["a.npy"])
