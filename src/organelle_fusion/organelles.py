"""The organelles of the phantom: six phenotypes, and how each organelle is drawn in its cells."""

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion import mosaic
from organelle_fusion.config import ORGANELLES
from organelle_fusion.microscope import SIGMA_LATERAL
from organelle_fusion.mosaic import Tissue

CONTACT_NETWORKS = {"apart": (2, 3), "half-contact": (0, 2), "in-contact": (0, 1)}
"""Which of the networks A, B, C, D the endosomes of a class sit on; A and B are shown."""

# Amounts per cell are the same in all classes: the length of mitochondria times their
# cross-section, which is their volume but for round ends and overlaps, and the area that endosomes
# would cover side by side, so that larger ones are fewer.
MITOCHONDRIA_UM3, EARLY_UM2, RECYCLING_UM2 = 80.0, 45.0, 45.0
EARLY_CLUSTER_UM, RECYCLING_PULL, POLE_PULL = 0.45, 0.05, 1.2
# Standard deviations of the logarithm of every parameter, between images and between cells.
SHAPE_SPREAD = {"image": 0.05, "cell": 0.15}
AMOUNT_SPREAD = {"image": 0.04, "cell": 0.15}


def _law(value: float, unit: str, meaning: str) -> float:
    return field(default=value, metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True)
class Phenotype:
    """The law by which the organelles of one class are drawn.

    Unit and meaning of each parameter are the metadata of its field; `planted_table` lists them.
    """

    mitochondria_radius_um: float = _law(0.26, "µm", "radius of the tubules")
    mitochondria_pull: float = _law(
        0.12, "1/µm", "p thins tubules by exp(−p d) at d from the outline of the nucleus"
    )
    mitochondria_length_um: float = _law(4.0, "µm", "length of a tubule")
    mitochondria_persistence_um: float = _law(
        3.0, "µm", "path on which a tubule loses its direction; the longer, the straighter"
    )
    early_radius_um: float = _law(0.22, "µm", "radius of early endosomes")
    early_cluster_size: float = _law(2.5, "number", "early endosomes that lie together, on average")
    early_pull: float = _law(0.12, "1/µm", "as that of mitochondria, for early endosomes")
    recycling_radius_um: float = _law(0.18, "µm", "radius of recycling endosomes")
    recycling_share_in_cluster: float = _law(
        0.35, "share", "recycling endosomes that gather at one place beside the nucleus"
    )
    recycling_cluster_um: float = _law(
        1.5, "µm", "standard deviation of their distance to that place"
    )


# Each organelle has three looks, each look is shared by two classes, and no two classes share two
# of them: one organelle finds the pair, two or three the class. Within a pair it differs softly.
PHENOTYPES: dict[str, Phenotype] = {
    "tubular-perinuclear": Phenotype(0.20, 0.15, 14.0, 12.0, 0.28, 1.2, 1.0, 0.24, 0.0, 1.5),
    "tubular-scattered": Phenotype(0.24, 0.05, 6.0, 6.0, 0.18, 1.0, 0.01, 0.17, 0.9, 1.0),
    "fragmented-scattered": Phenotype(0.36, 0.05, 0.8, 3.0, 0.19, 1.3, 0.05, 0.16, 0.5, 1.6),
    "fragmented-clustered": Phenotype(0.30, 0.15, 1.8, 3.0, 0.22, 16.0, 0.05, 0.23, 0.03, 1.5),
    "looped-clustered": Phenotype(0.23, 0.05, 9.0, 0.9, 0.21, 10.0, 0.01, 0.18, 0.75, 1.3),
    "looped-perinuclear": Phenotype(0.27, 0.15, 7.0, 0.55, 0.27, 1.5, 1.3, 0.16, 0.55, 1.8),
}
"""Six classes, named for mitochondria and early endosomes as they look."""

NULL = Phenotype()
"""The one law of all classes of the variants `null` and `contact`."""


def planted_table() -> pd.DataFrame:
    """All that separates the classes of the phantom: a row per parameter, a column per phenotype.

    Returns
    -------
    DataFrame
        parameter, unit, meaning, and the value of each of `PHENOTYPES`.
    """
    rows = [
        {
            "parameter": law.name.removesuffix("_um").replace("_", " "),
            **law.metadata,
            **{name: getattr(of_class, law.name) for name, of_class in PHENOTYPES.items()},
        }
        for law in fields(Phenotype)
    ]
    return pd.DataFrame(rows)


class Objects(NamedTuple):
    """One organelle of a field: points (P, 3) µm, the object of each, radius, and weight."""

    points: np.ndarray
    owner: np.ndarray
    radius_um: float
    weight: float


def draw_organelles(
    phenotype: str,
    variant: str,
    streams: dict[str, np.random.Generator],
    tissue: Tissue,
    visible: np.ndarray,
) -> dict[str, Objects]:
    """The organelles of a field, each from its own stream.

    Parameters
    ----------
    phenotype, variant
        As in `phantom.simulate_stack`.
    streams
        One generator for each organelle.
    tissue, visible
        The cells, and the ids (N,) of those to fill.

    Returns
    -------
    dict
        For each organelle its `Objects`; the weight of a point makes the image of an object
        peak at 1.
    """
    law = {
        name: PHENOTYPES[phenotype] if variant in ("full", f"only-{name}") else NULL
        for name in ORGANELLES
    }
    mitochondria = streams["mitochondria"]
    if variant == "contact":
        networks = [
            _draw_mitochondria(mitochondria, tissue, visible, NULL, MITOCHONDRIA_UM3 / 2)
            for _ in "ABCD"
        ]
        (points, owner, _), (more, others, _) = networks[:2]
        points, owner = np.concatenate([points, more]), np.append(owner, others + owner.max() + 1)
        hosts = [networks[k] for k in CONTACT_NETWORKS[phenotype]]
        early = _seat(
            streams["early_endosomes"],
            visible,
            hosts,
            EARLY_UM2 / (np.pi * NULL.early_radius_um**2),
        )
        recycling = _seat(
            streams["recycling_endosomes"],
            visible,
            hosts,
            RECYCLING_UM2 / (np.pi * NULL.recycling_radius_um**2),
        )
    else:
        points, owner, _ = _draw_mitochondria(
            mitochondria, tissue, visible, law["mitochondria"], MITOCHONDRIA_UM3
        )
        early = _draw_early(streams["early_endosomes"], tissue, visible, law["early_endosomes"])
        recycling = _draw_recycling(
            streams["recycling_endosomes"], tissue, visible, law["recycling_endosomes"]
        )
    # The images of a tubule's points overlap and add up to 1 on its axis.
    radius = law["mitochondria"].mitochondria_radius_um
    weight = mosaic.WALK_STEP / (np.sqrt(2 * np.pi) * np.hypot(SIGMA_LATERAL, radius / 2))
    radii = law["early_endosomes"].early_radius_um, law["recycling_endosomes"].recycling_radius_um
    return {
        "early_endosomes": Objects(early, np.arange(len(early)), radii[0], 1.0),
        "mitochondria": Objects(points, owner, radius, weight),
        "recycling_endosomes": Objects(recycling, np.arange(len(recycling)), radii[1], 1.0),
    }


def _vary(
    rng: np.random.Generator, value: float, cells: np.ndarray, *, image: float, cell: float
) -> np.ndarray:
    """A parameter of the law for each cell: it varies between images, and less within one."""
    return value * np.exp(rng.normal(0, image) + rng.normal(0, cell, len(cells)))


def _draw_mitochondria(
    rng: np.random.Generator, tissue: Tissue, visible: np.ndarray, law: Phenotype, volume: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tubules of `volume` µm³ in all per cell: points (P, 3), number of the tubule, cell."""
    mean = _vary(rng, law.mitochondria_length_um, visible, **SHAPE_SPREAD)
    persistence = _vary(rng, law.mitochondria_persistence_um, visible, **SHAPE_SPREAD)
    pull = _vary(rng, law.mitochondria_pull, visible, **SHAPE_SPREAD)
    um = volume / (np.pi * law.mitochondria_radius_um**2)
    amount = _vary(rng, um, visible, **AMOUNT_SPREAD)
    which = np.repeat(np.arange(len(visible)), np.maximum(rng.poisson(amount / mean), 1))
    length = mean[which] * rng.gamma(4, 1 / 4, len(which))
    steps = np.maximum(length / mosaic.WALK_STEP, 2).astype(int)
    starts = mosaic.scatter(rng, tissue, visible[which], pull[which])
    points, owner = mosaic.walk(rng, tissue, starts, visible[which], steps, persistence[which])
    return points, owner, visible[which][owner]


def _draw_early(
    rng: np.random.Generator, tissue: Tissue, visible: np.ndarray, law: Phenotype
) -> np.ndarray:
    """Early endosomes: points (P, 3) in small clusters."""
    size = 1 + _vary(rng, law.early_cluster_size - 1, visible, **SHAPE_SPREAD)
    pull = _vary(rng, law.early_pull, visible, **SHAPE_SPREAD)
    number = EARLY_UM2 / (np.pi * law.early_radius_um**2)
    amount = _vary(rng, number, visible, **AMOUNT_SPREAD)
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
    number = RECYCLING_UM2 / (np.pi * law.recycling_radius_um**2)
    amount = _vary(rng, number, visible, **AMOUNT_SPREAD)
    which = np.repeat(np.arange(len(visible)), np.maximum(rng.poisson(amount), 1))
    cells = visible[which]
    points = mosaic.scatter(rng, tissue, cells, np.full(len(cells), RECYCLING_PULL))
    poles = mosaic.scatter(rng, tissue, visible, np.full(len(visible), POLE_PULL))
    gathered = rng.random(len(cells)) < share[which]
    which = which[gathered]
    points[gathered] = mosaic.near(rng, tissue, poles[which], visible[which], width[which, None])
    return points


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
