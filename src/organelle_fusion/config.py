"""Settings of a run: one `Profile`, read from YAML, unknown keys refused."""

import logging
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from organelle_fusion.settings import FUSIONS as FUSIONS
from organelle_fusion.settings import JOINED as JOINED
from organelle_fusion.settings import (
    MIXED_KINDS,
    EncoderSettings,
    Filters,
    Positive,
    ProfileError,
    Settings,
    Share,
    TrainingSettings,
)
from organelle_fusion.settings import AugmentationSettings as AugmentationSettings
from organelle_fusion.settings import HeadWidths as HeadWidths
from organelle_fusion.settings import UserError as UserError
from organelle_fusion.yaml_settings import Word, YamlError, is_yaml_file, read_settings, said

_LOGGER = logging.getLogger(__name__)
_PROFILES = resources.files("organelle_fusion") / "profiles"

PAPER_PIXEL_UM = 0.03534
"""Edge of one pixel in the paper, µm (Dataset optimization: 350 px = 12.37 µm)."""

ORGANELLES = ("early_endosomes", "mitochondria", "recycling_endosomes")
"""The paper's three channels, in the order every array of this package keeps."""

NUCLEUS = "nucleus"
"""The channel that cells are found by, where stacks have it; networks never see it."""

Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
ShareRange = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]
Choices = Annotated[tuple[Positive, ...], Field(min_length=1)]


def system_error(error: OSError) -> str:
    """Say in one line what the operating system has refused, and what to look at."""
    reason = f"{error.filename or 'the operating system'}: {error.strerror or error}"
    return f"{' '.join(reason.split())}; check the path, its permissions and the free space"


class PhantomSettings(Settings):
    """The synthetic stacks that stand in for the paper's closed images."""

    images_per_class: tuple[Positive, ...]
    contact_images_per_class: tuple[Positive, Positive, Positive]  # of the variant `contact`
    shape_zyx: tuple[Positive, Positive, Positive]
    pixel_size_um: Annotated[float, Field(gt=0)]
    z_step_um: Annotated[float, Field(gt=0)]
    seed: int


class PatchSettings(Settings):
    """Patch grid and sparsity filter; sizes are in the paper's pixels."""

    size_px: Positive
    sizes_px: tuple[Positive, ...]
    min_foreground: Share
    max_per_image: Positive | None = None
    rotations_deg: tuple[float, ...] = ()  # whole images turned before patching, for chapter 03

    @model_validator(mode="after")
    def _ascending(self) -> "PatchSettings":
        if list(self.sizes_px) != sorted(set(self.sizes_px)):
            found = list(self.sizes_px)
            raise ValueError(f"sizes_px: expected ascending values, found {found}")
        return self


class FoldSettings(Settings):
    """Outer folds, and the share of each training part kept for validation."""

    n_splits: Annotated[int, Field(ge=2)]
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    seed: int


class ManyFoldsSettings(Settings):
    """Chapter 07: folds that split images, and whole-image folds repeated with other seeds."""

    n_splits: Annotated[int, Field(ge=2)]
    epochs: Positive
    repeats: Positive
    spatial: bool  # train spatial fusion as well, which is not in the paper


class SelectionSettings(Settings):
    """Phantom images of another seed, never scored, on which a patch size is chosen."""

    seed: int
    n_splits: Annotated[int, Field(ge=2)]


class TuningSettings(Settings):
    """Hyperband search of chapter 04: how long, and between which values."""

    max_epochs: Annotated[int, Field(ge=2)]
    factor: Annotated[int, Field(ge=2)]
    seed: Positive  # Keras-Tuner takes 0 for "any"
    learning_rate: Range  # least and greatest; drawn on a logarithmic scale, as l2 is
    dropout: ShareRange
    l2: Range
    dense_units: Choices  # one of these
    batch_size: Choices

    @model_validator(mode="after")
    def _searchable(self) -> "TuningSettings":
        for name in ("learning_rate", "dropout", "l2", "dense_units", "batch_size"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)):
                raise ValueError(f"{name}: expected ascending values, found {list(values)}")
        if self.dropout[1] >= 1:
            raise ValueError(f"dropout: expected shares below 1, found {self.dropout[1]}")
        if self.max_epochs < self.factor:
            raise ValueError(
                f"max_epochs: expected at least factor, {self.factor}, found {self.max_epochs}; "
                "otherwise no trial is stopped early"
            )
        return self


class LeakageSettings(Settings):
    """Chapter 10: the same data in folds of several kinds."""

    slabs: Annotated[int, Field(ge=2)]  # stretches of planes that each image is cut into
    guard_planes: Annotated[int, Field(ge=0)]  # planes left out between two of them
    candidates: Annotated[int, Field(ge=2)]  # settings to choose among
    trees: Positive  # of the forests on measured features


class HandcraftedSettings(Settings):
    """Chapter 05: objects measured in whole cells, and their classifiers."""

    cell_reach_um: Annotated[float, Field(gt=0)]  # of a cell beyond the outline of its nucleus
    voxel_um: Annotated[float, Field(gt=0)]  # edge of the isotropic voxels measured on
    min_volume_um3: Annotated[float, Field(gt=0)]  # smaller objects are taken for noise
    object_folds: Annotated[int, Field(ge=2)]  # folds over objects, as published
    trees: Positive
    shuffles: Positive  # of each group of features, for its importance
    training: TrainingSettings  # of the MLP
    tuning: TuningSettings


class PlantedSettings(Settings):
    """Chapter 11: explanations against planted truth, and controls of spatial fusion."""

    patches_per_image: Positive  # explained, of the test parts
    gradient_steps: Positive  # of integrated gradients
    removal_steps: Annotated[int, Field(ge=2)]  # of the curves of deletion and insertion
    wide_head: Positive  # units of intermediate fusion's head, as a control
    fewer: Annotated[int, Field(ge=2)]  # one of so many patches, as a control
    grids: Choices  # blocks along an edge, of the probe


class RealCellsSettings(Settings):
    """The class-balanced subset of the public crops used in chapter 09."""

    crops_per_class: Positive
    seed: int


class StudentSettings(Settings):
    """A small network of all channels that is taught by intermediate fusion."""

    filters: Filters  # of its compact encoder
    dense_units: Positive
    temperature: Annotated[float, Field(ge=1)]  # at which the teacher's probabilities are softened
    teacher_weight: Share  # of the loss; the labels have the rest


class BackboneSettings(Settings):
    """Another encoder, compared with the profile's own at the same size of input."""

    kind: Literal["compact_convnext", "convnext_tiny"]
    filters: Filters = (8, 16, 32)  # of compact_convnext
    weights: str | None = None


class BeyondSettings(Settings):
    """Chapter 12: features, subsets of the organelles, a taught student, another backbone."""

    neighbours: Annotated[int, Field(ge=2)]  # of a patch among the features of its class
    student: StudentSettings
    calibration_patches: Positive  # training patches by which 8-bit numbers are scaled
    backbone: BackboneSettings


class ReferenceSettings(Settings):
    """The reference run: steps that stop in time and go on in a next call."""

    minutes: Annotated[float, Field(gt=0)]  # of one call
    patches_per_second: Annotated[float, Field(gt=0)]  # intermediate training, until one is timed


class Profile(Settings):
    """All settings of one run."""

    name: Word  # of the folder of results
    purpose: str  # words that stand on every page
    backend: Literal["tensorflow", "jax"] = "tensorflow"
    channels: Annotated[tuple[Word, ...], Field(min_length=2, max_length=4)] = ORGANELLES
    phantom: PhantomSettings | None = None  # none: the profile is for one's own stacks
    patches: PatchSettings
    encoder: EncoderSettings
    training: TrainingSettings
    folds: FoldSettings
    many_folds: ManyFoldsSettings
    selection: SelectionSettings | None = None
    tuning: TuningSettings
    leakage: LeakageSettings
    handcrafted: HandcraftedSettings
    planted: PlantedSettings
    real_cells: RealCellsSettings
    beyond: BeyondSettings
    reference: ReferenceSettings | None = None  # there: the run is `reference.run_steps`
    bootstrap_repeats: Annotated[int, Field(ge=100)] = 2000

    def for_crops(self, channels: tuple[str, ...], input_px: int) -> "Profile":
        """Give the same settings for ready-cut crops, of their channels and size."""
        encoder = self.encoder.model_copy(update={"input_px": input_px})
        return self.model_copy(update={"channels": tuple(channels), "encoder": encoder})

    @model_validator(mode="after")
    def _consistent(self) -> "Profile":
        if self.patches.size_px not in (sizes := self.patches.sizes_px):
            raise ValueError(f"patches.size_px {self.patches.size_px} is not among {list(sizes)}")
        if (self.phantom is None) != (self.selection is None):
            raise ValueError(
                "phantom and selection: expected both or neither, found one; the second gives "
                "phantom images to choose settings on"
            )
        if self.phantom and self.selection.seed == self.phantom.seed:
            raise ValueError(
                f"selection.seed {self.selection.seed} is phantom.seed, so that choices would be "
                "made on the images that are scored; give it another value"
            )
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels {list(self.channels)} repeat a name")
        if self.encoder.kind not in MIXED_KINDS:
            raise ValueError(
                f"encoder.kind: expected {' or '.join(MIXED_KINDS)}, whose maps spatial fusion can "
                f"mix, found {self.encoder.kind}; choose one of these"
            )
        if self.encoder.kind == "compact" and len(self.encoder.filters) < 2:
            raise ValueError(
                "encoder.filters: expected two or more, as spatial fusion needs, found 1"
            )
        if (finest := max(self.planted.grids)) > self.encoder.input_px:
            raise ValueError(
                f"planted.grids: expected at most encoder.input_px, {self.encoder.input_px} blocks "
                f"along an edge, found {finest}"
            )
        if fusions := set(FUSIONS) & set(self.channels):
            raise ValueError(
                f"channels: expected names other than those of fusions, found {min(fusions)}; "
                "give it another here, and say in the manifest column channel_map which it is"
            )
        drawn = (*ORGANELLES, NUCLEUS)
        if self.phantom and (others := [name for name in self.channels if name not in drawn]):
            raise ValueError(
                f"channels: expected those that the phantom draws, {', '.join(drawn)}, found "
                f"{', '.join(others)}; name some of these or, for stacks of your own, leave out "
                "the sections phantom and selection"
            )
        return self


def paper_px_to_um(size_px: float) -> float:
    """Length in µm of a size given in the paper's pixels: 350 px are 12.37 µm."""
    return size_px * PAPER_PIXEL_UM


def use_backend(profile: Profile) -> None:
    """Let Keras compute on the profile's backend, unless ``KERAS_BACKEND`` says otherwise.

    Keras reads the variable when it is imported, so this comes first.

    Raises
    ------
    ProfileError
        Keras is imported already, on another backend.
    """
    wanted = os.environ.setdefault("KERAS_BACKEND", profile.backend)
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != wanted:
        raise ProfileError(
            f"profile {profile.name}: expected Keras on {wanted}, found it imported on "
            f"{loaded.backend.backend()}; call use_backend before anything that imports Keras"
        )


def profile_names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PROFILES.iterdir())


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile by name (``quick``) or from a YAML file of one's own.

    Parameters
    ----------
    name_or_path
        A name out of `profile_names`, or a path that ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ProfileError
        The profile does not exist, is not YAML, has a key that is not known or a value out of
        range, lacks a key, or has the name of another. The message names file, key and remedy.
    """
    text = str(name_or_path)
    own = is_yaml_file(text)
    source = Path(text) if own else _PROFILES / f"{text}.yaml"
    if own and not source.is_file():
        raise ProfileError(f"{text}: expected a profile file, found none; check the path")
    if not own and text not in profile_names():
        raise ProfileError(
            f"profile {text!r}: expected one of {', '.join(profile_names())} "
            "or the path of a .yaml file; choose one of these"
        )
    try:
        profile = Profile.model_validate(read_settings(source.read_bytes()))
    except (YamlError, ValidationError) as error:
        raise ProfileError(f"{text}: {said(error)}") from None
    if own and profile.name in profile_names() and profile != load_profile(profile.name):
        raise ProfileError(
            f"{text}: name: expected another, as the settings are not those of the profile "
            f"{profile.name} and would share its results, found its; give it a name of its own"
        )
    _LOGGER.debug("profile %s read from %s", text, source)
    return profile
