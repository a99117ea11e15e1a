"""Scores, intervals and tables, against hand arithmetic and plain scikit-learn."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from organelle_fusion import bootstrap, comparisons, evaluation, metrics
from organelle_fusion.metrics import EvaluationError

CLASSES = ["a", "b", "c"]


def make_predictions(
    model="early", *, groups_per_class=4, patches=5, signal=1.0, seed=0, classes=CLASSES
):
    """Random softmax predictions: whole groups in one of three folds, one image per group."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, label in enumerate(classes):
        for g in range(groups_per_class):
            for _ in range(patches):
                logits = rng.normal(size=len(classes))
                logits[k] += signal * (g + 1) / groups_per_class
                p = np.exp(logits) / np.exp(logits).sum()
                name = f"{label}-{g}"
                rows.append([model, g % 3, 0, len(rows), name, name, label, "test", *p])
    columns = ["model", "fold", "seed", "patch", "image", "group", "label", "part"]
    frame = pd.DataFrame(rows, columns=[*columns, *[f"p:{name}" for name in classes]])
    other = frame.assign(part="validation", fold=(frame["fold"] + 1) % 3)
    return pd.concat([frame, other], ignore_index=True)


def rows_of(predictions):
    table = metrics.pooled(predictions)
    columns = metrics.probability_columns(table)
    return table["label"].to_numpy(), table[columns].to_numpy(), table["group"].to_numpy()


def test_scores_by_hand():
    """Three of a, one of b: recalls 2/3 and 1, F1 4/5 and 2/3, MCC from the counts."""
    labels = np.array(["a", "a", "a", "b"])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    found = metrics.scores(labels, probabilities, ["a", "b"])
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    # c s - sum t p = 3*4 - (3*2 + 1*2) = 4; roots of 16 - 8 and 16 - 10
    assert found["mcc"] == pytest.approx(4 / np.sqrt(8 * 6))
    # of three pairs (positive of a, negative b) two are in order
    assert found["auroc"] == pytest.approx(2 / 3)


def test_scores_average_over_the_classes_present():
    """Class c has no sample: it enters no mean, though one row is mistaken for it."""
    labels = np.array(["a", "a", "b", "b"])
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.1, 0.9, 0.0]])
    found = metrics.scores(labels, p, CLASSES)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["auroc"] == pytest.approx(1.0)


def test_scores_agree_with_scikit_learn_where_all_classes_are_present():
    """Same as the one-call functions of scikit-learn on full data."""
    labels, p, _ = rows_of(make_predictions())
    guess = np.array(CLASSES)[p.argmax(1)]
    found = metrics.scores(labels, p, CLASSES)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, guess))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, guess, average="macro"))
    expected = sk.roc_auc_score(labels, p, multi_class="ovr", average="macro", labels=CLASSES)
    assert found["auroc"] == pytest.approx(expected)


def test_auroc_of_a_single_class_is_nan():
    """There is nothing to rank against; scikit-learn stays silent, MCC is 0."""
    assert np.isnan(metrics.scores(np.array(["a"]), np.array([[0.5, 0.5]]), ["a", "b"])["auroc"])


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        (["a", "z"], [[1, 0], [0, 1]], "found 'z'"),
        (["a", "b"], [[1, 0], [np.nan, 1]], "NaN in row 1"),
        (["a", "b"], [[1, 0]], r"expected shape \(2, 2\)"),
        ([], np.empty((0, 2)), "at least one row"),
    ],
    ids=["unknown-class", "nan", "shape", "empty"],
)
def test_scores_refuse(labels, probabilities, message):
    """Errors say in one line what was expected and found."""
    with pytest.raises(EvaluationError, match=message) as error:
        metrics.scores(np.array(labels), np.array(probabilities, float), ["a", "b"])
    assert "\n" not in str(error.value)


def test_chance_levels_by_hand():
    """Shares 3/4 and 1/4 guessed evenly: F1 of 2*(3/8)/(5/4) = 3/5 and 2*(1/8)/(3/4) = 1/3."""
    found = evaluation.chance_levels(np.array(["a", "a", "a", "b"]), ["a", "b"])
    assert found == pytest.approx(
        {"balanced_accuracy": 0.5, "auroc": 0.5, "mcc": 0.0, "macro_f1": (3 / 5 + 1 / 3) / 2}
    )


def test_pooled_takes_test_rows_only_in_patch_order():
    """Validation rows are not scored; the order of the files does not matter."""
    predictions = make_predictions()
    table = metrics.pooled(predictions)
    assert len(table) == 60
    shuffled = metrics.pooled(predictions.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(table, shuffled)


def test_pooled_image_is_the_mean_over_its_patches():
    """Two patches of (0.9, 0.1) and (0.3, 0.7) make an image of (0.6, 0.4)."""
    frame = pd.DataFrame(
        {
            "model": "early", "fold": 0, "seed": 0, "patch": [0, 1, 2],
            "image": ["i", "i", "j"], "group": ["g", "g", "h"], "label": ["a", "a", "b"],
            "part": "test", "p:a": [0.9, 0.3, 0.2], "p:b": [0.1, 0.7, 0.8],
        }
    )  # fmt: skip
    table = metrics.pooled(frame, "image")
    assert table["group"].tolist() == ["g", "h"]
    np.testing.assert_allclose(table[["p:a", "p:b"]], [[0.6, 0.4], [0.2, 0.8]])
    split = metrics.pooled(frame.assign(group=["s", "t", "u"]), "image")
    assert split["group"].tolist() == ["i", "j"]


def test_pooled_cell_is_the_mean_over_its_objects():
    """Cells are named within images: two of them are called 1. Groups as at level image."""
    frame = pd.DataFrame(
        {
            "model": "mlp", "fold": 0, "seed": [0, 0, 0, 0, 1], "patch": [4, 1, 2, 3, 1],
            "image": ["i", "i", "i", "j", "i"], "cell": ["1", "1", "2", "1", "1"],
            "group": ["g", "g", "g", "h", "g"], "label": ["a", "a", "a", "b", "a"],
            "part": "test", "p:a": [0.2, 0.6, 0.9, 0.3, 0.5], "p:b": [0.8, 0.4, 0.1, 0.7, 0.5],
        }
    )  # fmt: skip
    table = metrics.pooled(frame, "cell")
    assert table["p:a"].tolist() == pytest.approx([0.4, 0.9, 0.3, 0.5])
    assert table["label"].tolist() == ["a", "a", "b", "a"]
    assert table["group"].tolist() == ["g", "g", "h", "g"]
    by_object = metrics.pooled(frame.assign(group=list("stuvs")), "cell")
    assert by_object["group"].tolist() == ["i", "i", "j", "i"]
    # Two of three cells of seed 0 and the one of seed 1 are right; a: 1 of 2 and 1 of 1, b: 1 of 1.
    scored = evaluation.score_table(frame, level="cell", repeats=100, seed=0)
    accuracy = scored.loc[scored["metric"] == "balanced_accuracy", "value"].item()
    assert accuracy == pytest.approx((2 / 3 + 1) / 2)
    with pytest.raises(EvaluationError, match="found no cell; read them"):
        metrics.pooled(frame.drop(columns="cell"), "cell")
    with pytest.raises(EvaluationError, match="one label per cell, found 2 in '1'"):
        metrics.pooled(frame.assign(label=list("abaaa")), "cell")
    with pytest.raises(EvaluationError, match="expected a name in image and cell, found an empty"):
        metrics.pooled(frame.assign(cell=["1", None, "2", "1", "1"]), "cell")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="group"), "found no group"),
        (lambda f: f.assign(part="train"), "part is 'test'"),
        (lambda f: pd.concat([f, f]), "patch 0 in several"),
        (lambda f: pd.concat([f, f.assign(model="late")]), "found early, late"),
        (lambda f: f.assign(**{"p:a": f["p:a"].where(f["patch"] != 7)}), "NaN at patch 7"),
        (lambda f: f.assign(group=f["group"].where(f["patch"] != 7)), "group .* 7 of image 'a-1'"),
        (lambda f: f.assign(label=f["label"].where(f["patch"] != 7)), "label .* 7 of image 'a-1'"),
    ],
    ids=["column", "no-test", "twice", "two-models", "nan", "group", "label"],
)
@pytest.mark.parametrize("level", metrics.LEVELS)
def test_pooled_refuses(change, message, level):
    """A frame that would be scored wrongly is refused."""
    with pytest.raises(EvaluationError, match=message):
        metrics.pooled(change(make_predictions()), level)


def test_columns_of_other_data_sets_are_left_out():
    """A concatenated frame has empty columns for the classes of the other set."""
    predictions = make_predictions().assign(**{"p:z": np.nan})
    assert metrics.probability_columns(predictions) == ["p:a", "p:b", "p:c"]


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_resamples_equal_scikit_learn_on_repeated_rows(metric):
    """Each weighted score is the plain score of the rows written out as often as drawn."""
    predictions = make_predictions(groups_per_class=3, seed=3)
    # few distinct values: ties count
    columns = metrics.probability_columns(predictions)
    predictions[columns] = predictions[columns].round(1)
    labels, p, groups = rows_of(predictions)
    counts = bootstrap.count_groups(pd.Index(CLASSES).get_indexer(labels), p, groups, auroc=True)
    weights = bootstrap.draw_groups(counts.stratum, 25, seed=5)
    names = np.unique(groups)
    for draw, found in zip(
        weights, bootstrap.weighted_scores(counts, weights, metric), strict=True
    ):
        rows = np.concatenate(
            [
                np.repeat(np.flatnonzero(groups == g), int(n))
                for g, n in zip(names, draw, strict=True)
            ]
        )
        expected = metrics.scores(labels[rows], p[rows], CLASSES)[metric]
        assert found == pytest.approx(expected, abs=1e-12)


def test_resamples_that_lack_a_class_average_over_the_others():
    """Weights that never draw class c: scores of the other rows alone."""
    labels, p, groups = rows_of(make_predictions(groups_per_class=2))
    counts = bootstrap.count_groups(pd.Index(CLASSES).get_indexer(labels), p, groups, auroc=True)
    weights = np.array([[1.0, 2, 0, 3, 0, 0]])
    rows = np.concatenate(
        [np.repeat(np.flatnonzero(groups == g), n) for g, n in [("a-0", 1), ("a-1", 2), ("b-1", 3)]]
    )
    expected = metrics.scores(labels[rows], p[rows], CLASSES)
    for metric in metrics.METRICS:
        found = bootstrap.weighted_scores(counts, weights, metric)[0]
        assert found == pytest.approx(expected[metric], abs=1e-12)


def test_groups_are_drawn_within_their_class():
    """Every resample keeps the number of groups of each class."""
    weights = bootstrap.draw_groups(np.array([0, 0, 0, 1, 1]), 500, seed=1)
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3:].sum(axis=1) == 2).all()
    # two groups: 0, 1 or 2 draws of the first with chances 1/4, 1/2, 1/4
    assert weights[:, 3].mean() == pytest.approx(1.0, abs=0.1)
    assert np.bincount(weights[:, 3].astype(int))[0] / 500 == pytest.approx(0.25, abs=0.06)


def test_groups_of_several_classes_are_drawn_all_together():
    """A slide with two classes ties them; the strata then fall together."""
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    truth = np.array([0, 1, 0])
    pure = bootstrap.count_groups(truth, p, np.array(["x", "y", "z"]), auroc=False)
    assert pure.stratum.tolist() == [0, 1, 0]
    mixed = bootstrap.count_groups(truth, p, np.array(["x", "x", "z"]), auroc=False)
    assert mixed.stratum.tolist() == [0, 0]


@pytest.mark.parametrize("missing", [None, np.nan], ids=["None", "NaN"])
def test_rows_without_a_group_or_class_are_refused(missing):
    """They would be taken for rows of the last group, z, or of the last class, b."""
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    lacking = np.array(["y", missing, "z"], dtype=object)
    for auroc in (False, True):
        with pytest.raises(EvaluationError, match=r"groups: expected .* found none in row 1; give"):
            bootstrap.count_groups(np.array([0, 1, 0]), p, lacking, auroc=auroc)
    with pytest.raises(EvaluationError, match=r"groups: expected .* found none in row 1; give"):
        bootstrap.mean_interval(p[:, 0], ["a"] * 3, lacking, repeats=10, seed=0)
    labels = np.array(["a", "b", missing], dtype=object)
    with pytest.raises(EvaluationError, match=r"labels: expected .* found none in row 2; give"):
        bootstrap.group_strata(labels, ["x", "y", "z"])


def test_score_table_holds_values_and_quantiles():
    """Value as `scores`; the ends are the quantiles of the resamples written out."""
    predictions = make_predictions(groups_per_class=3)
    table = evaluation.score_table(predictions, repeats=200, seed=4).set_index("metric")
    labels, p, groups = rows_of(predictions)
    expected = metrics.scores(labels, p, CLASSES)
    assert table["value"].to_dict() == pytest.approx(expected)
    names = np.unique(groups)
    weights = bootstrap.draw_groups(np.repeat([0, 1, 2], 3), 200, seed=4)
    plain = []
    for draw in weights:
        rows = [
            np.repeat(np.flatnonzero(groups == g), int(n)) for g, n in zip(names, draw, strict=True)
        ]
        rows = np.concatenate(rows)
        plain.append(
            sk.recall_score(labels[rows], np.array(CLASSES)[p[rows].argmax(1)], average="macro")
        )
    low, high = np.quantile(plain, [0.025, 0.975])
    assert table.loc["balanced_accuracy", ["low", "high"]].tolist() == pytest.approx([low, high])


def test_ends_on_one_value_are_no_interval():
    """Of 1,000 resamples 980 are 0: both quantiles are, and the value may be another."""
    few = np.repeat([0.0, 0.1], [980, 20])
    assert np.isnan(bootstrap.interval(few)).all()
    assert np.isnan(bootstrap.interval(np.array([np.nan, 0.5]))).all()
    assert np.isnan(bootstrap.interval(np.array([np.nan]))).all()
    assert bootstrap.interval(np.repeat([0.0, 0.1], [970, 30])) == (0.0, 0.1)


def test_perfect_predictions_have_no_interval():
    """All right in every resample: nothing tells what other groups would have given."""
    predictions = make_predictions(signal=0)
    for name in CLASSES:
        predictions[f"p:{name}"] = (predictions["label"] == name).astype(float)
    for level in ("patch", "image"):
        table = evaluation.score_table(predictions, level=level, repeats=100)
        np.testing.assert_allclose(table["value"], 1.0)
        assert table[["low", "high"]].isna().all(axis=None)
    rows = evaluation.paper_table(table, {table["model"].iloc[0]: "Perfect"})
    assert rows.iloc[0].tolist() == ["1.00 [no interval]"] * 4
    with pytest.raises(EvaluationError, match="repeats: expected 1 or more resamples, found 0"):
        evaluation.score_table(predictions, repeats=0)


def test_fold_scores_name_the_classes_present():
    """One group of class c only: the folds without it say so and have no AUROC."""
    predictions = make_predictions(groups_per_class=3)
    predictions = predictions[~predictions["group"].isin(["c-1", "c-2"])]
    table = evaluation.fold_scores(predictions)
    present = table.drop_duplicates("fold").set_index("fold")["classes_present"].to_dict()
    assert present == {0: "a, b, c", 1: "a, b", 2: "a, b"}
    assert sorted(table["metric"].unique()) == ["balanced_accuracy", "macro_f1", "mcc"]
    fold = predictions[(predictions["fold"] == 1) & (predictions["part"] == "test")]
    guess = np.array(CLASSES)[fold[["p:a", "p:b", "p:c"]].to_numpy().argmax(1)]
    hits = [(guess[fold["label"] == name] == name).mean() for name in "ab"]
    value = table.query("fold == 1 and metric == 'balanced_accuracy'")["value"].item()
    assert value == pytest.approx(np.mean(hits))


def test_paired_difference_uses_the_same_groups():
    """Of a model and itself it is exactly zero; else it is narrower than independent draws."""
    one = make_predictions("early", seed=1)
    twin = one.assign(model="late")
    both = pd.concat([one, twin], ignore_index=True)
    assert comparisons.paired_difference(both, "early", "late", repeats=100) == pytest.approx(
        {"value": 0.0, "low": np.nan, "high": np.nan, "p": 1.0}, nan_ok=True
    )
    other = make_predictions("late", seed=2, signal=3)
    found = comparisons.paired_difference(pd.concat([one, other]), "late", "early", repeats=300)
    table = evaluation.score_table(pd.concat([one, other]), repeats=300).set_index(
        ["model", "metric"]
    )
    value = (
        table["value"]["late", "balanced_accuracy"] - table["value"]["early", "balanced_accuracy"]
    )
    assert found["value"] == pytest.approx(value)
    assert found["low"] < found["value"] < found["high"]


def test_paired_difference_needs_the_same_rows():
    """A model that lacks a fold cannot be compared."""
    one, other = make_predictions("early"), make_predictions("late")
    with pytest.raises(EvaluationError, match="same patches, found 60 and 30"):
        comparisons.paired_difference(pd.concat([one, other[other["fold"] > 0]]), "early", "late")
    with pytest.raises(EvaluationError, match="expected model 'late', found early"):
        comparisons.paired_difference(one, "early", "late")


def test_best_single_is_chosen_again_in_every_resample():
    """x knows the even groups, y the odd ones: whichever is drawn more often is the best."""
    frames = []
    for model, right in [("x", [0, 2]), ("y", [1, 3]), ("intermediate", [0, 1, 2, 3])]:
        frame = make_predictions(model)
        known = frame["group"].str[-1].astype(int).isin(right)
        for name in CLASSES:
            hit = (frame["label"] == name) == known
            frame[f"p:{name}"] = hit.astype(float) + (0.5 if name == "a" else 0) * ~known
        frames.append(frame)
    both = pd.concat(frames, ignore_index=True)
    found = comparisons.best_single_difference(both, ["x", "y"], repeats=400, seed=2)
    singles = []
    for model in ("x", "y"):
        labels, p, groups = rows_of(both[both["model"] == model])
        counts = bootstrap.count_groups(
            pd.Index(CLASSES).get_indexer(labels), p, groups, auroc=False
        )
        weights = bootstrap.draw_groups(counts.stratum, 400, 2)
        singles.append(bootstrap.weighted_scores(counts, weights, "balanced_accuracy"))
    expected = 1 - np.max(singles, axis=0)
    assert found["value"] == pytest.approx(0.5)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(expected, [0.025, 0.975]))
    assert found["chosen"]["x"] == np.mean(singles[0] >= singles[1])
    assert sum(found["chosen"].values()) == pytest.approx(1)


def test_confusion_counts():
    """Rows are the truth; a predicted class without samples keeps its row."""
    frame = pd.DataFrame(
        {
            "model": "early", "fold": 0, "seed": 0, "patch": range(4), "image": list("ijkl"),
            "group": list("ijkl"), "label": ["a", "a", "b", "b"], "part": "test",
            "p:a": [0.8, 0.1, 0.1, 0.2], "p:b": [0.1, 0.2, 0.7, 0.7], "p:c": [0.1, 0.7, 0.2, 0.1],
        }
    )  # fmt: skip
    matrix = evaluation.confusion(frame, "early")
    assert matrix.loc["a"].tolist() == [1, 0, 1]
    assert matrix.loc["b"].tolist() == [0, 2, 0]
    assert matrix.loc["c"].tolist() == [0, 0, 0]


def test_pr_curves_by_hand():
    """Order a, b, a, b by the probability of a: precision 1, 1/2, 2/3 and AP 1/2 + 1/3."""
    frame = pd.DataFrame(
        {
            "model": "early", "fold": 0, "seed": 0, "patch": range(4), "image": list("ijkl"),
            "group": list("ijkl"), "label": ["a", "b", "a", "b"], "part": "test",
            "p:a": [0.9, 0.8, 0.7, 0.1], "p:b": [0.1, 0.2, 0.3, 0.9],
        }
    )  # fmt: skip
    curves = evaluation.pr_curves(frame, "early")
    a = curves[curves["class"] == "a"]
    assert a["average_precision"].unique() == pytest.approx([0.5 + 0.5 * 2 / 3])
    assert a["prevalence"].unique().tolist() == [0.5]
    points = set(zip(a["recall"].round(6), a["precision"].round(6), strict=True))
    assert points >= {(0.5, 1.0), (0.5, 0.5), (1.0, 0.666667), (0.0, 1.0)}


def test_paper_table_has_the_rows_of_the_paper():
    """Order of Table 1; cells with intervals; nothing invented for what is not there."""
    table = pd.DataFrame(
        [
            (model, metric, 0.914, 0.849, 0.951)
            for model in ("late", "mitochondria", "early_endosomes", "early", "intermediate")
            for metric in metrics.METRICS
        ],
        columns=["model", "metric", "value", "low", "high"],
    )
    rows = evaluation.paper_rows(("early_endosomes", "mitochondria", "recycling_endosomes"))
    shown = evaluation.paper_table(table, rows)
    assert shown.index.tolist() == [
        "Single channel: early endosomes",
        "Single channel: mitochondria",
        "Single channel: recycling endosomes",
        "Early fusion",
        "Intermediate fusion",
        "Late fusion",
        "OTCCP: TPG of early endosomes",
        "OTCCP: TPG of mitochondria",
        "OTCCP: TPG of recycling endosomes",
        "OTCCP: TPG of contacts",
        "Spatial fusion (ours)",
    ]
    assert shown.columns.tolist() == ["Balanced accuracy", "AUROC", "MCC", "Macro F1"]
    assert shown.loc["Late fusion", "AUROC"] == "0.91 [0.85, 0.95]"
    assert (shown.iloc[[2, 6, 7, 8, 9, 10]] == "not computed").all(axis=None)


def test_every_fusion_has_a_row_in_the_tables(monkeypatch):
    """One that is added is not left out: it is ours, as spatial fusion is."""
    monkeypatch.setattr(evaluation, "FUSIONS", (*evaluation.FUSIONS, "gated"))
    rows = evaluation.paper_rows(("a", "b"))
    assert list(rows.items())[-2:] == [
        ("spatial", "Spatial fusion (ours)"),
        ("gated", f"{evaluation.title('gated')} (ours)"),
    ]


def test_a_frame_without_models_is_refused_in_a_line():
    """As one made by hand is."""
    with pytest.raises(metrics.EvaluationError, match="expected a column model, found none; name"):
        evaluation.score_table(pd.DataFrame({"patch": [0]}))


def test_paper_table_takes_published_values_and_other_channels():
    """The article's numbers, as entered, in the cell of ours; channels of any name."""
    table = pd.DataFrame(
        [("nucleus", metric, 0.5, 0.4, 0.6) for metric in metrics.METRICS],
        columns=["model", "metric", "value", "low", "high"],
    )
    published = pd.DataFrame(
        [("nucleus", "mcc", -0.126), ("early", "mcc", 0.123)], columns=["model", "metric", "value"]
    )
    rows = evaluation.paper_rows(("nucleus", "ER"))
    assert rows["otccp_ER"] == "OTCCP: TPG of ER"
    shown = evaluation.paper_table(table, rows, published)
    assert shown.loc["Single channel: nucleus", "MCC"] == "0.50 [0.40, 0.60]\npublished -0.13"
    assert shown.loc["Single channel: nucleus", "AUROC"] == "0.50 [0.40, 0.60]"
    assert shown.loc["Early fusion", "MCC"] == "not computed\npublished 0.12"
    bare = evaluation.paper_table(table, rows)
    pd.testing.assert_frame_equal(evaluation.paper_table(table, rows, published.head(0)), bare)
    with pytest.raises(EvaluationError, match="found nucleus"):
        evaluation.paper_table(table, {"early": "Early fusion"})
    with pytest.raises(EvaluationError, match="several for 'nucleus'"):
        evaluation.paper_table(pd.concat([table, table]), rows)


def test_the_bootstrap_is_fast():
    """Six models of 2,000 patches, 26 groups, 2,000 resamples: a few seconds on one core."""
    classes = list("abcdef")
    frames = [
        make_predictions(f"m{k}", groups_per_class=4, patches=80, seed=k, classes=classes)
        for k in range(2)
    ]
    predictions = pd.concat(frames, ignore_index=True)
    start = time.process_time()
    evaluation.score_table(predictions, repeats=2000)
    assert time.process_time() - start < 5


def test_levels_worked_out_by_hand(certain):
    """Objects: 3 of 4 and 3 of 4 right. Images: i1 and i4 are ties, which go to a."""
    results = {("by object", "All"): certain("abaabbab", fold=[0, 1] * 4)}
    table = evaluation.level_scores(
        results, {"patch": "object", "image": "image vote"}, repeats=100
    )
    assert table["level"].tolist() == ["object", "image vote"]
    assert table["trainings"].tolist() == [2, 2]
    assert table["value"].tolist() == [0.75, 0.75]
    assert table["chance"].tolist() == [0.5, 0.5]
    assert (table["low"] <= table["value"]).all()
    assert table["high"].tolist() == [1, 1]
    text = evaluation.printed_levels(table.assign(low=0.5))
    assert text.columns.tolist() == [
        "protocol", "subset", "trainings", "chance", "object", "image vote",
    ]  # fmt: skip
    score = "0.75 [0.50, 1.00]"
    assert text.to_numpy().tolist() == [["by object", "All", 2, "0.50", score, score]]


def test_printed_rows_keep_their_order(certain):
    results = {(panel, row): certain("aaaabbbb") for panel in "ba" for row in ("z", "a")}
    text = evaluation.printed_levels(
        evaluation.level_scores(results, {"patch": "object"}, repeats=100)
    )
    assert text["protocol"].tolist() == ["b", "b", "a", "a"]
    assert text["subset"].tolist() == ["z", "a", "z", "a"]
