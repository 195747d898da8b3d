"""Exact moments where links or matchings are on and off, each by itself, and a step exchanges once.

The step is then affine in W, and its second moments take a sum over the links, not one over their 2^E outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from simlab.network.law import Outcome, Toggles
from simlab.protocols import Algorithm
from theory.moments.affine import AffineStep
from theory.moments.budget import CostError
from theory.moments.changing import Current, dominant, perron, symmetric_units
from theory.moments.dense import Dense, Spread, are_equal
from theory.moments.minibatches import node_blocks, second_moment
from theory.moments.noise import Noise

GUESSES = 6  # of how far beyond the mean's rate the mean-square one is


class Probe(Current):
    """The network at its mean, which notes what is exchanged and adds to what is received."""

    def __init__(self, outcome: Outcome, stochastic: str) -> None:
        super().__init__(outcome, stochastic)
        self.calls, self.added, self.asked = 0, np.zeros(1), np.zeros(1)

    def mix(self, x: np.ndarray) -> np.ndarray:
        """W x, and what is added."""
        self.calls += 1
        self.asked = x
        return self.weights @ x + self.added


class LinkNoise:
    """What chance adds: to the gradients, and by each toggle to what is received, p(1 − p) Cov(rightʹ messages).

    Its covariances have first the nodes' blocks and then the toggles', all padded to one size. `heard` (M, D, n, d) is
    what of the gradients' noise is in rightʹ messages of the same step.
    """

    depends_on_state = True

    def __init__(self, noise: Noise, variances: np.ndarray, heard: np.ndarray) -> None:
        self.noise, self.variances, self.heard = noise, variances, heard

    def spread(self, v: np.ndarray) -> np.ndarray:
        """What the covariances of gradient points and of messages add: (n + M, D, D) -> (n + M, D, D)."""
        n, d = self.heard.shape[2:]
        q = self.noise.spread(v[:n, :d, :d]) if self.noise.depends_on_state else None
        return self.blocks(q, v[n:])

    def blocks(self, gradients: np.ndarray | None, messages: np.ndarray) -> np.ndarray:
        """From the covariances of gradients' noise (n, d, d) and of rightʹ messages (M, D, D), those of all."""
        n, d = self.heard.shape[2:]
        result = np.zeros((n + len(messages), *messages.shape[1:]))
        if gradients is not None:
            result[:n, :d, :d] = gradients
            messages = messages + np.einsum("mXia,iab,mYib->mXY", self.heard, gradients, self.heard, optimize=True)
        result[n:] = self.variances[:, None, None] * messages
        return result


class Toggled(Dense):
    """Moments where links or matchings are on and off independently, of a step with one exchange.

    With messages y = Rz + r, z⁺ = T̄z + ū + Σ_m (a_m − p_m) P left_m right_mʹ y + Nξ, T̄ the step at E W: the covariance
    S⁺ = T̄ST̄ʹ + Σ_m p_m(1 − p_m) P left_m [right_mʹ E(yyʹ) right_m] left_mʹ Pʹ + N E[Q] Nʹ takes sums over m alone.

    Parameters
    ----------
    step : AffineStep
        From `base_step`.
    network : NetworkProcess
    law : Toggles

    Raises
    ------
    SeveralExchangesError
        The step exchanges more than once.
    """

    period = 1

    def __init__(self, step: AffineStep, network: Any, law: Toggles) -> None:
        self._probe = Probe(Outcome.of(1.0, law.mean), network.stochastic)
        nodes = (self._probe.awake, self._probe.fires)
        super().__init__(step.at(self._probe, step.phase, nodes), sampled=True)
        self.base, self.process, self.law = step, network, law
        self.gradient_calls = step.gradient_calls
        self._probe.calls = 0
        self.step(self.step.start)
        if self._probe.calls > 1:
            raise SeveralExchangesError
        open_ = [m for m, p in enumerate(law.probabilities) if 0 < p < 1]
        self.variances = law.probabilities[open_] * (1 - law.probabilities[open_])
        n, d = step.shape[1:]
        ranks = [law.left[m].shape[1] for m in open_]
        self._width = d * max([1, *ranks])
        self.right = [law.right[m] for m in open_]
        drive = np.zeros((step.size, n + len(open_), self._width))
        drive[:, :n, :d] = self.step.noise_matrix().reshape(step.size, n, d)
        reads = np.zeros((n + len(open_), self._width, step.size))
        reads[:n, :d] = self.step.gradient_matrix().reshape(n, d, step.size)
        self.heard = np.zeros((len(open_), self._width, n, d))
        if open_ and self._probe.calls:
            received = self._received().reshape(step.size, n, d)
            messages = self.step.read(self._messages, step.shape).T.reshape(n, d, step.size)
            noise = self.step.read(self._heard, (n, d)).T.reshape(n, d, n, d)
            for k, m in enumerate(open_):
                width = d * law.left[m].shape[1]
                drive[:, n + k, :width] = np.einsum("snd,nr->srd", received, law.left[m]).reshape(step.size, width)
                reads[n + k, :width] = np.einsum("nr,nds->rds", law.right[m], messages).reshape(width, step.size)
                self.heard[k, :width] = np.einsum("nr,ndia->rdia", law.right[m], noise).reshape(width, n, d)
        self.noise_matrix = drive.reshape(step.size, -1)
        self.gradient_matrix = reads.reshape(-1, step.size)

    @property
    def drives(self) -> tuple[int, int]:
        """The nodes' gradients and the toggles, in blocks of one size."""
        return self.step.shape[1] + len(self.variances), self._width

    def _messages(self, z: np.ndarray) -> np.ndarray:
        """What is sent in states z (..., k, n, d), beyond what is in state 0."""
        self.step.linear(z)
        asked = np.array(np.broadcast_to(self._probe.asked, (*z.shape[:-3], *z.shape[-2:])))
        self.step.linear(np.zeros(self.step.shape))
        return asked - self._probe.asked

    def _heard(self, noise: np.ndarray) -> np.ndarray:
        """What of the gradients' noise (..., n, d) is sent in the same step."""
        zero = np.zeros((*noise.shape[:-2], *self.step.shape))
        self.step.drive(noise)
        asked = np.array(np.broadcast_to(self._probe.asked, noise.shape))
        self.step.linear(zero)
        return asked - self._probe.asked

    def _received(self) -> np.ndarray:
        """P, (s, n d): what the step makes of what is received."""

        def function(added: np.ndarray) -> np.ndarray:
            self._probe.added = added
            try:
                return self.step.linear(np.zeros((*added.shape[:-2], *self.step.shape)))
            finally:
                self._probe.added = np.zeros(1)

        return self.step.read(function, self.step.shape[1:]).T

    @property
    def mean_rate(self) -> float:
        """Spectral radius of the mean's step."""
        return Dense.rate.__get__(self)

    def _noise(self, noise: Noise) -> LinkNoise:
        return LinkNoise(noise, self.variances, self.heard)

    def _at(self, noise: Noise, z: np.ndarray) -> np.ndarray:
        """Covariances of what chance adds at a mean state (k, n, d)."""
        points = self.step.gradient_points(z)
        gradients = None if noise.is_zero else noise.covariance(points)
        y = np.broadcast_to(self._probe.asked, self.step.shape[1:])
        messages = np.zeros((len(self.right), self._width, self._width))
        for k, right in enumerate(self.right):
            apart = (right.T @ y).ravel()
            messages[k, : len(apart), : len(apart)] = np.outer(apart, apart)
        return self._noise(noise).blocks(gradients, messages)

    def walks(self, noise: Noise) -> bool:
        """Whether chance enters a conserved quantity."""
        blocks = np.zeros((self.drives[0], self._width, self._width))
        first = 0 if not noise.is_zero else self.step.shape[1]
        blocks[first:] = np.eye(self._width)
        return self.is_driven(blocks)

    def carry(self, s: np.ndarray, noise: Noise) -> np.ndarray:
        """What a step makes of a covariance (s, s), without what it adds to it at the mean."""
        spread = self._noise(noise).spread(node_blocks(self.gradient_matrix @ s, self.gradient_matrix, self.drives))
        return self.kept @ s @ self.kept.T + self.forcing(spread)

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> Toggled:
        """See `AffineStep.rescaled`."""
        return Toggled(self.base.rescaled(algorithm, units), self.process, self.law)

    @property
    def unknowns(self) -> int:
        """Rows of `lift`."""
        return self.step.size * (self.step.size + 1) // 2

    def lift(self, noise: Noise) -> list[np.ndarray]:
        """`carry` as a matrix, on symmetric matrices."""
        upper = np.triu_indices(self.step.size)
        return [np.stack([self.carry(unit, noise)[upper] for unit in symmetric_units(self.step.size)], axis=1)]

    def mean_square_rate(self, noise: Noise) -> float:
        """Root of the spectral radius of `carry`."""
        return self.rate_above(noise, self.mean_rate)

    def rate_above(self, noise: Noise, least: float) -> float:
        """`mean_square_rate` or `least`, whichever is larger.

        λ beyond ρ(T)² is an eigenvalue of S -> TSTʹ + N A(YSYʹ) Nʹ if and only if 1 is one of V -> Y(Σ_j λ^(−1−j) T^j N
        A(V) NʹT^jʹ)Yʹ. That map keeps blocks positive semidefinite, and its spectral radius falls as λ grows.
        """
        from scipy.optimize import brentq

        basis = self.eigenbasis
        if basis is None or not len(self.variances):
            return max(self._power_rate(noise), least)
        feedback = self._noise(noise)
        first = 0 if noise.depends_on_state else self.step.shape[1]  # additive noise feeds nothing back
        basis = basis.only(slice(first, None))
        v = np.broadcast_to(np.eye(self._width), (len(self.gradient_matrix) // self._width - first, *2 * [self._width]))
        whole = np.zeros((self.drives[0], self._width, self._width))

        def inverse(square: float) -> float:
            """1/r − 1, r the spectral radius for this λ: nearly linear in it."""
            nonlocal v
            slowed = basis.scaled(1 / np.sqrt(square))

            def apply(flat: np.ndarray) -> np.ndarray:
                whole[first:] = flat.reshape(v.shape)
                whole[first:] += whole[first:].swapaxes(1, 2)
                return slowed.blocks(feedback.spread(whole)[first:]).ravel() / (2 * square)

            radius, v = perron(apply, v, ((12, 1e-10), (30, 1e-10), (120, 1e-8)))
            return 1 / radius - 1 if radius > 0 else np.inf

        floor = max(self.mean_rate, least) ** 2 or 1e-30
        known = {1e-9: inverse(floor * (1 + 1e-9))}  # by the distance from the floor, in units of it
        low, high = 1e-9, np.inf
        if not known[low] < 0:
            return float(np.sqrt(floor))
        # 1/r is about linear in the distance: lines through two points, the first one from a pole at the floor.
        before, distance = (0.0, -1.0), low
        for _ in range(GUESSES):
            at = known[distance]
            slope = (at - before[1]) / (distance - before[0])
            before, distance = (distance, at), distance - at / slope
            if not low < distance < high:
                break
            known[distance] = inverse(floor * (1 + distance))
            if abs(known[distance] / slope) < 1e-10:
                return float(np.sqrt(floor * (1 + distance)))
            low, high = (distance, high) if known[distance] < 0 else (low, distance)
        while high == np.inf:
            distance = 4 * max(low, 1e-3)
            known[distance] = inverse(floor * (1 + distance))
            low, high = (distance, high) if known[distance] < 0 else (low, distance)
        found = brentq(lambda d: known[d] if d in known else inverse(floor * (1 + d)), low, high, xtol=1e-10)
        return float(np.sqrt(floor * (1 + found)))

    def _power_rate(self, noise: Noise) -> float:
        size = self.step.size

        def apply(flat: np.ndarray) -> np.ndarray:
            s = flat.reshape(size, size)
            return self.carry((s + s.T) / 2, noise).ravel()

        return float(np.sqrt(dominant(apply, size * size, np.eye(size))))

    def means(self) -> list[np.ndarray]:
        """The limit of the mean x, (n, d)."""
        return [self.fixed_point()[0]]

    def settled(self, noise: Noise) -> list[Spread]:
        """The stationary spread of x; of a step whose `mean_square_rate` is below 1."""
        found = second_moment(self, self._noise(noise), self._at(noise, self.fixed_point()))
        if found is None:
            raise CostError("cost: the covariance is not found in so many products; simulate it")
        return [self.spread(found)]

    def walk(self, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x (n, d), and its spread, at steps 0, 1, ..."""
        z, s, resting = self.step.start, np.zeros((self.step.size, self.step.size)), False
        while True:
            yield z[0], self.spread(s)
            if not resting:
                new, after = self.step(z), self.carry(s, noise) + self.forcing(self._at(noise, z))
                resting = are_equal(new, z) and are_equal(after, s)
                z, s = new, after

    @property
    def step_work(self) -> float:
        """Multiplications of a step of the second moments."""
        return 4.0 * self.step.size**2 * (self.step.size + self.drives[0] * self._width)


class SeveralExchangesError(ValueError):
    """A step exchanges more than once, so that it is no affine function of W."""
