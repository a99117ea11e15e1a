"""Widgets of images: a stack to go through, its patches and their fates, thresholds to choose.

Arrays, stacks and frames in, a widget out, see `widgets`. Pictures are embedded in the page, so
only images that may be shown come here: the phantom's, or those of the reader's own table.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from organelle_fusion.config import PatchSettings
from organelle_fusion.intensity import display_plane
from organelle_fusion.patches import extract_patches, foreground_ratio, patch_grid
from organelle_fusion.plots_images import composite
from organelle_fusion.style import LIGHT
from organelle_fusion.volumes import Volume
from organelle_fusion.widgets import EDGE, jpeg, picture, png, shrunk, to_bytes, widget
from organelle_fusion.wording import capital, grey_level, title

if TYPE_CHECKING:
    from IPython.display import HTML

MOST_PLANES = 16
"""Planes of a stack that are embedded; of a deeper one they are spread evenly."""
MOST_PATCHES = 60
"""Patches of a montage, likewise."""
PATCH_EDGE = 72
"""Of a patch in a montage, pixels."""
FACTORS = tuple(round(0.5 + 0.1 * step, 1) for step in range(16))
"""Multiples of Otsu's threshold to choose among, in ascending order."""

FATES = ("used", "sparse", "over the limit")
"""What can become of a patch, see `patches.patch_tables`."""

COLOR_NAMES = ("magenta", "green", "cyan", "yellow")
"""Of `style.LIGHT`, for those who do not see them."""


def channel_facts(channels: Sequence[str]) -> list[dict[str, str]]:
    """Name and colour of each channel, as the scripts draw them."""
    return [
        {"name": title(name), "color": color, "word": word}
        for name, color, word in zip(channels, LIGHT, COLOR_NAMES, strict=False)
    ]


def stack_widget(volume: Volume, statistics: pd.DataFrame, *, image: str, data: str) -> "HTML":
    """Go through the planes of a stack, with its channels on or off.

    Parameters
    ----------
    volume
        The stack, with the channels to show, at most four.
    statistics
        Of `intensity.stack_statistics`: what is black and what is bright.
    image
        Its name and class, in words.
    data
        See `pages.Run.data`.
    """
    depth = volume.shape[1]
    levels = spread(depth, MOST_PLANES)
    planes = [shrunk(display_plane(volume, int(z), statistics)) for z in levels]
    shape = planes[0].shape[1:]
    middle = len(levels) // 2
    channels = channel_facts(volume.channels)
    colors = ", ".join(f"{channel['name']} in {channel['word']}" for channel in channels)
    still = picture(
        jpeg(composite(planes[middle])),
        f"Plane {levels[middle] + 1} of {depth} of {image}: {colors}",
        shape=shape,
        width_um=volume.shape[3] * volume.pixel_size_um,
    )
    some = "" if len(levels) == depth else f" {len(levels)} of {depth} planes, evenly spread."
    return widget(
        "stack",
        "widget-stack",
        title="Through one stack",
        text=f"{capital(image)}, {depth} planes; {colors}.{some}",
        use="Move the slider, or press the arrow keys on it, to go from plane to plane; tick the "
        "channels to see.",
        note="A still: the middle plane.",
        data=data,
        still=still,
        facts={
            "width": shape[1],
            "height": shape[0],
            "start": middle,
            "channels": channels,
            "planes": [
                {
                    "say": plane_text(int(z), depth, volume.z_step_um),
                    "pictures": [jpeg(channel) for channel in plane],
                }
                for z, plane in zip(levels, planes, strict=True)
            ],
        },
    )


def spread(number: int, most: int) -> np.ndarray:
    """At most so many of the numbers 0…number − 1, evenly spread, with first and last."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))


def plane_text(z: int, depth: int, z_step_um: float | None) -> str:
    """Say which plane this is, and how high it lies where the distance of planes is known."""
    text = f"plane {z + 1} of {depth}"
    return text if z_step_um is None else f"{text}, z = {z * z_step_um:.1f} µm"


def montage_widget(
    volume: Volume,
    table: pd.DataFrame,
    statistics: pd.DataFrame,
    settings: PatchSettings,
    *,
    data: str,
) -> "HTML":
    """Patches of one stack from the fullest to the emptiest, each with what became of it.

    Parameters
    ----------
    volume
        The stack, organelle channels only.
    table
        Its rows of `patches.patch_table`; of more than `MOST_PATCHES` evenly spread ones are shown.
    statistics
        Of `intensity.stack_statistics`.
    settings
        Those that the table was made with.
    data
        See `pages.Run.data`.
    """
    rows = table.sort_values("foreground", ascending=False, kind="stable")
    shown = rows.iloc[spread(len(rows), MOST_PATCHES)].reset_index(drop=True)
    pixels = extract_patches(
        volume, shown.assign(kept=True), output_px=PATCH_EDGE, statistics=statistics
    )
    items = []
    for row, patch in zip(shown.to_dict("records"), pixels, strict=True):
        fate = row["reason"] or "used"
        place = plane_text(row["z"], volume.shape[1], volume.z_step_um)
        parts = ", ".join(
            f"{title(name)} {row[f'foreground_{name}']:.1%}" for name in volume.channels
        )
        say = f"{fate_text(row, settings)} {place}; {parts} of its pixels."
        items.append(
            f'<li data-fate="{fate}" data-say="{html.escape(say)}">'
            f'<img src="{jpeg(composite(np.moveaxis(patch, -1, 0) / 255))}" '
            f'alt="{html.escape(say)}" width="{PATCH_EDGE}" height="{PATCH_EDGE}">'
            f"<span>{html.escape(fate)}<br>{row['foreground']:.1%}</span></li>"
        )
    size_um = shown["size_px"].iloc[0] * volume.pixel_size_um
    of_all, of_shown = (frame["reason"].replace("", "used") for frame in (table, shown))
    found = [fate for fate in FATES if (of_all == fate).any()]
    fates = ", ".join(f"{(of_all == fate).sum()} {fate}" for fate in found)
    some = "" if len(shown) == len(table) else f" {len(shown)} of them, evenly spread,"
    return widget(
        "montage",
        "widget-montage",
        title="What became of the patches of one stack",
        text=f"Of {len(table)} patches of {size_um:.1f} µm: {fates}.{some or ' They are shown'} "
        "from the most foreground to the least.",
        use="Choose which fates to show. Point at a patch, or go from one to the next with the "
        "arrow keys, to read why it was kept or dropped.",
        note="Below each patch: what became of it, and the share of its pixels that is foreground.",
        data=data,
        still=f'<ul class="widget-montage">{"".join(items)}</ul>',
        facts={"fates": [{"fate": fate, "shown": int((of_shown == fate).sum())} for fate in found]},
    )


def fate_text(row: dict, settings: PatchSettings) -> str:
    """Why a patch was kept or dropped, as a sentence."""
    share, least = f"{row['foreground']:.1%}", f"{settings.min_foreground:.1%}"
    if row["reason"] == "sparse":
        return f"Dropped as sparse: {share} of its pixels are foreground, {least} are asked for;"
    if row["reason"] == "over the limit":
        return (
            f"Left out over the limit: {share} foreground are enough, but an image gives at most "
            f"{settings.max_per_image} patches, spread over the stack;"
        )
    return f"Kept: {share} of its pixels are foreground, {least} are asked for;"


def threshold_widget(
    plane: np.ndarray,
    thresholds: np.ndarray,
    *,
    size_px: int,
    min_foreground: float,
    channels: Sequence[str],
    pixel_size_um: float,
    shown: np.ndarray,
    data: str,
) -> "HTML":
    """Choose a threshold and a least share of foreground, and see mask and kept patches.

    Parameters
    ----------
    plane : (C, H, W)
        One plane in grey levels.
    thresholds : (C,)
        Otsu's, of the whole stack.
    size_px
        Edge of a patch, pixels of the plane.
    min_foreground
        The cut-off of the profile.
    channels
        Names of the channels, at most four.
    pixel_size_um
        Edge of a pixel, µm.
    shown : (C, H, W) float
        The plane as it is displayed, of 0..1.
    data
        See `pages.Run.data`.
    """
    limits = np.asarray(thresholds, float)[:, None] * np.array(FACTORS)
    step = -(-max(plane.shape[1:]) // EDGE)  # every pixel counts, every `step`-th is drawn
    levels = threshold_levels(plane, limits)
    ratios = [
        foreground_ratio((levels > k).any(axis=0), size_px).tolist() for k in range(len(FACTORS))
    ]
    own = FACTORS.index(1.0)
    height, width = plane.shape[1:]
    drawn = levels[:, ::step, ::step]
    corners = (patch_grid(height, width, size_px) / (height, width)).tolist()
    kept = sum(ratio >= min_foreground for ratio in ratios[own])
    still = picture(
        jpeg(composite((drawn > own).astype(float))),
        f"Pixels above Otsu's threshold; {kept} of {len(corners)} patches have at least "
        f"{min_foreground:.1%} of foreground",
        shape=drawn.shape[1:],
        width_um=width * pixel_size_um,
    )
    return widget(
        "threshold",
        "widget-threshold",
        title="Where to draw the line",
        text="The plane above, its masks and the patches that pass the sparsity filter, at another "
        "threshold and another least share of foreground. One multiple serves all channels; 1.0 is "
        "Otsu's threshold.",
        use="Move the sliders, or press the arrow keys on them. Patches that would be dropped are "
        "hatched.",
        note=f"A still: the masks at Otsu's threshold, at which {kept} of {len(corners)} patches "
        "of the plane pass.",
        data=data,
        still=still,
        facts={
            "width": drawn.shape[2],
            "height": drawn.shape[1],
            "channels": channel_facts(channels),
            "levels": [png(channel) for channel in drawn],
            "plane": [jpeg(channel) for channel in to_bytes(shown[:, ::step, ::step])],
            "factors": list(FACTORS),
            "limits": [[grey_level(one) for one in of_channel] for of_channel in limits],
            "ratios": ratios,
            "corners": corners,
            "patch": [size_px / height, size_px / width],
            "least": min_foreground,
        },
    )


def threshold_levels(plane: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """How many thresholds each pixel exceeds, so that one picture holds the masks of all.

    Parameters
    ----------
    plane : (C, H, W)
        Grey levels.
    limits : (C, K)
        Thresholds of each channel, ascending; K < 256.

    Returns
    -------
    uint8 (C, H, W)
        A pixel is in the mask of threshold k where its number is above k.
    """
    return np.stack(
        [
            np.searchsorted(of_channel, pixels, side="left")
            for of_channel, pixels in zip(limits, plane, strict=True)
        ]
    ).astype(np.uint8)
