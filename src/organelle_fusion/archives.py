"""Pictures out of a downloaded zip archive, PNG or NPY, one channel in each file."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from organelle_fusion.config import UserError


class ArchiveError(UserError):
    """An archive without the pictures that it should hold: expected and found, in one line."""


def read_pictures(archive: Path, paths: Sequence[str], height_width: tuple[int, int]) -> np.ndarray:
    """Read pictures of one size and one channel out of a zip archive, without unpacking it.

    Parameters
    ----------
    archive
        A zip file as GitHub packs it: everything in one folder, which is named after repository
        and commit.
    paths
        Files below that folder, all ``.png`` or all ``.npy``.
    height_width
        Size of each, in pixels.

    Returns
    -------
    numpy.ndarray
        uint8 (N, H, W), in the order of `paths`. A coloured PNG gives the brightest colour of
        each pixel; an NPY file of float64 from 0 to 1 gives levels from 0 to 255.

    Raises
    ------
    ArchiveError
        The archive is none or cut short, or a file is missing or is no such picture.
    """
    pictures = np.zeros((len(paths), *height_width), np.uint8)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {member.partition("/")[2]: member for member in opened.namelist()}
            missing = [path for path in paths if path not in members]
            if missing:
                raise ArchiveError(
                    f"expected {missing[0]}, found no such file, as {len(missing)} of "
                    f"{len(paths)} files"
                )
            for picture, path in zip(pictures, paths, strict=True):
                picture[:] = _decoded(path, opened.read(members[path]), height_width)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ArchiveError(f"expected a whole zip archive, found {error}") from error
    return pictures


def _decoded(path: str, content: bytes, height_width: tuple[int, int]) -> np.ndarray:
    if path.endswith(".npy"):
        pixels, kind = _decode_npy(content), "an NPY file of uint8, or of float64 from 0 to 1,"
    else:
        pixels, kind = _decode_png(content), "an 8-bit PNG"
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape != height_width:
        found = "none" if pixels is None else f"{pixels.dtype} {pixels.shape}"
        raise ArchiveError(f"{path}: expected {kind} {height_width}, found {found}")
    return pixels


def _decode_npy(content: bytes) -> np.ndarray | None:
    """Return the array, fractions of 255 as uint8; None if it is no NPY file, or holds objects."""
    try:
        pixels = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError:
        return None
    # The crops of mcf10a-mcf7 lack 24 of 256 levels: those, and only those, that are lost when a
    # level is multiplied by 1/255, kept as float64, multiplied by 255 and cut to an integer.
    if pixels.dtype == np.float64 and ((pixels >= 0) & (pixels <= 1)).all():
        return (pixels * 255).astype(np.uint8)
    return pixels


def _decode_png(content: bytes) -> np.ndarray | None:
    """Return the brightest colour of each pixel, (H, W); None if it is no PNG."""
    import imagecodecs  # here, so that sets at hand can be read without it

    try:
        pixels = imagecodecs.png_decode(content)
    except (imagecodecs.PngError, ValueError):
        return None
    if pixels.ndim == 2:
        return pixels
    # With 2 or 4 samples the last is opacity.
    colours = pixels.shape[-1] - (pixels.shape[-1] in (2, 4))
    return pixels[..., :colours].max(axis=-1)
