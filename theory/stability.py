"""Step sizes at which an algorithm converges: intervals between which nothing is missed.

In fixed units of its buffers, a step is T(γ) = A + γB: affine in the step size. So no grid of step sizes is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise, product
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.arrays import one_thread_of_blas
from simlab.network import AnyNetwork
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from theory.moments.affine import AffineStep, Surrogate, narrow_fields
from theory.moments.budget import Budget
from theory.moments.choose import ChangingMoments, changing_moments
from theory.moments.krylov import Krylov
from theory.moments.linear import Stein, spectral_radius, without_conserved
from theory.moments.modes import Modes
from theory.moments.noise import Noise
from theory.moments.protocol import Moments
from theory.prediction import UNDECIDED, changes, check_nouns, fixed, long_run, represent

LEAST, MOST = 1e-6, 1e9  # times 1/L: where the search begins, and where it ends if instability is not proved before
PROOFS = 3000  # at most, then the walk goes on without
SEARCH = 3e12  # multiplications spent on one search: some two minutes of one core
RATE, PROOF = 25.0, 375.0  # s³ multiplications, as measured: the eigenvalues at one step size; a proof
FARTHEST = 8  # circles around which instability up to infinity is tried
COARSE = 0.01  # steps without proof, relative; up to RATIO - 1 where that is too dear
ORIGIN = -0.7318  # any γ < 0 at which no two eigenvalues have product 1
WINDOW = 1e-10  # relative: intervals of step sizes that are narrower may be missed
RATIO = 1.05  # of a grid of step sizes, where nothing better is known
CHANGING_RATIO = 1.25  # the same where the step changes, and a rate is dear
LIFTED = 420  # second moments (of all phases and modes) up to which those step sizes are roots of a polynomial

Intervals = list[tuple[float, float]]


@checks.keywords
def stable_intervals(problem: Problem, network: AnyNetwork, algorithm: Algorithm) -> Intervals:
    """All intervals of step sizes at which the noiseless algorithm converges.

    At their ends an eigenvalue of the step (without conserved quantities) crosses the unit circle. Where all Hessians
    are equal, these crossings are the roots of polynomials in γ, one for each mode: det(T ⊗ T − I) = 0 on symmetric
    matrices. Otherwise the search walks along γ. At each γ it has a quadratic form P with P − T'PT > 0, positive
    definite where T is stable, indefinite where it is not (Lyapunov, Stein), and with it the exact interval of γ in
    which that inequality, and so what it proves, persists; the next γ lies in it. Past the last γ, P proves instability
    up to infinity. What may be missed are intervals narrower than 1e-10 of their step size, or below 1e-6/L.

    Where eigenvalues keep so near to the circle that 3000 steps do not end the walk (momentum 0.999, condition numbers
    of 1e8), or where these would take more than some two minutes (from some 300 states on), it goes on in steps of 1 %
    to 5 % without proof, and warns from where. Beyond some 700 states that is too dear as well, and is refused at once.

    Two cases are not covered: steps that are not affine in lr, in whatever units of buffers (none of this package), and
    more than 2000 states with unequal Hessians, whose rate is iterated. There the rate is computed on a grid of ratio
    1.05 from 0.001/L to 100/L and its crossings refined: narrower intervals are missed.

    On networks that change, and of steps with phases, stable means in mean square, see `predict`. The step of second
    moments is M(γ) = M₀ + γM₁ + γ²M₂ and keeps them positive semidefinite, so that its spectral radius is an eigenvalue
    (Krein and Rutman): where it crosses 1, det(I − M(γ)) = 0, and as above no crossing is missed. That holds up to 420
    second moments (k(k + 1)/2 of k states, times phases and modes; of one eigenvector at a time if all Hessians are
    equal). Beyond, the rate is computed on a grid of ratio 1.25 from 0.001/L to 100/L and its crossings refined:
    narrower intervals are missed.

    Parameters
    ----------
    problem : Problem
        Quadratics; of other convex problems the Hessians at the minimizer are taken (a first-order statement).
    network : Network or NetworkProcess
    algorithm : algorithm
        Its `lr` is not used, its other parameters are.

    Returns
    -------
    list of (float, float)
        Open intervals (low, high), ascending; low is 0 where all smaller step sizes are stable, high may be infinity.
        Empty if no step size is stable.

    Raises
    ------
    ValueError
        All Hessians are zero, the algorithm has no `lr`, or the search would take far longer than two minutes.

    References
    ----------
    A. Ostrowski, H. Schneider, Some theorems on the inertia of general matrices, J. Math. Analysis and Applications
    4(1), 1962.

    Examples
    --------
    >>> import simlab, theory
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=20, dim=3, seed=0)
    >>> found = theory.stable_intervals(problem, simlab.topologies.ring(6), simlab.DecentLaM(lr=0.1))
    >>> [(round(low, 3), round(high, 3)) for low, high in found]
    [(0.0, 0.665), (0.983, 1.133), (1.664, 2.875)]
    """
    return list(_intervals(problem, network, algorithm))


@checks.keywords
def stability_limit(problem: Problem, network: AnyNetwork, algorithm: Algorithm) -> float:
    """Step size below which every one is stable: the end of the first of `stable_intervals`, if that begins at 0.

    Larger step sizes may be stable again, see there; how far the search is to be trusted stands there, too.

    Parameters
    ----------
    problem : Problem
        Quadratics; of other convex problems the Hessians at the minimizer are taken (a first-order statement).
    network : Network or NetworkProcess
    algorithm : algorithm
        Its `lr` is not used, its other parameters are.

    Returns
    -------
    float
        0 if small step sizes are not stable, infinity if all are stable.

    Raises
    ------
    ValueError
        All Hessians are zero, or the algorithm has no `lr`.

    Examples
    --------
    >>> import simlab, theory
    >>> problem = simlab.Quadratic([[[2.0]], [[2.0]]], [[1.0], [-1.0]])
    >>> round(theory.stability_limit(problem, simlab.topologies.complete(2), simlab.PmSGD(lr=1.0, momentum=0.5)), 6)
    1.5
    """
    low, high = next(_intervals(problem, network, algorithm), (0.0, 0.0))
    return high if low == 0 else 0.0


def _intervals(problem: Problem, network: AnyNetwork, algorithm: Algorithm) -> Iterator[tuple[float, float]]:
    """The intervals of `stable_intervals`, each when it is asked for."""
    start = check_nouns(problem, network, algorithm)
    require_lr(algorithm)
    unit = unit_of_lr(problem)
    surrogate = surrogate_of(problem)
    found: Iterable[tuple[float, float]]
    if changes(network, algorithm, start):

        def changing(lr: float) -> ChangingMoments:
            return changing_moments(surrogate, network, algorithm._replace(lr=lr), start, additive=True)

        found = _in_mean_square(changing, algorithm, unit, Noise(problem, None, 0.0))
        return ((low * unit, high * unit) for low, high in found)

    def moments(lr: float) -> Any:
        return represent(AffineStep(surrogate, fixed(network), algorithm._replace(lr=lr), start))

    pencil = _pencil(moments(unit), unit)
    if pencil is not None and pencil.base.ndim == 2:
        _check_cost(len(pencil.base))
    if pencil is None:
        found = _by_grid(lambda factor: moments(factor * unit).rate)
    else:
        found = _of_matrix(pencil) if pencil.base.ndim == 2 else _of_modes(pencil)
    return ((low * unit, high * unit) for low, high in found)


def _check_cost(states: int) -> None:
    """CostError if not even a walk without proofs is affordable."""
    cube = float(states) ** 3
    steps = np.log(100.0 / 1e-3) / (RATIO - 1)
    Budget(SEARCH).check(
        cube * (FARTHEST * PROOF + steps * RATE),
        f"finding the stable step sizes of {states} states with unequal Hessians (theory.predict(...).rate has the "
        "rate at one step size)",
    )


def surrogate_of(problem: Problem) -> Surrogate:
    """The problem's quadratics, or those that touch it at the minimizer."""
    if problem.is_quadratic:
        return Surrogate.of(problem)
    return Surrogate.at(problem, np.tile(problem.known_minimizer, (problem.n_nodes, 1)))


def unit_of_lr(problem: Problem) -> float:
    """1/L."""
    if problem.smoothness == 0:
        raise ValueError(
            f"problem = {problem!r} has Hessians of zero, which limit no step size; pass one with curvature"
        )
    return 1.0 / float(problem.smoothness)


def require_lr(algorithm: Algorithm) -> None:
    """ValueError unless the algorithm has a step size of that name."""
    if "lr" not in algorithm._fields:
        raise ValueError(f"algorithm = {algorithm!r} has no field lr; name its step size so")


class Pencil(NamedTuple):
    """T(γ) = A + γB without what it conserves at every γ; (s, s), or (modes, k, k). Here and below γ is in 1/L."""

    base: np.ndarray
    slope: np.ndarray

    def at(self, lr: Any) -> np.ndarray:
        """T(γ), for one γ or one for each mode."""
        return self.base + np.asarray(lr)[..., None, None] * self.slope

    def rate(self, lr: float) -> float:
        """Spectral radius at one γ."""
        return spectral_radius(self.at(lr))

    def least(self) -> float:
        """Where a search begins: the first γ, from `LEAST`, at which the rate can be told from 1."""
        lr = LEAST
        while lr < 0.01 and abs(self.rate(lr) - 1) <= UNDECIDED:
            lr *= 4
        return lr


def _pencil(moments: Moments, unit: float) -> Pencil | None:
    """A and B, if T is affine in γ where some fields of the state are measured in units of 1/γ; else None.

    In other units what is conserved may depend on γ: those in which most is conserved at every γ are the ones to take.
    """
    if isinstance(moments, Krylov):
        return None
    step: AffineStep = moments.step
    best, most = None, -1
    for powers in product((0, 1), repeat=len(step.fields) - 1):

        def transition(factor: float, powers: tuple[int, ...] = powers) -> np.ndarray:
            algorithm = step.algorithm._replace(lr=factor * unit)
            other = step.rescaled(algorithm, factor ** -np.array([0.0, *powers]))
            if isinstance(moments, Modes):
                matrices = Modes(other, moments.graph).transition
                return matrices.reshape(-1, *matrices.shape[-2:])
            return other.matrix()

        one, two, four = (transition(factor) for factor in (1.0, 2.0, 4.0))
        if np.max(np.abs(four - 3 * two + 2 * one)) <= 1e-12 * np.max(np.abs(four)):
            base, slope, rank = without_conserved(2 * one - two, two - one)
            if rank > most:
                best, most = Pencil(base, slope), rank
    return best


def _by_grid(rate: Callable[[float], float]) -> Intervals:
    """Intervals between those points of a grid at which `rate` crosses 1, the crossings refined."""
    lrs = np.exp(np.arange(np.log(1e-3), np.log(100.0), np.log(RATIO)))
    stable = np.array([rate(lr) < 1 for lr in lrs])
    changes = np.flatnonzero(stable[1:] != stable[:-1])
    return _paired([_crossing(rate, lrs[i], lrs[i + 1]) for i in changes], bool(stable[0]))


def _crossing(rate: Callable[[float], float], low: float, high: float, rtol: float = 1e-13) -> float:
    """Where `rate` crosses 1 between two step sizes on different sides."""
    from scipy.optimize import brentq

    def excess(lr: float) -> float:
        return min(rate(lr) - 1.0, 1e6)

    if excess(low) * excess(high) >= 0:
        return (low + high) / 2
    return float(brentq(excess, low, high, xtol=1e-300, rtol=rtol))


def _paired(ends: list[float], stable_at_first: bool) -> Intervals:
    """Intervals that end and begin by turns at `ends`, up to infinity."""
    ends = [0.0, *ends] if stable_at_first else ends
    ends = [*ends, np.inf] if len(ends) % 2 else ends
    return list(zip(ends[::2], ends[1::2], strict=True))


# Many small matrices: the crossings as roots of polynomials.


def _of_modes(pencil: Pencil) -> Intervals:
    """Intervals in which every one of many small matrices (modes, k, k) is stable."""
    least = pencil.least()
    crossings = _polynomial_roots(pencil, least)
    # A point below the first crossing of a mode, between neighbours, and beyond the last.
    bounds = np.column_stack([np.full(len(crossings), least), crossings, np.full(len(crossings), np.inf)])
    last = np.where(np.isfinite(bounds), bounds, 0.0).max(axis=1, keepdims=True)
    probes = np.where(np.isfinite(bounds[:, 1:]), np.sqrt(bounds[:, :-1]) * np.sqrt(bounds[:, 1:]), 2 * last)
    stable = np.max(np.abs(np.linalg.eigvals(pencil.at(probes.T))), axis=-1).T < 1
    # Going up, a mode that ceases to be stable adds one to the number of unstable modes.
    change = stable[:, :-1].astype(int) - stable[:, 1:]
    change[~np.isfinite(crossings)] = 0
    where = np.nonzero(change)
    where = tuple(axis[np.argsort(crossings[where])] for axis in where)
    unstable = int(np.sum(~stable[:, 0])) + np.concatenate([[0], np.cumsum(change[where])])
    ends = []
    for i in np.flatnonzero((unstable[1:] == 0) != (unstable[:-1] == 0)):
        mode, lr = where[0][i], crossings[where][i]
        of_mode = Pencil(pencil.base[mode], pencil.slope[mode])
        ends.append(_crossing(of_mode.rate, lr * (1 - 1e-7), lr * (1 + 1e-7)))
    return [pair for pair in _paired(ends, bool(unstable[0] == 0)) if pair[1] > pair[0] * (1 + WINDOW)]


def _polynomial_roots(pencil: Pencil, least: float) -> np.ndarray:
    """γ > `least` where two eigenvalues have product 1, ascending, padded by infinity: (modes, roots).

    On symmetric matrices S -> TST' has the eigenvalues λᵢλⱼ, i <= j, once each, and is quadratic in γ.
    """
    here, slope = pencil.at(ORIGIN), pencil.slope
    squares = _symmetric_square(here, here), 2 * _symmetric_square(here, slope), _symmetric_square(slope, slope)
    return _quadratic_roots(*squares, least)


def _quadratic_roots(at_origin: np.ndarray, first: np.ndarray, second: np.ndarray, least: float) -> np.ndarray:
    """γ > `least` at which 1 is an eigenvalue of M₀ + δM₁ + δ²M₂, δ = γ − ORIGIN: (modes, m, m) -> (modes, roots)."""
    origin, m = ORIGIN, at_origin.shape[-1]
    constant = np.eye(m) - at_origin
    # With μ = 1/(γ − origin): det(μ² C₀ + μ C₁ + C₂) = 0.
    others = np.concatenate([first, second], axis=-1)
    companion = np.zeros((len(constant), 2 * m, 2 * m))
    companion[:, :m] = np.linalg.solve(constant, others)
    companion[:, m:, :m] = np.eye(m)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = origin + 1 / np.linalg.eigvals(companion).astype(complex)
    # A double root that rounding has made a complex pair is taken too; what is no crossing does no harm.
    real = (np.abs(roots.imag) <= 1e-4 * np.abs(roots)) & (roots.real > least) & (roots.real < MOST)
    result = np.sort(np.where(real, roots.real, np.inf), axis=1)
    return result[:, : max(1, int(np.sum(np.isfinite(result), axis=1).max(initial=0)))]


def _symmetric_square(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix of S -> (LSR' + RSL')/2 on symmetric S: (..., k, k) twice -> (..., k(k+1)/2, k(k+1)/2)."""
    k = left.shape[-1]
    i, j = np.triu_indices(k)
    unit = np.zeros((len(i), k, k))
    unit[np.arange(len(i)), i, j] = unit[np.arange(len(i)), j, i] = 1.0
    moved = left[..., None, :, :] @ unit @ right[..., None, :, :].swapaxes(-1, -2)
    moved = (moved + moved.swapaxes(-1, -2)) / 2
    return moved[..., i, j].swapaxes(-1, -2)


# Steps that change: the crossings of the mean square.


def _in_mean_square(
    moments: Callable[[float], ChangingMoments], algorithm: Algorithm, unit: float, silent: Noise
) -> Iterator[tuple[float, float]]:
    """Intervals in which second moments are stable; `moments` at a step size in the problem's own units."""

    def rate(factor: float) -> float:
        found, reason = long_run(moments(factor * unit), silent)
        return max(found, 1.0) if reason else found

    at_unit = moments(unit)
    polynomial = _Quadratic.of(at_unit, algorithm, unit, silent) if at_unit.unknowns <= LIFTED else None
    if polynomial is None:
        yield from _by_walk(rate)
        return
    roots = polynomial.roots()
    ends = [LEAST, *roots]
    inside = [*np.sqrt(ends[1:]) * np.sqrt(ends[:-1]), 2 * ends[-1]]
    stable = [polynomial.rate(factor) < 1 for factor in inside]
    changed = [i for i in range(len(roots)) if stable[i] != stable[i + 1]]
    crossings = [_crossing(polynomial.rate, roots[i] * (1 - 1e-7), roots[i] * (1 + 1e-7)) for i in changed]
    for low, high in _paired(crossings, stable[0]):
        within = low + 0.618 * (min(high, 2 * low + 1.0) - low)
        if high > low * (1 + WINDOW) and rate(within) < 1:  # where nothing drifts or walks
            yield low, high


class _Quadratic:
    """The steps of second moments, M(γ) = M₀ + γM₁ + γ²M₂, each of them (m, m)."""

    def __init__(self, coefficients: list[np.ndarray]) -> None:
        self.coefficients = coefficients  # (3, m, m) each

    @classmethod
    def of(cls, moments: ChangingMoments, algorithm: Algorithm, unit: float, silent: Noise) -> _Quadratic | None:
        """Read off at three step sizes; None if they are not such at a fourth, whatever the units of the buffers."""
        factors = (1.0, 2.0, 3.0, 5.0)
        inverse = np.linalg.inv(np.vander(factors[:3], increasing=True))
        for powers in product((0, 1), repeat=len(algorithm.init(np.zeros((2, 2)))) - len(narrow_fields(algorithm)) - 1):
            matrices = zip(
                *(
                    moments.rescaled(algorithm._replace(lr=f * unit), f ** -np.array([0.0, *powers])).lift(silent)
                    for f in factors
                ),
                strict=True,
            )
            found = []
            for one, two, three, five in matrices:
                found.append(np.tensordot(inverse, np.stack([one, two, three]), 1))
                if np.max(np.abs(_at(found[-1], 5.0) - five)) > 1e-9 * np.max(np.abs(five), initial=1.0):
                    break
            else:
                return cls(found)
        return None

    def rate(self, factor: float) -> float:
        """Root of the largest spectral radius."""
        return float(np.sqrt(max(spectral_radius(_at(c, factor)) for c in self.coefficients)))

    def roots(self) -> np.ndarray:
        """γ, ascending, at which one of them has the eigenvalue 1."""
        found = []
        for zeroth, first, second in self.coefficients:
            shifted = zeroth + ORIGIN * first + ORIGIN**2 * second, first + 2 * ORIGIN * second, second
            at_origin, slope, curve = (matrix[None] for matrix in shifted)
            roots = _quadratic_roots(at_origin, slope, curve, LEAST)[0]
            found.append(roots[np.isfinite(roots)])
        return np.unique(np.concatenate(found))


def _at(coefficients: np.ndarray, factor: float) -> np.ndarray:
    """A quadratic polynomial."""
    zeroth, first, second = coefficients
    return zeroth + factor * (first + factor * second)


def _by_walk(rate: Callable[[float], float]) -> Iterator[tuple[float, float]]:
    """As `_by_grid`, on a coarser grid, each interval as soon as its end is known."""
    before, low = 0.0, None
    for lr in np.exp(np.arange(np.log(1e-3), np.log(100.0), np.log(CHANGING_RATIO))):
        stable = rate(lr) < 1
        if stable and low is None:
            low = _crossing(rate, before, lr, 1e-9) if before else 0.0
        elif not stable and low is not None:
            yield low, _crossing(rate, before, lr, 1e-9)
            low = None
        before = float(lr)
    if low is not None:
        yield low, np.inf


# One large matrix: a walk from certificate to certificate.


def _of_matrix(pencil: Pencil) -> Iterator[tuple[float, float]]:
    """Intervals in which one matrix (s, s) is stable, each as soon as the walk has passed it."""
    low, stable = 0.0, False
    for (before, was), (lr, stable) in pairwise(_walk(pencil)):
        if was != stable:
            end = _crossing(pencil.rate, before, lr)
            if was:
                yield low, end
            low = end
    if stable:
        yield low, np.inf


def _walk(pencil: Pencil) -> Iterator[tuple[float, bool]]:
    """γ, ascending, and whether T is stable there; and, by proof, from there to the next if that is the same.

    The proofs leave gaps of relative size `WINDOW` around crossings; there are at most `PROOFS`.
    """
    lr, most, jump = pencil.least(), _hopeless(pencil), 4 * WINDOW
    cube, coarse = float(len(pencil.base)) ** 3, 0.0
    budget = Budget(SEARCH)
    budget.spend(FARTHEST * PROOF * cube, "an end of the search")
    for walked in count():
        if lr >= most:
            return
        left = np.log(most / lr) * RATE * cube  # to walk on without proofs, over the relative step
        if not coarse and (walked >= PROOFS or not budget.allows(PROOF * cube + left / COARSE)):
            coarse = float(np.clip(left / max(budget.limit - budget.spent, 1.0), COARSE, RATIO - 1))
            warnings.warn(
                f"the intervals of stable step sizes are proved up to {lr:.3g}/L; above, such as are narrower than "
                f"{100 * coarse:.2g} % may be missed",
                stacklevel=6,
            )
        if coarse:
            up, stable = coarse * lr, pencil.rate(lr) < 1
        else:
            budget.spend(PROOF * cube, "a proof")
            up, stable = _proof(pencil.at(lr), pencil.slope, lr)
        yield lr, stable
        if 0.999 * up > WINDOW * lr:
            lr, jump = lr + 0.999 * up, 4 * WINDOW
        else:  # a crossing
            lr, jump = lr * (1 + jump), 2 * jump


@one_thread_of_blas()
def _proof(here: np.ndarray, slope: np.ndarray, lr: float) -> tuple[float, bool]:
    """How far γ may go up from `lr` while T stays as it is; whether that is stable.

    Stable: all eigenvalues are in the unit circle. Unstable: as many as here are outside some circle around it.
    """
    from scipy.linalg import eig

    eigen = eig(here, left=True, right=True)
    sizes = np.sort(np.abs(eigen[0]))[::-1]
    outside = sizes[sizes > 1]
    radii = [1.0]
    if len(outside):
        gaps = outside / np.append(outside[1:], 1.0)
        widest = int(np.argmax(gaps))
        radii.insert(0, float(outside[widest] / np.sqrt(gaps[widest])))
    up = 0.0
    for radius, floor in product(radii, (0.9, 0.4, 1.0)):
        up = max(up, _reach(here, slope, radius, floor, eigen))
        if up > 0.02 * lr:
            break
    return up, not len(outside)


@one_thread_of_blas()
def _hopeless(pencil: Pencil) -> float:
    """A γ from which on T is unstable for certain, by proof for B + A/γ; `MOST` where there is none."""
    from scipy.linalg import eig

    eigen = eig(pencil.slope, left=True, right=True)
    sizes = np.sort(np.abs(eigen[0]))[::-1]
    sizes = sizes[sizes > 1e-6]
    found = MOST
    gaps = sizes[:-1] / sizes[1:]
    for i in np.argsort(-gaps)[:FARTHEST]:
        radius = float(np.sqrt(sizes[i] * sizes[i + 1]))
        if gaps[i] > 1.02:
            up = _reach(pencil.slope, pencil.base, radius, 0.7, eigen)
            found = min(found, max(1 / radius, 1 / up if up > 0 else MOST))
    return found


def _reach(here: np.ndarray, slope: np.ndarray, radius: float, floor: float, eigen: Any) -> float:
    """Up to which δ a quadratic form proves: as many eigenvalues of T + δB as of T exceed `radius`.

    In a basis F with T = FΛF⁻¹ and signs D = ±1, +1 for the eigenvalues inside, D − Λ'DΛ > 0; so the inequality holds
    with T + δB for small δ, and while it does no eigenvalue crosses the circle. F consists of eigenvectors for
    eigenvalues above `floor` (relative to `radius`), with which δ misses a simple crossing by O(δ²) only, and of a
    Lyapunov basis for all others, which need not have eigenvectors. 0 where such a basis is too ill-conditioned.
    """
    from scipy.linalg import cholesky, eigvalsh, qr, solve_triangular

    values, left, right = eigen
    large = np.abs(values) > radius * min(floor, 1.0)
    signs = np.where(np.abs(values[large]) > radius, -1.0, 1.0)
    chosen, size = int(np.sum(large)), len(here)
    try:
        with np.errstate(all="ignore"):
            vectors, rows = _real(values[large], right[:, large]), _real(values[large], left[:, large]).T
            rows = np.linalg.solve(rows @ vectors, rows)
            rest = qr(rows.T)[0][:, chosen:]  # the invariant subspace of all others
            inside = rest.T @ here @ rest / radius
            root = cholesky(Stein(inside.T).solve(np.eye(size - chosen))) if size > chosen else np.eye(0)
            basis = np.hstack([vectors, rest @ np.linalg.inv(root)])
            inverse = np.vstack([rows, root @ (rest.T - (rest.T @ vectors) @ rows)])
            d = np.append(signs, np.ones(size - chosen))
            turned, moved = inverse @ here @ basis / radius, inverse @ slope @ basis / radius
            scale = cholesky(np.diag(d) - turned.T @ (d[:, None] * turned), lower=True)
            # D − (Λ + δB)'D(Λ + δB) >= scale (I + δN₁ − δ²N₂'N₂) scale', N₂ without the rows of sign −1.
            change = turned.T @ (d[:, None] * moved)
            n1 = -_congruent(scale, change + change.T)
            n2 = solve_triangular(scale, moved[d > 0].T, lower=True).T
            block = np.block([[n1, n2.T], [n2, np.zeros((len(n2), len(n2)))]])
            least = float(eigvalsh(block)[0])
    except (np.linalg.LinAlgError, ValueError):
        return 0.0
    return -1 / least if least < 0 else np.inf


def _congruent(scale: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """scale⁻¹ matrix scale⁻ʹ of a lower triangular scale."""
    from scipy.linalg import solve_triangular

    half = solve_triangular(scale, matrix, lower=True)
    return solve_triangular(scale, half.T, lower=True)


def _real(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Real basis of complex eigenvectors in conjugate pairs, in which T is a rotation times |λ| on each pair."""
    root = np.sqrt(2.0)
    scaled = np.where(values.imag > 0, root * vectors.real, root * vectors.imag)
    return np.where(values.imag == 0, vectors.real, scaled)
