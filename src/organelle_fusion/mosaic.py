"""The cells of the phantom: a mosaic of cells with nuclei, and random points and walks in them."""

from dataclasses import dataclass, replace

import numpy as np

from organelle_fusion.config import UserError

CELL_SPACING, CELL_JITTER, CELL_RADIUS, CELL_GAP, MARGIN = 18.0, 2.2, 13.0, 0.5, 12.0
CELL_EDGE_HEIGHT, CELL_TOP_HEIGHT, Z_MIDDLE = 1.8, 4.6, 2.2
MAP_STEP = 0.2
WALK_STEP = 0.1


class PhantomError(UserError):
    """A phantom that cannot be made; the message is one line."""


@dataclass(frozen=True)
class Tissue:
    """Cells of a field: how each bends the plane, its nucleus, and maps on a grid of `MAP_STEP`."""

    centres: np.ndarray  # (n, 2)
    shapes: np.ndarray  # (n, 2, 2): distance to a cell's centre is |shape @ (p - centre)|
    nuclei: np.ndarray  # (n, 2, 2): inside the nucleus where |nucleus @ (p - centre)| < 1
    nucleus_heights: np.ndarray  # (n,)
    waves: np.ndarray  # (k, 2, 3): frequency y, x, phase
    maps: tuple[np.ndarray, ...] = ()


def draw_tissue(rng: np.random.Generator, height: float, width: float) -> Tissue:
    """Cells as a Voronoi mosaic of bent ellipses that reaches over the borders of the field."""
    row = CELL_SPACING * np.sqrt(3) / 2
    shift = rng.uniform(0, CELL_SPACING, 2)
    centres = [
        (y, x + (k % 2) * CELL_SPACING / 2)
        for k, y in enumerate(np.arange(shift[0] - MARGIN - row, height + MARGIN, row))
        for x in np.arange(shift[1] - MARGIN - CELL_SPACING, width + MARGIN, CELL_SPACING)
    ]
    centres = np.array(centres) + rng.normal(0, CELL_JITTER / 2, (len(centres), 2)).clip(
        -CELL_JITTER, CELL_JITTER
    )
    n = len(centres)
    angle, stretch = rng.uniform(0, np.pi, n), rng.uniform(1.0, 1.25, n)
    turn = np.moveaxis(
        np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]), 2, 0
    )
    scale = np.stack([1 / stretch, stretch], 1)[:, :, None]
    axes = rng.uniform([[4.6], [3.7]], [[5.6], [4.6]], (2, n)).T[:, :, None]
    tissue = Tissue(
        centres=centres,
        shapes=scale * turn,
        nuclei=turn / axes,
        nucleus_heights=rng.uniform(1.4, 1.8, n),
        waves=np.concatenate(
            [rng.normal(0, 1 / 24, (6, 2, 2)), rng.uniform(0, 1, (6, 2, 1))], axis=2
        ),
    )
    y = np.arange(-2 * MARGIN, height + 2 * MARGIN, MAP_STEP) + MAP_STEP / 2
    x = np.arange(-2 * MARGIN, width + 2 * MARGIN, MAP_STEP) + MAP_STEP / 2
    return replace(tissue, maps=cell_maps(tissue, y, x))


def cell_maps(tissue: Tissue, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cell id, height of the cell, half height of its nucleus, distance beyond the nucleus (Y, X).

    Lengths in µm; the distance is along the line to the centre of the nucleus, roughly.
    """
    plane = np.stack(np.meshgrid(y, x, indexing="ij"), -1).astype(np.float32)
    bend = np.zeros_like(plane)
    for wave in tissue.waves.astype(np.float32):
        for axis in (0, 1):
            phase = plane[..., 0] * wave[axis, 0] + plane[..., 1] * wave[axis, 1] + wave[axis, 2]
            bend[..., axis] += 0.5 * np.sin(2 * np.pi * phase)
    plane += bend
    shape = plane.shape[:2]
    first, second = np.full((2, *shape), 1e6, dtype=np.float32)
    cell = np.zeros(shape, dtype=np.int32)
    nuclear = np.full(shape, np.inf, dtype=np.float32)
    reach = CELL_RADIUS * 1.6
    for k, centre in enumerate(tissue.centres):
        rows = slice(*np.searchsorted(y, [centre[0] - reach, centre[0] + reach]))
        columns = slice(*np.searchsorted(x, [centre[1] - reach, centre[1] + reach]))
        offset = plane[rows, columns] - centre.astype(np.float32)
        if not offset.size:
            continue
        distance = np.linalg.norm(offset @ tissue.shapes[k].T.astype(np.float32), axis=-1)
        near, next_near = first[rows, columns], second[rows, columns]
        closer = distance < near
        np.copyto(next_near, np.where(closer, near, np.minimum(next_near, distance)))
        np.copyto(near, distance, where=closer)
        cell[rows, columns][closer] = k + 1
        core = np.linalg.norm(offset @ tissue.nuclei[k].T.astype(np.float32), axis=-1)
        np.copyto(nuclear[rows, columns], core, where=closer)
    cell[(second - first < CELL_GAP) | (first > CELL_RADIUS)] = 0
    inside = cell > 0
    rim = np.where(inside, 2 * first / (first + np.minimum(second, 2 * CELL_RADIUS)), 1).clip(0, 1)
    height = CELL_EDGE_HEIGHT + (CELL_TOP_HEIGHT - CELL_EDGE_HEIGHT) * (1 - rim**2)
    tallest = np.concatenate([[0], tissue.nucleus_heights])[cell]
    nucleus = np.where(inside, tallest * np.sqrt((1 - nuclear**2).clip(0)), 0)
    beyond = np.where(inside, 4.6 * (nuclear - 1), 0).clip(0)
    return cell, np.where(inside, height, 0), nucleus, beyond


def look_up(tissue: Tissue, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell id (0 outside of any cytoplasm) and distance beyond the nucleus of points (N, 3), µm."""
    cell, height, nucleus, beyond = tissue.maps
    index = np.floor((points[:, 1:] + 2 * MARGIN) / MAP_STEP).astype(int)
    index = np.clip(index, 0, np.array(cell.shape) - 1)
    at = (index[:, 0], index[:, 1])
    z = points[:, 0]
    allowed = (z > 0) & (z < height[at]) & (np.abs(z - Z_MIDDLE) > nucleus[at])
    return np.where(allowed, cell[at], 0), beyond[at]


def scatter(
    rng: np.random.Generator, tissue: Tissue, cells: np.ndarray, pull: np.ndarray
) -> np.ndarray:
    """One point (z, y, x) µm in the cytoplasm of each of `cells` (N, ids), thinned by `pull`."""
    points = np.empty((len(cells), 3))
    waiting = np.arange(len(cells))
    for _ in range(2000):
        if not waiting.size:
            return points
        ids = cells[waiting]
        draw = np.column_stack(
            [
                rng.uniform(0, CELL_TOP_HEIGHT, len(ids)),
                tissue.centres[ids - 1] + rng.uniform(-CELL_RADIUS, CELL_RADIUS, (len(ids), 2)),
            ]
        )
        found, beyond = look_up(tissue, draw)
        accept = (found == ids) & (rng.random(len(ids)) < np.exp(-pull[waiting] * beyond))
        points[waiting[accept]] = draw[accept]
        waiting = waiting[~accept]
    raise PhantomError(
        f"phantom: expected room for organelles in every cell, found none in cell "
        f"{int(cells[waiting[0]])}; choose another seed"
    )


def walk(
    rng: np.random.Generator,
    tissue: Tissue,
    starts: np.ndarray,
    cells: np.ndarray,
    steps: np.ndarray,
    persistence: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Persistent random walks, one point every `WALK_STEP`; they turn aside where the cell ends.

    Returns points (P, 3) and for each the number of its walk.
    """
    n = len(starts)
    position = starts.copy()
    heading = rng.uniform(0, 2 * np.pi, n)
    tilt = rng.normal(0, 0.1, n)
    points, owner = [starts], [np.arange(n)]
    walking = np.arange(n)
    # Angles are tried in turn: straight on, then ever farther to a side drawn at random.
    turns = np.deg2rad([0, 25, -25, 50, -50, 80, -80, 120, -120, 180])
    for step in range(1, int(steps.max())):
        walking = walking[steps[walking] > step]
        heading[walking] += rng.normal(0, np.sqrt(2 * WALK_STEP / persistence[walking]))
        tilt[walking] = 0.9 * tilt[walking] + rng.normal(0, 0.06, len(walking))
        side = rng.choice([-1.0, 1.0], len(walking))
        undecided = np.arange(len(walking))
        for turn in turns:
            who = walking[undecided]
            angle = heading[who] + side[undecided] * turn
            rise = tilt[who] if turn == 0 else -tilt[who]
            move = np.column_stack(
                [rise, np.cos(rise) * np.sin(angle), np.cos(rise) * np.cos(angle)]
            )
            target = position[who] + WALK_STEP * move
            free = look_up(tissue, target)[0] == cells[who]
            position[who[free]] = target[free]
            heading[who[free]] = angle[free]
            tilt[who[free]] = rise[free]
            undecided = undecided[~free]
            if not undecided.size:
                break
        points.append(position[walking])
        owner.append(walking)
    return np.concatenate(points), np.concatenate(owner)


def near(
    rng: np.random.Generator,
    tissue: Tissue,
    centres: np.ndarray,
    cells: np.ndarray,
    width: float | np.ndarray,
) -> np.ndarray:
    """Points (N, 3) of normal clouds of `width` µm about `centres`, in the cytoplasm of `cells`."""
    points = centres.copy()
    waiting = np.arange(len(points))
    width = np.broadcast_to(width, (len(points), 1))
    for _ in range(30):
        draw = rng.normal(0, [0.6, 1.0, 1.0], (len(waiting), 3))
        draw = centres[waiting] + width[waiting] * draw
        free = look_up(tissue, draw)[0] == cells[waiting]
        points[waiting[free]] = draw[free]
        waiting = waiting[~free]
        if not waiting.size:
            break
    return points
