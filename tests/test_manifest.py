"""A manifest is read as written, or refused in one line that says what to mend."""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.manifest import (
    ManifestError,
    group_problems,
    named_path,
    open_image,
    read_leniently,
    read_manifest,
    validate_manifest,
)
from organelle_fusion.manifest_cells import example_channel_map, misspelt
from organelle_fusion.volumes import VolumeError, write_ome_tiff

CHANNELS = ("early_endosomes", "mitochondria")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "stacks").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "stacks" / f"{name}.tif").touch()
    return tmp_path


def write(folder, *lines, encoding="utf-8"):
    path = folder / "manifest.csv"
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


def refusal(path, *parts):
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    for part in ("expected", "found", *parts):
        assert part in message, message
    return message


# Reading.


def test_full_manifest(folder):
    path = write(
        folder,
        "image,path,label,group,channel_map,pixel_size_um,z_step_um",
        "s1,stacks/a.tif,MCF10A,day 1,mitochondria=Tom20;early_endosomes=0,0.035,0.15",
        "s2,stacks/b.tif,T47D,,,,",
    )
    frame = read_manifest(path)
    assert list(frame.columns) == [
        "image", "path", "label", "group", "channel_map", "pixel_size_um", "z_step_um"
    ]  # fmt: skip
    first, second = frame.itertuples(index=False)
    assert first[:6] == (
        "s1",
        str(folder / "stacks" / "a.tif"),
        "MCF10A",
        "day 1",
        {"mitochondria": "Tom20", "early_endosomes": "0"},
        0.035,
    )
    assert first.z_step_um == 0.15
    assert second[:5] == ("s2", str(folder / "stacks" / "b.tif"), "T47D", "s2", None)
    assert math.isnan(second.pixel_size_um)
    assert math.isnan(second.z_step_um)
    assert frame["pixel_size_um"].dtype == float


def test_least_manifest_with_byte_order_mark_blank_lines_and_spaces(folder):
    path = write(
        folder, "image, path,label", "", "s1, stacks/a.tif ,NA", ",,", encoding="utf-8-sig"
    )
    frame = read_manifest(path)
    assert frame[["image", "label", "group"]].to_numpy().tolist() == [["s1", "NA", "s1"]]
    assert frame.loc[0, "channel_map"] is None


def test_absolute_path_and_working_directory(folder, monkeypatch):
    absolute = folder / "stacks" / "b.tif"
    path = write(folder, "image,path,label", "s1,stacks/a.tif,A", f"s2,{absolute},B")
    monkeypatch.chdir(folder / "stacks")
    frame = read_manifest("../manifest.csv")
    assert frame["path"].tolist() == [str(folder / "stacks" / "a.tif"), str(absolute)]
    assert read_manifest(path)["path"].tolist() == frame["path"].tolist()


def test_channel_name_may_hold_an_equals_sign(folder):
    path = write(folder, "image,path,label,channel_map", "s1,stacks/a.tif,A,mito=ex=488;")
    assert read_manifest(path).loc[0, "channel_map"] == {"mito": "ex=488"}


def test_example_in_the_data_readme(tmp_path):
    text = (Path(__file__).parents[1] / "data" / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```csv\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / "stacks").mkdir()
    for name in re.findall(r"stacks/\S+?\.tif", example):
        (tmp_path / name).touch()
    frame = read_manifest(write(tmp_path, *example.splitlines()))
    assert frame["image"].tolist() == ["a1", "a2", "a3", "b1", "b2", "b3"]
    assert frame.loc[3, "channel_map"]["mitochondria"] == "Tom20"
    assert frame["group"].nunique() == 6


# Refusals.


def test_missing_and_empty_manifests(folder):
    refusal(folder / "none.csv", "check the path")
    refusal(write(folder), "image,path,label")
    refusal(write(folder, "image,path,label"), "header only")


def test_other_encodings_and_separators(folder):
    refusal(write(folder, "image,path,label", "s1,é,A", encoding="latin-1"), "UTF-8")
    path = write(folder, "image;path;label;channel_map", 's1;stacks/a.tif;A;"a=0;b=1"')
    assert read_manifest(path)["channel_map"].tolist() == [{"a": "0", "b": "1"}]
    path = write(folder, "image;path;label;channel_map", "s1;stacks/a.tif;A;a=0;b=1")
    refusal(path, "row 2", "expected 4 cells, found 5; put cells with , or ; in quotes")


def test_columns(folder):
    refusal(write(folder, "image,path", "s1,stacks/a.tif"), "row 1", "a column label")
    refusal(
        write(folder, "image,path,lable,label", "s1,stacks/a.tif,A,A"),
        "row 1", "lable", "did you mean label?",
    )  # fmt: skip
    refusal(
        write(folder, "image,path,label,pixel_size", "s1,stacks/a.tif,A,1"),
        "did you mean pixel_size_um?",
    )
    refusal(write(folder, "image,path,label,zzz", "s1,stacks/a.tif,A,1"), "remove the column")
    refusal(write(folder, "image,path,label,label", "s1,stacks/a.tif,A,A"), "label once")


def test_columns_without_a_name(folder):
    """Spreadsheets end every line in commas; a column is left out if it holds nothing at all."""
    lines = ("image,,path,label,,", "s1,,stacks/a.tif,A,,", "s2,,stacks/b.tif,B")
    assert read_manifest(write(folder, *lines))["label"].tolist() == ["A", "B"]
    refusal(
        write(folder, "image,path,label,", "s1,stacks/a.tif,A,", "s2,stacks/b.tif,B,new"),
        "row 3", "found new in column 4, which has none; name the column",
    )  # fmt: skip
    refusal(write(folder, "image,path,label,", "s1,stacks/a.tif"), "expected 3 cells, found 2")


def test_what_is_no_table(folder):
    """A folder and an image are told from a table in another encoding."""
    (folder / "my stacks").mkdir()
    refusal(folder / "my stacks", "found a folder; `organelle-fusion init ", "my stacks'` makes a")
    image = folder / "a.ome.tif"
    write_ome_tiff(image, np.full((1, 1, 2, 2), 200, "u1"), "m", pixel_size_um=1, z_step_um=None)
    refusal(image, "expected text in UTF-8, found none; name a file that ends in .csv")


def test_rows_are_numbered_as_in_the_file(folder):
    header = "image,path,label,channel_map"
    refusal(
        write(folder, header, "s1,stacks/a.tif,A,", "s2,stacks/x.tif,B,"), "row 3, path", "x.tif"
    )
    refusal(write(folder, header, "", "", "s2,stacks/x.tif,B,"), "row 4, path")
    refusal(write(folder, header, 's1,stacks/a.tif,A,"a=1;\nb=2"', "s2,x,B,"), "row 4, path")


def test_message_stays_one_line_where_a_cell_has_two(folder):
    refusal(write(folder, "image,path,label", '"s1",stacks/a.tif,A', '"s2","x\ny",B'), "x y")


def test_twice_the_same(folder):
    header = "image,path,label"
    refusal(
        write(folder, header, "s1,stacks/a.tif,A", "s1,stacks/b.tif,A"),
        "row 3, image", "s1 as in row 2",
    )  # fmt: skip
    refusal(
        write(folder, header, "s1,stacks/a.tif,A", "s2,stacks/../stacks/a.tif,A"),
        "row 3, path", "as in row 2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "column"),
    [("s1,stacks/a.tif,", "label"), (",stacks/a.tif,A", "image"), ("s1, ,A", "path")],
)
def test_empty_cells(folder, row, column):
    refusal(write(folder, "image,path,label", row), f"row 2, {column}", "empty")


def test_rows_too_long_or_too_short(folder):
    refusal(write(folder, "image,path,label", "s1,stacks/a.tif,A,B"), "row 2", "3 cells", "4")
    refusal(write(folder, "image,path,label", "s1,stacks/a.tif"), "row 2", "found 2")


@pytest.mark.parametrize("column", ["pixel_size_um", "z_step_um"])
@pytest.mark.parametrize("value", ["0", "-0.1", "nan", "inf", "0.1 um", '"0,1"'])
def test_sizes_are_positive_numbers(folder, column, value):
    path = write(folder, f"image,path,label,{column}", f"s1,stacks/a.tif,A,{value}")
    refusal(path, f"row 2, {column}", value.strip('"'), "decimal point")


@pytest.mark.parametrize("text", ["Tom20", "mito=", "=Tom20", "mito=0;mito=1", "a=1;;b=2"])
def test_malformed_channel_maps(folder, text):
    path = write(folder, "image,path,label,channel_map", f"s1,stacks/a.tif,A,{text}")
    refusal(path, "row 2, channel_map", text)


def test_all_that_is_wrong_is_found_in_one_reading(folder):
    """Rows are kept as far as they can be understood; what repeats another is left out."""
    path = write(
        folder,
        "image,path,label,group,channel_map,pixel_size_um",
        "s1,stacks/a.tif,A,g1,mito=0,0.1",
        "s2,stacks/gone.tif,,g2,mito,-1",
        "s3,stacks/c.tif,B,g3,,",
        "s1,stacks/b.tif,A,g4,,",
        "s5,stacks/../stacks/a.tif,A,g5,,",
        "s6,stacks/b.tif",
        ",,B,,,",
        ",,B,,,",
    )
    frame, problems = read_leniently(path)
    places = [str(problem).removeprefix(f"{path}: ").split(": ")[0] for problem in problems]
    assert places == [
        "row 3, label",
        "row 3, path",
        "row 3, channel_map",
        "row 3, pixel_size_um",
        "row 7",
        "row 8, image",
        "row 8, path",
        "row 9, image",
        "row 9, path",
        "row 5, image",
        "row 6, path",
    ]
    assert frame["image"].tolist() == ["s1", "s2", "s3", "", ""]
    assert frame["label"].tolist() == ["A", "", "B", "B", "B"]
    assert frame["channel_map"].tolist() == [{"mito": "0"}, {}, None, None, None]
    assert frame["pixel_size_um"].notna().tolist() == [True, False, False, False, False]
    with pytest.raises(ManifestError, match="row 3, label"):
        read_manifest(path)


def test_a_class_of_few_groups_is_an_error_or_a_warning():
    """Three are the least; fewer than there are folds is worth a word."""
    frame = pd.DataFrame({"label": list("AABBBCCCC"), "group": list("abcdeffgh")})
    assert group_problems(frame, 4) == [
        (
            "error",
            "group",
            "expected 3 groups or more in each class, found 2 in A",
            "add images of other groups, or leave the class out",
        ),
        (
            "warning",
            "group",
            "expected 4 groups or more in each class for 4 folds, found 3 in B, 3 in C",
            "some test folds will lack a class",
        ),
    ]


# Opening and validating.


def data_set(tmp_path, labels, *, groups=None, names=None):
    """Write tiny stacks and their manifest; `names` gives the channels of single images."""
    lines = ["image,path,label,group"]
    for index, label in enumerate(labels):
        array = np.full((2, 3, 8, 9), index, np.uint8)
        channels = (names or {}).get(index, CHANNELS)
        write_ome_tiff(
            tmp_path / f"{index}.ome.tif", array, channels, pixel_size_um=0.1, z_step_um=None
        )
        lines.append(f"i{index},{index}.ome.tif,{label},{groups[index] if groups else ''}")
    return write(tmp_path, *lines)


def validate(path, n_splits=3):
    return validate_manifest(read_manifest(path), channels=CHANNELS, n_splits=n_splits, source=path)


def test_open_image_applies_map_and_sizes(tmp_path):
    array = np.arange(2 * 1 * 4 * 5, dtype=np.uint8).reshape(2, 1, 4, 5)
    write_ome_tiff(tmp_path / "a.ome.tif", array, ["x", "y"], pixel_size_um=0.1, z_step_um=None)
    path = write(
        tmp_path,
        "image,path,label,channel_map,pixel_size_um,z_step_um",
        "s1,a.ome.tif,A,mitochondria=y,0.2,0.7",
    )
    frame = read_manifest(path)
    for row in (next(frame.itertuples()), frame.iloc[0]):
        volume = open_image(row)
        assert (volume.pixel_size_um, volume.z_step_um) == (0.2, 0.7)
        assert volume.channels == ("x", "mitochondria")
        np.testing.assert_array_equal(volume.select(["mitochondria"]).plane(0), array[[1], 0])
    bare = write(tmp_path, "image,path,label", "s1,a.ome.tif,A")
    volume = open_image(next(read_manifest(bare).itertuples()))
    assert (volume.pixel_size_um, volume.z_step_um) == (0.1, None)


def test_valid_manifest_is_described(tmp_path):
    path = data_set(tmp_path, "AAABBB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = validate(path)
    assert frame["image"].tolist() == ["i0", "i1", "i2", "i3", "i4", "i5"]
    expected = {
        "image": "i4",
        "label": "B",
        "group": "i4",
        "channels": "early_endosomes, mitochondria",
        "z": 3,
        "y": 8,
        "x": 9,
        "pixel_size_um": 0.1,
        "dtype": "uint8",
    }
    row = frame.iloc[4].to_dict()
    assert math.isnan(row.pop("z_step_um"))
    assert row == expected


def message_of(path, **keywords):
    with pytest.raises(ManifestError) as caught:
        validate(path, **keywords)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_channels_that_differ_or_are_missing(tmp_path):
    path = data_set(tmp_path, "AAABBB", names={4: ("early_endosomes", "Tom20")})
    message = message_of(path)
    for part in ("image i4", "mitochondria", "found early_endosomes, Tom20", "channel_map", "i3"):
        assert part in message


def test_channels_may_stand_in_another_order(tmp_path):
    path = data_set(tmp_path, "AAABBB", names={4: CHANNELS[::-1]})
    assert validate(path).loc[4, "channels"] == "mitochondria, early_endosomes"


def test_image_without_a_pixel_size(tmp_path):
    path = data_set(tmp_path, "AAABBB")
    content = (tmp_path / "2.ome.tif").read_bytes()
    (tmp_path / "2.ome.tif").write_bytes(content.replace(b"PhysicalSizeX=", b"PhysicalSizeQ="))
    message = message_of(path)
    assert "image i2" in message
    assert "pixel_size_um" in message


def test_classes_need_three_groups(tmp_path):
    path = data_set(tmp_path, "AAABBBCCC", groups=list("abcdefggh"))
    message = message_of(path)
    assert "3 groups" in message
    assert "2 in C" in message
    assert "in A" not in message


def test_one_class_is_no_classification(tmp_path):
    assert "two classes" in message_of(data_set(tmp_path, "AAA"))


def test_fewer_groups_than_folds_is_a_warning(tmp_path):
    path = data_set(tmp_path, "AAAABBB")
    with pytest.warns(UserWarning, match="3 in B") as caught:
        validate(path, n_splits=4)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith(f"{path}: ")
    assert "4 in A" not in text
    assert "\n" not in text


def test_damaged_image_names_its_row(tmp_path):
    path = data_set(tmp_path, "AAABBB")
    content = (tmp_path / "5.ome.tif").read_bytes()
    (tmp_path / "5.ome.tif").write_bytes(content[: len(content) // 2])
    message = message_of(path)
    assert "image i5" in message
    assert "damaged" in message
    with pytest.raises(VolumeError):
        open_image(read_manifest(path).iloc[5])
    assert isinstance(read_manifest(path), pd.DataFrame)


# Several images in one file.


def test_images_of_one_file_are_named_by_the_path(folder):
    path = write(
        folder,
        "image,path,label",
        "s1,stacks/a.tif#image=0,x",
        "s2,stacks/a.tif#image=1,x",
        "s3,stacks/b.tif#scene=2,y",
    )
    frame = read_manifest(path)
    assert frame["path"].tolist() == [
        str(folder / "stacks" / name)
        for name in ("a.tif#image=0", "a.tif#image=1", "b.tif#scene=2")
    ]


@pytest.mark.parametrize(
    ("one", "two"),
    [("#image=1", "#scene=1"), ("", "#image=0"), ("#scene=0", ""), ("#image=1", "#image=01")],
)
def test_one_image_of_a_file_named_twice(folder, one, two):
    path = write(folder, "image,path,label", f"s1,stacks/a.tif{one},x", f"s2,stacks/a.tif{two},x")
    refusal(path, "row 3, path", "as in row 2")


def test_image_of_a_file_that_is_missing(folder):
    path = write(folder, "image,path,label", "s1,stacks/none.czi#scene=1,x")
    refusal(path, "row 2, path", "none.czi#scene=1")


def test_a_folder_is_an_image(folder, write_ome_zarr):
    stack = np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9)
    write_ome_zarr(folder / "stacks" / "d.zarr", stack, CHANNELS)
    frame = read_manifest(write(folder, "image,path,label", "s1,stacks/d.zarr,x"))
    np.testing.assert_array_equal(open_image(frame.iloc[0]).plane(1), stack[:, 1])


def test_names_have_one_form_of_their_letters(tmp_path):
    """A folder's name from a Mac parts ü into u and its dots; typed it is one letter."""
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").touch()
    rows = ["image,path,label,group", "a,a.tif,x,Mu\u0308ller", "b,b.tif,y,M\u00fcller"]
    assert set(read_manifest(write(tmp_path, *rows))["group"]) == {"M\u00fcller"}


def test_paths_and_channel_maps_have_any_form_of_their_letters(tmp_path):
    """Of the two forms of ö one stands in the table, the other on the disk and in the file."""
    one, two = "\u00f6", "o\u0308"
    for disk, written in ((one, two), (two, one)):
        path = tmp_path / f"{disk}.ome.tif"
        array = np.arange(32, dtype=np.uint16).reshape(2, 1, 4, 4)
        names = ("AF488", f"Mit{disk}")
        write_ome_tiff(path, array, names, pixel_size_um=0.1, z_step_um=None)
        row = f"a,{written}.ome.tif#image=0,x,mitochondria=Mit{written}"
        frame = read_manifest(write(tmp_path, "image,path,label,channel_map", row))
        assert frame["path"].item() == f"{path}#image=0"
        volume = open_image(frame.iloc[0])
        assert volume.channels == ("AF488", "mitochondria")
        np.testing.assert_array_equal(volume.plane(0)[1], array[1, 0])
        path.unlink()


def test_a_name_that_a_map_cannot_hold_is_given_by_its_number():
    """Spaces at an end are dropped where a map is read."""
    channels = ("Tom20 ", "EEA1")
    example = example_channel_map(channels, ("mitochondria", "early_endosomes"))
    assert "Tom20" not in example
    assert "EEA1" in example


def test_a_table_reached_by_a_link_keeps_its_name(tmp_path, monkeypatch):
    """Results are named after the table; the folder that it lies in may be a link."""
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    (tmp_path / "v1.csv").touch()
    (tmp_path / "repository/stacks.csv").symlink_to(tmp_path / "v1.csv")
    expected = tmp_path / "repository/stacks.csv"
    assert named_path(tmp_path / "link/stacks.csv") == expected
    monkeypatch.chdir(tmp_path / "repository")
    assert named_path("stacks.csv") == expected


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("Kontrole", "Kontrolle", True),  # left out
        ("kontrole", "Kontrolle", True),  # and a capital less
        ("Kontrollle", "Kontrolle", True),  # added
        ("Kontrokle", "Kontrolle", True),  # another
        ("Kotnrolle", "Kontrolle", True),  # swapped
        ("controls", "control", True),
        ("kontrole 1", "kontrolle 1", True),
        ("Kontroe", "Kontrolle", False),  # two letters
        ("kontrole 1", "kontrolle 2", False),
        ("treated", "untreated", False),
        ("ethanol", "methanol", False),
        ("MCF-10A", "MCF-7", False),
        ("day 1", "day 2", False),
        ("GFP+", "GFP-", False),
        ("WT", "KO", False),
        ("fed", "feed", False),
        ("DonorA", "DonorB", False),
        ("StageI", "StageII", False),
        ("mutant a", "mutant b", False),
        ("Kontrolle", "kontrolle", False),  # told as a spelling
        ("Kontrolle", "Kontrol1e", False),
    ],
)
def test_names_with_a_wrong_letter(one, other, told):
    """The rarer comes first: `one` is that of one image, `other` of two."""
    assert misspelt([one, other, other]) == [(one, other)] * told
