"""Memory, disk and time of a plan: worked out by hand from made-up and from measured steps."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import costs, plan, plan_data, preprocessing, rotation
from organelle_fusion.config import load_profile
from organelle_fusion.costs import NetworkCost
from organelle_fusion.encoders import ModelError
from organelle_fusion.intensity import PatchError
from organelle_fusion.pages import Run
from organelle_fusion.volumes import write_ome_tiff

SMOKE = load_profile("smoke")
PHANTOM = Run(Path("data/runs/smoke/phantom"), Path("manifest.csv"), True)
STACKS = plan_data.phantom_stacks(SMOKE.phantom, SMOKE.channels)
PLAN = plan.planned_trainings(SMOKE, STACKS, PHANTOM)

KNOWN = {
    "single": NetworkCost(1.0, 0.1, 2.0, 100, 110, 50),
    "early": NetworkCost(1.5, 0.2, 3.0, 120, 130, 60),
    "intermediate": NetworkCost(4.0, 0.5, 5.0, 300, 330, 150),
}


def named(**names):
    """Rows of the plan with these values."""
    return PLAN[np.logical_and.reduce([PLAN[key] == value for key, value in names.items()])]


def test_seconds_of_a_training_by_hand():
    """63 patches are 2 steps of 32; 33 validate in each epoch and once more, 48 are tested."""
    row = named(chapter="06", dataset="cv5", model="early")
    seconds = costs.training_seconds(row, KNOWN, SMOKE)
    each = 1 * (2 * 1.5 + 33 * 0.2) + 3.0 + (33 + 48) * 0.2
    assert seconds.to_numpy().tolist() == [[pytest.approx(3 * each)] * 2]
    longer = row.assign(epochs_least=16, epochs_most=100)
    once = 3.0 + (33 + 48) * 0.2
    assert costs.training_seconds(longer, KNOWN, SMOKE).iloc[0].tolist() == pytest.approx(
        [3 * (epochs * (2 * 1.5 + 33 * 0.2) + once) for epochs in (16, 100)]
    )


def test_seconds_of_other_sizes_and_channels_are_in_proportion():
    """Crops of 64 px cost (64/28)² as much; a fourth encoder a third more; late fusion nothing."""
    row = named(dataset="cell-lines-9", model="intermediate")
    work = (64 / 28) ** 2
    # 47 patches are 2 steps, 25 validate, 36 are tested
    each = (2 * 4.0 + 25 * 0.5) * work + 5.0 + (25 + 36) * 0.5 * work
    found = costs.training_seconds(row, KNOWN, SMOKE)["most"].item()
    assert found == pytest.approx(3 * each)
    row = named(dataset="cv5-nucleus")
    each = (2 * 4.0 + 33 * 0.5) * 4 / 3 + 5.0 + (33 + 48) * 0.5 * 4 / 3
    assert costs.training_seconds(row, KNOWN, SMOKE)["most"].item() == pytest.approx(3 * each)
    row = named(chapter="06", model="late")
    assert costs.training_seconds(row, KNOWN, SMOKE)["most"].item() == 0


def test_a_network_costs_by_its_encoders():
    """One for all channels, or one for each; any other than the two first has one for each."""
    networks = ["single", "early", "intermediate", "spatial", "", "gated"]
    plan = pd.DataFrame({"network": networks, "channels": [1, 6, 6, 6, 6, 6]})
    assert costs.encoders(plan, SMOKE).tolist() == [1, 1, 2, 2, 1, 2]


def test_weights_kept_by_hand():
    """Four bytes for each value of each network that leaves a file; a search keeps 5 meanwhile."""
    rows = pd.concat(
        [
            named(chapter="04"),  # 5 trials without a file, and three networks
            named(chapter="06", model="late"),
            named(chapter="06", model="mitochondria"),
            named(dataset="cv5-nucleus"),
        ]
    )
    kept, searching = costs.weight_bytes(rows, KNOWN, SMOKE)
    assert kept == pytest.approx(4 * (3 * 330 + 3 * 110 + 3 * 330 * 4 / 3))
    assert searching == 4 * 5 * 330


def test_patches_in_memory_by_hand():
    """Sets that a chapter holds, and one copy of what it trains on (three with TensorFlow)."""
    one = 28**2 * 3
    own = 144 * one
    memory = costs.patch_memory(SMOKE, STACKS, PLAN, PHANTOM, "jax")
    assert memory["02"] == own
    assert memory["03"] == own + 63 * one  # the largest of 144, 144 and 54, one at a time
    assert memory["04"] == 2 * own + 63 * one
    assert memory["06"] == 2 * own + own * 4 / 3 + 63 * 28**2 * 4
    assert memory["07"] == own + 71 * one
    assert memory["10"] == 3 * own + 678 * 50**2 * 2
    # 72 patches of contacts; two phantoms and the places of one in the other, an organelle each
    assert memory["11"] == 72 * one + 6 * own + 72 * one  # by lot, half of 144 are trained on
    assert memory["12"] == own + own * 2 / 3 + 63 * one
    tensorflow = costs.patch_memory(SMOKE, STACKS, PLAN, PHANTOM, "tensorflow")
    assert tensorflow["07"] == own + 3 * 71 * one


def test_preprocessing_is_counted_by_hand():
    """54 planes: twice in 02, thrice in 03, once in 04, 08, 10, 11, twice in 06; 9 of contacts."""
    work = costs.planned_preprocessing(SMOKE, STACKS, PHANTOM)
    assert work == {
        "simulated": 54 + 9,
        "turned": 54,
        "tabulated": 54 * (2 + 3 + 1 + 2 + 1 + 1 + 1) + 27,
        "cut": 144 * 7 + 3 * (144 + 144 + 144) + 72,
    }


def test_the_first_call_does_not_count(monkeypatch):
    """It compiles. Repeats end when there are enough, or when they took long enough."""
    now = [0.0]
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])
    durations = iter([100.0, 1.0, 3.0, 2.0])

    def call():
        now[0] += next(durations)

    assert costs._median_seconds(call) == 2.0  # 1 + 3 + 2 s are more than five
    durations = iter([0.0, 9.0])
    assert costs._median_seconds(call) == 9.0  # one at least


def test_preprocessing_is_timed_when_all_is_compiled(monkeypatch):
    """Each takes 60 s at first, then 2, 6 and 4; a folder that holds what is made takes none."""
    now, made = [0.0], set()
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])
    patch_set = SimpleNamespace(table=range(3))

    def timed(name, seconds, found):
        def call(images, folder="", **_):
            if (name, folder) not in made or not folder:
                now[0] += seconds if any(name == one for one, _ in made) else 60.0
            made.add((name, folder))
            return found

        return call

    monkeypatch.setattr(preprocessing, "tabulate_patches", timed("tabulate", 2.0, "table"))
    monkeypatch.setattr(preprocessing, "build_patch_set", timed("cut", 6.0, (patch_set, None)))
    monkeypatch.setattr(rotation, "rotate_dataset", timed("turn", 4.0, None))
    found = costs.time_preprocessing(SMOKE, STACKS, PHANTOM)
    assert found == costs.PreprocessingCost(0.0, 4.0, 2.0, 2.0)  # 3 patches in 6 s


@pytest.mark.keras
def test_a_timed_network_is_the_profiles():
    """Parameters and values of all layers, by hand: 28 px, filters of 4 and 8, 16 dense units."""
    from organelle_fusion.models import build_model

    found = costs.time_network("single", SMOKE, 3)
    assert min(found[:3]) > 0
    stem, block = 9 * 4 + 2 * 4, (4 * 8 + 8) + (9 * 4 * 8 + 2 * 8)
    head = (8 * 16 + 16) + 2 * 16 + (16 * 3 + 3)
    assert found.trainable == stem + block + head
    assert found.parameters == found.trainable + 2 * (4 + 8 + 16)  # running means and variances
    model = build_model(
        "single",
        channels=("channel",),
        n_classes=3,
        encoder=SMOKE.encoder,
        training=SMOKE.training,
    )
    outside = len(model.layers) - 2  # image, scale and augmentation; not encoder and head
    encoder = 28**2 + 3 * 14**2 * 4 + 5 * 7**2 * 8 + 8
    assert found.activations == outside * 28**2 + encoder + 3 * 16 + 3


@pytest.mark.keras
def test_what_cannot_be_timed_is_one_line(monkeypatch):
    """What cannot be built says so itself; any other error gets the network and its size."""
    small = SMOKE.model_copy(
        update={"encoder": SMOKE.encoder.model_copy(update={"kind": "resnet50", "input_px": 16})}
    )
    with pytest.raises(ModelError, match="at least 32 px"):
        costs.time_network("single", small, 3)

    def out_of_memory(*arguments):
        raise MemoryError("no room\nfor this")

    monkeypatch.setattr(costs, "_step_seconds", out_of_memory)
    with pytest.raises(costs.CostError, match="early network, 28 px, batches of 32") as error:
        costs.time_network("early", SMOKE, 3)
    assert "MemoryError: no room for this" in str(error.value)
    assert "\n" not in str(error.value)


def test_preprocessing_of_a_phantom_is_timed():
    """All four; angles are timed where there are some."""
    found = costs.time_preprocessing(SMOKE, STACKS, PHANTOM)
    assert min(found) > 0
    still = SMOKE.model_copy(
        update={"patches": SMOKE.patches.model_copy(update={"rotations_deg": ()})}
    )
    assert costs.time_preprocessing(still, STACKS, PHANTOM).turned == 0


def test_preprocessing_of_own_stacks_is_timed_on_their_middle_plane(tmp_path):
    """A middle plane that holds nothing cannot be; the other planes are not looked at."""
    array = np.zeros((3, 3, 240, 240), np.uint16)
    array[:, 1] = np.random.default_rng(0).integers(0, 200, (3, 240, 240))
    path = tmp_path / "s.ome.tif"
    write_ome_tiff(path, array, SMOKE.channels, pixel_size_um=0.10602, z_step_um=0.5)
    (tmp_path / "m.csv").write_text("image,path,label\ns,s.ome.tif,a\n", encoding="utf-8")
    run = Run(tmp_path, tmp_path / "m.csv", False)
    found = costs.time_preprocessing(SMOKE, STACKS, run)
    assert found.simulated == 0
    assert min(found[1:]) > 0
    write_ome_tiff(path, array[:, [1, 0, 1]], SMOKE.channels, pixel_size_um=0.106, z_step_um=0.5)
    with pytest.raises(PatchError, match="expected intensities that vary"):
        costs.time_preprocessing(SMOKE, STACKS, run)
