"""Partitions of a data set over nodes, from identical to as different as can be."""

from __future__ import annotations

import re
import warnings
from typing import Any, NamedTuple

import numpy as np

from simlab import checks

#: The option of each scheme, and its default.
SCHEMES: dict[str, tuple[str, Any] | None] = {
    "iid": None,
    "sorted": None,
    "shards": ("shards_per_node", 2),
    "dirichlet": ("alpha", 0.5),
    "lognormal": ("sigma", 1.0),
    "zipf": ("exponent", 1.0),
    "classes": ("classes_per_node", 2),
    "column": ("by", None),
}
UNEQUAL = ("lognormal", "zipf", "classes", "column")  #: schemes of unequal amounts by themselves


class Partition(NamedTuple):
    """Samples at nodes: arrays where each has equally many, as unless said otherwise; else tuples of an array a node.

    Attributes
    ----------
    features : ndarray of shape (n_nodes, n_samples, dim), or n_nodes arrays (m_i, dim)
        What `simlab.LeastSquares` and its siblings take.
    targets : ndarray of shape (n_nodes, n_samples), or n_nodes arrays (m_i,)
    indices : ndarray of int, shape (n_nodes, n_samples), or n_nodes arrays (m_i,)
        Which sample of the data set each is: `features[i] = data.features[indices[i]]`.
    dropped : ndarray of int, shape (n_dropped,)
        The samples that are at no node, in increasing order.
    classes : ndarray of str, shape (n_classes,), or None
        The names of labels that were text, sorted; None where targets are numbers.
    """

    features: Any
    targets: Any
    indices: Any
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
    sigma: float | None = None,
    exponent: float | None = None,
    classes_per_node: int | None = None,
    by: Any = None,
    equal: bool = True,
) -> Partition:
    """Partition a data set over nodes: equally many samples at each, or every sample somewhere (``equal=False``).

    Parameters
    ----------
    features : array_like of shape (n_total, dim)
    targets : array_like of shape (n_total,)
        Real targets or labels; whole-numbered labels for the Dirichlet scheme. Labels that are text become 0, 1, ... in
        the order of their names, or -1 and +1 if there are two, as `simlab.LogisticRegression` takes them.
    n_nodes : int
        Number of nodes.
    scheme : str, default "iid"
        - ``"iid"``: at random.
        - ``"sorted"``: sorted by target and cut into `n_nodes` runs: the most heterogeneous one.
        - ``"shards"``: sorted by target and cut into `n_nodes * shards_per_node` equal shards, dealt at random [1]_.
        - ``"dirichlet"``: each node draws its class proportions from a Dirichlet distribution [2]_.
          ``"dirichlet(0.3)"`` is short for ``scheme="dirichlet", alpha=0.3``. With ``equal=False`` each class draws
          from Dirichlet(alpha, ..., alpha) which part of it each node gets [3]_.

        and with ``equal=False`` only:

        - ``"lognormal"``: at random, in amounts proportional to exp(sigma z_i), z_i standard normal.
        - ``"zipf"``: at random, in amounts proportional to 1, 2^-exponent, ..., n^-exponent, dealt at random.
        - ``"classes"``: every node has `classes_per_node` classes, and the nodes of a class share it evenly [3]_.
        - ``"column"``: samples of one value of `by` (a user, a hospital) stay together; values are dealt to nodes, the
          largest first, each to the node that has least so far.
    seed : int, default 0
        Seed of all that is random here, ties among equal targets included.
    alpha : float, default 0.5
        Concentration of the Dirichlet scheme, which alone takes it: towards 0 a node takes one class for as long as it
        lasts; towards infinity all nodes have the proportions of the whole.
    shards_per_node, sigma, exponent, classes_per_node : default 2, 1.0, 1.0, 2
        For the schemes "shards", "lognormal", "zipf" and "classes", each of which alone takes its own.
    by : int or array_like of shape (n_total,)
        For the scheme "column": a column of the features, or a value for each sample.
    equal : bool, default True
        Whether all nodes get equally many samples, and what is over is dropped. False: every sample is at one node, and
        the result holds tuples of arrays; with "iid", "sorted" and "shards" amounts differ by what does not divide
        evenly. Every node gets a sample: one left without takes one from the node that has most.

    Returns
    -------
    Partition
        `features` (n_nodes, n_samples, dim), `targets` and `indices` (n_nodes, n_samples), and `dropped`; with
        ``equal=False`` tuples of arrays, and nothing dropped. Otherwise what does not
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
    .. [3] Li, Diao, Chen, He, Federated Learning on Non-IID Data Silos: An Experimental Study, ICDE 2022.

    Examples
    --------
    >>> import numpy as np
    >>> partition(np.eye(6), [0, 1, 0, 1, 0, 1], n_nodes=2, scheme="sorted").targets
    array([[0, 0, 0],
           [1, 1, 1]])
    """
    options = {"alpha": alpha, "shards_per_node": shards_per_node, "sigma": sigma, "exponent": exponent}
    options |= {"classes_per_node": classes_per_node, "by": by}
    scheme, option = _scheme(scheme, options)
    features = checks.array("features", features, shape=(None, None))
    targets, classes = _encoded(targets)
    checks.array("targets", targets, shape=(len(features),))
    n_nodes = checks.integer("n_nodes", n_nodes, minimum=1)
    rng = np.random.default_rng(checks.seed(seed))
    if scheme == "column":
        option = _groups(option, features)
    if not checks.flag("equal", equal):
        places = _everywhere(scheme, option, targets, n_nodes, rng)
        a, b = (tuple(array[mine] for mine in places) for array in (features, targets))
        return Partition(a, b, places, np.empty(0, np.int64), classes)
    if scheme in UNEQUAL:
        raise ValueError(f"scheme = {scheme!r} gives the nodes unequal amounts; pass equal=False")

    n_parts = n_nodes * option if scheme == "shards" else n_nodes
    n_kept = len(features) // n_parts * n_parts
    if n_kept == 0:
        raise ValueError(_too_few(scheme, n_nodes, n_parts, len(features)))
    kept, dropped = np.split(rng.permutation(len(features)), [n_kept])
    if scheme == "dirichlet":
        indices = _dirichlet(kept, targets, n_nodes, option, rng)
    elif scheme == "iid":
        indices = kept.reshape(n_nodes, -1)
    else:
        indices = kept[np.argsort(targets[kept], kind="stable")].reshape(n_parts, -1)
        if scheme == "shards":
            indices = rng.permutation(indices).reshape(n_nodes, -1)
    if len(dropped):
        warnings.warn(
            f"dropped {len(dropped)} of {len(features)} samples at random, so that each of {n_nodes} nodes has "
            f"{indices.shape[1]}; the result's `dropped` names them, and equal=False keeps them",
            UserWarning,
            stacklevel=3,
        )
    return Partition(features[indices], targets[indices], indices, np.sort(dropped), classes)


def _too_few(scheme: str, n_nodes: int, needed: int, there: int) -> str:
    return (
        f"n_nodes = {n_nodes} with scheme {scheme!r} needs at least {needed} samples, there are {there}; "
        "take fewer nodes or more data"
    )


def _everywhere(
    scheme: str, option: Any, targets: np.ndarray, n_nodes: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Samples of each node, all of them, in unequal amounts."""
    n_total = len(targets)
    n_parts = n_nodes * option if scheme == "shards" else n_nodes
    if n_total < n_parts:
        raise ValueError(_too_few(scheme, n_nodes, n_parts, n_total))
    order = rng.permutation(n_total)
    if scheme in ("sorted", "shards"):
        order = order[np.argsort(targets[order], kind="stable")]
    if scheme in ("lognormal", "zipf"):
        ranks = rng.permutation(n_nodes) + 1.0
        amounts = np.exp(option * rng.standard_normal(n_nodes)) if scheme == "lognormal" else ranks**-option
        return tuple(np.split(order, np.cumsum(_whole(amounts, n_total))[:-1]))
    if scheme in ("iid", "sorted", "shards"):
        parts = np.array_split(order, n_parts)
        dealt = rng.permutation(n_parts).reshape(n_nodes, -1) if scheme == "shards" else np.arange(n_nodes)[:, None]
        return tuple(np.concatenate([parts[k] for k in mine]) for mine in dealt)
    held: list[list[int]] = [[] for _ in range(n_nodes)]
    if scheme == "column":
        sizes = np.bincount(option)
        if len(sizes) < n_nodes:
            raise ValueError(f"by takes {len(sizes)} values, fewer than n_nodes = {n_nodes}; take at most {len(sizes)}")
        for group in np.argsort(-sizes, kind="stable"):
            min(held, key=len).extend(order[option[order] == group])
        return tuple(map(np.array, held))
    labels = _labels(targets)
    values = np.unique(labels)
    if scheme == "classes":
        if option > len(values):
            raise ValueError(f"classes_per_node = {option} exceeds the {len(values)} classes there are; choose less")
        if n_nodes * option < len(values):
            raise ValueError(
                f"classes_per_node = {option} leaves some of the {len(values)} classes at none of n_nodes = {n_nodes}; "
                f"choose at least {-(-len(values) // n_nodes)}"
            )
        # Every class in turn, from a random one on: then each is at equally many nodes, one more or less.
        owners = (np.arange(n_nodes * option) % len(values)).reshape(n_nodes, option)
        owners = rng.permutation(len(values))[owners]
    for k, value in enumerate(values):
        mine = order[labels[order] == value]
        if scheme == "dirichlet":
            cuts = (np.cumsum(rng.dirichlet(np.full(n_nodes, option)))[:-1] * len(mine)).round().astype(int)
            nodes, parts = np.arange(n_nodes), np.split(mine, np.minimum(cuts, len(mine)))
        else:
            nodes = rng.permutation(np.flatnonzero((owners == k).any(axis=1)))
            parts = np.array_split(mine, len(nodes))
        for node, part in zip(nodes, parts, strict=True):
            held[node].extend(part)
    for empty in [mine for mine in held if not mine]:
        empty.append(max(held, key=len).pop())
    return tuple(rng.permutation(mine) for mine in held)


def _whole(amounts: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers, at least 1, that add up to `total` and are as nearly as can be proportional to `amounts`."""
    exact = amounts / amounts.sum() * (total - len(amounts))
    sizes = np.floor(exact).astype(int)
    largest = np.argsort(sizes - exact, kind="stable")[: total - len(amounts) - sizes.sum()]
    sizes[largest] += 1
    return sizes + 1


def _groups(by: Any, features: np.ndarray) -> np.ndarray:
    """The number of each sample's group, 0, 1, ..."""
    if np.ndim(by) == 0 and not isinstance(by, str):
        by = features[:, checks.integer("by", by, minimum=0, maximum=features.shape[1] - 1)]
    values = np.asarray(by)
    if values.shape != features.shape[:1]:
        raise ValueError(f"by has shape {values.shape}, not {features.shape[:1]}; pass a value for each sample")
    return np.unique(values, return_inverse=True)[1]


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


def _scheme(scheme: str, options: dict[str, Any]) -> tuple[str, Any]:
    """The name of a scheme, short ones like "dirichlet(0.3)" too, and its option, both checked."""
    if not isinstance(scheme, str):
        raise TypeError(f"scheme = {scheme!r} is not text; choose one of {', '.join(map(repr, SCHEMES))}")
    if short := re.fullmatch(r"dirichlet\(([^()]*)\)", scheme.replace(" ", "")):
        if options["alpha"] is not None:
            raise ValueError(
                f"alpha = {options['alpha']!r} is given twice, scheme = {scheme!r} holds it too; leave one out"
            )
        try:
            scheme, options["alpha"] = "dirichlet", float(short[1])
        except ValueError:
            raise ValueError(f"scheme = {scheme!r} holds no number; write it like 'dirichlet(0.3)'") from None
    name = checks.one_of("scheme", scheme, SCHEMES)
    option, default = SCHEMES[name] or ("", None)
    for other, value in options.items():
        if value is not None and other != option:
            owner = next(kind for kind, its in SCHEMES.items() if its and its[0] == other)
            raise ValueError(f"{other} = {value!r} belongs to {owner!r}, not to {name!r}; leave it out")
    value = default if options.get(option) is None else options[option]
    if option == "by" and value is None:
        raise ValueError("by = None, and scheme = 'column' needs it; pass a column of features, or a value a sample")
    if option in ("shards_per_node", "classes_per_node"):
        value = checks.integer(option, value, minimum=1)
    elif option in ("sigma", "exponent"):
        value = checks.real(option, value, minimum=0)
    elif option == "alpha":
        value = checks.real(option, value, above=0)
    return name, value


def _labels(labels: np.ndarray) -> np.ndarray:
    fractional = labels[labels != np.round(labels)]
    if len(fractional):
        raise ValueError(f"targets holds {fractional[0]}, which is no class label; pass whole numbers or take 'sorted'")
    return labels


def _dirichlet(
    kept: np.ndarray, targets: np.ndarray, n_nodes: int, alpha: float, rng: np.random.Generator
) -> np.ndarray:
    labels = _labels(targets[kept])
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
