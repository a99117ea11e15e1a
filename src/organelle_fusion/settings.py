"""What all settings are built on, and the settings of networks: strategies, encoders, training.

`config` has the other settings and gives these as well. Every list of strategies or of kinds of
encoders begins here; `tests/test_strategies.py` says what else a new one needs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Strategy = Literal["single", "early", "intermediate", "spatial"]
"""The networks that `models.build_model` builds."""

ONE_ENCODER = ("single", "early")
"""Those with one encoder, whatever the number of channels; the others have one for each."""

FUSIONS = ("early", "intermediate", "late", "spatial")
"""Names of the models that join channels; every other model is named by its one channel."""

JOINED = tuple(name for name in FUSIONS if name != "late")
"""Those of them that are one network; late fusion joins what networks of one channel say."""

EncoderKind = Literal["compact", "resnet50", "compact_convnext", "convnext_tiny"]
"""The encoders that `encoders.build_encoder` builds."""

SMALL_KINDS = frozenset({"compact", "compact_convnext"})
"""Those of a size for processors: trained several at once there, and without a GPU."""

MIXED_KINDS = ("compact", "resnet50")
"""Those that `mixing.split_encoder` parts before their last stage, for spatial fusion."""

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Filters = Annotated[tuple[Positive, ...], Field(min_length=1)]  # of the stem, and of each block


class UserError(Exception):
    """Base of all errors that the user can mend; the message is one line and says how."""


class ProfileError(UserError):
    """A profile that cannot be used; the message is one line."""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderSettings(Settings):
    """The convolutional encoder, one per organelle or one for all."""

    kind: EncoderKind
    input_px: Annotated[int, Field(ge=16)]
    filters: Filters = (8, 16, 32)
    stem_stride: Literal[1, 2] = 2
    weights: str | None = None  # "imagenet", or the path of a file with the same weights

    def without_weights(self) -> "EncoderSettings":
        """Give the same encoder with random weights, as of networks that have learnt nothing."""
        return self.model_copy(update={"weights": None})


class AugmentationSettings(Settings):
    """Random changes of a patch in training, the same for all its channels."""

    flips: bool = True
    quarter_turns: bool = False
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0  # largest share of the edge that is cut off
    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 0.0  # largest angle, either way


class HeadWidths(Settings):
    """Width of the dense layer, where it differs between the strategies."""

    single: Positive
    early: Positive
    intermediate: Positive
    spatial: Positive


class TrainingSettings(Settings):
    """Optimisation of one network, as far as the paper states it."""

    epochs: Positive
    patience: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    decay_steps: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    l2: Annotated[float, Field(ge=0)]
    dense_units: Positive | HeadWidths
    augmentation: AugmentationSettings = AugmentationSettings()
    steps_per_execution: Positive = 1
    precision: Literal["float32", "mixed_bfloat16"] = "float32"  # of the encoders
    jit: Literal["auto", True, False] = "auto"  # XLA; auto: on a GPU, and with JAX anywhere

    def of_any_length(self) -> "TrainingSettings":
        """Give the same for trainings of any length, by which compiled networks are told apart."""
        return self.model_copy(update={"epochs": 1, "patience": 1})

    def head_width(self, strategy: str) -> int:
        """Width of the dense layer of a strategy of `models.build_model`.

        Raises
        ------
        ProfileError
            Each strategy has a width of its own, and this one has none.
        """
        if isinstance(self.dense_units, HeadWidths):
            widths = self.dense_units.model_dump()
            if strategy not in widths:
                raise ProfileError(
                    f"training.dense_units: expected a width for {strategy}, found those of "
                    f"{', '.join(widths)}; give one number for all, or add it to HeadWidths"
                )
            return widths[strategy]
        return self.dense_units
