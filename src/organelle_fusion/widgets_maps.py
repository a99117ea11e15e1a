"""Widgets of sizes, maps, features: a patch over a cell, Grad-CAM over a plane, UMAP with patches.

Arrays and frames in, a widget out, see `widgets`. Pictures are embedded in the page, so only images
that may be shown come here: the phantom's, or those of the reader's own table.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from skimage.measure import find_contours

from organelle_fusion.config import ORGANELLES
from organelle_fusion.plots_images import cell_view, composite
from organelle_fusion.plots_maps import HEAT, ExplainedPlane, relative_heat
from organelle_fusion.style import OKABE_ITO
from organelle_fusion.widgets import jpeg, picture, scale_bar, shrunk, widget
from organelle_fusion.wording import title

if TYPE_CHECKING:
    from IPython.display import HTML

PLANE_EDGE = 312
"""Longest edge of an explained plane, pixels; of its maps half of it."""
MOST_POINTS = 600
"""Patches of a scatter plot; of more, so many are drawn at random."""
THUMB = 40
"""Edge of a patch beside a scatter plot, pixels."""
COLUMNS = 25
"""Of the picture that holds them all."""


def patch_size_widget(
    scores: pd.DataFrame,
    chance: float,
    *,
    plane: np.ndarray,
    outline: np.ndarray | None,
    pixel_size_um: float,
    own_px: int,
    used: Mapping[int, int],
    data: str,
) -> "HTML":
    """Step along the patch sizes, and see the score of each and its patch over a cell, to scale.

    Parameters
    ----------
    scores, chance, plane, outline, pixel_size_um
        As in `plots_images.patch_size_figure`.
    own_px
        The size to begin with, the paper's pixels.
    used
        Size → number of patches that were trained on and tested.
    data
        See `pages.Run.data`.
    """
    sizes = scores.drop_duplicates("size_px").sort_values("size_px")
    names = list(scores["images"].unique())
    cell, outline = cell_view(plane, outline, sizes["size_um"].max(), pixel_size_um)
    edge = cell.shape[1]
    width_um = edge * pixel_size_um
    start = list(sizes["size_px"]).index(own_px)
    shares = (sizes["size_um"] / width_um).tolist()
    over = f'<span class="widget-frame" style="width:{100 * shares[start]:.2f}%"></span>'
    if outline is not None:
        over = _outline(outline) + over
    size_um = sizes["size_um"].iloc[start]
    return widget(
        "sizes",
        "widget-sizes",
        title="One cell, seen through patches of every size",
        text="Middle plane of the first stack, with the patch of each size drawn to scale about "
        f"{'its middle' if outline is None else 'the largest cell, whose outline is dotted'}, "
        "beside the balanced accuracy of intermediate fusion at that size, with its 95 % interval.",
        use="Move the slider, or press the arrow keys on it, to change the size of the patch.",
        note=f"A still: the patch of {own_px} px, {size_um:.1f} µm.",
        data=data,
        still=picture(
            jpeg(composite(cell)),
            f"One cell, and a square of {size_um:.1f} µm over it",
            shape=(edge, edge),
            width_um=width_um,
            over=over,
        ),
        facts={
            "sizes": [
                {
                    "px": int(row.size_px),
                    "um": round(row.size_um, 2),
                    "share": share,
                    "used": used.get(int(row.size_px)),
                }
                for row, share in zip(sizes.itertuples(), shares, strict=True)
            ],
            "start": start,
            "chance": chance,
            "curves": [
                {
                    "name": name,
                    "points": [
                        [
                            row.size_px,
                            row.value,
                            *(None if np.isnan(end) else end for end in (row.low, row.high)),
                        ]
                        for row in scores[scores["images"] == name].itertuples()
                    ],
                }
                for name in names
            ],
        },
    )


def _outline(mask: np.ndarray) -> str:
    """SVG of the border of a mask, drawn over a picture of its size."""
    height, width = mask.shape
    lines = find_contours(np.pad(mask, 1).astype(float), 0.5)
    path = " ".join(
        "M" + " ".join(f"{x - 0.5:.1f},{y - 0.5:.1f}" for y, x in line[::2]) for line in lines
    )
    return (
        f'<svg class="widget-outline" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def gradcam_widget(
    planes: Mapping[str, Sequence[ExplainedPlane]],
    *,
    channels: Sequence[str] = ORGANELLES,
    data: str,
) -> "HTML":
    """Draw a curtain between a plane and the map that lies over it.

    Parameters
    ----------
    planes
        Name of the way the squares lie → one plane per image, the same images in the same order.
    channels
        Names of the channels.
    data
        See `pages.Run.data`.
    """
    tilings = list(planes)
    images = []
    for of_tilings in zip(*planes.values(), strict=True):
        first = of_tilings[0]
        grey = [*first.planes, first.planes.mean(axis=0)]
        verdict = (
            "predicted correctly"
            if first.predicted == first.label
            else f"predicted as {title(first.predicted)}"
        )
        images.append(
            {
                "name": f"{title(first.label)} ({verdict})",
                "bar": scale_bar(_width_um(first)),
                "below": [jpeg(one) for one in shrunk(np.stack(grey), PLANE_EDGE)],
                "above": [_heat_pictures(one.maps) for one in of_tilings],
            }
        )
    first = planes[tilings[0]][0]
    shape = shrunk(first.planes, PLANE_EDGE).shape[1:]
    fused = len(channels)
    above = (
        f'<img class="widget-above" src="{images[0]["above"][-1][fused]}" '
        'alt="Its fused Grad-CAM map, over the right half">'
    )
    return widget(
        "curtain",
        "widget-gradcam",
        title="From the image to its map",
        text="Left of the line the middle plane in grey, right of it Grad-CAM of intermediate "
        "fusion, for the true class. The maps of one image share one scale, from nothing (black) "
        "to the largest value in that image (pale yellow).",
        use="Choose a class, an organelle or the fused map, and how the squares lie; move the line "
        "with the slider or the arrow keys.",
        note="A still: image and fused map, half and half.",
        data=data,
        still=picture(
            images[0]["below"][fused],
            f"Middle plane of an image of class {images[0]['name']}, mean of its organelles",
            shape=shape,
            width_um=_width_um(first),
            over=above,
        ),
        facts={
            "images": images,
            "maps": [*(title(name) for name in channels), "fused"],
            "tilings": tilings,
        },
    )


def _width_um(row: ExplainedPlane) -> float | None:
    return None if row.pixel_size_um is None else row.planes.shape[2] * row.pixel_size_um


def _heat_pictures(maps: np.ndarray) -> list[str]:
    """Each map of an image and last the fused one in the colours of the figures, as pictures."""
    colours = mpl.colormaps[HEAT]
    return [jpeg(colours(heat)[..., :3]) for heat in shrunk(relative_heat(maps), PLANE_EDGE // 2)]


def features_widget(
    layout: np.ndarray,
    table: pd.DataFrame,
    parts: np.ndarray,
    *,
    patches: np.ndarray,
    rows: np.ndarray,
    seed: int,
    data: str,
) -> "HTML":
    """A scatter plot of patches that shows the patch under the pointer.

    Parameters
    ----------
    layout : (N, 2) float
        See `embeddings.umap_layout`.
    table
        ``label``, ``image``, ``z`` of each patch.
    parts : (N,)
        ``test`` or ``validation``.
    patches : (M, H, W, C) uint8
        As the network gets them, at most four channels; only those that are drawn are read.
    rows : (N,) int
        Which of `patches` lies at each place of the layout.
    seed
        Of the choice of `MOST_POINTS` patches, where there are more.
    data
        See `pages.Run.data`.
    """
    number = len(layout)
    chosen = np.arange(number)
    if number > MOST_POINTS:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(number, MOST_POINTS, replace=False))
    drawn = table.reset_index(drop=True).iloc[chosen]
    low, high = layout.min(axis=0), layout.max(axis=0)
    places = (layout[chosen] - low) / np.where(high > low, high - low, 1)
    labels = sorted(drawn["label"].unique())
    thumbs = [
        shrunk(composite(np.moveaxis(patches[row], -1, 0) / 255).transpose(2, 0, 1), THUMB)
        for row in np.asarray(rows)[chosen]
    ]
    first = [int(np.flatnonzero((drawn["label"] == label).to_numpy())[0]) for label in labels]
    sheet = _sheet([thumbs[k].transpose(1, 2, 0) for k in first], len(first))
    some = "" if number == len(chosen) else f" {len(chosen)} of {number} patches, drawn at random."
    names = ", ".join(title(str(label)) for label in labels)
    return widget(
        "features",
        "widget-features",
        title="Which patches lie together",
        text="The left plot of the figure above, with the patch at each point as the network gets "
        f"it.{some}",
        use="Point at a dot, or move to the plot with the tab key and from dot to dot with the "
        "arrow keys. One class can be brought out.",
        note=f"A still: one patch of each class, in the order {names}.",
        data=data,
        still=picture(jpeg(sheet), f"One patch of each class: {names}", shape=sheet.shape[:2]),
        facts={
            "classes": [
                {"name": title(str(label)), "color": OKABE_ITO[k % len(OKABE_ITO)]}
                for k, label in enumerate(labels)
            ],
            "points": [
                [round(float(x), 4), round(1 - float(y), 4), labels.index(row.label)]
                for (x, y), row in zip(places, drawn.itertuples(), strict=True)
            ],
            "words": [
                f"image {row.image}, plane {row.z + 1}, {part} part"
                for row, part in zip(drawn.itertuples(), np.asarray(parts)[chosen], strict=True)
            ],
            "sheet": jpeg(_sheet([thumb.transpose(1, 2, 0) for thumb in thumbs], COLUMNS)),
            "thumb": thumbs[0].shape[1],
            "columns": COLUMNS,
        },
    )


def _sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay pictures of one size (H, W, 3) side by side, in rows of so many."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * height, columns * width, 3))
    for k, one in enumerate(pictures):
        y, x = k // columns * height, k % columns * width
        sheet[y : y + height, x : x + width] = one
    return sheet
