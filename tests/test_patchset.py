import gc
import json
import pickle

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import patchset
from organelle_fusion.patchset import PatchError, PatchSet, check_manifest, new_patches


@pytest.fixture
def patch_set():
    table = pd.DataFrame(
        {
            "image": ["i0", "i0", "i1", "i2"],
            "label": ["b", "b", "a", "NA"],
            "group": ["g0", "g0", "g1", "g2"],
            "z": [0, 1, 0, 0],
            "y": [0, 0, 8, 8],
            "x": [0, 8, 0, 8],
            "foreground": [0.1, 1 / 3, 0.7, 1.0],
        }
    )
    patches = np.arange(4 * 3 * 3 * 2, dtype=np.uint8).reshape(4, 3, 3, 2)
    return PatchSet(patches, table, ("mitochondria", "nucleus"), 0.2)


def test_classes_are_sorted_labels(patch_set):
    assert patch_set.classes == ("NA", "a", "b")


@pytest.mark.parametrize("index", [[2, 0], np.array([False, True, False, True])])
def test_a_part_keeps_pixels_and_rows_together(patch_set, index):
    part = patch_set.take(index)
    rows = [2, 0] if isinstance(index, list) else [1, 3]
    assert part.patches[:, 0, 0, 0].tolist() == [18 * row for row in rows]
    assert part.table["foreground"].tolist() == patch_set.table["foreground"].iloc[rows].tolist()
    assert part.table.index.tolist() == [0, 1]


@pytest.mark.parametrize("pixel_size_um", [0.2, None])
def test_a_set_survives_the_disk(patch_set, tmp_path, pixel_size_um):
    original = PatchSet(patch_set.patches, patch_set.table, patch_set.channels, pixel_size_um)
    original.save(tmp_path / "set")
    loaded = PatchSet.load(tmp_path / "set")
    np.testing.assert_array_equal(loaded.patches, original.patches)
    pd.testing.assert_frame_equal(loaded.table, original.table)
    assert (loaded.channels, loaded.pixel_size_um) == (original.channels, pixel_size_um)
    assert loaded.data_hash == original.data_hash
    names = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert names == ["patches.json", "patches.npy", "patches.parquet"]


def test_an_equal_set_is_left_alone_and_another_is_not(patch_set, tmp_path):
    """What was made from the files holds as long as they do; a damaged set is written anew."""

    def times():
        return [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]

    patch_set.save(tmp_path)
    before = times()
    patch_set.save(tmp_path)
    assert times() == before
    other = PatchSet(patch_set.patches, patch_set.table, patch_set.channels, 0.3)
    other.save(tmp_path)
    assert PatchSet.load(tmp_path).pixel_size_um == 0.3
    (tmp_path / "patches.npy").write_bytes(b"torn")
    other.save(tmp_path)
    assert PatchSet.load(tmp_path).data_hash == other.data_hash
    text = (tmp_path / "patches.json").read_text("utf-8")
    code = json.loads(text)["code"]
    (tmp_path / "patches.json").write_text(text.replace(code, "of other code"), "utf-8")
    other.save(tmp_path)
    assert json.loads((tmp_path / "patches.json").read_text("utf-8"))["code"] == code


def test_the_hash_sees_pixels_labels_channels_and_scale(patch_set):
    pixels = patch_set.patches.copy()
    pixels[3, 2, 2, 1] += 1
    table = patch_set.table.assign(label=["b", "b", "a", "a"])
    channels = ("nucleus", "mitochondria")
    others = [
        PatchSet(pixels, patch_set.table, patch_set.channels, 0.2),
        PatchSet(patch_set.patches, table, patch_set.channels, 0.2),
        PatchSet(patch_set.patches, patch_set.table, channels, 0.2),
        PatchSet(patch_set.patches, patch_set.table, patch_set.channels, None),
    ]
    assert len({patch_set.data_hash, *(other.data_hash for other in others)}) == 5


def test_pixels_cannot_change_after_the_hash(patch_set):
    with pytest.raises(ValueError, match="read-only"):
        patch_set.patches[0] = 0


def test_a_file_of_another_run_is_noticed(patch_set, tmp_path):
    patch_set.save(tmp_path)
    np.save(tmp_path / "patches.npy", patch_set.patches[::-1])
    with pytest.raises(PatchError, match=r"expected data of hash \w{12}, .* found \w{12}; save"):
        PatchSet.load(tmp_path)


@pytest.mark.parametrize("name", ["patches.npy", "patches.parquet", "patches.json"])
def test_a_torn_file_is_noticed(patch_set, tmp_path, name):
    patch_set.save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PatchError, match="cannot be read") as error:
        PatchSet.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["patches.npy", "patches.parquet", "patches.json"])
def test_a_missing_file_is_named(patch_set, tmp_path, name):
    patch_set.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PatchError, match=f"{name}: expected a file of a patch set, found none"):
        PatchSet.load(tmp_path)


def test_parts_that_do_not_belong_together_are_refused(patch_set):
    patches, table, channels = patch_set.patches, patch_set.table, patch_set.channels
    for arguments, message in (
        ((patches[:3], table, channels), r"N, C = \(4, 2\)"),
        ((patches, table, channels[:1]), r"N, C = \(4, 1\)"),
        ((patches.astype(float), table, channels), "expected uint8"),
        ((patches, table.drop(columns="group"), channels), "expected column group"),
    ):
        with pytest.raises(PatchError, match=message):
            PatchSet(*arguments, 0.2)


@pytest.mark.parametrize(
    ("labels", "found"),
    [([1, 2, 10, 10], r"1 \(int64\)"), (["a", 2.5, "b", "a"], r"2.5 \(float\)"),
     (["a", None, "b", "a"], "nan"), (pd.Categorical([3, 1, 3, 1]), r"3 \(int\)")],
)  # fmt: skip
def test_labels_that_are_no_text_are_refused(patch_set, labels, found):
    """As numbers 2 comes before 10, as texts after it: labels and classes would be mixed up."""
    table = patch_set.table.assign(label=labels)
    with pytest.raises(PatchError, match=f"column label: expected text, found {found}.*; name"):
        PatchSet(patch_set.patches, table, patch_set.channels, 0.2)


def test_class_numbers_of_texts_that_are_numbers(patch_set):
    """Sorted as texts, 10 is between 1 and 2."""
    table = patch_set.table.assign(label=np.array([2, 10, 1, 10]).astype(str))
    found = PatchSet(patch_set.patches, table, patch_set.channels, 0.2)
    assert found.classes == ("1", "10", "2")
    assert found.class_numbers.tolist() == [2, 1, 0, 1]


def test_crops_become_patches_without_a_scale():
    """Channels go last, pixels stay as they are, and nothing is in µm."""
    crops = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    table = pd.DataFrame(
        {"image": ["i", "j"], "label": ["a", "b"], "group": ["g", "h"], "keep": True}, index=[7, 9]
    )
    found = PatchSet.from_crops(crops, table, ("x", "y", "z"))
    assert found.patches[1, 0, 1].tolist() == [13, 17, 21]
    assert found.table["group"].tolist() == ["g", "h"]
    assert (found.channels, found.pixel_size_um) == (("x", "y", "z"), None)


def test_split_groups_gives_every_patch_a_group_of_its_own(patch_set):
    """No two patches stay together, and nothing else of the set changes."""
    split = patch_set.split_groups()
    assert split.table["group"].is_unique
    for old, new in zip(patch_set.table["group"], split.table["group"], strict=True):
        assert new.startswith(str(old))
    rest = patch_set.table.columns.drop("group")
    pd.testing.assert_frame_equal(split.table[rest], patch_set.table[rest])
    np.testing.assert_array_equal(split.patches, patch_set.patches)
    assert split.data_hash != patch_set.data_hash


def stack(planes, patches_at=1):
    """Patches of images a and b, `patches_at` of them in each of the listed planes."""
    rows = [
        (image, z, y) for image, of_image in planes.items() for z in of_image
        for y in range(patches_at)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["image", "z", "y"])
    table = table.assign(label=table["image"], group="slide", x=0)
    pixels = np.arange(len(table), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return PatchSet(pixels, table, ("mitochondria",), 0.2)


def test_slabs_of_ten_planes_with_two_left_out_between():
    """Planes 1 to 9 and 3 to 12: 9 − 2 are 4 and 3, 10 − 2 are 4 and 4."""
    whole = stack({"a": range(1, 10), "b": range(3, 13)}, patches_at=2)
    assert whole.planes.to_dict() == {"a": 9, "b": 10}
    parted = whole.split_slabs(2, 2)
    of_group = parted.table.groupby("group")["z"].agg(lambda z: sorted(set(z))).to_dict()
    assert of_group == {
        "a slab 1": [1, 2, 3, 4],
        "a slab 2": [7, 8, 9],
        "b slab 1": [3, 4, 5, 6],
        "b slab 2": [9, 10, 11, 12],
    }
    assert parted.table["group"].value_counts().tolist() == [8, 8, 8, 6]
    # pixels stay with their rows, and the whole set is as it was
    kept = whole.table.reset_index().merge(parted.table[["image", "z", "y"]])["index"]
    assert parted.patches[:, 0, 0, 0].tolist() == kept.tolist()
    assert set(whole.table["group"]) == {"slide"}


def test_slabs_without_a_gap_lose_nothing_and_three_may_leave_one_empty():
    """Seven planes in three: 3, 2, 2; planes without a patch count for the depth."""
    parted = stack({"a": [0, 1, 2, 5, 6]}).split_slabs(3, 0)
    assert parted.table["group"].tolist() == ["a slab 1"] * 3 + ["a slab 3"] * 2
    assert parted.table["z"].tolist() == [0, 1, 2, 5, 6]


@pytest.mark.parametrize(
    ("planes", "found"), [(range(3), 3), ([4], 1)], ids=["thin", "as ready-cut crops"]
)
def test_an_image_of_too_few_planes_has_no_slabs(planes, found):
    whole = stack({"a": range(9), "b": planes})
    message = rf"^image b: expected 4 planes or more for 2 slabs with 2 left out .*found {found};"
    with pytest.raises(PatchError, match=message):
        whole.split_slabs(2, 2)


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    """Memory that holds 71 of the 72 bytes of `patch_set`; the folder of temporary files."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(patchset.tempfile, "tempdir", str(scratch))
    total = patchset.psutil.virtual_memory().total
    monkeypatch.setattr(patchset, "MEMORY_SHARE", 71.5 / total)
    return scratch


def test_more_patches_than_memory_are_mapped(patch_set, tmp_path, little_memory):
    """The same set, hash and parts as in memory; a part that fits is in memory again."""
    patch_set.save(tmp_path / "set")
    loaded = PatchSet.load(tmp_path / "set")
    assert isinstance(loaded.patches, np.memmap)
    np.testing.assert_array_equal(loaded.patches, patch_set.patches)
    assert loaded.data_hash == patch_set.data_hash
    with pytest.raises(ValueError, match="read-only"):
        loaded.patches[0] = 0
    whole, part = loaded.take([3, 2, 1, 0]), loaded.take([3, 1])
    np.testing.assert_array_equal(whole.patches, patch_set.patches[::-1])
    np.testing.assert_array_equal(part.patches, patch_set.patches[[3, 1]])
    assert isinstance(whole.patches, np.memmap)
    assert not isinstance(part.patches, np.memmap)
    whole.save(tmp_path / "turned")
    assert PatchSet.load(tmp_path / "turned").data_hash == whole.data_hash


def test_as_many_patches_as_memory_holds_are_read(patch_set, tmp_path, monkeypatch):
    """A file of 72 bytes and its header of 128."""
    total = patchset.psutil.virtual_memory().total
    patch_set.save(tmp_path / "set")
    for size, mapped in [(199.5, True), (200.5, False)]:
        monkeypatch.setattr(patchset, "MEMORY_SHARE", size / total)
        assert isinstance(PatchSet.load(tmp_path / "set").patches, np.memmap) == mapped


def test_rows_are_copied_into_memory_or_a_file(patch_set, little_memory):
    """Patches by their size; features are small, and of another type."""
    rows = np.array([3, 0, 1])
    few, many = (patchset.take_rows(patch_set.patches, rows[:n].repeat(2)) for n in (1, 3))
    assert (isinstance(few, np.memmap), isinstance(many, np.memmap)) == (False, True)
    np.testing.assert_array_equal(many, patch_set.patches[rows.repeat(2)])
    features = np.arange(40, dtype=np.float32).reshape(4, 10)
    taken = patchset.take_rows(features, rows)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, features[rows])


def test_files_of_new_patches_go_with_them(little_memory):
    """Each is there as long as a view of its array is."""
    patches = new_patches((8, 3, 3, 2))
    patches[:] = 7
    (path,) = little_memory.iterdir()
    view = patches[2:4, ..., 0]
    del patches
    gc.collect()
    assert path.exists()
    assert (view == 7).all()
    del view
    gc.collect()
    assert not path.exists()


def test_a_full_disk_is_refused_before_it_is_written_to(little_memory, monkeypatch):
    """A map of a file on a full disk would end the process."""
    usage = patchset.shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(patchset.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(PatchError, match=r"GB free for patches .* found 0.0; set TMPDIR"):
        new_patches((8, 3, 3, 2))
    assert not list(little_memory.iterdir())


def test_mapped_patches_are_sent_by_the_name_of_their_file(tmp_path, little_memory):
    """And all others as they are, also a part of a mapped file."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 2), dtype=np.uint8)
    table = pd.DataFrame({"image": ["i"] * 50, "label": "a", "group": "g", "z": 0, "y": 0, "x": 0})
    PatchSet(pixels, table, ("a", "b"), 0.2).save(tmp_path / "set")
    mapped = PatchSet.load(tmp_path / "set")
    sent = pickle.dumps(mapped)
    assert len(sent) < pixels.nbytes < len(pickle.dumps(PatchSet(pixels, table, ("a", "b"), 0.2)))
    received = pickle.loads(sent)
    assert isinstance(received.patches, np.memmap)
    np.testing.assert_array_equal(received.patches, pixels)
    assert received.data_hash == mapped.data_hash
    assert not received.patches.flags.writeable
    later = PatchSet(mapped.patches[20:40], table[:20], ("a", "b"), 0.2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(later)).patches, pixels[20:40])


MANIFEST = pd.DataFrame(
    {"image": ["i2", "i0", "i1"], "label": ["NA", "b", "a"], "group": ["g2", "g0", "g1"]}
)


def test_patches_of_the_manifest_as_it_is_are_loaded(patch_set, tmp_path):
    """In whatever order its rows are."""
    patch_set.save(tmp_path / "set")
    assert PatchSet.load(tmp_path / "set", MANIFEST).data_hash == patch_set.data_hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(label=["NA", "a", "b"]), "image i0 with label a, not b"),
        (lambda t: t.assign(group=["g2", "g0", "g0"]), "image i1 with group g0, not g1"),
        (lambda t: t.iloc[:2], "no image i1, of which there are patches"),
        (lambda t: t.assign(image=["i2", "i0", "new"]), "image new, of which there is no patch"),
    ],
    ids=["labels swapped", "regrouped", "fewer", "renamed"],
)
def test_patches_of_another_manifest_are_refused(patch_set, tmp_path, change, words):
    """A network would be trained on the labels of before, and nobody told."""
    patch_set.save(tmp_path / "set")
    with pytest.raises(PatchError, match=rf"{words}; run `make chapter N=02` again") as refused:
        PatchSet.load(tmp_path / "set", change(MANIFEST))
    assert "\n" not in str(refused.value)
    with pytest.raises(PatchError, match="N=06"):
        check_manifest(patch_set.table, change(MANIFEST), "06")


def test_a_set_is_not_saved_over_a_file(patch_set, tmp_path):
    place = tmp_path / "patches"
    place.write_text("notes")
    with pytest.raises(PatchError, match=f"^{place}: expected a folder .*; name another$"):
        patch_set.save(place)
    assert place.read_text() == "notes"
