"""The file of a network: what goes in comes out, and nothing else is read."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion.config import AugmentationSettings, EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.model_file import (  # noqa: E402
    CONFIG,
    FACTS,
    METADATA,
    WEIGHTS,
    ModelFileError,
    _foreign,
    read_facts,
    read_model,
    score_sentence,
    write_model,
)
from organelle_fusion.models import build_model, set_seed, without_values  # noqa: E402

pytestmark = pytest.mark.keras


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, changed, compression=zipfile.ZIP_STORED):
    """The same file with some members changed (None: left out)."""
    content = {**members(path), **changed}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return path


@pytest.fixture
def packed(tmp_path, mean_network, facts_of):
    path = tmp_path / "network.keras"
    write_model(path, mean_network, facts_of())
    return path


def refused(path, read=read_model):
    with pytest.raises(ModelFileError) as error:
        read(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: expected ")
    assert "found" in text
    assert "; " in text
    return text


@pytest.mark.parametrize("strategy", ["single", "early", "intermediate", "spatial"])
def test_network_and_facts_come_back(tmp_path, facts_of, strategy):
    """Of every strategy, with all random changes of training, which predictions leave alone."""
    channels = ("a",) if strategy == "single" else ("a", "b")
    training = load_profile("smoke").training.model_copy(
        update={"augmentation": AugmentationSettings(quarter_turns=True, crop=0.1, rotation_deg=20)}
    )
    set_seed(3)
    network = build_model(
        strategy,
        channels=channels,
        n_classes=2,
        encoder=EncoderSettings(kind="compact", input_px=16, filters=(4, 8)),
        training=training,
    )
    facts = facts_of(strategy=strategy, channels=channels)
    path = tmp_path / "deep" / "network.keras"
    write_model(path, network, facts)
    found, read = read_model(path)
    assert read == facts == read_facts(path)
    patches = np.random.default_rng(0).integers(0, 256, (3, 16, 16, len(channels)))
    expected = network.predict_on_batch(patches.astype(np.float32))
    assert expected.std() > 1e-4
    np.testing.assert_array_equal(found.predict_on_batch(patches.astype(np.float32)), expected)
    assert sorted(members(path)) == sorted([FACTS, METADATA, CONFIG, WEIGHTS])
    assert [file.name for file in path.parent.iterdir()] == ["network.keras"]


def test_keras_alone_reads_the_file(packed, mean_network):
    """In its safe mode: the further member is no matter to it."""
    network = keras.saving.load_model(packed, compile=False, safe_mode=True)
    for ours, theirs in zip(mean_network.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_equal_networks_give_equal_bytes(tmp_path, packed, mean_network, facts_of):
    again = tmp_path / "again.keras"
    write_model(again, mean_network, facts_of())
    assert again.read_bytes() == packed.read_bytes()


def test_facts_are_read_without_keras(packed):
    code = (
        "import sys; from organelle_fusion.model_file import read_facts;"
        "print(read_facts(sys.argv[1]).classes, 'keras' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(packed)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "('one', 'two') False\n"


def test_facts_of_another_network_are_not_written(tmp_path, mean_network, facts_of):
    path = tmp_path / "x.keras"
    for changes in ({"classes": ("1", "2", "3")}, {"input_px": 28}, {"strategy": "spatial"}):
        with pytest.raises(ModelFileError, match=r"expected a network .*; give the facts of"):
            write_model(path, mean_network, facts_of(**changes))
    with pytest.raises(ModelFileError, match=r"expected a name that ends in \.keras"):
        write_model(tmp_path / "x.h5", mean_network, facts_of())
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_such_file_is_refused(tmp_path, packed):
    missing = tmp_path / "none.keras"
    assert "found none; check the path" in refused(missing, read_facts)
    text = tmp_path / "text.keras"
    text.write_text("hello")
    assert "which is a zip" in refused(text, read_facts)
    short = tmp_path / "short.keras"
    short.write_bytes(packed.read_bytes()[:-200])
    assert "which is a zip" in refused(short, read_facts)


def test_no_pickle_is_opened(tmp_path, packed):
    """One alone, or in a zip as PyTorch writes it; it would leave a mark if it were."""

    class Mark:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    alone = tmp_path / "alone.keras"
    alone.write_bytes(pickle.dumps(Mark()))
    assert "found a Python pickle, which is never opened" in refused(alone)
    zipped = tmp_path / "zipped.keras"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Mark()))
    assert "found archive/data.pkl" in refused(zipped)
    assert "assets/x.pkl" in refused(rewrite(packed, {"assets/x.pkl": pickle.dumps(Mark())}))
    assert not (tmp_path / "ran").exists()


def test_a_network_of_keras_without_facts_is_refused(tmp_path, mean_network):
    path = tmp_path / "plain.keras"
    mean_network.save(path)
    assert "expected facts of the network" in refused(path, read_facts)


@pytest.mark.parametrize("name", [FACTS, CONFIG, WEIGHTS, METADATA])
def test_damage_is_found(packed, name):
    """One byte in the middle of a member."""
    content = bytearray(packed.read_bytes())
    data = members(packed)[name]
    place = content.index(data) + len(data) // 2
    content[place] ^= 0xFF
    packed.write_bytes(content)
    assert f"found damage in {name}" in refused(packed) or "Bad CRC" in refused(packed)


def test_any_damage_is_one_line_or_none(packed, facts_of):
    """Bytes changed at random in the list of members and before the first: never a traceback."""
    content, random = packed.read_bytes(), np.random.default_rng(0)
    start = content.index(b"PK\x01\x02")  # of the list of members
    places = [*range(60), *range(start, len(content))]
    outcomes = set()
    for _ in range(500):
        changed = bytearray(content)
        changed[random.choice(places)] = random.integers(256)
        packed.write_bytes(changed)
        try:
            assert read_facts(packed) == facts_of()
            outcomes.add("whole")
        except ModelFileError as error:
            outcomes.add(f"refused in {len(str(error).splitlines())}")
    assert outcomes == {"whole", "refused in 1"}  # dates, for instance, are no matter


def test_members_are_bounded(packed):
    """A packed one could swell, and facts are short."""
    rewrite(packed, {FACTS: b" " * (2**20 + 1)})
    assert f"{FACTS} of at most 1048576 bytes, not packed, found 1048577" in refused(packed)
    rewrite(packed, {FACTS: b" " * 100}, zipfile.ZIP_DEFLATED)
    assert "found a packed one" in refused(packed)
    assert "expected the members" in refused(rewrite(packed, {METADATA: None}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts | {"format": 2}, "expected format 1, found 2; pack the network again"),
        (lambda facts: [], "expected format 1, found None"),
        (lambda facts: facts | {"colour": "red"}, "found colour: Extra inputs"),
        (lambda facts: facts | {"a\nb\x85c": "red"}, "found a b c: Extra inputs"),
        (lambda facts: {k: v for k, v in facts.items() if k != "classes"}, "classes: Field"),
        (lambda facts: facts | {"min_foreground": 2}, "min_foreground: Input should be less"),
        (lambda facts: facts | {"channels": ["a", "c"]}, "expected those of a, c"),
        (lambda facts: facts | {"classes": ["one", "one"]}, "classes: expected each name once"),
    ],
    ids=["format", "no object", "unknown", "line breaks", "missing", "range", "channels", "twice"],
)
def test_other_facts_are_refused(packed, change, words):
    facts = json.loads(members(packed)[FACTS])
    text = refused(rewrite(packed, {FACTS: json.dumps(change(facts)).encode()}), read_facts)
    assert words in text


def test_facts_that_are_no_json_or_of_another_network_are_refused(packed):
    facts = json.loads(members(packed)[FACTS])
    other = facts | {"classes": ["1", "2", "3"]}
    assert "classes (16, 16, 2, 3), found early of (16, 16, 2, 2)" in refused(
        rewrite(packed, {FACTS: json.dumps(other).encode()})
    )
    for text in (b"{", b"[" * 100_000):
        assert f"expected JSON in {FACTS}" in refused(rewrite(packed, {FACTS: text}), read_facts)


def test_layers_that_run_code_are_refused(tmp_path, packed, facts_of):
    """A Lambda, as Keras saves it; and what names a function of another module."""
    image = keras.Input((16, 16, 2))
    changed = keras.layers.Lambda(lambda x: x * 2)(image)
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(changed))
    path = tmp_path / "lambda.keras"
    network = keras.Model(image, logits, name="early")
    with pytest.raises(ModelFileError, match=r"a Lambda, which .*; add the layer to _TRUSTED"):
        write_model(path, network, facts_of())
    assert not path.exists()
    network.save(path)  # as somebody else's program may write it
    facts = {FACTS: members(packed)[FACTS]}
    assert "found a Lambda, which would run code; take a file" in refused(rewrite(path, facts))
    config = json.loads(members(packed)[CONFIG])
    layer = {"class_name": "mkdir", "module": "os", "registered_name": "mkdir", "config": {}}
    config["config"]["layers"].append(layer)
    assert "found mkdir of os" in refused(rewrite(packed, {CONFIG: json.dumps(config).encode()}))
    layer["registered_name"], layer["module"] = "organelle_fusion>mkdir", "organelle_fusion.models"
    assert "found mkdir of organelle" in refused(
        rewrite(packed, {CONFIG: json.dumps(config).encode()})
    )


@pytest.mark.parametrize("name", ["TFSMLayer", "StringLookup", "JaxLayer"])
def test_layers_of_keras_that_read_files_or_run_code_are_refused(packed, name):
    config = json.loads(members(packed)[CONFIG])
    layer = {"class_name": name, "module": "keras.layers", "registered_name": None, "config": {}}
    config["config"]["layers"].append(layer)
    text = refused(rewrite(packed, {CONFIG: json.dumps(config).encode()}))
    assert f"found {name} of keras.layers" in text


@pytest.mark.parametrize("kind", ["compact", "compact_convnext", "resnet50", "convnext_tiny"])
def test_nothing_foreign_is_in_networks_of_our_own(kind):
    """Whatever the encoder, the strategy, the augmentation and the precision."""
    augmentation = AugmentationSettings(quarter_turns=True, crop=0.1, rotation_deg=10)
    training = load_profile("smoke").training.model_copy(
        update={"augmentation": augmentation, "precision": "mixed_bfloat16"}
    )
    encoder = EncoderSettings(kind=kind, input_px=64)
    for strategy in ("early", "intermediate", *(() if "convnext" in kind else ("spatial",))):
        network = without_values(
            partial(
                build_model, strategy, channels=("a", "b"), n_classes=2, encoder=encoder,
                training=training,
            )
        )  # fmt: skip
        assert list(_foreign(json.loads(network.to_json()))) == []


def test_weights_of_another_network_are_refused(tmp_path, packed):
    image = keras.Input((16, 16, 2))
    other = tmp_path / "other.keras"
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image))).save(other)
    weights = members(other)[WEIGHTS]
    assert "found one that Keras cannot read" in refused(rewrite(packed, {WEIGHTS: weights}))


def test_a_score_is_said_with_what_it_was_measured_on(facts_of):
    facts = facts_of()
    assert score_sentence(facts.score) == (
        "balanced accuracy 0.75 by patch (no interval: too few groups, or all of them alike; 40 "
        "patches of 4 images, 2 classes), 3 of 4 images right"
    )
    assert "(95 % interval 0.50 to 0.90; 200" in score_sentence(facts.score_of_all_folds)
