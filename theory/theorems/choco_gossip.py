"""CHOCO-Gossip: average consensus with compressed messages contracts linearly.

Setting: Q_i = C(x_i − x̂_i), x̂_i⁺ = x̂_i + Q_i, X⁺ = X + ζ(W − I)X̂⁺; W symmetric and doubly stochastic with δ = 1 −
ρ and q = ‖I − W‖₂; a compressor with E‖C(x) − x‖² <= (1 − ω)‖x‖²; consensus step ζ = δω/(16δ + δ² + 4q² + 2δq² −
8δω). Then

    e_{t+1} <= (1 − δζ/2) e_t <= (1 − δ²ω/82) e_t,   e_t = EΣ(‖x_i − x̄‖² + ‖x_i − x̂_i⁺‖²).

Constants: cross-checked. In the eigenbasis of W one step is a 2x2 quadratic form for each eigenvalue, whose least
decrease over all states and compressors, `least_decrease`, has a closed form; a search over (δ, ω, λ) finds no case
beyond either bound, the first of which gives the second as q <= 2 makes the denominator at most 41. With δ² in place
of δ in ζ, a form in which the theorem is also quoted, the bound is false: slow modes decrease by about 2ζδ, of order
δ³ω.

Reference: A. Koloskova, S. Stich, M. Jaggi, Decentralized stochastic optimization and gossip algorithms with
compressed communication, ICML 2019, Theorem 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.network import Network
from theory.theorems.theorem import Check, Setting, Theorem, constant_hyperparameters, in_order, last


def assumptions(network: Network, compression: float, consensus_lr: float) -> list[Check]:
    """A compressor that contracts, a network that mixes, and the theorem's consensus step size.

    Parameters
    ----------
    network : Network
        Its construction checks that W is symmetric, doubly stochastic and connected.
    compression : float
        ω, the contraction factor of the compressor.
    consensus_lr : float
        ζ.
    """
    contracts = Check("contraction", 0 < compression <= 1, f"ω = {compression:.4g}, must be in (0, 1]")
    mixes = Check("spectral gap", 0 < network.spectral_gap <= 1, f"δ = {network.spectral_gap:.4g}, must be in (0, 1]")
    if not (contracts.holds and mixes.holds):
        return [contracts, mixes]
    prescribed = consensus_step(**constants(network, compression))
    close = bool(np.isclose(consensus_lr, prescribed, rtol=1e-6, atol=0))
    return [
        contracts,
        mixes,
        Check("consensus step size", close, f"ζ = {consensus_lr:.6g}; the theorem is about ζ = {prescribed:.6g}"),
    ]


def constants(network: Network, compression: float) -> dict[str, Any]:
    """δ, q = 1 − λₙ and ω."""
    return {
        "gap": network.spectral_gap,
        "largest_shift": 1 - network.smallest_eigenvalue,
        "compression": compression,
    }


def consensus_step(gap: Any, largest_shift: Any, compression: Any) -> Any:
    """ζ = δω/(16δ + δ² + 4q² + 2δq² − 8δω)."""
    q2 = largest_shift**2
    return gap * compression / (16 * gap + gap**2 + 4 * q2 + 2 * gap * q2 - 8 * gap * compression)


def decrease(gap: Any, compression: Any) -> Any:
    """δ²ω/82, by which e_t decreases at least, relatively."""
    return gap**2 * compression / 82


def bound(gap: Any, compression: Any, **_: Any) -> Any:
    """Factor 1 − δ²ω/82 a step, on e_t."""
    return 1 - decrease(gap, compression)


def error(x: np.ndarray, replica: np.ndarray) -> np.ndarray:
    """Σ(‖x_i − x̄‖² + ‖x_i − x̂_i⁺‖²) of states (..., n, d) and of the replicas after their update."""
    disagreement = x - x.mean(axis=-2, keepdims=True)
    return np.sum(disagreement**2, axis=(-2, -1)) + np.sum((x - replica) ** 2, axis=(-2, -1))


def least_decrease(eigenvalue: Any, consensus_lr: Any, compression: Any) -> np.ndarray:
    """Least 1 − e_{t+1}/e_t of one mode of disagreement, over all its states and all compressors of factor ω.

    A mode with x = a, x̂⁺ = a − c has e = a² + c²; then a⁺ = (1 − s)a + sc with s = ζ(1 − λ), and the compressor leaves
    at most (1 − ω)(a⁺ − x̂⁺)² = (1 − ω)((1 + s)c − sa)². The decrease is the smaller eigenvalue of a 2x2 form, here as
    determinant over larger eigenvalue, so that small ones keep their accuracy.
    """
    s, omega = np.asarray(consensus_lr) * (1 - np.asarray(eigenvalue)), np.asarray(compression)
    of_state = s * (2 - 2 * s + omega * s)
    of_replica = (1 + s) * (omega * (1 + s) - 2 * s)
    mixed = s * (2 * s - omega * (1 + s))
    larger = (of_state + of_replica) / 2 + np.hypot((of_state - of_replica) / 2, mixed)
    return (of_state * of_replica - mixed**2) / larger


def run_assumptions(setting: Setting) -> list[Check]:
    """The algorithm is ChocoGossip with constant ζ; then those of `assumptions`."""
    checks = in_order(setting, gossip, constant_hyperparameters)
    if not all(check.holds for check in checks):
        return checks
    compression = float(setting.value("compressor").contraction(setting.problem.dim))
    return [*checks, *assumptions(setting.network, compression, float(setting.value("consensus_lr")))]


def gossip(setting: Setting) -> Check:
    """The algorithm is ChocoGossip, which starts from replicas at zero."""
    name = type(setting.algorithm).__name__
    return Check("algorithm", setting.kind is simlab.ChocoGossip, f"{name}; the theorem is about ChocoGossip")


def run_constants(setting: Setting) -> dict[str, Any]:
    """δ, ω, T, and the most that (1/n)e_0 can be: from x̂ = 0 the first message leaves at most (1 − ω)‖x_i‖²."""
    assert setting.start is not None and setting.x0 is not None
    compression = float(setting.value("compressor").contraction(setting.problem.dim))
    size = float(np.sum(setting.x0.astype(np.float64) ** 2)) / setting.network.n_nodes
    return {
        "gap": setting.network.spectral_gap,
        "compression": compression,
        "steps": setting.steps,
        "initial_error": setting.start.consensus + (1 - compression) * size,
    }


def run_bound(gap: Any, compression: Any, steps: Any, initial_error: Any) -> Any:
    """Bound (1 − δ²ω/82)^T e_0/n on E(1/n)‖X̃_T‖², a part of e_T/n."""
    return bound(gap, compression) ** steps * initial_error


CONSENSUS = Theorem(
    "CHOCO-Gossip",
    "E (1/n)||X_T - 1x̄'||^2 <= (1 - δ^2 ω/82)^T e_0/n",
    "Koloskova, Stich, Jaggi, ICML 2019, Theorem 2; cross-checked, with the step size corrected",
    run_assumptions,
    run_constants,
    run_bound,
    lambda trace: last(trace, "consensus"),
)

THEOREMS = (CONSENSUS,)
