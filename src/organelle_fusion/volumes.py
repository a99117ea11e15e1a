"""Multichannel stacks read plane by plane: channel names, µm, and only the pixels asked for.

Readable are OME-TIFF, ImageJ TIFF, LSM, CZI and OME-Zarr. Axes, channel names and sizes come from
the file's own metadata or from the caller, and where neither says them the file is refused.
"""

import math
import re
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path

import numpy as np
import tifffile

from organelle_fusion.image_paths import split_path
from organelle_fusion.provenance import atomic_path, hash_of, note_file
from organelle_fusion.reading import (
    READABLE,
    STORABLE,
    Read,
    Scale,
    Source,
    damaged,
    refusal,
)
from organelle_fusion.reading import VolumeError as VolumeError
from organelle_fusion.tiff import read_tiff

_COMMA = re.compile(r",\s*(?=[^,;=]*=)")  # before another entry of a channel map
_NO_SCALE = Scale(math.nan, math.nan, math.nan, "none")  # an array says nothing of its voxels
NOT_READABLE = (".nd2", ".lif", ".ims")

READERS = ("czi", "image_paths", "lsm", "ome_zarr", "reading", "tiff", "volumes")
"""Modules that a stack is read by, for `provenance.code_version`."""


@dataclass(frozen=True)
class Volume:
    """One multichannel stack on disk, of which only the planes asked for are in memory.

    `shape` is ``(C, Z, Y, X)``; `dtype` that of the stored pixels, in this machine's byte order;
    `channels` one name per channel; `pixel_size_um` the edge of a (square) pixel; `z_step_um` the
    distance of two planes, or None where it is not known.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    channels: tuple[str, ...]
    pixel_size_um: float
    z_step_um: float | None
    _read: Read = field(repr=False, compare=False)
    _indices: tuple[int, ...] = field(repr=False)

    def plane(self, z: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read plane `z` as ``(C, Y, X)`` in `dtype`; nothing else of the file is read.

        Several threads may read at once. Where many planes are read one after another, a
        contiguous array `out` of this shape and type, to be filled and returned, saves a new one
        for each.

        Raises
        ------
        IndexError, ValueError, VolumeError
            `z` is not in 0..Z-1; `out` is another array; the file is damaged at this plane.
        """
        if not 0 <= z < self.shape[1]:
            raise IndexError(f"{self.path}: plane {z}: expected 0 to {self.shape[1] - 1}")
        shape = (len(self._indices), *self.shape[2:])
        if out is None:
            out = np.empty(shape, self.dtype)
        # Readers fill its bytes one after the other, whatever they stand for.
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            contiguous = "contiguous" if out.flags.c_contiguous else "not contiguous"
            raise ValueError(
                f"{self.path}: expected out to be {self.dtype} {shape}, contiguous, found "
                f"{out.dtype} {out.shape}, {contiguous}; make it with numpy.empty"
            )
        self._read(z, self._indices, out)
        return out

    def planes(self) -> Iterator[np.ndarray]:
        """Read all planes in order, ``(C, Y, X)`` each, one at a time."""
        return (self.plane(z) for z in range(self.shape[1]))

    def split(self) -> "list[Volume]":
        """Return each channel as a stack of its own, in order."""
        return [
            replace(self, shape=(1, *self.shape[1:]), channels=(name,), _indices=(index,))
            for name, index in zip(self.channels, self._indices, strict=True)
        ]

    def select(self, channels: Sequence[str]) -> "Volume":
        """Return the same stack with the named channels only, in the order asked.

        Raises
        ------
        VolumeError
            A name is missing in the file, or stands there twice; or one name is given, not a list.
        """
        if isinstance(channels, str):
            expected, remedy = "a list of channels", f"write select([{channels!r}])"
            raise refusal(self.path, expected, f"the text {channels!r}", remedy)
        channels = tuple(channels)
        wrong = [name for name in channels if self.channels.count(name) != 1]
        if wrong or not channels:
            expected = f"the channels {', '.join(channels) or '(none asked)'}, each once"
            remedy = "name them in the manifest column channel_map (ours=theirs;ours=index), or by "
            remedy += "open_volume(path, channel_map={ours: theirs})"
            raise refusal(self.path, expected, ", ".join(self.channels), remedy)
        return replace(
            self,
            shape=(len(channels), *self.shape[1:]),
            channels=channels,
            _indices=tuple(self._indices[self.channels.index(name)] for name in channels),
        )


def open_volume(
    path: str | Path,
    *,
    channel_map: dict[str, str | int] | None = None,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
) -> Volume:
    """Open an OME-TIFF, ImageJ TIFF, LSM, CZI or OME-Zarr without reading its pixels.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr, with the axes C, Z, Y, X or some of these. If it
        holds several images, the path ends in ``#image=1`` or ``#scene=1``, counted from 0.
    channel_map
        Our name → the file's name of the channel (both are read as Unicode NFC), or its index,
        counted from 0, as a number or as text. Others that the file calls by our name are then
        called by their index.
    pixel_size_um, z_step_um
        Sizes in µm that take the place of the file's own; pixels that are not square by the file
        stay refused.

    Returns
    -------
    Volume

    Raises
    ------
    VolumeError
        The file is missing, damaged or of another kind; it holds a time series, several images of
        which the path names none, colour samples or the detector phases of a raw Airyscan image;
        axes or pixel size are not known, or pixels not square; `channel_map` asks for a channel
        that it does not have. One line: file, expected, found, remedy.
    """
    path = Path(path)
    read, shape, dtype, names, scale = _source(*split_path(path))
    if len(names) != shape[0]:
        names = [f"channel {index}" for index in range(shape[0])]
    size, step = _sizes(path, scale, pixel_size_um, z_step_um)
    # The same letters may be written in two ways, which look alike.
    names = [unicodedata.normalize("NFC", name) for name in names]
    names = _renamed(path, names, channel_map or {})
    return Volume(path, shape, dtype, names, size, step, read, tuple(range(shape[0])))


def volume_from_array(
    array: np.ndarray,
    channels: Sequence[str],
    pixel_size_um: float,
    z_step_um: float | None = None,
    name: str = "array",
) -> Volume:
    """Give a stack in memory as `open_volume` gives one in a file.

    Parameters
    ----------
    array
        ``(C, Z, Y, X)`` of a type in `STORABLE`; not copied.
    channels
        One name per channel.
    pixel_size_um, z_step_um
        Edge of a pixel and distance of two planes, µm; the latter may be None.
    name
        Stands for the path in messages.

    Raises
    ------
    VolumeError
        The array, the names or a length are not as said.
    """
    array, path, channels = np.asarray(array), Path(name), list(channels)
    _check_array(path, array, channels)
    size, step = _sizes(path, _NO_SCALE, pixel_size_um, z_step_um)

    def read(z: int, chosen: Sequence[int], out: np.ndarray) -> None:
        np.stack([array[channel, z] for channel in chosen], out=out)

    dtype = array.dtype.newbyteorder("=")
    indices = tuple(range(len(channels)))
    return Volume(path, array.shape, dtype, tuple(channels), size, step, read, indices)


def write_ome_tiff(
    path: str | Path,
    array: np.ndarray,
    channels: Sequence[str],
    *,
    pixel_size_um: float,
    z_step_um: float | None,
) -> None:
    """Write an array as OME-TIFF: zlib, whole or not at all, equal input giving equal bytes.

    Parameters
    ----------
    path
        The file to write; by convention it ends in ``.ome.tif``.
    array, channels
        ``(C, Z, Y, X)`` of a type in `STORABLE`, and one name per channel.
    pixel_size_um, z_step_um
        Edge of a pixel and distance of two planes, µm; the latter may be None.

    Raises
    ------
    VolumeError
        The array, the names or a length are not as said; nothing is written.
    """
    path, channels = Path(path), list(channels)
    _check_array(path, array, channels)
    size, step = _sizes(path, _NO_SCALE, pixel_size_um, z_step_um)
    lengths = {axis: um for axis, um in (("X", size), ("Y", size), ("Z", step)) if um is not None}
    metadata = {
        "axes": "ZCYX",  # the channels of a plane lie side by side, since they are read together
        "Channel": {"Name": channels},
        **{f"PhysicalSize{axis}": um for axis, um in lengths.items()},
        **{f"PhysicalSize{axis}Unit": "µm" for axis in lengths},
        # The library's own default is a random identifier, and no two files would be equal.
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, hash_of([array, channels]))),
        "Creator": "organelle-fusion",
        "Name": path.name,
    }
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            array.transpose(1, 0, 2, 3),
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=metadata,
            software=False,
        )


def _check_array(path: Path, array: np.ndarray, channels: list[str]) -> None:
    if array.ndim != 4 or len(channels) != array.shape[0] or len(set(channels)) != len(channels):
        found = f"shape {array.shape} and names {channels}"
        raise refusal(path, "(C, Z, Y, X) and a name of its own per channel", found, "mend both")
    if not array.size:
        raise refusal(path, "pixels", f"none, shape {array.shape}", "leave no axis empty")
    if array.dtype.name not in STORABLE:
        raise refusal(path, f"one of {', '.join(STORABLE)}", array.dtype, "convert the array")


def _source(path: Path, number: int | None) -> Source:
    """Open a file by the reader of its format, which its content tells, or else its suffix."""
    if path.suffix.lower() in NOT_READABLE:
        found, remedy = f"{path.suffix}, which is not read", "save it as OME-TIFF with Fiji"
        raise refusal(path, READABLE, found, f"{remedy} (Bio-Formats Exporter)")
    if not path.exists():
        raise refusal(path, "an image file", "none", "check the path")
    note_file(path)
    if path.is_dir():
        from organelle_fusion.ome_zarr import read_ome_zarr

        return read_ome_zarr(path, number)
    if path.suffix.lower() == ".czi" or _begins(path, b"ZISRAWFILE"):
        from organelle_fusion.czi import read_czi

        return read_czi(path, number)
    return read_tiff(path, number)


def _begins(path: Path, magic: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError as error:
        raise damaged(path, error) from error


def _sizes(
    path: Path, scale: Scale, pixel_size_um: float | None, z_step_um: float | None
) -> tuple[float, float | None]:
    for name, value in (("pixel_size_um", pixel_size_um), ("z_step_um", z_step_um)):
        if value is not None and not (isinstance(value, Real) and 0 < value < math.inf):
            raise refusal(path, f"{name} to be a positive length", repr(value), "mend it")
    said = scale.x > 0 and scale.y > 0
    if said and not math.isclose(scale.x, scale.y, rel_tol=1e-3):
        found, remedy = f"{scale.x:g} × {scale.y:g} µm", "resample the stack to square pixels"
        raise refusal(path, "square pixels", found, f"{remedy}, or correct what the file says")
    if pixel_size_um is None:
        if not said:
            remedy = "give pixel_size_um: the manifest's column, or to predict an image by its path"
            raise refusal(path, "a pixel size in µm", scale.found, f"{remedy} --pixel-size-um")
        pixel_size_um = scale.x
    step = scale.z if z_step_um is None else z_step_um
    return float(pixel_size_um), float(step) if step > 0 else None


def _renamed(path: Path, names: list[str], channel_map: dict[str, str | int]) -> tuple[str, ...]:
    renamed, taken = list(names), {}
    for ours, theirs in channel_map.items():
        theirs = unicodedata.normalize("NFC", str(theirs))
        if names.count(theirs) == 1:
            index = names.index(theirs)
        elif theirs not in names and theirs.isdecimal() and int(theirs) < len(names):
            index = int(theirs)
        else:
            quoted = ", ".join(f'"{name}"' for name in names)  # a name may hold commas
            expected = f"one of {quoted} (if not twice) or an index 0–{len(names) - 1}"
            remedy, parted = "mend channel_map", _COMMA.sub(";", f"{ours}={theirs}")
            if parted != f"{ours}={theirs}":
                remedy = f"part the entries of channel_map by semicolons: {parted}"
            raise refusal(path, expected, f'channel_map "{ours}={theirs}"', remedy)
        if index in taken:
            found = f"{taken[index]} and {ours} both on channel {index}"
            raise refusal(path, "a channel for each name", found, "mend channel_map")
        taken[index] = renamed[index] = ours
    for index, name in enumerate(renamed):
        if name in channel_map and index not in taken:  # it is not the one that was meant
            renamed[index] = f"channel {index}"
    return tuple(renamed)
