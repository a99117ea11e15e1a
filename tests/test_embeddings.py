"""Features of networks: neighbours counted by hand, layouts the same each time."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import embeddings
from organelle_fusion.embeddings import (
    SEEN,
    UNSEEN,
    EmbeddingError,
    cluster_folds,
    cluster_measures,
    cluster_table,
    umap_layout,
)

LINE = np.array([[0.0], [1], [3], [7], [8], [100], [101]])
LABELS = np.array(list("aaaaabb"))
IMAGES = np.array(["i", "i", "j", "j", "j", "k", "k"])


def test_neighbours_of_the_same_image_are_counted_by_hand():
    """On a line, two nearest of the same class: 0 → 1, 3; 1 → 0, 3; 3 → 1, 0; 7 and 8 → 3."""
    found = cluster_measures(LINE, LABELS, IMAGES, np.arange(7), neighbours=2)
    np.testing.assert_allclose(found["neighbours"][:5], [0.5, 0.5, 0, 1, 1])
    # Of the four others of its class, one is of image i, or two are of image j.
    np.testing.assert_allclose(found["chance"][:5], [0.25, 0.25, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(found["excess"], found["neighbours"] - found["chance"])
    assert found.loc[5:, ["neighbours", "chance", "excess"]].isna().all(axis=None)  # one image


def test_planes_of_one_place_are_no_neighbours():
    """0 and 1 show the same cells, as do 7 and 8; of three others one or two are of the image."""
    places = np.array([0, 0, 1, 2, 2, 3, 4])
    found = cluster_measures(LINE, LABELS, IMAGES, places, neighbours=2)
    np.testing.assert_allclose(found["neighbours"][:5], [0, 0, 0, 0.5, 0.5])
    np.testing.assert_allclose(found["chance"][:5], [0, 0, 0.5, 1 / 3, 1 / 3])


def test_silhouette_by_hand():
    """Of the first point: 4.75 to its own class on average, 100.5 to the other."""
    found = cluster_measures(LINE, LABELS, IMAGES, np.arange(7), neighbours=2)
    assert found["silhouette"][0] == pytest.approx(1 - 4.75 / 100.5)
    one = cluster_measures(LINE[:5], LABELS[:5], IMAGES[:5], np.arange(5), neighbours=2)
    assert one["silhouette"].isna().all()


def test_chance_is_the_mean_over_shuffled_images():
    """The expectation in closed form, against 200 permutations within the class."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 3)), np.repeat("a", 30)
    images = np.repeat(["i", "j", "k"], [5, 10, 15])
    shuffled = [
        cluster_measures(features, labels, rng.permutation(images), np.arange(30), neighbours=4)
        for _ in range(200)
    ]
    expected = np.mean([found["neighbours"].mean() for found in shuffled])
    own = cluster_measures(features, labels, images, np.arange(30), neighbours=4)
    assert own["chance"].mean() == pytest.approx(expected, abs=0.015)
    assert own["excess"].mean() == pytest.approx(own["neighbours"].mean() - expected, abs=0.015)


def test_equal_points_are_neighbours_and_a_point_is_not_its_own():
    """Two patches of the same features: each is the other's nearest, not itself."""
    features = np.array([[0.0], [0], [5], [5]])
    found = cluster_measures(
        features, np.repeat("a", 4), np.array(["i", "j", "i", "j"]), np.arange(4), neighbours=1
    )
    assert found["neighbours"].tolist() == [0, 0, 0, 0]


def test_folds_are_measured_apart_and_by_part():
    """Unseen are validation and test; a fold's features are asked for its own rows only."""
    images = np.repeat(list("ijklmn"), 2)
    table = pd.DataFrame({"image": images, "label": "a", "group": images, "y": 0, "x": range(12)})
    parts = {0: "test", 1: "validation", 2: "train"}
    folds = pd.DataFrame(
        [
            (fold, group, "a", parts[(number // 2 + fold) % 3])
            for fold in range(3)
            for number, group in enumerate("ijklmn")
        ],
        columns=["fold", "group", "label", "part"],
    )
    features = {fold: np.random.default_rng(fold).normal(size=(12, 2)) for fold in range(3)}
    found = cluster_folds(features, table, folds, neighbours=1)
    assert [len(found[name]) for name in (UNSEEN, SEEN)] == [24, 12]
    first = found[UNSEEN].query("fold == 0")
    assert first["image"].tolist() == list("iijjkkll")  # i, j tested; k, l validate
    expected = cluster_measures(
        features[0][:8], np.repeat("a", 8), images[:8], np.arange(8), neighbours=1
    )
    np.testing.assert_array_equal(first["neighbours"], expected["neighbours"])


def test_table_weighs_classes_alike_and_draws_groups_within_them():
    """Class a: 0, 0 and 1 in two groups; class b: one group, always 1. Drawn: 0, ⅓ or 1, and 1."""
    frame = pd.DataFrame({"label": list("aaab"), "group": ["g", "g", "h", "k"]})
    frame = frame.assign(**{name: [0.0, 0, 1, 1] for name in embeddings.MEASURES})
    frame["chance"] = np.nan
    table = cluster_table({"x": frame}, repeats=500, seed=0).set_index("measure")
    assert list(table.index) == ["neighbours", "excess", "silhouette"]  # nothing without values
    row = table.loc["excess"]
    assert row["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert (row["low"], row["high"]) == (pytest.approx(0.5), pytest.approx(1.0))
    assert row["classes"] == 2


def test_layout_keeps_clusters_and_repeats_itself():
    """Two clouds far apart stay apart, whatever the run."""
    pytest.importorskip("umap")
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(size=(20, 5)), rng.normal(size=(20, 5)) + 50])
    first, again = (umap_layout(features, neighbours=5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    distances = np.linalg.norm(first[:, None] - first, axis=2)
    assert distances[:20, 20:].min() > distances[:20, :20].max()
    assert first.shape == (40, 2)
    with pytest.raises(EmbeddingError, match="four patches or more, found 3"):
        umap_layout(features[:3], neighbours=5, seed=3)


@pytest.mark.keras
def test_features_are_what_the_head_gets(tmp_path):
    """Of each fold's own weights: the head alone turns them into the network's logits."""
    keras = pytest.importorskip("keras")
    from organelle_fusion.config import EncoderSettings, load_profile
    from organelle_fusion.models import build_model

    encoder = EncoderSettings(kind="compact", input_px=16, filters=(4, 6))
    training = load_profile("smoke").training

    def network():
        return build_model(
            "intermediate", channels=("a", "b"), n_classes=3, encoder=encoder, training=training
        )

    patches = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 2), dtype=np.uint8)
    weights, expected = {}, {}
    for fold in (0, 1):
        one = network()
        weights[fold] = tmp_path / f"{fold}.weights.h5"
        one.save_weights(weights[fold])
        expected[fold] = one.predict(patches, verbose=0)
    found = embeddings.fold_features(network(), weights, patches)
    assert found[0].shape == (5, 12)
    for fold in (0, 1):
        one = network()
        one.load_weights(weights[fold])
        logits = one.get_layer("fusion_head")(found[fold], training=False)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(logits), expected[fold], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01


def clusters(low):
    rows = [
        (embeddings.SEEN, "excess", 0.5, 0.4, 0.6, 6),
        (embeddings.UNSEEN, "neighbours", 0.4, 0.3, 0.5, 4),
        (embeddings.UNSEEN, "excess", 0.1, low, 0.2, 4),
    ]
    columns = ["patches", "measure", "value", "low", "high", "classes"]
    return pd.DataFrame(rows, columns=columns)


def test_lines_of_clusters_are_in_words():
    lines = embeddings.cluster_lines(clusters(0.05))
    assert lines.iloc[1].to_dict() == {
        "Patches of": "unseen images",
        "Measure": "neighbours of its class that are of its image",
        "Mean": "0.40 [0.30, 0.50]",
        "Classes": 4,
    }


def test_grouping_by_image_is_told_of_unseen_images_only():
    """By the whole interval of the excess; not at all where no fold holds two images of a class."""
    grouped = embeddings.image_sentence(clusters(0.05), 10)
    assert (
        "patches of its class, the share from a patch's own image differs by +0.10 [+0.05, "
        in grouped
    )
    assert "also group by image" in grouped
    assert "do not show that they group" in embeddings.image_sentence(clusters(-0.05), 10)
    assert "do not show that they group" in embeddings.image_sentence(clusters(np.nan), 10)
    assert "cannot be asked" in embeddings.image_sentence(clusters(0.05).head(2), 10)
