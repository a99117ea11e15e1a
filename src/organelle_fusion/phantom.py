"""Synthetic Airyscan-like stacks with planted truth, in place of the paper's closed images.

All lengths are in µm: the same seed gives the same cells at any voxel size. A phantom shows that
the method finds what was planted; it says nothing about biology.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from organelle_fusion import microscope, mosaic
from organelle_fusion.config import ORGANELLES, PhantomSettings
from organelle_fusion.mosaic import PhantomError, Tissue
from organelle_fusion.provenance import atomic_path, code_version, file_hash, hash_of, write_json
from organelle_fusion.volumes import write_ome_tiff

CHANNELS = (*ORGANELLES, "nucleus")
VARIANTS = ("full", "null", *(f"only-{name}" for name in ORGANELLES), "contact")
CONTACT_CLASSES = ("apart", "half-contact", "in-contact")

MITOCHONDRIA_UM, EARLY, RECYCLING = 360.0, 150, 240  # per cell
RADIUS_UM = {"early_endosomes": 0.22, "mitochondria": 0.20, "recycling_endosomes": 0.14}
EARLY_CLUSTER_UM, RECYCLING_PULL, POLE_PULL = 0.45, 0.05, 1.2
SHAPE_SPREAD = {"image": 0.15, "cell": 0.2}
AMOUNT_SPREAD = {"image": 0.15, "cell": 0.15}
GAIN_SPREAD, OBJECT_SPREAD = 0.25, 0.35
PEAK_PHOTONS = {
    "early_endosomes": 60.0,
    "mitochondria": 40.0,
    "recycling_endosomes": 40.0,
    "nucleus": 25.0,
}


@dataclass(frozen=True)
class Phenotype:
    """The law by which the organelles of one class are drawn; amounts per cell are the same in all.

    A `pull` p thins objects by exp(-p d) at d µm from the outline of the nucleus.
    """

    mitochondria_length_um: float = 4.0
    mitochondria_persistence_um: float = 3.0
    mitochondria_pull: float = 0.08
    early_cluster_size: float = 2.5
    early_pull: float = 0.12
    recycling_share_in_cluster: float = 0.35
    recycling_cluster_um: float = 1.5


_TUBULAR = {"mitochondria_length_um": 8.0, "mitochondria_persistence_um": 8.0}
_FRAGMENTED = {"mitochondria_length_um": 1.2, "mitochondria_persistence_um": 3.0}
_LOOPED = {"mitochondria_length_um": 5.0, "mitochondria_persistence_um": 0.7}
_SCATTERED = {"early_cluster_size": 1.3, "early_pull": 0.0}
_CLUSTERED = {"early_cluster_size": 7.0, "early_pull": 0.06}
_PERINUCLEAR = {"early_cluster_size": 1.6, "early_pull": 0.5}
_COMPACT = {"recycling_share_in_cluster": 0.7, "recycling_cluster_um": 1.0}
_MIXED = {"recycling_share_in_cluster": 0.35, "recycling_cluster_um": 1.6}
_DISPERSED = {"recycling_share_in_cluster": 0.03, "recycling_cluster_um": 2.0}

# Every organelle shows each of three looks in two classes, and no two classes share two looks.
PHENOTYPES: dict[str, Phenotype] = {
    "tubular-perinuclear": Phenotype(**_TUBULAR, **_PERINUCLEAR, **_DISPERSED),
    "tubular-scattered": Phenotype(**_TUBULAR, **_SCATTERED, **_COMPACT),
    "fragmented-scattered": Phenotype(**_FRAGMENTED, **_SCATTERED, **_MIXED),
    "fragmented-clustered": Phenotype(**_FRAGMENTED, **_CLUSTERED, **_DISPERSED),
    "looped-clustered": Phenotype(**_LOOPED, **_CLUSTERED, **_COMPACT),
    "looped-perinuclear": Phenotype(**_LOOPED, **_PERINUCLEAR, **_MIXED),
}
"""Six classes, named for mitochondria and early endosomes as they look."""

NULL = Phenotype()
"""The one law of all classes of the variants `null` and `contact`."""

CONTACT_NETWORKS = {"apart": (2, 3), "half-contact": (0, 2), "in-contact": (0, 1)}


@dataclass(frozen=True)
class Phantom:
    """One synthetic stack.

    Attributes
    ----------
    image
        uint16 (4, Z, Y, X), detector counts.
    labels
        uint16 (4, Z, Y, X), 0 outside; every organelle and nucleus has an id of its own within
        its channel. The id of a nucleus is that of its cell.
    cells
        uint16 (Z, Y, X), the id of the cell, nucleus included; 0 between cells.
    channels
        Names of the channels in order.
    """

    image: np.ndarray
    labels: np.ndarray
    cells: np.ndarray
    channels: tuple[str, ...] = CHANNELS


def _vary(
    rng: np.random.Generator, value: float, cells: np.ndarray, *, image: float, cell: float
) -> np.ndarray:
    """A parameter of the law for each cell: it varies between images, and less within one."""
    return value * np.exp(rng.normal(0, image) + rng.normal(0, cell, len(cells)))


def _draw_mitochondria(
    rng: np.random.Generator, tissue: Tissue, visible: np.ndarray, law: Phenotype, um: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tubules of `um` µm in all per cell: points (P, 3), their tubule's number and their cell."""
    mean = _vary(rng, law.mitochondria_length_um, visible, **SHAPE_SPREAD)
    persistence = _vary(rng, law.mitochondria_persistence_um, visible, **SHAPE_SPREAD)
    pull = _vary(rng, law.mitochondria_pull, visible, **SHAPE_SPREAD)
    amount = _vary(rng, um, visible, **AMOUNT_SPREAD)
    which = np.repeat(np.arange(len(visible)), np.maximum(rng.poisson(amount / mean), 1))
    steps = np.maximum(mean[which] * rng.gamma(4, 1 / 4, len(which)) / mosaic.WALK_STEP, 2).astype(
        int
    )
    starts = mosaic.scatter(rng, tissue, visible[which], pull[which])
    points, owner = mosaic.walk(rng, tissue, starts, visible[which], steps, persistence[which])
    return points, owner, visible[which][owner]


def _draw_early(
    rng: np.random.Generator, tissue: Tissue, visible: np.ndarray, law: Phenotype
) -> np.ndarray:
    """Early endosomes: points (P, 3) in small clusters."""
    size = 1 + _vary(rng, law.early_cluster_size - 1, visible, **SHAPE_SPREAD)
    pull = _vary(rng, law.early_pull, visible, **SHAPE_SPREAD)
    amount = _vary(rng, EARLY, visible, **AMOUNT_SPREAD)
    which = np.repeat(np.arange(len(visible)), np.maximum(rng.poisson(amount / size), 1))
    centres = mosaic.scatter(rng, tissue, visible[which], pull[which])
    members = np.repeat(np.arange(len(which)), 1 + rng.poisson(size[which] - 1))
    return mosaic.near(rng, tissue, centres[members], visible[which][members], EARLY_CLUSTER_UM)


def _draw_recycling(
    rng: np.random.Generator, tissue: Tissue, visible: np.ndarray, law: Phenotype
) -> np.ndarray:
    """Recycling endosomes: points (P, 3), some about a pole beside the nucleus, others anywhere."""
    share = _vary(rng, law.recycling_share_in_cluster, visible, **SHAPE_SPREAD).clip(0, 0.9)
    width = _vary(rng, law.recycling_cluster_um, visible, **SHAPE_SPREAD)
    amount = _vary(rng, RECYCLING, visible, **AMOUNT_SPREAD)
    which = np.repeat(np.arange(len(visible)), np.maximum(rng.poisson(amount), 1))
    cells = visible[which]
    points = mosaic.scatter(rng, tissue, cells, np.full(len(cells), RECYCLING_PULL))
    poles = mosaic.scatter(rng, tissue, visible, np.full(len(visible), POLE_PULL))
    gathered = rng.random(len(cells)) < share[which]
    which = which[gathered]
    points[gathered] = mosaic.near(rng, tissue, poles[which], visible[which], width[which, None])
    return points


def simulate_stack(
    phenotype: str, *, index: int, variant: str = "full", settings: PhantomSettings
) -> Phantom:
    """One stack, equal to the byte for equal arguments.

    The geometry of the cells and each channel draw from a random stream of their own, keyed by
    seed and index; thus ``only-<organelle>`` is that channel of ``full`` with the others of
    ``null``.

    Parameters
    ----------
    phenotype
        Name out of `PHENOTYPES`, or out of `CONTACT_CLASSES` for the variant ``contact``.
    index
        Number of the image within its data set.
    variant
        ``full``: all organelles follow the phenotype. ``null``: none does. ``only-<organelle>``:
        one does. ``contact``: every cell has four mitochondrial networks A, B, C, D of one law and
        shows A and B; each endosome sits on a random one of C, D (``apart``), A, C
        (``half-contact``) or A, B (``in-contact``), so only the relation differs between classes.
    settings
        Shape, voxel size and seed.

    Returns
    -------
    Phantom

    Raises
    ------
    PhantomError
        Phenotype or variant are not known.
    """
    if variant not in VARIANTS:
        raise PhantomError(
            f"phantom variant: expected one of {', '.join(VARIANTS)}, found {variant!r}; "
            "choose one of these"
        )
    classes = class_names(variant)
    if phenotype not in classes:
        raise PhantomError(
            f"phantom variant {variant}: expected a class out of {', '.join(classes)}, "
            f"found {phenotype!r}; choose one of these"
        )
    grid = microscope.Grid(
        settings.shape_zyx, settings.pixel_size_um, settings.z_step_um, mosaic.Z_MIDDLE
    )
    streams = [
        np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index, stream)))
        for stream in range(1 + len(CHANNELS))
    ]
    tissue = mosaic.draw_tissue(streams[0], grid.shape[1] * grid.pixel, grid.shape[2] * grid.pixel)
    cell, height, nucleus, _ = mosaic.cell_maps(tissue, grid.centres(1), grid.centres(2))
    z = grid.z[:, None, None]
    in_nucleus = (cell > 0) & (np.abs(z - mosaic.Z_MIDDLE) < nucleus)
    in_cell = ((z > 0) & (z < height)) | in_nucleus
    visible = np.unique(cell[cell > 0])
    cells = np.searchsorted(visible, cell) + 1
    cells = np.where(in_cell, cells, 0).astype(np.uint16)
    zone = in_cell.astype(np.uint8) + in_nucleus
    objects = _draw_organelles(phenotype, variant, streams[1:], tissue, visible)
    image = np.empty((len(CHANNELS), *grid.shape), dtype=np.uint16)
    labels = np.empty_like(image)
    for k, (name, rng) in enumerate(zip(CHANNELS, streams[1:], strict=True)):
        peak = PEAK_PHOTONS[name] * np.exp(rng.normal(0, GAIN_SPREAD))
        background, haze = rng.uniform(1.5, 4.0), rng.uniform(0.5, 2.0)
        if name == "nucleus":
            labels[k] = np.where(in_nucleus, cells, 0)
            signal = peak * _draw_chromatin(rng, tissue, visible, in_nucleus, grid)
            levels = (background, background, background)
        else:
            points, owner, weight = objects[name]
            labels[k] = microscope.label_points(points, owner, RADIUS_UM[name], zone == 1, grid)
            shine = np.exp(rng.normal(0, OBJECT_SPREAD, owner.max() + 1))[owner]
            signal = microscope.render_points(points, peak * weight * shine, RADIUS_UM[name], grid)
            levels = (background, background + haze, background)
        image[k] = microscope.detect(rng, signal, zone, levels)
    return Phantom(image, labels, cells)


def class_names(variant: str) -> tuple[str, ...]:
    """The classes of a variant, in the order of `PhantomSettings.images_per_class`."""
    return CONTACT_CLASSES if variant == "contact" else tuple(PHENOTYPES)


def _draw_organelles(
    phenotype: str,
    variant: str,
    streams: list[np.random.Generator],
    tissue: Tissue,
    visible: np.ndarray,
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """For each organelle its points (P, 3), the object each belongs to, and a point's weight."""
    rng = dict(zip(CHANNELS, streams, strict=True))
    law = {
        name: PHENOTYPES[phenotype] if variant in ("full", f"only-{name}") else NULL
        for name in ORGANELLES
    }
    # Points of a tubule overlap: their images add up to 1 on its axis.
    width = np.hypot(microscope.SIGMA_LATERAL, RADIUS_UM["mitochondria"] / 2)
    tube_weight = mosaic.WALK_STEP / (np.sqrt(2 * np.pi) * width)
    if variant == "contact":
        networks = [
            _draw_mitochondria(rng["mitochondria"], tissue, visible, NULL, MITOCHONDRIA_UM / 2)
            for _ in "ABCD"
        ]
        first, second = networks[0], networks[1]
        tubules = (
            np.concatenate([first[0], second[0]]),
            np.concatenate([first[1], second[1] + first[1].max() + 1]),
        )
        hosts = [networks[k] for k in CONTACT_NETWORKS[phenotype]]
        early, recycling = (
            _seat(rng[name], visible, hosts, amount)
            for name, amount in (("early_endosomes", EARLY), ("recycling_endosomes", RECYCLING))
        )
    else:
        tubules = _draw_mitochondria(
            rng["mitochondria"], tissue, visible, law["mitochondria"], MITOCHONDRIA_UM
        )
        early = _draw_early(rng["early_endosomes"], tissue, visible, law["early_endosomes"])
        recycling = _draw_recycling(
            rng["recycling_endosomes"], tissue, visible, law["recycling_endosomes"]
        )
    return {
        "early_endosomes": (early, np.arange(len(early)), 1.0),
        "mitochondria": (tubules[0], tubules[1], tube_weight),
        "recycling_endosomes": (recycling, np.arange(len(recycling)), 1.0),
    }


def _seat(
    rng: np.random.Generator, visible: np.ndarray, hosts: list[tuple], amount: float
) -> np.ndarray:
    """Endosomes (P, 3), each on a random point of one of two networks drawn for it alone."""
    number = rng.poisson(_vary(rng, amount, visible, **AMOUNT_SPREAD))
    points = []
    for cell, n in zip(visible, number, strict=True):
        choice = rng.integers(0, 2, n)
        for k, (host, _, host_cell) in enumerate(hosts):
            points.append(rng.choice(host[host_cell == cell], int((choice == k).sum())))
    return np.concatenate(points)


def _draw_chromatin(
    rng: np.random.Generator,
    tissue: Tissue,
    visible: np.ndarray,
    in_nucleus: np.ndarray,
    grid: microscope.Grid,
) -> np.ndarray:
    """Nuclei of unit brightness with brighter foci, float32 (Z, Y, X)."""
    sigma = (
        microscope.SIGMA_AXIAL / grid.z_step,
        microscope.SIGMA_LATERAL / grid.pixel,
        microscope.SIGMA_LATERAL / grid.pixel,
    )
    nuclei = ndimage.gaussian_filter(in_nucleus.astype(np.float32), sigma, truncate=3)
    which = np.repeat(visible - 1, 40)
    draw = rng.normal(size=(len(which), 3))
    draw *= (0.95 * rng.random(len(which)) ** (1 / 3) / np.linalg.norm(draw, axis=1))[:, None]
    spread = np.linalg.solve(tissue.nuclei[which], draw[:, 1:, None])[:, :, 0]
    foci = np.column_stack(
        [
            mosaic.Z_MIDDLE + draw[:, 0] * tissue.nucleus_heights[which],
            tissue.centres[which] + spread,
        ]
    )
    return nuclei * (
        1 + microscope.render_points(foci, rng.uniform(0.1, 0.6, len(foci)), 0.8, grid)
    )


def simulate_dataset(
    folder: Path, settings: PhantomSettings, *, variant: str = "full", progress: bool = True
) -> Path:
    """Write the stacks of a variant, their labels and their manifest; resume where it stopped.

    Parameters
    ----------
    folder
        Receives ``stacks/*.ome.tif``, ``labels/*.ome.tif`` and ``manifest.csv``. A stack is made
        again unless the JSON beside it agrees with its settings, its code and the files' bytes.
    settings
        `images_per_class` has one entry for each of `class_names`.
    variant
        As in `simulate_stack`.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    PhantomError
        The variant is not known, or the numbers of images do not fit its classes.
    """
    folder = Path(folder)
    classes = class_names(variant)
    if len(settings.images_per_class) != len(classes):
        raise PhantomError(
            f"phantom variant {variant}: expected images_per_class with {len(classes)} entries, "
            f"found {len(settings.images_per_class)}; give one for each of {', '.join(classes)}"
        )
    law = settings.model_dump(mode="json", exclude={"images_per_class"})
    code = code_version("microscope", "mosaic", "phantom", "volumes")
    names = np.repeat(classes, settings.images_per_class)
    rows = []
    for index, label in enumerate(tqdm(names, desc=f"phantom {variant}", disable=not progress)):
        name = f"{variant}-{index:03d}"
        paths = [folder / part / f"{name}.ome.tif" for part in ("stacks", "labels")]
        record = folder / "stacks" / f"{name}.json"
        inputs = hash_of([law, index, str(label), variant, code])
        if not _is_current(record, inputs, paths):
            phantom = simulate_stack(str(label), index=index, variant=variant, settings=settings)
            for path, array in zip(paths, (phantom.image, phantom.labels), strict=True):
                write_ome_tiff(
                    path,
                    array,
                    phantom.channels,
                    pixel_size_um=settings.pixel_size_um,
                    z_step_um=settings.z_step_um,
                )
            write_json(record, {"inputs": inputs, "files": [file_hash(path) for path in paths]})
        rows.append((name, f"stacks/{name}.ome.tif", str(label), name))
    manifest = folder / "manifest.csv"
    with atomic_path(manifest) as temporary:
        frame = pd.DataFrame(rows, columns=["image", "path", "label", "group"])
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return manifest


def _is_current(record: Path, inputs: str, paths: list[Path]) -> bool:
    if not (record.is_file() and all(path.is_file() for path in paths)):
        return False
    try:
        stored = json.loads(record.read_text("utf-8"))
    except json.JSONDecodeError:
        return False
    return stored == {"inputs": inputs, "files": [file_hash(path) for path in paths]}
