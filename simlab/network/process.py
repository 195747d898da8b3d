"""Networks that change from step to step: what a run needs of one, and the sample path that it shows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.generators import NETWORK, generator
from simlab.markup import described
from simlab.network.law import Law

#: Of the arrays of exchanges, as NumPy calls them.
KINDS = {"which": "iu", "start": "iu", "rows": "iu", "fires": "b", "receivers": "iu", "indptr": "iu", "indices": "iu"}
KINDS["weights"] = "f"
SUMS = 1e-8  # by which sums of weights may differ from 1


@dataclass(frozen=True, eq=False)
class Exchanges:
    """The communication of K consecutive steps of one replicate: for each a block of rows of its mixing matrix.

    A block has the rows of the nodes that are awake; a node without a row sleeps: it keeps its whole state and sends
    nothing. So an event of two nodes is two rows, however many nodes there are.

    Attributes
    ----------
    which : int array (K,)
        The block of each step; steps may share one.
    start : int array (B + 1,)
        The rows of block b are start[b] to start[b + 1].
    rows : int array (T,)
        The node of each row, ascending within a block.
    fires : bool array (T,)
        Whether the node computes a gradient; one that is awake and does not only exchanges.
    receivers : int array (T,)
        To how many other nodes its messages are sent in each exchange, arriving or not.
    indptr, indices, weights : arrays
        Row t is weights[e] at the nodes indices[e], e from indptr[t] to indptr[t + 1]: those that are awake, itself
        among them wherever its weight is not 0. int64, int32, float64.
    times : float array (K,), optional
        When each step is done, where the network itself keeps the time.
    noise : float array (T,), optional
        Standard deviation of the Gaussian noise that is added to each coordinate of the row's sum, in each exchange
        anew: what comes with all that the node receives. None where nothing is added.
    """

    which: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    fires: np.ndarray
    receivers: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    times: np.ndarray | None = None
    noise: np.ndarray | None = None

    @classmethod
    def of(cls, matrices: Any, awake: Any = None, fires: Any = None, receivers: Any = None) -> Exchanges:
        """Exchanges over given matrices, one a step; for processes of one's own whose n is small.

        Parameters
        ----------
        matrices : array (K, n, n)
            W_k: entry (i, j) is the weight of what i receives from j.
        awake, fires : bool arrays (K, n), optional
            Who takes the step, who computes in it; all unless said. Rows of those asleep are not looked at, and what is
            awake must not weigh them.
        receivers : int array (K, n), optional
            Of each node's messages; unless said those that give it a weight.

        Returns
        -------
        Exchanges

        Raises
        ------
        ValueError
            Shapes that do not fit; a weight of a node that is asleep.
        """
        w = checks.array("matrices", matrices, shape=(None, None, None))
        steps, n, _ = w.shape
        if w.shape[2] != n:
            raise ValueError(f"matrices has shape {w.shape}; pass square ones, (K, n, n)")
        every = np.ones((steps, n), bool)
        given = {"awake": every if awake is None else awake, "fires": every if fires is None else fires}
        up, fired = (_shaped(name, array, (steps, n), bool) for name, array in given.items())
        on = (w != 0) & up[:, :, None]
        if (on & ~up[:, None, :]).any():
            k, i, j = np.argwhere(on & ~up[:, None, :])[0]
            raise ValueError(
                f"matrices[{k}, {i}, {j}] = {w[k, i, j]:.4g} weighs node {j}, which is asleep; put its weight "
                f"elsewhere in the row, such as on node {i} itself"
            )
        if receivers is None:
            receivers = on.sum(axis=1) - np.einsum("kii->ki", on)
        return cls(
            which=np.arange(steps),
            start=np.concatenate([[0], np.cumsum(up.sum(axis=1))]),
            rows=np.nonzero(up)[1].astype(np.int32),
            fires=fired[up],
            receivers=_shaped("receivers", receivers, (steps, n), np.int64)[up],
            indptr=np.concatenate([[0], np.cumsum(on.sum(axis=2)[up])]),
            indices=np.nonzero(on)[2].astype(np.int32),
            weights=w[on],
        )

    def part(self, first: int, last: int) -> Exchanges:
        """Steps `first` to `last` of them."""
        times = None if self.times is None else self.times[first:last]
        return replace(self, which=self.which[first:last], times=times)

    def step(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nodes that are awake in step k, and the structure of their rows: rows, indptr, indices."""
        first, last = self.start[self.which[k]], self.start[self.which[k] + 1]
        indptr = self.indptr[first : last + 1]
        return self.rows[first:last], indptr - indptr[0], self.indices[indptr[0] : indptr[-1]]

    @functools.cached_property
    def drawn(self) -> np.ndarray:
        """Nodes that were awake before each step and before the end, summed over the steps: (K + 1,)."""
        return np.concatenate([[0], np.cumsum(np.diff(self.start)[self.which])])

    @property
    def taken(self) -> np.ndarray:
        """The row of each node that is awake, step after step: (U,)."""
        lengths = np.diff(self.start)[self.which]
        return np.repeat(self.start[self.which] - self.drawn[:-1], lengths) + np.arange(self.drawn[-1])

    @property
    def nodes(self) -> np.ndarray:
        """The nodes that are awake, step after step: (U,)."""
        return self.rows[self.taken]

    def matrix(self, k: int, n_nodes: int) -> sparse.csr_array:
        """W of step k, (n, n); sleeping nodes keep what they have."""
        block = slice(self.start[self.which[k]], self.start[self.which[k] + 1])
        rows = self.rows[block]
        entries = slice(self.indptr[block.start], self.indptr[block.stop])
        asleep = np.ones(n_nodes, bool)
        asleep[rows] = False
        asleep_nodes = np.flatnonzero(asleep)
        lengths = np.diff(self.indptr[block.start : block.stop + 1])
        i = np.concatenate([np.repeat(rows, lengths), asleep_nodes])
        j = np.concatenate([self.indices[entries], asleep_nodes])
        w = np.concatenate([self.weights[entries], np.ones(len(asleep_nodes))])
        return sparse.coo_array((w, (i, j)), (n_nodes, n_nodes)).tocsr()


def _shaped(name: str, array: Any, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    found = np.asarray(array)
    if found.shape != shape:
        raise ValueError(f"{name} has shape {found.shape}, not (K, n) = {shape}; pass an entry a step and node")
    return found.astype(dtype, copy=False)


Walk = Callable[[int], Exchanges]  #: returns the exchanges of the next so many steps


def table(networks: Sequence[Any]) -> Callable[[np.ndarray], Exchanges]:
    """The exchanges of steps over networks that do not change, from the number of the network of each step."""
    n, edges = networks[0].n_nodes, [len(network.csr.indices) for network in networks]
    indptr = [
        network.csr.indptr[:-1] + before for network, before in zip(networks, np.cumsum([0, *edges]), strict=False)
    ]
    stored = (
        n * np.arange(len(networks) + 1),
        np.tile(np.arange(n), len(networks)),
        np.ones(n * len(networks), bool),
        np.concatenate([network.degrees for network in networks]),
        np.concatenate([*indptr, [sum(edges)]]),
        np.concatenate([network.csr.indices for network in networks]),
        np.concatenate([network.csr.values for network in networks]),
    )
    return lambda which: Exchanges(which, *stored)


@dataclass(frozen=True)
class SamplePath:
    """The matrices of some steps of one replicate; ``path[k]`` is W_k as an array (n, n).

    Attributes
    ----------
    n_nodes : int
        n.
    exchanges : Exchanges
        The same as a run stores it.
    """

    n_nodes: int
    exchanges: Exchanges

    def __len__(self) -> int:
        return len(self.exchanges.which)

    def __getitem__(self, k: int) -> np.ndarray:
        if not -len(self) <= k < len(self):
            raise IndexError(f"step {k} is beyond the {len(self)} steps of the path; ask sample for more")
        block = self.exchanges.which[k]
        first, last = self.exchanges.start[block : block + 2]
        rows, indptr = self.exchanges.rows[first:last], self.exchanges.indptr[first : last + 1]
        entries = slice(indptr[0], indptr[-1])
        w = np.eye(self.n_nodes)
        w[rows] = 0.0
        w[np.repeat(rows, np.diff(indptr)), self.exchanges.indices[entries]] = self.exchanges.weights[entries]
        return w

    @property
    def awake(self) -> np.ndarray:
        """Which nodes take part in each step; (steps, n) bool."""
        return self._nodes(np.ones(len(self.exchanges.rows), bool))

    @property
    def fires(self) -> np.ndarray:
        """Which nodes compute a gradient in each step; (steps, n) bool."""
        return self._nodes(self.exchanges.fires)

    @property
    def time(self) -> np.ndarray:
        """When each step is done; its number, from 1 on, where the network keeps no time. (steps,)."""
        times = self.exchanges.times
        return np.arange(1.0, len(self) + 1) if times is None else times

    def _nodes(self, chosen: np.ndarray) -> np.ndarray:
        blocks = np.zeros((len(self.exchanges.start) - 1, self.n_nodes), bool)
        block = np.repeat(np.arange(len(blocks)), np.diff(self.exchanges.start))
        blocks[block[chosen], self.exchanges.rows[chosen]] = True
        return blocks[self.exchanges.which]


def checked_walk(network: Any, random: np.random.Generator) -> Walk:
    """`network.walk(random)`; exchanges of a process of one's own are looked at before an engine runs them unseen.

    Those of simlab's own processes are not: their tests look at them, and every step would pay for it.

    Raises
    ------
    TypeError, ValueError
        From the walk: what it drew is not of so many steps, of other nodes, or not of the kind that `network` says.
    """
    walk = network.walk(random)
    if type(network).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return walk

    def draw(steps: int) -> Exchanges:
        links = walk(steps)
        wrong = fault(network, links, steps)
        if wrong:
            raise (ValueError if isinstance(links, Exchanges) else TypeError)(
                f"{type(network).__name__}.walk drew {wrong}"
            )
        return links

    return draw


def fault(network: Any, links: Any, steps: int) -> str:
    """What is wrong with exchanges of so many steps, and the remedy; empty if nothing is."""
    if not isinstance(links, Exchanges):
        return f"a {type(links).__name__}; return simlab.Exchanges, such as Exchanges.of(matrices)"
    for name, kinds in KINDS.items():
        kind = getattr(getattr(links, name), "dtype", np.dtype(object)).kind
        if kind not in kinds:
            return f"{name} as {type(getattr(links, name)).__name__} of kind {kind!r}; pass an array of kind {kinds!r}"
    if len(links.which) != steps:
        return f"{len(links.which)} steps where {steps} were asked for; draw as many"
    if getattr(network, "keeps_time", False) and (links.times is None or len(links.times) != steps):
        return "no time for each step, and keeps_time is set; return times"
    blocks, n_rows, n_entries = len(links.start) - 1, len(links.rows), min(len(links.indices), len(links.weights))
    noisy, noise = getattr(network, "noisy", False), np.asarray(links.noise)
    if links.noise is not None and not noisy:
        return "noise on what is received; pass noisy=True to NetworkProcess.__init__"
    if noisy and (noise.dtype.kind != "f" or noise.shape != (n_rows,) or not ((noise >= 0) & (noise < np.inf)).all()):
        return f"noise = {links.noise!r}, and noisy is set; give each of the {n_rows} rows a standard deviation"
    if not (len(links.fires) == len(links.receivers) == len(links.indptr) - 1 == n_rows):
        return f"{n_rows} rows with other numbers of fires, receivers or indptr; give each row one"
    for name, values, least, most in (
        ("which", links.which, 0, blocks - 1),
        ("start", links.start, 0, n_rows),
        ("rows", links.rows, 0, network.n_nodes - 1),
        ("indptr", links.indptr, 0, n_entries),
        ("indices", links.indices, 0, network.n_nodes - 1),
    ):
        if len(values) and not least <= values.min() <= values.max() <= most:
            return f"{name} from {values.min()} to {values.max()}; {least} to {most} is in range"
    lengths, ascend = np.diff(links.indptr), np.diff(links.rows) > 0
    ends = links.start[(links.start > 0) & (links.start < n_rows)]
    ascend[ends - 1] = True  # from block to block
    if (np.diff(links.start) < 0).any() or (lengths < 0).any() or not ascend.all():
        return "start, indptr, or rows within a block, that do not ascend; sort them, each node once"
    if not (getattr(network, "asynchronous", False) or links.fires.all()):
        return "nodes that are awake and do not fire; pass asynchronous=True to NetworkProcess.__init__"
    return _fault_of_weights(network, links, lengths) if n_rows else ""


def _fault_of_weights(network: Any, links: Exchanges, lengths: np.ndarray) -> str:
    """What is wrong with the weights of rows of these lengths: who has one, and what they sum to."""
    n_rows, n_nodes = len(links.rows), network.n_nodes
    used = slice(links.indptr[0], links.indptr[-1])
    weights, row = links.weights[used], np.repeat(np.arange(n_rows), lengths)
    # Each node of each block by a number of its own, ascending; of rows that are in no block, too.
    first = np.repeat(np.arange(-1, len(links.start)), np.diff(links.start, prepend=0, append=n_rows)) * n_nodes
    node, column = first + links.rows, first[row] + links.indices[used]
    asleep = np.zeros(1, bool)
    if not (links.start[0] == 0 and links.start[-1] == n_rows == (len(links.start) - 1) * n_nodes):  # some sleep
        place = np.searchsorted(node, column).clip(max=n_rows - 1)
        asleep, column = (node[place] != column) & (weights != 0), place
    if asleep.any():
        e = asleep.argmax()
        return (
            f"a weight {weights[e]:.6g} of node {links.indices[used][e]} in a row of node {links.rows[row[e]]}, in a "
            "step in which it is asleep; put its weight elsewhere in the row"
        )
    for kind, place, other in (("row", row, "column"), ("column", column, "row")):
        if network.stochastic in (kind, "double"):
            sums = np.bincount(place, weights, minlength=n_rows)
            worst = np.abs(sums - 1).argmax()
            if not abs(sums[worst] - 1) < SUMS:
                say = f"double=False, column={other == 'column'} if {other}s do"
                return f"a {kind} whose weights sum to {sums[worst]:.6g}, not 1; scale it, or say {say}"
    return ""


def sample(network: Any, steps: int, seed: int = 0, replicate: int = 0) -> SamplePath:
    """The path of a network or process that a run with this seed sees."""
    steps = checks.integer("steps", steps, minimum=0)
    seed, replicate = checks.integer("seed", seed, minimum=0), checks.integer("replicate", replicate, minimum=0)
    return SamplePath(network.n_nodes, checked_walk(network, generator(seed, replicate, NETWORK))(steps))


class NetworkProcess:
    """A network that changes from step to step, by itself: random, periodic, with events.

    A subclass writes `walk`.

    Parameters
    ----------
    n_nodes : int
        n.
    name : str
        For reports.
    awake : int, optional
        At most so many nodes are awake in a step; all unless said.
    keeps_time : bool, default False
        Whether its exchanges have times.
    double, symmetric : bool, default True
        Whether all its matrices are doubly stochastic, whether they are symmetric.
    column : bool, default False
        Where they are not doubly stochastic: whether their columns sum to 1, or else their rows.
    asynchronous : bool, default False
        Whether there are nodes that are awake and do not fire.
    noisy : bool, default False
        Whether its exchanges have noise on what is received.
    smallest_eigenvalue : float, optional
        A lower bound of the eigenvalues of all its matrices, where they are symmetric; some methods ask for it.
    **given
        What it was built from: attributes, and what its identity is taken from.
    """

    n_nodes: int
    name: str
    awake: int
    keeps_time: bool
    double: bool
    symmetric: bool
    asynchronous: bool
    noisy: bool
    given: dict[str, Any]
    references: tuple[str, ...] = ()
    _column: bool
    _smallest_eigenvalue: float | None

    def __init__(
        self,
        n_nodes: int,
        name: str,
        *,
        awake: int | None = None,
        keeps_time: bool = False,
        double: bool = True,
        symmetric: bool = True,
        column: bool = False,
        asynchronous: bool = False,
        noisy: bool = False,
        smallest_eigenvalue: float | None = None,
        **given: Any,
    ) -> None:
        n_nodes = checks.integer("n_nodes", n_nodes, minimum=1)
        about = {"double": double, "symmetric": symmetric, "asynchronous": asynchronous, "noisy": noisy}
        self.__dict__.update(
            n_nodes=n_nodes, name=name, awake=n_nodes if awake is None else awake, keeps_time=keeps_time, **about,
            _column=column, _smallest_eigenvalue=smallest_eigenvalue,
        )  # fmt: skip
        self.__dict__.update(given, given=given)

    @property
    def stochastic(self) -> str:
        """What sums to 1 in every matrix: "double", "row" or "column"; as of a `Network`."""
        return "double" if self.double else "column" if self._column else "row"

    @property
    def is_symmetric(self) -> bool:
        """Whether all matrices are symmetric."""
        return self.symmetric

    @property
    def smallest_eigenvalue(self) -> float:
        """A lower bound of the eigenvalues of all matrices; ValueError where none is known."""
        if self._smallest_eigenvalue is None:
            raise ValueError(
                f"network = {self!r} has no known smallest eigenvalue; where its matrices are symmetric, pass "
                "smallest_eigenvalue to NetworkProcess.__init__"
            )
        return self._smallest_eigenvalue

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"{attribute} cannot be set: a network is immutable; build another one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: n_nodes={self.n_nodes})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        about = {"nodes": self.n_nodes, "awake at once": self.awake, "W": self.stochastic + " stochastic"}
        given = {name: value for name, value in self.given.items() if isinstance(value, (int, float, str))}
        return described(f"{type(self).__name__}: {self.name}", {**about, **given})

    def walk(self, random: np.random.Generator) -> Walk:
        """Start a sample path: a function that returns the exchanges of the next so many steps.

        It takes its random numbers from `random` in the order of the steps, so that how the steps are cut into calls
        changes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__}.walk is not written; write it (docs/own_network.md)")

    def law(self) -> Law:
        """The law of the matrices, from which `theory.predict` computes what a run must do.

        Returns
        -------
        simlab.network.law.Cycle, Chain or Toggles

        Raises
        ------
        ValueError
            It is not known, or too large to be listed.
        """
        raise ValueError(
            f"network = {self!r} has no law that theory knows; write {type(self).__name__}.law, or simulate"
        )

    def sample(self, steps: int, seed: int = 0, replicate: int = 0) -> SamplePath:
        """The matrices that a run with this seed sees: ``path[k]`` is W_k, (n, n); see `SamplePath`.

        Parameters
        ----------
        steps : int
            How many.
        seed, replicate : int, default 0
            Those of the run.
        """
        return sample(self, steps, seed, replicate)
