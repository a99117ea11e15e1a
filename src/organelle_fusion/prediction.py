"""Whole stacks classified, plane by plane, in bounded memory."""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from organelle_fusion import training
from organelle_fusion.gradients import check_channels
from organelle_fusion.intensity import PatchError
from organelle_fusion.patches import check_share, extract_patches, patch_size_px
from organelle_fusion.stitching import tile_foreground, tile_table
from organelle_fusion.volumes import Volume


def predict_stack(
    model: keras.Model,
    volume: Volume,
    *,
    classes: Sequence[str],
    size_um: float,
    statistics: pd.DataFrame,
    min_foreground: float,
    overlap: bool = False,
    progress: str = "",
) -> pd.DataFrame:
    """Class probabilities of squares that cover every plane of a stack.

    Squares are scaled and resized as training patches are. They are predicted in full batches,
    which run on from plane to plane, so that only the last is padded; in memory are one plane, its
    squares and less than one batch of those before it.

    Parameters
    ----------
    model
        Of `models.build_model`, trained.
    volume
        The stack with the model's channels only, in its order (``volume.select``).
    classes
        Names of the classes, in the order of the model's logits.
    size_um
        Edge of a patch, µm; rounded to whole pixels of the stack.
    statistics
        Of `intensity.stack_statistics` for this volume.
    min_foreground
        A square is sparse if the union of the organelle masks covers a smaller share of it.
    overlap
        Whether squares overlap by half, see `stitching.tile_table`.
    progress
        What a bar over the planes says is done; it is shown on a terminal only. No bar if empty.

    Returns
    -------
    pandas.DataFrame
        One row per square: ``z``, ``y``, ``x``, ``size_px``, ``foreground`` (share of the union),
        ``kept`` (not sparse), and ``p:<class>`` float32 per class, which is missing (NaN) for
        sparse squares: networks are not trained on such.

    Raises
    ------
    ExplainError
        The volume's channels are not the model's.
    PatchError
        The number of classes is not the model's, a square is larger than the plane,
        `min_foreground` is no share, or what `patches.extract_patches` raises.
    """
    check_channels(model, volume.channels, volume.path)
    if len(classes) != model.output_shape[-1]:
        raise PatchError(
            f"{volume.path}: expected {model.output_shape[-1]} classes after model {model.name}, "
            f"found {', '.join(classes)}; name those it was trained on"
        )
    check_share(min_foreground)
    size, shape = patch_size_px(volume, size_um), volume.shape[2:]
    # By name; `extract_patches` refuses those of other channels, or in another order.
    thresholds = statistics.set_index("channel")["otsu"].reindex(list(volume.channels)).to_numpy()
    tables, probabilities = [], []
    waiting = np.empty((0, *model.input_shape[1:]), np.uint8)
    bar = {"desc": progress, "unit": "plane", "leave": False, "disable": None if progress else True}
    for z in tqdm(range(volume.shape[1]), **bar):
        tiles = tile_table(shape, z, size, overlap=overlap)
        mask = np.any(volume.plane(z) > thresholds[:, None, None], axis=0)
        tiles.insert(4, "foreground", tile_foreground(mask, tiles))
        tiles["kept"] = tiles["foreground"] >= min_foreground
        tables.append(tiles)
        patches = extract_patches(
            volume, tiles, output_px=model.input_shape[1], statistics=statistics
        )
        waiting = np.concatenate([waiting, patches])
        full = len(waiting) - len(waiting) % training.PREDICTION_BATCH
        probabilities.append(training.predict_proba(model, waiting[:full]))
        waiting = waiting[full:]
    probabilities.append(training.predict_proba(model, waiting))
    table = pd.concat(tables, ignore_index=True)
    columns = [f"p:{name}" for name in classes]
    table[columns] = np.float32(np.nan)
    table.loc[table["kept"], columns] = np.concatenate(probabilities)
    return table
