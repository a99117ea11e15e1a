"""Exported files: loaded by the LiteRT interpreter, compared with Keras, and resumed."""

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import export, sweep  # noqa: E402
from organelle_fusion.config import load_profile  # noqa: E402
from organelle_fusion.export import ExportedNetwork, ExportError, Network  # noqa: E402
from organelle_fusion.folds import make_folds  # noqa: E402
from organelle_fusion.models import build_model, set_seed  # noqa: E402
from organelle_fusion.patchset import PatchSet  # noqa: E402
from organelle_fusion.predictions import Cell, write_predictions  # noqa: E402
from organelle_fusion.provenance import provenance  # noqa: E402

pytestmark = pytest.mark.keras

SMOKE = load_profile("smoke")
PROFILE = SMOKE.model_copy(
    update={"encoder": SMOKE.encoder.model_copy(update={"input_px": 16, "filters": (4, 8)})}
)


def tiny(strategy, channels):
    return build_model(
        strategy,
        channels=channels,
        n_classes=3,
        encoder=PROFILE.encoder,
        training=PROFILE.training,
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow converts")
@pytest.mark.parametrize(
    ("number", "tolerance"), [("float32", 1e-5), ("float16", 0.01), ("int8", 0.2)]
)
def test_file_gives_the_logits_of_keras(number, tolerance):
    """In any size of batch; and coarser numbers deviate, so that they are no float32 files."""
    set_seed(0)
    network = tiny("intermediate", ("a", "b"))
    patches = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 2), dtype=np.uint8)
    expected = network.predict(patches, verbose=0)
    exported = ExportedNetwork(export.convert(network, number, patches))
    found = exported.logits(patches)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance * expected.std())
    np.testing.assert_allclose(exported.logits(patches[3:4]), found[3:4], atol=1e-6)
    if number != "float32":
        assert np.abs(found - expected).max() > 1e-5 * expected.std()
    assert 0 < exported.latency_ms(patches[:2]) < 1000


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow converts")
def test_unknown_format_is_refused():
    with pytest.raises(ExportError, match="float32, float16, int8, found 'int4'"):
        export.convert(tiny("early", ("a", "b")), "int4", np.zeros((1, 16, 16, 2), np.uint8))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow converts")
def test_integers_need_patches_to_be_scaled_by():
    """Without any the file would hold float32; the other formats need none."""
    network, none = tiny("early", ("a", "b")), np.zeros((0, 16, 16, 2), np.uint8)
    for given in (none, np.zeros((4, 8, 8, 2), np.uint8)):
        expected = rf"patch or more of shape \(16, 16, 2\) for int8, found .* \({len(given)}, "
        with pytest.raises(ExportError, match=expected):
            export.convert(network, "int8", given)
    assert len(export.convert(network, "float16", none)) > 0


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="where Keras is on another")
def test_other_backends_are_told_what_to_do():
    with pytest.raises(ExportError, match="expected tensorflow for export, found"):
        export.convert(tiny("early", ("a", "b")), "int8", np.zeros((1, 16, 16, 2), np.uint8))


def test_trained_networks_are_exported_whatever_the_backend(tmp_path, capsys):
    """All formats in a process of its own; Keras' predictions come back, and stay."""
    images = np.repeat(np.arange(6), 4)
    names = [f"i{k}" for k in images]
    labels = np.array(["x", "y"])[images % 2]
    table = pd.DataFrame({"image": names, "label": labels, "group": names, "z": 0, "y": 0, "x": 0})
    patches = np.random.default_rng(0).integers(0, 200, (24, 16, 16, 2), dtype=np.uint8)
    patch_set = PatchSet(patches, table, ("a", "b"), None)
    folds = make_folds(table, n_splits=2, validation_share=0.34, seed=1)
    trained = sweep.train_cells(
        patch_set, folds, models=["early"], profile=PROFILE, dataset="cv", size_px=1,
        folder=tmp_path / "cells", seed=1, workers=0,
    )  # fmt: skip
    path = Cell("cv", 1, "early", 0, 1).weights_path(tmp_path / "cells")
    networks = [Network("small", "early", PROFILE, {0: path})]  # of the first fold only
    own = trained[trained["fold"] == 0]

    def run():
        return export.exported_predictions(
            networks, patch_set, folds, calibration_patches=4, dataset="cv", size_px=1,
            folder=tmp_path / "exported", seed=1,
        )  # fmt: skip

    exported = run()
    same = exported[exported["model"] == "small-float32"]
    columns = ["p:x", "p:y"]
    assert same["patch"].tolist() == own["patch"].tolist()
    np.testing.assert_allclose(same[columns], own[columns], atol=1e-5)
    capsys.readouterr()
    assert run().equals(exported)
    assert "3 stored, 0 to compute" in capsys.readouterr().out
    found = export.export_table(
        networks, {"small": trained}, exported, tmp_path / "exported", repeats=100
    ).set_index("format")
    assert list(found.index) == list(export.FORMATS)
    assert found.loc["float32", "deviation"] < 1e-5
    assert (found[["size_kb", "latency_1", "latency_32"]] > 0).all(axis=None)


def test_table_by_hand(tmp_path):
    """Two folds of two patches: one probability is off by 0.4, and its class with it."""
    base = {"dataset": "cv", "size_px": 1, "seed": 1, "part": "test"}
    rows = [(0, 0, "x", 0.9), (0, 1, "y", 0.2), (1, 2, "x", 0.7), (1, 3, "y", 0.4)]
    frame = pd.DataFrame(rows, columns=["fold", "patch", "label", "p:x"]).assign(**base)
    frame["image"] = frame["group"] = "i" + frame["patch"].astype(str)
    frame["p:y"] = 1 - frame["p:x"]
    parts = []
    for number in export.FORMATS:
        of_number = frame.assign(model=f"net-{number}")
        if number == "int8":
            of_number.loc[2, ["p:x", "p:y"]] = [0.3, 0.7]
        parts.append(of_number)
        for fold, size, latency in ((0, 1000, 2.0), (1, 3000, 4.0)):
            cell = Cell("cv", 1, f"net-{number}", fold, 1)
            stored = of_number[of_number["fold"] == fold].drop(columns=["dataset", "size_px"])
            stored.attrs = {"bytes": size, "latency_1": latency, "latency_32": latency / 2}
            write_predictions(
                stored, cell.path(tmp_path), provenance(cell={}, inputs={}, device=None, seconds=0)
            )
    networks = [Network("net", "early", PROFILE, {0: tmp_path, 1: tmp_path})]
    keras_own = pd.concat([frame, frame.assign(fold=2)]).assign(model="early")  # one more fold
    found = export.export_table(
        networks, {"net": keras_own}, pd.concat(parts), tmp_path, repeats=100
    ).set_index("format")
    assert found["value"].tolist() == [1.0, 1.0, 0.75]
    np.testing.assert_allclose(found["deviation"], [0, 0, 0.4], atol=1e-9)
    assert found["changed"].tolist() == [0, 0, 0.25]
    assert (found["size_kb"] == 2).all()
    assert (found["latency_1"] == 3).all()
    assert (found["latency_32"] == 1.5).all()
    with pytest.raises(ExportError, match="net-float32: expected the 2 patches"):
        export.export_table(
            networks, {"net": frame[frame["fold"] == 0]}, pd.concat(parts), tmp_path
        )
