"""Random step functions: algorithms whose step is a random expression over everything a step may use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from simlab.kernel import Kernel
from simlab.operations import (
    average,
    average_replicas,
    common_uniform,
    compress,
    conjugate,
    degrees,
    differences,
    differences_replicas,
    fires,
    gradient,
    maximum,
    minimum,
    mix,
    mix_replicas,
    norm,
    phase,
    proximal,
    soft_threshold,
    sqrt,
    steps_taken,
    sum_replicas,
    where,
    zeros_like,
)


class State1(NamedTuple):
    x: Any


class State2(NamedTuple):
    x: Any
    m: Any


class State3(NamedTuple):
    x: Any
    m: Any
    x_next: Any


class State4(NamedTuple):
    x: Any
    m: Any
    x_next: Any
    b0: Any


class NarrowState1(NamedTuple):
    x: Any
    w: Any


class NarrowState2(NamedTuple):
    x: Any
    w: Any
    m: Any


class NarrowState3(NamedTuple):
    x: Any
    w: Any
    m: Any
    w_next: Any


STATES = (State1, State2, State3, State4)
NARROW_STATES = (NarrowState1, NarrowState2, NarrowState3)
NARROW = ("w", "w_next")  #: fields of one number a node


def damped_row(i, x, dither, out, bits):  # type: ignore[no-untyped-def]
    for j in range(x.shape[0]):
        out[j] = 0.25 * x[j] + 0.5 * x[j] * dither[j]
    return bits + i


class Damped(NamedTuple):
    """A compressor that is continuous in its argument: x times a random factor; bits tell the nodes apart."""

    bits: int = 10

    def compress(self, x: Any, dither: Any) -> tuple[Any, Any]:
        n_nodes = x.shape[-2]
        return 0.25 * x + 0.5 * x * dither, np.broadcast_to(self.bits + np.arange(n_nodes), x.shape[:-1])

    def kernel(self, dim: int) -> Kernel:
        return Kernel((damped_row,), (np.int64(self.bits),))


# Every operation is continuous in its array arguments, since rounding differs between engines, and at most doubles
# their size.
UNARY = {
    "neg": lambda s, a: -a,
    "abs": lambda s, a: abs(a),
    "soft": lambda s, a: soft_threshold(a, s.lr),
    "scale_lr": lambda s, a: s.lr * a,
    "scale_momentum": lambda s, a: a * (1 - s.momentum),
    "divide": lambda s, a: a / (s.lr + 1),
    "const": lambda s, a: 0.25 - a,
    "reciprocal": lambda s, a: 1 / (1 + abs(a)),
    "square": lambda s, a: a**2 / (1 + a**2),
    "root": lambda s, a: (1 + abs(a)) ** 0.5,
    "scalar_where": lambda s, a: where(a > s.momentum, a, s.momentum),
    "clip": lambda s, a: where(a <= 1.5, a, 1.5),
    "plus": lambda s, a: +a,
    "sqrt": lambda s, a: sqrt(1 + abs(a)) * sqrt(s.lr),
    "normalized": lambda s, a: a / (1 + norm(a)),
    "switch": lambda s, a: where(s.momentum > 0.5, a, -a),
    "at_least": lambda s, a: maximum(s.lr, a),
    "within": lambda s, a: where((a > -1) & (a < s.momentum), a, 0.5),
    "scalars": lambda s, a: a * ((s.lr - 2) * -s.momentum + abs(s.lr) ** 2),
}
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * (b / (1 + abs(b))),
    "div": lambda a, b: a / (1 + abs(b)),
    "max": lambda a, b: where(a > b, a, b),
    "min": lambda a, b: where(a >= b, b, a),
    "larger": maximum,
    "smaller": minimum,
    "either": lambda a, b: where((a > b) | (b > 0.5), a, b),
    "clipped": lambda a, b: a * minimum(1.0, 1 / (0.1 + norm(b))),
    "jump": lambda a, b: where(b < a, b, a) - a,
}
TIMES = ("phase", "steps", "fires")
CALLS = ("mix", "mix", "differences", "average", "gradient", "gradient", "mix_replicas", "compress")
ORACLES = ("gradient", "proximal", "conjugate")  # of the problem, on arrays (n, d)
REPLICAS = ("differences_replicas", "sum_replicas", "average_replicas")
STANDING = (*REPLICAS, "up", "down", "coin", *ORACLES[1:])  # of networks that stay


class RandomMethod(NamedTuple):
    """Apply `operations` one after the other, then return some of the results as the new state.

    With `narrow`, some fields are of one number a node, (n, 1), and so are the results that come from them alone.
    """

    lr: float
    momentum: float
    operations: tuple[tuple[str, int, int], ...]
    outputs: tuple[int, ...]
    narrow: bool = False

    needs = "row"
    asynchronous = True

    def init(self, x: Any) -> Any:
        kind = (NARROW_STATES if self.narrow else STATES)[len(self.outputs) - 1 - self.narrow]
        columns = [x[..., :1] if field in NARROW else x for field in kind._fields]
        return kind(*(column * (k + 1) - k for k, column in enumerate(columns)))

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        def call(name: str, a: Any, b: Any, i: int, j: int) -> Any:
            match name:
                case "gradient":
                    return gradient(problem, a, batch)
                case "compress":
                    return compress(Damped(10 + i), a, batch)
                case "up":
                    return compress(Damped(10 + i), a, batch, to="server")
                case "down":
                    return compress(Damped(10 + i), a, batch, to="all")
                case "coin":
                    return a * common_uniform(a, batch)
                case "conjugate":
                    return conjugate(problem, a)
                case "proximal":
                    return proximal(problem, a, 1.5 + b / (1 + abs(b)))
                case "average_replicas":
                    return average_replicas(a)
                case "differences_replicas":
                    return differences_replicas(network, a)
                case "sum_replicas":
                    return sum_replicas(network, a) / (1 + degrees(network, a))
                case "average":
                    return average(a)
                case "mix":
                    return mix(network, a)
                case "differences":
                    return differences(network, a)
                case "mix_replicas":
                    return mix_replicas(network, a)
                case "phase":
                    return a if phase(batch, 2 + j % 3) == i % 2 else b
                case "steps":
                    return a / (1 + steps_taken(batch))
                case "fires":
                    return where(fires(network), a, b)

        return self.evaluate(state, call, zeros_like(state.x))

    def evaluate(self, state: Any, call: Any, zeros: Any) -> Any:
        """The new state, given what the operations do that are not elementwise; `zeros` are of x's shape."""
        wide = [field not in NARROW for field in state._fields]
        pool = list(state)
        for name, i, j in self.operations:
            i, j = i % len(pool), j % len(pool)
            a, b = pool[i], pool[j]
            two = name in BINARY or name == "fires"
            if name == "phase":  # of one shape in all phases
                two, a, b = True, (a + zeros if wide[j] > wide[i] else a), (b + zeros if wide[i] > wide[j] else b)
            if name in ORACLES and not wide[i]:
                a = a + zeros
            if name == "proximal" and wide[j]:
                b = self.momentum  # its weight is one number, of all nodes or of each
            if name in UNARY:
                pool.append(UNARY[name](self, a))
            elif name in BINARY:
                pool.append(BINARY[name](a, b))
            else:
                pool.append(call(name, a, b, i, j))
            wide.append(wide[i] or name in ORACLES or (two and wide[j]))
        some = [k for k, each in enumerate(wide) if not each]
        chosen = []
        for field, k in zip(state._fields, self.outputs, strict=True):
            k = some[k % len(some)] if field in NARROW else k % len(pool)
            chosen.append(pool[k] if wide[k] or field in NARROW else pool[k] + zeros)
        return type(state)(*chosen)


@st.composite
def random_methods(draw: st.DrawFn, plain: bool | None = None, replicas: bool = True) -> RandomMethod:
    """A random step: half of its operations exchange, compress or take gradients; arguments are mostly recent.

    Three in four are `plain`, without arrays (n, 1), phases and who fires, unless it is said whether they are.
    """
    plain = draw(st.integers(0, 3)) > 0 if plain is None else plain
    narrow = not plain and draw(st.booleans())
    n_fields = draw(st.integers(1 + narrow, 4))
    elementwise = st.sampled_from([*UNARY, *BINARY, *BINARY])
    calls = st.sampled_from(
        [
            *(c for c in CALLS if replicas or c != "mix_replicas"),
            *(() if plain else TIMES),
            *(STANDING if replicas else ()),
        ]
    )
    operations = []
    for k in range(draw(st.integers(0, 12))):
        size = n_fields + k
        recent = st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 3), size - 1))
        operations.append((draw(st.one_of(elementwise, calls)), draw(recent), draw(recent)))
    size = n_fields + len(operations)
    anywhere = st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 4), size - 1))
    outputs = draw(st.lists(anywhere, min_size=n_fields, max_size=n_fields))
    return RandomMethod(
        draw(st.floats(0.01, 0.5)), draw(st.sampled_from([0.0, 0.4, 0.9])), tuple(operations), tuple(outputs), narrow
    )
