"""Figure of learnt features in two dimensions. Arrays in, a ``Figure`` out."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from organelle_fusion.downloads import with_data
from organelle_fusion.style import GREY, OKABE_ITO, WIDTH, styled
from organelle_fusion.wording import title

_MARKS = {"test": "o", "validation": "^"}
_LONG = 18
"""Letters of a name that fits twice beside each other under a panel."""


@styled
def features_figure(
    layout: np.ndarray, labels: np.ndarray, images: np.ndarray, parts: np.ndarray
) -> Figure:
    """Patches in a two-dimensional layout, coloured by class and then by image.

    Parameters
    ----------
    layout
        float (N, 2), see `embeddings.umap_layout`.
    labels, images, parts
        Class, image and part (``test`` or ``validation``) of each patch, (N,).

    Returns
    -------
    Figure
        Left, a colour for each class. Right, one for each image among those of its class, so that
        a cluster of one class shows whether its images mix; more images than there are colours of
        classes take them from a scale. Parts have marks of their own.
    """
    labels, images, parts = np.asarray(labels), np.asarray(images), np.asarray(parts)
    classes, codes = np.unique(labels, return_inverse=True)
    ranks = np.zeros(len(images), dtype=int)
    for label in classes:
        rows = labels == label
        ranks[rows] = pd.factorize(images[rows], sort=True)[0]
    most = ranks.max() + 1
    few = most <= len(OKABE_ITO)
    numbers = [f"image {number + 1} of its class" for number in range(most)] if few else []
    names = [title(name) for name in classes]
    columns = 2 if max(map(len, names)) <= _LONG else 1
    lines = max(-(-(len(names) + 2) // columns), -(-(len(numbers) + 2) // 2))
    figure, (by_class, by_image) = plt.subplots(
        1, 2, figsize=(WIDTH, 3.35 + 0.19 * lines), sharex=True, sharey=True, layout="constrained"
    )
    _scatter(by_class, layout, codes, names, parts)
    by_class.set_title("by class")
    if few:
        _scatter(by_image, layout, ranks, numbers, parts)
    else:  # there are no colours for so many
        _scatter(by_image, layout, ranks, [], parts, mpl.colormaps["viridis"].resampled(most))
        ends = mpl.colors.Normalize(0.5, most + 0.5)
        scale = mpl.cm.ScalarMappable(ends, mpl.colormaps["viridis"].resampled(most))
        bar = figure.colorbar(scale, ax=by_image, label="number of the image in its class")
        bar.ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        bar.outline.set_visible(False)
    by_image.set_title("by image within its class")
    by_class.set_ylabel("UMAP 2 (no unit)")
    for axes, ncols in ((by_class, columns), (by_image, 2)):
        axes.set(xlabel="UMAP 1 (no unit)", xticks=[], yticks=[])
        for part in pd.unique(parts):
            axes.plot([], [], _MARKS[part], color=GREY, markersize=4, label=f"{part} part")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=ncols, handletextpad=0.3)
    points = pd.DataFrame(layout, columns=["UMAP 1", "UMAP 2"])
    return with_data(figure, points.assign(label=labels, image=images, part=parts))


def _scatter(
    axes: Axes,
    layout: np.ndarray,
    codes: np.ndarray,
    names: list[str],
    parts: np.ndarray,
    palette: mpl.colors.Colormap | None = None,
) -> None:
    # In random order, so that no class covers another.
    order = np.random.default_rng(0).permutation(len(codes))
    wheel = mpl.colors.ListedColormap(OKABE_ITO) if palette is None else palette
    colors = wheel(codes % wheel.N)
    for part in pd.unique(parts):
        rows = order[parts[order] == part]
        axes.scatter(*layout[rows].T, c=colors[rows], marker=_MARKS[part], s=11, linewidths=0)
    for code, name in enumerate(names):
        axes.plot([], [], "s", color=wheel(code % wheel.N), markersize=5, label=name)
