"""Rates and limits that hold over a class of functions and a class of networks, by matrix inequalities of small size.

A method is one linear system with two kinds of unknown blocks: gradients, and exchanges. The mean of the nodes and what
sets them apart are two copies of it, which share the multiplier of the gradients: neither n nor d matters.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import null_space

import simlab
from simlab import checks
from simlab.operations import Batch
from simlab.run.settings import check_nouns
from simlab.step.graph import is_algorithm, take_step
from theory.moments.affine import compresses

CALLS = 8  # gradients and exchanges of one step at most
APART, TOGETHER = np.array([0.0, 1.0, -1.0]), np.ones(3)
PRECISION = 1e-6  # of a rate
ROUNDING = 1e-9  # relative: of what has to vanish
UNFELT = 1e-3  # squared, in units: less may be rounding
UNITS = 10.0 ** -np.arange(0, 11, 2)  # in which a bias is looked for, times that of the gradients


class System(NamedTuple):
    """A step as rows over (ξ, u, v): states, gradients, and what exchanges give; without v where nodes agree.

    Attributes
    ----------
    after : ndarray, shape (k, width)
        States after the step; x first.
    points : ndarray, shape (m, width)
        Where gradients are taken.
    sent : ndarray, shape (p, width)
        What is exchanged.
    """

    after: np.ndarray
    points: np.ndarray
    sent: np.ndarray

    @property
    def states(self) -> np.ndarray:
        """Rows that are the states before the step."""
        return np.eye(self.after.shape[1])[: len(self.after)]

    @property
    def gradients(self) -> np.ndarray:
        """Rows that are the gradients."""
        k, m = len(self.after), len(self.points)
        return np.eye(self.after.shape[1])[k : k + m]

    @property
    def received(self) -> np.ndarray:
        """Rows that are what exchanges give."""
        return np.eye(self.after.shape[1])[len(self.after) + len(self.points) :]


class _Blocks:
    """Problem and network of three nodes in one: gradients and exchanges are the next of some vectors."""

    n_samples, stochastic, smallest_eigenvalue = None, "double", -1.0
    n_nodes = 3

    def __init__(self, pattern: np.ndarray, gradients: np.ndarray, exchanges: np.ndarray) -> None:
        self.pattern, self.new = pattern[:, None], (gradients, exchanges)
        self.points: list[np.ndarray] = []
        self.sent: list[np.ndarray] = []

    def _block(self, kind: int, noted: list[np.ndarray], x: np.ndarray) -> np.ndarray:
        for k, point in enumerate(noted):
            if np.array_equal(point, x):
                return np.asarray(self.pattern * self.new[kind][k])
        noted.append(np.array(x))
        if len(noted) > CALLS:
            raise ValueError(f"a step asks for more than {CALLS} gradients or exchanges")
        return np.asarray(self.pattern * self.new[kind][len(noted) - 1])

    def gradient(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        """The next gradient."""
        return self._block(0, self.points, x)

    def mix(self, x: np.ndarray) -> np.ndarray:
        """What nodes that agree have already, else the next vector."""
        return x if self.pattern[0] else self._block(1, self.sent, x)


def system(algorithm: Any, pattern: np.ndarray) -> System:
    """The step of a method where nodes are in this `pattern`."""
    names = algorithm.init(np.zeros((3, 2)))._fields
    k = len(names)
    width = k + 2 * CALLS

    def run(vectors: np.ndarray) -> tuple[np.ndarray, _Blocks]:
        blocks = _Blocks(pattern, vectors[k : k + CALLS], vectors[k + CALLS :])
        state = type(algorithm.init(np.zeros((3, vectors.shape[1]))))(*(pattern[:, None] * row for row in vectors[:k]))
        after = take_step(algorithm, state, blocks, blocks, Batch())  # type: ignore[arg-type]
        return np.stack([np.asarray(field) for field in after]), blocks

    rng = np.random.default_rng(0)
    try:
        fields, blocks = run(np.eye(width))
        vectors = rng.standard_normal((width, 3))
        real, others = run(vectors)
        pairs = zip([*real, *others.points, *others.sent], [*fields, *blocks.points, *blocks.sent], strict=True)
        same = all(np.allclose(a, b @ vectors, rtol=1e-9, atol=1e-9) for a, b in pairs)
    except (TypeError, AttributeError, ValueError) as error:
        raise _refusal(algorithm) from error
    if not same:
        raise _refusal(algorithm)
    m, p = len(blocks.points), len(blocks.sent)
    # A field that stays as it is, and is not read, such as a table without mini-batches, is no state.
    uses = np.count_nonzero([each[1, :k] for each in (*fields, *blocks.points, *blocks.sent)], axis=0)
    states = [j for j in range(k) if j == 0 or uses[j] > 1 or not np.array_equal(fields[j][1], np.eye(width)[j])]
    kept = [*states, *range(k, k + m), *range(k + CALLS, k + CALLS + p)]
    rows = lambda arrays: np.array([a[1, kept] for a in arrays]).reshape(-1, len(kept))  # noqa: E731
    return System(rows(fields[states]), rows(blocks.points), rows(blocks.sent))


def _refusal(algorithm: Any) -> ValueError:
    return ValueError(
        f"algorithm = {algorithm!r} is not one linear step of states, gradients and exchanges over all times (it "
        "compresses, thresholds, has phases, schedules or numbers of nodes); its rate is no matrix inequality: take an "
        "uncompressed form with constant hyperparameters"
    )


class _Quadratics:
    """Quadratic constraints on points and gradients, or on what is sent and received, with their multipliers.

    Parameters
    ----------
    mu, rho : float
    points, exchanges : int
        How many of each there are.
    matrices : int, default 1
        How many W take part in the exchanges, each in as many of them, one after the other.
    """

    def __init__(self, mu: float, rho: float, points: int, exchanges: int, matrices: int = 1) -> None:
        import cvxpy as cp

        self.mu, self.rho = mu, rho
        self.pairs = list(itertools.combinations(range(points + 1), 2))  # the last one is the limit
        self.slopes = cp.Variable(max(len(self.pairs), 1), nonneg=True)
        each = exchanges // matrices
        shape, count = (each, each), matrices if each else 0
        self.sizes = [cp.Variable(shape, PSD=True) for _ in range(count)]
        self.turns = [cp.Variable(shape) if each > 1 else np.zeros(shape) for _ in range(count)]

    def of_gradients(self, y: np.ndarray, u: np.ndarray) -> Any:
        """Σ (Δu − μΔy)(Δy − Δu) over pairs of points, as a matrix; rows y and u (points, width)."""
        y, u = (np.vstack([rows, np.zeros((1, rows.shape[1]))]) for rows in (y, u))
        total: Any = np.zeros((y.shape[1], y.shape[1]))
        for multiplier, (a, c) in zip(self.slopes, self.pairs, strict=False):
            dy, du = y[a] - y[c], u[a] - u[c]
            sector = np.outer(du - self.mu * dy, dy - du)
            total = total + multiplier * (sector + sector.T) / 2
        return total

    def of_exchanges(self, z: np.ndarray, v: np.ndarray) -> Any:
        """ρ²z'Rz − v'Rv with R >= 0, and z'Xv with X = −X', which is zero where W is symmetric."""
        total: Any = np.zeros((z.shape[1], z.shape[1]))
        parts = zip(*(np.split(rows, max(len(self.sizes), 1)) for rows in (z, v)), strict=True)
        for size, turn, (sent, got) in zip(self.sizes, self.turns, parts, strict=False):
            skew = turn - turn.T
            total = total + self.rho**2 * sent.T @ size @ sent - got.T @ size @ got
            total = total + (sent.T @ skew @ got + got.T @ skew.T @ sent) / 2
        return total


def _conserved(together: System) -> np.ndarray:
    """Basis of the states whose conserved combinations are zero, where nodes agree."""
    k = len(together.after)
    stay = null_space((together.after - together.states).T, rcond=1e-9)
    return null_space(stay.T, rcond=1e-9) if stay.size else np.eye(k)


@checks.keywords
def worst_case_rate(algorithm: Any, *, condition_number: float, rho: float, changing: bool = False) -> float:
    """A linear rate that a method has over all functions and networks of a class.

    Whatever n and d, for all 1-smooth f_i that are strongly convex with μ = 1/`condition_number`, and all symmetric W
    with ‖W − 11'/n‖ <= ρ, distances to where the method rests are at most a constant times rate^k.

    Parameters
    ----------
    algorithm : algorithm
        One linear step for all times; step sizes are in units of 1/L.
    condition_number : float
        κ = L/μ >= 1.
    rho : float
        0 <= ρ < 1.
    changing : bool, default False
        Whether each step has another such W. The rate is then of distances between two runs over the same matrices, and
        to a point at which the method rests over all of them.

    Returns
    -------
    float
        The least rate that a quadratic Lyapunov function proves; inf where it proves none.

    Raises
    ------
    ImportError
        Without CVXPY: ``pip install simlab[worst-case]``.
    TypeError, ValueError
        Wrong arguments; a method that is not linear.

    Notes
    -----
    V = η̄'Pη̄ + Σ η̃_i'Qη̃_i is of the mean and of what sets nodes apart, η the states, gradients and exchanges of a step.
    V⁺ <= rate² V and V >= ‖ξ⁺‖² follow from linear matrix inequalities of the size of one node's numbers in two steps,
    which share the multipliers of the gradients: (Δu − μΔy)'(Δy − Δu) >= 0 for each two of the points of two steps and
    the limit, and ρ²z'Rz >= v'Rv, z'Xv = 0 for R >= 0, X = −X' of their exchanges: one R and X for both steps or, where
    W changes, for each. No member of the class need attain the rate: the conditions hold for more than it.

    References
    ----------
    L. Lessard, B. Recht, A. Packard, Analysis and design of optimization algorithms via integral quadratic constraints,
    SIAM J. Optimization 26(1), 2016.

    A. Sundararajan, B. Van Scoy, L. Lessard, Analysis and design of first-order distributed optimization algorithms
    over time-varying graphs, IEEE Trans. Control of Network Systems 7(4), 2020.

    Examples
    --------
    >>> import simlab, theory
    >>> rate = theory.worst_case_rate(simlab.DSGD(lr=0.5), condition_number=10, rho=0.5)
    >>> round(rate, 4)
    0.95
    """
    cp = _cvxpy()
    _checked(algorithm)
    mu, size = _class(condition_number, rho)
    apart, together = system(algorithm, APART), system(algorithm, TOGETHER)
    square, margin = cp.Parameter(nonneg=True), cp.Variable()
    m, p = len(apart.points), len(apart.sent)
    holds = _Quadratics(mu, size, m, p)
    falls = _Quadratics(mu, size, 2 * m, 2 * p, matrices=2 if checks.flag("changing", changing) else 1)
    limits = [margin >= -1.0]
    for s in (together, apart):
        # V is of one step's states, gradients and exchanges η; with the next step's, w = (η, u, v).
        k, width = s.after.shape
        further = np.eye(width - k)
        before = np.eye(width, 2 * width - k)
        after = np.block([[s.after, np.zeros((k, width - k))], [np.zeros((width - k, width)), further]])
        basis = np.eye(2 * width - k)
        if s is together:
            inside = _conserved(s)
            basis = np.zeros((2 * width - k, 2 * width - 2 * k + inside.shape[1]))
            basis[:k, : inside.shape[1]] = inside
            basis[k:, inside.shape[1] :] = np.eye(2 * (width - k))
        start = basis[:width, : basis.shape[1] - (width - k)]
        weight = cp.Variable((width, width), symmetric=True)

        def stacked(rows: np.ndarray, after: np.ndarray = after, before: np.ndarray = before) -> np.ndarray:
            return np.vstack([rows @ after, rows @ before])

        total = after.T @ weight @ after - square * (before.T @ weight @ before)
        total = total + falls.of_gradients(stacked(s.points), stacked(s.gradients))
        large = weight - s.after.T @ s.after - holds.of_gradients(s.points, s.gradients)
        if s is apart:
            total = total + falls.of_exchanges(stacked(s.sent), stacked(s.received))
            large = large - holds.of_exchanges(s.sent, s.received)
        total, large = basis.T @ total @ basis, start.T @ large @ start
        limits.append((total + total.T) / 2 << margin * np.eye(total.shape[0]))
        limits.append((large + large.T) / 2 >> 0)
    program = cp.Problem(cp.Minimize(margin), limits)

    def proven(rate: float) -> bool:
        square.value = rate**2
        return _optimum(program, cp) <= PRECISION / 10

    low, high = 0.0, 1.0
    while not proven(high):
        low, high = high, 2 * high
        if high > 4:
            return math.inf
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if proven(middle) else (middle, high)
    return high


@checks.keywords
def worst_case_bias(algorithm: Any, *, condition_number: float, rho: float, heterogeneity: float = 1.0) -> float:
    """A bound on the limiting bias of a method, over all functions and networks of a class.

    Over the functions and networks of `worst_case_rate`, the root of (1/n) Σ‖x_i − x*‖² at a point where the method
    rests, in units of 1/L, is at most this, for (1/n) Σ‖∇f_i(x*)‖² <= b².

    Parameters
    ----------
    algorithm : algorithm
    condition_number, rho : float
        As of `worst_case_rate`.
    heterogeneity : float, default 1.0
        b, to which the bound is proportional.

    Returns
    -------
    float
        The least bound that quadratic constraints prove: 0 for methods with exact limits, inf where they prove none.

    Raises
    ------
    ImportError
        Without CVXPY: ``pip install simlab[worst-case]``.
    TypeError, ValueError
        Wrong arguments; a method that is not linear.

    Examples
    --------
    >>> import simlab, theory
    >>> bias = theory.worst_case_bias(simlab.DSGD(lr=0.1), condition_number=10, rho=0.5)
    >>> bias > 0.1 * 0.5 / (1 - 0.5)  # first order
    True
    """
    cp = _cvxpy()
    b = checks.real("heterogeneity", heterogeneity, minimum=0.0)
    _checked(algorithm)
    mu, size = _class(condition_number, rho)
    apart, together = system(algorithm, APART), system(algorithm, TOGETHER)
    known = _Quadratics(mu, size, len(apart.points), len(apart.sent))
    # Where nodes agree, g* has no part.
    inside = _conserved(together)
    k, width = together.after.shape
    allowed = np.zeros((width, inside.shape[1] + width - k))
    allowed[:k, : inside.shape[1]] = inside
    allowed[k:, inside.shape[1] :] = np.eye(width - k)
    rest = _meet(null_space(together.after - together.states, rcond=1e-9), allowed)
    error = np.outer(together.states[0], together.states[0])
    mean = rest.T @ (error + known.of_gradients(together.points, together.gradients)) @ rest
    # Where they differ it is one vector more, u = g* + what the sector allows.
    width = apart.after.shape[1] + 1
    star = np.eye(width)[-1]
    square, exact = cp.Variable(nonneg=True), _is_exact(apart)
    for unit in UNITS:  # of all that the sector and the exchanges relate, until the bias is no rounding
        scale = np.diag([*np.full(width - 1, unit), 1.0])
        scale[k : k + len(apart.points), -1] = 1.0
        after, states, points, sent, gradients, received = (
            np.pad(rows, ((0, 0), (0, 1))) @ scale / unit
            for rows in (apart.after, apart.states, apart.points, apart.sent, apart.gradients, apart.received)
        )
        still = null_space(after - states, rcond=1e-12)
        between = np.outer(states[0], states[0]) - square * np.outer(star, star)
        between = between + known.of_gradients(points, gradients - star / unit) + known.of_exchanges(sent, received)
        between = still.T @ between @ still
        limits = [(each + each.T) / 2 << 0 for each in (mean, between) if each.shape[0]]
        found = _optimum(cp.Problem(cp.Minimize(square), limits), cp)
        if math.isfinite(found) and exact:
            return 0.0
        if UNFELT < found < math.inf:
            return float(b * unit * math.sqrt(found))
    return math.inf


def _is_exact(apart: System) -> bool:
    """Whether x = x* is at rest whatever the gradients g* there are: u = g* is, where nothing else differs."""
    still = np.vstack([apart.after - apart.states, apart.points, apart.sent, apart.received])
    forced = still @ apart.gradients.sum(axis=0)  # all gradients are g*, of length 1
    others = still[:, : len(apart.after)]
    left = forced - others @ np.linalg.lstsq(others, forced, rcond=None)[0]
    return bool(np.linalg.norm(left) <= ROUNDING * np.linalg.norm(forced))


def _meet(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what lies in the spans of both."""
    both = null_space(np.hstack([one, -other]), rcond=1e-9)
    q, r = np.linalg.qr(one @ both[: one.shape[1]]) if both.size else (np.zeros((len(one), 0)), np.zeros((0, 0)))
    return q[:, np.abs(np.diag(r)) > 1e-9]


def _optimum(program: Any, cp: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inaccurate solutions: margins are larger
        try:
            program.solve(solver=cp.CLARABEL)
        except cp.SolverError:
            return math.inf
    return float(program.value) if program.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE) else math.inf


def _cvxpy() -> Any:
    try:
        import cvxpy as cp
    except ImportError as missing:
        raise ImportError("rates over classes need cvxpy and Clarabel; install simlab[worst-case]") from missing
    return cp


def _checked(algorithm: Any) -> Any:
    if is_algorithm(algorithm) and any(compresses(value) or callable(value) for value in algorithm):
        raise _refusal(algorithm)
    pair = simlab.Quadratic(np.ones((2, 1)), np.zeros((2, 1)))
    check_nouns(pair, simlab.topologies.complete(2), [algorithm])
    return algorithm


def _class(condition_number: Any, rho: Any) -> tuple[float, float]:
    """μ and ρ."""
    kappa = checks.real("condition_number", condition_number, minimum=1.0)
    return 1 / kappa, checks.real("rho", rho, minimum=0.0, below=1.0)
