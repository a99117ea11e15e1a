"""Multichannel stacks read plane by plane: channel names, µm, and only the pixels asked for.

Readable are OME-TIFF and ImageJ TIFF. Axes, channel names and sizes come from the file's own
metadata or from the caller, and where neither says them the file is refused.
"""

import logging
import math
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from organelle_fusion.provenance import atomic_path, hash_of, note_file
from organelle_fusion.reading import STORABLE, VolumeError, damaged, plane_reader, refusal

UM_PER_UNIT = dict.fromkeys(("um", "μm", "micron", "microns"), 1.0)  # NFKC folds µ to μ
UM_PER_UNIT |= {"pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
UM_PER_UNIT |= dict.fromkeys(("in", "inch"), 25_400.0)
READABLE = "OME-TIFF or ImageJ TIFF"
NOT_YET = (".czi", ".lsm", ".zarr", ".nd2", ".lif", ".ims")


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
    _read: Callable[[int, Sequence[int], np.ndarray], None] = field(repr=False, compare=False)
    _indices: tuple[int, ...] = field(repr=False)

    def plane(self, z: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read plane `z` as ``(C, Y, X)`` in `dtype`; nothing else of the file is read.

        Several threads may read at once. Where many planes are read one after another, a
        contiguous array `out` of this shape and type, to be filled and returned, saves a new one
        for each.

        Raises
        ------
        IndexError, VolumeError
            `z` is not in 0..Z-1; the file is damaged at this plane.
        """
        if not 0 <= z < self.shape[1]:
            raise IndexError(f"{self.path}: plane {z}: expected 0 to {self.shape[1] - 1}")
        if out is None:
            out = np.empty((len(self._indices), *self.shape[2:]), self.dtype)
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
            A name is missing in the file, or stands there twice.
        """
        channels = tuple(channels)
        wrong = [name for name in channels if self.channels.count(name) != 1]
        if wrong or not channels:
            expected = f"the channels {', '.join(channels) or '(none asked)'}, each once"
            remedy = "name them in the manifest column channel_map (ours=theirs;ours=index)"
            raise refusal(self.path, expected, ", ".join(self.channels), remedy)
        return replace(
            self,
            shape=(len(channels), *self.shape[1:]),
            channels=channels,
            _indices=tuple(self._indices[self.channels.index(name)] for name in channels),
        )


class _Scale(NamedTuple):
    """What a file says of its voxels; µm, NaN where it says nothing usable."""

    x: float
    y: float
    z: float
    found: str


def open_volume(
    path: str | Path,
    *,
    channel_map: dict[str, str] | None = None,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
) -> Volume:
    """Open an OME-TIFF or ImageJ TIFF without reading its pixels.

    Parameters
    ----------
    path
        The file, holding one image with the axes C, Z, Y, X or some of these.
    channel_map
        Our name → the file's name of the channel, or its index as text, counted from 0.
    pixel_size_um, z_step_um
        Sizes in µm that take the place of the file's own.

    Raises
    ------
    VolumeError
        The file is missing, damaged or of another kind; it holds a time series, several images or
        colour samples; axes or pixel size are not known, or pixels not square; `channel_map` asks
        for a channel that it does not have. One line: file, expected, found, remedy.
    """
    path = Path(path)
    if path.suffix.lower() in NOT_YET:
        found = f"{path.suffix}, which is not readable yet"
        raise refusal(path, READABLE, found, "save it as OME-TIFF (Fiji: Bio-Formats Exporter)")
    if not path.is_file():
        raise refusal(path, "an image file", "none", "check the path")
    with _overheard() as complaints:
        try:
            with tifffile.TiffFile(note_file(path)) as tiff:
                series, names, scale = _interpret(path, tiff, complaints)
                read, shape, dtype = plane_reader(path, tiff, series)
        except VolumeError:
            raise
        except tifffile.TiffFileError as error:
            raise refusal(path, READABLE, error, "check the file, or save it so") from error
        except Exception as error:  # a damaged file makes the decoder fail in any way it likes
            raise damaged(path, error) from error
    if len(names) != shape[0]:
        names = [f"channel {index}" for index in range(shape[0])]
    size, step = _sizes(path, scale, pixel_size_um, z_step_um)
    names = _renamed(path, names, channel_map or {})
    return Volume(path, shape, dtype, names, size, step, read, tuple(range(shape[0])))


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
    if array.ndim != 4 or len(channels) != array.shape[0] or len(set(channels)) != len(channels):
        found = f"shape {array.shape} and names {channels}"
        raise refusal(path, "(C, Z, Y, X) and a name of its own per channel", found, "mend both")
    if array.dtype.name not in STORABLE:
        raise refusal(path, f"one of {', '.join(STORABLE)}", array.dtype, "convert the array")
    size, step = _sizes(path, _Scale(math.nan, math.nan, math.nan, ""), pixel_size_um, z_step_um)
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


def _interpret(
    path: Path, tiff: tifffile.TiffFile, complaints: list[logging.LogRecord]
) -> tuple[tifffile.TiffPageSeries, list[str], _Scale]:
    """Return the only image of the file, its channel names (or none) and its scale."""
    series = tiff.series[0]
    if series.kind not in ("ome", "imagej"):
        # A file cut short may have lost the text that names its axes, or not fit it any more.
        if complaints:
            raise damaged(path, complaints[0].getMessage())
        found = "a TIFF that names no axes"
        raise refusal(path, READABLE, found, "save it from Fiji as TIFF or OME-TIFF")
    if len(tiff.series) != 1:
        found = f"{len(tiff.series)} images"
        raise refusal(path, "one image", found, "save each as a file of its own")
    ome = series.kind == "ome"
    return series, *(_describe_ome(path, tiff) if ome else _describe_imagej(tiff, series))


def _describe_ome(path: Path, tiff: tifffile.TiffFile) -> tuple[list[str], _Scale]:
    # The namespace differs between versions of OME.
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    if pixels is None or tiff.series[0].is_multifile:
        raise refusal(path, "a stack in one file", "one spread over several", "join them in Fiji")
    nodes = pixels.findall("{*}Channel")
    names = [node.get("Name") or f"channel {index}" for index, node in enumerate(nodes)]
    sizes, found = [], []
    for axis in "XYZ":
        text, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(float(text or "nan") * _unit_um(unit))
        found.append(f"{axis} {text} {unit}" if text else f"{axis} none")
    return names, _Scale(*sizes, found=", ".join(found))


def _describe_imagej(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[list[str], _Scale]:
    about, tags = tiff.imagej_metadata or {}, tiff.pages.first.tags
    units = [about.get(key, about.get("unit", "none")) for key in ("unit", "yunit", "zunit")]
    lengths, found = [], []
    for axis, unit in zip("XY", units, strict=False):
        name = f"{axis}Resolution"
        numerator, denominator = tags[name].value if name in tags else (0, 1)
        lengths.append(_unit_um(unit) * denominator / numerator if numerator else math.nan)
        found.append(f"{axis} {numerator}/{denominator} pixels per unit {unit}")
    lengths.append(_unit_um(units[2]) * abs(float(about.get("spacing", math.nan))))
    return _imagej_names(about.get("Labels"), series), _Scale(*lengths, found=", ".join(found))


def _imagej_names(labels: object, series: tifffile.TiffPageSeries) -> list[str]:
    """Slice labels name channels if each channel has a label of its own, the same in all planes."""
    labels = [labels] if isinstance(labels, str) else [str(label) for label in labels or []]
    sizes = dict(zip(series.axes, series.shape, strict=True))
    count = sizes.get("C", sizes.get("S", 1))
    names = labels[:count]
    named = all(names) and len(set(names)) == count
    return names if named and labels in (names, names * sizes.get("Z", 1)) else []


def _sizes(
    path: Path, scale: _Scale, pixel_size_um: float | None, z_step_um: float | None
) -> tuple[float, float | None]:
    for name, value in (("pixel_size_um", pixel_size_um), ("z_step_um", z_step_um)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise refusal(path, f"{name} to be a positive length", value, "mend it")
    if pixel_size_um is None:
        if not (scale.x > 0 and scale.y > 0):
            expected, remedy = "a pixel size in µm", "give the manifest column pixel_size_um"
            raise refusal(path, expected, scale.found, remedy)
        if not math.isclose(scale.x, scale.y, rel_tol=1e-3):
            found = f"{scale.x:g} × {scale.y:g} µm"
            raise refusal(path, "square pixels", found, "resample the stack to square pixels")
        pixel_size_um = scale.x
    step = scale.z if z_step_um is None else z_step_um
    return float(pixel_size_um), float(step) if step > 0 else None


def _renamed(path: Path, names: list[str], channel_map: dict[str, str]) -> tuple[str, ...]:
    renamed, taken = list(names), {}
    for ours, theirs in channel_map.items():
        if names.count(theirs) == 1:
            index = names.index(theirs)
        elif theirs not in names and theirs.isdecimal() and int(theirs) < len(names):
            index = int(theirs)
        else:
            expected = f"one of {', '.join(names)} (if not twice) or an index 0–{len(names) - 1}"
            raise refusal(path, expected, f"channel_map {ours}={theirs}", "mend channel_map")
        if index in taken:
            found = f"{taken[index]} and {ours} both on channel {index}"
            raise refusal(path, "a channel for each name", found, "mend channel_map")
        taken[index] = renamed[index] = ours
    return tuple(renamed)


def _unit_um(unit: object) -> float:
    """µm in one `unit`; NaN for one that is no length (pixel, reference frame, none)."""
    # ImageJ writes the micro sign as the six characters \u00B5.
    unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), str(unit))
    return UM_PER_UNIT.get(unicodedata.normalize("NFKC", unit).strip(), math.nan)


@contextmanager
def _overheard() -> Iterator[list[logging.LogRecord]]:
    """Collect what tifffile logs; it warns of damage there where it does not raise."""
    records: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("tifffile"), logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
