"""Whether an image is of the kind that a network was trained on: refusals and warnings."""

import math

import pandas as pd

from organelle_fusion.config import UserError
from organelle_fusion.inspecting import SATURATED, UNRELATED, plane_correlation
from organelle_fusion.manifest_cells import channels_remedy
from organelle_fusion.model_file import ModelFacts
from organelle_fusion.volumes import Volume

COARSER = 2.0
"""A pixel larger than this many of those that the network was given in training loses details of
up to twice the size that it could see there: refused."""

FINER = 4.0
"""A pixel smaller than the smallest of training by more is rather a wrong unit than another
microscope: refused. Less is harmless, since patches are averaged down to the same size."""

LEAST_PATCHES = 10
"""With so many, the standard error of a share is up to 0.5 / √10 = 0.16; with fewer it is more."""


class FitError(UserError):
    """An image that does not fit a network; the message is one line."""


def check_fits(volume: Volume, facts: ModelFacts) -> None:
    """Refuse an image without the network's channels, or with pixels that are far from training's.

    What the network was given in training has pixels of the stacks there, or of its input where
    these are larger: a patch is averaged down to ``input_px``.

    Parameters
    ----------
    volume
        The image with all its channels.
    facts
        Of the network.

    Raises
    ------
    FitError
        One line: file, expected, found, remedy. Limits are `COARSER` and `FINER`.
    """
    if any(volume.channels.count(name) != 1 for name in facts.channels):
        where = "by --channel-map, or in the manifest column channel_map"
        remedy = channels_remedy(volume.channels, facts.channels, where)
        raise FitError(
            f"{volume.path}: expected the channels {', '.join(facts.channels)} after the network, "
            f"each once, found {', '.join(volume.channels)}; {remedy}"
        )
    least, most = facts.seen.pixel_size_um
    coarsest = COARSER * max(most, facts.patch_um / facts.input_px)
    size = volume.pixel_size_um
    if not least / FINER <= size <= coarsest:
        raise FitError(
            f"{volume.path}: expected pixels of {least / FINER:.3g} to {coarsest:.3g} µm, as the "
            f"network was trained at {_span(least, most)} µm, found {size:.4g} µm; check the pixel "
            "size, or take a network trained on such images"
        )


def image_warnings(volume: Volume, statistics: pd.DataFrame, facts: ModelFacts) -> list[str]:
    """Say how an image differs from those of the training: type, pixel size, intensities.

    Intensities are those of `intensity.stack_statistics`. Every image is scaled by its own, so
    that other ones do no harm by themselves; they tell of other exposure, staining or microscope.
    The range of the training is widened by its own width at both ends, by a tenth of its upper end
    at least, since an image of the same kind easily lies just outside.

    Parameters
    ----------
    volume
        The network's channels only.
    statistics
        Of `intensity.stack_statistics` for it.
    facts
        Of the network.
    """
    found = []
    seen = facts.seen
    if str(volume.dtype) not in seen.dtypes:
        found.append(f"pixels are {volume.dtype}, those of the training {', '.join(seen.dtypes)}")
    least, most = seen.pixel_size_um
    size = volume.pixel_size_um
    if not (
        least <= size <= most
        or any(math.isclose(size, end, rel_tol=0.1) for end in seen.pixel_size_um)
    ):
        found.append(f"pixel size {size:.4g} µm, in training {_span(least, most)} µm")
    names = {"low": "percentile 1", "otsu": "threshold", "high": "percentile 99.9"}
    for row in statistics.itertuples():
        ranges = seen.intensities[row.channel]
        outside = [
            f"{name} {getattr(row, column):.5g} (training {_span(*getattr(ranges, column))})"
            for column, name in names.items()
            if not _near(getattr(row, column), *getattr(ranges, column))
        ]
        if outside:
            found.append(f"channel {row.channel}: intensities out of range: {', '.join(outside)}")
        if row.saturated > max(SATURATED, ranges.saturated[1]):
            found.append(
                f"channel {row.channel}: {row.saturated:.1%} of the voxels hold its largest value: "
                "saturated"
            )
    return found


def noise_warnings(volume: Volume) -> list[str]:
    """Say which channels hold noise without an image, by the middle plane alone, which is read."""
    found = []
    for name, pixels in zip(volume.channels, volume.plane(volume.shape[1] // 2), strict=True):
        correlation = plane_correlation(pixels)
        if abs(correlation) < UNRELATED:
            found.append(
                f"channel {name}: noise without an image in the middle plane: pixels side by side "
                f"are unrelated (correlation {correlation:.2f})"
            )
    return found


def patch_warnings(patches: int, share_kept: float, facts: ModelFacts) -> list[str]:
    """Say that patches are fewer, or the share kept is lower or higher, than of any training image.

    And where there are fewer than `LEAST_PATCHES`, whatever the training had.
    """
    found = []
    least = facts.seen.patches[0]
    if patches < max(least, LEAST_PATCHES):
        reason = (
            f"fewer than in any image of the training ({least})"
            if patches < least
            else f"fewer than {LEAST_PATCHES}, so that chance moves the mean"
        )
        found.append(f"{patches} {'patch' if patches == 1 else 'patches'} kept, {reason}")
    lowest, highest = facts.seen.share_kept
    if not lowest <= share_kept <= highest:
        than, end = ("less", lowest) if share_kept < lowest else ("more", highest)
        found.append(
            f"{share_kept:.0%} of the patches kept, {than} than of any image of the training "
            f"({end:.0%})"
        )
    return found


def _near(value: float, low: float, high: float) -> bool:
    margin = max(high - low, 0.1 * abs(high))
    return low - margin <= value <= high + margin


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if math.isclose(low, high) else f"{low:.4g} to {high:.4g}"
