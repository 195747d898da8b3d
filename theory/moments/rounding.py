"""How far rounding takes a run from its expectation: the linear response of the step to what it rounds off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simlab.operations import tally
from theory.moments.affine import AffineStep
from theory.moments.linear import CONSERVED

SIGNS = 8  # patterns of signs that are followed side by side, the constant one first
NEAR = 64  # eps of a run's size by which it moves before it comes to rest
STEADY = 1e-5  # relative change of the increment at which a response has become a straight line


class Drift(NamedTuple):
    """Root mean squares over nodes, of the error of x and of its disagreement."""

    error: float
    disagreement: float


def drift(step: AffineStep, steps: int, eps: float, *, rests: bool = False) -> Drift:
    """How far `steps` steps in floating-point numbers of machine precision `eps` may stray from exact ones.

    To first order the error of the states obeys e⁺ = Te + η, where η has eps times the size of what a step adds up:
    every field at its largest, twice (a step may add 2X, X⁻ and γG), and the gradient's own terms. At a fixed
    point a deterministic step rounds the same way for ever. So η is constant here, a pattern of signs, and the response
    grows linearly along what T conserves (the drift of D² written with `mix`) and stays bounded elsewhere, by
    (I − T)⁻¹. The largest response of some patterns is returned.

    Where all exchanges are `simlab.operations.differences`, as D2's are, what a step adds to the sums over nodes that
    it conserves vanishes as the run comes to rest, and its rounding with it: η moves them no longer than `until_rest`,
    and meanwhile, as all numbers change, with other signs at each step: by √m of its size in m steps.

    Parameters
    ----------
    step : AffineStep
        It starts where the run did.
    steps : int
    eps : float
    rests : bool, default False
        Whether the run comes to rest, as one without noise does.
    """
    surrogate, (k, n, d) = step.surrogate, step.shape
    random = np.random.default_rng(0)
    signs = random.choice([-1.0, 1.0], (SIGNS, k + 1, n, d))
    signs[0] = 1.0
    signs[1::2] = signs[1::2, :, :1]  # a pattern that all nodes share moves their mean most
    size = np.zeros(step.start.shape)
    in_gradient = np.zeros((n, d))
    positive = type(surrogate)(np.abs(surrogate.curvature), 0 * surrogate.linear)
    kept = conserved_sums(step) if rests else np.zeros((k, k))
    moving = until_rest(step, steps, eps) if kept.any() else steps
    walk = np.sqrt(max(moving, 1)) if kept.any() else 1.0
    z, before = step.start, None
    e = np.zeros((2, SIGNS, k, n, d))  # the responses to what η has of conserved sums, and to the rest
    moved = e[0]  # the first one, after `moving` steps
    for done in range(steps):
        z = step(z)
        if done < 50 or done % 100 == 0:
            size = np.maximum(size, np.abs(z))
            in_gradient = np.maximum(in_gradient, positive.curve(np.abs(z[0])) + np.abs(surrogate.linear))
            rounded = signs[:, :k] * (2 * eps * np.max(size, axis=(1, 2), keepdims=True))
            rounded = rounded + step.drive(eps * np.max(in_gradient) * signs[:, k])
            sums = np.broadcast_to(np.einsum("kl,slnd->skd", kept, rounded)[:, :, None] / n, rounded.shape)
        move = step.linear(e) + np.stack([sums / walk, rounded - sums]) - e
        e = e + move
        moved = e[0] if done < moving else moved
        if before is not None and done > 50 and np.max(np.abs(move - before)) <= STEADY * np.max(np.abs(move)):
            moved = moved + max(0, moving - 1 - done) * move[0]
            e[1] += (steps - 1 - done) * move[1]
            break
        before = move
    x = (moved + e[1])[:, 0]
    rest = x - x.mean(axis=1, keepdims=True)
    return Drift(*(float(np.sqrt(np.max(np.sum(part * part, axis=(1, 2)) / n))) for part in (x, rest)))


def conserved_sums(step: AffineStep) -> np.ndarray:
    """The combinations v of fields whose sum over nodes T keeps, of a step that exchanges by differences alone.

    Returns
    -------
    ndarray, shape (k, k)
        The projector onto them; 0 where there are none, or an exchange is not by differences.
    """
    k = step.shape[0]
    with tally() as calls:
        step(step.start)
    exchanges = {operation for operation, _, network in calls if network is not None or operation == "average"}
    if exchanges != {"differences"}:
        return np.zeros((k, k))
    e = np.random.default_rng(2).standard_normal((k + 3, *step.shape))
    changes = np.moveaxis((step.linear(e) - e).sum(axis=-2), 1, -1).reshape(-1, k)
    _, values, v = np.linalg.svd(changes, full_matrices=False)
    v = v[values <= CONSERVED * max(values[0], 1.0)]
    return v.T @ v


def until_rest(step: AffineStep, steps: int, eps: float) -> int:
    """How many of the steps a run takes in numbers of precision `eps` before none changes any more.

    It is twice as long, and 50 steps at least, as the exact run takes to move by less than `NEAR` eps of its size.
    """
    z = step.start
    for done in range(steps):
        new = step(z)
        if np.max(np.abs(new - z)) <= NEAR * eps * np.max(np.abs(new)):
            return min(steps, max(50, 2 * done))
        z = new
    return steps
