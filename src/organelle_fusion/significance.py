"""How far a difference can be told from chance: p-values, a corrected t-test, several at once.

Which patches, folds and seeds are scored belongs to `metrics`, resampled groups to `bootstrap`, and
differences between models to `comparisons`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from organelle_fusion.bootstrap import of_model
from organelle_fusion.comparisons import check_same_rows
from organelle_fusion.metrics import EvaluationError, class_names, pooled, probability_columns
from organelle_fusion.wording import decimals

_RUN = ["seed", "fold"]


_EQUAL = 1e-12  # as of scores that differ by their rounding


def corrected_t_test(differences: Sequence[float], n_train: float, n_test: float) -> dict:
    """Test a difference over repeated trainings whose training parts overlap.

    Runs that share training data are not independent, and their plain variance is too small. The
    corrected resampled t-test of Nadeau and Bengio (2003, Machine Learning 52, 239-281) takes
    the variance of the mean of n differences to be ``1/n + n_test/n_train`` times theirs, with
    n − 1 degrees of freedom.

    Parameters
    ----------
    differences
        One for each of n runs.
    n_train, n_test
        Sizes of the training and the test part of a run, above 0, and 0 or more. With `n_test` 0
        this is Student's t-test of one sample.

    Returns
    -------
    dict
        ``value`` (mean); ``low``, ``high`` (95 % interval); ``t``; ``p`` (two-sided, against 0).
        Where all differences are equal, t is 0 or infinite. Where one is not known, as AUROC of a
        test part of one class, all five are NaN.

    Raises
    ------
    EvaluationError
        There are fewer than two runs, or a part has no such size.
    """
    differences = np.asarray(differences, dtype=float)
    n = len(differences)
    if n < 2:
        raise EvaluationError(
            f"runs: expected two or more, found {n}; repeat the folds with other seeds"
        )
    if not (n_train > 0 and n_test >= 0):
        raise EvaluationError(
            f"n_train, n_test: expected more than 0 and 0 or more patches, found {n_train:g} and "
            f"{n_test:g}; use more folds"
        )
    mean = differences.mean()
    error = np.sqrt(1 / n + n_test / n_train) * differences.std(ddof=1)
    if np.ptp(differences) < _EQUAL:  # or rounding would be their scatter
        mean, error = (0.0 if abs(mean) < _EQUAL else mean), 0.0
    # Runs that all agree, as of two faultless models, have no scatter to measure a mean by.
    t = mean / error if error else np.copysign(np.inf, mean) if mean else 0.0
    reach = stats.t.ppf(0.975, n - 1) * error
    return {
        "value": float(mean),
        "low": float(mean - reach),
        "high": float(mean + reach),
        "t": float(t),
        "p": float(2 * stats.t.sf(abs(t), n - 1)),
    }


def repeated_fold_difference(predictions: pd.DataFrame, a: str, b: str | Sequence[str]) -> dict:
    """Difference a − b over runs (seed × fold) that keep groups whole, by `corrected_t_test`.

    Where the paired bootstrap asks what other images would have given, and takes the trained
    networks as they are, each run here is a training of its own: the scatter holds initial values,
    order and choice of training images too. Both models are scored in each run by balanced
    accuracy over the classes that its test part holds.

    A run's training rows are not in the frame: they are the patches tested under its seed (all of
    them, each once) less those that the run tests or validates on. Rows of the validation part
    train no weights, so they are not counted; that makes the correction larger.

    Parameters
    ----------
    predictions
        Validation and test rows of repeated folds, see `metrics`.
    a
        A model.
    b
        Another one; or several, of which each run takes the one that scores best on its own
        *validation* part. Its test part has no say in that, unlike in
        `comparisons.best_single_difference`.

    Returns
    -------
    dict
        As `corrected_t_test`; besides ``runs``, ``n_train`` and ``n_test`` (mean numbers of
        patches), ``chosen`` (model of `b` → share of the runs that took it).

    Raises
    ------
    EvaluationError
        Groups are parted between the folds of a seed or the parts of a run, a run has no
        validation rows, the models were tested on different rows, or what `pooled` and
        `corrected_t_test` refuse.
    """
    rivals = [b] if isinstance(b, str) else list(b)
    models = [a, *rivals]
    parts = [of_model(predictions, name) for name in models]
    check_same_rows(parts, models, [*_RUN, "patch", "label", "group"])
    _check_whole_groups(parts[0])
    sizes = pd.crosstab([parts[0][name] for name in _RUN], parts[0]["part"])
    n_train = sizes["test"].groupby("seed").transform("sum") - sizes.sum(axis=1)
    accuracy = [_run_accuracy(part) for part in parts]
    tested = np.stack([scores.xs("test", level="part") for scores in accuracy])
    validated = np.stack([scores.xs("validation", level="part") for scores in accuracy[1:]])
    best = validated.argmax(axis=0)
    differences = tested[0] - np.take_along_axis(tested[1:], best[None], axis=0)[0]
    found = {"n_train": float(n_train.mean()), "n_test": float(sizes["test"].mean())}
    chosen = np.bincount(best, minlength=len(rivals)) / len(best)
    return {
        **corrected_t_test(differences, **found),
        **found,
        "runs": len(differences),
        "chosen": dict(zip(rivals, chosen.tolist(), strict=True)),
    }


def _check_whole_groups(part: pd.DataFrame) -> None:
    """Refuse runs of one model that part a group, and runs without validation rows."""
    rows = part[[*_RUN, "group", "part"]].drop_duplicates()
    tests = rows[rows["part"] == "test"]
    for twice in (
        rows[rows.duplicated([*_RUN, "group"])],
        tests[tests.duplicated(["seed", "group"])],
    ):
        if len(twice):
            seed, fold, group = twice.iloc[0][[*_RUN, "group"]]
            raise EvaluationError(
                f"predictions: seed {seed}, fold {fold}: expected groups kept whole, found "
                f"{group!r} in another fold or part too; the corrected t-test is for such folds"
            )
    without = rows.groupby(_RUN)["part"].agg(set).loc[lambda held: held != {"validation", "test"}]
    if len(without):
        raise EvaluationError(
            f"predictions: seed {without.index[0][0]}, fold {without.index[0][1]}: expected "
            f"validation and test rows, found {' and '.join(sorted(without.iloc[0]))} only; "
            "read whole files with read_predictions"
        )


def _run_accuracy(part: pd.DataFrame) -> pd.Series:
    """Balanced accuracy of one model in each run and part, over the classes that it holds."""
    pooled(part)  # for what it refuses
    classes = np.array(class_names(part))
    right = part["label"] == classes[part[probability_columns(part)].to_numpy().argmax(axis=1)]
    recall = part.assign(right=right.astype(float)).pivot_table(
        index=[*_RUN, "part"], columns="label", values="right"
    )
    return recall.mean(axis=1)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjust the p-values of several tests after Holm (1979), float64 (m,) in their order.

    The smallest is multiplied by m, the next by m − 1 and so on; none becomes smaller than the one
    before it, nor larger than 1. One that is not known (NaN) stays so, and counts among the m.
    Rejecting what stays below 0.05 keeps the chance of even one false rejection below 0.05, however
    the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return adjusted.clip(max=1)


def comparison_table(tests: Mapping[str, Mapping[str, Mapping[str, float]]]) -> pd.DataFrame:
    """The same comparisons by one or more tests, each with p-values adjusted by `holm`.

    Parameters
    ----------
    tests
        Name of a test → comparison → ``value``, ``low``, ``high``, ``p``.

    Returns
    -------
    DataFrame
        test, comparison, value, low, high, p, p_holm; `holm` adjusts within a test.
    """
    rows = []
    for test, found in tests.items():
        adjusted = holm([difference["p"] for difference in found.values()])
        for (name, difference), p_holm in zip(found.items(), adjusted, strict=True):
            numbers = (difference[key] for key in ("value", "low", "high", "p"))
            rows.append((test, name, *numbers, float(p_holm)))
    columns = ["test", "comparison", "value", "low", "high", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def comparison_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format a `comparison_table` for a page: a line per comparison and test.

    Returns
    -------
    DataFrame
        Comparison, Test, Difference ("+0.06 [-0.02, +0.12]", with a third decimal where two would
        hide the side of 0), p, p (Holm).
    """
    shown = table.sort_values(
        "comparison", kind="stable", key=lambda names: pd.factorize(names)[0]
    ).reset_index(drop=True)
    return pd.DataFrame(
        {
            "Comparison": shown["comparison"],
            "Test": shown["test"],
            "Difference": interval_texts(shown),
            "p": shown["p"].map(p_text),
            "p (Holm)": shown["p_holm"].map(p_text),
        }
    )


def interval_text(
    value: float, low: float, high: float, sign: str = "+", *, beside: float = 0.0
) -> str:
    """A number and its interval, such as "+0.06 [-0.02, +0.12]"; `sign` "" prints no plus.

    There are as many decimals as show on which side of 0, and of a number `beside` that the ends
    are compared with, they lie.

    Ends that are NaN, see `bootstrap.interval`, read "+0.06 [no interval]", and a number that is
    NaN itself, such as a mean of nothing, reads "–".
    """
    if np.isnan(value):
        return "–"
    if np.isnan(low):
        return f"{value:{sign}z.2f} [no interval]"
    digits = decimals(low, high, low - beside, high - beside)
    # z: a value of -0.004 is no "-0.00"
    return "{0:{3}z.{4}f} [{1:{3}z.{4}f}, {2:{3}z.{4}f}]".format(value, low, high, sign, digits)


def interval_of(score: Mapping[str, float], sign: str = "+") -> str:
    """`interval_text` of ``value``, ``low`` and ``high`` of a score or a difference."""
    return interval_text(score["value"], score["low"], score["high"], sign)


def interval_texts(
    table: pd.DataFrame, sign: str = "+", columns: Sequence[str] = ("value", "low", "high")
) -> list[str]:
    """`interval_text` of every row of a table, whose `columns` are a number and its interval."""
    return [interval_text(*row, sign) for row in table[list(columns)].itertuples(index=False)]


def p_text(p: float) -> str:
    """A p-value with three decimals, or "< 0.001"; a dash for none (NaN)."""
    if np.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
