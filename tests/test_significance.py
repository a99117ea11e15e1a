"""p-values and the corrected t-test: by hand, against SciPy, and by the principle behind Holm."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from organelle_fusion import significance
from organelle_fusion.bootstrap import two_sided_p
from organelle_fusion.metrics import EvaluationError
from organelle_fusion.significance import (
    corrected_t_test,
    holm,
    interval_text,
    interval_texts,
    repeated_fold_difference,
)

CLASSES = ("a", "b")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-1, 1, 1, 1], 2 * 2 / 5),
        ([-1] * 98 + [-2], 2 * 1 / 100),
        ([1] * 98 + [2], 2 * 1 / 100),
        ([0.2] * 99, np.nan),  # nothing varies: no chance is known
        ([0, 0, 0], 1.0),
        ([-1, 1], 1.0),  # 4/3 is cut off
        ([-1, 1, 1, 1, np.nan], 2 * 2 / 5),
        ([0.3 - 0.1 - 0.2] * 3, 1.0),  # 0 up to rounding
    ],
    ids=["one-below", "all-below", "all-above", "equal", "ties", "cut", "nan", "rounding"],
)
def test_two_sided_p_by_hand(differences, expected):
    """Twice the smaller tail, with the difference itself as one resample more."""
    found = two_sided_p(np.array(differences, float))
    assert found == pytest.approx(expected, nan_ok=True)


def test_corrected_t_test_by_hand():
    """Mean 0.2, variance 0.02/3; factor 1/4 + 1/4; t = 2√3; for 3 degrees p has a closed form."""
    found = corrected_t_test([0.1, 0.2, 0.3, 0.2], n_train=80, n_test=20)
    assert found["value"] == pytest.approx(0.2)
    assert found["t"] == pytest.approx(2 * np.sqrt(3))
    assert found["p"] == pytest.approx(1 - 2 / np.pi * (2 / 5 + np.arctan(2)))
    reach = 3.182446 * np.sqrt(0.02 / 3 / 2)  # the table's 97.5 % point for 3 degrees
    assert [found["low"], found["high"]] == pytest.approx([0.2 - reach, 0.2 + reach], abs=1e-6)


def test_without_a_test_part_it_is_students_test():
    """Factor 1/n: SciPy's test of one sample and its interval."""
    differences = np.random.default_rng(0).normal(0.1, 0.2, 30)
    found = corrected_t_test(differences, n_train=100, n_test=0)
    expected = stats.ttest_1samp(differences, 0)
    assert [found["t"], found["p"]] == pytest.approx([expected.statistic, expected.pvalue])
    assert [found["low"], found["high"]] == pytest.approx(list(expected.confidence_interval()))


@pytest.mark.parametrize(
    ("differences", "t", "p"), [([0.0] * 3, 0, 1), ([-0.5] * 3, -np.inf, 0)], ids=["zero", "equal"]
)
def test_runs_that_agree_have_an_interval_without_width(differences, t, p):
    """Two faultless models differ by 0 in every run, which is no error."""
    found = corrected_t_test(differences, 80, 20)
    mean = differences[0]
    assert found == {"value": mean, "low": mean, "high": mean, "t": t, "p": p}


def test_rounding_is_no_scatter():
    """Runs of 0.9 − 0.8, 0.4 − 0.3 and 1 − 0.9 are alike, to 16 digits."""
    found = corrected_t_test([0.9 - 0.8, 0.4 - 0.3, 1 - 0.9] * 10, 60, 20)
    assert found["low"] == found["high"] == found["value"] == pytest.approx(0.1)
    assert (found["t"], found["p"]) == (np.inf, 0)
    assert corrected_t_test([1e-17, -1e-17], 60, 20)["t"] == 0


def test_one_run_is_refused():
    """A single difference has no scatter."""
    with pytest.raises(EvaluationError, match="expected two or more, found 1"):
        corrected_t_test([0.1], 80, 20)


def test_a_difference_that_is_not_known_leaves_all_unknown():
    """NaN is neither 0 nor certain: no p of 0, and beside it 2 · 0.01 of the two tests."""
    found = corrected_t_test([0.1, np.nan, -0.05], 80, 20)
    assert list(found) == ["value", "low", "high", "t", "p"]
    assert np.isnan(list(found.values())).all()
    np.testing.assert_allclose(holm([found["p"], 0.01]), [np.nan, 0.02])


@pytest.mark.parametrize(("n_train", "n_test"), [(0, 20), (-1, 20), (np.nan, 20), (80, -1)])
def test_parts_without_a_size_are_refused(n_train, n_test):
    """Of no training patches the correction would be infinite."""
    with pytest.raises(EvaluationError, match=f"found {n_train:g} and {n_test:g}; use more folds"):
        corrected_t_test([0.1, 0.2, -0.05], n_train, n_test)


def test_two_folds_that_leave_nothing_to_train_on_are_refused():
    """Of the groups 0 and 1 each run tests one and validates on the other."""
    both = pd.concat([frame("one"), frame("other")])
    both = both[(both["fold"] == 0) | ((both["fold"] == 1) & (both["part"] == "test"))]
    swapped = both[(both["fold"] == 0) & (both["part"] == "test")].assign(fold=1, part="validation")
    with pytest.raises(EvaluationError, match="found 0 and 4; use more folds"):
        repeated_fold_difference(pd.concat([both, swapped]), "one", "other")


def frame(model, seeds=(0, 1), *, p_of=None):
    """Three groups per class of two patches, three folds a seed; random unless `p_of` says.

    Fold k tests the groups k, validates on k + 1 and trains on k + 2.
    """
    rng = np.random.default_rng(sum(map(ord, model)))
    rows = []
    for seed in seeds:
        for fold in range(3):
            for part, number in (("test", fold), ("validation", (fold + 1) % 3)):
                for k, label in enumerate(CLASSES):
                    for copy in range(2):
                        p = rng.random() if p_of is None else p_of(part, label)
                        rows.append(
                            {
                                "model": model, "fold": fold, "seed": seed, "part": part,
                                "patch": 6 * k + 2 * number + copy, "image": f"{label}{number}",
                                "group": f"{label}{number}", "label": label, "p:a": p, "p:b": 1 - p,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def right(label):
    return 1.0 if label == "a" else 0.0


def accuracies(predictions, part):
    """Balanced accuracy of every run by scikit-learn."""
    rows = predictions[predictions["part"] == part]
    return np.array(
        [
            sk.balanced_accuracy_score(run["label"], np.where(run["p:a"] >= 0.5, "a", "b"))
            for _, run in rows.groupby(["seed", "fold"])
        ]
    )


def test_repeated_folds_against_scikit_learn_and_scipy():
    """Six runs of 4 tested, 4 validation and 4 training patches: the factor is 1/6 + 4/4."""
    one, other = frame("one", seeds=(0, 1)), frame("other", seeds=(0, 1))
    both = pd.concat([one, other]).sample(frac=1, random_state=0)
    found = repeated_fold_difference(both, "one", "other")
    assert (found["runs"], found["n_train"], found["n_test"]) == (6, 4, 4)
    differences = accuracies(one, "test") - accuracies(other, "test")
    assert differences.std() > 0.1
    plain = stats.ttest_1samp(differences, 0)
    t = plain.statistic * np.sqrt(1 / 6) / np.sqrt(1 / 6 + 1)
    assert found["value"] == pytest.approx(differences.mean())
    assert found["t"] == pytest.approx(t)
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 5))
    assert found["chosen"] == {"other": 1.0}


def test_the_rival_of_a_run_is_chosen_on_its_validation_part():
    """x is right on validation and wrong when tested, y the reverse: x is taken, for nothing."""
    x = frame(
        "x", p_of=lambda part, label: right(label) if part == "validation" else 1 - right(label)
    )
    y = frame("y", p_of=lambda part, label: right(label) if part == "test" else 1 - right(label))
    fusion = frame("fusion", p_of=lambda part, label: right(label))
    everything = pd.concat([fusion, y, x])
    found = repeated_fold_difference(everything, "fusion", ["y", "x"])
    assert found["chosen"] == {"y": 0.0, "x": 1.0}
    assert found["value"] == pytest.approx(1.0)
    assert repeated_fold_difference(everything, "fusion", "y")["value"] == 0.0


def test_a_class_that_a_run_does_not_test_is_left_out():
    """Without b in test, fold 0 is the recall of a alone."""
    one = frame("one", seeds=(0,), p_of=lambda part, label: 1.0)  # all called a
    other = frame("other", seeds=(0,), p_of=lambda part, label: 0.0)
    parted = [
        part[(part["fold"] > 0) | (part["label"] == "a") | (part["part"] == "validation")]
        for part in (one, other)
    ]
    found = repeated_fold_difference(pd.concat(parted), "one", "other")
    assert found["value"] == pytest.approx((1 + 0 + 0) / 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.assign(group=f["label"]), r"seed 0, fold 0: .* whole, found 'a'"),
        (
            lambda f: f.assign(group=f["group"].where(f["part"] == "validation", f["label"])),
            r"seed 0, fold 1: .* whole, found 'a'",
        ),
        (lambda f: f[f["part"] == "test"], "validation and test rows, found test only"),
        (lambda f: f.assign(**{"p:a": f["p:a"].where(f["patch"] > 0)}), "NaN at patch 0"),
    ],
    ids=["parts", "folds", "no-validation", "nan"],
)
def test_parted_groups_and_missing_rows_are_refused(spoil, message):
    """The correction counts whole parts; a group in training and test is another matter."""
    both = spoil(pd.concat([frame("one"), frame("other")]))
    with pytest.raises(EvaluationError, match=message):
        repeated_fold_difference(both, "one", "other")


def test_models_of_other_folds_are_refused():
    """A pair is one run of both."""
    other = frame("other")
    with pytest.raises(EvaluationError, match="same patches"):
        repeated_fold_difference(
            pd.concat([frame("one"), other[other["fold"] < 2]]), "one", "other"
        )


def test_holm_by_hand():
    """4·0.005, 3·0.01, 2·0.03, and 0.04 rises to the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])


def test_holm_is_closed_testing_with_bonferroni():
    """A hypothesis falls if every set that holds it falls: its largest size times smallest p."""
    p = np.random.default_rng(3).random(5) ** 3
    expected = [
        max(
            min(1, len(chosen) * p[list(chosen)].min())
            for size in range(1, 6)
            for chosen in combinations(range(5), size)
            if k in chosen
        )
        for k in range(5)
    ]
    assert holm(p) == pytest.approx(expected)


def test_comparison_table_adjusts_within_a_test():
    """Two tests of two comparisons; lines come comparison by comparison, sides of 0 are shown."""
    found = {
        "first": {
            "z": {"value": 0.055, "low": -0.004, "high": 0.117, "p": 0.04},
            "a": {"value": 0.25, "low": 0.2, "high": 0.3, "p": 0.0004},
        },
        "second": {
            "z": {"value": -0.1, "low": -0.2, "high": 0.02, "p": 0.5},
            "a": {"value": 0.2, "low": 0.1, "high": 0.3, "p": 0.3},
        },
    }
    table = significance.comparison_table(found)
    assert table["p_holm"].tolist() == pytest.approx([0.04, 0.0008, 0.6, 0.6])
    lines = significance.comparison_lines(table)
    assert lines.to_numpy().tolist() == [
        ["z", "first", "+0.055 [-0.004, +0.117]", "0.040", "0.040"],
        ["z", "second", "-0.10 [-0.20, +0.02]", "0.500", "0.600"],
        ["a", "first", "+0.25 [+0.20, +0.30]", "< 0.001", "< 0.001"],
        ["a", "second", "+0.20 [+0.10, +0.30]", "0.300", "0.600"],
    ]


@pytest.mark.parametrize(
    ("numbers", "sign", "expected"),
    [
        ((0.064, -0.02, 0.12), "+", "+0.06 [-0.02, +0.12]"),
        ((0.91, 0.85, 0.95), "", "0.91 [0.85, 0.95]"),
        ((0.004, 0.001, 0.02), "+", "+0.004 [+0.001, +0.020]"),  # on which side of 0 it ends
        ((-0.004, -0.03, 0.02), "", "0.00 [-0.03, 0.02]"),
        ((-0.004, np.nan, np.nan), "+", "+0.00 [no interval]"),
        ((np.nan, np.nan, np.nan), "+", "–"),
        ((-0.03, -0.06, -0.0002), "+", "-0.0300 [-0.0600, -0.0002]"),
    ],
    ids=["difference", "score", "near 0", "minus 0", "none", "nothing", "just below 0"],
)
def test_numbers_are_said_with_their_interval(numbers, sign, expected):
    assert interval_text(*numbers, sign) == expected


def test_rows_of_a_table_are_said_each_with_its_interval():
    table = pd.DataFrame({"row": ["a", "b"], "value": [0.5, 1], "low": [0.4, np.nan], "high": 0.6})
    assert interval_texts(table) == ["+0.50 [+0.40, +0.60]", "+1.00 [no interval]"]
    assert interval_texts(table, "", ("high", "low", "value"))[0] == "0.60 [0.40, 0.50]"


def test_numbers_are_said_beside_what_they_are_compared_with():
    """-0.0496 is above -0.05, and two decimals would not tell."""
    assert interval_text(-0.02, -0.0496, 0.01, "") == "-0.02 [-0.05, 0.01]"
    found = interval_text(-0.02, -0.0496, 0.01, "", beside=-0.05)
    assert found == "-0.0200 [-0.0496, 0.0100]"
