"""Spectral gaps in closed form: the ring, and the directed static exponential graph.

Ring of n >= 4 nodes with all weights 1/3: 1 − ρ = (2/3)(1 − cos(2π/n)); n = 3 gives 1 by the same formula. Directed
static exponential graph, node i averaging itself and i + 2^j mod n for 2^j < n with equal weights: W is doubly
stochastic and normal but not symmetric, ρ = ‖W − J‖₂, and 1 − ρ = 2/(1 + ⌈log₂n⌉) for even n, more for odd n > 1.

Constants: derived. Both matrices are circulant. The ring has eigenvalues (1 + 2cos(2πk/n))/3, the largest at k = 1
and, from n = 4 on, larger than 1/3, the most a negative one can be in size. The exponential graph has (1 + Σ_j
ω^{k2^j})/(1 + ⌈log₂n⌉), ω = exp(2πi/n); at k = n/2 all terms are 1 but that of j = 0, so that ρ >= (⌈log₂n⌉ −
1)/(⌈log₂n⌉ + 1). That no other k comes nearer to 1 is the cited theorem, checked in the tests for every n up to 4096.

Reference: B. Ying et al., Exponential graph is provably efficient for decentralized deep training, NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab.trace import Trace
from theory.theorems.theorem import Check, Setting, Theorem, nouns
from theory.transfer import LARGEST, modes, require_fixed_symmetric


def assumptions(setting: Setting) -> list[Check]:
    """The network is a ring of at least three nodes with all weights 1/3."""
    network = setting.network
    ring = network.n_nodes >= 3 and bool(np.all(network.degrees == 2))
    checks = [Check("ring", ring, f"{network.name}; every node has two neighbours on a ring")]
    if ring:
        weights = network.csr.values
        equal = bool(np.allclose(weights, 1 / 3, rtol=1e-12, atol=0)) and len(weights) == 3 * network.n_nodes
        checks.append(Check("weights 1/3", equal, f"weights from {weights.min():.4g} to {weights.max():.4g}"))
    return checks


def constants(setting: Setting) -> dict[str, Any]:
    """The number of nodes."""
    return {"n_nodes": setting.network.n_nodes}


def ring_gap(n_nodes: Any) -> Any:
    """(2/3)(1 − cos(2π/n)), n >= 3, without the cancellation."""
    return 4 / 3 * np.sin(np.pi / np.asarray(n_nodes)) ** 2


def exponential_gap(n_nodes: Any) -> Any:
    """2/(1 + ⌈log₂n⌉): the gap for even n, a lower bound for odd n > 1."""
    return 2 / (1 + np.ceil(np.log2(n_nodes)))


def directed_exponential(n_nodes: int) -> np.ndarray:
    """Mixing matrix of the directed static exponential graph, (n, n)."""
    hops = (n_nodes - 1).bit_length()
    weights = np.zeros((n_nodes, n_nodes))
    nodes = np.arange(n_nodes)
    for offset in [0, *(1 << j for j in range(hops))]:
        weights[nodes, (nodes + offset) % n_nodes] += 1 / (1 + hops)
    return weights


def measured_gap(trace: Trace) -> np.ndarray:
    """1 − ρ by a dense eigendecomposition of the weights; as the network computes it where they are too large."""
    network = require_fixed_symmetric(nouns(trace)[1])
    if network.n_nodes > LARGEST:
        return np.array([network.spectral_gap])
    return np.array([1 - np.max(np.abs(modes(network).values))])


RING = Theorem(
    "ring gap",
    "1 - ρ = (2/3)(1 - cos(2π/n)) for a ring with weights 1/3",
    "Derived; Ying et al., NeurIPS 2021, for the exponential graph",
    assumptions,
    constants,
    ring_gap,
    measured_gap,
    "==",
    random=False,
)

THEOREMS = (RING,)
