"""What readers of all formats give and refuse; and pixels of a TIFF, by several threads at once.

What a file says of itself is interpreted in `tiff`, `lsm`, `czi` and `ome_zarr`; here the pages of
a TIFF are found and read straight into an array.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
import tifffile

from organelle_fusion.config import UserError

STORABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
READABLE = "an OME-TIFF, ImageJ TIFF, LSM, CZI or OME-Zarr"

_UM = dict.fromkeys(("um", "μm", "micron", "microns"), 1.0)  # NFKC folds µ to μ
_UM |= {"pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UM |= dict.fromkeys(("in", "inch"), 25_400.0)
# OME-Zarr writes them out.
_UM |= {"picometer": 1e-6, "angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0}
_UM |= {"millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}

Read = Callable[[int, Sequence[int], np.ndarray], None]
"""``read(z, channels, out)``, see `plane_reader`."""


class Scale(NamedTuple):
    """What a file says of its voxels; µm, NaN where it says nothing usable."""

    x: float
    y: float
    z: float
    found: str


class Source(NamedTuple):
    """A stack in a file of any format, as `volumes.open_volume` needs it.

    `read`, `shape` and `dtype` are those of `plane_reader`; `names` has one name per channel, or
    any other number where the file does not name them.
    """

    read: Read
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    names: list[str]
    scale: Scale


class VolumeError(UserError):
    """A stack that cannot be read as asked; the message is one line."""


def refusal(path: Path, expected: str, found: object, remedy: str) -> VolumeError:
    """Error of one line: where, what was expected, what was found, what to do."""
    said = " ".join(str(found).split())
    return VolumeError(f"{path}: expected {expected}, found {said}; {remedy}")


def damaged(path: Path, found: object) -> VolumeError:
    """Error for a file that is not whole."""
    text = " ".join(str(found).split()) or type(found).__name__
    return refusal(path, "a whole file", f"a damaged one ({text})", "copy it anew")


def storable(path: Path, dtype: np.dtype) -> np.dtype:
    """Type of pixels in this machine's byte order; VolumeError if it is none of `STORABLE`."""
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.name not in STORABLE:
        raise refusal(path, "integer or float pixels", dtype, "convert and save again")
    return dtype


def one_time(path: Path, count: int, axes: str = "") -> None:
    """Refuse a time series."""
    if count > 1:
        found = f"a series of {count}{axes and f', axes {axes}'}"
        raise refusal(path, "one point in time", found, "save the one wanted as a file of its own")


def chosen(path: Path, count: int, number: int | None, word: str = "image") -> int:
    """Which of the images of a file is meant.

    Parameters
    ----------
    path, count
        The file, and how many images it holds.
    number
        The image that the manifest's path names (`image_paths.split_path`), or None.
    word
        What an image is called in this format.

    Raises
    ------
    VolumeError
        None is named, and there are several; or the one named is not there.
    """
    if not count:
        raise damaged(path, f"no {word} in it")
    if number is None and count != 1:
        remedy = f"name one in the path, such as {path.name}#{word}=0 (0 to {count - 1})"
        raise refusal(path, f"one {word}", f"{count} {word}s", remedy)
    if number is not None and number >= count:
        found = f"#{word}={number} asked for"
        raise refusal(path, f"{word} 0 to {count - 1}", found, "correct the path")
    return number or 0


def unit_um(unit: object) -> float:
    """µm in one `unit`; NaN for one that is no length (pixel, reference frame, none)."""
    # ImageJ writes the micro sign as the six characters \u00B5.
    unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), str(unit))
    return _UM.get(unicodedata.normalize("NFKC", unit).strip(), math.nan)


def plane_reader(
    path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[Read, tuple[int, int, int, int], np.dtype]:
    """Find where the planes of a stack lie in its file, after checking that it holds them all.

    Parameters
    ----------
    path, tiff, series
        The file, and the image in it.

    Returns
    -------
    callable
        ``read(z, channels, out)`` fills the contiguous array `out`, ``(n, Y, X)``, with the
        channels of these numbers at plane `z`; several threads may call it at once. It raises
        VolumeError if the file is damaged there.
    tuple
        Shape ``(C, Z, Y, X)``.
    dtype
        Of the pixels, in this machine's byte order; `out` has the same.

    Raises
    ------
    VolumeError
        The axes or the type are not those of a stack, or pages are missing or incomplete.
    """
    page_axes = series.keyframe.axes
    leading = series.axes.removesuffix(page_axes)
    sizes = dict(zip(series.axes, series.shape, strict=True))
    one_time(path, sizes.get("T", 1), series.axes)
    samples = "S" in page_axes
    known = page_axes in ("YX", "YXS", "SYX") and series.axes.endswith(page_axes)
    if not known or not set(leading) <= set("Z" if samples else "CZ"):
        found = f"the axes {series.axes} {series.shape}"
        raise refusal(path, "the axes C, Z, Y, X", found, "save it as OME-TIFF with these axes")
    if samples and (tiff.imagej_metadata or {}).get("channels") != sizes["S"]:
        remedy = "split the colours into channels (Fiji: Make Composite) and save again"
        raise refusal(path, "one plane per channel", "colour samples (RGB)", remedy)
    dtype = storable(path, series.dtype)
    shape = (sizes.get("S", sizes.get("C", 1)), sizes.get("Z", 1), sizes["Y"], sizes["X"])
    lead_shape = tuple(sizes[axis] for axis in leading)
    page_shape = series.keyframe.shape
    load = _page_loader(path, tiff, series, math.prod(lead_shape))

    def load_page(channel: int, z: int, out: np.ndarray) -> None:
        place = tuple(channel if axis == "C" else z for axis in leading)
        load(int(np.ravel_multi_index(place, lead_shape)) if leading else 0, out)

    def read(z: int, channels: Sequence[int], out: np.ndarray) -> None:
        if samples:
            page = np.empty(page_shape, dtype)
            load_page(0, z, page)
            out[...] = np.moveaxis(page, page_axes.index("S"), 0)[list(channels)]
        else:
            for channel, pixels in zip(channels, out, strict=True):
                load_page(channel, z, pixels)

    return read, shape, dtype


def _page_loader(
    path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int
) -> Callable[[int, np.ndarray], None]:
    """Return (index of a page, array to fill), after checking that the file holds every page."""
    length = path.stat().st_size
    swapped = not np.dtype(series.dtype).newbyteorder(tiff.byteorder).isnative
    # ImageJ describes a large stack by one page, and the others follow it without headers.
    if len(series.pages) < count and series.dataoffset is not None:
        start, step = series.dataoffset, series.keyframe.nbytes
        if start + count * step > length:
            raise damaged(path, f"{length} bytes of {start + count * step}")
        return _loader_of_raw(path, [start + index * step for index in range(count)], swapped)
    pages = [series.pages[index] for index in range(len(series.pages))]
    # The library would give zeros for pages that are missing; a missing page is no black page.
    if (present := sum(page is not None for page in pages)) != count:
        raise damaged(path, f"{present} pages of {count}")
    for index, page in enumerate(pages):
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if not segments or any(n == 0 or start + n > length for start, n in segments):
            raise damaged(path, f"page {index} of {count} is incomplete")
    if series.keyframe.is_final:
        return _loader_of_raw(path, [page.dataoffsets[0] for page in pages], swapped)
    return _loader_of_coded(path, pages)


def _loader_of_raw(
    path: Path, offsets: Sequence[int], swapped: bool
) -> Callable[[int, np.ndarray], None]:
    """Return a loader of pages that lie in the file as in memory, but for the order of bytes."""

    def load(index: int, out: np.ndarray) -> None:
        try:
            # A handle of its own for each page, since threads would move a common one.
            with open(path, "rb", buffering=0) as stream:
                stream.seek(offsets[index])
                found = _fill(stream, memoryview(out.reshape(-1).view(np.uint8)))
        except OSError as error:
            raise damaged(path, f"page {index}: {error}") from error
        if found != out.nbytes:
            raise damaged(path, f"page {index}: {found} bytes of {out.nbytes}")
        if swapped:
            out.byteswap(inplace=True)

    return load


def _fill(stream: RawIOBase, rest: memoryview) -> int:
    """Read until the memory is full or the file ends; a system may give less than was asked."""
    asked = len(rest)
    while rest and (count := stream.readinto(rest)):
        rest = rest[count:]
    return asked - len(rest)


def _loader_of_coded(
    path: Path, pages: Sequence[tifffile.TiffPage | tifffile.TiffFrame]
) -> Callable[[int, np.ndarray], None]:
    """Return a loader of pages that are decompressed; threads share one open file."""
    handle, lock, readers = pages[0].parent.filehandle, RLock(), 0

    @contextmanager
    def opened() -> Iterator[None]:
        nonlocal readers
        with lock:
            if not readers:
                handle.open()
            readers += 1
        try:
            yield
        finally:
            with lock:
                readers -= 1
                if not readers:
                    handle.close()

    def load(index: int, out: np.ndarray) -> None:
        try:
            with opened():
                # one thread: the callers are threads already
                pages[index].asarray(out=out, lock=lock, maxworkers=1)
        except Exception as error:  # see volumes.open_volume
            raise damaged(path, f"page {index}: {error}") from error

    return load
