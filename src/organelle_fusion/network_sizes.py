"""How many parameters networks have: those of the paper's kind, and those of this book.

The paper counts its parameters and does not give the width of its dense layer (Network
architecture, training, and validation); a width can be found that comes near its counts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.config import Profile
from organelle_fusion.models import build_model, count_parameters, paper_parameters
from organelle_fusion.scorecard import finding
from organelle_fusion.wording import title

PUBLISHED_MILLIONS = {"early": 26, "intermediate": 72, "late": 72}
"""Trainable parameters as the paper states them, in millions."""

COMMON_WIDTH = 256
"""Units of the dense layer that all strategies are counted with, to set them beside each other."""

NEAREST_WIDTHS = {"early": 1200, "intermediate": COMMON_WIDTH, "late": COMMON_WIDTH}
"""Units of the dense layer with which the counts come near the published ones."""


def parameter_table() -> pd.DataFrame:
    """Count the parameters of every strategy, see `models.paper_parameters`.

    Returns
    -------
    DataFrame
        strategy, dense_units, millions; published (millions; NaN for spatial fusion, which is
        ours), deviation (of the count from it, as a share), nearest: whether the width is that of
        `NEAREST_WIDTHS`, and not only the common one.
    """
    widths = [*NEAREST_WIDTHS.items(), ("early", COMMON_WIDTH), ("spatial", COMMON_WIDTH)]
    sizes = pd.DataFrame(widths, columns=["strategy", "dense_units"])
    counts = [paper_parameters(strategy, width) for strategy, width in widths]
    sizes["millions"] = np.array(counts) / 1e6
    sizes["published"] = sizes["strategy"].map(PUBLISHED_MILLIONS)
    sizes["deviation"] = sizes["millions"] / sizes["published"] - 1
    sizes["nearest"] = ~sizes["strategy"].duplicated()
    return sizes


def parameter_lines(sizes: pd.DataFrame) -> pd.DataFrame:
    """Format a `parameter_table` for a page; what the paper does not have reads "ours"."""
    lines = sizes.drop(columns="nearest").assign(
        strategy=sizes["strategy"].map(title),
        millions=sizes["millions"].round(1),
        published=sizes["published"].map("{:.0f}".format, na_action="ignore"),
        deviation=sizes["deviation"].map("{:+.1%}".format, na_action="ignore"),
    )
    return lines.fillna("ours")


def added_share(sizes: pd.DataFrame, strategy: str, other: str) -> float:
    """How many more parameters a strategy has than another, as a share, at the common width.

    Parameters
    ----------
    sizes
        Of `parameter_table`.
    strategy, other
        Names; both are counted with `COMMON_WIDTH` units.
    """
    millions = sizes[sizes["dense_units"] == COMMON_WIDTH].set_index("strategy")["millions"]
    return float(millions[strategy] / millions[other] - 1)


def parameter_findings(sizes: pd.DataFrame) -> list[dict]:
    """What a `parameter_table` says of claim C10, within 3 % of the published counts.

    Only the width that comes near decides: any other shows how much the width matters.
    """
    return [
        finding(
            "C10",
            f"{row.strategy} fusion, {row.dense_units:,} dense units: {row.millions:.1f} million "
            f"against {row.published:g}, deviation as a share",
            abs(row.deviation),
            reference=0.03 if row.nearest else np.nan,
            sense="below",
            data="networks",
        )
        for row in sizes.dropna(subset="published").itertuples()
    ]


def count_networks(
    networks: Mapping[str, tuple[str, Profile]], channels: Sequence[str], n_classes: int
) -> dict[str, int]:
    """Count the parameters of some networks, trained and not.

    Parameters
    ----------
    networks
        Name → way of fusion, and the profile whose encoder and head it has.
    channels
        Names of the channels.
    n_classes
        Number of classes.

    Returns
    -------
    dict
        Name → number of parameters.
    """
    return {
        name: count_parameters(
            build_model(
                strategy,
                channels=channels,
                n_classes=n_classes,
                encoder=profile.encoder,
                training=profile.training,
            )
        )["total"]
        for name, (strategy, profile) in networks.items()
    }
