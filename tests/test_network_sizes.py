"""Numbers of parameters: tables of counts made by hand, and networks counted layer by layer."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("keras")

from organelle_fusion import network_sizes
from organelle_fusion.config import EncoderSettings, load_profile

pytestmark = pytest.mark.keras

COUNTS = {
    ("early", 1200): 26_260_000,
    ("intermediate", 256): 72_000_000,
    ("late", 256): 79_200_000,
    ("early", 256): 13_000_000,
    ("spatial", 256): 79_200_000,
}


@pytest.fixture
def sizes(monkeypatch):
    monkeypatch.setattr(network_sizes, "paper_parameters", lambda *asked: COUNTS[asked])
    return network_sizes.parameter_table()


def test_counts_are_set_against_the_published_ones(sizes):
    """26.26 million are 1 % above 26, 13 half of it, and 79.2 million 10 % above 72."""
    assert list(zip(sizes["strategy"], sizes["dense_units"], strict=True)) == list(COUNTS)
    assert sizes["millions"].tolist() == pytest.approx([26.26, 72, 79.2, 13, 79.2])
    assert sizes["published"].tolist()[:4] == [26, 72, 72, 26]
    assert np.isnan(sizes["published"].iloc[4])
    assert sizes["deviation"].tolist()[:4] == pytest.approx([0.01, 0, 0.1, -0.5])
    assert sizes["nearest"].tolist() == [True, True, True, False, True]
    assert network_sizes.added_share(sizes, "spatial", "intermediate") == pytest.approx(0.1)
    assert network_sizes.added_share(sizes, "intermediate", "early") == pytest.approx(72 / 13 - 1)


def test_lines_say_what_is_ours(sizes):
    lines = network_sizes.parameter_lines(sizes)
    assert list(lines) == ["strategy", "dense_units", "millions", "published", "deviation"]
    assert lines.iloc[0].tolist() == ["Early fusion", 1200, 26.3, "26", "+1.0%"]
    assert lines.iloc[3].tolist() == ["Early fusion", 256, 13.0, "26", "-50.0%"]
    assert lines.iloc[4].tolist() == ["Spatial fusion", 256, 79.2, "ours", "ours"]


def test_only_the_nearest_widths_decide(sizes):
    """Spatial fusion is not in the paper; early fusion of the common width is shown only."""
    found = pd.DataFrame(network_sizes.parameter_findings(sizes))
    assert found["measure"].str.split(",").str[0].tolist() == [
        "early fusion",
        "intermediate fusion",
        "late fusion",
        "early fusion",
    ]
    assert found["measure"].iloc[0].startswith("early fusion, 1,200 dense units: 26.3 million")
    assert found["value"].tolist() == pytest.approx([0.01, 0, 0.1, 0.5])
    assert found["reference"].tolist()[:3] == [0.03] * 3
    assert np.isnan(found["reference"].iloc[3])
    assert set(found["claim"]) == {"C10"}
    assert set(found["sense"]) == {"below"}
    assert set(found["data"]) == {"networks"}


def test_networks_are_counted_as_keras_counts_them():
    """An early network has one encoder, whatever the number of channels; a single one also."""
    from organelle_fusion.models import build_model

    profile = load_profile("smoke").model_copy(
        update={"encoder": EncoderSettings(kind="compact", input_px=16, filters=(4, 8))}
    )
    counted = network_sizes.count_networks(
        {"one": ("early", profile), "two": ("intermediate", profile)}, ("a", "b"), 3
    )
    for name, strategy in (("one", "early"), ("two", "intermediate")):
        network = build_model(
            strategy,
            channels=("a", "b"),
            n_classes=3,
            encoder=profile.encoder,
            training=profile.training,
        )
        assert counted[name] == network.count_params()
    assert counted["two"] > counted["one"]
