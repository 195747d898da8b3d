"""The network: a mixing matrix, how it is built from a graph, and its spectrum."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.arrays import namespace_of
from simlab.markup import described
from simlab.network import weights as weight_rules
from simlab.network.process import Exchanges, SamplePath, sample, table
from simlab.network.spectrum import Spectrum, second_modulus

# Measured: a dense product is the faster one below about 64 nodes, and above that where a quarter of W is filled.
DENSE_NODES = 64
DENSE_DENSITY = 0.25
STOCHASTIC = ("double", "row", "column")


class CSR(NamedTuple):
    """Mixing weights in compressed rows, the diagonal included, columns sorted, exact zeros dropped."""

    indptr: np.ndarray  # (n + 1,) int64
    indices: np.ndarray  # (nnz,) int32
    values: np.ndarray  # (nnz,) float64


class Network:
    """n nodes and the matrix W by which they average, x⁺ = Wx; immutable.

    W[i, j] is the weight of what node i receives from node j: row i is what i takes, column j where j's messages go.
    W is symmetric and doubly stochastic unless it is built otherwise.

    Build one with `from_graph`, `from_adjacency`, `from_digraph`, `from_matrix` or a function of `simlab.topologies`;
    one that changes from step to step with a function of `simlab.dynamics`.

    Attributes
    ----------
    weights : ndarray or scipy.sparse.csr_array, shape (n_nodes, n_nodes)
        The matrix W: dense up to 64 nodes or where at least a quarter of the entries is not zero, else CSR; read-only.
    stochastic : {"double", "row", "column"}
        What sums to 1: rows and columns, or rows alone, or columns alone.
    is_symmetric : bool
        Whether W is symmetric, to 1e-10.
    mixes : bool
        Whether repeated averaging settles: the graph is (strongly) connected, and W has no other eigenvalue of modulus
        1. Only a member of a network that changes may do without.
    name : str
        What it was built from, for reports.
    """

    weights: np.ndarray | sparse.csr_array
    stochastic: str
    is_symmetric: bool
    mixes: bool
    name: str
    csr: CSR
    _laplacian: tuple[Spectrum, float] | None
    _converted: dict[Any, Any]

    @checks.keywords
    def __init__(
        self,
        w: Any,
        *,
        stochastic: str = "double",
        mixes: bool = True,
        name: str = "matrix",
        laplacian: tuple[Spectrum, float] | None = None,
    ) -> None:
        # laplacian: where I - W = c L, the spectrum of L and c; trusted.
        compressed = weight_rules.compressed("w", w)
        stochastic = weight_rules.check_stochastic(compressed, checks.one_of("stochastic", stochastic, STOCHASTIC))
        symmetric = weight_rules.is_symmetric(compressed)
        required = checks.flag("mixes", mixes)
        try:
            weight_rules.check_connected("w", compressed)
            if not symmetric:
                weight_rules.check_primitive(compressed)
            elif laplacian is None:
                weight_rules.check_convergent(compressed)
            mixes = True
        except ValueError:
            if required:
                raise
            mixes = False
        n_nodes = compressed.shape[0]
        dense = n_nodes <= DENSE_NODES or compressed.nnz >= DENSE_DENSITY * n_nodes**2
        csr = CSR(compressed.indptr.astype(np.int64), compressed.indices.astype(np.int32), compressed.data)
        stored = compressed.toarray() if dense else compressed
        about = {"stochastic": stochastic, "is_symmetric": symmetric, "mixes": mixes, "name": name}
        self.__dict__.update(weights=stored, csr=csr, _laplacian=laplacian, _converted={}, **about)
        self._freeze()

    @classmethod
    @checks.keywords
    def from_graph(cls, graph: Any, weights: str = "metropolis", lazy: bool = False, *, mixes: bool = True) -> Network:
        """Network over a connected undirected networkx graph.

        Parameters
        ----------
        graph : networkx.Graph
            Simple, undirected, connected, n >= 1 nodes. Row i of the states is the i-th node of ``list(graph)``.
            Edge attributes are ignored, and so are self-loops: each node always weighs its own state too.
        weights : {"metropolis", "max_degree", "laplacian", "uniform"}
            The weight rule, see `from_adjacency`.
        lazy : bool, default False
            Use (I + W)/2 in place of W, whose eigenvalues are positive for metropolis, max_degree and uniform weights.
        mixes : bool, default True
            False accepts a graph that is not connected, as a member of a network that changes (`simlab.dynamics`).

        Raises
        ------
        TypeError
            `graph` is not a networkx graph, or `weights` is not a name.
        ValueError
            The graph is directed, a multigraph, empty or disconnected; the rule is unknown; "uniform" on an irregular
            graph.
        """
        import networkx

        if not isinstance(graph, networkx.Graph):
            raise TypeError(
                f"graph of type {type(graph).__name__} is not a networkx graph; "
                "pass networkx.Graph(...), or a matrix to Network.from_adjacency or Network.from_matrix"
            )
        if graph.is_directed():
            raise ValueError(f"graph = {graph} is directed; pass it to Network.from_digraph, or graph.to_undirected()")
        if graph.is_multigraph():
            raise ValueError(f"graph = {graph} is a multigraph; merge parallel edges: pass networkx.Graph(graph)")
        if graph.number_of_nodes() == 0:
            raise ValueError(f"graph = {graph} is empty; pass a graph with at least one node")
        adjacency = networkx.to_scipy_sparse_array(graph, weight=None, dtype=np.float64, format="csr")
        return cls.from_adjacency(adjacency, weights, lazy, mixes=mixes, name=graph.name or "graph")

    @classmethod
    @checks.keywords
    def from_digraph(cls, digraph: Any, weights: str, *, mixes: bool = True) -> Network:
        """Network over a strongly connected directed networkx graph: an edge from u to v means that u sends to v.

        Parameters
        ----------
        digraph : networkx.DiGraph
            Simple, directed, strongly connected, n >= 1 nodes. Row i of the states is the i-th node of
            ``list(digraph)``. Edge attributes and self-loops are ignored, as by `from_graph`.
        weights : {"push", "pull"}
            - "push": each node cuts its state into equal parts, W[v, u] = 1/(1 + out-degree of u): columns sum to 1;
            - "pull": each node averages what it receives, W[v, u] = 1/(1 + in-degree of v): rows sum to 1.
        mixes : bool, default True
            False accepts a graph that is not strongly connected, as a member of a network that changes.

        Raises
        ------
        TypeError
            `digraph` is not a networkx graph.
        ValueError
            The graph is undirected, a multigraph, empty or not strongly connected; the rule is unknown.
        """
        import networkx

        if not isinstance(digraph, networkx.Graph):
            raise TypeError(
                f"digraph of type {type(digraph).__name__} is not a networkx graph; "
                "pass networkx.DiGraph(...), or a matrix to Network.from_matrix"
            )
        if not digraph.is_directed():
            raise ValueError(
                f"digraph = {digraph} is undirected; pass it to Network.from_graph, or digraph.to_directed()"
            )
        if digraph.is_multigraph():
            raise ValueError(
                f"digraph = {digraph} is a multigraph; merge parallel edges: pass networkx.DiGraph(digraph)"
            )
        if digraph.number_of_nodes() == 0:
            raise ValueError(f"digraph = {digraph} is empty; pass a graph with at least one node")
        sends = networkx.to_scipy_sparse_array(digraph, weight=None, dtype=np.float64, format="csr")
        return cls.from_links(sends, weights, mixes=mixes, name=digraph.name or "digraph")

    @classmethod
    @checks.keywords
    def from_links(cls, links: Any, weights: str, *, mixes: bool = True, name: str = "digraph") -> Network:
        """As `from_digraph`, of a matrix: ``links[u, v]`` is not zero where u sends to v; (n, n), dense or sparse."""
        rule = checks.one_of("weights", weights, ("push", "pull"))
        sends = weight_rules.off_diagonal("links", links)
        if checks.flag("mixes", mixes):
            weight_rules.check_connected("digraph", sends)
        received = (sends.T + sparse.eye_array(sends.shape[0])).tocsr()
        axis, stochastic = (0, "column") if rule == "push" else (1, "row")
        share = sparse.diags_array(1.0 / received.sum(axis=axis))
        w = received @ share if rule == "push" else share @ received
        return cls(w, stochastic=stochastic, mixes=mixes, name=f"{name}, {rule} weights")

    @classmethod
    @checks.keywords
    def from_adjacency(
        cls,
        adjacency: Any,
        weights: str = "metropolis",
        lazy: bool = False,
        *,
        mixes: bool = True,
        name: str = "graph",
        laplacian_spectrum: Callable[[], np.ndarray] | None = None,
    ) -> Network:
        """Network over the graph of a symmetric adjacency matrix; fast and lean for millions of nodes.

        Parameters
        ----------
        adjacency : array or scipy.sparse array, shape (n, n)
            Symmetric; entries that are not zero are edges (their values and the diagonal are ignored).
        weights : {"metropolis", "max_degree", "laplacian", "uniform"}
            Weight w_ij of an edge; the diagonal takes the rest of each row. With degrees d_i and Laplacian L:

            - "metropolis": 1/(1 + max(d_i, d_j));
            - "max_degree": 1/(1 + max_k d_k);
            - "laplacian": 2/(lambda_2(L) + lambda_max(L)), the best constant edge weight [1]_ (least `rho`);
            - "uniform": 1/(1 + d), the mean over oneself and one's neighbours; regular graphs only.
        lazy : bool, default False
            Use (I + W)/2 in place of W.
        mixes : bool, default True
            False accepts a graph that is not connected, as a member of a network that changes (`simlab.dynamics`).
        name : str
            For reports.
        laplacian_spectrum : callable, optional
            Returns the n eigenvalues of L where a closed form is known (trusted, used only when needed).

        Raises
        ------
        TypeError, ValueError
            As `from_graph`.

        References
        ----------
        .. [1] L. Xiao and S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53,
           2004.
        """
        if not isinstance(weights, str):
            raise TypeError(
                f"weights of type {type(weights).__name__} is not the name of a rule; pass one of "
                f"{', '.join(map(repr, weight_rules.WEIGHT_RULES))}, or your own mixing matrix to Network.from_matrix"
            )
        rule = weight_rules.WEIGHT_RULES[checks.one_of("weights", weights, weight_rules.WEIGHT_RULES)]
        graph = weight_rules.pattern(adjacency)
        if checks.flag("mixes", mixes):
            weight_rules.check_connected("graph", graph)
        laplacian = Spectrum(weight_rules.laplacian_of(graph), laplacian_spectrum)
        edge = rule(graph, laplacian) * (0.5 if checks.flag("lazy", lazy) else 1.0)
        w = sparse.csr_array((np.broadcast_to(edge, graph.nnz), graph.indices, graph.indptr), graph.shape)
        w = (w + sparse.diags_array(1.0 - w.sum(axis=1))).tocsr()
        # One constant edge weight c means W = I - cL, whose spectrum is L's.
        constant = float(edge) if np.ndim(edge) == 0 else weight_rules.constant(edge)
        known = None if constant is None else (laplacian, constant)
        return cls(w, mixes=mixes, name=f"{name}, {'lazy ' if lazy else ''}{weights} weights", laplacian=known)

    @classmethod
    @checks.keywords
    def from_matrix(cls, w: Any, stochastic: str = "double", *, mixes: bool = True) -> Network:
        """Network with a given mixing matrix, x⁺ = Wx.

        Parameters
        ----------
        w : array or scipy.sparse array, shape (n, n)
            W[i, j] is the weight of what i receives from j; i and j are neighbours where it is not exactly zero. The
            graph is connected, strongly where W is not symmetric (to 1e-10; eigenvalue 1 is simple), and all other
            eigenvalues are of modulus below 1. Negative weights are allowed where W is symmetric.
        stochastic : {"double", "row", "column"}, default "double"
            What sums to 1 (to 1e-10): rows and columns, rows, or columns.
        mixes : bool, default True
            False accepts a graph that is not connected, or other eigenvalues of modulus 1, as a member of a network
            that changes (`simlab.dynamics`).

        Raises
        ------
        TypeError
            `w` is not an array of real numbers.
        ValueError
            `w` is not square, finite, stochastic as said or connected, or an eigenvalue is out of range.
        """
        return cls(w, stochastic=stochastic, mixes=mixes)

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"{attribute} cannot be set: a Network is immutable; build another one")

    @property
    def n_nodes(self) -> int:
        """Number of nodes n."""
        return self.weights.shape[0]

    @functools.cached_property
    def degrees(self) -> np.ndarray:
        """Number of neighbours that each node sends to, itself not counted; shape (n_nodes,), int64."""
        rows = np.repeat(np.arange(self.n_nodes), np.diff(self.csr.indptr))
        return np.bincount(self.csr.indices[rows != self.csr.indices], minlength=self.n_nodes)

    @property
    def n_edges(self) -> int:
        """Number of undirected edges; of directed ones where W is not symmetric."""
        return int(self.degrees.sum()) // (2 if self.is_symmetric else 1)

    @functools.cached_property
    def perron(self) -> np.ndarray:
        """The Perron vector of W, positive with sum 1; shape (n_nodes,).

        Where rows sum to 1 the left one, π'W = π': what W^k tends to is 1π', and DSGD weighs the f_i by it. Where
        columns sum to 1 the right one, Wπ = π: W^k tends to π1', and the weights of push-sum to nπ. 1/n where both do.
        ValueError where W does not mix.
        """
        if self.stochastic == "double":
            return np.full(self.n_nodes, 1.0 / self.n_nodes)
        if not self.mixes:
            raise ValueError(f"network = {self!r} does not mix, and has no Perron vector; pass a connected one")
        return weight_rules.stationary(self._compressed if self.stochastic == "row" else self._compressed.T.tocsr())

    @property
    def _compressed(self) -> sparse.csr_array:
        return sparse.csr_array((self.csr.values, self.csr.indices, self.csr.indptr), (self.n_nodes, self.n_nodes))

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of W, descending from 1; computed when first asked for.

        All n of them up to 2000 nodes, and at any size where a closed form is known: constant edge weights on the
        complete graph, ring, path, star, grid, torus, hypercube and exponential graph of `simlab.topologies`.
        Otherwise the extreme ones only, (1, lambda_2, lambda_n): by Lanczos with the known eigenvector deflated or,
        where factors stay sparse or that stalls (tiny gaps), on a sparse factorization. W is never densified.

        Raises
        ------
        ValueError
            W is not symmetric.
        """
        spectrum, scale = self._complement
        return 1.0 - scale * spectrum.values

    @functools.cached_property
    def _complement(self) -> tuple[Spectrum, float]:
        """A spectrum and the number it is to be multiplied with for that of I - W, ascending from 0.

        Small ones keep the digits that 1 - lambda would lose.
        """
        if self._laplacian is not None:
            return self._laplacian
        if not self.is_symmetric:
            raise ValueError(
                f"network = {self!r} is not symmetric, and its eigenvalues are complex; ask for rho, the second "
                "largest modulus, or pass network.weights to numpy.linalg.eigvals"
            )
        return Spectrum((sparse.eye_array(self.n_nodes) - self._compressed).tocsr()), 1.0

    @property
    def second_eigenvalue(self) -> float:
        """lambda_2, the largest eigenvalue but for the simple 1 (0 for a single node)."""
        spectrum, scale = self._complement
        return 1.0 - scale * spectrum.second if self.n_nodes > 1 else 0.0

    @property
    def smallest_eigenvalue(self) -> float:
        """lambda_n (1 for a single node)."""
        spectrum, scale = self._complement
        return 1.0 - scale * spectrum.largest if self.n_nodes > 1 else 1.0

    @property
    def rho(self) -> float:
        """Mixing rate, the second largest modulus of an eigenvalue.

        Of a symmetric W it is ``max(|lambda_2|, |lambda_n|) = ||W - 11'/n||_2``, by which one exchange shrinks
        disagreement; of another one W^k nears its limit as rho^k.
        """
        return 1.0 - self.spectral_gap

    @functools.cached_property
    def spectral_gap(self) -> float:
        """1 - rho, without its cancellation; lambda_n is computed only where a bound leaves open whether it counts."""
        if self.n_nodes == 1:
            return 1.0
        if not self.is_symmetric:
            return 1.0 - second_modulus(self._compressed, lambda: self.perron, self.stochastic == "row")
        spectrum, scale = self._complement
        second = scale * spectrum.second
        decided = 2.0 - scale * spectrum.largest_bound >= second
        return second if decided else min(second, 2.0 - scale * spectrum.largest)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """The sample path of the process that never changes; see `NetworkProcess.walk`."""
        exchanges = table([self])
        return lambda steps: exchanges(np.zeros(steps, np.int64))

    def sample(self, steps: int, seed: int = 0, replicate: int = 0) -> SamplePath:
        """The sample path that a run sees, W at every step; as of a network that changes (`simlab.dynamics`).

        Parameters
        ----------
        steps : int
            How many.
        seed, replicate : int, default 0
            Those of the run, which change nothing here.
        """
        return sample(self, steps, seed, replicate)

    def mix(self, x: Any) -> Any:
        """W x: each node's weighted average over itself and its neighbours.

        Parameters
        ----------
        x : array of any array-API namespace, shape (..., n_nodes, d)
            Node states, with any leading axes. Floating inputs keep their precision.

        Returns
        -------
        array, shape (..., n_nodes, d)
            In the namespace, on the device and in the dtype of `x`.
        """
        checks.states(x)
        if x.ndim < 2 or x.shape[-2] != self.n_nodes:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, but a network of {self.n_nodes} nodes mixes (..., {self.n_nodes}, d); "
                "put the nodes on the last axis but one"
            )
        weights = self._weights_like(x)
        if isinstance(weights, tuple):
            from simlab.cuda import sparse_product

            return sparse_product(weights, x)
        if not _is_sparse(weights):
            return namespace_of(x).matmul(weights, x)
        if x.ndim == 2:
            return weights @ x
        # A sparse matrix multiplies two-dimensional arrays only: the leading axes become columns.
        by_node = x.swapaxes(-2, 0)
        return (weights @ by_node.reshape(self.n_nodes, -1)).reshape(by_node.shape).swapaxes(-2, 0)

    def sum_neighbours(self, x: Any) -> Any:
        """A x, A the adjacency matrix: each node's sum over its neighbours, itself not among them.

        Parameters
        ----------
        x : array of any array-API namespace, shape (..., n_nodes, d)

        Returns
        -------
        array, shape (..., n_nodes, d)
        """
        return self._adjacency.mix(x)

    @functools.cached_property
    def _adjacency(self) -> Network:
        """The network whose weights are all 1, which mixes nothing: for `sum_neighbours`."""
        linked = self._compressed.copy()
        linked.data = (linked.indices != np.repeat(np.arange(self.n_nodes), np.diff(linked.indptr))).astype(float)
        linked.eliminate_zeros()
        csr = CSR(linked.indptr.astype(np.int64), linked.indices.astype(np.int32), linked.data)
        unweighted = copy.copy(self)
        unweighted.__dict__.update(weights=linked if _is_sparse(self.weights) else linked.toarray(), csr=csr)
        return unweighted

    def _weights_like(self, x: Any) -> Any:
        """W in the namespace, dtype and device of x, kept for the next call."""
        numpy_input = isinstance(x, np.ndarray)
        key = x.dtype if numpy_input else (type(x), str(x.dtype), str(getattr(x, "device", None)))
        if key not in self._converted:
            self._converted[key] = self._convert_numpy(x.dtype) if numpy_input else self._convert(x)
        return self._converted[key]

    def _convert_numpy(self, dtype: np.dtype) -> np.ndarray | sparse.csr_array:
        return self.weights.astype(dtype if dtype.kind == "f" else np.float64, copy=False)

    def _convert(self, x: Any) -> Any:
        from array_api_compat import array_namespace, device, is_cupy_array

        xp = array_namespace(x)
        if is_cupy_array(x) and _is_sparse(self.weights):
            return tuple(xp.asarray(part) for part in (*self.csr[:2], self.csr.values.astype(x.dtype)))
        dense = self.weights if isinstance(self.weights, np.ndarray) else self.weights.toarray()
        return xp.asarray(dense, dtype=x.dtype, device=device(x), copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_converted": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()

    def _freeze(self) -> None:
        """Make the arrays read-only."""
        stored = self.weights
        for part in (*self.csr, *((stored,) if isinstance(stored, np.ndarray) else (stored.indices, stored.indptr))):
            part.flags.writeable = False

    def __repr__(self) -> str:
        storage = "CSR" if _is_sparse(self.weights) else "dense"
        kind = "" if self.is_symmetric else f", {self.stochastic} stochastic"
        # Large spectra are not computed just to print them.
        known = "spectral_gap" in self.__dict__ or self.n_nodes <= 200
        rho = f", rho={self.rho:.6g}" if known else ""
        return f"Network({self.name}: n_nodes={self.n_nodes}, n_edges={self.n_edges}, {storage}{kind}{rho})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        about: dict[str, Any] = {"nodes": self.n_nodes, "links": self.n_edges, "W": self.stochastic + " stochastic"}
        about["degrees"] = f"{self.degrees.min()} to {self.degrees.max()}"
        if "spectral_gap" in self.__dict__ or self.n_nodes <= 200:
            about |= {"rho": self.rho, "spectral gap": 1 - self.rho}
        return described(f"Network: {self.name}", about)


def _is_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "nnz")
