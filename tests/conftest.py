"""What tests of several modules share, and how long they take."""

import atexit
import os
import shutil
import signal
import struct
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile


def pytest_configure(config):
    """Let all tests, and the chapters that they execute, share what JAX compiles.

    The first process makes the folder; those of pytest-xdist find it in their environment.
    """
    # A shell lets what it runs in the background ignore Ctrl-C, and what that starts in turn.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="jax-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # pytest-xdist would begin with the files of most tests, and the longest has three.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """The chain of chapters first: it takes longest."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")


# The built book in a browser; without a browser, tests that ask for one are skipped.

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def book_address():
    """Address of the built pages, which a thread serves."""
    from organelle_fusion.browser import serve

    pages = ROOT / "_build" / "html"
    assert (pages / "index.html").is_file(), "no pages are built; run `make book`"
    with serve(pages) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests."""
    from organelle_fusion.browser import BrowserError, open_browser

    try:
        with open_browser() as opened:
            yield opened
    except BrowserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def note_faults(book_address):
    """Add errors of a page to a list: in its console, requests that fail or leave this machine."""

    def note(page, faults):
        def sent(request):
            if not request.url.startswith((f"{book_address}/", "data:", "blob:")):
                faults.append(f"asks for {request.url}")

        def answered(response):
            if response.status >= 400:
                faults.append(f"{response.status} for {response.url}")

        def failed(request):
            # Given up by the browser: as a page is left, or a script where it runs none.
            if request.failure not in ("net::ERR_ABORTED", "csp"):
                faults.append(f"no answer for {request.url}: {request.failure}")

        def told(message):
            if message.type == "error":
                faults.append(f"console: {message.text}")

        page.on("request", sent)
        page.on("response", answered)
        page.on("requestfailed", failed)
        page.on("console", told)
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))

    return note


@pytest.fixture
def page_faults():
    """What went wrong on the pages that `browser_page` has opened: none of it may, in any test."""
    return []


@pytest.fixture
def browser_page(browser, book_address, note_faults, page_faults):
    """Open a page by its name in _toc.yml, in light or dark, as a `playwright.sync_api.Page`.

    `options` are those of a context of playwright, such as ``java_script_enabled=False``.
    """
    contexts = []

    def open_page(name, *, width=1440, height=900, theme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, **options
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        note_faults(page, page_faults)
        page.goto(f"{book_address}/{name}.html", wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert page_faults == []


@pytest.fixture
def by_hand():
    """(2, 2, 5, 9) of 0 and 10, so that Otsu's threshold is 0; patches of 4 px: two a plane."""
    array = np.zeros((2, 2, 5, 9), np.uint16)
    a, b = array
    a[0, 0, :4] = 10  # plane 0, first patch: a row in a and a column in b, which cross
    b[0, :4, 0] = 10
    a[0, 3, 7] = 10  # plane 0, second patch: one pixel
    a[1, :4, 4:8] = 10  # plane 1, second patch: all of it in a, half of it in b
    b[1, :2, 4:8] = 10
    array[:, :, 4, :] = 10  # border remainder below and at the right: never counted
    array[:, :, :, 8] = 10
    return array


@pytest.fixture
def microscope_files():
    """Folder of genuine files of microscopes."""
    folder = os.environ.get("ORGANELLE_FUSION_DATA")
    if not folder or not (Path(folder) / "microscope-files").is_dir():
        pytest.skip("ORGANELLE_FUSION_DATA names no folder with microscope-files")
    return Path(folder) / "microscope-files"


# Writers of stacks (C, Z, Y, X) of 0.1 µm and planes 0.5 µm apart, in the formats of microscopes.


@pytest.fixture
def write_lsm():
    """Write an LSM byte by byte: pages of all channels, between them thumbnails, as Zeiss does."""
    return _write_lsm


def _write_lsm(path, array, names=(), *, lzw=False, strips=1, **changed):
    """`strips` of each channel; `changed`: entries of CZ_LSMINFO."""
    channels, planes, height, width = array.shape
    content = bytearray(b"II*\0\0\0\0\0")
    links, images = [4], []

    def put(block):
        content.extend(bytes(len(content) % 2))
        content.extend(block)
        return len(content) - len(block)

    def page(image, reduced, extra=()):
        count, rows = len(image), -(-image.shape[1] // (1 if reduced else strips))
        offsets, sizes = [], []
        for channel in image:
            for first in range(0, image.shape[1], rows):
                strip = channel[first : first + rows]
                sizes.append(strip.nbytes)  # before compression, as real files say
                data = strip.tobytes()
                if lzw and not reduced:
                    from imagecodecs import delta_encode, lzw_encode

                    data = lzw_encode(delta_encode(strip, axis=-1).tobytes())
                offsets.append(put(data))
        bits = struct.pack(f"<{count}H", *[image.itemsize * 8] * count)
        if count == 2:  # elsewhere, though two values would fit into the tag
            bits = struct.pack("<I", put(bits))
        tags = [
            (254, 4, 1, struct.pack("<I", int(reduced))),
            (256, 4, 1, struct.pack("<I", image.shape[2])),
            (257, 4, 1, struct.pack("<I", image.shape[1])),
            (258, 3, count, bits),
            (259, 3, 1, struct.pack("<H", 5 if lzw and not reduced else 1)),
            (262, 3, 1, struct.pack("<H", 1)),
            (273, 4, len(offsets), struct.pack(f"<{len(offsets)}I", *offsets)),
            (277, 3, 1, struct.pack("<H", count)),
            (278, 4, 1, struct.pack("<I", rows)),
            (279, 4, len(sizes), struct.pack(f"<{len(sizes)}I", *sizes)),
            (284, 3, 1, struct.pack("<H", 2)),
            (317, 3, 1, struct.pack("<H", 2 if lzw and not reduced else 1)),
            *extra,
        ]
        entries = b""
        for code, kind, number, value in tags:
            if len(value) > 4:
                value = struct.pack("<I", put(value))
            entries += struct.pack("<HHI", code, kind, number) + value.ljust(4, b"\0")
        directory = put(struct.pack("<H", len(tags)) + entries + bytes(4))
        content[links[-1] : links[-1] + 4] = struct.pack("<I", directory)
        links.append(directory + 2 + 12 * len(tags))
        if not reduced:
            images.append(offsets)

    texts = b"".join(struct.pack("<I", len(n) + 1) + n.encode() + b"\0" for n in names)
    colours = struct.pack("<6I", 24 + 4 * len(names) + len(texts), len(names), len(names), 24,
                          24 + 4 * len(names), 0)  # fmt: skip
    colours += bytes(4 * len(names)) + texts
    about = np.zeros(1, tifffile.TIFF.CZ_LSMINFO)
    values = {
        "MagicNumber": 67127628, "StructureSize": about.itemsize, "DimensionX": width,
        "DimensionY": height, "DimensionZ": planes, "DimensionChannels": channels,
        "DimensionTime": 1, "DataType": {1: 1, 2: 2, 4: 5}[array.itemsize], "VoxelSizeX": 1e-7,
        "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7, "OffsetChannelColors": put(colours),
    }  # fmt: skip
    for name, value in (values | changed).items():
        about[name] = value
    for z in range(planes):
        extra = [(34412, 1, about.itemsize, about.tobytes())] if z == 0 else []
        page(array[:, z], False, extra)
        page(np.full((3, 4, 4), 7, np.uint8), True)
    path.write_bytes(content)
    return path


@pytest.fixture
def write_czi():
    """Write a CZI with pylibCZIrw; `scenes` maps numbers to arrays and where they lie."""
    return _write_czi


def _write_czi(path, array, names=(), *, compression=None, at=(0, 0), scale_um=(0.1, 0.5)):
    from pylibCZIrw.czi import create_czi

    scenes = array if isinstance(array, dict) else {0: (array, at)}
    with create_czi(str(path), compression_options=compression) as document:
        for scene, (stack, (x, y)) in scenes.items():
            for c, z in np.ndindex(stack.shape[:2]):
                document.write(
                    stack[c, z], location=(x, y), plane={"C": c, "Z": z}, scene=scene
                )  # fmt: skip
        document.write_metadata(
            channel_names=dict(enumerate(names)),
            scale_x=scale_um[0] * 1e-6,
            scale_y=scale_um[0] * 1e-6,
            scale_z=scale_um[1] * 1e-6,
        )
    return path


@pytest.fixture
def write_ome_zarr():
    """Write an OME-Zarr, version 0.4 or 0.5, with zarr."""
    return _write_ome_zarr


def _write_ome_zarr(
    path, array, names=(), *, version="0.5", axes="czyx", unit="micrometer", chunks=None, **options
):
    import zarr

    kinds = {"t": "time", "c": "channel"}
    units = {axis: {"unit": unit} for axis in "zyx" if unit}
    size = {"z": 0.5, "y": 0.1, "x": 0.1}
    scale = {"type": "scale", "scale": [size.get(axis, 1.0) for axis in axes]}
    about = {
        "multiscales": [
            {
                "version": version,
                "axes": [
                    {"name": axis, "type": kinds.get(axis, "space"), **units.get(axis, {})}
                    for axis in axes
                ],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ]
    }
    if names:
        about["omero"] = {"channels": [{"label": name, "color": "FFFFFF"} for name in names]}
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(about if version == "0.4" else {"ome": {"version": version, **about}})
    chunks = chunks or (1, 1, *array.shape[-2:])[-array.ndim :]
    stored = group.create_array("0", shape=array.shape, dtype=array.dtype, chunks=chunks, **options)
    stored[...] = array
    return path


@pytest.fixture
def facts_of():
    """Facts of a network of two channels, a and b, and two classes; changes are given by name."""

    def make(**changes):
        from organelle_fusion.model_file import ModelFacts

        intensities = {"low": (0, 0), "otsu": (0, 50), "high": (90, 100), "saturated": (0, 1)}
        score = {
            "value": 0.75, "low": None, "high": None, "patches": 40, "images": 4,
            "images_right": 3, "classes": 2,
        }  # fmt: skip
        seen = {
            "images": 6,
            "dtypes": ["uint16"],
            "pixel_size_um": [0.5, 0.5],
            "patches": [2, 20],
            "share_kept": [0.4, 1.0],
            "intensities": {name: intensities for name in changes.get("channels", ("a", "b"))},
        }
        content = {
            "format": 1,
            "strategy": "early",
            "channels": ("a", "b"),
            "classes": ("one", "two"),
            "patch_um": 10.0,
            "input_px": 16,
            "percentiles": (1.0, 99.9),
            "min_foreground": 0.1,
            "score": score,
            "score_of_all_folds": score | {"low": 0.5, "high": 0.9, "patches": 200, "images": 20},
            "data": "own stacks (mine.csv)",
            "is_phantom": False,
            "profile": "smoke",
            "backend": "jax",
            "fold": 0,
            "n_folds": 5,
            "seed": 7,
            "hashes": {"data": "d1", "folds": "f1"},
            "versions": {"keras": "3.15.1"},
            "trained": "2026-11-26T20:10:06+00:00",
        }
        return ModelFacts.model_validate(
            content | {"seen": seen | changes.pop("seen", {})} | changes
        )

    return make


@pytest.fixture
def mean_network():
    """Network of two channels and two classes, in Keras, whose logits are 8 × their means of 0..1.

    So the probability of the first class is 1 / (1 + exp(8 (b − a))) where a and b are the means.
    """
    import keras
    from keras import layers

    image = keras.Input((16, 16, 2), name="image")
    embedding = layers.GlobalAveragePooling2D()(image)
    encoder = keras.Model(image, [image, embedding], name="encoder")
    scaled = layers.Rescaling(1 / 255)(image)
    head = keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="fusion_head")
    network = keras.Model(image, head(encoder(scaled)[1]), name="early")
    head.set_weights([8 * np.eye(2), np.zeros(2)])
    return network


@pytest.fixture
def certain():
    """Predictions worked out by hand."""

    def make(guesses, **columns):
        """Two objects in each of four images, two of class a and two of b; the guess is certain."""
        truth = ["a", "a", "a", "a", "b", "b", "b", "b"]
        images = ["i1", "i1", "i2", "i2", "i3", "i3", "i4", "i4"]
        right = np.array([guess == "a" for guess in guesses], float)
        return pd.DataFrame(
            {
                "dataset": "d", "size_px": 0, "model": "shuffled", "fold": 0, "seed": 1,
                "patch": range(8), "image": images, "group": images, "label": truth, "part": "test",
                "p:a": right, "p:b": 1 - right, **columns,
            }
        )  # fmt: skip

    return make
