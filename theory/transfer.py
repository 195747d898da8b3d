"""Limiting bias: the bias transfer function φ of an algorithm, and what follows from it.

With exact gradients and a constant step size γ, the limit X of a single-buffer algorithm satisfies

    X̃ = −γ φ(W) F'(X)   and   Σᵢ ∇f_i(x_i) = 0,   X̃ = X − 1x̄ᵀ,

where φ acts on the eigenvalues λ != 1 of W. At a fixed point the gradients no longer change, so φ is found by solving
the algorithm's recursion for a fixed point under constant gradients; the closed forms that the classes give were
derived so, and the tests compare them with `read_bias_transfer`, which solves the recursion of the code itself. What
follows from φ: docs/theory.md, "Limiting bias".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import simlab
from simlab.network import AnyNetwork, Network, NetworkProcess
from simlab.operations import Batch
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from theory.caching import remembered

__all__ = [
    "apply_transfer",
    "bias_transfer",
    "leading_constant",
    "leading_direction",
    "limit_residual",
    "read_bias_transfer",
]

EPSILON = float(np.finfo(float).eps)
LARGEST = 3000  # nodes of a network whose modes are computed


def bias_transfer(algorithm: Algorithm, eigenvalues: Any) -> np.ndarray:
    """Bias transfer function φ(λ) of an algorithm, in closed form: what its class gives as `bias_transfer`.

    Parameters
    ----------
    algorithm : algorithm
        With constant hyperparameters.
    eigenvalues : array
        Eigenvalues λ of W other than 1.

    Returns
    -------
    ndarray
        φ at each eigenvalue.

    Raises
    ------
    TypeError
        No closed form is known for this algorithm; `read_bias_transfer` finds φ numerically.
    ValueError
        The algorithm has l1 > 0: with its threshold there is no such function.
    """
    if not has_closed_form(algorithm):
        raise TypeError(
            f"algorithm = {algorithm!r} has no known bias transfer function; read_bias_transfer(network, algorithm) "
            "solves for it"
        )
    _check_no_threshold(algorithm)
    for name in algorithm._fields:
        if name != "lr" and callable(getattr(algorithm, name)):  # φ does not depend on lr, only the limit does
            constant(algorithm, name)
    values = np.asarray(eigenvalues, dtype=float)
    closed_form: Any = algorithm
    return np.asarray(closed_form.bias_transfer(values), dtype=float)


def has_closed_form(algorithm: Algorithm) -> bool:
    """Whether the class of an algorithm gives its bias transfer function."""
    return hasattr(type(algorithm), "bias_transfer")


def constant(algorithm: Algorithm, name: str) -> float:
    """A hyperparameter of a method that has a limit; TypeError or ValueError if it is a schedule, or is none."""
    value = getattr(algorithm, name, None)
    if value is None:
        raise ValueError(f"algorithm = {algorithm!r} has no field {name}; a limit needs it: pass a method that has")
    if callable(value):
        raise TypeError(f"{name} = {value!r} is a schedule; a limit needs a constant {name}: pass a number")
    return float(value)


def _check_no_threshold(algorithm: Algorithm) -> None:
    if "l1" in algorithm._fields and constant(algorithm, "l1") != 0:
        raise ValueError(
            f"algorithm = {algorithm!r} thresholds, and so has no bias transfer function, which is linear; pass one "
            "with l1=0"
        )


def require_fixed_symmetric(network: AnyNetwork) -> Network:
    """`network`; ValueError unless W is one symmetric matrix at every step, as all that is known here assumes."""
    if not isinstance(network, NetworkProcess) and network.is_symmetric:
        return network
    why = "changes from step to step" if isinstance(network, NetworkProcess) else "is not symmetric"
    raise ValueError(
        f"network = {network!r} {why}, and theory needs one fixed symmetric W; pass an undirected simlab.Network, "
        "such as simlab.topologies.ring(n)"
    )


class Eigenpairs(NamedTuple):
    """Eigenvalues of W other than the simple 1, (n − 1,), and their eigenvectors, (n, n − 1)."""

    values: np.ndarray
    vectors: np.ndarray


@remembered
def modes(network: Network) -> Eigenpairs:
    """Modes of disagreement of a network, by a dense eigendecomposition of W; ValueError beyond LARGEST nodes."""
    require_fixed_symmetric(network)
    n = network.n_nodes
    if n > LARGEST:
        raise ValueError(f"network has {n} nodes; its modes are computed densely, up to {LARGEST}: use a smaller one")
    weights = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
    # The shift moves the eigenvalue of 1 to the end, out of (-1, 1), so that the others keep orthogonal to 1.
    values, vectors = np.linalg.eigh(weights + 2 / n)
    return Eigenpairs(values[:-1], vectors[:, :-1])


def read_bias_transfer(network: Network, algorithm: Algorithm) -> np.ndarray:
    """Bias transfer function of any algorithm whose step is affine, read off the step itself.

    The algorithm runs on linear objectives (constant gradients), one column for each eigenvector v of W; its fixed
    point X = −γ φ(λ) v is found by linear algebra, so that an algorithm from a user's script has its φ with nothing
    more written.

    Parameters
    ----------
    network : Network
        At most a few hundred nodes: the fixed point is a dense linear system in n times the number of state fields.
    algorithm : algorithm
        With a constant hyperparameter `lr`.

    Returns
    -------
    ndarray, shape (n − 1,)
        φ at `modes(network).values`.

    Raises
    ------
    ValueError
        The step is not affine, has no fixed point under constant gradients of mean zero, or one that is not a function
        of W; or it comes to rest under gradients of mean other than zero, so that it need not minimize f.
    """
    lr = constant(algorithm, "lr")
    _check_no_threshold(algorithm)
    name = type(algorithm).__name__
    n = network.n_nodes
    _, vectors = modes(network)
    transition = _transition(network, algorithm)
    size = len(transition)

    def offset(gradients: np.ndarray) -> np.ndarray:
        if gradients.shape[1] == 0:  # one node: no eigenvalue but 1
            return np.zeros((size, 0))
        problem = simlab.Quadratic(np.zeros_like(gradients), -gradients)
        state = algorithm.init(np.zeros_like(gradients))
        zero = type(state)(*(np.zeros_like(field) for field in state))
        return np.concatenate(algorithm.step(zero, problem, network, Batch()))

    force = offset(np.ones((n, 1)))
    scale = float(np.linalg.norm(force))
    offsets = offset(vectors)
    mixture = np.random.default_rng(0).standard_normal((n - 1, 2))
    if not np.allclose(offset(vectors @ mixture), offsets @ mixture, rtol=1e-9, atol=1e-9 * scale):
        raise ValueError(
            f"algorithm = {name} has a step that is not affine in the gradients: no bias transfer function"
        )
    fixed, solved = _solve(np.eye(size) - transition, offsets, scale)
    if not solved:
        raise ValueError(f"algorithm = {name} has no fixed point under constant gradients: no bias transfer function")
    # Under gradients of mean 1 the states must drift for ever. Algorithms with conserved quantities have a fixed point
    # even so, but none that they reach from their initial state.
    reachable = [force]
    for _ in range(size // n):
        reachable.append(transition @ reachable[-1])
    left, singular, _ = np.linalg.svd(np.concatenate(reachable, axis=1), full_matrices=False)
    basis = left[:, singular > 1e-10 * singular[0]]
    if _solve(basis - transition @ basis, force, scale)[1]:
        raise ValueError(
            f"algorithm = {name} comes to rest where the mean gradient is not zero: it need not minimize f"
        )
    coefficients = vectors.T @ fixed[:n] / -lr
    transfer = np.diag(coefficients).copy()
    if not np.allclose(
        coefficients, np.diag(transfer), rtol=0, atol=1e-6 * (1 + float(np.max(np.abs(transfer), initial=0.0)))
    ):
        raise ValueError(f"algorithm = {name} has a fixed point that is no function of W: no bias transfer function")
    # Off the diagonal there is nothing but rounding: what is no larger on it is rounding too.
    least = n * EPSILON * float(np.max(np.abs(fixed), initial=scale)) / lr
    rounding = float(np.max(np.abs(coefficients - np.diag(transfer)), initial=least))
    transfer[np.abs(transfer) <= 10 * rounding] = 0.0
    return transfer


def _solve(matrix: np.ndarray, right: np.ndarray, scale: float) -> tuple[np.ndarray, bool]:
    """Least-squares solution of a linear system, and whether it solves the system to rounding at `scale`."""
    solution, *_ = np.linalg.lstsq(matrix, right, rcond=1e-10)
    return solution, bool(np.linalg.norm(matrix @ solution - right) <= 1e-8 * scale)


def _transition(network: Network, algorithm: Algorithm) -> np.ndarray:
    """The matrix by which a step without gradients acts on one column of the stacked state."""
    n = network.n_nodes
    problem = simlab.Quadratic(np.zeros((n, 1)), np.zeros((n, 1)))
    state = algorithm.init(np.zeros((n, 1)))
    fields = len(state)

    def step(columns: np.ndarray) -> np.ndarray:
        """Columns (S, k), each a stacked state, after one step."""
        parts = columns.T.reshape(-1, fields, n, 1)
        with np.errstate(divide="ignore", invalid="ignore"):  # such a step is not affine, which is found below
            after = algorithm.step(type(state)(*(parts[:, k] for k in range(fields))), problem, network, Batch())
        return np.concatenate([np.broadcast_to(part, parts[:, 0].shape)[..., 0] for part in after], axis=1).T

    transition = step(np.eye(fields * n))
    probe = np.random.default_rng(0).standard_normal((fields * n, 2))
    if not np.allclose(step(probe), transition @ probe, rtol=1e-9, atol=1e-9):
        raise ValueError(
            f"algorithm = {type(algorithm).__name__} has a step that is not affine, so no bias transfer function"
        )
    return transition


def transfer_on(network: Network, algorithm: Algorithm) -> np.ndarray:
    """Bias transfer function of an algorithm on a network: in closed form if known, else read off the step.

    Parameters
    ----------
    network : Network
        Of at most `LARGEST` nodes.
    algorithm : algorithm
        With constant hyperparameters.

    Returns
    -------
    ndarray, shape (n − 1,)
        φ at `modes(network).values`.

    Raises
    ------
    TypeError, ValueError
        See `bias_transfer`, `read_bias_transfer` and `modes`.
    """
    if has_closed_form(algorithm):
        return bias_transfer(algorithm, modes(network).values)
    return read_bias_transfer(network, algorithm)


def apply_transfer(network: Network, algorithm: Algorithm, x: np.ndarray) -> np.ndarray:
    """φ(W) x, with φ(1) = 0.

    Parameters
    ----------
    network : Network
        Of at most `LARGEST` nodes.
    algorithm : algorithm
        With constant hyperparameters.
    x : ndarray, shape (..., n, d)
        Rows of the nodes, such as their gradients.

    Returns
    -------
    ndarray, shape (..., n, d)
        In the units of x.
    """
    _, vectors = modes(network)
    return vectors @ (transfer_on(network, algorithm)[:, None] * (vectors.T @ x))


def limit_residual(problem: Problem, network: Network, algorithm: Algorithm, x: np.ndarray) -> np.ndarray:
    """Distance of states from satisfying the limit's equations: ‖X̃ + γ φ(W)F'(X) + γ 1ḡᵀ‖/√n.

    Here ḡ is the mean of the rows ∇f_i(x_i); the two equations live in orthogonal subspaces, so that the residual is
    zero only where both hold.

    Parameters
    ----------
    problem, network, algorithm
        With a constant step size.
    x : ndarray, shape (..., n, d)
        Node states, e.g. the final ones of a run, ``trace.x``.

    Returns
    -------
    ndarray, shape (...)
        In the units of x.
    """
    lr = constant(algorithm, "lr")
    gradients = problem.gradient(x)
    equations = (
        x
        - x.mean(axis=-2, keepdims=True)
        + lr * apply_transfer(network, algorithm, gradients)
        + lr * gradients.mean(axis=-2, keepdims=True)
    )
    return np.linalg.norm(equations, axis=(-2, -1)) / np.sqrt(problem.n_nodes)


def leading_constant(problem: Problem, network: Network, algorithm: Algorithm) -> float:
    """Limit of mse/γ² as γ → 0 with everything else fixed, mse being that of the limit with exact gradients.

    X̃/γ → Y = −φ(W)F'(X*) and (x̄ − x*)/γ → −H̄⁻¹(1/n)Σ H_i y_i with H_i = ∇²f_i(x*), H̄ their mean. Derived for this
    project by differentiating the limit's equations at γ = 0.

    Parameters
    ----------
    problem : Problem
        Twice differentiable, with a positive definite mean Hessian at the minimizer and no l1 term.
    network : Network
    algorithm : algorithm
        Its `lr` is not used, beyond being a number.

    Returns
    -------
    float
        In units of x² per unit of step size squared.

    Raises
    ------
    TypeError, ValueError
        As `leading_direction`.
    """
    spread, shift = leading_direction(problem, network, algorithm)
    return float(np.sum(spread**2) / problem.n_nodes + np.sum(shift**2))


def leading_direction(problem: Problem, network: Network, algorithm: Algorithm) -> tuple[np.ndarray, np.ndarray]:
    """Direction in which the limit with exact gradients leaves the minimizer as γ grows from 0.

    Parameters
    ----------
    problem, network, algorithm
        As in `leading_constant`.

    Returns
    -------
    spread : ndarray, shape (n, d)
        Y = −φ(W)F'(X*), the derivative in γ at 0 of the limit's consensus part X̃.
    shift : ndarray, shape (d,)
        −H̄⁻¹(1/n)Σ H_i y_i, that of its mean x̄.

    Raises
    ------
    TypeError, ValueError
        The problem has an l1 term, or the algorithm no bias transfer function (see `transfer_on`).
    """
    if problem.l1 != 0:
        raise ValueError(
            f"problem = {problem!r} has an l1 term, and at the minimizer of the sum the gradients do not add up to 0; "
            "pass problem.with_l1(0)"
        )
    minimizer = problem.minimizer
    spread = -apply_transfer(network, algorithm, problem.gradient(np.tile(minimizer, (problem.n_nodes, 1))))
    hessians = problem.hessian(minimizer)
    shift = -np.linalg.solve(hessians.mean(axis=0), np.einsum("ijk,ik->j", hessians, spread) / problem.n_nodes)
    return spread, shift
