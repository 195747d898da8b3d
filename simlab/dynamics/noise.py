"""Noise on what is received: lossy links, quantization that is modelled as noise, the noise that privacy asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from simlab import checks
from simlab.network import AnyNetwork, Exchanges, Network, NetworkProcess
from simlab.network.process import checked_walk


@checks.keywords
def noise(network: AnyNetwork, std: Any) -> AnyNetwork:
    """Node i receives x_j + σ_ij ξ in place of x_j, ξ standard Gaussian, of every other node j; its own x_i is exact.

    ξ is independent for each direction of a link, each coordinate, each step and each exchange of a step: all of what
    `simlab.operations.mix` and `differences` send, push-sum weights too, while exact averages stay exact. A node adds
    up what it receives, so ξ is drawn at once for the sum, with the same law:

        (W x)_i + s_i ζ_i,    s_i² = Σ_{j≠i} (w_ij σ_ij)²,    ζ_i ~ N(0, I_d).

    Costs, and all that `network` itself draws, are as without noise.

    Parameters
    ----------
    network : Network or NetworkProcess
        One that changes, too.
    std : float or array (n, n)
        σ >= 0, in the units of what is sent; entry [i, j] of what i receives from j, the diagonal is not looked at.

    Returns
    -------
    NetworkProcess
        Or `network` as it is, where all of `std` is 0.

    Raises
    ------
    TypeError, ValueError
        `network` is none; `std` is negative, not finite, or of another shape.

    Notes
    -----
    Its `sample` shows the W_k; the s_i are ``sample(...).exchanges.noise``, a number a row. A step that sends the same
    array twice receives it with noise of its own each time. Methods that keep replicas of their neighbours are refused,
    as on all networks that change. No theorem and no prediction is about it: `theory` refuses.

    Examples
    --------
    >>> import simlab
    >>> ring = simlab.topologies.ring(8)
    >>> noisy = simlab.dynamics.noise(simlab.dynamics.link_failures(ring, 0.2), std=1e-3)
    >>> bool((noisy.sample(5, seed=1)[4] == simlab.dynamics.link_failures(ring, 0.2).sample(5, seed=1)[4]).all())
    True
    """
    network = checks.instance(
        "network", network, Network | NetworkProcess, "a simlab.Network, or one of simlab.dynamics"
    )
    given = checks.array("std", std).astype(float)
    if not given.ndim:
        checks.real("std", float(given), minimum=0.0)
    else:
        given = checks.array("std", std, shape=(network.n_nodes, network.n_nodes)).astype(float)
        if given.min() < 0:
            i, j = np.unravel_index(given.argmin(), given.shape)
            raise ValueError(f"std[{i}, {j}] = {given[i, j]:.6g} is negative; pass standard deviations of at least 0")
    return Noise(network, given) if given.any() else network


class Noise(NetworkProcess):
    """See `noise`."""

    network: AnyNetwork
    std: np.ndarray

    def __init__(self, network: AnyNetwork, std: np.ndarray) -> None:
        size = f"{std:g}" if std.ndim == 0 else f"up to {std.max():g}"
        super().__init__(
            network.n_nodes,
            f"noise({network.name}, {size})",
            awake=getattr(network, "awake", None),
            keeps_time=getattr(network, "keeps_time", False),
            double=network.stochastic == "double",
            symmetric=network.is_symmetric,
            column=network.stochastic == "column",
            asynchronous=getattr(network, "asynchronous", False),
            noisy=True,
            network=network,
            std=std,
        )

    @property
    def references(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the network within."""
        return getattr(self.network, "references", ())

    @property
    def smallest_eigenvalue(self) -> float:
        """That of the network within."""
        return self.network.smallest_eigenvalue

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """The path of the network within; `simlab.step.streams` draws the noise, from streams of its own."""
        walk = checked_walk(self.network, random)

        def draw(steps: int) -> Exchanges:
            links = walk(steps)
            s = deviations(links, self.std)
            return replace(links, noise=s if links.noise is None else np.hypot(s, links.noise))

        return draw

    def law(self) -> NoReturn:
        """Refused: the law of the matrices alone does not say what a run does."""
        raise ValueError(
            f"network = {self!r} adds noise to what is received, which theory does not know: simulate it, or ask about "
            "the network without noise"
        )


def deviations(links: Exchanges, std: np.ndarray) -> np.ndarray:
    """s_i of every row of exchanges, (T,); `std` is one number, or (n, n)."""
    row = np.repeat(np.arange(len(links.rows)), np.diff(links.indptr))
    used = slice(links.indptr[0], links.indptr[-1]) if len(links.rows) else slice(0)
    node, other, weights = links.rows[row], links.indices[used], links.weights[used]
    scaled = weights * (std[node, other] if std.ndim else std)
    return np.sqrt(np.bincount(row, np.where(node == other, 0.0, scaled**2), minlength=len(links.rows)))
