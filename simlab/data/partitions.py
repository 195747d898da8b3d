"""Partitions of a data set over nodes, from identical to as different as can be."""

from __future__ import annotations

import re
import warnings
from typing import Any, NamedTuple

import numpy as np

from simlab import checks

SCHEMES = ("iid", "sorted", "shards", "dirichlet")


class Partition(NamedTuple):
    """Samples at nodes, equally many at each.

    Attributes
    ----------
    features : ndarray of shape (n_nodes, n_samples, dim)
        What `simlab.LeastSquares` and its siblings take.
    targets : ndarray of shape (n_nodes, n_samples)
    indices : ndarray of int, shape (n_nodes, n_samples)
        Which sample of the data set each is: `features = data.features[indices]`.
    dropped : ndarray of int, shape (n_dropped,)
        The samples that are at no node, in increasing order.
    classes : ndarray of str, shape (n_classes,), or None
        The names of labels that were text, sorted; None where targets are numbers.
    """

    features: np.ndarray
    targets: np.ndarray
    indices: np.ndarray
    dropped: np.ndarray
    classes: np.ndarray | None = None


@checks.keywords
def partition(
    features: Any,
    targets: Any,
    n_nodes: int,
    scheme: str = "iid",
    seed: int = 0,
    *,
    alpha: float | None = None,
    shards_per_node: int | None = None,
) -> Partition:
    """Partition a data set over nodes, equally many samples at each.

    Parameters
    ----------
    features : array_like of shape (n_total, dim)
    targets : array_like of shape (n_total,)
        Real targets or labels; whole-numbered labels for the Dirichlet scheme. Labels that are text become 0, 1, ... in
        the order of their names, or -1 and +1 if there are two, as `simlab.LogisticRegression` takes them.
    n_nodes : int
        Number of nodes.
    scheme : {"iid", "sorted", "shards", "dirichlet"}, default "iid"
        - ``"iid"``: at random.
        - ``"sorted"``: sorted by target and cut into `n_nodes` runs: the most heterogeneous one.
        - ``"shards"``: sorted by target and cut into `n_nodes * shards_per_node` equal shards, dealt at random [1]_.
        - ``"dirichlet"``: each node draws its class proportions from a Dirichlet distribution [2]_.
          ``"dirichlet(0.3)"`` is short for ``scheme="dirichlet", alpha=0.3``.
    seed : int, default 0
        Seed of all that is random here, ties among equal targets included.
    alpha : float, default 0.5
        Concentration of the Dirichlet scheme, which alone takes it: towards 0 a node takes one class for as long as it
        lasts; towards infinity all nodes have the proportions of the whole.
    shards_per_node : int, default 2
        For the scheme "shards", which alone takes it.

    Returns
    -------
    Partition
        `features` (n_nodes, n_samples, dim), `targets` and `indices` (n_nodes, n_samples), and `dropped`. What does not
        divide evenly is dropped uniformly at random before anything else is done: fewer than `n_nodes` samples, or
        fewer than `n_nodes * shards_per_node` with shards.

    Warns
    -----
    UserWarning
        If samples are dropped; it says how many.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, values are NaN, there are too few samples, the scheme is unknown, an option does not belong
        to the scheme, or the Dirichlet scheme meets targets that are no class labels.

    Notes
    -----
    The Dirichlet scheme: with K classes of frequencies p, node i draws q_i ~ Dirichlet(alpha K p). This is the
    symmetric Dirichlet(alpha) if the classes are balanced, and Dir(alpha' p) of [2]_ with alpha' = alpha K; its mean is
    p in every case. In as many rounds as a node has samples, the nodes in random order take one sample each, without
    replacement, of a class drawn from q_i restricted to the classes that are left. A node whose classes have all run
    out draws its proportions again, over those that are left. So sizes are equal, no sample is used twice, and q_i is
    followed for as long as the supply allows.

    References
    ----------
    .. [1] McMahan, Moore, Ramage, Hampson, Aguera y Arcas, Communication-Efficient Learning of Deep Networks from
       Decentralized Data, AISTATS 2017.
    .. [2] Hsu, Qi, Brown, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification,
       arXiv:1909.06335, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> partition(np.eye(6), [0, 1, 0, 1, 0, 1], n_nodes=2, scheme="sorted").targets
    array([[0, 0, 0],
           [1, 1, 1]])
    """
    scheme, alpha = _scheme(scheme, alpha)
    features = checks.array("features", features, shape=(None, None))
    targets, classes = _encoded(targets)
    checks.array("targets", targets, shape=(len(features),))
    n_nodes = checks.integer("n_nodes", n_nodes, minimum=1)
    rng = np.random.default_rng(checks.seed(seed))
    if shards_per_node is not None and scheme != "shards":
        raise ValueError(f"shards_per_node = {shards_per_node!r} belongs to 'shards', not to {scheme!r}; leave it out")
    shards = checks.integer("shards_per_node", 2 if shards_per_node is None else shards_per_node, minimum=1)

    n_parts = n_nodes * shards if scheme == "shards" else n_nodes
    n_kept = len(features) // n_parts * n_parts
    if n_kept == 0:
        raise ValueError(
            f"n_nodes = {n_nodes} with scheme {scheme!r} needs at least {n_parts} samples, there are {len(features)}; "
            "take fewer nodes or more data"
        )
    kept, dropped = np.split(rng.permutation(len(features)), [n_kept])
    if scheme == "dirichlet":
        indices = _dirichlet(kept, targets, n_nodes, alpha, rng)
    elif scheme == "iid":
        indices = kept.reshape(n_nodes, -1)
    else:
        indices = kept[np.argsort(targets[kept], kind="stable")].reshape(n_parts, -1)
        if scheme == "shards":
            indices = rng.permutation(indices).reshape(n_nodes, -1)
    if len(dropped):
        warnings.warn(
            f"dropped {len(dropped)} of {len(features)} samples at random, so that each of {n_nodes} nodes has "
            f"{indices.shape[1]}; the result's `dropped` names them",
            UserWarning,
            stacklevel=3,
        )
    return Partition(features[indices], targets[indices], indices, np.sort(dropped), classes)


def _encoded(targets: Any) -> tuple[Any, np.ndarray | None]:
    """Labels that are text as numbers, and their names; what is no text as an array, and None."""
    try:
        labels = np.asarray(targets)
    except ValueError:
        return targets, None  # ragged: refused with the other arrays that are none
    if labels.ndim != 1 or not (labels.dtype.kind == "U" or (labels.size and all(isinstance(t, str) for t in labels))):
        return (targets if np.ma.isMaskedArray(targets) else labels), None
    classes, codes = np.unique(labels.astype(str), return_inverse=True)
    return (2 * codes - 1 if len(classes) == 2 else codes), classes


def _scheme(scheme: str, alpha: float | None) -> tuple[str, float]:
    """Split "dirichlet(0.3)" into name and concentration, and check both."""
    if not isinstance(scheme, str):
        raise TypeError(f"scheme = {scheme!r} is not text; choose one of {', '.join(map(repr, SCHEMES))}")
    if short := re.fullmatch(r"dirichlet\(([^()]*)\)", scheme.replace(" ", "")):
        if alpha is not None:
            raise ValueError(f"alpha = {alpha!r} is given twice, scheme = {scheme!r} holds it too; leave one out")
        try:
            scheme, alpha = "dirichlet", float(short[1])
        except ValueError:
            raise ValueError(f"scheme = {scheme!r} holds no number; write it like 'dirichlet(0.3)'") from None
    name = checks.one_of("scheme", scheme, SCHEMES)
    if alpha is not None and name != "dirichlet":
        raise ValueError(f"alpha = {alpha!r} belongs to 'dirichlet', not to {name!r}; leave it out")
    return name, checks.real("alpha", 0.5 if alpha is None else alpha, above=0)


def _dirichlet(
    kept: np.ndarray, targets: np.ndarray, n_nodes: int, alpha: float, rng: np.random.Generator
) -> np.ndarray:
    labels = targets[kept]
    fractional = labels[labels != np.round(labels)]
    if len(fractional):
        raise ValueError(f"targets holds {fractional[0]}, which is no class label; pass whole numbers or take 'sorted'")
    classes, counts = np.unique(labels, return_counts=True)
    supply = [list(kept[labels == c]) for c in classes]
    left = counts.copy()
    concentration = alpha * len(classes) * counts / len(kept)
    proportions = rng.dirichlet(concentration, size=n_nodes)
    indices = np.empty((n_nodes, len(kept) // n_nodes), dtype=kept.dtype)
    for k in range(indices.shape[1]):
        for node in rng.permutation(n_nodes):
            wanted = proportions[node] * (left > 0)
            if not wanted.sum() > 0:
                proportions[node, left > 0] = rng.dirichlet(concentration[left > 0])
                wanted = proportions[node] * (left > 0)
            c = rng.choice(len(classes), p=wanted / wanted.sum())
            indices[node, k] = supply[c].pop()
            left[c] -= 1
    return indices
