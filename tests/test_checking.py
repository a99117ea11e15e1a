"""Every fault of a data set is listed at once, and a sound one has none."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from organelle_fusion.checking import Problem, check_data_set
from organelle_fusion.config import ORGANELLES, load_profile
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.manifest_cells import ManifestError
from organelle_fusion.preprocessing import build_patch_set
from organelle_fusion.volumes import write_ome_tiff

SMOKE = load_profile("smoke")
EDGE = 170  # holds the largest patch of 500 px, 17.7 µm, at 0.106 µm


def picture(seed, channels=3, planes=2, edge=EDGE):
    rng = np.random.default_rng(seed)
    spots = (rng.random((channels, planes, edge, edge)) > 0.99) * rng.uniform(20, 40)
    blurred = ndimage.gaussian_filter(spots, (0, 0, 1.5, 1.5))
    return (100 + 800 * blurred + rng.normal(0, 3, blurred.shape)).astype(np.uint16)


class DataSet:
    """Six images in two classes, into which a test puts faults."""

    def __init__(self, folder):
        self.folder = folder
        self.rows = [[f"i{n}", f"i{n}.ome.tif", "ab"[n // 3], "", "", ""] for n in range(6)]
        for number in range(6):
            self.write(number, picture(number))

    def write(self, number, array, names=ORGANELLES, pixel=0.106, step=0.5):
        path = self.folder / self.rows[number][1]
        write_ome_tiff(path, array, names, pixel_size_um=pixel, z_step_um=step)

    def check(self):
        header = "image,path,label,group,channel_map,pixel_size_um"
        lines = [header, *(",".join(row) for row in self.rows)]
        path = self.folder / "m.csv"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return check_data_set(path, SMOKE)

    def only(self):
        (problem,) = self.check().problems
        return problem


@pytest.fixture
def data(tmp_path):
    return DataSet(tmp_path)


def test_a_sound_data_set_has_no_problem(data):
    report = data.check()
    assert report.problems == []
    assert (report.errors, report.warnings) == (0, 0)
    first = report.images.iloc[0]
    assert (first["z"], first["y"], first["x"], first["dtype"]) == (2, EDGE, EDGE, "uint16")
    assert (first["pixel_size_um"], first["z_step_um"]) == (0.106, 0.5)
    assert len(report.channels) == 18


def test_a_hash_in_a_name_is_part_of_it(data):
    data.rows[0][1] = "slide#1.ome.tif"
    data.write(0, picture(0))
    report = data.check()
    assert report.problems == []
    assert report.images["readable"].all()


def test_everything_is_listed_at_once(data):
    """A row without its file, a damaged file, a channel too few, and the groups that are there."""
    data.rows[0][1] = "gone.ome.tif"
    (data.folder / "i1.ome.tif").write_bytes((data.folder / "i1.ome.tif").read_bytes()[:3000])
    data.write(2, picture(2), ("early_endosomes", "Tom20", "recycling_endosomes"))
    data.rows[3][5] = "-1"
    data.rows[5][2] = "c"
    report = data.check()
    found = [(problem.severity, problem.where) for problem in report.problems]
    assert found == [
        ("error", "row 2, path"),
        ("error", "row 5, pixel_size_um"),
        ("error", "i1"),
        ("error", "i2"),
        ("error", "classes"),
    ]
    by_place = {problem.where: problem for problem in report.problems}
    assert "none at" in by_place["row 2, path"].what
    assert "damaged" in by_place["i1"].what
    assert by_place["i1"].remedy == "copy it anew"
    assert by_place["i2"].what == (
        "lacks the channels mitochondria; it has early_endosomes, Tom20, recycling_endosomes"
    )
    assert "mitochondria=" in by_place["i2"].remedy
    assert "found 2 in b, 1 in c" in by_place["classes"].what
    assert report.images["readable"].tolist() == [False, False, True, True, True, True]


def test_a_channel_named_twice(data):
    """Of the same name as written by other programs."""
    meta = {"axes": "CYX", "Channel": {"Name": ["mitochondria", *ORGANELLES]}}
    meta |= {f"PhysicalSize{axis}": 0.106 for axis in "XY"}
    array = np.concatenate([picture(9, 1), picture(0)])[:, 0]
    tifffile.imwrite(data.folder / "i0.ome.tif", array, ome=True, metadata=meta)
    problems = [problem for problem in data.check().problems if problem.severity == "error"]
    assert [problem.what.split(";")[0] for problem in problems] == [
        "has mitochondria more than once"
    ]
    # What is proposed is enough.
    assert problems[0].remedy == "say which is which in channel_map, such as mitochondria=0"
    data.rows[0][4] = "mitochondria=0"
    assert not data.check().errors


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (
            ("mitochondria", "mitochondria", "early_endosomes"),
            "mitochondria=0;recycling_endosomes=1",
        ),
        (("nucleus", "A", "A", "mitochondria"), "early_endosomes=1;recycling_endosomes=2"),
        (("nucleus", "A", "b;c", "mitochondria"), "early_endosomes=A;recycling_endosomes=2"),
        (
            ("Recycling_Endosomes", "x", "mitochondria"),
            "early_endosomes=x;recycling_endosomes=Recycling_Endosomes",
        ),
        (("mitochondria", "x"), ""),
        (("nucleus", "mitochondria", "early_endosomes"), ""),
    ],
)  # fmt: skip
def test_channels_to_spare_take_the_names_that_are_missing(data, names, remedy):
    """By index, where the name says not which one; where too few are there, no map helps."""
    for number in range(6):
        meta = {"axes": "CZYX", "Channel": {"Name": list(names)}, "PhysicalSizeZ": 0.5}
        meta |= dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), 0.106)
        array = picture(number, channels=len(names))
        tifffile.imwrite(data.folder / f"i{number}.ome.tif", array, ome=True, metadata=meta)
        data.rows[number][4] = remedy
    remedies = {problem.remedy for problem in data.check().problems}
    if remedy:
        assert remedies == set()
        data.rows[0][4] = ""
        (problem, *_) = data.check().problems
        assert problem.remedy == f"say which is which in channel_map, such as {remedy}"
    else:
        assert remedies == {"leave the image out, or save all of its channels in one file"}


def test_a_file_that_lacks_its_pixel_size_is_looked_at_nevertheless(data):
    """Names, a saturated channel and a wrong map are found in the same check."""
    array = picture(0)
    array[1] = np.minimum(array[1], 400)
    data.rows[0][1], data.rows[0][4] = "i0.tif", "mitochondria=9"
    meta = {"axes": "ZCYX", "Labels": ["A", "B", "C"] * 2}
    stack = array.transpose(1, 0, 2, 3)
    tifffile.imwrite(data.folder / "i0.tif", stack, imagej=True, metadata=meta)
    report = data.check()
    size, names, saturated = (p for p in report.problems if p.where == "i0")
    assert "expected a pixel size in µm" in size.what
    assert 'channel_map "mitochondria=9"' in names.what
    assert saturated.what.startswith("channel B is saturated")
    assert np.isnan(report.images["pixel_size_um"][0])
    assert report.images["y"][0] == EDGE


def test_the_same_pixels_under_another_name_type_and_order_of_channels(data):
    copied = picture(0)[::-1].astype(np.float32)
    data.write(4, copied, ORGANELLES[::-1])
    report = data.check()
    (error,) = [problem for problem in report.problems if problem.severity == "error"]
    assert (error.where, error.remedy) == ("i4", "remove one of the two rows")
    assert error.what == "is the same image as i0, and their labels differ (b, a)"


def test_the_same_pixels_in_another_group_or_the_same(data):
    data.write(1, picture(0))
    assert data.only().what == (
        "is the same image as i0, in another group (i1, i0): one may test the other"
    )
    for row in data.rows[:2]:
        row[3] = "g"
    data.write(2, picture(2))
    (problem, groups) = data.check().problems
    assert problem.what == "is the same image as i0, and would count twice"
    assert "found 2 in a" in groups.what + problem.what


def test_one_channel_of_another_image_or_twice_in_one(data):
    array = picture(4)
    array[1] = picture(0)[1]
    data.write(4, array)
    assert data.only().what == (
        "has in mitochondria the same pixels as i0, and their labels differ (b, a)"
    )
    array = picture(4)
    array[2] = array[0]
    data.write(4, array)
    what = "the channels early_endosomes and recycling_endosomes hold the same pixels"
    assert data.only().what == what


def test_saturated_empty_noisy_dim_and_nearly_black_channels(data):
    cut, empty, noisy, dim, hot = (picture(n) for n in range(5))
    cut[0] = np.minimum(cut[0], 400)
    empty[1] = 5
    noisy[2] = np.random.default_rng(1).normal(100, 9, noisy[2].shape)
    dim[0] = 100 + (dim[0] - 100.0) / 30
    hot[1] = 100 + ndimage.gaussian_filter(np.random.default_rng(2).normal(0, 9, hot[1].shape), 2)
    hot[1, 0, 5, 5:7] = 60_000
    for number, array in enumerate((cut, empty, noisy, dim, hot)):
        data.write(number, array)
    report = data.check()
    found = {problem.where: problem for problem in report.problems if "channel" in problem.what}
    share = f"{(cut[0] == 400).mean():.2%}"
    assert found["i0"].what == (
        f"channel early_endosomes is saturated: {share} of its voxels have its largest value, 400"
    )
    assert (found["i1"].severity, found["i1"].what) == (
        "error",
        "channel mitochondria is empty: 5 in every voxel",
    )
    assert "recycling_endosomes holds noise" in found["i2"].what
    assert "early_endosomes is nearly empty" in found["i3"].what
    assert "mitochondria has 0.0035% of its voxels above Otsu's threshold" in found["i4"].what
    assert [found[f"i{n}"].severity for n in (0, 2, 3, 4)] == ["warning"] * 4


def test_ranges_are_compared_within_a_data_type(data):
    """A range of 8 bits is a small one of 16; among its like, a thirtieth is one."""
    for number in range(3):
        data.write(number, (picture(number) // 50).astype(np.uint8))
    assert not [p for p in data.check().problems if "nearly empty" in p.what]
    dim = picture(3)
    dim[0] = 100 + (dim[0] - 100.0) / 30
    data.write(3, dim)
    (problem,) = [p for p in data.check().problems if "nearly empty" in p.what]
    assert problem.where == "i3"
    assert "in the middle of the uint16 images over " in problem.what


def test_channels_of_a_refused_map_are_not_said_to_lack(data):
    """The image may well have them, once its map is mended; and so may that of a wrong cell."""
    for number in (0, 1):
        data.write(number, picture(number), ("x", "y", "z"))
    data.rows[0][4] = "early_endosomes=0 mitochondria=1"
    data.rows[1][4] = "early_endosomes"
    found = [(problem.where, problem.remedy) for problem in data.check().problems]
    assert found == [
        ("row 3, channel_map", "write it like mitochondria=Tom20;early_endosomes=0"),
        ("i0", "mend channel_map"),
    ]


def test_channels_that_are_not_analysed_may_be_empty(data):
    for number in range(6):
        array = np.concatenate([picture(number), np.zeros((1, 2, EDGE, EDGE), np.uint16)])
        data.write(number, array, (*ORGANELLES, "bright field"))
    assert data.check().problems == []


def test_nan_is_an_error_of_its_image(data):
    array = picture(2).astype(np.float32)
    array[0, 1, 3, 3] = np.nan
    data.write(2, array)
    problem = data.only()
    assert (problem.severity, problem.where) == ("error", "i2")
    assert "NaN" in problem.what


def test_nan_in_a_channel_that_is_not_analysed_is_no_error(data):
    """But it is where a channel is missing, since any may be the one, and in the nucleus."""
    bright = np.full((1, 2, EDGE, EDGE), np.nan)
    array = np.concatenate([picture(2), bright]).astype(np.float32)
    data.write(2, array, (*ORGANELLES, "bright field"))
    report = data.check()
    assert (report.errors, report.images["readable"].all()) == (0, True)
    assert report.channels.query("image == 'i2'")["channel"].tolist() == list(ORGANELLES)
    data.write(2, array, (*ORGANELLES, "nucleus"))
    assert [problem.where for problem in data.check().problems if problem.severity == "error"] == [
        "i2"
    ]
    data.write(2, array, (*ORGANELLES[:2], "bright field", "Tom20"))
    assert any("NaN" in problem.what for problem in data.check().problems)


def test_an_image_of_which_the_filter_keeps_nothing(data):
    """Chapter 2 refuses it: a few points, each far brighter than Otsu's threshold, are no patch."""
    array = np.random.default_rng(0).normal(100, 3, (3, 2, EDGE, EDGE)).astype(np.uint16)
    array[:, :, 10:150:35, 10:150:35] = 4000
    data.write(0, array)
    (error,) = [problem for problem in data.check().problems if problem.severity == "error"]
    assert error.where == "i0"
    one = 2 * (EDGE // 67) ** 2  # 200 px of 0.035 µm are 67 of these
    assert error.what.startswith(f"keeps no patch of 200 px (none of {one}), ")
    assert error.what.endswith("organelles cover less than 2% of each")
    with pytest.raises(PatchError, match="expected patches of 200 px with foreground"):
        build_patch_set(
            read_manifest(data.folder / "m.csv"), channels=ORGANELLES, settings=SMOKE.patches,
            output_px=28, size_px=200, progress=False,
        )  # fmt: skip


def test_the_largest_value_is_that_of_what_is_analysed(data):
    for number in range(6):
        array = np.concatenate(
            [picture(number), picture(number + 9)[:1] * (1 + 20 * (number == 0))]
        )
        data.write(number, array, (*ORGANELLES, "bright field"))
    assert data.check().problems == []


def test_a_patch_larger_than_the_image(data):
    """17.67 µm are 167 pixels of 0.106 µm."""
    data.write(2, picture(2, edge=166))
    error, warning = data.check().problems
    assert (error.severity, error.where) == ("error", "i2")
    assert "17.7 µm, is 167 pixels of 0.106 µm, and the image 166 × 166" in error.what
    assert "166 × 166 in 1 image (i2)" in warning.what
    data.write(2, picture(2, edge=167), names=ORGANELLES)
    assert [problem.severity for problem in data.check().problems] == ["warning"]


def test_differences_between_images_are_warnings_with_values(data):
    data.write(0, picture(0), pixel=0.110)  # within 5 %
    data.write(1, picture(1, planes=5), pixel=0.12, step=0.7)
    data.write(2, picture(2, edge=200), step=None)
    data.write(3, (picture(3) // 8).astype(np.uint8))
    data.write(4, picture(4) * np.uint16(25))
    report = data.check()
    assert report.errors == 0
    words = [problem.what for problem in report.problems if problem.where == "all images"]
    assert "pixel sizes differ: 0.106 µm in 4 images; 0.11 µm in 1 image (i0); 0.12" in words[0]
    assert "z-steps differ: 0.5 µm in 4 images; 0.7 µm in 1 image (i1)" in words[1]
    assert words[2] == "no z-step is known of i2"
    (remedy,) = [problem.remedy for problem in report.problems if problem.what == words[2]]
    assert remedy.endswith("Fiji leaves out one of 1 unit); else chapter 5 measures none")
    assert "data types differ: uint16 in 5 images; uint8 in 1 image (i3)" in words[3]
    assert "image sizes differ: 170 × 170 in 5 images; 200 × 200 in 1 image (i2)" in words[4]
    assert words[5] == "the numbers of planes differ: from 2 (i0) to 5 (i1)"
    assert words[6].startswith("the largest values in uint16 differ: from ")
    assert words[6].endswith(" (i4)")
    assert len(words) == 7


def test_a_single_plane_stops_what_measures_volumes(data):
    """A z-step would not help it; see `measuring.measuring_obstacle`."""
    data.write(2, picture(2, planes=1), step=None)
    problem = data.only()
    assert (problem.severity, problem.what) == ("warning", "of a single plane: i2")
    assert problem.remedy == "chapter 5 measures volumes, and measures none while one image is flat"


def test_pixel_sizes_within_five_percent_are_alike(data):
    data.write(0, picture(0), pixel=0.110)
    assert data.check().problems == []


def test_a_nucleus_in_some_images_only(data):
    data.write(0, picture(0, channels=4), (*ORGANELLES, "nucleus"))
    problem = data.only()
    assert problem.severity == "warning"
    assert "none in 5 images; nucleus in 1 image (i0)" in problem.what


def test_classes_that_differ_in_spelling(data):
    data.rows[5][2] = "B "
    data.rows[4][2] = "B"
    words = [problem.what for problem in data.check().problems]
    assert "B and b are 2 classes, and differ in spelling only" in words


def test_a_class_that_is_misspelt(data):
    """The rarer spelling is that of few images, which are named."""
    for number in range(6):
        data.rows[number][2] = ("Kontrole", "Kontrolle", "Kontrolle", "mutant")[min(number, 3)]
    problems = [problem for problem in data.check().problems if "letter" in problem.what]
    assert problems == [
        Problem(
            "warning",
            "classes",
            "Kontrole (of i0) and Kontrolle are two classes, and differ in one letter only",
            "correct the label, if they are one",
        )
    ]


def test_signs_and_numbers_are_no_spelling(data):
    """GFP+ and GFP- are opposites, and slide 1-2 is not slide 12."""
    for number, (label, group) in enumerate((("GFP+", "1-2"), ("GFP-", "12"))):
        data.rows[number][2:4] = [label, group]
    words = " ".join(problem.what for problem in data.check().problems)
    assert "spelling" not in words


def test_planes_without_light_and_planes_twice(data):
    """A laser lost, and a stage that did not move; in one channel of three planes."""
    array = picture(0, planes=3)
    array[1, 2] = 90
    array[2, 1] = array[2, 0]
    data.write(0, array)
    for number in range(1, 6):
        data.write(number, picture(number, planes=3))
    found = [(p.severity, p.where, p.what) for p in data.check().problems]
    assert found == [
        ("warning", "i0", "channel mitochondria has one value in all of 1 of 3 planes"),
        ("warning", "i0", "channel recycling_endosomes has the same pixels in 2 of 3 planes"),
    ]


def test_groups_that_differ_in_spelling(data):
    """One slide under three names would be in training and test at once."""
    for number, name in enumerate(("slide-1", "Slide 1", "slide_1")):
        data.rows[number][3] = name
    problem = data.only()
    assert (problem.severity, problem.where) == ("warning", "groups")
    assert (
        problem.what == "Slide 1 and slide-1 and slide_1 are 3 groups, and differ in spelling only"
    )


def test_sizes_of_another_unit(data):
    """10.6 µm a pixel is a lost decimal point, 500 µm a step nanometres."""
    for number in range(6):
        data.rows[number][5] = "1.06"
        data.write(number, picture(number), step=500)
    found = {(p.severity, p.what.partition(":")[0]) for p in data.check().problems}
    assert found == {
        ("error", "the smallest patch, 7.1 µm, is 7 pixels of 1.06 µm"),
        ("warning", "its planes are 500 µm apart, more than a cell is high"),
    }


def test_the_largest_floats_are_not_all_the_same(data):
    """In 32 bits they would all be infinite."""
    for number in range(6):
        data.write(number, picture(number) * 1e300)
    assert not [p for p in data.check().problems if "same pixels" in p.what]


def test_a_batch_for_each_class_is_found_but_for_copies(data):
    """A copy of an image under the other label would hide that zoom tells the class."""
    for number in range(3):
        data.write(number, picture(number), pixel=0.12)
    (sizes, batch) = data.check().problems
    assert "pixel sizes differ" in sizes.what
    assert "pixel size tells the class of 6 of 6 images" in batch.what
    data.rows.append(["i6", "i6.ome.tif", "b", "", "", ""])
    data.write(6, picture(0), pixel=0.12)
    words = " ".join(problem.what for problem in data.check().problems)
    assert "pixel size tells the class of 6 of 6 images" in words
    assert "i6" not in words.split("tells")[1]


def test_no_row_can_be_read(data):
    data.rows = [["i0"], ["i1"]]
    report = data.check()
    assert [problem.where for problem in report.problems] == ["row 2", "row 3", "classes"]
    with pytest.raises(ManifestError, match="no such file"):
        check_data_set(data.folder / "none.csv", SMOKE)
