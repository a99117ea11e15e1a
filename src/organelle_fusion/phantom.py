"""Synthetic Airyscan-like stacks with planted truth, in place of the paper's closed images.

All lengths are in µm: the same seed gives the same cells at any voxel size. A phantom shows that
the method finds what was planted; it says nothing about biology.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from organelle_fusion import microscope, mosaic
from organelle_fusion.config import NUCLEUS, ORGANELLES, PhantomSettings
from organelle_fusion.locks import run_lock
from organelle_fusion.mosaic import PhantomError, Tissue
from organelle_fusion.organelles import CONTACT_NETWORKS, PHENOTYPES, draw_organelles
from organelle_fusion.provenance import (
    code_version,
    hash_of,
    is_current,
    note_file,
    record_files,
    write_csv,
)
from organelle_fusion.volumes import write_ome_tiff
from organelle_fusion.workers import of_each

CHANNELS = (*ORGANELLES, NUCLEUS)
VARIANTS = ("full", "null", *(f"only-{name}" for name in ORGANELLES), "contact")
CONTACT_CLASSES = tuple(CONTACT_NETWORKS)

# Photons at the peak of an object; standard deviations of their logarithm between channels of
# images (staining) and between objects.
GAIN_SPREAD, OBJECT_SPREAD = 0.08, 0.3
PEAK_PHOTONS = {
    "early_endosomes": 160.0,
    "mitochondria": 120.0,
    "recycling_endosomes": 140.0,
    NUCLEUS: 25.0,
}


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
    classes = class_names(variant)
    if phenotype not in classes:
        raise PhantomError(
            f"phantom variant {variant}: expected a class out of {', '.join(classes)}, "
            f"found {phenotype!r}; choose one of these"
        )
    grid = microscope.Grid(
        settings.shape_zyx, settings.pixel_size_um, settings.z_step_um, mosaic.Z_MIDDLE
    )
    streams = {
        name: np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index, key)))
        for key, name in enumerate(("geometry", *CHANNELS))
    }
    tissue = mosaic.draw_tissue(
        streams["geometry"], grid.shape[1] * grid.pixel, grid.shape[2] * grid.pixel
    )
    cell, height, nucleus, _ = mosaic.cell_maps(tissue, grid.centres(1), grid.centres(2))
    z = grid.z[:, None, None]
    in_nucleus = (cell > 0) & (np.abs(z - mosaic.Z_MIDDLE) < nucleus)
    in_cell = ((z > 0) & (z < height)) | in_nucleus
    visible = np.unique(cell[cell > 0])
    cells = np.searchsorted(visible, cell) + 1
    cells = np.where(in_cell, cells, 0).astype(np.uint16)
    zone = in_cell.astype(np.uint8) + in_nucleus
    organelles = draw_organelles(phenotype, variant, streams, tissue, visible)
    image = np.empty((len(CHANNELS), *grid.shape), dtype=np.uint16)
    labels = np.empty_like(image)
    for k, name in enumerate(CHANNELS):
        rng = streams[name]
        peak = PEAK_PHOTONS[name] * np.exp(rng.normal(0, GAIN_SPREAD))
        background, haze = rng.uniform(1.7, 2.5), rng.uniform(0.4, 0.7)
        if name == NUCLEUS:
            labels[k] = np.where(in_nucleus, cells, 0)
            signal = peak * _draw_chromatin(rng, tissue, visible, in_nucleus, grid)
            levels = (background, background, background)
        else:
            points, owner, radius, weight = organelles[name]
            labels[k] = microscope.label_points(points, owner, radius, zone == 1, grid)
            shine = np.exp(rng.normal(0, OBJECT_SPREAD, owner.max() + 1))[owner]
            signal = microscope.render_points(points, peak * weight * shine, radius, grid)
            levels = (background, background + haze, background)
        image[k] = microscope.detect(rng, signal, zone, levels)
    return Phantom(image, labels, cells)


def class_names(variant: str) -> tuple[str, ...]:
    """The classes of a variant, in the order of `PhantomSettings.images_per_class`.

    Raises
    ------
    PhantomError
        The variant is not known.
    """
    if variant not in VARIANTS:
        raise PhantomError(
            f"phantom variant: expected one of {', '.join(VARIANTS)}, found {variant!r}; "
            "choose one of these"
        )
    return CONTACT_CLASSES if variant == "contact" else tuple(PHENOTYPES)


def largest_cell(cells: np.ndarray) -> np.ndarray:
    """Pixels of the cell that covers most of a plane: a cell cut by the border is small.

    Parameters
    ----------
    cells
        Ids of one plane of `Phantom.cells`, (Y, X); 0 between cells.

    Returns
    -------
    ndarray of bool, (Y, X)
        Nothing where there is no cell.
    """
    areas = np.bincount(cells.ravel())
    areas[0] = 0
    return (cells == areas.argmax()) & (cells > 0)


def median_cell_area(cells: np.ndarray) -> float:
    """Median number of pixels of the cells of a plane that its border does not cut; NaN for none.

    Parameters
    ----------
    cells
        Ids of one plane of `Phantom.cells`, (Y, X); 0 between cells.
    """
    areas = np.bincount(cells.ravel())
    border = np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    areas[[0, *np.unique(border)]] = 0
    return float(np.median(areas[areas > 0])) if areas.any() else float("nan")


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
        `images_per_class` (`contact_images_per_class` for the variant ``contact``) has one entry
        for each of `class_names`.
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
    contact = variant == "contact"
    numbers = settings.contact_images_per_class if contact else settings.images_per_class
    if len(numbers) != len(classes):
        raise PhantomError(
            f"phantom variant {variant}: expected images_per_class with {len(classes)} entries, "
            f"found {len(numbers)}; give one for each of {', '.join(classes)}"
        )
    law = settings.model_dump(mode="json", exclude={"images_per_class", "contact_images_per_class"})
    code = code_version("microscope", "mosaic", "organelles", "phantom", "volumes")
    labels = {f"{variant}-{k:03d}": str(c) for k, c in enumerate(np.repeat(classes, numbers))}

    def files(name: str) -> tuple[Path, list[Path]]:
        paths = [folder / part / f"{name}.ome.tif" for part in ("stacks", "labels")]
        return folder / "stacks" / f"{name}.json", paths

    def simulate(name: str) -> str:
        label, index = labels[name], list(labels).index(name)
        record, paths = files(name)
        inputs = hash_of([law, index, label, variant, code])
        current, line = is_current(record, inputs, paths)
        if current:
            return ""
        phantom = simulate_stack(label, index=index, variant=variant, settings=settings)
        for path, array in zip(paths, (phantom.image, phantom.labels), strict=True):
            write_ome_tiff(
                path,
                array,
                phantom.channels,
                pixel_size_um=settings.pixel_size_um,
                z_step_um=settings.z_step_um,
            )
        record_files(record, inputs, paths)
        return line

    with run_lock(folder):
        for _, line in of_each(simulate, list(labels), f"phantom {variant}", progress=progress):
            if line:
                print(line, flush=True)
    for name in labels:
        record, paths = files(name)
        for path in (record, *paths):
            note_file(path)
    rows = [(name, f"stacks/{name}.ome.tif", label, name) for name, label in labels.items()]
    manifest = folder / "manifest.csv"
    write_csv(manifest, pd.DataFrame(rows, columns=["image", "path", "label", "group"]))
    return manifest
