"""What a network has learnt to see: its features of patches, whether they cluster, and by what.

Features of different networks have nothing in common, so everything here is of one network at a
time: neighbours are looked for among the patches that one fold's network embeds. Of these, only
patches that no weight was fitted to are of use, the validation and test parts of its fold.
"""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

from organelle_fusion.bootstrap import draw_groups, group_strata, interval
from organelle_fusion.config import UserError
from organelle_fusion.folds import fold_parts
from organelle_fusion.significance import interval_text, interval_texts

if TYPE_CHECKING:
    import keras

MEASURES = {
    "neighbours": "neighbours of its class that are of its image",
    "chance": "the same if images were shuffled",
    "excess": "difference of the two",
    "silhouette": "silhouette by class",
}
"""Columns of `cluster_measures` that are averaged, and what each is in words."""

UNSEEN = "unseen images"
SEEN = "training images"

_BATCH = 128


class EmbeddingError(UserError):
    """Features that cannot be had or compared; the message is one line."""


def fold_features(
    network: "keras.Model", weights: Mapping[int, Path], patches: np.ndarray
) -> dict[int, np.ndarray]:
    """Features that intermediate fusion classifies, the joined embeddings of its encoders, by fold.

    Parameters
    ----------
    network
        Intermediate fusion, of `models.build_model`. Its weights are replaced.
    weights
        Fold → file of its weights.
    patches
        uint8 (N, H, W, C).

    Returns
    -------
    dict
        Fold → float32 (N, F).
    """
    import keras

    features = keras.Model(network.input, network.get_layer("fusion").output)
    found = {}
    for fold, path in weights.items():
        network.load_weights(path)
        found[fold] = features.predict(patches, batch_size=_BATCH, verbose=0)
    return found


def umap_layout(features: np.ndarray, *, neighbours: int, seed: int) -> np.ndarray:
    """Two-dimensional UMAP of features (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    Parameters
    ----------
    features
        float (N, F), at least four rows.
    neighbours
        Patches that count as near; fewer where there are not as many.
    seed
        Of the layout, which is the same each time.

    Returns
    -------
    numpy.ndarray
        float32 (N, 2); neither axis nor scale has a meaning.

    Raises
    ------
    EmbeddingError
        There are fewer than four patches.
    """
    if len(features) < 4:
        raise EmbeddingError(
            f"UMAP: expected four patches or more, found {len(features)}; use fewer folds"
        )
    number = min(neighbours, len(features) - 1)
    # Found here: UMAP's own search is compiled first, for longer than these features take.
    # A patch is its own first neighbour, as UMAP expects.
    distances, indices = NearestNeighbors(n_neighbors=number).fit(features).kneighbors(features)
    layout = _umap().UMAP(
        n_neighbors=number,
        precomputed_knn=(indices.astype(np.int32), distances.astype(np.float32), None),
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # Of an index for patches to come, of which there are none.
        warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
        return layout.fit_transform(features)


def _umap():
    """The package, without its part for Keras: that would import TensorFlow, for many seconds."""
    unused = "umap.parametric_umap"
    sys.modules.setdefault(unused, None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)
            import umap
    finally:
        if sys.modules[unused] is None:
            del sys.modules[unused]
    return umap


def cluster_measures(
    features: np.ndarray,
    labels: np.ndarray,
    images: np.ndarray,
    places: np.ndarray,
    *,
    neighbours: int,
) -> pd.DataFrame:
    """How near patches of one image, and of one class, lie to each other in feature space.

    Images are of one class each, so that whatever clusters by class does so by image as well. The
    question by image is therefore asked among the patches of a class. Planes above each other show
    the same cells, so that patches of one place are not counted as neighbours of each other.

    Parameters
    ----------
    features
        Of one network, float (N, F).
    labels, images
        Class and image of each patch, (N,).
    places
        What tells places apart, (N,): patches of one place lie in one image, above each other.
    neighbours
        k; fewer where a class has no more patches at other places.

    Returns
    -------
    DataFrame
        One row per patch, in their order, NaN where a class has one image only: ``neighbours``,
        the share of its k nearest patches of the same class that are of the same image;
        ``chance``, its expectation if images were shuffled within the class, (n − m) / (N − m)
        where n of the N patches of the class are of its image and m at its place; ``excess``, the
        first minus the second. And ``silhouette`` (Rousseeuw 1987) by class over the patches of all
        classes, NaN if there is one class.
    """
    features, labels, images, places = map(np.asarray, (features, labels, images, places))
    found = pd.DataFrame(index=range(len(labels)), columns=list(MEASURES), dtype=float)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own = images[rows]
        if len(np.unique(own)) < 2:
            continue
        at_place = pd.Series(places[rows]).groupby(places[rows]).transform("size").to_numpy()
        # As many as are left when all of its own place come first.
        k = min(neighbours + at_place.max() - 1, len(rows) - 1)
        # Without an argument, a point is no neighbour of itself, even beside an equal one.
        near = NearestNeighbors(n_neighbors=k).fit(features[rows]).kneighbors(return_distance=False)
        elsewhere = places[rows][near] != places[rows][:, None]
        counted = elsewhere & (elsewhere.cumsum(axis=1) <= neighbours)
        same = counted & (own[near] == own[:, None])
        found.loc[rows, "neighbours"] = same.sum(axis=1) / counted.sum(axis=1)
        of_image = pd.Series(own).groupby(own).transform("size").to_numpy()
        found.loc[rows, "chance"] = (of_image - at_place) / (len(rows) - at_place)
    found["excess"] = found["neighbours"] - found["chance"]
    if 1 < len(np.unique(labels)) < len(labels):
        found["silhouette"] = silhouette_samples(features, labels)
    return found


def cluster_folds(
    features: Mapping[int, np.ndarray],
    table: pd.DataFrame,
    folds: pd.DataFrame,
    *,
    neighbours: int,
) -> dict[str, pd.DataFrame]:
    """`cluster_measures` in every fold, apart for images that the network has learnt and others.

    Parameters
    ----------
    features
        Of `fold_features`.
    table
        ``image``, ``label``, ``group``, ``y`` and ``x`` of each patch.
    folds
        Of `folds.make_folds`.
    neighbours
        As in `cluster_measures`.

    Returns
    -------
    dict
        `UNSEEN` (validation and test parts) and `SEEN` (training part) → rows of all folds, with
        ``fold``, ``label`` and ``group``.
    """
    rows = {UNSEEN: [], SEEN: []}
    places = table.groupby(["image", "y", "x"]).ngroup()
    for fold, of_fold in features.items():
        train = fold_parts(folds, table["group"], fold) == "train"
        for name, chosen in ((UNSEEN, ~train), (SEEN, train)):
            part = table.loc[chosen, ["image", "label", "group"]].reset_index(drop=True)
            measured = cluster_measures(
                of_fold[chosen],
                part["label"],
                part["image"],
                places[chosen],
                neighbours=neighbours,
            )
            rows[name].append(pd.concat([part.assign(fold=fold), measured], axis=1))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in rows.items()}


def cluster_table(
    measured: Mapping[str, pd.DataFrame], *, repeats: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Means of `cluster_measures` over classes, with 95 % intervals over resampled groups.

    A mean is taken over the patches of each class and then over the classes.

    Parameters
    ----------
    measured
        Name → rows of `cluster_measures` of any number of networks, with the columns ``label`` and
        ``group``.
    repeats, seed
        Of the bootstrap, which draws groups within their class. A group in which several networks
        see patches is drawn with all of them.

    Returns
    -------
    DataFrame
        patches (name), measure (of `MEASURES`), value, low, high, classes (their number). A
        measure that no patch has is left out.
    """
    rows = []
    for name, frame in measured.items():
        for measure in MEASURES:
            known = frame.dropna(subset=measure)
            if known.empty:
                continue
            sums = known.pivot_table(
                index="group", columns="label", values=measure, aggfunc=["sum", "size"]
            ).fillna(0)
            stratum = group_strata(known["label"], known["group"])
            weights = np.vstack([np.ones(len(stratum)), draw_groups(stratum, repeats, seed)])
            totals, sizes = weights @ sums["sum"].to_numpy(), weights @ sums["size"].to_numpy()
            means = np.divide(totals, sizes, out=np.full(totals.shape, np.nan), where=sizes > 0)
            means = np.nanmean(means, axis=1)
            low, high = interval(means[1:])
            rows.append((name, measure, means[0], low, high, totals.shape[1]))
    return pd.DataFrame(rows, columns=["patches", "measure", "value", "low", "high", "classes"])


def cluster_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format a `cluster_table` for a page: Patches of, Measure (in words), Mean, Classes."""
    return pd.DataFrame(
        {
            "Patches of": table["patches"],
            "Measure": table["measure"].map(MEASURES),
            "Mean": interval_texts(table, ""),
            "Classes": table["classes"],
        }
    )


def image_sentence(table: pd.DataFrame, neighbours: int) -> str:
    """Say whether features of unseen images group by image within a class.

    Parameters
    ----------
    table
        Of `cluster_table`, over `cluster_folds`.
    neighbours
        As in `cluster_measures`.
    """
    asked = table[(table["patches"] == UNSEEN) & (table["measure"] == "excess")]
    if asked.empty:
        return (
            "No fold holds two unseen images of a class, so that grouping by image cannot be asked."
        )
    value, low, high = asked[["value", "low", "high"]].iloc[0]
    return (
        f"Among the {neighbours} nearest patches of its class, the share from a patch's own image "
        f"differs by {interval_text(value, low, high)} from that if images were shuffled: the "
        "features "
        + (
            "also group by image, so a part of what they hold belongs to the image and not to its "
            "class."
            if low > 0
            else "do not show that they group by image."
        )
    )
