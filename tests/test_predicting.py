"""Images predicted by a file: values by hand, what is written, and what is refused."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

keras = pytest.importorskip("keras")

from organelle_fusion import cli, predicting  # noqa: E402
from organelle_fusion.listing import list_images  # noqa: E402
from organelle_fusion.locks import LockError  # noqa: E402
from organelle_fusion.model_file import write_model  # noqa: E402
from organelle_fusion.predicted_files import PredictError, folder_name  # noqa: E402
from organelle_fusion.volumes import write_ome_tiff  # noqa: E402

pytestmark = pytest.mark.keras

SIZE = 20


def stack(columns):
    """(2, 2, 45, 40) of 0 and 100; keys (channel, plane, y, x) → bright columns of that patch."""
    array = np.zeros((2, 2, 45, 40), np.uint16)
    for (channel, z, y, x), count in columns.items():
        array[channel, z, y : y + SIZE, x : x + count] = 100
    return array


PATCHES = {(0, 0, 0, 0): 10, (0, 0, 0, 20): 5, (1, 0, 20, 20): 20, (1, 1, 0, 0): 10}
"""Four of eight patches: means of channel a ½ and ¼, of channel b 1 and ½."""
BORDER = {(0, 1, 40, 0): 20}
"""Rows 40 to 44, which only the patch at the border, rows 25 to 44, covers."""


def write(path, array, channels=("a", "b"), size=0.5):
    write_ome_tiff(path, array, channels, pixel_size_um=size, z_step_um=2.0)
    return path


@pytest.fixture
def model(tmp_path, mean_network, facts_of):
    path = tmp_path / "network.keras"
    # patches of 10 µm; ranges that the stacks lie in
    write_model(path, mean_network, facts_of(seen={"patches": [4, 20]}))
    return path


@pytest.fixture
def predict(tmp_path, monkeypatch, model):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments, network=model):
        return CliRunner().invoke(cli.app, ["predict", str(network), *map(str, arguments)])

    return call


def probability(a, b):
    return 1 / (1 + np.exp(8 * (b - a)))


def test_an_image_is_the_mean_of_the_patches_of_the_grid(tmp_path, predict):
    """Four patches by hand; the one at the border is listed, and does not count."""
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES | BORDER))
    result = predict(path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "predictions/predictions.csv", keep_default_na=False)
    assert table.columns.tolist() == [
        "image", "label", "p:one", "p:two", "patches", "share_kept", "warnings", "error",
    ]  # fmt: skip
    (row,) = table.itertuples(index=False)
    expected = np.mean(
        [probability(0.5, 0), probability(0.25, 0), probability(0, 1), probability(0, 0.5)]
    )
    assert row[:2] == ("s1", "two")
    np.testing.assert_allclose(row[2:4], [expected, 1 - expected], atol=2e-3)
    assert row[4:6] == (4, 0.5)
    assert row[6:] == ("4 patches kept, fewer than 10, so that chance moves the mean", "")
    assert "warning: s1: 4 patches kept" in result.output
    assert re.search(r"^s1: two, probability 0\.53 \(4 patches, 50% kept\)$", result.output, re.M)

    patches = pd.read_csv(tmp_path / "predictions/s1/patches.csv")
    assert len(patches) == 2 * 3 * 2
    kept = patches[patches["kept"]]
    assert kept[["z", "y", "x"]].to_numpy().tolist() == [
        [0, 0, 0], [0, 0, 20], [0, 20, 20], [0, 25, 20], [1, 0, 0], [1, 25, 0],
    ]  # fmt: skip
    assert kept["counted"].tolist() == [True, True, True, False, True, False]
    np.testing.assert_allclose(kept["foreground"], [0.5, 0.25, 1, 0.75, 0.5, 0.25])
    means_of_kept = [(0.5, 0), (0.25, 0), (0, 1), (0, 0.75), (0, 0.5), (0.25, 0)]
    np.testing.assert_allclose(
        kept["p:one"],
        [probability(*means) for means in means_of_kept],
        atol=5e-3,
    )  # fmt: skip
    assert patches.loc[~patches["kept"], "p:one"].isna().all()


def test_maps_and_report_are_written(tmp_path, predict):
    """The map has classes, planes and µm, and is empty where nothing is; the report shows it."""
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES))
    assert predict(path, "--output", "out").exit_code == 0
    folder = tmp_path / "out/s1"
    assert sorted(file.name for file in folder.iterdir()) == [
        "patches.csv", "probabilities.ome.tif", "probabilities.png", "provenance.json",
        "report.html",
    ]  # fmt: skip
    with tifffile.TiffFile(folder / "probabilities.ome.tif") as tiff:
        array, axes, about = tiff.asarray(), tiff.series[0].axes, tiff.ome_metadata
    assert (axes, array.shape, array.dtype) == ("ZCYX", (2, 2, 45, 40), np.float32)
    assert re.findall(r'<Channel [^>]*Name="(\w+)"', about) == ["one", "two"]
    assert 'PhysicalSizeX="0.5"' in about
    assert 'PhysicalSizeZ="2.0"' in about
    assert np.isnan(array[1, :, 30:, :]).all()  # nothing kept below in the second plane
    assert array[0, 0, 1, 1] > 0.9
    np.testing.assert_allclose(array[0].sum(axis=0)[~np.isnan(array[0, 0])], 1, atol=1e-5)
    page = (folder / "report.html").read_text("utf-8")
    assert "s1: two" in page
    assert "2 planes of 45 × 40 pixels of 0.5 µm" in page
    assert len(re.findall(r"[0-9a-f]{64}", page)) == 2  # of image and network
    assert (folder / "probabilities.png").read_bytes()[:4] == b"\x89PNG"


def test_one_bad_image_does_not_lose_the_others(tmp_path, predict):
    """Each failure is one line and a row; the last image is predicted, and the code is 1."""
    good = stack(PATCHES)
    paths = [
        write(tmp_path / "other.ome.tif", good, channels=("a", "x")),
        write(tmp_path / "coarse.ome.tif", good, size=2.0),
        write(tmp_path / "small.ome.tif", good[..., :15]),
        tmp_path / "missing.ome.tif",
        write(tmp_path / "empty.ome.tif", stack({(0, 0, 0, 0): 1, (1, 0, 0, 0): 1})),
        write(tmp_path / "constant.ome.tif", np.zeros_like(good)),
        write(tmp_path / "last.ome.tif", good),
    ]
    result = predict(*paths, "--no-maps")
    assert result.exit_code == 1
    table = pd.read_csv(tmp_path / "predictions/predictions.csv").set_index("image")
    found = {name: str(text) for name, text in table["error"].items()}
    assert "expected the channels a, b after the network" in found["other"]
    assert "expected pixels of 0.125 to 1.25 µm" in found["coarse"]
    assert "a patch of 10 µm is 20 px, expected 1 to 15" in found["small"]
    assert "expected an image file, found none" in found["missing"]
    assert "expected patches with foreground of 10% or more, found none" in found["empty"]
    assert "expected intensities that vary" in found["constant"]
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 6
    assert table["label"].isna().tolist() == [True] * 6 + [False]
    assert table.loc["last", "patches"] == 4
    assert table.loc["empty", ["patches", "share_kept"]].tolist() == [0, 0]
    written = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert [name for name in written if not name.endswith("-predict.log")] == [
        "empty", "last", "predictions.csv", "provenance.json",
    ]  # fmt: skip


def test_channels_and_sizes_are_given_by_options_or_by_a_manifest(tmp_path, predict):
    """Named Tom20 and 0 in the file, whose pixel size is wrong: both ways give the same row."""
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES)[::-1], ("Tom20", "x"), size=0.05)
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "image,path,label,channel_map,pixel_size_um\nmine,s1.ome.tif,?,a=x;b=0,0.5\n", "utf-8"
    )
    options = ["--channel-map", "a=x;b=0", "--pixel-size-um", "0.5", "--no-maps"]
    assert predict(path, *options, "--output", "one").exit_code == 0
    assert predict(manifest, "--no-maps", "--output", "two").exit_code == 0
    one, two = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two"))
    assert (one["image"].tolist(), two["image"].tolist()) == (["s1"], ["mine"])
    pd.testing.assert_frame_equal(one.drop(columns="image"), two.drop(columns="image"))
    assert one["patches"].tolist() == [4]


def test_results_of_two_calls_do_not_mix(tmp_path, predict):
    """Other images, options or a folder of something else are refused, and nothing changes."""
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES))
    assert predict(path, "--no-maps").exit_code == 0
    before = (tmp_path / "predictions/predictions.csv").read_bytes()
    for arguments, words in (
        ([path], "found results of a call with other maps there"),
        ([path, "--no-maps", "--pixel-size-um", "0.6"], "a call with other pixel_size_um there"),
        ([path, "--channel-map", "a=0"], "a call with other maps and channel_map there"),
        ([path, path.with_name("s2.tif"), "--no-maps"], "a call with other images there"),
        ([write(tmp_path / "s2.ome.tif", stack({})), "--no-maps"], "other images there"),
    ):
        result = predict(*arguments)
        assert isinstance(result.exception, PredictError)
        assert "predictions: expected a folder that is new, empty or of" in str(result.exception)
        assert words in str(result.exception)
    assert (tmp_path / "predictions/predictions.csv").read_bytes() == before
    (tmp_path / "predictions/provenance.json").write_text("[", "utf-8")
    assert "found a damaged provenance.json" in str(predict(path, "--no-maps").exception)
    (tmp_path / "predictions/provenance.json").unlink()
    assert "found something else there" in str(predict(path, "--no-maps").exception)


def test_a_call_after_one_that_failed_throughout_may_be_another(tmp_path, predict):
    """An option that was forgotten is added, without deleting anything."""
    paths = [write(tmp_path / f"s{i}.ome.tif", stack(PATCHES), ("x", "y")) for i in range(2)]
    assert predict(*paths, "--no-maps").exit_code == 1
    found = predict(*paths, "--no-maps", "--channel-map", "a=x;b=y")
    assert found.exit_code == 0, found.output
    table = pd.read_csv(tmp_path / "predictions/predictions.csv")
    assert table["label"].tolist() == ["two", "two"]
    # From now on the folder holds results.
    assert "other channel_map there" in str(predict(*paths, "--no-maps").exception)


def test_a_call_after_one_without_foreground_may_be_another(tmp_path, predict):
    """A wrong map shows an empty channel; its list of patches is no result."""
    empty = stack(PATCHES)
    path = write(tmp_path / "s0.ome.tif", np.zeros_like(empty) + empty[:1, :1, :1, :1] * 0)
    first = predict(path, "--no-maps")
    assert first.exit_code == 1
    write(path, empty, ("x", "y"))
    found = predict(path, "--no-maps", "--channel-map", "a=x;b=y")
    assert found.exit_code == 0, found.output


def test_nothing_of_an_earlier_image_stays_beside_one_that_fails(tmp_path, predict, monkeypatch):
    """The image is changed, and now its maps cannot be written: no class, and no old report."""
    path = write(tmp_path / "s0.ome.tif", stack(PATCHES))
    assert predict(path).exit_code == 0
    folder = tmp_path / "predictions/s0"
    assert (folder / "report.html").is_file()
    write(
        path,
        stack(
            {place: PATCHES[other] for place, other in zip(PATCHES, [*PATCHES][::-1], strict=True)}
        ),
    )

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predicting, "_write_maps", full)
    assert predict(path).exit_code == 1
    assert sorted(file.name for file in folder.iterdir()) == ["patches.csv"]
    (row,) = pd.read_csv(tmp_path / "predictions/predictions.csv").to_dict("records")
    assert "No space left" in row["error"]
    assert (row["patches"], row["warnings"]) == (0, pytest.approx(np.nan, nan_ok=True))
    assert np.isnan(row["share_kept"])
    assert np.isnan([row["label"], row["p:one"], row["p:two"]]).all()


@pytest.fixture
def predicted(monkeypatch):
    """Names of the images that are predicted; the one in ``stop`` is interrupted."""
    genuine = predicting.predict_image

    class Names(list):
        stop: tuple = ()

    names = Names()

    def counted(network, volume, facts, **options):
        name = Path(volume.path).name.removesuffix(".ome.tif")
        if name in names.stop:
            raise KeyboardInterrupt
        names.append(name)
        return genuine(network, volume, facts, **options)

    monkeypatch.setattr(predicting, "predict_image", counted)
    return names


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("report.html", "provenance.json")
        if path.suffix != ".log"
    }


def test_the_same_call_goes_on_after_an_interruption(tmp_path, predict, predicted):
    """What was finished is kept, what was not is predicted, and the results are as of one run."""
    paths = [write(tmp_path / f"s{i}.ome.tif", stack(PATCHES)) for i in range(3)]
    assert predict(*paths, "--output", "whole").exit_code == 0
    predicted.clear()
    predicted.stop = ("s1",)
    assert predict(*paths, "--output", "parted").exit_code != 0
    assert predicted == ["s0"]
    predicted.stop = ()
    result = predict(*paths, "--output", "parted")
    assert result.exit_code == 0, result.output
    assert "parted: goes on with what an earlier call has left" in result.output
    assert predicted == ["s0", "s1", "s2"]
    assert contents(tmp_path / "parted") == contents(tmp_path / "whole")
    assert len(re.findall(r"^s\d: two, probability 0\.53", result.output, re.M)) == 3


def test_a_second_call_that_is_interrupted_loses_no_row(tmp_path, predict, predicted):
    """The first image is to be predicted again, and is not; those behind it keep their rows."""
    paths = [write(tmp_path / f"s{i}.ome.tif", stack(PATCHES)) for i in range(3)]
    assert predict(*paths, "--no-maps").exit_code == 0
    table = tmp_path / "predictions/predictions.csv"
    before = table.read_bytes()
    (tmp_path / "predictions/s1/provenance.json").unlink()
    predicted.stop = ("s1",)
    assert predict(*paths, "--no-maps").exit_code != 0
    assert table.read_bytes() == before
    table.write_text("edited", "utf-8")
    predicted.stop = ()
    assert predict(*paths, "--no-maps").exit_code == 0
    assert table.read_bytes() == before


def test_files_of_an_earlier_call_are_named_where_the_image_cannot_be_read_any_more(
    tmp_path, predict
):
    path = write(tmp_path / "s0.ome.tif", stack(PATCHES))
    assert predict(path).exit_code == 0
    path.write_bytes(b"rubbish")
    assert predict(path).exit_code == 1
    (row,) = pd.read_csv(tmp_path / "predictions/predictions.csv").to_dict("records")
    assert row["error"].endswith("; the files in s0 are those of an earlier call")
    assert (tmp_path / "predictions/s0/report.html").is_file()


def test_what_was_damaged_or_changed_is_predicted_again(tmp_path, predict, predicted):
    """A file, a row, an image: each is found by its hash; what is whole is not touched."""
    paths = [write(tmp_path / f"s{i}.ome.tif", stack(PATCHES)) for i in range(4)]
    assert predict(*paths).exit_code == 0
    before = contents(tmp_path / "predictions")
    predicted.clear()
    table = tmp_path / "predictions/s0/patches.csv"
    table.write_bytes(table.read_bytes()[:-5])
    record = tmp_path / "predictions/s1/provenance.json"
    record.write_text(record.read_text("utf-8").replace('"two"', '"one"'), "utf-8")
    result = predict(*paths)
    assert result.exit_code == 0, result.output
    assert predicted == ["s0", "s1"]
    assert "s0/patches.csv: expected the content that was written" in result.output
    assert "s1/provenance.json: expected the row that was written, found another" in result.output
    assert contents(tmp_path / "predictions") == before
    predicted.clear()
    write(paths[3], stack(PATCHES | {(0, 1, 0, 0): 20}))
    assert predict(*paths).exit_code == 0
    assert predicted == ["s3"]


def test_an_image_that_failed_is_tried_again(tmp_path, predict, predicted):
    good, late = write(tmp_path / "s0.ome.tif", stack(PATCHES)), tmp_path / "s1.ome.tif"
    assert predict(good, late, "--no-maps").exit_code == 1
    write(late, stack(PATCHES))
    assert predict(good, late, "--no-maps").exit_code == 0
    assert predicted == ["s0", "s1"]
    table = pd.read_csv(tmp_path / "predictions/predictions.csv")
    assert table["error"].isna().all()


def test_a_manifest_needs_no_labels_and_may_name_a_file_that_is_missing(tmp_path, predict):
    write(tmp_path / "s0.ome.tif", stack(PATCHES))
    manifest = tmp_path / "list.csv"
    manifest.write_text("image,path\na,s0.ome.tif\nb,gone.ome.tif\n", "utf-8")
    assert predict(manifest, "--no-maps").exit_code == 1
    table = pd.read_csv(tmp_path / "predictions/predictions.csv")
    assert table["label"].tolist()[0] == "two"
    assert "gone.ome.tif: expected an image file, found none" in table["error"].iloc[1]
    manifest.write_text("image,path\na,../s0.ome.tif\n", "utf-8")
    assert "which leads out of it" in str(predict(manifest, "--no-maps").exception)


def test_two_calls_at_once_are_kept_apart(tmp_path, predict):
    """The other has taken the folder and written nothing yet; hidden files are no results."""
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES))
    holder = (
        f"from organelle_fusion.locks import run_lock\nwith run_lock({str(tmp_path / 'p')!r}):\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{holder}    print('held', flush=True)\n    input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    result = predict(path, "--no-maps", "--output", "p")
    process.communicate(b"\n")
    assert isinstance(result.exception, LockError)
    (tmp_path / "p" / ".DS_Store").touch()
    assert predict(path, "--no-maps", "--output", "p").exit_code == 0


def test_an_image_may_be_called_as_the_table(tmp_path, predict):
    path = write(tmp_path / "predictions.csv.ome.tif", stack(PATCHES))
    assert predict(path, "--no-maps").exit_code == 0
    (row,) = pd.read_csv(tmp_path / "predictions/predictions.csv").itertuples()
    assert row.image == "predictions.csv"
    assert (tmp_path / "predictions/predictions.csv_/patches.csv").is_file()


def test_a_backend_that_is_not_installed_is_named(model, monkeypatch):
    code = (
        "from organelle_fusion.model_file import ModelFileError, read_model\n"
        f"try: read_model({str(model)!r})\nexcept ModelFileError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "abacus"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert found.startswith(
        "KERAS_BACKEND: expected a backend of Keras that is installed, found ab"
    )
    assert found.count("\n") == 1


def test_a_network_of_a_phantom_says_so(tmp_path, predict, mean_network, facts_of):
    """On the command line and in the report; and names of classes cannot break the page."""
    network = tmp_path / "phantom.keras"
    classes = ("one", "<script>alert(1)</script>")
    write_model(network, mean_network, facts_of(is_phantom=True, classes=classes))
    path = write(tmp_path / "<b>s1.ome.tif", stack(PATCHES))
    result = predict(path, network=network)
    assert result.exit_code == 0, result.output
    assert result.output.count("trained on a phantom") == 1
    page = (tmp_path / "predictions/_b_s1/report.html").read_text("utf-8")
    assert "Trained on a phantom" in page
    assert "<script" not in page
    assert "<b>s1" not in page
    assert html.escape("<b>s1: <script>alert(1)</script>") in page


def test_names_of_images_are_their_own(tmp_path):
    found = list_images([tmp_path / "a.b.OME.TIF", tmp_path / "c.tif"], channel_map={"a": "0"})
    assert found["image"].tolist() == ["a.b", "c"]
    assert found["channel_map"].tolist() == [{"a": "0"}] * 2
    odd = list_images([Path("=1+1.tif"), Path("a\nb.tif")])
    assert odd["image"].tolist() == ["_1+1", "a_b"]
    scenes = list_images([Path("c.czi"), Path("c.czi#scene=0"), Path("d.czi#scene=1")])
    assert scenes["image"].tolist() == ["c", "c-0", "d-1"]
    with pytest.raises(PredictError, match=r"y/c\.tif: expected a name of its own .* found c"):
        list_images([tmp_path / "c.tif", tmp_path / "y" / "c.tif"])
    with pytest.raises(PredictError, match="expected a name of its own"):
        list_images([tmp_path / "c d.tif", tmp_path / "C+d.tif"])
    (tmp_path / "c.tif").touch()
    manifest = tmp_path / "m.csv"
    manifest.write_text("image,path,label\nz,c.tif,?\n", "utf-8")
    with pytest.raises(PredictError, match="fill in the columns of the manifest"):
        list_images([manifest], pixel_size_um=0.1)
    assert folder_name("../x y") == "_._x_y"
    long = [folder_name("細" * 100 + end) for end in "ab"]  # 301 bytes each
    assert long[0] != long[1]
    assert max(len(name.encode()) for name in long) <= 209


def test_a_folder_of_images_is_no_image(tmp_path):
    """But for an OME-Zarr, which is one."""
    (tmp_path / "my stacks").mkdir()
    with pytest.raises(PredictError, match=r"found a folder; .*`organelle-fusion init '.*stacks'`"):
        list_images([tmp_path / "my stacks"])
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / ".zgroup").touch()
    found = list_images([tmp_path / "image", tmp_path / "gone.ome.zarr"])
    assert found["image"].tolist() == ["image", "gone"]


def test_mistakes_of_the_call_are_one_line(tmp_path, predict):
    path = write(tmp_path / "s1.ome.tif", stack(PATCHES))
    for arguments, words in (
        (["--channel-map", "a"], "channel_map: expected ours=theirs"),
        (["--channel-map", "a=0;a=1"], "each of ours once"),
        (["--pixel-size-um", "0,106"], "expected a number, found '0,106'; write a length in µm "),
        (["--pixel-size-um", "nan"], "--pixel-size-um: expected a positive number, found nan"),
        (["--pixel-size-um", "0"], "--pixel-size-um: expected a positive number, found 0.0"),
        ([path], "s1.ome.tif: expected each image once, found it twice; leave one out"),
    ):
        error = predict(path, *arguments).exception
        assert words in str(error)
        assert "\n" not in str(error)
    error = predict(path, network=tmp_path / "none.keras").exception
    assert "none.keras: expected the file of a network, found none" in str(error)
