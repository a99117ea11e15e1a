"""Late fusion: classifiers of single channels combined by weights that their validation gives."""

import numpy as np
from scipy.optimize import minimize

from organelle_fusion.training import TrainingError, check_labels


def fit_late_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights of late fusion: the mean of classifiers with the least log-loss.

    The log-loss of a weighted mean is convex in the weights, so there is one minimum; where
    several weights reach it (equal classifiers), the search stays at the equal weights it starts
    from.

    Parameters
    ----------
    probabilities
        Of M classifiers for the same N validation patches, (M, N, K).
    labels
        Class numbers, int (N,).

    Returns
    -------
    numpy.ndarray
        float64 (M,), not negative, summing to 1.

    Raises
    ------
    TrainingError
        There are no patches, a label is no class, or the optimiser did not converge.
    """
    n_models, n_patches, n_classes = probabilities.shape
    if n_patches == 0:
        raise TrainingError("late fusion: expected validation patches, found none; use fewer folds")
    check_labels(labels, np.arange(n_patches), n_classes)
    # (M, N): what each classifier gives to the true class. Far above the rounding of float32
    # and far below 1, the floor keeps the logarithm finite and moves no optimum.
    of_truth = probabilities[:, np.arange(n_patches), labels].astype(np.float64)
    of_truth = np.maximum(of_truth, 1e-12)

    def log_loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(weights @ of_truth, 1e-12)
        return -np.log(mixed).mean(), -(of_truth / mixed).mean(axis=1)

    result = minimize(
        log_loss,
        np.full(n_models, 1 / n_models),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n_models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-10},
    )
    if not result.success:
        raise TrainingError(f"late fusion: the weights did not converge ({result.message})")
    weights = np.clip(result.x, 0, None)
    return weights / weights.sum()


def combine(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of the probabilities (M, N, K) of M classifiers, float32 (N, K)."""
    return np.tensordot(weights, probabilities, axes=1).astype(np.float32)
