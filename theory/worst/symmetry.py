"""Permutations of nodes that leave a problem alone, and the blocks into which matrices fall that commute with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import networkx as nx
import numpy as np
from networkx.algorithms.isomorphism import DiGraphMatcher, categorical_edge_match, categorical_node_match
from scipy.cluster.hierarchy import DisjointSet

CLOSE = 1e-9


class Blocks(NamedTuple):
    """How (n, n) matrices that commute with a group of permutations fall into blocks.

    Attributes
    ----------
    orbit : int array (n,)
        Of each node the first one of its orbit.
    classes : list of ndarrays, shape (c, n, m)
        An orthonormal basis of R^n, in classes: a matrix that commutes is, in each class, the same (m, m) block on all
        of its c copies, and nothing between other parts.
    """

    orbit: np.ndarray
    classes: list[np.ndarray]


def blocks(permutations: list[np.ndarray], n: int) -> Blocks:
    """Of the group that `permutations` of n nodes generate.

    Notes
    -----
    The eigenspaces of a random symmetric matrix that commutes with the group are irreducible; another one connects
    those that are alike (K. Murota, Y. Kanno, M. Kojima, S. Kojima, A numerical algorithm for block-diagonal
    decomposition of matrix *-algebras, Japan J. Industrial and Applied Mathematics 27, 2010).
    """
    pairs = DisjointSet(itertools.product(range(n), repeat=2))
    for p in permutations:
        for i, j in itertools.product(range(n), repeat=2):
            pairs.merge((i, j), (int(p[i]), int(p[j])))
    place = {pair: k for k, subset in enumerate(pairs.subsets()) for pair in subset}
    orbital = np.array([[place[i, j] for j in range(n)] for i in range(n)])
    rng = np.random.default_rng(0)

    def commuting() -> np.ndarray:
        return rng.standard_normal(n * n)[orbital]

    first, second = commuting(), commuting()
    values, vectors = np.linalg.eigh(first + first.T)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * np.max(np.abs(values), initial=1.0)) + 1
    spaces = [vectors[:, part] for part in np.split(np.arange(n), cuts)]
    alike: list[list[np.ndarray]] = []
    for space in spaces:
        for group in alike:
            link = group[0].T @ second @ space
            size = np.linalg.norm(link, 2)
            if space.shape == group[0].shape and size > 1e-7:
                group.append(space @ (link / size).T)
                break
        else:
            alike.append([space])
    classes = []
    for group in alike:
        basis = np.stack(group, axis=-1)  # (n, copies, m)
        check = np.einsum("ncm,np,pdl->cmdl", basis, second, basis)
        scalar = np.einsum("cd,ml->cmdl", np.eye(basis.shape[1]), check[0, :, 0, :])
        if np.max(np.abs(check - scalar)) < CLOSE * n * n:
            classes.append(np.moveaxis(basis, 1, 0))
        else:  # of complex type: in one piece
            classes.append(basis.reshape(n, -1)[None])
    return Blocks(np.array([min(j for j in range(n) if orbital[j, j] == orbital[i, i]) for i in range(n)]), classes)


def automorphisms(weights: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Generators of all permutations p with W[p_i, p_j] = W[i, j] for each matrix W (n, n).

    For every node, and every other one, a permutation that moves the first to the other and no node before the first.
    """
    n = len(weights[0])
    entries = np.round(np.stack(weights, axis=-1).reshape(n * n, -1), 12)
    colors = np.unique(entries, axis=0, return_inverse=True)[1].reshape(n, n)
    edges = [(i, j, {"color": int(colors[i, j])}) for i, j in itertools.permutations(range(n), 2)]

    def marked(nodes: Sequence[int]) -> nx.DiGraph:
        graph = nx.DiGraph()
        marks = {node: k for k, node in enumerate(nodes)}
        graph.add_nodes_from((i, {"color": (int(colors[i, i]), marks.get(i))}) for i in range(n))
        graph.add_edges_from(edges)
        return graph

    found = []
    for first in range(n):
        before = range(first)
        for other in range(first + 1, n):
            matcher = DiGraphMatcher(
                marked([*before, first]),
                marked([*before, other]),
                categorical_node_match("color", None),
                categorical_edge_match("color", None),
            )
            mapping = next(matcher.isomorphisms_iter(), None)
            if mapping is not None:
                found.append(np.array([mapping[i] for i in range(n)]))
    return found
