"""Sets of organelles: all of them, each with its own channels of the same patches."""

import numpy as np
import pandas as pd

from organelle_fusion import patchset, subsets
from organelle_fusion.patchset import PatchSet


def four_patches():
    table = pd.DataFrame({"image": list("ijkl"), "label": list("abab"), "group": list("ijkl")})
    patches = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    return PatchSet(patches, table.assign(z=0, y=0, x=0), ("r", "s", "t"), 0.1)


def test_sets_lie_between_one_channel_and_all():
    assert subsets.channel_subsets("rst") == [("r", "s"), ("r", "t"), ("s", "t")]
    assert subsets.channel_subsets(["r", "s"]) == []
    assert len(subsets.channel_subsets("rstu")) == 6 + 4
    assert subsets.subset_title(("early_endosomes", "s")) == "early endosomes + s"


def test_channels_are_taken_in_the_order_asked_for(monkeypatch):
    """And the names say nothing of which they are, so that one network serves all pairs."""
    whole = four_patches()
    part = subsets.select_channels(whole, ("t", "r"))
    np.testing.assert_array_equal(part.patches[..., 0], whole.patches[..., 2])
    np.testing.assert_array_equal(part.patches[..., 1], whole.patches[..., 0])
    assert part.channels == ("channel1", "channel2")
    assert part.table.equals(whole.table)
    monkeypatch.setattr(patchset, "MEMORY_SHARE", 0)
    mapped = subsets.select_channels(whole, ("t", "r"))
    assert isinstance(mapped.patches, np.memmap)
    np.testing.assert_array_equal(mapped.patches, part.patches)


def test_every_set_is_trained_on_its_own_channels(monkeypatch):
    """Where it is stored, and what it is given."""
    given = {}

    def train(trainings, **options):
        given.update(trainings=dict(trainings), options=options)
        return dict.fromkeys(given["trainings"], "predictions")

    monkeypatch.setattr(subsets, "train_all", train)
    whole = four_patches()
    found = subsets.train_subsets(whole, "folds", dataset="cv5", seed=3)
    assert found == dict.fromkeys([("r", "s"), ("r", "t"), ("s", "t")], "predictions")
    own = given["trainings"]["r", "t"]
    np.testing.assert_array_equal(own["patch_set"].patches, whole.patches[..., [0, 2]])
    assert own["dataset"] == "cv5-r+t"
    assert given["options"] == {"folds": "folds", "models": ["intermediate"], "seed": 3}
