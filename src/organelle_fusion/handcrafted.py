"""The handcrafted features of the OTCCP: 34 numbers per organelle object, of measured columns.

Organelle Topology Cell Classification Pipeline, Wang et al., iScience 26:107229 (2023). One row is
one object, a connected piece of one organelle in one cell; lengths are in µm. What was measured may
come from a public table (`sources.read_measurements`) or from stacks (`cells.segment_cells`,
`objects.measure_stack`).
"""

from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from organelle_fusion.config import UserError

OPG = (
    "Area", "Volume", "Triangles", "Voxels", "BoxAA X", "BoxAA Y", "BoxAA Z", "BoxOO A",
    "BoxOO B", "BoxOO C", "Prolate", "Oblate", "Sphericity", "CI", "BI_AA", "BI_OO",
)  # fmt: skip
"""Morphology of the object."""

NPG = ("PosX", "PosY", "PosZ", "Distance to origin", "Distance to nucleus", "Polarity")
"""Its place in the cell, relative to the nucleus."""

DPG = (
    "Min", "Max", "Mean", "Median", "Std", "Sum", "Skewness", "Kurtosis", "Sum/Volume",
    "Sum/PosZ", "Sum*Volume", "Sum*PosZ",
)  # fmt: skip
"""Its distances to all other objects of the same organelle in the same cell."""

TPG = NPG + DPG
FEATURES = OPG + TPG

SUMS = ("Sum", "Sum/Volume", "Sum/PosZ", "Sum*Volume", "Sum*PosZ")
"""Features of DPG that grow with the number of objects in the cell."""

GROUPS = MappingProxyType({"OPG": OPG, "NPG": NPG, "DPG": DPG})

FAMILIES = MappingProxyType(
    {
        "size": OPG[:4],
        "boxes": OPG[4:10],
        "shape": OPG[10:],
        "position": ("PosX", "PosY", "PosZ", "Distance to origin", "Polarity"),
        "distance to nucleus": ("Distance to nucleus",),
        "sums of distances": SUMS,
        "other distances": tuple(name for name in DPG if name not in SUMS),
    }
)
"""The same 34 features in smaller groups."""

SUBSETS = MappingProxyType(
    {
        "All": FEATURES,
        **GROUPS,
        "OPG+NPG": OPG + NPG,
        "OPG+DPG": OPG + DPG,
        "TPG": TPG,
        "All without Sums": tuple(name for name in FEATURES if name not in SUMS),
        "Sums alone": SUMS,
    }
)
"""What classifiers are given, by name."""

ZOOM_SUBSETS = MappingProxyType(
    {
        "All": FEATURES,
        **GROUPS,
        "BoxAA Z alone": ("BoxAA Z",),
        "All without BoxAA Z, BI_AA": tuple(
            name for name in FEATURES if name not in ("BoxAA Z", "BI_AA")
        ),
    }
)
"""What classifiers of the zoom are given: the height of a box is a multiple of the z-step."""

_COPIED = {
    "Area": "area_um2",
    "Volume": "volume_um3",
    "Triangles": "triangles",
    "Voxels": "voxels",
    "BoxAA X": "bbox_aa_x_um",
    "BoxAA Y": "bbox_aa_y_um",
    "BoxAA Z": "bbox_aa_z_um",
    "BoxOO A": "bbox_oo_a_um",
    "BoxOO B": "bbox_oo_b_um",
    "BoxOO C": "bbox_oo_c_um",
    "PosX": "position_x_um",
    "PosY": "position_y_um",
    "PosZ": "position_z_um",
    "Distance to nucleus": "distance_to_nucleus_um",
}
_AXES = tuple(f"ellipsoid_axis_{axis}_um" for axis in "abc")

MEASURED = (*_COPIED.values(), *_AXES)
"""Measured columns that the features are made from."""

POSITIVE = ("area_um2", "volume_um3", *_AXES, "bbox_aa_z_um", "bbox_oo_c_um")
"""Those that a feature divides by."""

POSITION = ("position_x_um", "position_y_um", "position_z_um")

MIN_Z_UM = 1e-3
"""Sum/PosZ is taken only of objects at least so far from the plane z = 0, µm."""

MIN_OBJECTS = 3
"""Objects of a cell: Std, with n − 1, takes two distances."""

_NOT_FINITE = "a measured value is not finite"
_NOT_POSITIVE = "area, volume, axis or box is not positive"
_AT_ZERO = "within 1 nm of z = 0, where Sum/PosZ is not defined"
_FEW = f"fewer than {MIN_OBJECTS} objects in the cell"
_EQUAL = "in the cell, one is equally far from all others, so that skewness is not defined"
REASONS = (_NOT_FINITE, _NOT_POSITIVE, _AT_ZERO, _FEW, _EQUAL)
"""Why `drop_unusable` drops objects, in the order in which it looks."""

_DROP = "leave it out with drop_unusable, or measure it again"


class FeatureError(UserError):
    """Objects that features cannot be computed of; the message is one line."""


def object_features(objects: pd.DataFrame) -> pd.DataFrame:
    r"""Compute the 34 features of every object.

    With area A, volume V and ellipsoid semi-axes :math:`a \le b \le c`, the derived ones are

    * Prolate :math:`\frac{2a^2}{a^2+b^2}\left(1-\frac{a^2+b^2}{2c^2}\right)`, Oblate
      :math:`\frac{2b^2}{b^2+c^2}\left(1-\frac{2a^2}{b^2+c^2}\right)`;
    * Sphericity :math:`\pi^{1/3}(6V)^{2/3}/A` (1 for a sphere), and the complexity index CI
      :math:`A^3/(16\pi^2V^2)` (:math:`9/4\pi` for a sphere);
    * the box ratios BI_AA = X/Z and BI_OO = A/C;
    * Polarity :math:`\mathrm{atan2}(y, x)`, in radians.

    Distances (DPG) are those of the object's centroid to the centroids of all other objects of the
    same image and cell that are in the table: Std with n − 1, Skewness biased, Kurtosis 3 for a
    normal distribution. So it matters what was left out before.

    Parameters
    ----------
    objects
        One row per object: ``image``, ``cell`` (cells of one name in two images are two), and the
        columns of `MEASURED`, in µm, µm² and µm³; positions are relative to the cell's nucleus.

    Returns
    -------
    DataFrame
        float64, the columns of `FEATURES`; index and order are those of `objects`.

    Raises
    ------
    FeatureError
        A column is missing; or a value is not finite, one that is divided by is not positive, a
        position z is within `MIN_Z_UM` of 0, a cell has fewer than `MIN_OBJECTS` objects, or an
        object is equally far from all others. The message names row, column or cell.
    """
    values, cells = _read(objects)
    _check(values, cells, objects)
    found = {name: values[column].to_numpy() for name, column in _COPIED.items()}
    area, volume = found["Area"], found["Volume"]
    a, b, c = (values[column].to_numpy() ** 2 for column in _AXES)
    found["Prolate"] = 2 * a / (a + b) * (1 - (a + b) / (2 * c))
    found["Oblate"] = 2 * b / (b + c) * (1 - 2 * a / (b + c))
    found["Sphericity"] = np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / area
    found["CI"] = area**3 / (16 * np.pi**2 * volume**2)
    found["BI_AA"] = found["BoxAA X"] / found["BoxAA Z"]
    found["BI_OO"] = found["BoxOO A"] / found["BoxOO C"]
    found["Distance to origin"] = np.linalg.norm(values[list(POSITION)].to_numpy(), axis=1)
    found["Polarity"] = np.arctan2(found["PosY"], found["PosX"])
    found |= _of_distances(values[list(POSITION)].to_numpy(), cells)
    found["Sum/Volume"], found["Sum*Volume"] = found["Sum"] / volume, found["Sum"] * volume
    found["Sum/PosZ"] = found["Sum"] / found["PosZ"]
    found["Sum*PosZ"] = found["Sum"] * found["PosZ"]
    return pd.DataFrame({name: found[name] for name in FEATURES}, index=objects.index)


def drop_unusable(objects: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out what has no features, and say what and why.

    Reasons are looked for in the order of `REASONS`, and an object counts under the first that
    holds. An object that is left out is no neighbour of others either: their distances are those
    to the objects that stay, so that every feature can be computed again of what was kept. The
    last two reasons concern a cell, and take all of it.

    Parameters
    ----------
    objects
        As for `object_features`.

    Returns
    -------
    objects
        The rows that stay, with their index and in their order; `object_features` takes them.
    report
        reason, objects (how many were left out), cells (in how many cells they lay); one row for
        each of `REASONS`, with 0 where nothing was left out.

    Raises
    ------
    FeatureError
        A column is missing, or a row names no image or cell.
    """
    values, cells = _read(objects)
    kept = np.ones(len(objects), bool)
    rows = []
    for reason, unusable in _UNUSABLE.items():
        left = np.flatnonzero(kept)
        dropped = left[unusable(values.iloc[left], cells[left])]
        kept[dropped] = False
        rows.append((reason, len(dropped), len(np.unique(cells[dropped]))))
    return objects[kept], pd.DataFrame(rows, columns=["reason", "objects", "cells"])


def same_number_per_cell(objects: pd.DataFrame, chosen: np.ndarray, *, seed: int) -> np.ndarray:
    """Draw from every cell as many objects as `chosen` holds of it, at random.

    Parameters
    ----------
    objects
        ``image`` and ``cell`` of N objects.
    chosen
        bool (N,), a choice to be compared with a random one of its size.
    seed
        Of the draw.

    Returns
    -------
    numpy.ndarray
        bool (N,); drawn from all objects of the cell, whether `chosen` or not.
    """
    _, cells = _cells(objects)
    order = np.random.default_rng(seed).permutation(len(objects))
    wanted = np.bincount(cells[chosen], minlength=cells.max() + 1)
    turn = pd.Series(cells[order]).groupby(cells[order]).cumcount().to_numpy()
    drawn = np.zeros(len(objects), bool)
    drawn[order] = turn < wanted[cells[order]]
    return drawn


def length_steps(lengths: pd.Series, images: pd.Series) -> pd.DataFrame:
    """Find the step that all lengths of an image are multiples of, as boxes are of the z-step.

    Parameters
    ----------
    lengths
        Lengths, µm, of N objects.
    images
        Image of each.

    Returns
    -------
    DataFrame
        One row per image, by name: image; step_um, the least difference of two lengths that is
        more than their rounding, refined as the mean over all lengths; off, by how many steps a
        length misses a multiple of it at most (random lengths: up to 0.5).
    """
    rows = []
    for image, of_image in lengths.groupby(images, sort=True):
        values = np.sort(of_image.to_numpy(dtype=float))
        gaps = np.diff(values)
        step = gaps[gaps > 1e-3].min() if (gaps > 1e-3).any() else np.nan
        step = values.sum() / np.round(values / step).sum()
        rows.append((image, step, np.abs(values / step - np.round(values / step)).max()))
    return pd.DataFrame(rows, columns=["image", "step_um", "off"])


def z_steps(objects: pd.DataFrame) -> pd.DataFrame:
    """Find the z-step of every image by `length_steps` of the boxes of its objects.

    Beside image, step_um and off stand ``batch`` and ``step``, step_um rounded to the nanometre.
    """
    steps = length_steps(objects["bbox_aa_z_um"], objects["image"])
    batch_of = objects.groupby("image")["batch"].first()
    return steps.assign(batch=steps["image"].map(batch_of), step=steps["step_um"].round(3))


def usual_steps(steps: pd.DataFrame) -> dict[str, float]:
    """Batch → its z-step, µm: the median of the images that have the most frequent of `z_steps`.

    A batch has none where no image shows two heights.
    """
    steps = steps.dropna(subset="step")
    usual = {batch: of["step"].mode()[0] for batch, of in steps.groupby("batch")}
    return {
        batch: steps.loc[(steps["batch"] == batch) & (steps["step"] == step), "step_um"].median()
        for batch, step in usual.items()
    }


def _cells(objects: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Names of image and cell, and the number of each object's cell, (N,) int."""
    missing = [name for name in ("image", "cell") if name not in objects]
    if missing:
        raise FeatureError(
            f"objects: expected the columns image and cell, found no {missing[0]}; add it"
        )
    names = objects[["image", "cell"]]
    gaps = names.isna().any(axis=1).to_numpy()
    if gaps.any():
        raise FeatureError(
            f"objects: row {objects.index[gaps.argmax()]}: expected an image and a cell, found "
            "none; fill in"
        )
    return names, names.groupby(["image", "cell"], sort=False).ngroup().to_numpy()


def _read(objects: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Measured values as numbers, NaN where they are none, and the number of each cell."""
    missing = [name for name in MEASURED if name not in objects]
    if missing:
        raise FeatureError(
            f"objects: expected the measured columns, found no {', '.join(missing)}; measure them"
        )
    if objects.empty:
        raise FeatureError("objects: expected at least one row, found none; check the measurement")
    _, cells = _cells(objects)
    values = objects[list(MEASURED)].apply(pd.to_numeric, errors="coerce").astype(float)
    return values.reset_index(drop=True), cells


def _check(values: pd.DataFrame, cells: np.ndarray, objects: pd.DataFrame) -> None:
    """Refuse what has no features, by its first row."""
    names = objects[["image", "cell"]].to_numpy()
    for columns, bad, expected in (
        (MEASURED, lambda part: ~np.isfinite(part), "a finite number"),
        (POSITIVE, lambda part: part <= 0, "more than 0"),
        (POSITION[2:], lambda part: np.abs(part) < MIN_Z_UM, f"{MIN_Z_UM:g} µm or more from 0"),
    ):
        rows, places = np.nonzero(bad(values[list(columns)].to_numpy()))
        if len(rows):
            row, column = rows[0], columns[places[0]]
            raise FeatureError(
                f"objects: row {objects.index[row]} (image {names[row][0]}, cell {names[row][1]}): "
                f"{column}: expected {expected}, found {objects[column].iloc[row]}; {_DROP}"
            )
    for reason, expected, found in (
        (_FEW, f"{MIN_OBJECTS} objects or more", "fewer"),
        (_EQUAL, "objects at different distances", "one that is equally far from all others"),
    ):
        bad = _UNUSABLE[reason](values, cells)
        if bad.any():
            image, cell = names[bad.argmax()]
            raise FeatureError(
                f"objects: image {image}, cell {cell}: expected {expected}, found {found}; {_DROP}"
            )


def _distances(positions: np.ndarray) -> np.ndarray:
    """Distances of each of n points to the others, (n, n − 1)."""
    n = len(positions)
    return cdist(positions, positions)[~np.eye(n, dtype=bool)].reshape(n, n - 1)


def _holds_equal(values: pd.DataFrame, cells: np.ndarray) -> np.ndarray:
    """Whether the cell holds an object that is equally far from all others, (N,) bool."""
    positions = values[list(POSITION)].to_numpy()
    equal = np.zeros(len(cells), bool)
    for rows in pd.Series(cells).groupby(cells).indices.values():
        distances = _distances(positions[rows])
        # Up to rounding: the moments of what is left would be of rounding errors.
        equal[rows] = (np.ptp(distances, axis=1) <= 1e-9 * distances.max(axis=1)).any()
    return equal


def _of_distances(positions: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the features of DPG that need distances only."""
    found = {name: np.empty(len(cells)) for name in DPG[:8]}
    for rows in pd.Series(cells).groupby(cells).indices.values():
        distances = _distances(positions[rows])
        mean = distances.mean(axis=1, keepdims=True)
        second, third, fourth = (((distances - mean) ** k).mean(axis=1) for k in (2, 3, 4))
        for name, value in (
            ("Min", distances.min(axis=1)),
            ("Max", distances.max(axis=1)),
            ("Mean", mean[:, 0]),
            ("Median", np.median(distances, axis=1)),
            ("Std", distances.std(axis=1, ddof=1)),
            ("Sum", distances.sum(axis=1)),
            ("Skewness", third / second**1.5),
            ("Kurtosis", fourth / second**2),
        ):
            found[name][rows] = value
    return found


_UNUSABLE = {
    _NOT_FINITE: lambda values, cells: ~np.isfinite(values.to_numpy()).all(axis=1),
    _NOT_POSITIVE: lambda values, cells: ~(values[list(POSITIVE)].to_numpy() > 0).all(axis=1),
    _AT_ZERO: lambda values, cells: np.abs(values["position_z_um"].to_numpy()) < MIN_Z_UM,
    _FEW: lambda values, cells: np.bincount(cells)[cells] < MIN_OBJECTS,
    _EQUAL: _holds_equal,
}
"""Reason → whether each row is unusable for it, among the rows that are left."""
