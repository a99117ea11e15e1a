"""CZI, the files of ZEN, through libCZI: plane by plane, tiles joined, any of its compressions."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from xml.etree import ElementTree

import numpy as np

from organelle_fusion.reading import (
    Scale,
    Source,
    VolumeError,
    chosen,
    damaged,
    one_time,
    refusal,
    storable,
)

_TYPES = {"Gray8": "uint8", "Gray16": "uint16", "Gray32Float": "float32"}


def read_czi(path: Path, number: int | None) -> Source:
    """Open a CZI without reading its pixels.

    Tiles of a mosaic are joined as they lie in the file; where there is none, pixels are 0. Of an
    image pyramid only the full resolution counts.

    Parameters
    ----------
    path
        The file.
    number
        Which of its scenes, from 0; None if it has one only.

    Raises
    ------
    VolumeError
        The file is damaged, or not one stack of grey values; detector phases of a raw Airyscan
        image, which are no channels, are refused.
    """
    from pylibCZIrw.czi import CziReader, Rectangle

    try:
        document = CziReader(str(path))
        try:
            blocks = _blocks(document)
            described = ElementTree.fromstring(document.raw_metadata)
        finally:
            document.close()
        scenes = sorted({block["S"] for block in blocks if "S" in block})
        scene = chosen(path, max(1, len(scenes)), number, "scene")
        scene = scenes[scene] if scenes else None
        blocks = [block for block in blocks if block.get("S") == scene]
        fixed = _check_dimensions(path, blocks)
        planes = _planes(path, blocks)
        types = {block["type"] for block in blocks}
        if not types <= set(_TYPES) or len(types) > 1:
            remedy = "save the channels as grey values of one type (ZEN: Change Pixel Type)"
            raise refusal(path, "one type of grey values", ", ".join(sorted(types)), remedy)
        left, top = (min(block[edge] for block in blocks) for edge in ("left", "top"))
        right, bottom = (max(block[edge] for block in blocks) for edge in ("right", "bottom"))
        names, scale = _names(described), _scale(described)
    except VolumeError:
        raise
    except Exception as error:  # libCZI raises a RuntimeError for anything, and others may follow
        raise damaged(path, error) from error
    region = Rectangle(left, top, right - left, bottom - top)
    kind = types.pop()
    dtype = storable(path, _TYPES[kind])
    shape = (*(len(axis) for axis in planes), bottom - top, right - left)
    lock, opened = Lock(), []

    def read(z: int, channels: Sequence[int], out: np.ndarray) -> None:
        try:
            # libCZI reads under Python's own lock, and threads that wait for it slow it down.
            with lock:
                if not opened:
                    opened.append(CziReader(str(path)))
                for channel, pixels in zip(channels, out, strict=True):
                    place = {**fixed, "C": planes[0][channel], "Z": planes[1][z]}
                    found = opened[0].read(region, place, scene, pixel_type=kind)
                    pixels[...] = found[..., 0]
        except Exception as error:
            raise damaged(path, f"plane {z}: {error}") from error

    return Source(read, shape, dtype, names, scale)


def _blocks(document: Any) -> list[dict[str, Any]]:
    """Place, edges and type of every block of pixels in full resolution."""
    blocks: list[dict[str, Any]] = []

    def note(_: int, block: Any) -> bool:
        edges = block.logicalRect
        found = {"left": edges.x, "top": edges.y, "right": edges.x + edges.w}
        found |= {"bottom": edges.y + edges.h, "type": block.pixelType.name}
        blocks.append(found | block.coordinate.to_dict())
        return True

    document.enumerate_subblocks_subset(note, only_layer0=True)
    if not blocks:
        raise ValueError("no pixels")
    return blocks


def _check_dimensions(path: Path, blocks: list[dict[str, Any]]) -> dict[str, int]:
    """Refuse all dimensions but channels and planes; return where the blocks lie in the others."""
    found = {axis: {block[axis] for block in blocks if axis in block} for axis in "TRIHVB"}
    if len(found["H"]) > 1:
        phases = f"{len(found['H'])} detector phases, as of raw Airyscan data"
        remedy = "process it first in ZEN (Airyscan Processing) and give the file that comes out"
        raise refusal(path, "a processed image", phases, remedy)
    one_time(path, len(found["T"]))
    more = [f"{axis} ({len(places)})" for axis, places in found.items() if len(places) > 1]
    if more:
        remedy = "save the part wanted as a file of its own (ZEN: Create Image Subset)"
        raise refusal(path, "the dimensions C, Z, Y, X", f"also {', '.join(more)}", remedy)
    return {axis: min(places) for axis, places in found.items() if places}


def _planes(path: Path, blocks: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Numbers of the channels and planes; all planes must be there, with all of their tiles."""
    # libCZI would give zeros for what is missing; a missing plane is no black plane.
    tiles = Counter((block.get("C", 0), block.get("Z", 0)) for block in blocks)
    channels, planes = (sorted({place[axis] for place in tiles}) for axis in (0, 1))
    most = max(tiles.values())
    for number, channel in enumerate(channels):
        for z, plane in enumerate(planes):
            if (count := tiles[channel, plane]) != most:
                raise damaged(path, f"channel {number}, plane {z}: {count} tiles of {most}")
    return channels, planes


def _names(described: ElementTree.Element) -> list[str]:
    """Names of the channels; one without a name may have it in the settings of its display."""
    channels = described.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    shown = described.findall("./Metadata/DisplaySetting/Channels/Channel")
    names = {node.get("Id"): node.get("Name") for node in shown}
    return [
        node.get("Name") or names.get(node.get("Id")) or f"channel {index}"
        for index, node in enumerate(channels)
    ]


def _scale(described: ElementTree.Element) -> Scale:
    texts = {
        node.get("Id"): node.findtext("Value")
        for node in described.findall("./Metadata/Scaling/Items/Distance")
    }
    metres = [float(texts.get(axis) or math.nan) for axis in "XYZ"]
    found = ", ".join(f"{axis} {texts[axis]} m" for axis in "XYZ" if texts.get(axis))
    return Scale(*(value * 1e6 for value in metres), found=found or "no scaling")
