"""Figure of learnt features in two dimensions. Arrays in, a ``Figure`` out.

`plots` offers it too.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from organelle_fusion.downloads import with_data
from organelle_fusion.style import OKABE_ITO, WIDTH, styled
from organelle_fusion.wording import title

_MARKS = {"test": "o", "validation": "^"}


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
        a cluster of one class shows whether its images mix. Parts have marks of their own.
    """
    labels, images, parts = np.asarray(labels), np.asarray(images), np.asarray(parts)
    figure, (by_class, by_image) = plt.subplots(
        1, 2, figsize=(WIDTH, 4.1), sharex=True, sharey=True, layout="constrained"
    )
    classes, codes = np.unique(labels, return_inverse=True)
    _scatter(by_class, layout, codes, [title(name) for name in classes], parts)
    by_class.set_title("by class")
    ranks = np.zeros(len(images), dtype=int)
    for label in classes:
        rows = labels == label
        ranks[rows] = pd.factorize(images[rows], sort=True)[0]
    names = [f"image {number + 1} of its class" for number in range(ranks.max() + 1)]
    _scatter(by_image, layout, ranks, names, parts)
    by_image.set_title("by image within its class")
    by_class.set_ylabel("UMAP 2 (no unit)")
    for axes in (by_class, by_image):
        axes.set(xlabel="UMAP 1 (no unit)", xticks=[], yticks=[])
        for part in pd.unique(parts):
            axes.plot([], [], _MARKS[part], color="#555555", markersize=4, label=f"{part} part")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, handletextpad=0.3)
    points = pd.DataFrame(layout, columns=["UMAP 1", "UMAP 2"])
    return with_data(figure, points.assign(label=labels, image=images, part=parts))


def _scatter(
    axes: Axes, layout: np.ndarray, codes: np.ndarray, names: list[str], parts: np.ndarray
) -> None:
    # In random order, so that no class covers another.
    order = np.random.default_rng(0).permutation(len(codes))
    colors = np.array([OKABE_ITO[code % len(OKABE_ITO)] for code in codes])
    for part in pd.unique(parts):
        rows = order[parts[order] == part]
        axes.scatter(*layout[rows].T, c=colors[rows], marker=_MARKS[part], s=11, linewidths=0)
    for code, name in enumerate(names):
        axes.plot([], [], "s", color=OKABE_ITO[code % len(OKABE_ITO)], markersize=5, label=name)
