"""Exact moments of a step over a network that changes: random, periodic, Markov, asynchronous.

The step is z⁺ = T_ω z + u_ω + N_ω ξ, ω the outcome of the network at this step, and z_0 is known. In e = z − z_0,
extended by a 1, A_ω = [T_ω, T_ω z_0 + u_ω − z_0; 0, 1]; second moments obey E[ee']⁺ = E[A_ω E[ee'] A_ω'] + E[N_ω Q
N_ω']. Here the outcomes of a step are listed; `theory.moments.toggled` has a shorter way for links that fail by
themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from simlab.arrays import one_thread_of_blas
from simlab.network.law import Cycle, Law, Outcome, Outcomes, Switches, Toggles
from simlab.protocols import Algorithm
from simlab.step.graph import Counter, ForeignNounError, step_graphs
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.budget import CostError
from theory.moments.dense import NONE, Spread, are_equal
from theory.moments.linear import Stein, changes, deflate
from theory.moments.minibatches import node_blocks
from theory.moments.noise import Noise

SMALL = 400  # unknowns up to which an operator on covariances is formed
SOLVED = 1e-13  # relative residual of a covariance
KRYLOV = 150
LISTED_STATES = 1000  # in whose covariances outcomes are listed


Given = dict[str, np.ndarray]


class Current:
    """A network in one outcome, as a step sees it.

    Parameters
    ----------
    outcome : Outcome
    stochastic : {"double", "row", "column"}
    """

    smallest_eigenvalue = -1.0

    def __init__(self, outcome: Outcome, stochastic: str) -> None:
        self.weights, self.stochastic = outcome.weights, stochastic
        self.n_nodes = len(outcome.weights)
        self.awake, self.fires = outcome.awake[:, None], outcome.fires[:, None]

    def mix(self, x: np.ndarray) -> np.ndarray:
        """W x."""
        return self.weights @ x


class Situation(NamedTuple):
    """One outcome of a step, in e = z − z_0: e⁺ = Te + u + Nξ, gradients taken at Ye + y; `firing` nodes have noise.

    Or a part of a step, see `switched`: of weight `probability` in second moments, and with 0 for the 1
    by which e is extended, unless it is the mean.
    """

    probability: float
    transition: np.ndarray  # (s, s)
    shift: np.ndarray  # (s,)
    noise: np.ndarray  # (s, n d)
    reads: np.ndarray  # (n d, s)
    point: np.ndarray  # (n, d)
    one: float = 1.0


class Situations(NamedTuple):
    """All outcomes of a step, in each field one after the other; where all read the same, that is there once."""

    probability: np.ndarray  # (m,)
    transition: np.ndarray  # (m, s, s)
    shift: np.ndarray  # (m, s)
    noise: np.ndarray  # (m, s, n d)
    reads: np.ndarray  # (m or 1, n d, s)
    point: np.ndarray  # (m or 1, n, d)
    one: np.ndarray  # (m,)

    @classmethod
    def of(cls, listed: Sequence[Situation]) -> Situations:
        """Of one outcome after the other."""
        all_ = cls(*(np.array(each) for each in zip(*listed, strict=True)))
        if np.array_equal(all_.reads, np.broadcast_to(all_.reads[:1], all_.reads.shape)) and np.array_equal(
            all_.point, np.broadcast_to(all_.point[:1], all_.point.shape)
        ):
            return all_._replace(reads=all_.reads[:1], point=all_.point[:1])
        return all_

    @property
    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """E T and E u."""
        shares = self.probability * self.one
        return np.tensordot(shares, self.transition, 1), shares @ self.shift

    def moved(self, second: np.ndarray) -> np.ndarray:
        """E T S T', of S (s, s)."""
        return self._sum(self.transition @ second, self.transition)

    def driven(self, covariances: np.ndarray) -> np.ndarray:
        """E N Q N', of covariances (m or 1, n, d, d)."""
        n, d = covariances.shape[1:3]
        blocks = self.noise.reshape(*self.noise.shape[:2], n, d).swapaxes(1, 2)
        return self._sum((blocks @ covariances).swapaxes(1, 2).reshape(self.noise.shape), self.noise)

    def _sum(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """E L R'."""
        weighed = self.probability[:, None, None] * left
        left, right = (side.swapaxes(0, 1).reshape(side.shape[1], -1) for side in (weighed, right))
        return left @ right.T


def phases_of(algorithm: Algorithm, start: np.ndarray) -> int:
    """How many steps an algorithm has that are different.

    Raises
    ------
    ValueError
        It counts its steps.
    """
    try:
        steps = step_graphs(algorithm, algorithm.init(np.array(start)))
    except ForeignNounError:
        raise
    except TypeError:
        return 1  # what cannot be traced may yet be affine
    if any(graph.count("steps") for graph in steps.graphs):
        raise ValueError(f"algorithm = {algorithm!r} calculates with the number of the step; simulate it")
    return len(steps.order)


def base_step(surrogate: Surrogate, network: Any, law: Law, algorithm: Algorithm, start: np.ndarray) -> AffineStep:
    """The step at the mean of some outcomes, whose states all others share."""
    outcome = Outcome.of(1.0, _mean_weights(law))
    return AffineStep(surrogate, Current(outcome, network.stochastic), algorithm, start, Counter(0))


def _mean_weights(law: Law) -> np.ndarray:
    if isinstance(law, Toggles):
        return law.mean
    if isinstance(law, Switches):
        return law.outcome(np.ones(len(law.probabilities), bool)).weights
    outcomes = law.steps[0] if isinstance(law, Cycle) else law.modes[0]
    return np.sum([outcome.probability * outcome.weights for outcome in outcomes], axis=0)


def situation(
    step: AffineStep, outcome: Outcome, network: Any, phase: int, given: Given | None = None, check: bool = False
) -> Situation:
    """A step in one outcome; `check` whether it is affine."""
    now = Current(outcome, network.stochastic)
    here = step.at(now, Counter(phase), (now.awake, now.fires), given)
    if check:
        here.check_affine()
    fires = np.repeat(outcome.fires & outcome.awake, step.shape[2]).astype(float)
    transition, noise, reads = here.matrices()
    point = np.array(here.gradient_points(step.start))
    return Situation(
        outcome.probability, transition, (here(step.start) - step.start).ravel(), noise * fires, reads, point
    )


DEGREES = 4  # of polynomials in switches
EQUAL = 1e-10  # relative: by which a polynomial may miss what a step does


class NoPolynomialError(ValueError):
    """A step is no polynomial of low degree in its switches."""


def switched(step: AffineStep, law: Toggles | Switches, network: Any, phase: int) -> list[Situation]:
    """A step over independent switches a, as a sum that is orthogonal in second moments.

    With ã_m = (a_m − p_m)/√(p_m(1 − p_m)) the step is A = Σ_S A_S Π_{m in S} ã_m, and E[AZA'] = Σ_S A_S Z A_S': as many
    terms as there are sets S of switches that act together, nodes and links say, in place of 2^M outcomes. (The mean is
    S = ∅.)

    Raises
    ------
    NoPolynomialError
        It is no such polynomial of degree `DEGREES`, or gradients are taken where switches decide.
    CostError
        Too many terms.
    """
    p = np.asarray(law.probabilities, dtype=float)
    free = [int(m) for m in np.flatnonzero((p > 0) & (p < 1))]
    first: list[Situation] = []

    def at(on: Iterable[int]) -> np.ndarray:
        """[T, u, N] with these switches on."""
        setting = p == 1
        setting[list(on)] = True
        found = situation(step, law.outcome(setting), network, phase, check=not first)
        first.append(found) if not first else None
        if np.max(np.abs(found.reads - first[0].reads), initial=0.0) > EQUAL * np.max(np.abs(first[0].reads)):
            raise NoPolynomialError("gradients are taken where switches decide")
        return np.concatenate([found.transition, found.shift[:, None], found.noise], axis=1)

    terms = _monomials(at, free)
    deviation = np.sqrt(p * (1 - p))
    sums: dict[tuple[int, ...], Any] = {(): 0.0}
    for on, coefficient in terms.items():
        for part in _parts(on):
            rest = [m for m in on if m not in part]
            weight = np.prod(deviation[list(part)]) * np.prod(p[rest])
            sums[part] = sums.get(part, 0.0) + weight * coefficient
    size, some = step.size, first[0]
    if len(sums) * size**2 > 2e8:
        raise CostError(f"cost: {len(sums)} terms of {size} states are more than are kept; predict fewer nodes")
    return [
        Situation(1.0, a[:, :size], a[:, size], a[:, size + 1 :], some.reads, some.point, float(part == ()))
        for part, a in sums.items()
    ]


def _monomials(at: Any, free: list[int]) -> dict[tuple[int, ...], np.ndarray]:
    """c_S, where not zero, of the polynomial Σ_S c_S Π_{m in S} a_m that a step is."""
    origin = at(())
    found: dict[tuple[int, ...], np.ndarray] = {(): origin}
    random = np.random.default_rng(0)
    probes = [set(free), *({m for m in free if random.random() < 0.6} for _ in range(3))]
    missed = [at(probe) - origin for probe in probes]
    scale = max(float(np.max(np.abs(m))) for m in (origin, missed[0]))
    for degree in range(DEGREES + 1):
        if all(np.max(np.abs(left)) <= EQUAL * scale for left in missed):
            return found
        for on in itertools.combinations(free, degree + 1) if degree < DEGREES else ():
            if degree > 1 and not any(part in found for part in itertools.combinations(on, degree)):
                continue  # where no part of them acts together; the probes tell if that was wrong
            coefficient = at(on) - sum(found[part] for part in _parts(on)[:-1] if part in found)
            if np.max(np.abs(coefficient)) <= 1e-14 * scale:
                continue
            found[on] = coefficient
            for left, probe in zip(missed, probes, strict=True):
                if probe.issuperset(on):
                    left -= coefficient
    raise NoPolynomialError(f"the step is no polynomial of degree {DEGREES} in {len(free)} links or nodes that fail")


def _parts(on: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All parts of a tuple, itself the last."""
    return [part for r in range(len(on) + 1) for part in itertools.combinations(on, r)]


class Changing:
    """Moments by outcomes: independent ones, in a cycle with the phases of the algorithm, or over a Markov chain.

    Parameters
    ----------
    step : AffineStep
        From `base_step`.
    network : NetworkProcess
    law : Cycle, Chain, Toggles or Switches
    phases : int
        Of the algorithm.
    given : sequence of dict, optional
        `AffineStep.given` at each step of a period.

    Attributes
    ----------
    period : int
        Steps after which all is the same again.
    """

    def __init__(
        self, step: AffineStep, network: Any, law: Law, phases: int, given: Sequence[Given] | None = None
    ) -> None:
        self.step, self.network, self.gradient_calls = step, network, step.gradient_calls
        self.law, self.phases, self.given = law, phases, given
        cycle = law.steps if isinstance(law, Cycle) else ()
        self.period = int(np.lcm(len(cycle) or 1, phases))
        if isinstance(law, Toggles | Switches):
            self.transitions, self.stationary_modes = np.ones((1, 1)), np.ones(1)
            self._listed = [[Situations.of(switched(self.step, law, network, k % phases))] for k in range(self.period)]
            return
        if isinstance(law, Cycle):
            self.transitions, self.stationary_modes = np.ones((1, 1)), np.ones(1)
            listed = [[cycle[k % len(cycle)]] for k in range(self.period)]
        else:
            self.transitions, self.stationary_modes = law.transitions, law.stationary
            listed = [list(law.modes)] * self.period
        work = sum(len(outcomes) for modes in listed for outcomes in modes) * float(step.size) ** 2
        if work > 2e8 or step.size > LISTED_STATES:
            raise CostError(
                f"cost: {work / step.size**2:.0f} outcomes of {step.size} states are more than are listed; predict "
                "fewer nodes or dimensions, or simulate"
            )
        self._listed = [
            [self._situations(outcomes, k % phases, None if given is None else given[k]) for outcomes in modes]
            for k, modes in enumerate(listed)
        ]

    def _situations(self, outcomes: Outcomes, phase: int, given: Given | None) -> Situations:
        return Situations.of(
            [
                situation(self.step, outcome, self.network, phase, given, check=k == 0)
                for k, outcome in enumerate(outcomes)
            ]
        )

    # What is conserved, and what is left

    @property
    def _all(self) -> list[Situations]:
        return [situations for modes in self._listed for situations in modes]

    @cached_property
    def conserved(self) -> np.ndarray:
        """What every outcome conserves, (s, r)."""
        size = self.step.size
        weight = sum(s.probability @ s.one for s in self._all)
        found = deflate(sum(s.mean[0] for s in self._all) / weight)[1]
        if found.shape[1] == 0:
            return found
        change = [s.transition.swapaxes(1, 2) @ found - s.one[:, None, None] * found for s in self._all]
        u, values, _ = np.linalg.svd(np.concatenate(change).reshape(-1, found.shape[1]).T, full_matrices=False)
        return found @ u[:, values <= 1e-9 * max(1.0, np.sqrt(size))]

    @cached_property
    def situations(self) -> list[list[Situations]]:
        """By phase and mode, T without what is conserved."""
        kept = self.conserved
        if kept.shape[1] == 0:
            return self._listed

        def without(s: Situations) -> Situations:
            return s._replace(transition=s.transition - (s.transition @ kept) @ kept.T)

        return [[without(situations) for situations in modes] for modes in self._listed]

    @cached_property
    def drifts(self) -> bool:
        """Whether a step moves a quantity that every T conserves."""
        start = self.step.start
        size = float(np.max(np.abs(start), initial=0.0)) + max(float(np.max(np.abs(s.shift))) for s in self._all)
        return any(changes(self.conserved, s.shift.T, size) for s in self._all)

    def walks(self, noise: Noise) -> bool:
        """Whether noise enters a conserved quantity."""
        if noise.is_zero:
            return False
        drives = (drive for s in self._all for drive in s.noise)
        return any(changes(self.conserved, drive, float(np.max(np.abs(drive), initial=0.0))) for drive in drives)

    # The mean

    @cached_property
    def _mean_maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each phase, on the means of all modes: (J s, J s), (J s,)."""
        size, modes = self.step.size, len(self.transitions)
        found = []
        for by_mode in self.situations:
            matrix, shift = np.zeros((modes, size, modes, size)), np.zeros((modes, size))
            for i, situations in enumerate(by_mode):
                t, u = situations.mean
                for j in range(modes):
                    matrix[j, :, i] += self.transitions[i, j] * t
                    shift[j] += self.transitions[i, j] * self.stationary_modes[i] * u
            found.append((matrix.reshape(modes * size, -1), shift.ravel()))
        return found

    @cached_property
    def _mean_period(self) -> np.ndarray:
        """The mean's step over a period."""
        product = np.eye(len(self._mean_maps[0][0]))
        for matrix, _ in self._mean_maps:
            product = matrix @ product
        return product

    @cached_property
    def mean_rate(self) -> float:
        """Spectral radius of the mean's step."""
        return float(np.max(np.abs(np.linalg.eigvals(self._mean_period)), initial=0.0)) ** (1 / self.period)

    @cached_property
    def _limits(self) -> list[np.ndarray]:
        """E[e; mode] in the stationary state before each phase: (J, s) each."""
        product, total = np.eye(len(self._mean_maps[0][0])), np.zeros(len(self._mean_maps[0][1]))
        for matrix, shift in self._mean_maps:
            product, total = matrix @ product, matrix @ total + shift
        system = np.eye(len(product)) - product
        mean = np.linalg.solve(system, total)
        for _ in range(2):
            mean = mean + np.linalg.solve(system, product @ mean + total - mean)
        found = []
        for matrix, shift in self._mean_maps:
            found.append(mean.reshape(len(self.transitions), -1))
            mean = matrix @ mean + shift
        return found

    # Second moments

    @property
    def _sure(self) -> bool:
        """Whether nothing but the noise of gradients is random."""
        return all(len(s.probability) == 1 for s in self._all) and len(self.transitions) == 1

    def carry(self, phase: int, second: np.ndarray, noise: Noise) -> np.ndarray:
        """Σ E[T S T'] of covariances (J, s, s), with the noise that they add if mini-batches depend on the states."""
        result = np.zeros_like(second)
        for i, situations in enumerate(self.situations[phase]):
            total = situations.moved(second[i])
            if noise.depends_on_state:
                reads = situations.reads
                points = node_blocks(reads @ second[i], reads, self.step.shape[1:])
                total += situations.driven(np.array([noise.spread(v) for v in points]))
            result += self.transitions[i][:, None, None] * total
        return result

    def forcing(self, phase: int, means: np.ndarray, center: np.ndarray, after: np.ndarray, noise: Noise) -> np.ndarray:
        """What a step adds to second moments about `center`, then about `after`, beyond `carry`: (J, s, s).

        `means` are E[e; mode], (J, s).
        """
        size = self.step.size
        result = np.zeros((len(self.transitions), size, size))
        for i, situations in enumerate(self.situations[phase]):
            mass = self.stationary_modes[i]
            offset = means[i] - mass * center
            shares, transition = situations.probability[:, None], situations.transition
            moved = transition @ center + situations.shift - situations.one[:, None] * after
            cross = (shares * (transition @ offset)).T @ moved
            total = mass * (shares * moved).T @ moved + cross + cross.T
            if mass and not noise.is_zero:
                points = situations.point + (situations.reads @ (means[i] / mass)).reshape(-1, *self.step.shape[1:])
                total += mass * situations.driven(np.array([noise.covariance(x) for x in points]))
            result += self.transitions[i][:, None, None] * total
        return result

    def mean_square_rate(self, noise: Noise) -> float:
        """Root of the spectral radius of a period's `carry`, a step."""
        if self._sure and not noise.depends_on_state:
            return self.mean_rate  # S -> TSTʹ has the products of T's eigenvalues
        size, modes = self.step.size, len(self.transitions)

        def apply(flat: np.ndarray) -> np.ndarray:
            second = flat.reshape(modes, size, size)
            second = second + second.swapaxes(1, 2)  # half of it, twice
            for phase in range(self.period):
                second = self.carry(phase, second, noise)
            return second.ravel() / 2

        return dominant(apply, modes * size * size, np.tile(np.eye(size), (modes, 1, 1))) ** (0.5 / self.period)

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> Changing:
        """See `AffineStep.rescaled`."""
        return Changing(self.step.rescaled(algorithm, units), self.network, self.law, self.phases, self.given)

    @property
    def unknowns(self) -> int:
        """Rows of `lift`."""
        return self.period * len(self.transitions) * self.step.size * (self.step.size + 1) // 2

    def lift(self, noise: Noise) -> list[np.ndarray]:
        """`carry` as a matrix, on the symmetric matrices of all phases and modes side by side."""
        modes, size, period = len(self.transitions), self.step.size, self.period
        width = self.unknowns // period
        result = np.zeros((period, width, period, width))
        for phase in range(period):
            for j, (mode, unit) in enumerate(itertools.product(range(modes), symmetric_units(size))):
                second = np.zeros((modes, size, size))
                second[mode] = unit
                moved = self.carry(phase, second, noise)
                result[(phase + 1) % period, :, phase, j] = moved[:, *np.triu_indices(size)].ravel()
        return [result.reshape(period * width, -1)]

    def means(self) -> list[np.ndarray]:
        """Stationary mean of x before each phase, (n, d) each."""
        return [self.step.start[0] + mean.sum(axis=0).reshape(self.step.shape)[0] for mean in self._limits]

    def settled(self, noise: Noise) -> list[Spread]:
        """Stationary spreads of x about these means; of a step whose `rate` is below 1.

        Raises
        ------
        CostError
            They are not found to the accuracy that is asked for.
        """
        if noise.is_zero and self._sure:
            return [NONE] * self.period
        means = self._limits
        centers = [mean.sum(axis=0) for mean in means]
        forcings = [
            self.forcing(k, means[k], centers[k], centers[(k + 1) % self.period], noise) for k in range(self.period)
        ]

        def period(second: np.ndarray, forced: bool) -> np.ndarray:
            for k in range(self.period):
                second = self.carry(k, second, noise) + (forcings[k] if forced else 0)
            return second

        right = period(np.zeros_like(forcings[0]), True)
        if self._sure and not noise.depends_on_state:
            second = Stein(self._mean_period).solve(right[0])[None]
        else:
            second = solve_positive(lambda s: period(s, False), right)
        found = []
        for k in range(self.period):
            found.append(self.spread(second))
            second = self.carry(k, second, noise) + forcings[k]
        return found

    def spread(self, second: np.ndarray) -> Spread:
        """Of second moments about a center, (J, s, s)."""
        return _spread(second.sum(axis=0), self.step.shape)

    def walk(self, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x (n, d), and its spread, at steps 0, 1, ..."""
        for means, second in self.path(noise):
            yield self.step.start[0] + means.sum(axis=0).reshape(self.step.shape)[0], self.spread(second)

    def path(self, noise: Noise, second: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """E[e; mode] (J, s), and second moments about the mean (J, s, s), from `second` on: at steps 0, 1, ..."""
        size, modes = self.step.size, len(self.transitions)
        means, k, resting = np.zeros((modes, size)), 0, 0
        second = np.zeros((modes, size, size)) if second is None else second
        while True:
            center = means.sum(axis=0)
            yield means, second
            if resting >= self.period:
                continue
            phase = k % self.period
            matrix, shift = self._mean_maps[phase]
            new = (matrix @ means.ravel() + shift).reshape(modes, size)
            after = self.carry(phase, second, noise) + self.forcing(phase, means, center, new.sum(axis=0), noise)
            rests = self.period == 1 and are_equal(new, means) and are_equal(after, second)
            resting = resting + 1 if rests else 0
            means, second, k = new, after, k + 1

    @property
    def step_work(self) -> float:
        """Multiplications of a step of the second moments."""
        return sum(len(s.probability) for s in self._all) / self.period * 4.0 * self.step.size**3


def _spread(covariance: np.ndarray, shape: tuple[int, ...]) -> Spread:
    n, d = shape[1:]
    of_x = covariance[: n * d, : n * d].reshape(n, d, n, d)
    total = float(np.einsum("iaia->", of_x))
    mean = float(np.einsum("iaja->", of_x)) / n
    return Spread(max(total, 0.0) / n, max(total - mean, 0.0) / n)


def symmetric_units(size: int) -> Iterator[np.ndarray]:
    """A basis of symmetric matrices (s, s), by the entries that they hold, row after row of the upper triangle."""
    for i, j in zip(*np.triu_indices(size), strict=True):
        unit = np.zeros((size, size))
        unit[i, j] = unit[j, i] = 1.0
        yield unit


def dominant(apply: Any, size: int, start: np.ndarray) -> float:
    """Spectral radius of a map that keeps positive semidefinite matrices so: its largest eigenvalue, which is real."""
    return perron(apply, start.reshape(size), ((40, 1e-12), (120, 1e-9)))[0]


@one_thread_of_blas()
def perron(apply: Any, start: np.ndarray, efforts: tuple[tuple[int, float], ...]) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a positive map, and its eigenvector, sought from a positive `start`.

    `apply` takes and returns flat arrays; `efforts` are dimensions of Krylov spaces, and the accuracy asked of each.

    Raises
    ------
    CostError
        None of them suffices.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    size, shape = start.size, start.shape
    if size <= SMALL:
        values, vectors = np.linalg.eig(np.stack([apply(unit) for unit in np.eye(size)], axis=1))
        best = int(np.argmax(np.abs(values)))
        found, vector = float(np.abs(values[best])), vectors[:, best].real
    else:
        first = apply(start.ravel())
        if np.max(np.abs(first)) == 0:
            return 0.0, start
        operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
        for width, tolerance in efforts:
            try:
                pairs = eigs(operator, k=1, which="LM", v0=first, ncv=width, tol=tolerance, maxiter=40)
                break
            except ArpackNoConvergence as error:
                failure = error
        else:
            raise CostError("cost: the rate is not found in so many products; simulate it") from failure
        found, vector = float(np.abs(pairs[0][0])), pairs[1][:, 0].real
    return found, (vector * np.sign(vector.sum() or 1.0)).reshape(shape)


def solve_positive(apply: Any, right: np.ndarray) -> np.ndarray:
    """S = apply(S) + right, for a contraction on symmetric matrices.

    Raises
    ------
    CostError
        It is not found to the accuracy that is asked for.
    """
    from scipy.sparse.linalg import LinearOperator, gmres

    size, shape = right.size, right.shape
    if np.max(np.abs(right), initial=0.0) == 0:
        return right

    def matvec(flat: np.ndarray) -> np.ndarray:
        second = flat.reshape(shape)
        return (second - apply(second)).ravel()

    scale = np.linalg.norm(right)
    operator = LinearOperator((size, size), matvec=matvec, dtype=np.float64)
    second, residual = np.zeros(shape), right
    for _ in range(8):
        more = gmres(operator, residual.ravel(), rtol=1e-10, atol=0.0, restart=KRYLOV, maxiter=2)[0].reshape(shape)
        second = second + (more + more.swapaxes(-1, -2)) / 2
        residual = right - (second - apply(second))
        if np.linalg.norm(residual) <= SOLVED * max(scale, np.linalg.norm(second)):
            return second
    if np.linalg.norm(residual) > 1e-10 * scale:
        raise CostError("cost: the covariance is not found in so many products; simulate it")
    return second
