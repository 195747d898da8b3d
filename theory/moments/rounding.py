"""How far rounding takes a run from its expectation: the linear response of the step to what it rounds off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from theory.moments.affine import AffineStep

SIGNS = 8  # patterns of signs that are followed side by side, the constant one first
STEADY = 1e-5  # relative change of the increment at which a response has become a straight line


class Drift(NamedTuple):
    """Root mean squares over nodes, of the error of x and of its disagreement."""

    error: float
    disagreement: float


def drift(step: AffineStep, steps: int, eps: float) -> Drift:
    """How far `steps` steps in floating-point numbers of machine precision `eps` may stray from exact ones.

    To first order the error of the states obeys e⁺ = Te + η, where η has eps times the size of what a step adds up:
    every field at its largest, twice (a step may add 2X, X⁻ and γG), and the gradient's own terms. At a fixed
    point a deterministic step rounds the same way for ever. So η is constant here, a pattern of signs, and the response
    grows linearly along what T conserves (the drift of D² written with `mix`) and stays bounded elsewhere, by
    (I − T)⁻¹. The largest response of some patterns is returned. Steps by `simlab.operations.differences`, such as
    D2's, round nothing off along what they conserve once they rest: for them it is an upper bound, far too large.

    Parameters
    ----------
    step : AffineStep
        It starts where the run did.
    steps : int
    eps : float
    """
    surrogate, (k, n, d) = step.surrogate, step.shape
    random = np.random.default_rng(0)
    signs = random.choice([-1.0, 1.0], (SIGNS, k + 1, n, d))
    signs[0] = 1.0
    signs[1::2] = signs[1::2, :, :1]  # a pattern that all nodes share moves their mean most
    size = np.zeros(step.start.shape)
    in_gradient = np.zeros((n, d))
    positive = type(surrogate)(np.abs(surrogate.curvature), 0 * surrogate.linear)
    z, e, before = step.start, np.zeros((SIGNS, k, n, d)), None
    for done in range(steps):
        z = step(z)
        if done < 50 or done % 100 == 0:
            size = np.maximum(size, np.abs(z))
            in_gradient = np.maximum(in_gradient, positive.curve(np.abs(z[0])) + np.abs(surrogate.linear))
            rounded = signs[:, :k] * (2 * eps * np.max(size, axis=(1, 2), keepdims=True))
            rounded = rounded + step.drive(eps * np.max(in_gradient) * signs[:, k])
        move = step.linear(e) + rounded - e
        e = e + move
        if before is not None and done > 50 and np.max(np.abs(move - before)) <= STEADY * np.max(np.abs(move)):
            e = e + (steps - 1 - done) * move
            break
        before = move
    x = e[:, 0]
    rest = x - x.mean(axis=1, keepdims=True)
    return Drift(*(float(np.sqrt(np.max(np.sum(part * part, axis=(1, 2)) / n))) for part in (x, rest)))
