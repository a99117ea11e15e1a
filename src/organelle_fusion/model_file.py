"""A trained network in one file, with all that is needed to use it on other images.

The file is Keras' own (``.keras``, a zip) with one member more, which Keras does not read. Nothing
in it is run when it is read: there is no pickle, no function, and no layer but those of Keras and
of this package.
"""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from organelle_fusion.chatter import import_keras
from organelle_fusion.config import Settings, Share, UserError
from organelle_fusion.provenance import atomic_path, note_file
from organelle_fusion.settings import Strategy

if TYPE_CHECKING:
    import keras

FORMAT = 1
"""Number of the layout of `ModelFacts`; it changes when an older file cannot be read any more."""

FACTS = "organelle_fusion.json"
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
LARGEST = {FACTS: 2**20, METADATA: 2**20, CONFIG: 2**26, WEIGHTS: 2**32}
"""Members of a file, and the most bytes of each: the weights of a network of 72 million parameters
are 0.3 GB."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
_TRUSTED = {
    "keras": {"DTypePolicy", "Functional", "Sequential"},
    "keras.initializers": {"GlorotUniform", "Ones", "Zeros"},
    "keras.layers": {
        *("Activation", "Add", "BatchNormalization", "Concatenate", "Conv2D", "Dense"),
        *("DepthwiseConv2D", "Dropout", "GlobalAveragePooling2D", "InputLayer"),
        *("LayerNormalization", "MaxPooling2D", "RandomFlip", "ReLU", "Rescaling"),
        "ZeroPadding2D",
    },
    "keras.regularizers": {"L2"},
    "keras.src.applications.convnext": {"LayerScale"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.models.sequential": {"Sequential"},
    "keras.src.ops.numpy": {"Add", "Split"},
}
"""What the networks of `models` are made of, by module of Keras. Other layers of Keras may load
files, or run code, that their configuration names."""
_UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
_OURS = "layers of Keras and of this package only"
_REMEDY = "take a file that organelle-fusion pack wrote"
_ADD_LAYER = "add the layer to _TRUSTED in model_file, if it neither runs code nor reads files"

Ends = tuple[float, float]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class ModelFileError(UserError):
    """A file of a network that cannot be used; the message is one line."""


class ChannelRange(Settings):
    """Smallest and largest value over the training images, of `intensity.stack_statistics`."""

    low: Ends
    otsu: Ends
    high: Ends
    saturated: Ends


class Seen(Settings):
    """What the images that a network was trained on were like: smallest and largest of each."""

    images: Count
    dtypes: Annotated[tuple[str, ...], Field(min_length=1)]
    pixel_size_um: tuple[Positive, Positive]
    patches: tuple[Count, Count]  # that are not sparse, of an image
    share_kept: tuple[Share, Share]
    intensities: dict[str, ChannelRange]


class Score(Settings):
    """Balanced accuracy by patch, of images that the network or networks have not seen."""

    value: Share
    low: Share | None  # of the 95 % interval; None: too few groups for one
    high: Share | None
    patches: Count
    images: Count
    images_right: Count
    classes: Annotated[int, Field(ge=1)]  # present among the images


class ModelFacts(Settings):
    """All that is needed to use a network, and where it comes from."""

    format: Literal[1]
    strategy: Strategy
    channels: Annotated[tuple[str, ...], Field(min_length=1)]  # in the order of the input
    classes: Annotated[tuple[str, ...], Field(min_length=2)]  # in the order of the logits
    patch_um: Positive
    input_px: Annotated[int, Field(ge=16)]
    percentiles: Ends  # of a channel of a whole stack, that become 0 and 255
    min_foreground: Share
    seen: Seen
    score: Score  # of this network
    score_of_all_folds: Score  # of the networks of all folds, each on its own test part
    data: str
    is_phantom: bool
    profile: str
    backend: Literal["tensorflow", "jax", "torch"]
    fold: Count
    n_folds: Annotated[int, Field(ge=2)]
    seed: int
    hashes: dict[str, str]  # of what the training depended on
    versions: dict[str, str]
    trained: str  # date and time, ISO 8601

    @model_validator(mode="after")
    def _consistent(self) -> "ModelFacts":
        if set(self.seen.intensities) != set(self.channels):
            raise ValueError(f"seen.intensities: expected those of {', '.join(self.channels)}")
        for name in ("channels", "classes"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name}: expected each name once")
        return self


def score_sentence(score: Score) -> str:
    """State a score, its interval or why there is none, and what it was measured on."""
    if score.low is None:
        spread = "no interval: too few groups, or all of them alike"
    else:
        spread = f"95 % interval {score.low:.2f} to {score.high:.2f}"
    return (
        f"balanced accuracy {score.value:.2f} by patch ({spread}; {score.patches} patches of "
        f"{score.images} images, {score.classes} classes), {score.images_right} of "
        f"{score.images} images right"
    )


def write_model(path: Path, network: "keras.Model", facts: ModelFacts) -> None:
    """Write a network and its facts as one ``.keras`` file: whole or not at all.

    Equal networks and facts give equal bytes, with one version of Keras.

    Parameters
    ----------
    path
        The file to write; its name ends in ``.keras``.
    network
        Of `models.build_model`, trained.
    facts
        Of this network.

    Raises
    ------
    ModelFileError
        The name ends otherwise, the facts are of another network, or the network has a layer that
        `read_model` would refuse.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelFileError(f"{path}: expected a name that ends in .keras; give it this ending")
    _check_belongs(path, network, facts, "give the facts of this network")
    for foreign in _foreign(json.loads(network.to_json())):
        raise _refusal(path, _OURS, foreign, _ADD_LAYER)
    with (
        tempfile.TemporaryDirectory() as folder,
        atomic_path(path) as temporary,
    ):
        plain = Path(folder) / "network.keras"
        network.save(plain)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in (CONFIG, WEIGHTS):
                with source.open(name) as old, _member(target, name) as new:
                    shutil.copyfileobj(old, new)
            about = json.loads(source.read(METADATA)) | {"date_saved": facts.trained}
            for name, text in (
                (METADATA, json.dumps(about, sort_keys=True)),
                (FACTS, json.dumps(facts.model_dump(mode="json"), indent=1, sort_keys=True)),
            ):
                with _member(target, name) as new:
                    new.write(text.encode())


def _member(target: zipfile.ZipFile, name: str):
    # Not packed: weights hardly shrink, and what is not packed cannot swell when it is read.
    return target.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=name == WEIGHTS)


def read_facts(path: Path) -> ModelFacts:
    """Read what a file says of its network, without Keras, after checking that the file is whole.

    Raises
    ------
    ModelFileError
        There is no such file, it is no zip, is damaged, has other members than `write_model`
        gives it or larger ones, or its facts are of another format, lack something or have
        something that is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: expected the file of a network, found none; check the path")
    with _opened(note_file(path)) as archive:
        text = archive.read(FACTS)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, f"JSON in {FACTS}", " ".join(str(error).split())) from None
    number = content.get("format") if isinstance(content, dict) else None
    if number != FORMAT:
        raise ModelFileError(
            f"{path}: expected format {FORMAT}, found {number!r}; pack the network again, or use "
            "the version of organelle-fusion that wrote it"
        )
    try:
        return ModelFacts.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _refusal(path, f"facts of format {FORMAT}", f"{key}: {first['msg']}") from None


def read_model(path: Path) -> tuple["keras.Model", ModelFacts]:
    """Read a network and its facts; Keras computes on the backend that it was imported on.

    Parameters
    ----------
    path
        The file, ``.keras``.

    Returns
    -------
    keras.Model
        Not compiled.
    ModelFacts

    Raises
    ------
    ModelFileError
        As `read_facts`; or the file asks for a layer, such as a Lambda, that is neither Keras' nor
        this package's, or holds another network than its facts say.
    """
    path, facts = Path(path), read_facts(path)
    with _opened(path) as archive:
        try:
            config = json.loads(archive.read(CONFIG))
        except (ValueError, RecursionError) as error:
            raise _refusal(path, f"JSON in {CONFIG}", " ".join(str(error).split())) from None
    try:
        import_keras(to_save=True)
        import keras
    except (ImportError, ValueError) as error:
        raise ModelFileError(
            "KERAS_BACKEND: expected a backend of Keras that is installed, found "
            f"{os.environ.get('KERAS_BACKEND')} ({' '.join(str(error).split())[:100]}); choose jax "
            "or tensorflow, or unset it"
        ) from error

    import organelle_fusion.models  # noqa: F401 - its layers become known to Keras

    for foreign in _foreign(config):
        raise _refusal(path, _OURS, foreign)
    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras fails in many ways on what is not its own
        found = f"one that Keras cannot read ({' '.join(str(error).split())[:200]})"
        raise _refusal(path, "a network", found) from error
    _check_belongs(path, network, facts)
    return network, facts


def _opened(path: Path) -> zipfile.ZipFile:
    """Open the archive after checking its members, their sizes and their bytes."""
    with open(path, "rb") as stream:
        start = stream.read(2)
    if start[:1] == b"\x80":
        raise _refusal(path, "a .keras file", "a Python pickle, which is never opened")
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE:
        raise _refusal(path, "a .keras file, which is a zip", "another or a damaged file") from None
    try:
        names = archive.namelist()
        if FACTS not in names and {CONFIG, WEIGHTS} <= set(names):
            found = "a network of Keras without them"
            raise _refusal(path, f"facts of the network ({FACTS})", found)
        if sorted(names) != sorted(LARGEST):
            found = ", ".join(name[:60] for name in sorted(names)[:8]) or "none"
            raise _refusal(path, f"the members {', '.join(sorted(LARGEST))}", found)
        for member in archive.infolist():
            most = LARGEST[member.filename]
            packed = member.compress_type != zipfile.ZIP_STORED
            if packed or member.file_size > most:
                found = "a packed one" if packed else f"{member.file_size}"
                raise _refusal(
                    path, f"{member.filename} of at most {most} bytes, not packed", found
                )
        if damaged := archive.testzip():
            raise _refusal(path, "a whole file", f"damage in {damaged}")
    except ModelFileError:
        archive.close()
        raise
    except _UNREADABLE as error:
        archive.close()
        raise _refusal(path, "a whole file", " ".join(str(error).split())) from None
    return archive


def _foreign(config: Any) -> Iterator[str]:
    """Whatever in a configuration of Keras comes from elsewhere, or would run code of the file."""
    from keras.saving import get_registered_object

    if isinstance(config, dict):
        name, module = config.get("class_name"), config.get("module")
        if name in ("Lambda", "__lambda__", "function"):
            yield f"a {name}, which would run code"
        elif isinstance(name, str) and name != "__keras_tensor__":
            ours = str(module).startswith("organelle_fusion.") and get_registered_object(
                str(config.get("registered_name"))
            )
            if not ours and name not in _TRUSTED.get(str(module), ()):
                yield f"{name[:60]} of {str(module)[:60]}"
        for value in config.values():
            yield from _foreign(value)
    elif isinstance(config, list):
        for value in config:
            yield from _foreign(value)


def _check_belongs(
    path: Path, network: "keras.Model", facts: ModelFacts, remedy: str = _REMEDY
) -> None:
    shape = (facts.input_px, facts.input_px, len(facts.channels), len(facts.classes))
    try:
        found = (*network.input_shape[1:], network.output_shape[-1])
    except (AttributeError, TypeError):
        found = ()
    if found != shape or network.name != facts.strategy:
        raise _refusal(
            path,
            f"a network {facts.strategy} of height, width, channels and classes {shape}",
            f"{network.name} of {found}",
            remedy,
        )


def _refusal(path: Path, expected: str, found: str, remedy: str = _REMEDY) -> ModelFileError:
    # What comes from a file may hold line breaks of any kind.
    found = "".join(mark if mark.isprintable() else " " for mark in found)
    return ModelFileError(f"{path}: expected {expected}, found {found}; {remedy}")
