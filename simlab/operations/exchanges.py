"""What nodes send: to neighbours as it is or compressed, to a server, to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from simlab import checks
from simlab.kernel import Kernel
from simlab.operations.context import presence
from simlab.operations.language import Array, namespace, note, operation
from simlab.protocols import Compressor, Mixing
from simlab.step.batch import Batch, Receivers
from simlab.step.graph import MIXES, Expression, ForeignNounError, Message, Noisy, Unseen, is_given, is_shared
from simlab.step.operation import Operation, add

add(Operation("compress", "row call"))
for _name in MIXES:
    add(Operation(_name, "exchange"))


def mix(network: Mixing | Polynomial, x: Array) -> Array:
    """W x: one exchange with the neighbours, sent at every step, also where a `where` then does not choose it.

    Parameters
    ----------
    network : Network
        What `step` was given; or another one over the same nodes, such as a field of the algorithm: its messages are
        counted along its own edges.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is no network.
    """
    if isinstance(network, Polynomial):
        return network.mix(x)
    if isinstance(x, Expression):
        return _exchange("mix", network, x)
    note("mix", x.shape[-1], network)
    return network.mix(x)


class Polynomial(NamedTuple):
    """A network as a step may pass it to `mix` and `differences`: T_K(W/ρ)/T_K(1/ρ) in place of W, in K exchanges.

    Parameters
    ----------
    network : Network
        What `step` was given.
    rounds : int
        K >= 1.
    rho : number
        0 < ρ <= 1.
    """

    network: Mixing
    rounds: int
    rho: Any

    def mix(self, x: Array) -> Array:
        """By the recursion of Chebyshev's polynomials, each divided by its value at 1/ρ."""
        before, after = x, mix(self.network, x)
        lower, upper = 1.0, 1 / self.rho  # T_0 and T_1 at 1/ρ
        for _ in range(self.rounds - 1):
            lower, upper = upper, 2 / self.rho * upper - lower
            before, after = after, before + 2 * lower / (self.rho * upper) * (mix(self.network, after) - before)
        return after


def differences(network: Mixing | Polynomial, x: Array) -> Array:
    """Rows Σⱼ wᵢⱼ(xⱼ − xᵢ), (W − I)x where rows of W sum to 1: one exchange, which costs what `mix` does.

    It is computed from differences, so that rounding is some eps of how far the nodes are apart, and nothing where they
    agree. That of `mix` is some eps of x for ever: what an algorithm sums up step by step drifts by it.

    Parameters
    ----------
    network : Network
        As in `mix`.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is no network.
    """
    if isinstance(network, Polynomial):
        return network.mix(x) - x if network.rounds > 1 else differences(network.network, x)
    if isinstance(x, Expression):
        return _exchange("differences", network, x)
    note("differences", x.shape[-1], network)
    return _apart(network, x)


def _apart(network: Mixing, x: Array) -> Array:
    apart = x - x[..., :1, :]  # the differences of nodes are those of their differences from one of them
    if getattr(network, "stochastic", "row") == "column":  # rows sum to something else
        sums = getattr(network, "exact_mix", network.mix)(namespace(x).ones_like(x[..., :1]))
        return network.mix(apart) - sums * apart
    return network.mix(apart) - apart


def _exchange(name: str, network: Mixing, x: Expression) -> Expression:
    own = is_given(network, "network")
    parts = ("n_nodes", "csr", "degrees", "mix")
    if not own and (isinstance(network, Unseen) or not all(hasattr(network, part) for part in parts)):
        raise ForeignNounError(f"{name} was given {network!r}, which is no network; pass the one that step was given")
    exchanged = Expression(name, (x,), None if own else network)
    return network.received(exchanged) if isinstance(network, Noisy) else exchanged


def mix_replicas(network: Mixing, x: Array) -> Array:
    """W x where neighbours hold replicas of the rows of x already: nothing is sent.

    A compressed algorithm keeps the replicas up to date with what `compress` returns; those messages are counted there.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("mix_replicas", network, x, lambda: network.mix(x))


def differences_replicas(network: Mixing, x: Array) -> Array:
    """Rows Σⱼ wᵢⱼ(xⱼ − xᵢ) where neighbours hold replicas of the rows of x already: nothing is sent.

    As accurate as `differences`.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("differences_replicas", network, x, lambda: _apart(network, x))


def sum_replicas(network: Any, x: Array) -> Array:
    """Sums of the neighbours' rows, without weights and without the node's own, of replicas: nothing is sent.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("sum_replicas", network, x, lambda: network.sum_neighbours(x))


def _replicas(name: str, network: Mixing, x: Array, of_arrays: Callable[[], Array]) -> Array:
    if not isinstance(x, Expression):
        note(name, x.shape[-1], network)
        return of_arrays()
    if not is_given(network, "network"):
        raise ForeignNounError(
            f"{name} was given {network!r}; replicas are held by the neighbours in the network that step was "
            "given, which the compressed messages reach: pass that one"
        )
    return Expression(name, (x,))


def compress(
    compressor: Compressor, x: Array, batch: Batch, *, to: Receivers = "neighbours", triggered: bool = False
) -> Array:
    """What the receivers of the compressed rows of `x` decode; the messages' bits join the run's traffic.

    Parameters
    ----------
    compressor : Compressor
        See `simlab.compression`.
    x : array (..., n, d)
        Every row is one message.
    batch : Batch
        Its `dither` feeds randomized compressors, in the order of the calls in a step.
    to : {"neighbours", "server", "all"}, default "neighbours"
        Who receives, and so what `bits` counts: a node's neighbours, each; one server, which has the mean of what it
        receives by `average_replicas`; or all n nodes, from the server. Then the rows of `x` are equal, and are one
        message with one dither.
    triggered : bool, default False
        Whether a row of zeros is not sent: it costs nothing, as nodes that wait for a round's end hear silence, too.

    Returns
    -------
    array (..., n, d)
    """
    checks.one_of("to", to, get_args(Receivers))
    if hasattr(compressor, "compose"):  # of other compressors' messages
        dim = x.shape[-1] if not isinstance(x, Expression) else 1 if x.narrow else getattr(batch.dither, "_width", 0)
        return compressor.compose(x, dim, lambda part, v: compress(part, v, batch, to=to, triggered=triggered))
    ledger = batch.ledger if batch.ledger is not None else []
    call = len(ledger)
    if isinstance(x, Expression):
        if not is_given(batch.dither, "batch.dither") or batch.ledger is None:
            raise ForeignNounError(
                "compress was given a batch of its own, which lacks the dither and the ledger of messages; pass the "
                "batch that step was given"
            )
        ledger.append(Expression("compress", (x,), Message(compressor, call, to, triggered)))
        return ledger[call]
    note("compress", x.shape[-1])
    dither = None if batch.dither is None else batch.dither[..., call, :, : x.shape[-1]]
    if dither is not None and is_shared(compressor, to):
        dither = namespace(dither).broadcast_to(dither[..., :1, :], dither.shape)
    sent = compressor.compress(x, dither)
    if not (isinstance(sent, tuple) and len(sent) == 2):
        raise TypeError(
            f"{type(compressor).__name__}.compress returned a {type(sent).__name__}; return two things: what the "
            "receivers decode, and the bits of each message (docs/own_compressor.md)"
        )
    q, bits = sent
    if triggered:
        xp = namespace(x)
        speaks = xp.any(x != 0, axis=-1)
        q, bits = xp.where(speaks[..., None], q, xp.zeros_like(q)), xp.where(speaks, xp.asarray(bits), 0)
    ledger.append((bits, to))
    return q


class _Uniform(NamedTuple):
    """A message that all nodes draw for themselves: its dither."""

    shared = True  # type: ignore[misc]

    def contraction(self, dim: int) -> float:
        raise ValueError("it does not send what it is given")

    def compress(self, x: Array, dither: Array) -> tuple[Array, Array]:
        xp = namespace(x)
        drawn = xp.zeros_like(x) if dither is None else xp.zeros_like(x) + xp.astype(dither[..., :1], x.dtype)
        return drawn, xp.zeros(x.shape[:-1], dtype=xp.int64)

    def kernel(self, dim: int) -> Kernel:
        return Kernel((uniform_row,), ())


def uniform_row(i: int, v: Array, dither: Array, out: Array) -> int:
    """The first number of the dither, in every entry."""
    for j in range(v.size):
        out[j] = dither[0]
    return 0


def common_uniform(x: Array, batch: Batch) -> Array:
    """A random number, uniform on [0, 1), that all nodes draw alike: a common coin. Nothing is sent.

    Parameters
    ----------
    x : array (..., n, d)
        Says of which shape it is; the number is in every entry.
    batch : Batch
        What `step` was given.

    Returns
    -------
    array (..., n, d)
    """
    return compress(_Uniform(), x, batch)  # type: ignore[call-arg]


@operation("average_replicas", "exchange")
def average_replicas(x: Array) -> Array:
    """The mean over nodes of rows that a server holds already: nothing is sent.

    What reaches it is counted where it is sent, by ``compress(..., to="server")``; what it sends to the nodes by
    ``compress(..., to="all")``.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
        The mean in every row.
    """
    xp = namespace(x)
    return xp.zeros_like(x) + xp.mean(x, axis=-2, keepdims=True)


@operation("average", "exchange")
def average(x: Array) -> Array:
    """Exact average over all nodes, in every row: 1 x̄ᵀ. Nodes that sleep take no part.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    note("average", x.shape[-1])
    xp, nodes = namespace(x), presence.get()
    if nodes is None:
        return xp.zeros_like(x) + xp.mean(x, axis=-2, keepdims=True)
    weights = xp.astype(nodes[0], x.dtype)
    total = xp.sum(xp.where(nodes[0], x, xp.zeros_like(x)), axis=-2, keepdims=True)
    return xp.zeros_like(x) + total / xp.sum(weights, axis=-2, keepdims=True)
