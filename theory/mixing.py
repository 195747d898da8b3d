"""mixing_parameter(network): how much of a disagreement one exchange removes, of networks that change too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simlab import checks
from simlab.network import AnyNetwork, Network, NetworkProcess
from simlab.network.law import Chain, Outcomes, Switches, Toggles, independent
from theory.caching import remembered
from theory.moments.choose import law_of

LARGEST = 1500  # nodes


class Window(NamedTuple):
    """How a network mixes.

    Attributes
    ----------
    steps : int
        Steps in a window: the period of a cycle, 1 of what is drawn anew at each step.
    p : float
        E||PX̃||² <= (1 − p)||X̃||² for the product P over a window, and no smaller p.
    independent : bool
        Whether what is drawn does not depend on what was drawn before.
    all_compute : bool
        Whether every node computes at every step.
    """

    steps: int
    p: float
    independent: bool = True
    all_compute: bool = True


@checks.keywords
def mixing_parameter(network: AnyNetwork) -> float:
    """The parameter p of a network: E||W X̃||² <= (1 − p)||X̃||², X̃ = X − 1x̄ʹ, and no larger p.

    p = 1 − λ_max(E[W̃ʹW̃]) with W̃ = (I − J)W(I − J), J = 11ʹ/n: 1 − ρ² of one fixed symmetric W. In a cycle of draws
    it is that of the product over a period; over a Markov chain that of one step, at a random time.
    Nodes average to an accuracy ε, ||X̃|| <= ε||X̃_0|| in the root mean square, in some 2 log(1/ε)/p windows.

    Parameters
    ----------
    network : Network or NetworkProcess

    Returns
    -------
    float
        In [0, 1] where rows and columns sum to 1.

    Raises
    ------
    TypeError
        It is no network.
    ValueError
        The law of a network is not known, or lists too many outcomes; too many nodes.

    Examples
    --------
    >>> import simlab, theory
    >>> round(theory.mixing_parameter(simlab.dynamics.pairwise(simlab.topologies.complete(5))), 12)  # 1/(n − 1)
    0.25
    """
    remedy = "one of simlab.topologies or simlab.dynamics"
    return mixing_window(checks.instance("network", network, Network | NetworkProcess, remedy)).p


@remembered
def mixing_window(network: AnyNetwork) -> Window:
    """The window over which a network mixes, and its parameter p."""
    if isinstance(network, Network) and network.is_symmetric:
        return Window(1, 1 - network.rho**2)
    n = network.n_nodes
    if n > LARGEST:
        raise ValueError(f"network has {n} nodes, and its p is computed densely, up to {LARGEST}; use a smaller one")
    law = law_of(network)
    rest = np.eye(n) - 1 / n
    if isinstance(law, Switches):
        law = independent(law.outcomes())
    if isinstance(law, Toggles):
        mean = law.mean
        second = mean.T @ rest @ mean
        for p, left, right in zip(law.probabilities, law.left, law.right, strict=True):
            second += p * (1 - p) * right @ (left.T @ rest @ left) @ right.T
        return Window(1, _from(second))
    if isinstance(law, Chain):
        shares = zip(law.stationary, law.modes, strict=True)
        second = sum(share * _squared(outcomes, rest) for share, outcomes in shares)
        return Window(1, _from(second), False, _all_compute(law.modes))
    second = rest
    for outcomes in reversed(law.steps):  # the last matrix is applied last, and outermost
        second = _squared(outcomes, second)
    return Window(len(law.steps), _from(second), True, _all_compute(law.steps))


def _squared(outcomes: Outcomes, inner: np.ndarray) -> np.ndarray:
    """E[Wʹ M W]."""
    return sum(o.probability * o.weights.T @ inner @ o.weights for o in outcomes)


def _all_compute(steps: tuple[Outcomes, ...]) -> bool:
    return all(bool(o.awake.all() and o.fires.all()) for outcomes in steps for o in outcomes)


def _from(second: np.ndarray) -> float:
    rest = np.eye(len(second)) - 1 / len(second)
    return float(1 - np.linalg.eigvalsh(rest @ second @ rest)[-1])
