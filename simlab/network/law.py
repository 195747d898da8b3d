"""What theory has to know of a network that changes: the law of its mixing matrices, in one of four forms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

ENUMERATED = 1024  # outcomes of one step that are listed at most


class Outcome(NamedTuple):
    """What a step may be.

    Attributes
    ----------
    probability : float
    weights : ndarray, shape (n, n)
        W; the rows of sleeping nodes are those of the identity.
    awake, fires : bool arrays (n,)
        Who takes the step, who computes in it.
    """

    probability: float
    weights: np.ndarray
    awake: np.ndarray
    fires: np.ndarray

    @classmethod
    def of(cls, probability: float, weights: Any, awake: Any = None, fires: Any = None) -> Outcome:
        """An outcome of any matrix (n, n), in which all nodes compute unless said."""
        w = weights.toarray() if sparse.issparse(weights) else np.asarray(weights, dtype=float)
        up = np.ones(len(w), bool) if awake is None else np.asarray(awake, bool)
        w = np.where(up[:, None], w, np.eye(len(w)))
        return cls(float(probability), w, up, up if fires is None else np.asarray(fires, bool))


Outcomes = tuple[Outcome, ...]


class Toggles(NamedTuple):
    """W_k = W_0 + Σ_m a_m Δ_m with independent a_m, 1 with probability p_m and 0 otherwise; all nodes compute.

    Attributes
    ----------
    fixed : ndarray, shape (n, n)
        W_0.
    left, right : tuples of ndarrays, shape (n, r_m)
        Δ_m = left_m right_mʹ.
    probabilities : ndarray, shape (M,)
    """

    fixed: np.ndarray
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    probabilities: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """E W."""
        changes = zip(self.probabilities, self.left, self.right, strict=True)
        return self.fixed + sum((p * u @ v.T for p, u, v in changes), np.zeros_like(self.fixed))

    def outcome(self, on: np.ndarray) -> Outcome:
        """That of the links or matchings `on`, a bool array (M,), and its probability."""
        chosen = [self.left[m] @ self.right[m].T for m in np.flatnonzero(on)]
        return Outcome.of(_chance(self.probabilities, on), self.fixed + sum(chosen, np.zeros_like(self.fixed)))

    def outcomes(self) -> Outcomes:
        """All of them, one by one.

        Raises
        ------
        ValueError
            There are more than are listed.
        """
        return tuple(self.outcome(on) for on in _settings(self.probabilities, "links or matchings that are on and off"))


class Switches(NamedTuple):
    """Steps that depend on independent switches, each on with its own probability: nodes that are awake, say.

    Attributes
    ----------
    probabilities : ndarray, shape (M,)
    build : function
        Of a bool array (M,), which of them are on: W and who is awake.
    """

    probabilities: np.ndarray
    build: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def outcome(self, on: np.ndarray) -> Outcome:
        """That of the switches `on`, a bool array (M,), and its probability."""
        return Outcome.of(_chance(self.probabilities, on), *self.build(on))

    def outcomes(self) -> Outcomes:
        """All of them, one by one; ValueError where there are more than are listed."""
        return tuple(self.outcome(on) for on in _settings(self.probabilities, "switches that are on and off"))


def _chance(probabilities: np.ndarray, on: np.ndarray) -> float:
    return float(np.prod(np.where(on, probabilities, 1 - probabilities)))


def _settings(probabilities: np.ndarray, what: str) -> Iterable[np.ndarray]:
    """Which are on, in each outcome of positive probability."""
    open_ = [m for m, p in enumerate(probabilities) if 0 < p < 1]
    check_count(2 ** len(open_), f"{len(open_)} {what}")
    for ups in itertools.product((True, False), repeat=len(open_)):
        on = probabilities == 1
        on[open_] = ups
        yield on


class Cycle(NamedTuple):
    """Independent steps, whose law repeats with a period: that of step k is ``steps[k % len(steps)]``.

    Attributes
    ----------
    steps : tuple of tuples of Outcome
    """

    steps: tuple[Outcomes, ...]


class Chain(NamedTuple):
    """Steps over the states of a Markov chain, which starts in its stationary distribution.

    Attributes
    ----------
    modes : tuple of tuples of Outcome
        The outcomes of a step in each state.
    transitions : ndarray, shape (J, J)
    stationary : ndarray, shape (J,)
    """

    modes: tuple[Outcomes, ...]
    transitions: np.ndarray
    stationary: np.ndarray


Law = Toggles | Switches | Cycle | Chain


def independent(outcomes: Iterable[Outcome]) -> Cycle:
    """Independent draws of a few outcomes."""
    return Cycle((tuple(outcome for outcome in outcomes if outcome.probability > 0),))


def sure(weights: Any) -> Outcomes:
    """One outcome."""
    return (Outcome.of(1.0, weights),)


def product_chain(chains: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Transitions and stationary distribution of independent chains side by side, the first one's state slowest."""
    transitions, stationary = np.ones((1, 1)), np.ones(1)
    for rows, share in chains:
        transitions, stationary = np.kron(transitions, rows), np.kron(stationary, share)
    return transitions, stationary


def check_count(count: int, what: str) -> None:
    """ValueError if so many outcomes are too many."""
    if count > ENUMERATED:
        raise ValueError(f"{what} have {count} outcomes, and theory lists {ENUMERATED} at most: simulate it")
