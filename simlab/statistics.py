"""Student's interval, once."""

from __future__ import annotations

import numpy as np

CONFIDENCE = 0.95


def student(degrees: float, confidence: float = CONFIDENCE) -> float:
    """Half of Student's two-sided interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def mean_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean of independent replicates and its interval.

    Parameters
    ----------
    values : ndarray, shape (R,)
        R >= 2 of them.
    confidence : float, default 0.95

    Returns
    -------
    mean, low, high : float
    """
    mean = float(np.mean(values))
    half = float(student(len(values) - 1, confidence) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
