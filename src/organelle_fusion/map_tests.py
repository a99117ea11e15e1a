"""The tests that explanations are put to in chapter 11: every method, patch by patch."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.explain import METHODS, completeness, explain_patches, grad_cam
from organelle_fusion.faithfulness import (
    enlarge,
    mass_in_mask,
    organelle_mass,
    pointing,
    rank_correlation,
    removal_curves,
    removal_gain,
)
from organelle_fusion.gradients import target_logits
from organelle_fusion.naming import SHARE, shapley_measure
from organelle_fusion.planted import Shown
from organelle_fusion.shapley import ABSENT, absent_patches, shapley_values
from organelle_fusion.significance import interval_texts

PLANTED_TESTS = ("planted organelle", "mass in mask", "pointing", "deletion", "insertion")
"""Tests against what was planted and against the network; more is better, 0 is chance."""

METHOD_TITLES = {
    "grad_cam": "Grad-CAM",
    "hires_cam": "HiRes-CAM",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
}
"""Names of `explain.METHODS` as tables print them."""

SANITY_TESTS = ("random weights", "labels by lot", "another patch")
"""Likeness to maps of networks that have learnt nothing; less is better. The last is what maps have
in common that have nothing to do with each other."""


def all_maps(network: keras.Model, shown: Shown, *, gradient_steps: int) -> dict[str, np.ndarray]:
    """Maps of patches by every method of `explain.METHODS`, one per channel.

    Parameters
    ----------
    network
        With an encoder per channel.
    shown
        What is explained. Its mean stands for a pixel without evidence, where a method needs one.
    gradient_steps
        Of integrated gradients.

    Returns
    -------
    dict
        Method → (N, C, h, w) float32.
    """
    options = {method: {} for method in METHODS}
    options["integrated_gradients"] = {"baseline": shown.mean, "steps": gradient_steps}
    options["occlusion"] = {"baseline": shown.mean}
    return {
        method: explain_patches(network, shown.patches, shown.targets, method, **of_method)
        for method, of_method in options.items()
    }


def organelle_parts(network: keras.Model, shown: Shown, *, seed: int) -> dict[str, np.ndarray]:
    """Part of each organelle in the logit of the target class, by every measure that has parts.

    Parameters
    ----------
    network
        With an encoder per channel.
    shown
        What is explained. Its training patches say what stands for an absent organelle.
    seed
        Of `shapley.absent_patches`.

    Returns
    -------
    dict
        Measure → (N, C) float64: `naming.SHARE`, and the Shapley value with each of
        `shapley.ABSENT`.
    """
    parts = {SHARE: organelle_mass(grad_cam(network, shown.patches, shown.targets))}
    for kind in ABSENT:
        absent = absent_patches(shown.patches, shown.training, kind, seed)
        values = shapley_values(logit_of(network, shown.targets), shown.patches, absent)
        parts[shapley_measure(kind)] = values.parts
    return parts


def all_curves(
    network: keras.Model,
    shown: Shown,
    maps: Mapping[str, np.ndarray],
    *,
    steps: int,
    seed: int,
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Logit of the target class while places are taken away or put back, by every method.

    Parameters
    ----------
    network, shown
        As in `all_maps`.
    maps
        Of `all_maps`.
    steps, seed
        Of `faithfulness.removal_curves`.

    Returns
    -------
    dict
        Method → curves of `faithfulness.removal_curves`.
    """
    score = logit_of(network, shown.targets)
    empty = np.broadcast_to(shown.mean, shown.patches.shape)
    return {
        method: removal_curves(score, shown.patches, of_method, empty, steps=steps, seed=seed)
        for method, of_method in maps.items()
    }


def gradient_sums(
    network: keras.Model, shown: Shown, maps: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Whether the integrated gradients of `all_maps` add up, see `explain.completeness`."""
    return completeness(
        network, shown.patches, shown.targets, maps["integrated_gradients"], baseline=shown.mean
    )


def planted_tests(
    maps: Mapping[str, np.ndarray],
    curves: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    rows: np.ndarray,
    *,
    masks: np.ndarray,
    position: int,
) -> pd.DataFrame:
    """Put maps to `PLANTED_TESTS`, where one organelle tells the class and it is known which.

    Parameters
    ----------
    maps, curves
        Of `all_maps` and `all_curves`.
    rows : (N,) int
        Row of each patch in the table of the patch set.
    masks : (N, H, W) bool
        Where the planted organelle lies, see `planted.planted_masks`.
    position
        Its number among the channels.

    Returns
    -------
    DataFrame
        method, test, patch (out of `rows`), value. ``planted organelle`` is its share of the
        positive mass less an equal share, ``mass in mask`` and ``pointing`` are of its map and
        less the share of the area, see `faithfulness`; ``deletion`` and ``insertion`` are in
        logits, better than by lot.
    """
    frames = []
    for method, of_method in maps.items():
        own = enlarge(of_method[:, position], masks.shape[1])
        values = {
            "planted organelle": organelle_mass(of_method)[:, position] - 1 / of_method.shape[1],
            "mass in mask": mass_in_mask(own, masks),
            "pointing": pointing(own, masks),
            **removal_gain(curves[method]),
        }
        frames += [_rows(method, test, rows, found) for test, found in values.items()]
    return pd.concat(frames, ignore_index=True)


def curve_rows(
    curves: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], rows: np.ndarray
) -> pd.DataFrame:
    """Curves of `all_curves` as a frame: method, kind, order, share (of all places), patch, value.

    Parameters
    ----------
    curves
        Of `all_curves`.
    rows
        As in `planted_tests`.
    """
    frames = [
        _rows(method, kind, rows, column).assign(order=order, share=step / (curve.shape[1] - 1))
        for method, of_method in curves.items()
        for kind, of_kind in of_method.items()
        for order, curve in of_kind.items()
        for step, column in enumerate(curve.T)
    ]
    return pd.concat(frames, ignore_index=True).rename(columns={"test": "kind"})


def of_other_patches(
    maps: Mapping[str, np.ndarray], groups: Sequence[str] | np.ndarray
) -> dict[str, np.ndarray]:
    """Give every patch the maps of one of another group.

    Parameters
    ----------
    maps
        Of `all_maps`, of N patches.
    groups
        Group of each, such as its image, (N,).

    Returns
    -------
    dict
        As `maps`. Of the patches of other groups it is the first, counted backwards round all
        patches, that lies half of them or more before. Where all are of one group, that patch
        itself; a patch alone is given its own.
    """
    groups = np.asarray(groups)
    number = len(groups)
    # Row i: the patches in the order in which the i-th is offered them.
    offered = (np.arange(number)[:, None] - number // 2 - np.arange(number)) % number
    other = groups[offered] != groups[:, None]
    chosen = offered[np.arange(number), other.argmax(axis=1)]  # the first if there is no other
    return {method: found[chosen] for method, found in maps.items()}


def sanity_tests(
    maps: Mapping[str, np.ndarray],
    others: Mapping[str, Mapping[str, np.ndarray]],
    rows: np.ndarray,
) -> pd.DataFrame:
    """Compare maps with others that should not be like them (Adebayo et al. 2018).

    Parameters
    ----------
    maps
        Of `all_maps`, by the trained network.
    others
        Test out of `SANITY_TESTS` → maps of the same patches by the other network, or by this one
        of other patches.
    rows
        As in `planted_tests`.

    Returns
    -------
    DataFrame
        As of `planted_tests`; the value is Spearman's correlation over all channels, see
        `faithfulness.rank_correlation`.
    """
    return pd.concat(
        [
            _rows(method, test, rows, rank_correlation(maps[method], found))
            for test, of_other in others.items()
            for method, found in of_other.items()
        ],
        ignore_index=True,
    )


def summary(
    values: pd.DataFrame,
    table: pd.DataFrame,
    by: Sequence[str] = ("method", "test"),
    **bootstrap: int,
) -> pd.DataFrame:
    """Mean of every method and test over patches, with a 95 % interval over images.

    Parameters
    ----------
    values
        Of `planted_tests`, `sanity_tests` or `curve_rows`.
    table
        Of the patch set that ``patch`` counts in: ``label`` and ``group``.
    by
        Columns of `values`; a mean is taken for each of their combinations.
    bootstrap
        ``repeats`` and ``seed``, see `bootstrap.mean_interval`.

    Returns
    -------
    DataFrame
        The columns of `by`, value, low, high, patches (with a value; the others are left out).
    """
    rows = []
    for of_mean, found in values.dropna().groupby(list(by), sort=False):
        of_patch = table.iloc[found["patch"]]
        mean = mean_interval(
            found["value"].to_numpy(),
            of_patch["label"].to_numpy(),
            of_patch["group"].to_numpy(),
            **bootstrap,
        )
        rows.append((*of_mean, *mean, len(found)))
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high", "patches"])


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Table of `summary` as text: ``test``, and a column for each method under its title."""
    return (
        table.assign(text=interval_texts(table))
        .pivot_table(index="test", columns="method", values="text", aggfunc="first", sort=False)
        .rename(columns=METHOD_TITLES)
        .reset_index()
    )


def method_words(table: pd.DataFrame) -> list[str]:
    """Say of every method which of `PLANTED_TESTS` it passes, and how like its maps are to others.

    Parameters
    ----------
    table
        Of `summary`. A test of `PLANTED_TESTS` is passed where the interval lies above 0; one of
        `SANITY_TESTS` that has no value, since all maps are constant, is not known.

    Returns
    -------
    list of str
        A line of a list for each method.
    """
    lines = []
    for method, found in table.groupby("method", sort=False):
        passed = found[found["test"].isin(PLANTED_TESTS) & (found["low"] > 0)]["test"]
        likeness = found.set_index("test")["value"].reindex(SANITY_TESTS)
        weights, labels, other = (
            "not known" if np.isnan(value) else f"{value:.2f}" for value in likeness
        )
        lines.append(
            f"- {METHOD_TITLES[method]}: better than chance in {', '.join(passed) or 'no test'}; "
            f"likeness to maps of networks that know nothing {weights} (random weights) and "
            f"{labels} (labels by lot), to those of another patch {other}."
        )
    return lines


def logit_of(network: keras.Model, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Score of states of patches: (…, N, H, W, C) → logits (…, N) of each patch's target class."""
    return lambda patches: target_logits(network, patches, targets)


def _rows(method: str, test: str, rows: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"method": method, "test": test, "patch": rows, "value": values})
