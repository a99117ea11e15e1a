"""TIFF of three kinds, OME-TIFF, ImageJ TIFF and LSM: which image, which names, which scale."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from organelle_fusion.lsm import read_lsm
from organelle_fusion.reading import (
    READABLE,
    Scale,
    Source,
    VolumeError,
    chosen,
    damaged,
    plane_reader,
    refusal,
    unit_um,
)


def read_tiff(path: Path, number: int | None) -> Source:
    """Open a TIFF without reading its pixels.

    Parameters
    ----------
    path
        The file.
    number
        Which of its images, from 0; None if it has one only.

    Raises
    ------
    VolumeError
        It is no TIFF or none of the three kinds, damaged, or not one stack.
    """
    with _overheard() as complaints:
        try:
            with tifffile.TiffFile(path) as tiff:
                if tiff.is_lsm:
                    chosen(path, 1, number)
                    return read_lsm(path, tiff)
                series, names, scale = _interpret(path, tiff, number, complaints)
                return Source(*plane_reader(path, tiff, series), names, scale)
        except VolumeError:
            raise
        except tifffile.TiffFileError as error:
            raise refusal(path, READABLE, error, "check the file, or save it so") from error
        except Exception as error:  # a damaged file makes the decoder fail in any way it likes
            raise damaged(path, error) from error


def _interpret(
    path: Path,
    tiff: tifffile.TiffFile,
    number: int | None,
    complaints: list[logging.LogRecord],
) -> tuple[tifffile.TiffPageSeries, list[str], Scale]:
    """Return the image of the file, its channel names (or none) and its scale."""
    kind = tiff.series[0].kind
    if kind not in ("ome", "imagej"):
        # A file cut short may have lost the text that names its axes, or not fit it any more.
        if complaints:
            raise damaged(path, complaints[0].getMessage())
        found = "a TIFF that names no axes"
        raise refusal(path, READABLE, found, "save it from Fiji as TIFF or OME-TIFF")
    index = chosen(path, len(tiff.series), number)
    series = tiff.series[index]
    described = (
        _describe_ome(path, tiff, index) if kind == "ome" else _describe_imagej(tiff, series)
    )
    return series, *described


def _describe_ome(path: Path, tiff: tifffile.TiffFile, index: int) -> tuple[list[str], Scale]:
    # The namespace differs between versions of OME.
    images = ElementTree.fromstring(tiff.ome_metadata).findall(".//{*}Pixels")
    if len(images) != len(tiff.series) or tiff.series[index].is_multifile:
        raise refusal(path, "a stack in one file", "one spread over several", "join them in Fiji")
    pixels = images[index]
    nodes = pixels.findall("{*}Channel")
    names = [node.get("Name") or f"channel {index}" for index, node in enumerate(nodes)]
    sizes, found = [], []
    for axis in "XYZ":
        text, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(_length(text) * unit_um(unit))
        found.append(f"{axis} {text} {unit}" if text else f"{axis} none")
    return names, Scale(*sizes, found=", ".join(found))


def _length(text: object) -> float:
    """Number that a file gives for a length; NaN where it gives none, or none that can be read."""
    try:
        return float(text)
    except (TypeError, ValueError):  # such as a decimal comma, which is no reason to lose the file
        return math.nan


def _describe_imagej(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[list[str], Scale]:
    about, tags = tiff.imagej_metadata or {}, tiff.pages.first.tags
    units = [about.get(key, about.get("unit", "none")) for key in ("unit", "yunit", "zunit")]
    lengths, found = [], []
    for axis, unit in zip("XY", units, strict=False):
        name = f"{axis}Resolution"
        numerator, denominator = tags[name].value if name in tags else (0, 1)
        lengths.append(unit_um(unit) * denominator / numerator if numerator else math.nan)
        found.append(f"{axis} {numerator}/{denominator} pixels per unit {unit}")
    lengths.append(unit_um(units[2]) * abs(_length(about.get("spacing"))))
    return _imagej_names(about.get("Labels"), series), Scale(*lengths, found=", ".join(found))


def _imagej_names(labels: object, series: tifffile.TiffPageSeries) -> list[str]:
    """Slice labels name channels if each channel has a label of its own, the same in all planes."""
    labels = [labels] if isinstance(labels, str) else [str(label) for label in labels or []]
    labels = [label.partition("\n")[0].strip() for label in labels]  # metadata may follow
    sizes = dict(zip(series.axes, series.shape, strict=True))
    count = sizes.get("C", sizes.get("S", 1))
    names = labels[:count]
    named = all(names) and len(set(names)) == count
    return names if named and labels in (names, names * sizes.get("Z", 1)) else []


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
