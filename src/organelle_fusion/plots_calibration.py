"""The figure of reliability: how often a network is right when it says how sure it is."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from organelle_fusion.downloads import with_data
from organelle_fusion.style import GREY, SINGLE_COLOR, STRATEGY_COLORS, WIDTH, styled
from organelle_fusion.wording import heading

_AREA = 500
"""Area of the mark of all patches, square points."""
_SAMPLES = (0.02, 0.1, 0.3)


@styled
def reliability_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy against confidence, one panel per model.

    Parameters
    ----------
    curves
        Model → count, confidence, accuracy of each bin (`calibration.reliability`).

    Returns
    -------
    Figure
        On the dashed diagonal probabilities are what they say; a mark below it is over-confident,
        above it under-confident, and the stroke between is the distance. The area of a mark is its
        share of the patches, but at least that of 1 %. Panels are titled with the expected
        calibration error: the mean of the distances, weighted by these shares.
    """
    number = len(curves)
    figure, grid = plt.subplots(
        1, number, figsize=(WIDTH, WIDTH / number + 1.0), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (model, curve) in zip(grid[0], curves.items(), strict=True):
        color = STRATEGY_COLORS.get(model, SINGLE_COLOR)
        confidence, accuracy = curve["confidence"], curve["accuracy"]
        share = curve["count"] / curve["count"].sum()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        axes.vlines(confidence, confidence, accuracy, color=color, linewidth=1)
        axes.scatter(
            confidence, accuracy, s=_AREA * share.clip(lower=0.01), facecolor=color, alpha=0.75,
            edgecolor="white", linewidth=0.5, zorder=3, clip_on=False,
        )  # fmt: skip
        error = (share * (accuracy - confidence).abs()).sum()
        axes.set_title(f"{heading(model)}\nECE {error:.2f}", fontsize=9)
        axes.set(xlim=(0, 1.04), ylim=(0, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_xticklabels(["0", "0.5", "1"])
        axes.set_aspect("equal")
    for x, y, side, words in ((0.03, 0.98, "left", "under-"), (1.0, 0.02, "right", "over-")):
        grid[0, 0].text(
            x, y, f"{words}\nconfident", ha=side, va="top" if y > 0.5 else "bottom", fontsize=8,
            color=GREY,
        )  # fmt: skip
    grid[0, 0].set_ylabel("share of right patches")
    figure.supxlabel("confidence: mean probability of the class named", fontsize=9)
    for share in _SAMPLES:
        grid[0, 0].scatter([], [], s=_AREA * share, color="#777777", label=f"{share:.0%}")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
        title="area of a mark: share of all patches", title_fontsize=8.5,
    )  # fmt: skip
    return with_data(
        figure, pd.concat(curve.assign(model=model) for model, curve in curves.items())
    )
