"""Exact moments of a step over a network that changes: random, periodic, Markov, asynchronous.

The step is z⁺ = T_ω z + u_ω + N_ω ξ, ω the outcome of the network at this step, and z_0 is known. In e = z − z_0,
extended by a 1, A_ω = [T_ω, T_ω z_0 + u_ω − z_0; 0, 1]; second moments obey E[ee']⁺ = E[A_ω E[ee'] A_ω'] + E[N_ω Q
N_ω']. Here the outcomes of a step are listed; `theory.moments.toggled` has a shorter way for links that fail by
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from simlab.arrays import unthreaded
from simlab.network.law import Chain, Cycle, Law, Outcome, Outcomes, Toggles
from simlab.protocols import Algorithm
from simlab.step.graph import Counter, ForeignNounError, step_graphs
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.budget import CostError
from theory.moments.dense import NONE, Spread, are_equal
from theory.moments.linear import changes, deflate
from theory.moments.minibatches import node_blocks
from theory.moments.noise import Noise

SMALL = 400  # unknowns up to which an operator on covariances is formed
SOLVED = 1e-13  # relative residual of a covariance
KRYLOV = 150
LISTED_STATES = 1000  # in whose covariances outcomes are listed


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
    """One outcome of a step, in e = z − z_0: e⁺ = Te + u + Nξ, gradients taken at Ye + y; `firing` nodes have noise."""

    probability: float
    transition: np.ndarray  # (s, s)
    shift: np.ndarray  # (s,)
    noise: np.ndarray  # (s, n d)
    reads: np.ndarray  # (n d, s)
    point: np.ndarray  # (n, d)


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
    outcomes = law.steps[0] if isinstance(law, Cycle) else law.modes[0]
    return np.sum([outcome.probability * outcome.weights for outcome in outcomes], axis=0)


class Changing:
    """Moments by outcomes: independent ones, in a cycle with the phases of the algorithm, or over a Markov chain.

    Parameters
    ----------
    step : AffineStep
        From `base_step`.
    network : NetworkProcess
    law : Cycle or Chain
    phases : int
        Of the algorithm.
    sampled : bool
        Whether mini-batches are meant.

    Attributes
    ----------
    period : int
        Steps after which all is the same again.
    """

    def __init__(self, step: AffineStep, network: Any, law: Cycle | Chain, phases: int) -> None:
        self.step, self.network, self.gradient_calls = step, network, step.gradient_calls
        cycle = law.steps if isinstance(law, Cycle) else ()
        self.period = int(np.lcm(len(cycle) or 1, phases))
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
            [self._situations(outcomes, k % phases) for outcomes in modes] for k, modes in enumerate(listed)
        ]

    def _situations(self, outcomes: Outcomes, phase: int) -> list[Situation]:
        found, step = [], self.step
        d = step.shape[2]
        for k, outcome in enumerate(outcomes):
            network = Current(outcome, self.network.stochastic)
            here = step.at(network, Counter(phase), (network.awake, network.fires))
            if k == 0:
                here.check_affine()
            fires = np.repeat(outcome.fires & outcome.awake, d).astype(float)
            noise = here.noise_matrix() * fires
            origin = here.gradient_points(step.start)
            found.append(
                Situation(
                    outcome.probability,
                    here.matrix(),
                    (here(step.start) - step.start).ravel(),
                    noise,
                    here.gradient_matrix(),
                    np.array(origin),
                )
            )
        return found

    # What is conserved, and what is left

    @cached_property
    def _all(self) -> list[Situation]:
        return [s for modes in self._listed for situations in modes for s in situations]

    @cached_property
    def conserved(self) -> np.ndarray:
        """What every outcome conserves, (s, r)."""
        size = self.step.size
        shares = [s.probability for s in self._all]
        found = deflate(np.average([s.transition for s in self._all], axis=0, weights=shares))[1]
        if found.shape[1] == 0:
            return found
        moved = np.hstack([(s.transition.T @ found - found).T for s in self._all])
        u, values, _ = np.linalg.svd(moved, full_matrices=True)
        values = np.concatenate([values, np.zeros(len(u) - len(values))])
        return found @ u[:, values <= 1e-9 * max(1.0, np.sqrt(size))]

    @cached_property
    def situations(self) -> list[list[list[Situation]]]:
        """By phase and mode, T without what is conserved."""
        kept = self.conserved
        if kept.shape[1] == 0:
            return self._listed

        def without(s: Situation) -> Situation:
            return s._replace(transition=s.transition - (s.transition @ kept) @ kept.T)

        return [[[without(s) for s in situations] for situations in modes] for modes in self._listed]

    @cached_property
    def drifts(self) -> bool:
        """Whether a step moves a quantity that every T conserves."""
        start = self.step.start
        size = float(np.max(np.abs(start), initial=0.0)) + max(float(np.max(np.abs(s.shift))) for s in self._all)
        return any(changes(self.conserved, s.shift, size) for s in self._all)

    def walks(self, noise: Noise) -> bool:
        """Whether noise enters a conserved quantity."""
        if noise.is_zero:
            return False
        return any(changes(self.conserved, s.noise, float(np.max(np.abs(s.noise), initial=0.0))) for s in self._all)

    # The mean

    @cached_property
    def _mean_maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each phase, on the means of all modes: (J s, J s), (J s,)."""
        size, modes = self.step.size, len(self.transitions)
        found = []
        for by_mode in self.situations:
            matrix, shift = np.zeros((modes, size, modes, size)), np.zeros((modes, size))
            for i, situations in enumerate(by_mode):
                t = sum(s.probability * s.transition for s in situations)
                u = sum(s.probability * s.shift for s in situations) * self.stationary_modes[i]
                for j in range(modes):
                    matrix[j, :, i] += self.transitions[i, j] * t
                    shift[j] += self.transitions[i, j] * u
            found.append((matrix.reshape(modes * size, -1), shift.ravel()))
        return found

    @cached_property
    def mean_rate(self) -> float:
        """Spectral radius of the mean's step."""
        product = np.eye(len(self._mean_maps[0][0]))
        for matrix, _ in self._mean_maps:
            product = matrix @ product
        return float(np.max(np.abs(np.linalg.eigvals(product)), initial=0.0)) ** (1 / self.period)

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

    def carry(self, phase: int, second: np.ndarray, noise: Noise) -> np.ndarray:
        """Σ E[T S T'] of covariances (J, s, s), with the noise that they add if mini-batches depend on the states."""
        result = np.zeros_like(second)
        for i, situations in enumerate(self.situations[phase]):
            total = np.zeros_like(second[i])
            for s in situations:
                total += s.probability * (s.transition @ second[i] @ s.transition.T)
                if noise.depends_on_state:
                    spread = noise.spread(node_blocks(s.reads @ second[i], s.reads, self.step.shape[1:]))
                    total += s.probability * self._driven(s, spread)
            result += self.transitions[i][:, None, None] * total
        return result

    def _driven(self, s: Situation, covariances: np.ndarray) -> np.ndarray:
        n, d = self.step.shape[1:]
        blocks = s.noise.reshape(-1, n, d).transpose(1, 0, 2)
        left = (blocks @ covariances).transpose(1, 0, 2).reshape(len(s.noise), n * d)
        return left @ s.noise.T

    def forcing(self, phase: int, means: np.ndarray, center: np.ndarray, after: np.ndarray, noise: Noise) -> np.ndarray:
        """What a step adds to second moments about `center`, then about `after`, beyond `carry`: (J, s, s).

        `means` are E[e; mode], (J, s).
        """
        size = self.step.size
        result = np.zeros((len(self.transitions), size, size))
        for i, situations in enumerate(self.situations[phase]):
            mass = self.stationary_modes[i]
            offset = means[i] - mass * center
            total = np.zeros((size, size))
            for s in situations:
                moved = s.transition @ center + s.shift - after
                cross = np.outer(s.transition @ offset, moved)
                total += s.probability * (mass * np.outer(moved, moved) + cross + cross.T)
                if not noise.is_zero:
                    total += s.probability * self._noise_at(s, means[i], mass, noise)
            result += self.transitions[i][:, None, None] * total
        return result

    def _noise_at(self, s: Situation, mean: np.ndarray, mass: float, noise: Noise) -> np.ndarray:
        """Mass times N Q N' at the mean of a mode."""
        if mass == 0:
            return np.zeros((len(mean), len(mean)))
        n, d = self.step.shape[1:]
        at = s.point + (s.reads @ (mean / mass)).reshape(n, d)
        return mass * self._driven(s, noise.covariance(at))

    def mean_square_rate(self, noise: Noise) -> float:
        """Root of the spectral radius of a period's `carry`, a step."""
        size, modes = self.step.size, len(self.transitions)

        def apply(flat: np.ndarray) -> np.ndarray:
            second = flat.reshape(modes, size, size)
            second = second + second.swapaxes(1, 2)  # half of it, twice
            for phase in range(self.period):
                second = self.carry(phase, second, noise)
            return second.ravel() / 2

        return dominant(apply, modes * size * size, np.tile(np.eye(size), (modes, 1, 1))) ** (0.5 / self.period)

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
        if noise.is_zero and len(self._all) == self.period:  # nothing is random
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
        size, modes = self.step.size, len(self.transitions)
        means, second, k = np.zeros((modes, size)), np.zeros((modes, size, size)), 0
        resting = 0
        while True:
            center = means.sum(axis=0)
            yield self.step.start[0] + center.reshape(self.step.shape)[0], self.spread(second)
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
        return len(self._all) / self.period * 4.0 * self.step.size**3


def _spread(covariance: np.ndarray, shape: tuple[int, ...]) -> Spread:
    n, d = shape[1:]
    of_x = covariance[: n * d, : n * d].reshape(n, d, n, d)
    total = float(np.einsum("iaia->", of_x))
    mean = float(np.einsum("iaja->", of_x)) / n
    return Spread(max(total, 0.0) / n, max(total - mean, 0.0) / n)


def dominant(apply: Any, size: int, start: np.ndarray) -> float:
    """Spectral radius of a map that keeps positive semidefinite matrices so: its largest eigenvalue, which is real."""
    return perron(apply, start.reshape(size), ((40, 1e-12), (120, 1e-9)))[0]


@unthreaded
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
