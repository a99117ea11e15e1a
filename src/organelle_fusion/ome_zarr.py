"""OME-Zarr, versions 0.4 (Zarr 2) and 0.5 (Zarr 3), in a folder: the image in full resolution.

The format leaves out chunks that hold nothing but the fill value, and so does an interrupted copy;
the two look the same. A plane of which no chunk is there is therefore refused, and where single
chunks are missing, their pixels are the fill value, as the format says.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from organelle_fusion.reading import (
    Read,
    Scale,
    Source,
    VolumeError,
    chosen,
    damaged,
    one_time,
    refusal,
    storable,
    unit_um,
)

SLAB_BYTES = 256 * 2**20
"""Chunks of several planes or channels stay decoded in memory up to this size, for one stack."""


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a group of Zarr, of version 2 or 3."""
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup"))


def read_ome_zarr(path: Path, number: int | None) -> Source:
    """Open an OME-Zarr without reading its pixels.

    A plane takes whole chunks. If these hold several planes or channels, they are kept for the
    planes to come, in no more than `SLAB_BYTES`; if they would not fit in there, each plane reads
    all of its chunks anew, which is slow and takes little memory.

    Parameters
    ----------
    path
        The folder of the image, or of several (as bioformats2raw writes them).
    number
        Which of several images, from 0; None if there is one only.

    Raises
    ------
    VolumeError
        The folder is no OME-Zarr, damaged, or not one stack at one time; or planes are missing.
    """
    import zarr

    try:
        if not is_zarr(path):
            found = "a folder without zarr.json or .zgroup"
            raise refusal(path, "an OME-Zarr image", found, "name the folder of the image itself")
        group, image, about = _image(path, zarr.open_group(path, mode="r"), number)
        dataset = image["datasets"][0]  # the others are reduced
        array = group[dataset["path"]]
        axes = _axes(path, image)
        if not isinstance(array, zarr.Array) or array.ndim != len(axes) or 0 in array.shape:
            raise damaged(path, f"{dataset['path']}: {array} for the axes {axes}")
        sizes = dict(zip(axes, array.shape, strict=True))
        one_time(path, sizes.get("t", 1), axes)
        shape = (sizes.get("c", 1), sizes.get("z", 1), sizes["y"], sizes["x"])
        dtype = storable(path, array.dtype)
        _check_chunks(path, array, axes)
        scale = _scale(image, dataset, axes)
        names = [
            str(channel.get("label") or f"channel {index}")
            for index, channel in enumerate(about.get("omero", {}).get("channels", []))
        ]
    except VolumeError:
        raise
    except Exception as error:  # JSON that is none, or that lacks an entry, arrays that are missing
        raise damaged(path, error) from error
    return Source(_reader(path, array, axes, dtype), shape, dtype, names, scale)


def _image(path: Path, group: Any, number: int | None) -> tuple[Any, dict, dict]:
    """Find the image: its group, its entry of multiscales, and all that is said of the group."""
    about = dict(group.attrs)
    about = about.get("ome", about)  # version 0.5
    if "plate" in about or "well" in about:
        remedy = "give the folder of one field, such as plate.zarr/A/1/0"
        raise refusal(path, "one image", "a plate of wells", remedy)
    if "multiscales" in about:
        images = about["multiscales"]
        return group, images[chosen(path, len(images), number)], about
    if "bioformats2raw.layout" not in about:
        found = "a Zarr group that says no multiscales"
        raise refusal(path, "an OME-Zarr image", found, "save it as OME-Zarr 0.4 or 0.5")
    listed = dict(group["OME"].attrs) if "OME" in group else {}
    names = listed.get("ome", listed).get("series") or sorted(
        (name for name in group.group_keys() if name.isdecimal()), key=int
    )
    return _image(path, group[names[chosen(path, len(names), number)]], None)


def _axes(path: Path, image: dict) -> str:
    """Names of the axes, such as ``czyx``."""
    axes = image.get("axes", [])
    named = [axis.get("name") if isinstance(axis, dict) else None for axis in axes]
    text = "".join(name if isinstance(name, str) and len(name) == 1 else "?" for name in named)
    if not (text.endswith("yx") and set(text) <= set("tczyx") and len(set(text)) == len(text)):
        found = ", ".join(map(str, named)) or "none"
        remedy = "save it as OME-Zarr 0.4 or 0.5 with these axes"
        raise refusal(path, "the axes t, c, z, y, x or some of these", found, remedy)
    return text


def _scale(image: dict, dataset: dict, axes: str) -> Scale:
    """Lengths of a voxel: the dataset's, times those of the whole image."""
    factors = np.ones(len(axes))
    scaled = False
    for of in (dataset, image):
        for transformation in of.get("coordinateTransformations", []):
            if transformation["type"] == "scale":
                factors *= np.array(transformation["scale"], float)
                scaled = True
    lengths, found = [], []
    for axis in "xyz":
        factor = factors[axes.index(axis)] if scaled and axis in axes else math.nan
        unit = image["axes"][axes.index(axis)].get("unit") if axis in axes else None
        lengths.append(float(factor * unit_um(unit)))
        found.append(f"{axis} {factor:g} {unit or 'without a unit'}")
    return Scale(*lengths, found=", ".join(found))


def _check_chunks(path: Path, array: Any, axes: str) -> None:
    """Refuse a stack if no chunk at all is there of a plane."""
    sizes = [range(0, *pair) for pair in zip(array.shape, _stored(array), strict=True)]
    for place in itertools.product(*sizes[:-2]):
        of_plane = [slice(at, at + 1) for at in place] + [slice(0, n) for n in array.shape[-2:]]
        if not any(file.exists() for file in _files(array, of_plane)):
            where = " ".join(f"{axis}={at}" for axis, at in zip(axes, place, strict=False))
            raise refusal(
                path,
                "chunks of every plane",
                f"none of those at {where or 'all'}",
                "copy it anew, or save it with its empty chunks (Zarr: write_empty_chunks)",
            )


def _stored(array: Any) -> tuple[int, ...]:
    """Shape of what is stored as one file: a chunk, or a shard of several."""
    return array.shards or array.chunks


def _files(array: Any, region: Sequence[slice]) -> Iterator[Path]:
    """Places of the chunks that a region takes, whether they are there or not."""
    folder = Path(array.store_path.store.root) / array.path
    steps = zip(region, _stored(array), strict=True)
    numbers = (range(part.start // n, math.ceil(part.stop / n)) for part, n in steps)
    return (folder / array.metadata.encode_chunk_key(at) for at in itertools.product(*numbers))


def _by_blosc(array: Any) -> bool:
    """Whether each file holds what Blosc has compressed."""
    from zarr.codecs import BloscCodec

    codecs = () if array.shards else array.compressors
    return any(
        isinstance(codec, BloscCodec) or getattr(codec, "codec_id", "") == "blosc"
        for codec in codecs
    )


def _check_blosc(file: Path) -> None:
    """Raise ValueError if a chunk is cut short: Blosc itself would read on beyond its end."""
    if not file.exists():
        return
    with open(file, "rb") as stream:
        header = stream.read(16)
        length = stream.seek(0, 2)
    said = int.from_bytes(header[12:], "little")  # of the whole chunk
    if len(header) < 16 or length < said:
        raise ValueError(f"chunk {file.name}: {length} bytes of {max(said, 16)}")


def _reader(path: Path, array: Any, axes: str, dtype: np.dtype) -> Read:
    chunk = dict(zip(axes, array.chunks, strict=True))
    count = dict(zip(axes, array.shape, strict=True))
    deep = {axis: min(chunk.get(axis, 1), count.get(axis, 1)) for axis in "cz"}
    slab = math.prod(deep.values()) * count["y"] * count["x"] * dtype.itemsize
    # Channels are read in turn, and threads may be a plane apart.
    kept = math.ceil(count.get("c", 1) / deep["c"]) + (deep["z"] < count.get("z", 1))
    keep = math.prod(deep.values()) > 1 and kept * slab <= SLAB_BYTES
    blosc = _by_blosc(array)
    lock, slabs = Lock(), OrderedDict()

    def region(c: slice, z: slice) -> np.ndarray:
        """``(C, Z, Y, X)`` of the array, which may have its axes in another order, or fewer."""
        at = {
            "t": slice(0, 1),
            "c": c,
            "z": z,
            "y": slice(0, count["y"]),
            "x": slice(0, count["x"]),
        }
        wanted = tuple(at[axis] for axis in axes)
        if blosc:
            for file in _files(array, wanted):
                _check_blosc(file)
        found = array[wanted]
        present = [axis for axis in "tczyx" if axis in axes]
        found = found.transpose([axes.index(axis) for axis in present])
        return found.reshape(*(len(range(*s.indices(s.stop))) for s in (c, z)), *found.shape[-2:])

    def slab_of(c: int, z: int) -> np.ndarray:
        with lock:
            if (c, z) not in slabs:
                slabs[c, z] = region(
                    *(
                        slice(at * deep[axis], min((at + 1) * deep[axis], count.get(axis, 1)))
                        for axis, at in (("c", c), ("z", z))
                    )
                )
            slabs.move_to_end((c, z))
            while len(slabs) > kept:
                slabs.popitem(last=False)
            return slabs[c, z]

    def read(z: int, channels: Sequence[int], out: np.ndarray) -> None:
        try:
            for c, pixels in zip(channels, out, strict=True):
                if keep:
                    found = slab_of(c // deep["c"], z // deep["z"])
                    pixels[...] = found[c % deep["c"], z % deep["z"]]
                else:
                    pixels[...] = region(slice(c, c + 1), slice(z, z + 1))[0, 0]
        except Exception as error:  # see read_ome_zarr
            raise damaged(path, f"plane {z}: {error}") from error

    return read
