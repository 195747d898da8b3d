"""MATCHA: matchings of a graph, activated at random within a budget of communication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.dynamics import inputs
from simlab.dynamics.failures import Pattern
from simlab.network import Exchanges, Network, NetworkProcess
from simlab.network.law import Law, Toggles

_GAP = 1e-6  # relative, between the best value found and the bound that proves it; programs are solved to 1e-7
_CUTS = 500


@checks.keywords
def matchings(network: Network, budget: float) -> NetworkProcess:
    """Matchings of a graph, each active at a step with a probability of its own: W_k = I − α Σ_j b_j(k) L_j.

    The M matchings, with Laplacians L_j, cover every link once. Their probabilities maximize λ₂(Σ_j p_j L_j) where
    Σ_j p_j <= budget M, and α minimizes ρ = ||E[WʹW] − 11ʹ/n||₂ [1]_. A link that is not active sends nothing.

    Parameters
    ----------
    network : Network
        Connected, undirected; its weights are not used.
    budget : float
        The share of the communication of all links, 0 < budget <= 1.

    Returns
    -------
    NetworkProcess
        With attributes `edges` (E, 2), `matching` (E,), the number of each edge's matching, `probabilities` (M,),
        `edge_weight` α, `rho`.

    Raises
    ------
    TypeError, ValueError
        `network` is no such network; `budget` is out of range.

    References
    ----------
    .. [1] J. Wang, A. K. Sahu, Z. Yang, G. Joshi, S. Kar, "MATCHA: speeding up decentralized SGD via matching
       decomposition sampling", Indian Control Conference 2019.
    """
    network = inputs.linked("network", network)
    budget = checks.real("budget", budget, above=0.0, maximum=1.0)
    edges, matching = decompose(network)
    laplacians = _laplacians(network.n_nodes, edges, matching)
    probabilities = activation(laplacians, budget)
    edge_weight, rho = best_weight(laplacians, probabilities)
    return Matchings(network, budget, edges, matching, probabilities, edge_weight, rho)


class Matchings(NetworkProcess):
    """See `matchings`."""

    references = ("wang2019matcha",)

    edges: np.ndarray
    matching: np.ndarray
    probabilities: np.ndarray
    edge_weight: float
    rho: float

    def __init__(
        self,
        network: Network,
        budget: float,
        edges: np.ndarray,
        matching: np.ndarray,
        probabilities: np.ndarray,
        edge_weight: float,
        rho: float,
    ) -> None:
        name = f"matchings({network.name}, {budget:g})"
        given: dict[str, Any] = {
            "network": network, "budget": budget, "edges": edges, "matching": matching,
            "probabilities": probabilities, "edge_weight": edge_weight, "rho": rho,
        }  # fmt: skip
        # All links at once have the largest Laplacian.
        largest = np.linalg.eigvalsh(_laplacians(network.n_nodes, edges, matching).sum(axis=0))[-1]
        super().__init__(network.n_nodes, name, smallest_eigenvalue=1.0 - edge_weight * largest, **given)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a matching and step."""
        n, (first, second) = self.n_nodes, self.edges.T
        both = (np.concatenate([first, second]), np.concatenate([second, first]))
        group = sparse.csr_array((np.tile(self.matching + 1.0, 2), both), (n, n))
        off = sparse.csr_array((np.full(2 * len(first), self.edge_weight), both), (n, n))
        pattern = Pattern.of((off + sparse.diags_array(1.0 - off.sum(axis=1))).tocsr())
        link = pattern.rows != pattern.indices
        number = group[pattern.rows[link], pattern.indices[link]].astype(np.int64) - 1

        def draw(steps: int) -> Exchanges:
            active = random.random((steps, len(self.probabilities))) < self.probabilities
            on = np.ones((steps, len(link)), bool)
            on[:, link] = active[:, number]
            receivers = np.add.reduceat(on, pattern.start, axis=1, dtype=np.int64) - 1
            return pattern.exchanges(on, np.ones((steps, n), bool), receivers)

        return draw

    def law(self) -> Law:
        """Each matching by itself."""
        apart = np.eye(self.n_nodes)[self.edges[:, 0]] - np.eye(self.n_nodes)[self.edges[:, 1]]
        of_matching = [apart[self.matching == j].T for j in range(len(self.probabilities))]
        left = tuple(-self.edge_weight * links for links in of_matching)
        return Toggles(np.eye(self.n_nodes), left, tuple(of_matching), self.probabilities)


def decompose(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """The edges (E, 2) of a graph and the number of the matching of each (E,): a greedy colouring of its line graph."""
    import networkx

    rows = np.repeat(np.arange(network.n_nodes), np.diff(network.csr.indptr))
    once = rows < network.csr.indices
    edges = np.stack([rows[once], network.csr.indices[once]], axis=1).astype(np.int64)
    line = networkx.line_graph(networkx.Graph(edges.tolist()))
    colours = networkx.greedy_color(line, strategy="DSATUR")
    by_edge = {tuple(sorted(edge)): colour for edge, colour in colours.items()}
    return edges, np.array([by_edge[tuple(edge)] for edge in edges.tolist()])


def _laplacians(n: int, edges: np.ndarray, matching: np.ndarray) -> np.ndarray:
    """L_j of each matching, (M, n, n)."""
    laplacians = np.zeros((matching.max() + 1, n, n))
    for (i, k), j in zip(edges, matching, strict=True):
        laplacians[j, [i, k], [i, k]] += 1
        laplacians[j, [i, k], [k, i]] -= 1
    return laplacians


def activation(laplacians: np.ndarray, budget: float) -> np.ndarray:
    """The p (M,) that maximize λ₂(Σ p_j L_j) where Σ p_j <= budget M and 0 <= p <= 1.

    λ₂ is the least of the linear functions Σ_j p_j vʹL_j v over unit v orthogonal to 1, so that any v cut off what is
    better than possible: linear programs, whose values prove how far the best p found is from the optimum at most.
    """
    from scipy.optimize import linprog

    m, n = laplacians.shape[:2]
    best, value = np.full(m, budget), -np.inf
    p, cuts, bound = best, np.empty((0, m)), np.inf
    for _ in range(_CUTS):
        values, vectors = np.linalg.eigh(
            np.tensordot(p, laplacians, 1) + 4.0 * m / n
        )  # the ones vector moves to the end
        if values[0] > value:
            best, value = p, values[0]
        below = vectors[:, :-1][:, values[:-1] < bound]
        cuts = np.concatenate([cuts, np.einsum("ia,jik,ka->aj", below, laplacians, below)])
        rows = np.concatenate([np.hstack([-cuts, np.ones((len(cuts), 1))]), [[*np.ones(m), 0.0]]])
        limits = np.concatenate([np.zeros(len(cuts)), [budget * m]])
        found = linprog([*np.zeros(m), -1.0], rows, limits, bounds=[*[(0, 1)] * m, (None, None)])
        p, bound = np.clip(found.x[:m], 0, 1), found.x[m]
        cuts = cuts[cuts @ p < 1.5 * bound]  # the others are far from mattering
        if bound - value <= _GAP * bound:
            break
    return best


def best_weight(laplacians: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """The α that minimizes ρ = ||E[WʹW] − 11ʹ/n||₂, and ρ.

    L_j² = 2 L_j of a matching, so that E[WʹW] = I − 2αL + α²(L² + 2 Σ_j p_j(1 − p_j) L_j) with L = Σ_j p_j L_j.
    """
    from scipy.optimize import minimize_scalar

    n = laplacians.shape[1]
    mean = np.tensordot(probabilities, laplacians, 1)
    square = mean @ mean + 2 * np.tensordot(probabilities * (1 - probabilities), laplacians, 1)

    def rho(alpha: float) -> Any:
        return np.linalg.eigvalsh(np.eye(n) - 1 / n - 2 * alpha * mean + alpha**2 * square)[-1]

    # Convex, and above its value 1 at 0 from 2/λ_max(L) on.
    found = minimize_scalar(rho, bounds=(0, 2 / np.linalg.eigvalsh(mean)[-1]), options={"xatol": 1e-10})
    return float(found.x), float(found.fun)
