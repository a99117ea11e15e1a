"""Profiles: what is read, and what is refused in one line."""

import os
import re
import subprocess
import sys
from importlib import resources

import pytest
import yaml

from organelle_fusion.config import (
    ProfileError,
    load_profile,
    paper_px_to_um,
    profile_names,
)


def test_paper_patch_is_12_37_um():
    """350 px of the paper are 12.37 µm (Dataset optimization)."""
    assert paper_px_to_um(350) == pytest.approx(12.37, abs=0.005)


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_of_the_package_loads(name):
    """A profile is known by the name of its file."""
    assert load_profile(name).name == name


def test_quick_has_the_papers_number_of_images():
    """26 images over six classes, four or five in each."""
    images = load_profile("quick").phantom.images_per_class
    assert (len(images), sum(images), min(images), max(images)) == (6, 26, 4, 5)


def test_paper_is_the_study_as_published():
    """What the text states (Dataset optimization; Network architecture, training, validation)."""
    paper = load_profile("paper")
    assert paper.phantom is None
    assert paper.channels == ("early_endosomes", "mitochondria", "recycling_endosomes")
    assert (paper.patches.size_px, paper.patches.sizes_px) == (350, tuple(range(200, 501, 50)))
    assert paper.patches.max_per_image is None
    assert (paper.encoder.kind, paper.encoder.weights) == ("resnet50", "imagenet")
    training = paper.training
    assert (training.epochs, training.patience, training.batch_size) == (100, 15, 32)
    assert (training.decay_rate, training.decay_steps, training.dropout) == (0.95, 175, 0.4)
    changes = training.augmentation
    assert changes.flips
    assert changes.quarter_turns
    assert min(changes.crop, changes.rotation_deg) > 0
    assert (paper.folds.n_splits, paper.folds.validation_share) == (5, 0.2)
    assert (paper.many_folds.n_splits, paper.backend) == (30, "tensorflow")


def test_every_setting_of_paper_says_where_it_is_from():
    """The paper, our choice where it gives nothing, or ours altogether."""
    text = (resources.files("organelle_fusion") / "profiles" / "paper.yaml").read_text("utf-8")
    settings = [line for line in text.splitlines() if re.match(r" *\w+: *[^ #]", line)]
    assert len(settings) > 40
    assert [line for line in settings if not re.search(r"# (paper|not given|ours)\b", line)] == [
        "name: paper"
    ]


def test_profiles_compute_as_the_paper_but_for_the_one_on_a_gpu():
    """In float32, compiled as Keras finds best; on a GPU, encoders in 16 bits."""
    for name in profile_names():
        training = load_profile(name).training
        expected = "mixed_bfloat16" if name == "reference" else "float32"
        assert (training.precision, training.jit) == (expected, "auto")


@pytest.mark.parametrize("missing", ["phantom", "selection"])
def test_a_phantom_and_its_second_one_come_together(tmp_path, missing):
    """Neither: the profile is for own stacks. One of them is a mistake."""
    path = tmp_path / "mine.yaml"
    content = load_profile("smoke").model_dump(mode="json") | {"name": "mine"}
    del content[missing]
    path.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ProfileError, match="expected both or neither, found one"):
        load_profile(path)
    content.pop("phantom", None)
    content.pop("selection", None)
    path.write_text(yaml.safe_dump(content), "utf-8")
    assert load_profile(path).phantom is None


def write(path, **changes):
    content = load_profile("smoke").model_dump(mode="json")
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            content[section][field] = value
        else:
            content[section] = value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__epoch": 3}, "training.epoch: expected a known key, found another"),
        ({"training__epochs": 0}, "training.epochs: .* greater than 0, found 0"),
        ({"patches__sizes_px": [500, 350]}, "sizes_px: expected ascending values, found .500, 350"),
        ({"patches__sizes_px": [350, 350]}, "sizes_px: expected ascending values"),
        ({"planted__grids": [2, 29]}, "planted.grids: expected at most encoder.input_px, 28 .* 29"),
        ({"patches__size_px": 333}, "patches.size_px 333 is not among"),
        ({"channels": ["early", "mitochondria"]}, "channels: expected names .*found early;"),
        ({"channels": ["a/b", "mitochondria"]}, "channels.0: expected letters, .*found 'a/b'"),
        ({"channels": ["a", "frühe"]}, "channels.1: expected letters, .*found 'frühe'"),
        ({"encoder__filters": [8]}, "encoder.filters: expected two or more"),
        (
            {"encoder__kind": "compact_convnext"},
            "encoder.kind: expected compact or resnet50, .*found compact_convnext; choose",
        ),
        (
            {"channels": ["mitochondria", "tubulin", "actin"]},
            "channels: expected those that the phantom draws, early_.*, found tubulin, actin; ",
        ),
        ({"encoder__filters": []}, r"encoder.filters: expected 1 values or more, found \[\]; "),
        ({"tuning__l2": [0.1, 0.2, 0.3]}, "tuning.l2: expected 2 values or fewer, found "),
        ({"tuning__l2": [0.2, 0.1]}, "yaml: tuning: l2: .*, found .0.2, 0.1.; correct it$"),
        ({"channels": ["a", "a"]}, "yaml: channels .* repeat a name; correct it$"),
        ({"name": "../../src"}, "name: expected letters, .* found '../../src'; give it such a"),
        ({"name": ""}, "name: expected letters, .*found ''; "),
        ({"name": ".hidden"}, "name: expected letters, .*found '.hidden'; "),
        ({"name": "a/b"}, "name: expected letters, .*found 'a/b'; "),
        ({"encoder__kind": "resnet"}, "encoder.kind: .*found 'resnet'"),
        ({"training__precision": "float16"}, "training.precision: .*found 'float16'"),
        ({"training__jit": "never"}, "training.jit.*found 'never'"),
    ],
)
def test_bad_values_are_one_line(tmp_path, changes, message):
    """The message names file, key, what was expected and found."""
    path = write(tmp_path / "mine.yaml", **changes)
    with pytest.raises(ProfileError, match=message) as error:
        load_profile(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("section", ["phantom", "purpose"])
def test_another_profile_has_another_name(tmp_path, section):
    """A changed copy would write into the folder of the packaged profile, and each redo the other's
    chapters; an unchanged copy is the same profile."""
    assert load_profile(write(tmp_path / "mine.yaml")) == load_profile("smoke")
    changes = {"phantom__seed": 99} if section == "phantom" else {"purpose": "mine"}
    path = write(tmp_path / "mine.yaml", **changes)
    with pytest.raises(ProfileError, match=r"mine\.yaml: name: .* give it a name of its own$"):
        load_profile(path)
    assert load_profile(write(path, **changes, name="mine")).name == "mine"


def test_a_suffix_in_capitals_is_a_path(tmp_path):
    """Some systems write suffixes so."""
    assert load_profile(write(tmp_path / "MINE.YAML")).name == "smoke"
    with pytest.raises(ProfileError, match="expected a profile file, found none"):
        load_profile("none.YML")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "expected settings in YAML"),
        ("- a\n", "expected a mapping"),
        ("", "found NoneType"),
    ],
)
def test_files_that_are_no_profile(tmp_path, content, message):
    """Neither broken YAML nor a list nor an empty file passes."""
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProfileError, match=message):
        load_profile(path)


def test_unknown_name_lists_the_known_ones():
    """A misspelt name shows what there is."""
    with pytest.raises(ProfileError, match="'quik': expected one of paper, quick"):
        load_profile("quik")


def test_python_objects_in_yaml_are_refused(tmp_path):
    """A profile cannot run code."""
    path = tmp_path / "mine.yaml"
    path.write_text("!!python/object/apply:os.system ['echo hostile']", encoding="utf-8")
    with pytest.raises(ProfileError, match=r"found what cannot be read .*python/object"):
        load_profile(path)


@pytest.mark.parametrize(
    ("imported", "variable", "outcome"),
    [("", "", "jax"), ("", "torch", "torch"), ("tensorflow", "", "ProfileError")],
    ids=["the profile's", "the user's wins", "too late"],
)
def test_backend_is_chosen_before_keras_is_imported(imported, variable, outcome):
    """Keras reads its variable once; a profile cannot change it afterwards."""
    code = (
        "import os, sys, types\n"
        "from organelle_fusion.config import load_profile, use_backend\n"
        f"if {imported!r}: sys.modules['keras'] = types.SimpleNamespace("
        f"backend=types.SimpleNamespace(backend=lambda: {imported!r}))\n"
        "try:\n    use_backend(load_profile('quick')); print(os.environ['KERAS_BACKEND'])\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    if variable:
        environment["KERAS_BACKEND"] = variable
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == outcome


def test_a_choice_on_the_scored_images_is_refused(tmp_path):
    """The images to choose on come from another seed than those that are scored."""
    path = tmp_path / "mine.yaml"
    content = load_profile("quick").model_dump(mode="json")
    content["selection"]["seed"] = content["phantom"]["seed"]
    path.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ProfileError, match=r"selection\.seed \d+ is phantom\.seed"):
        load_profile(path)


def test_a_strategy_without_a_width_is_refused():
    """Widths are given for the strategies that there were when the profile was written."""
    training = load_profile("paper").training
    assert training.head_width("early") == training.dense_units.early
    with pytest.raises(
        ProfileError, match=r"^training.dense_units: .* for gated, found .*spatial;"
    ):
        training.head_width("gated")


def test_stacks_of_ones_own_have_channels_of_any_name(tmp_path):
    """The phantom's names bind only where there is a phantom."""
    changes = {"phantom": None, "selection": None, "channels": ["dna", "actin"], "name": "mine"}
    assert load_profile(write(tmp_path / "mine.yaml", **changes)).channels == ("dna", "actin")


def test_the_same_encoder_without_published_weights():
    """Networks that have learnt nothing begin with none."""
    encoder = load_profile("paper").encoder
    assert encoder.weights == "imagenet"
    assert encoder.without_weights() == encoder.model_copy(update={"weights": None})
