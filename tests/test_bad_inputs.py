"""Malformed inputs, each refused by the command in one line: where, expected, found, remedy.

Whatever is wrong with a file, the command ends with exit code 1, without a traceback, in bounded
memory and time. Beside them are inputs that look odd and are none the less right.
"""

import json
import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from organelle_fusion import cli
from organelle_fusion.config import Profile, UserError, load_profile
from organelle_fusion.manifest import read_manifest
from organelle_fusion.volumes import open_volume, write_ome_tiff

CHANNELS = load_profile("smoke").channels
RANDOM = np.random.default_rng(0)
UM = 0.3


def blobs(seed: int) -> np.ndarray:
    """Three channels of two planes, 17.7 µm of which, the largest patch of smoke, are 59 px."""
    field = gaussian_filter(np.random.default_rng(seed).random((3, 2, 160, 160)), (0, 0, 3, 3))
    return (4000 * (field - field.min()) / np.ptp(field)).astype(np.uint16)


STACK = blobs(0)
SIZES = {"PhysicalSizeX": UM, "PhysicalSizeY": UM, "Channel": {"Name": list(CHANNELS)}}


def whole(path: Path, array: np.ndarray = STACK, channels=CHANNELS) -> Path:
    """A stack as it should be."""
    write_ome_tiff(path, array, channels, pixel_size_um=UM, z_step_um=0.3)
    return path


def saved(path: Path, array: np.ndarray, axes: str = "CZYX", **options) -> Path:
    """A stack written by tifffile, whatever that makes of it."""
    metadata = {"axes": axes, **SIZES, **options.pop("metadata", {})}
    tifffile.imwrite(path, array, ome=True, photometric="minisblack", metadata=metadata, **options)
    return path


def edited(path: Path, *pairs: tuple[bytes, bytes], array: np.ndarray = STACK) -> Path:
    """A stack whose description was changed, each time to a text of the same length."""
    content = saved(path, array).read_bytes()
    for old, new in pairs:
        assert content.count(old) >= 1, old
        assert len(new) <= len(old)
        content = content.replace(old, new.ljust(len(old)))
    path.write_bytes(content)
    return path


def listed(
    folder: Path, stacks: list[Path], header="image,path,label", row="{name},{path},{label}"
):
    """A manifest of six images, of which the first are those given."""
    stacks = [*stacks, *(folder / f"whole{k}.ome.tif" for k in range(6 - len(stacks)))]
    for number, path in enumerate(stacks):
        if not os.path.lexists(path):
            whole(path, blobs(number + 1))
    lines = [
        row.format(name=f"i{k}", path=path.relative_to(folder), label="AB"[k % 2])
        for k, path in enumerate(stacks)
    ]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join([header, *lines, ""]), "utf-8")
    return manifest


def run(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code and what the command prints; an exception that gets out fails the test."""
    monkeypatch.setattr(sys, "argv", ["organelle-fusion", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def one_refusal(err: str, path: Path) -> None:
    """The error stream is one line that says where, expected, found and remedy."""
    assert re.fullmatch(rf"error: {re.escape(str(path))}: .*expected .*found .*; .*\n", err), err
    assert len(err) < 2000


# --- images -------------------------------------------------------------------------------------


def cut(path: Path, share: float) -> Path:
    whole(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def looping(path: Path) -> Path:
    """The first page says that the next page is the first."""
    content = bytearray(saved(path, STACK).read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * tags, first)
    path.write_bytes(content)
    return path


def huge(path: Path) -> Path:
    """The first page claims four thousand million rows."""
    content = bytearray(saved(path, STACK).read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    for entry in range(first + 2, first + 2 + 12 * tags, 12):
        (tag,) = struct.unpack_from("<H", content, entry)
        if tag in (256, 257):  # width, length
            struct.pack_into("<HHII", content, entry, tag, 4, 1, 2**31)
    path.write_bytes(content)
    return path


def bomb(path: Path) -> Path:
    """A page of 100 × 100 pixels, whose compressed stretch stands for 300 MB."""
    saved(path, STACK, compression="zlib", rowsperstrip=160)
    content = bytearray(path.read_bytes())
    packed = zlib.compress(bytes(300_000_000), 9)
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    for entry in range(first + 2, first + 2 + 12 * tags, 12):
        (tag,) = struct.unpack_from("<H", content, entry)
        if tag == 273:  # where the stretch lies
            struct.pack_into("<HHII", content, entry, tag, 4, 1, len(content))
        if tag == 279:  # its length
            struct.pack_into("<HHII", content, entry, tag, 4, 1, len(packed))
    path.write_bytes(bytes(content) + packed)
    return path


def floats(path: Path, value: float) -> Path:
    array = STACK.astype(np.float32)
    array[1, 1, 3, 4] = value
    return whole(path, array)


def constant(path: Path) -> Path:
    array = STACK.copy()
    array[2] = 7
    return whole(path, array)


def directory(path: Path) -> Path:
    path.mkdir()
    return path


def dangling(path: Path) -> Path:
    path.symlink_to(path.with_name("gone.ome.tif"))
    return path


def circular(path: Path) -> Path:
    path.symlink_to(path)
    return path


def laughs(path: Path) -> Path:
    """Entities of entities in the description of the stack."""
    levels = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    xml = (
        f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY e0 "ha">{levels}]>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="160" SizeY="160" '
        'SizeC="3" SizeZ="2" SizeT="1"><Channel ID="Channel:0:0" Name="&e9;"/></Pixels></Image>'
        "</OME>"
    )
    tifffile.imwrite(path, STACK, photometric="minisblack", description=xml.encode(), metadata=None)
    return path


OME = "b.ome.tif"
IMAGES = {
    "cut in half": (OME, lambda p: cut(p, 0.5)),
    "cut before its last bytes": (OME, lambda p: cut(p, 0.99)),
    "cut within its header": (OME, lambda p: text(p, b"II*\0")),
    "empty": (OME, lambda p: text(p, b"")),
    "zeros": (OME, lambda p: text(p, bytes(5000))),
    "noise": (OME, lambda p: text(p, RANDOM.bytes(5000))),
    "text": (OME, lambda p: text(p, b"no image at all\n" * 99)),
    "PNG under another name": (OME, lambda p: text(p, b"\x89PNG\r\n\x1a\n" + bytes(99))),
    "gzip under another name": (OME, lambda p: text(p, b"\x1f\x8b\x08\0" + bytes(99))),
    "pages in a circle": (OME, looping),
    "huge dimensions": (OME, huge),
    "huge dimensions in the description": (
        OME, lambda p: edited(p, (b'SizeX="160"', b'SizeX="9e9"'), (b'SizeZ="2"', b'SizeZ="9"')),
    ),
    "more planes than there are": (OME, lambda p: edited(p, (b'SizeZ="2"', b'SizeZ="8"'))),
    "size 0": (OME, lambda p: edited(p, (b'SizeC="3"', b'SizeC="0"'))),
    "a bomb of zeros": (OME, bomb),
    "no XML": (OME, lambda p: edited(p, (b"</OME>", b"<OME"))),
    "entities of entities": (OME, laughs),
    "32-bit integers": (OME, lambda p: whole(p, STACK.astype(np.uint32))),
    "complex numbers": (OME, lambda p: saved(p, STACK.astype(np.complex64))),
    "bits": (OME, lambda p: saved(p, STACK > 9)),
    "NaN": (OME, lambda p: floats(p, np.nan)),
    "infinity": (OME, lambda p: floats(p, np.inf)),
    "minus infinity": (OME, lambda p: floats(p, -np.inf)),
    "one value": (OME, lambda p: whole(p, np.full_like(STACK, 5))),
    "one value in a channel": (OME, constant),
    "one plane of one channel": (OME, lambda p: saved(p, STACK[0, 0], "YX")),
    "two channels of three": (OME, lambda p: whole(p, STACK[:2], CHANNELS[:2])),
    "channels of other names": (OME, lambda p: whole(p, STACK, ("x", "y", "z"))),
    "time series": (OME, lambda p: saved(p, np.stack([STACK] * 2), "TCZYX")),
    "swapped axes": ("b.tif", lambda p: tifffile.imwrite(
        p, STACK.transpose(2, 3, 0, 1), metadata={"axes": "YXCZ"}) or p),
    "colours": ("b.tif", lambda p: tifffile.imwrite(p, STACK[:, 0].astype(np.uint8).transpose(
        1, 2, 0), photometric="rgb", imagej=True) or p),
    "no axes": ("b.tif", lambda p: tifffile.imwrite(p, STACK) or p),
    "no pixel size": (OME, lambda p: edited(p, (b"PhysicalSizeX=", b"PhysicalTimeX="))),
    "pixel size 0": (OME, lambda p: edited(p, (b'SizeX="0.3"', b'SizeX="0"'))),
    "negative pixel size": (OME, lambda p: edited(p, (b'SizeX="0.3"', b'SizeX="-1"'))),
    "pixel size in words": (OME, lambda p: edited(p, (b'SizeX="0.3"', b'SizeX="x"'))),
    "oblong pixels": (OME, lambda p: edited(p, (b'PhysicalSizeX="0.3"', b'PhysicalSizeX="0.9"'))),
    "a plane smaller than a patch": (OME, lambda p: whole(p, STACK[..., :9, :9])),
    "a folder": (OME, directory),
    "a link to nothing": (OME, dangling),
    "a link to itself": (OME, circular),
    "Nikon": ("b.nd2", lambda p: text(p, RANDOM.bytes(500))),
    "Leica": ("b.lif", lambda p: text(p, RANDOM.bytes(500))),
    "Imaris": ("b.ims", lambda p: text(p, RANDOM.bytes(500))),
    "Zeiss of noise": ("b.czi", lambda p: text(p, RANDOM.bytes(5000))),
    "LSM of noise": ("b.lsm", lambda p: text(p, RANDOM.bytes(5000))),
    "an empty Zarr": ("b.ome.zarr", directory),
}  # fmt: skip


# What only the pixels tell; the others are found before any training as well.
PIXELS = {
    "a bomb of zeros", "32-bit integers", "NaN", "infinity", "minus infinity", "one value",
    "one value in a channel", "a plane smaller than a patch",
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_refused(tmp_path, monkeypatch, capsys, name):
    """The check names the image and no other; what makes the book ends with one line."""
    file, build = IMAGES[name]
    manifest = listed(tmp_path, [build(tmp_path / file)])
    code, out, err = run(monkeypatch, capsys, "check", manifest, "--profile", "smoke", "--json")
    problems = [p for p in json.loads(out)["problems"] if p["severity"] == "error"]
    # What is wrong with the path is said of the row.
    assert code == 1
    assert {problem["where"].split(",")[0] for problem in problems} <= {"i0", "row 2"}, out + err
    assert problems
    for problem in problems:
        assert problem["what"]
        assert problem["remedy"]
        assert "\n" not in problem["what"] + problem["remedy"]
    if name not in PIXELS:
        code, out, err = run(
            monkeypatch, capsys, "reproduce", "--dry-run", "--profile", "smoke",
            "--manifest", manifest,
        )  # fmt: skip
        assert (code, out) == (1, ""), out + err
        one_refusal(err, manifest)
        assert file.partition(".")[0] in err


@pytest.mark.parametrize("name", ["huge dimensions", "a bomb of zeros", "pages in a circle"])
def test_memory_and_time_are_bounded(tmp_path, name):
    """With 3 GB of addresses, and within a minute, imports and all."""
    file, build = IMAGES[name]
    manifest = listed(tmp_path, [build(tmp_path / file)])
    script = (
        "import resource, sys; "
        f"sys.argv = ['organelle-fusion', 'check', {str(manifest)!r}, '--profile', 'smoke']; "
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9,) * 2); "
        "from organelle_fusion.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "i0: " in done.stdout


# --- manifests ----------------------------------------------------------------------------------

HEADER = "image,path,label"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(*lines: str, header: str = HEADER) -> str:
    return "\n".join([header, *lines, ""])


def outside(folder: Path) -> str:
    """A path that leads out of the folder of the manifest."""
    whole(folder.parent / f"{folder.name}-b.ome.tif")
    return f"../{folder.name}-b.ome.tif"


def linked(folder: Path) -> str:
    whole(folder.parent / f"{folder.name}-c.ome.tif")
    (folder / "link.ome.tif").symlink_to(folder.parent / f"{folder.name}-c.ome.tif")
    return "link.ome.tif"


MANIFESTS = {
    "empty": lambda f: "",
    "blank lines": lambda f: "\n\n\n",
    "a header alone": lambda f: HEADER,
    "no header": lambda f: "i0,a.tif,A\ni1,a.tif,B\n",
    "semicolons": lambda f: rows("i0;a.tif;A", header="image;path;label"),
    "tabulators": lambda f: rows("i0\ta.tif\tA", header="image\tpath\tlabel"),
    "UTF-16": lambda f: rows("i0,a.tif,A").encode("utf-16"),
    "Latin-1": lambda f: rows("ä,a.tif,A").encode("latin-1"),
    "a picture": lambda f: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "a quote that does not end": lambda f: rows('"i0,a.tif,A'),
    "a misspelt column": lambda f: rows("i0,a.tif,A", header="image,path,lable"),
    "an unknown column": lambda f: rows("i0,a.tif,A,1", header=f"{HEADER},zoom"),
    "a column twice": lambda f: rows("i0,a.tif,A,A", header=f"{HEADER},label"),
    "no column of labels": lambda f: rows("i0,a.tif", header="image,path"),
    "a cell too many": lambda f: rows("i0,a.tif,A,1"),
    "a cell too few": lambda f: rows("i0,a.tif"),
    "no image": lambda f: rows(",a.tif,A"),
    "no label": lambda f: rows("i0,a.tif,"),
    "a file that is not there": lambda f: rows("i0,b.tif,A"),
    "a path of Windows": lambda f: rows("i0,stacks\\a.tif,A"),
    "a drive of Windows": lambda f: rows("i0,C:\\data\\a.tif,A"),
    "a path of 5,000 characters": lambda f: rows(f"i0,{'a' * 5000},A"),
    "a path with NUL": lambda f: rows("i0,a\0.tif,A"),
    "a path out of the folder": lambda f: rows(f"i0,{outside(f)},A"),
    "a link out of the folder": lambda f: rows(f"i0,{linked(f)},A"),
    "an image twice": lambda f: rows("i0,a.tif,A", "i0,a.tif,B"),
    "a file twice": lambda f: rows("i0,a.tif,A", "i1,./a.tif,B"),
    "a formula as label": lambda f: rows("i0,a.tif,=1+1"),
    "a formula of a sign": lambda f: rows("i0,a.tif,-2+3+cmd|x!A1"),
    "a formula as name": lambda f: rows("@SUM(A1),a.tif,A"),
    "a name of two lines": lambda f: rows('"i\n0",a.tif,A'),
    "a name that rings": lambda f: rows("i\a0,a.tif,A"),
    "a name of 5,000 characters": lambda f: rows(f"{'i' * 5000},a.tif,A"),
    "a cell of 200,000 characters": lambda f: rows(f"i0,a.tif,{'A' * 200_000}"),
    "pixel size in words": lambda f: rows("i0,a.tif,A,small", header=f"{HEADER},pixel_size_um"),
    "pixel size 0": lambda f: rows("i0,a.tif,A,0", header=f"{HEADER},pixel_size_um"),
    "negative pixel size": lambda f: rows("i0,a.tif,A,-1", header=f"{HEADER},pixel_size_um"),
    "infinite pixel size": lambda f: rows("i0,a.tif,A,inf", header=f"{HEADER},pixel_size_um"),
    "decimal comma": lambda f: rows('i0,a.tif,A,"0,1"', header=f"{HEADER},pixel_size_um"),
    "a channel map without =": lambda f: rows("i0,a.tif,A,x", header=f"{HEADER},channel_map"),
    "a channel mapped twice": lambda f: rows("i0,a.tif,A,x=0;x=1", header=f"{HEADER},channel_map"),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_refused(tmp_path, monkeypatch, capsys, name):
    """One line on the error stream, and nothing else."""
    (tmp_path / "a.tif").touch()
    manifest = written(tmp_path, MANIFESTS[name](tmp_path))
    code, out, err = run(
        monkeypatch, capsys, "reproduce", "--dry-run", "--profile", "smoke", "--manifest", manifest
    )
    assert (code, out) == (1, ""), out + err
    one_refusal(err, manifest)
    code, out, err = run(monkeypatch, capsys, "check", manifest, "--profile", "smoke")
    assert code == 1, out + err
    assert "expected" in out + err


@pytest.mark.parametrize("found", ["nothing", "a folder"])
def test_a_manifest_that_is_no_file(tmp_path, monkeypatch, capsys, found):
    path = tmp_path / "manifest.csv"
    if found == "a folder":
        path.mkdir()
    code, _, err = run(monkeypatch, capsys, "check", path, "--profile", "smoke")
    assert code == 1
    one_refusal(err, path)


def test_what_looks_odd_and_is_right(tmp_path):
    """A byte-order mark, lines of Windows, spaces, quotes, other letters, markup as a label."""
    folder = tmp_path / "Ordner mit Ümlaut, und Komma"
    folder.mkdir()
    (folder / "zelle №1 'x'.tif").touch()
    path = folder / "manifest.csv"
    row = '"zelle 1, oben","zelle №1 \'x\'.tif",<b>MCF-7</b> & co'
    path.write_bytes(f"{HEADER}\r\n{row}\r\n".encode("utf-8-sig"))
    frame = read_manifest(path)
    assert frame.loc[0, ["image", "label"]].tolist() == ["zelle 1, oben", "<b>MCF-7</b> & co"]
    assert frame.loc[0, "path"] == str(folder / "zelle №1 'x'.tif")


def test_a_full_path_may_lead_anywhere(tmp_path):
    """It is only what looks as if it lay in the folder that has to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere" / "a.tif").touch()
    full = tmp_path / "elsewhere" / "a.tif"
    frame = read_manifest(written(tmp_path / "data", rows(f"i0,{full},A")))
    assert frame.loc[0, "path"] == str(full)
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "b.tif").touch()
    written(tmp_path / "data", rows("i0,b.tif,A"))
    assert len(read_manifest(tmp_path / "link" / "manifest.csv")) == 1


# --- profiles -----------------------------------------------------------------------------------


def changed(**values) -> str:
    content = load_profile("smoke").model_dump(mode="json") | {"name": "mine"}
    for key, value in values.items():
        section, _, name = key.partition("__")
        target = content[section] if name else content
        target[name or section] = value
    return yaml.safe_dump(content)


PROFILES = {
    "empty": lambda: "",
    "a word": lambda: "quick",
    "a list": lambda: "- 1\n- 2\n",
    "a bracket that does not end": lambda: "[1, 2",
    "tabulators": lambda: "training:\n\tepochs: 3\n",
    "an object of Python": lambda: "!!python/object/apply:os.system ['exit 9']",
    "a name of Python": lambda: "name: !!python/name:os.system",
    "an unknown tag": lambda: "name: !secret x",
    "aliases of aliases": lambda: "".join(
        [
            "a0: &a0 [x, x]\n",
            *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)),
        ]
    ),
    "an alias of itself": lambda: "name: &x [*x]",
    "5,000 brackets": lambda: "name: " + "[" * 5000,
    "a key twice": lambda: changed() + "\nname: other\n",
    "a key of another kind": lambda: changed() + "\n? [a, b]\n: 1\n",
    "an unknown key": lambda: changed(colour="red"),
    "a misspelt key": lambda: changed(training__epoch=3),
    "a key that is missing": lambda: "name: mine\n",
    "no epochs": lambda: changed(training__epochs=0),
    "half an epoch": lambda: changed(training__epochs=1.5),
    "epochs in words": lambda: changed(training__epochs="many"),
    "NaN": lambda: changed(training__learning_rate=float("nan")),
    "infinity": lambda: changed(training__learning_rate=float("inf")),
    "a date that is none": lambda: "name: 2026-13-45",
    "a text of 100,000 characters": lambda: changed(encoder__kind="x" * 100_000),
    "Latin-1": lambda: "name: ä".encode("latin-1"),
    "noise": lambda: RANDOM.bytes(500),
    "NUL": lambda: "name: a\0b",
}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_refused(tmp_path, monkeypatch, capsys, name):
    content = PROFILES[name]()
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = run(monkeypatch, capsys, "reproduce", "--dry-run", "--profile", path)
    assert (code, out) == (1, ""), out + err
    one_refusal(err, path)


# --- anything at all ----------------------------------------------------------------------------

FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def one_line(error: UserError, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(path) in str(error)


@FUZZ
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_text_is_a_manifest_or_is_refused(tmp_path, content):
    path = written(tmp_path, content)
    try:
        read_manifest(path)
    except UserError as error:
        one_line(error, path)


CELL = st.text(st.characters(codec="utf-8"), max_size=12)


@FUZZ
@given(lines=st.lists(st.lists(CELL, min_size=3, max_size=6), min_size=1, max_size=4))
def test_any_cells_are_a_manifest_or_are_refused(tmp_path, lines):
    """What is accepted keeps its names."""
    (tmp_path / "a.tif").touch()
    table = pd.DataFrame([row[:3] for row in lines], columns=HEADER.split(","))
    table["path"] = "a.tif"
    path = tmp_path / "manifest.csv"
    table.to_csv(path, index=False)
    try:
        frame = read_manifest(path)
    except UserError as error:
        one_line(error, path)
    else:
        assert frame["image"].tolist() == table["image"].str.strip().tolist()


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
SMOKE = load_profile("smoke").model_dump(mode="json") | {"name": "mine"}
SECTIONS = sorted(key for key, value in SMOKE.items() if isinstance(value, dict))


@FUZZ
@given(data=st.data())
def test_any_value_is_a_setting_or_is_refused(tmp_path, data):
    section = data.draw(st.sampled_from(SECTIONS))
    name = data.draw(st.sampled_from(sorted(SMOKE[section])))
    content = {**SMOKE, section: {**SMOKE[section], name: data.draw(VALUE)}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    try:
        assert isinstance(load_profile(path), Profile)
    except UserError as error:
        one_line(error, path)


@FUZZ
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_profile_or_are_refused(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_profile(path)
    one_line(caught.value, path)


SMALL = STACK[:, :, :16, :16]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Bytes of small stacks of several layouts."""
    folder = tmp_path_factory.mktemp("small")
    plain = saved(folder / "plain.ome.tif", SMALL)
    packed = saved(folder / "packed.ome.tif", SMALL, compression="zlib")
    fiji = folder / "fiji.tif"
    tifffile.imwrite(
        fiji,
        SMALL.transpose(1, 0, 2, 3),
        imagej=True,
        resolution=(10, 10),
        metadata={"axes": "ZCYX", "unit": "um"},
    )
    return [path.read_bytes() for path in (plain, packed, fiji)]


@FUZZ
@given(data=st.data())
def test_any_bytes_are_a_stack_or_are_refused(tmp_path, small, data):
    """A stack with some bytes changed, or cut: its pixels are read, or one line says why not."""
    content = bytearray(data.draw(st.sampled_from(small)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.tif"
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        volume = open_volume(path)
        for z in range(min(volume.shape[1], 3)):
            assert volume.plane(z).shape == (volume.shape[0], *volume.shape[2:])
    except UserError as error:
        one_line(error, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
