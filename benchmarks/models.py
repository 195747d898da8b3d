"""A model of 10^5 parameters on 16 nodes beside a plain vectorized training loop, in JAX and in PyTorch.

A framework that is not installed is left out, and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import simlab
from benchmarks.measure import Row, ratio, seconds

N_NODES, N_SAMPLES, INPUTS, HIDDEN, CLASSES = 16, 256, 128, 700, 10
BATCH_SIZE, LR, SHORT, LONG, REPEATS = 32, 0.05, 10, 70, 5


def run() -> list[Row]:
    """Time of a step of simlab over that of the plain loop, of parallel SGD and of DSGD on a ring."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N_NODES, N_SAMPLES, INPUTS)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (N_NODES, N_SAMPLES))
    drawn = rng.integers(0, N_SAMPLES, (LONG, N_NODES, BATCH_SIZE))
    rows = []
    for framework, make in {"jax": in_jax, "torch": in_torch}.items():
        if find_spec(framework) is None:
            print(f"models in {framework} left out: pip install 'simlab[{framework}]' brings it")
            continue
        rows += compared(framework, *make(features, labels, drawn))
    return rows


def compared(framework: str, problem: Any, plain: Callable[[int, np.ndarray], Any]) -> list[Row]:
    """Rows of one framework; `plain(steps, W)` trains as DSGD does."""
    network = simlab.topologies.ring(N_NODES)
    weights = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()

    def ours(steps: int) -> Any:
        return simlab.simulate(
            problem, network, simlab.DSGD(LR), steps=steps, batch_size=BATCH_SIZE, record_every=steps,
            x0=problem.initial(), dtype="float32", engine="numpy", progress=False,
        )  # fmt: skip

    candidates = {f"{name} {steps}": lambda one=one, steps=steps: one(steps)
                  for name, one in (("ours", ours), ("plain", lambda steps: plain(steps, weights)))
                  for steps in (SHORT, LONG)}  # fmt: skip
    took = seconds(candidates, REPEATS)
    step = {name: took[f"{name} {LONG}"] - took[f"{name} {SHORT}"] for name in ("ours", "plain")}
    name = f"model of {problem.dim} parameters on {N_NODES} nodes, {framework}"
    return [
        ratio(name, "a step of DSGD / of a plain vectorized loop", step["ours"] / step["plain"], at_most=1.5),
        ratio(name, "milliseconds a step", 1e3 * step["ours"] / (LONG - SHORT)),
    ]


def in_jax(features: np.ndarray, labels: np.ndarray, drawn: np.ndarray) -> tuple[Any, Callable[..., Any]]:
    """The problem, and the plain loop: one compiled step."""
    import jax
    import jax.numpy as jnp

    def loss(parameters: Any, a: Any, b: Any) -> Any:
        hidden = jnp.tanh(a @ parameters["first"] + parameters["biases"])
        chances = jax.nn.log_softmax(hidden @ parameters["last"])
        return -jnp.mean(jnp.take_along_axis(chances, b[:, None], 1))

    rng = np.random.default_rng(1)
    start = {
        "first": rng.standard_normal((INPUTS, HIDDEN)).astype(np.float32) / 12,
        "biases": np.zeros(HIDDEN, np.float32),
        "last": rng.standard_normal((HIDDEN, CLASSES)).astype(np.float32) / 26,
    }
    problem = simlab.ModelProblem(loss, start, features, labels)
    gradients, take = jax.vmap(jax.grad(loss)), jax.vmap(lambda values, which: values[which])
    at, of = jnp.asarray(features), jnp.asarray(labels)

    @jax.jit
    def step(parameters: Any, which: Any, weights: Any) -> Any:
        slopes = gradients(parameters, take(at, which), take(of, which))
        return jax.tree.map(lambda p, g: jnp.tensordot(weights, p - LR * g, 1), parameters, slopes)

    def plain(steps: int, weights: np.ndarray) -> Any:
        mixing = jnp.asarray(weights, jnp.float32)
        parameters = jax.tree.map(lambda p: jnp.tile(p, (N_NODES,) + (1,) * p.ndim), start)
        for which in drawn[:steps]:
            parameters = step(parameters, which, mixing)
        return jax.block_until_ready(parameters)

    return problem, plain


def in_torch(features: np.ndarray, labels: np.ndarray, drawn: np.ndarray) -> tuple[Any, Callable[..., Any]]:
    """The problem, and the plain loop, as the tutorials of torch.func write it."""
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap

    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, CLASSES, bias=False)
    )
    problem = simlab.ModelProblem(
        lambda model, a, b: torch.nn.functional.cross_entropy(model(a), b), module, features, labels, framework="torch"
    )
    at, of = torch.tensor(features), torch.tensor(labels)

    def loss(parameters: Any, a: Any, b: Any) -> Any:
        return torch.nn.functional.cross_entropy(functional_call(module, parameters, (a,)), b)

    gradients, nodes = vmap(grad(loss)), torch.arange(N_NODES)[:, None]

    def plain(steps: int, weights: np.ndarray) -> Any:
        mixing = torch.tensor(weights, dtype=torch.float32)
        parameters, _ = stack_module_state([module] * N_NODES)
        parameters = {name: value.detach() for name, value in parameters.items()}
        for which in torch.tensor(drawn[:steps]):
            slopes = gradients(parameters, at[nodes, which], of[nodes, which])
            parameters = {name: torch.tensordot(mixing, p - LR * slopes[name], 1) for name, p in parameters.items()}
        return parameters

    return problem, plain
