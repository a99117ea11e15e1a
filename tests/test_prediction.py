"""Whole stacks: what is predicted plane by plane is what is predicted of all squares at once."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import training  # noqa: E402
from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.gradients import ExplainError  # noqa: E402
from organelle_fusion.intensity import PatchError, stack_statistics  # noqa: E402
from organelle_fusion.models import build_model, set_seed  # noqa: E402
from organelle_fusion.patches import extract_patches  # noqa: E402
from organelle_fusion.prediction import predict_stack  # noqa: E402
from organelle_fusion.volumes import open_volume, write_ome_tiff  # noqa: E402

pytestmark = pytest.mark.keras

CHANNELS = ("a", "b")
CLASSES = ("one", "two", "three")


@pytest.fixture
def volume(tmp_path):
    """Five planes of 40 × 52 px of 0.5 µm: two squares of 30 px a plane, or ten by half of it."""
    random = np.random.default_rng(5)
    array = random.integers(0, 100, (2, 5, 40, 52)).astype(np.uint16)
    bright = random.random((5, 40, 52)) < np.array([0.3, 0.02, 0.3, 0, 0.3])[:, None, None]
    array[0] += 900 * bright.astype(np.uint16)
    array[1, :, :20] += 900 * bright[:, :20].astype(np.uint16)
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(path, array, CHANNELS, pixel_size_um=0.5, z_step_um=1.0)
    return open_volume(path)


def network(strategy, channels=CHANNELS):
    set_seed(3)
    return build_model(
        strategy,
        channels=channels,
        n_classes=3,
        encoder=EncoderSettings(kind="compact", input_px=16, filters=(4, 8)),
        training=load_profile("smoke").training,
    )


def predicted(model, volume, statistics=None, **changes):
    options = {"classes": CLASSES, "size_um": 15.0, "min_foreground": 0.1, **changes}
    statistics = stack_statistics(volume) if statistics is None else statistics
    return predict_stack(model, volume, statistics=statistics, **options)


@pytest.mark.parametrize("strategy", ["single", "early", "intermediate", "spatial"])
@pytest.mark.parametrize(
    ("overlap", "starts"),
    [(False, ([0, 10], [0, 22])), (True, ([0, 10], [0, 15, 22]))],
    ids=["side by side", "overlapping"],
)
def test_planes_are_predicted_as_all_squares_at_once(
    volume, monkeypatch, strategy, overlap, starts
):
    """In batches of four that run on from plane to plane: only the last is padded."""
    if strategy == "single":
        volume = volume.select(["b"])
    model, statistics = network(strategy, volume.channels), stack_statistics(volume)
    monkeypatch.setattr(training, "PREDICTION_BATCH", 4)
    batches, read_before = [], []  # how many planes each batch had to wait for
    predict, plane, read = model.predict_on_batch, type(volume).plane, set()

    def noted_batch(batch):
        batches.append(batch)
        read_before.append(len(read))
        return predict(batch)

    monkeypatch.setattr(model, "predict_on_batch", noted_batch)
    monkeypatch.setattr(
        type(volume), "plane", lambda self, z, **out: (read.add(z), plane(self, z, **out))[1]
    )
    table = predicted(model, volume, statistics, overlap=overlap)
    assert read_before[0] < read_before[-1] == 5
    places = [(z, y, x) for z in range(5) for y in starts[0] for x in starts[1]]
    assert table[["z", "y", "x"]].to_numpy().tolist() == [list(place) for place in places]
    assert (table["size_px"] == 30).all()
    thresholds = statistics["otsu"].to_numpy()[:, None, None]
    shares = [
        (volume.plane(z)[:, y : y + 30, x : x + 30] > thresholds).any(axis=0).mean()
        for z, y, x in places
    ]
    np.testing.assert_allclose(table["foreground"], shares, rtol=1e-12)
    kept = table["kept"].to_numpy()
    np.testing.assert_array_equal(kept, np.array(shares) >= 0.1)
    assert 0 < kept.sum() < len(kept)
    assert [len(batch) for batch in batches] == [4] * -(-kept.sum() // 4)

    patches = extract_patches(volume, table, output_px=16, statistics=statistics)
    monkeypatch.setattr(training, "PREDICTION_BATCH", 128)
    expected = training.predict_proba(model, patches)
    assert expected.std(axis=0).min() > 1e-6  # so that the order matters
    found = table[[f"p:{name}" for name in CLASSES]]
    assert set(found.dtypes) == {np.dtype("float32")}
    np.testing.assert_allclose(found[kept], expected, atol=1e-6)
    assert found[~kept].isna().all(axis=None)
    np.testing.assert_array_equal(batches[0], patches[:4])


def test_a_stack_without_organelles_has_no_probabilities(volume):
    """Every square is listed, and none is predicted."""
    table = predicted(network("early"), volume, min_foreground=1.0)
    assert len(table) == 20
    assert not table["kept"].any()
    assert table.filter(like="p:").isna().all(axis=None)


def test_what_does_not_belong_to_the_model_is_refused(volume):
    """Channels, by name where it knows them, classes, statistics, and squares beyond the plane."""
    model = network("intermediate")
    with pytest.raises(ExplainError, match="the channels of encoder_a, encoder_b, found b, a"):
        predicted(model, volume.select(["b", "a"]))
    with pytest.raises(ExplainError, match="expected 2 channels after model early, found b;"):
        predicted(network("early"), volume.select(["b"]))
    with pytest.raises(PatchError, match="expected 3 classes after model intermediate, found x, y"):
        predicted(model, volume, classes=("x", "y"))
    with pytest.raises(PatchError, match="expected statistics of a, b, found them of b, a"):
        predicted(model, volume, stack_statistics(volume).iloc[::-1])
    with pytest.raises(PatchError, match="a patch of 30 µm is 60 px, expected 1 to 40"):
        predicted(model, volume, size_um=30.0)


@pytest.mark.parametrize("least", [7, -1, float("nan")])
def test_a_least_foreground_that_is_no_share_is_refused(volume, least):
    """With 7, as of percent, or NaN no square would be predicted, with -1 every one."""
    with pytest.raises(PatchError, match=f"min_foreground: .* from 0 to 1, found {least}; write"):
        predicted(network("early"), volume, min_foreground=least)
