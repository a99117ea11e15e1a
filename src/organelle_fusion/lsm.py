"""LSM, the TIFF of older Zeiss confocal microscopes: each page holds all channels of a plane."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from organelle_fusion.reading import Scale, Source, damaged, one_time, refusal, storable

_PLANES = (0, 3, 6)  # kinds of scan whose pages are x-y: a stack, a time series, both


def read_lsm(path: Path, tiff: tifffile.TiffFile) -> Source:
    """Find the planes of an open LSM file; thumbnails between them are passed over.

    Channels and planes are read one by one, compressed or not.

    Parameters
    ----------
    path, tiff
        The file, for which ``tiff.is_lsm`` holds.

    Raises
    ------
    VolumeError
        The file is no stack of x-y planes at one time and place, or planes are missing.
    """
    about = tiff.lsm_metadata
    size = {axis: int(about[f"Dimension{axis}"]) for axis in ("X", "Y", "Z", "Channels", "Time")}
    if about["ScanType"] not in _PLANES:
        found = f"a scan of type {about['ScanType']}, which has no such planes"
        raise refusal(path, "x-y planes", found, "leave the file out")
    one_time(path, size["Time"])
    for axis, what in (("P", "positions"), ("M", "tiles")):
        if about.get(f"Dimension{axis}", 0) > 1:
            found = f"{about[f'Dimension{axis}']} {what}"
            raise refusal(
                path, "one place", found, "save each, or all joined, as a file of its own"
            )
    pages = [page for page in tiff.pages if not page.keyframe.is_reduced]
    page, channels = pages[0], size["Channels"]
    if page.samplesperpixel > 1 and page.planarconfig != tifffile.PLANARCONFIG.SEPARATE:
        remedy = "split the colours into channels (Fiji) and save again"
        raise refusal(path, "one plane per channel", "colour samples (RGB)", remedy)
    found = (len(pages), page.samplesperpixel, page.imagelength, page.imagewidth)
    asked = (size["Z"], channels, size["Y"], size["X"])
    if found != asked or any(other.shape != page.shape for other in pages):
        raise damaged(path, f"pages {found} of {asked}, as Z, C, Y, X")
    if page.dtype is None:
        raise refusal(path, "channels of one type", "several", "convert and save again")
    dtype = storable(path, page.dtype)
    strips = _strips(path, pages, channels * math.ceil(size["Y"] / page.rowsperstrip))
    decode = page.keyframe.decode

    def read(z: int, wanted: Sequence[int], out: np.ndarray) -> None:
        per_channel = len(strips[z]) // channels
        try:
            # A handle of its own, since threads would move a common one.
            with open(path, "rb", buffering=0) as stream:
                for channel, pixels in zip(wanted, out, strict=True):
                    for index in range(channel * per_channel, (channel + 1) * per_channel):
                        start, count = strips[z][index]
                        stream.seek(start)
                        rows, (_, _, first, _, _), shape = decode(stream.read(count), index)
                        pixels[first : first + shape[1]] = rows[0, ..., 0]
        except Exception as error:  # a damaged file makes the decoder fail in any way it likes
            raise damaged(path, f"plane {z}: {error}") from error

    names = [name for name in about.get("ChannelColors", {}).get("ColorNames", []) if name]
    metres = [about.get(f"VoxelSize{axis}", 0.0) for axis in "XYZ"]
    told = ", ".join(f"{axis} {value:g} m" for axis, value in zip("XYZ", metres, strict=True))
    scale = Scale(*(value * 1e6 for value in metres), found=told)
    return Source(read, (channels, size["Z"], size["Y"], size["X"]), dtype, names, scale)


def _strips(
    path: Path, pages: Sequence[tifffile.TiffPage | tifffile.TiffFrame], count: int
) -> list[list[tuple[int, int]]]:
    """Offset and length of the strips of each page, after checking that the file holds them."""
    length = path.stat().st_size
    strips = []
    for z, page in enumerate(pages):
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if len(segments) != count or any(n <= 0 or start + n > length for start, n in segments):
            raise damaged(path, f"plane {z} of {len(pages)} is incomplete")
        strips.append(segments)
    return strips
