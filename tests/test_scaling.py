"""The projection against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import scaling
from organelle_fusion.config import load_profile
from organelle_fusion.speed import COLUMNS, SpeedError

QUICK = load_profile("quick")  # 5 folds, a fifth for validation, 8 epochs


@pytest.fixture
def stages():
    """Per stack 2 s + 1 s and 100 patches of 0.01 s; 0.001 s to train, 0.0005 s to predict."""
    rows = [
        ("read", "", "stack", 0.5, 1, 2000.0),
        ("statistics", "", "stack", 2.0, 1, 2000.0),
        ("table", "", "stack", 1.0, 1, 2000.0),
        ("cut", "quick", "patch", 0.01, 100, 0.01),
        ("train", "quick", "patch", 0.001, np.nan, 0.01),
        ("predict", "quick", "patch", 0.0005, np.nan, 0.01),
        ("measure", "quick", "phantom stack", 36.0, 1, 12.0),
    ]
    columns = ["stage", "profile", "unit", "seconds", "per_stack", "mb"]
    return pd.DataFrame(rows, columns=columns)


def side_by_side(*rows):
    return pd.DataFrame([(*row, "", np.nan) for row in rows], columns=COLUMNS)


def test_efficiency_is_the_worst_speed_up_per_worker():
    """10 s on one beside 6 on two is 5/6 each; 9 beside 5 is 0.9. Other benchmarks do not count."""
    rows = [
        ("scaling", "first", "organelle-fusion", 6.0),
        ("scaling", "first", "one worker", 10.0),
        ("scaling", "second", "one worker", 9.0),
        ("scaling", "second", "one process without Dask", 6.0),
        ("scaling", "second", "organelle-fusion", 5.0),
        ("tiling", "cut", "organelle-fusion", 5.0),
        ("tiling", "cut", "peer", 1.0),
    ]
    assert scaling.efficiency(side_by_side(*rows)) == pytest.approx(5 / 6)
    assert scaling.efficiency(side_by_side(*rows[2:])) == pytest.approx(0.9)
    better = [("scaling", "t", "organelle-fusion", 1.0), ("scaling", "t", "one worker", 3.0)]
    assert scaling.efficiency(side_by_side(*better)) == 1
    with pytest.raises(SpeedError, match="one worker beside 2, found none; run `make bench`"):
        scaling.efficiency(side_by_side(*rows[4:]))


def test_work_is_units_times_seconds(stages):
    """1,200 stacks: 120,000 patches, of which 64 % in each of 5 folds for 8 epochs."""
    work = scaling.planned_work(stages, 1200, QUICK).set_index("stage")
    assert work["units"].to_dict() == {
        "thresholds and patch table": 1200,
        "cutting patches": 120_000,
        "measuring objects": 1200,
        "training, compact": 3_072_000,
        "predicting, compact": 120_000,
    }
    np.testing.assert_allclose(work["hours"], [1, 1 / 3, 12, 3072 / 3600, 60 / 3600])
    assert work["at_most"].tolist() == [1200, 1200, 1200, 5, 5]
    without = stages[stages["stage"] != "train"]
    with pytest.raises(SpeedError, match="profile quick, found no train; run `make bench`"):
        scaling.planned_work(without, 1200, QUICK)


def test_workers_share_what_can_be_shared(stages):
    """At 0.9: 16 do 14.4 times as much, 5 trainings 4.5 times; one worker loses nothing."""
    work = scaling.planned_work(stages, 1200, QUICK)
    found = scaling.projected_hours(work, [1, 16], 0.9).set_index(["stage", "workers"])
    assert found.loc[("measuring objects", 1), "hours"] == 12
    assert found.loc[("measuring objects", 16), "hours"] == pytest.approx(12 / 14.4)
    training = found.loc[("training, compact", 16)]
    assert training["busy"] == 5
    assert training["hours"] == pytest.approx(3072 / 3600 / 4.5)


def test_workers_never_make_it_slower(stages):
    work = scaling.planned_work(stages, 1200, QUICK)
    found = scaling.projected_hours(work, [1, 2], 0.3)
    of_two = found[found["workers"] == 2]["hours"].to_numpy()
    np.testing.assert_allclose(of_two, work["hours"])


def test_storage_is_size_times_number(stages):
    """500 stacks of 2 GB are 1 TB; 100 patches of 10 kB each make 0.5 GB more."""
    found = scaling.storage_table(stages, 500, [QUICK])
    assert found["what"].tolist() == ["stacks, 16 bits", "patches of 56 × 56 px, 8 bits"]
    np.testing.assert_allclose(found["tb"], [1, 0.0005])


def test_prose_and_table_hold_the_same_numbers(stages):
    work = {"compact encoders": scaling.planned_work(stages, 1200, QUICK)}
    projected = {name: scaling.projected_hours(frame, [1, 64], 0.5) for name, frame in work.items()}
    shown = scaling.shown_hours(projected, work).set_index("Stage")
    assert shown.loc["measuring objects"].tolist() == ["1,200 × phantom stack", "36", "12", "0.38"]
    assert shown.loc["training, compact", "64 workers, h"] == "0.34"  # 5 workers, as 2.5
    lines = scaling.assumption_lines(stages, 0.5, [QUICK])
    assert any("has 2 GB" in line and "100 patches" in line for line in lines)
    assert any("in 0.5 s" in line and "needs 4 s" in line for line in lines)
    assert any("in 5 folds" in line and "(8 with compact)" in line for line in lines)
    assert any("did 50% each" in line for line in lines)
    # 1 h + 20 min by 64 workers that do as much as 32 are 2.5 min; 0.853 h by 2.5 are 20 min
    sentence = scaling.answer_sentence(projected, 1200)
    assert "are thresholded and cut in 2.5 minutes for compact encoders on 64 workers" in sentence
    assert "takes 20 minutes with compact encoders" in sentence
