"""How alike maps are, against numpy and sums done by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import similarity
from organelle_fusion.similarity import (
    WITH_FUSED,
    WITH_OTHERS,
    SimilarityError,
    excess_similarity,
    map_similarity,
    mean_similarity,
)

CHANNELS = ("mitochondria", "early_endosomes", "golgi")


def test_similarity_leaves_the_part_out_of_the_whole():
    """Unrelated maps correlate with their sum all the same, and not with the sum of the others."""
    maps = np.array([[[1, -1, 1, -1]], [[1, 1, -1, -1]], [[2, -2, -2, 2]]], dtype=float)
    found = map_similarity(maps, CHANNELS).set_index(["organelle", "compared_with"])
    for channel, size in zip(CHANNELS, (1, 1, 2), strict=True):
        others = found.loc[(channel, WITH_OTHERS), "value"]
        fused = found.loc[(channel, WITH_FUSED), "value"]
        assert others == pytest.approx(0, abs=1e-12)
        assert fused == pytest.approx(size / np.sqrt(6))  # variances 1, 1 and 4


def test_similarity_is_pearsons_over_the_pixels():
    """Against numpy, for maps that have much in common."""
    maps = np.random.default_rng(5).normal(size=(3, 6, 7)) + np.arange(7)
    found = map_similarity(maps, CHANNELS)
    expected = []
    for k in range(3):
        rest = maps[np.arange(3) != k].sum(axis=0)
        expected.append(np.corrcoef(maps[k].ravel(), rest.ravel())[0, 1])
        expected.append(np.corrcoef(maps[k].ravel(), maps.sum(axis=0).ravel())[0, 1])
    np.testing.assert_allclose(found["value"], expected)
    assert found["organelle"].tolist() == [name for name in CHANNELS for _ in range(2)]
    assert found["compared_with"].tolist() == [WITH_OTHERS, WITH_FUSED] * 3


def test_a_constant_map_has_no_correlation():
    """Its own is NaN, and the others do without it."""
    maps = np.stack([np.full((2, 3), 0.1), np.eye(2, 3), np.eye(2, 3)])
    found = map_similarity(maps, CHANNELS)
    np.testing.assert_allclose(found["value"], [np.nan, np.nan, 1, 1, 1, 1])


@pytest.mark.parametrize("constants", [[0.1], [0.1, 0.3]])
def test_constant_others_have_no_correlation(constants):
    """0.1 + own − own is not 0.1 everywhere."""
    own = np.random.default_rng(0).normal(size=(8, 8))
    maps = np.stack([*(np.full((8, 8), value) for value in constants), own])
    found = map_similarity(maps, CHANNELS[: len(maps)])
    others = found.loc[found["compared_with"] == WITH_OTHERS, "value"]
    assert others.isna().all()


def test_pixels_can_be_left_out():
    """Alike in the left half and opposite in the right one; of no pixel there is no correlation."""
    maps = np.array([[[1, 2, 1, 2], [3, 4, 3, 4]], [[1, 2, -1, -2], [3, 4, -3, -4]]], dtype=float)
    left = np.array([[True, True, False, False]] * 2)
    for where, expected in ((left, 1), (~left, -1)):
        found = map_similarity(maps, CHANNELS[:2], where)
        others = found.loc[found["compared_with"] == WITH_OTHERS, "value"]
        np.testing.assert_allclose(others, expected)
    assert map_similarity(maps, CHANNELS[:2], np.zeros((2, 4), bool))["value"].isna().all()


def similarities(values, organelle="golgi"):
    return pd.DataFrame(
        {
            "image": range(len(values)), "label": "a", "group": range(len(values)),
            "organelle": organelle, "compared_with": WITH_OTHERS, "value": values,
        }
    )  # fmt: skip


def test_mean_similarity_and_its_interval():
    """Of 0 and 1, resampled means are 0, ½ and 1: the interval is everything. NaN is left out."""
    table = pd.concat([similarities([0, 1, np.nan]), similarities([0.3] * 4, "mitochondria")])
    found = mean_similarity(table, repeats=500, seed=1)
    assert found["organelle"].tolist() == ["golgi", "mitochondria"]
    np.testing.assert_allclose(found["value"], [0.5, 0.3])
    np.testing.assert_allclose(found["low"], [0, np.nan])  # four images alike give none
    np.testing.assert_allclose(found["high"], [1, np.nan])
    assert found["images"].tolist() == [2, 4]


def test_interval_is_that_of_the_mean_of_many_images():
    """For 400 images it is near the normal one: ± 1.96 standard errors."""
    values = np.random.default_rng(6).normal(0.4, 0.2, 400)
    found = mean_similarity(similarities(values), repeats=4000, seed=2).iloc[0]
    error = values.std() / 20
    assert found["value"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_interval_resamples_groups_within_their_class():
    """Two images of one slide go together; one slide per class gives no interval."""
    table = similarities([0.0, 0.0, 1.0, 1.0])
    together = table.assign(group=["s", "s", "t", "t"])
    found = mean_similarity(together, repeats=500, seed=1).iloc[0]
    assert [found["low"], found["value"], found["high"]] == [0, 0.5, 1]
    apart = together.assign(label=["a", "a", "b", "b"])
    found = mean_similarity(apart, repeats=500, seed=1).iloc[0]
    assert found["value"] == 0.5
    assert found[["low", "high"]].isna().all()


def test_maps_that_are_constant_everywhere_are_refused():
    """No image has a correlation: there is nothing to average."""
    with pytest.raises(SimilarityError, match="golgi: expected maps that vary"):
        mean_similarity(similarities([np.nan, np.nan]), repeats=100, seed=0)


def test_excess_is_paired_by_image():
    """Less the mean of the drawings for the same image: 0.5 - (0.1 + 0.3) / 2 and 0.9 - 0.6."""
    trained = similarities([0.5, 0.9, 0.2])
    drawn = [similarities([0.1, 0.6, np.nan]), similarities([0.3, np.nan, np.nan])]
    randomised = pd.concat([one.assign(seed=seed) for seed, one in enumerate(drawn)])
    found = excess_similarity(trained, randomised)
    np.testing.assert_allclose(found["value"], [0.3, 0.3, np.nan])
    assert found.columns.tolist() == trained.columns.tolist()
    mean = mean_similarity(randomised, repeats=100, seed=0).iloc[0]
    assert mean["value"] == pytest.approx((0.1 + 0.3 + 0.6) / 3)
    assert mean["images"] == 2


def test_excess_compares_squares_with_the_same_squares():
    """Side by side 0.5 less 0.1, overlapping 0.5 less 0.4, and not 0.5 less their mean."""
    trained = pd.concat([similarities([0.5]).assign(squares=name) for name in ("side", "over")])
    drawn = [similarities([value]).assign(squares=name)
             for name, value in (("side", 0.1), ("over", 0.4))]  # fmt: skip
    found = excess_similarity(trained, pd.concat(drawn)).set_index("squares")["value"]
    assert found.to_dict() == pytest.approx({"side": 0.4, "over": 0.1})


def measured():
    """Correlations of three images of one class, a tenth apart, for two organelles."""
    rows = [
        (organelle, compared, squares, image, value)
        for squares, shift in (("side by side", 0.0), ("overlapping", 0.1))
        for organelle, compared, value in (
            ("r", WITH_OTHERS, 0.6),
            ("r", WITH_FUSED, 0.7),
            ("golgi_bodies", WITH_OTHERS, 0.2),
            ("golgi_bodies", WITH_FUSED, 0.3),
        )
        for image, value in zip("ijk", value + shift + np.array([-0.1, 0, 0.1]), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["organelle", "compared_with", "squares", "image", "value"])
    return frame.assign(label="x", group=frame["image"])


def table():
    """Random weights give 0.45 for every comparison, on all images alike."""
    randomised = measured().assign(value=0.45, seed=0)
    return similarity.similarity_table(measured(), randomised, repeats=2000, seed=0)


def test_table_holds_trained_random_and_what_is_beyond():
    """One resample in 27 is thrice the lowest image, one thrice the highest: these are the ends."""
    found = table()
    assert found["network"].unique().tolist() == ["trained", "random weights", "trained − random"]
    for network, of_r, of_golgi in (
        (similarity.TRAINED, 0.7, 0.3),
        (similarity.RANDOM, 0.45, 0.45),
        (similarity.EXCESS, 0.25, -0.15),
    ):
        rows = similarity.similarity_of(found, network, WITH_OTHERS, "overlapping")
        assert rows["value"].to_dict() == pytest.approx({"r": of_r, "golgi_bodies": of_golgi})
        reach = np.nan if network == similarity.RANDOM else 0.1  # alike in all images: no interval
        for end, sign in (("low", -1), ("high", 1)):
            expected = np.array([of_r, of_golgi]) + sign * reach
            np.testing.assert_allclose(rows[end], expected)
    lines = similarity.similarity_lines(found)
    assert list(lines) == [
        *("squares", "compared_with", "organelle"),
        *("trained", "random weights", "trained − random"),
    ]
    assert lines.iloc[0].tolist() == [
        *("side by side", WITH_OTHERS, "r"),
        *("0.60 [0.50, 0.70]", "0.45 [no interval]", "0.15 [0.05, 0.25]"),
    ]
    assert len(lines) == 8
    assert "golgi bodies" in set(lines["organelle"])


def test_findings_are_of_the_others_on_the_squares_asked_for():
    found = similarity.similarity_findings(table(), "overlapping", data="phantom")
    assert [row["measure"] for row in found] == [
        "map of r: correlation with the joint map of the other organelles",
        "map of golgi bodies: correlation with the joint map of the other organelles",
        "map of r: this correlation less that of random weights",
        "map of golgi bodies: this correlation less that of random weights",
    ]
    assert [row["value"] for row in found] == pytest.approx([0.7, 0.3, 0.25, -0.15])
    assert {row["claim"] for row in found} == {"C8"}
    assert np.isnan([row["reference"] for row in found]).all()


def test_sentences_say_who_is_alike_and_what_is_learnt():
    found = table()
    assert similarity.others_sentence(found, "overlapping") == (
        "each map correlates with the sum of the other organelles' maps at "
        "0.70 (95 % interval 0.60 to 0.80) for r, where networks with random weights give 0.45; "
        "0.30 (95 % interval 0.20 to 0.40) for golgi bodies, where networks with random weights "
        "give 0.45."
    )
    assert similarity.learnt_sentence(found, "overlapping") == (
        "The map of r resembles the others more than under random weights; that of golgi bodies "
        "does so less (image by image, intervals of the difference that exclude 0)."
    )
    none = found.assign(low=-1.0, high=1.0)
    nothing = "No map is shown to resemble the others more than under random weights"
    assert similarity.learnt_sentence(none, "overlapping") == (
        f"{nothing} (image by image, no interval of the difference excludes 0)."
    )
    unknown = found.assign(low=np.nan, high=np.nan)
    assert similarity.learnt_sentence(unknown, "overlapping") == (
        f"{nothing} (image by image, without an interval)."
    )
    both = found.assign(low=0.1, high=1.0)
    assert similarity.learnt_sentence(both, "overlapping").startswith(
        "The maps of r and golgi bodies resemble the others more"
    )
    closest = similarity.closest_sentence(found, "overlapping")
    assert "that of r is closest, at 0.80 (95 %" in closest
    assert "Networks with random weights give 0.45 for it" in closest
    assert "differ by +0.35 [+0.25, +0.45]: they are more like the fused map. " in closest
    for low, high, words in (
        (-0.3, -0.1, "less like the fused map"), (-0.1, 0.1, "nothing shows that this was learnt")
    ):  # fmt: skip
        other = similarity.closest_sentence(found.assign(low=low, high=high), "overlapping")
        assert words in other
    assert closest.endswith("is no sign of what was learnt.")  # of equals the first
    other = (found["network"] == similarity.RANDOM) & (found["organelle"] == "golgi_bodies")
    found.loc[other, "value"] = 0.9
    assert similarity.closest_sentence(found, "overlapping").endswith(
        "With random weights, that of golgi bodies is closest."
    )
