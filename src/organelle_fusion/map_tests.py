"""The tests that explanations are put to in chapter 11: every method, patch by patch."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.explain import METHODS, explain_patches
from organelle_fusion.faithfulness import (
    enlarge,
    mass_in_mask,
    organelle_mass,
    pointing,
    rank_correlation,
    removal_gain,
)
from organelle_fusion.gradients import target_logits

PLANTED_TESTS = ("planted organelle", "mass in mask", "pointing", "deletion", "insertion")
"""Tests against what was planted and against the network; more is better, 0 is chance."""

METHOD_TITLES = {
    "grad_cam": "Grad-CAM",
    "hires_cam": "HiRes-CAM",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
}
"""Names of `explain.METHODS` as tables print them."""

SANITY_TESTS = ("random weights", "labels by lot")
"""Likeness to maps of networks that have learnt nothing; less is better."""


def all_maps(
    network: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    baseline: np.ndarray,
    *,
    gradient_steps: int,
) -> dict[str, np.ndarray]:
    """Maps of patches by every method of `explain.METHODS`, one per channel.

    Parameters
    ----------
    network
        With an encoder per channel.
    patches : (N, H, W, C) uint8
        To be explained.
    targets : (N,) int
        Class whose logit is explained.
    baseline
        What stands for a pixel without evidence, where a method needs it.
    gradient_steps
        Of integrated gradients.

    Returns
    -------
    dict
        Method → (N, C, h, w) float32.
    """
    options = {method: {} for method in METHODS}
    options["integrated_gradients"] = {"baseline": baseline, "steps": gradient_steps}
    options["occlusion"] = {"baseline": baseline}
    return {
        method: explain_patches(network, patches, targets, method, **of_method)
        for method, of_method in options.items()
    }


def planted_tests(
    network: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    maps: Mapping[str, np.ndarray],
    baseline: np.ndarray,
    *,
    masks: np.ndarray,
    position: int,
    removal_steps: int,
    seed: int,
) -> pd.DataFrame:
    """Put maps to `PLANTED_TESTS`, where one organelle tells the class and it is known which.

    Parameters
    ----------
    network, patches, targets, baseline
        As in `all_maps`.
    maps
        Of `all_maps`.
    masks : (N, H, W) bool
        Where the planted organelle lies, see `planted.planted_masks`.
    position
        Its number among the channels.
    removal_steps, seed
        Of `faithfulness.removal_gain`.

    Returns
    -------
    DataFrame
        method, test, patch (number in `patches`), value. ``planted organelle`` is its share of the
        positive mass less an equal share, ``mass in mask`` and ``pointing`` are of its map and
        less the share of the area, see `faithfulness`; ``deletion`` and ``insertion`` are in
        logits, better than by lot.
    """
    score = logit_of(network, targets)
    equal = 1 / patches.shape[3]
    frames = []
    for method, of_method in maps.items():
        own = enlarge(of_method[:, position], patches.shape[1])
        values = {
            "planted organelle": organelle_mass(of_method)[:, position] - equal,
            "mass in mask": mass_in_mask(own, masks),
            "pointing": pointing(own, masks),
            **removal_gain(
                score,
                patches,
                of_method,
                np.broadcast_to(baseline, patches.shape),
                steps=removal_steps,
                seed=seed,
            ),
        }
        frames += [_rows(method, test, found) for test, found in values.items()]
    return pd.concat(frames, ignore_index=True)


def sanity_tests(
    maps: Mapping[str, np.ndarray], others: Mapping[str, Mapping[str, np.ndarray]]
) -> pd.DataFrame:
    """Compare maps with those of networks that have learnt nothing (Adebayo et al. 2018).

    Parameters
    ----------
    maps
        Of `all_maps`, by the trained network.
    others
        Test out of `SANITY_TESTS` → maps of the same patches by the other network.

    Returns
    -------
    DataFrame
        As of `planted_tests`; the value is Spearman's correlation over all channels, see
        `faithfulness.rank_correlation`.
    """
    return pd.concat(
        [
            _rows(method, test, rank_correlation(maps[method], found))
            for test, of_other in others.items()
            for method, found in of_other.items()
        ],
        ignore_index=True,
    )


def summary(values: pd.DataFrame, table: pd.DataFrame, **bootstrap: int) -> pd.DataFrame:
    """Mean of every test and method over patches, with a 95 % interval over images.

    Parameters
    ----------
    values
        Of `planted_tests` and `sanity_tests`, where ``patch`` is the row in `table`.
    table
        Of the patch set: ``label`` and ``group``.
    bootstrap
        ``repeats`` and ``seed``, see `bootstrap.mean_interval`.

    Returns
    -------
    DataFrame
        method, test, value, low, high, patches (with a value; the others are left out).
    """
    rows = []
    for (method, test), found in values.dropna().groupby(["method", "test"], sort=False):
        of_patch = table.iloc[found["patch"]]
        mean = mean_interval(
            found["value"].to_numpy(),
            of_patch["label"].to_numpy(),
            of_patch["group"].to_numpy(),
            **bootstrap,
        )
        rows.append((method, test, *mean, len(found)))
    return pd.DataFrame(rows, columns=["method", "test", "value", "low", "high", "patches"])


def logit_of(network: keras.Model, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Score of patches: patches (N, H, W, C) → logit (N,) of the target class of each."""
    return lambda patches: target_logits(network, patches, targets)


def _rows(method: str, test: str, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": method, "test": test, "patch": np.arange(len(values)), "value": values}
    )
