"""Methods written out in plain NumPy on the draws of a run, with what each node sends counted by hand.

Each function takes a `Run` and the hyperparameters, and returns the rows that the method would record after K steps.
They follow the definitions of the papers, in the papers' order, and share no code with `simlab.algorithms`. Step sizes
may change: ``lr[k]`` is that of step k. Where a start or an order of ours differs from a paper's, a comment says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from simlab.step.streams import Stream

Array = np.ndarray
NUMBER = 64  # bits of an uncompressed number


class Compressed(NamedTuple):
    """A message: what its receivers decode, and its bits."""

    decoded: Array
    bits: int


def top(k: int) -> Callable[[Array, Array], Compressed]:
    """The k entries of largest size, as float32, and their indices."""

    def send(v: Array, dither: Array) -> Compressed:
        out = np.zeros_like(v)
        for j in np.argsort(-np.abs(v), kind="stable")[:k]:
            out[j] = np.float32(v[j])
        return Compressed(out, k * (32 + int(np.ceil(np.log2(len(v))))))

    return send


def scaled_sign(v: Array, dither: Array) -> Compressed:
    """One bit a number, and a scale as float32."""
    scale = float(np.float32(np.mean(np.abs(v))))
    return Compressed(np.array([scale if number >= 0 else -scale for number in v]), 32 + len(v))


def one_bit(v: Array, dither: Array) -> Compressed:
    return Compressed(np.array([1.0 if number >= 0 else -1.0 for number in v]), len(v))


def dense(v: Array, dither: Array) -> Compressed:
    return Compressed(v, NUMBER * len(v))


def random_entries(k: int, unbiased: bool) -> Callable[[Array, Array], Compressed]:
    """The k entries of least random number, as float32, `unbiased` times d/k; the receivers know the seed."""

    def send(v: Array, dither: Array) -> Compressed:
        out = np.zeros_like(v)
        for j in np.argsort(dither, kind="stable")[:k]:
            out[j] = float(np.float32(v[j])) * (len(v) / k if unbiased else 1)
        return Compressed(out, 32 * (k + 1))

    return send


class Run:
    """The noun that the transcriptions work on: a network, the draws of a run of simlab's, and a count of what is sent.

    Parameters
    ----------
    gradient : function (i, x, samples or None) -> (d,)
        Of node i, by plain arithmetic.
    network : Network
    x0 : array (n, d)
    steps : int
    n_samples, batch_size, noise_std, seed
        As in the run.
    """

    def __init__(
        self, gradient: Any, network: Any, x0: Array, steps: int, n_samples: int = 1, batch_size: int | None = None,
        noise_std: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.w, self.x0, self.steps = np.array(network.weights), np.array(x0), steps
        self.n, self.d = self.x0.shape
        self.neighbours = [[j for j in range(self.n) if j != i and self.w[i, j] != 0] for i in range(self.n)]
        stream = Stream(seed, 0)
        self.node, self._noise, self.samples, self.n_samples = gradient, None, None, n_samples
        if batch_size is not None:
            self.samples = stream.indices(steps, self.n, batch_size, n_samples)
        if noise_std:
            self._noise = stream.noise(steps, self.n, self.d, noise_std, np.dtype(float))
        self.dither = stream.dither(steps, 3, self.n, self.d)
        self.payload, self.received = [0], [0]  # bits so far after each step: each message once; once a receiver
        self.k = -1

    def __iter__(self) -> Iterable[int]:
        """The steps; what is sent within counts for them."""
        for k in range(self.steps):
            self.k = k
            self.payload.append(self.payload[-1])
            self.received.append(self.received[-1])
            yield k

    def gradient(self, x: Array) -> Array:
        """G(x) of this step, all nodes: on its mini-batches and with its noise."""
        g = np.zeros_like(self.x0)
        for i in range(self.n):
            g[i] = self.node(i, x[i], None if self.samples is None else self.samples[self.k, i])
            if self._noise is not None:
                g[i] += self._noise[self.k, i]
        return g

    def full(self, x: Array) -> Array:
        """F'(x), all samples and no noise."""
        return np.array([self.node(i, x[i], None) for i in range(self.n)])

    def count(self, bits: int, receivers: int) -> None:
        self.payload[-1] += bits
        self.received[-1] += bits * receivers

    def mix(self, x: Array) -> Array:
        """W x: every node sends its row to its neighbours."""
        for i in range(self.n):
            self.count(NUMBER * self.d, len(self.neighbours[i]))
        return self.w @ x

    def damped(self, x: Array) -> Array:
        """(I + W)/2 x."""
        return (x + self.mix(x)) / 2

    def send(self, compressor: Any, v: Array, call: int = 0, who: Any = None) -> Array:
        """What the neighbours decode of each node's message; of those not in `who`, who are silent, zeros."""
        out = np.zeros_like(v)
        for i in range(self.n):
            if who is None or who[i]:
                out[i], bits = compressor(v[i], self.dither[self.k, call, i])
                self.count(bits, len(self.neighbours[i]))
        return out

    def up(self, compressor: Any, v: Array, call: int = 0, who: Any = None) -> Array:
        """The same, to one server."""
        out = np.zeros_like(v)
        for i in range(self.n):
            if who is None or who[i]:
                out[i], bits = compressor(v[i], self.dither[self.k, call, i])
                self.count(bits, 1)
        return out

    def down(self, compressor: Any, v: Array, call: int = 0) -> Array:
        """What all nodes decode of the server's message (d,)."""
        out, bits = compressor(v, self.dither[self.k, call, 0])
        self.count(bits, self.n)
        return out


def mean(rows: Array) -> Array:
    return rows.sum(axis=0) / len(rows)


# Bias-corrected and momentum methods.


def exact_diffusion(run, lr):
    x = psi = run.x0
    for k in run:
        new = x - lr[k] * run.gradient(x)
        x, psi = run.damped(new + x - psi), new
    return x


def edm(run, lr, momentum):
    x, psi, m = run.x0, run.x0, 0 * run.x0
    for k in run:
        m = momentum * m + (1 - momentum) * run.gradient(x)
        new = x - lr[k] * m
        x, psi = run.mix(new + x - psi), new
    return x


def momentum_tracking(run, lr, momentum):
    x, m, c = run.x0, 0 * run.x0, 0 * run.x0  # the paper: m = c = (g - mean g)/(1 - momentum)
    for k in run:
        m = momentum * m + run.gradient(x)
        x = run.mix(x) - lr[k] * (m - c)
        c = run.mix(c - m) + m
    return x


def dsgt_hb(run, lr, momentum):
    x, y, u, g = run.x0, 0 * run.x0, 0 * run.x0, 0 * run.x0  # the paper: y = g of the first step, not mixed
    for k in run:
        g, before = run.gradient(x), g
        y = run.damped(y + g - before)
        u = momentum * u + (1 - momentum) * y
        x = run.damped(x - lr[k] * u)
    return x


def dsmt(run, lr, momentum, acceleration):
    x, y, z = run.x0, 0 * run.x0, 0 * run.x0  # the paper: y = z = (1 - momentum)g of the first step
    x_last, y_last, eta = x, y, acceleration
    for k in run:
        new = momentum * z + (1 - momentum) * run.gradient(x)
        change, z = new - z, new
        y_now = y + change
        y, y_last = (1 + eta) * run.damped(y_now) - eta * (y_last + change), y_now
        x_now = x - lr[k] * y
        x, x_last = (1 + eta) * run.damped(x_now) - eta * (x_last - lr[k] * y), x_now
    return x


def k_gt(run, lr, local_steps, slow_lr):
    x = start = run.x0
    c = 0 * run.x0  # the paper: c = mean g - g of the first step
    for k in run:
        x = x - lr[k] * (run.gradient(x) + c)
        if (k + 1) % local_steps == 0:
            z = (start - x) / (local_steps * lr[k])
            c = c - z + run.mix(z)
            x = start = run.mix(start - slow_lr * local_steps * lr[k] * z)
    return x


def led(run, lr, local_steps, dual_lr):
    x, y = run.x0, 0 * run.x0
    for k in run:
        x = x - (lr[k] * run.gradient(x) + dual_lr * y)
        if (k + 1) % local_steps == 0:
            mixed = run.mix(x)
            x, y = mixed, y + x - mixed
    return x


def nesterov_dmsgd(run, lr, momentum):
    x, m = run.x0, 0 * run.x0
    for k in run:
        g = run.gradient(x)
        m = momentum * m + g
        x = run.mix(x - lr[k] * (momentum * m + g))
    return x


def nesterov_qg(run, lr, momentum):
    x, m = run.x0, 0 * run.x0
    for k in run:
        g = run.gradient(x)
        new = run.mix(x - lr[k] * (momentum * (momentum * m + g) + g))
        x, m = new, momentum * m + (1 - momentum) * (x - new) / lr[k]
    return x


# Compressed, through a server.


def ef_sign_sgd(run, lr, momentum):
    x, m, e = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        m = momentum * m + run.gradient(x)
        p = lr[k] * m + e
        q = run.up(scaled_sign, p)
        e = p - q
        x = x - run.down(dense, mean(q))
    return x


def sign_sgd(run, lr, momentum):
    x, m = run.x0, 0 * run.x0
    for k in run:
        m = momentum * m + (1 - momentum) * run.gradient(x)
        votes = run.up(one_bit, m).sum(axis=0)
        x = x - lr[k] * run.down(one_bit, votes)
    return x


def double_squeeze(run, lr, compressor):
    x, e, server = run.x0, 0 * run.x0, np.zeros(run.d)
    for k in run:
        p = run.gradient(x) + e
        q = run.up(compressor, p)
        e = p - q
        total = mean(q) + server
        sent = run.down(compressor, total, call=1)
        server = total - sent
        x = x - lr[k] * sent
    return x


def marina(run, lr, compressor, probability):
    """The paper tosses its coin after a step, for the next direction; the draw of a run is that of the step itself."""
    x = run.x0
    g = v = None
    for k in run:
        new = run.full(x)
        if g is None or run.dither[k, 0, 0, 0] < probability[k]:
            v = mean(run.up(dense, new))
        else:
            v = v + mean(run.up(compressor, new - g, call=2))
        run.down(dense, v)
        g, x = new, x - lr[k] * v
    return x


def marina_permuted(run, lr, probability):
    """With PermK: node i keeps the entries whose place in a common random order is in its block, times n.

    d < n: one entry each, times d. Which node has which block is shifted at random, by the numbers of the same draw.
    """
    x, n, d = run.x0, run.n, run.d
    g = v = None
    for k in run:
        new = run.full(x)
        if g is None or run.dither[k, 0, 0, 0] < probability[k]:
            v = mean(run.up(dense, new))
        else:
            common = run.dither[k, 2, 0]
            order = sorted(range(d), key=lambda j: common[j])
            shift = int(n * (sum(float(number) for number in common) % 1))
            change = np.zeros((n, d))
            for i in range(n):
                block = (i + shift) % n
                mine = [j for place, j in enumerate(order) if place * n // d == block]
                if d < n:
                    mine = [order[block * d // n]]
                for j in mine:
                    change[i, j] = float(np.float32(new[i, j] - g[i, j])) * min(n, d)
                run.count(32 * len(mine), 1)
            v = v + mean(change)
        run.down(dense, v)
        g, x = new, x - lr[k] * v
    return x


# Compressed, between neighbours.


def deep_squeeze(run, lr, consensus_lr, compressor):
    x, e = run.x0, 0 * run.x0
    for k in run:
        half = x - lr[k] * run.gradient(x)
        p = half + e
        q = run.send(compressor, p)
        e = p - q
        x = half + consensus_lr * (run.w @ q - q)
    return x


def dcd_psgd(run, lr, compressor):
    x = run.x0
    for k in run:
        half = run.w @ x - lr[k] * run.gradient(x)
        x = x + run.send(compressor, half - x)
    return x


def ecd_psgd(run, lr, compressor):
    x = estimate = run.x0
    for k in run:
        t = k + 1
        new = run.w @ estimate - lr[k] * run.gradient(x)
        z = (1 - t / 2) * x + t / 2 * new
        estimate = (1 - 2 / t) * estimate + 2 / t * run.send(compressor, z)
        x = new
    return x


def motef(run, lr, consensus_lr, compressor, momentum):
    """The right start: m = v = g. What the tracker sends after the gradient at x comes before the message of x."""
    x, zeta = run.x0, consensus_lr
    h, hv, v, m = (0 * run.x0 for _ in range(4))
    for k in run:
        if k == 0:
            m = v = run.gradient(x)
        else:
            new = momentum * m + (1 - momentum) * run.gradient(x)
            v, m = v + zeta * (run.w @ hv - hv) + new - m, new
            hv = hv + run.send(compressor, v - hv, call=0)
        x = x + zeta * (run.w @ h - h) - lr[k] * v
        h = h + run.send(compressor, x - h, call=1)
    return x


def beer(run, lr, consensus_lr, compressor):
    x, zeta = run.x0, consensus_lr
    h, hv, v, g = (0 * run.x0 for _ in range(4))
    for k in run:
        if k == 0:
            g = v = run.gradient(x)
        else:
            new = run.gradient(x)
            v, g = v + zeta * (run.w @ hv - hv) + new - g, new
            hv = hv + run.send(compressor, v - hv, call=0)
        x = x + zeta * (run.w @ h - h) - lr[k] * v
        h = h + run.send(compressor, x - h, call=1)
    return x


def lead(run, lr, consensus_lr, compressor, damping, l1):
    x, h, dual = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        g = run.gradient(x)
        y = x - lr[k] * g - lr[k] * dual
        decoded = h + run.send(compressor, y - h)
        dual = dual + consensus_lr / (2 * lr[k]) * (decoded - run.w @ decoded)
        h = (1 - damping) * h + damping * decoded
        x = shrunk(x - lr[k] * g - lr[k] * dual, lr[k] * l1)
    return x


def shrunk(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def cedas(run, lr, consensus_lr, compressor, damping):
    x, h, dual = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        g = run.gradient(x)
        decoded = h + run.send(compressor, x - lr[k] * g - dual - h)
        dual = dual + consensus_lr / 2 * (decoded - run.w @ decoded)
        h = (1 - damping) * h + damping * decoded
        x = x - lr[k] * g - dual
    return x


def cpd_sgdm(run, lr, consensus_lr, compressor, local_steps, momentum):
    x, m, replica = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        m = momentum * m + run.gradient(x)
        x = x - lr[k] * m
        if (k + 1) % local_steps == 0:
            x = x + consensus_lr * (run.w @ replica - replica)  # the old replicas
            replica = replica + run.send(compressor, x - replica)
    return x


def squarm_sgd(run, lr, consensus_lr, compressor, local_steps, threshold, momentum):
    x, m, replica = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        g = run.gradient(x)
        m = momentum * m + g
        x = x - lr[k] * (momentum * m + g)
        if (k + 1) % local_steps == 0:
            news = x - replica
            moved = [sum(number**2 for number in news[i]) > threshold[k] * lr[k] ** 2 for i in range(run.n)]
            replica = replica + run.send(compressor, news, who=moved)
            x = x + consensus_lr * (run.w @ replica - replica)  # whoever has spoken
    return x


def sparq_sgd(run, lr, consensus_lr, compressor, local_steps, threshold):
    return squarm_sgd(run, lr, consensus_lr, compressor, local_steps, threshold, 0.0)


# Fewer messages.


def lag_wk(run, lr, trigger, memory):
    xs, uploaded = [run.x0[0]], np.zeros((run.n, run.d))
    for k in run:
        moves = sum(sum((a - b) ** 2) for a, b in list(zip(xs[1:], xs, strict=False))[-memory:])
        g = run.gradient(np.tile(xs[-1], (run.n, 1)))
        lazy = [sum((g[i] - uploaded[i]) ** 2) <= trigger / lr[k] ** 2 * moves for i in range(run.n)]
        news = run.up(dense, g, who=[not each for each in lazy])
        uploaded = np.array([uploaded[i] if lazy[i] else news[i] for i in range(run.n)])
        xs.append(xs[-1] - lr[k] * run.down(dense, mean(uploaded)))
    return np.tile(xs[-1], (run.n, 1))


def lag_ps(run, lr, trigger, smoothness, memory):
    xs, uploaded, known = [run.x0[0]], np.zeros((run.n, run.d)), np.array(run.x0)
    for k in run:
        moves = sum(sum((a - b) ** 2) for a, b in list(zip(xs[1:], xs, strict=False))[-memory:])
        asked = [
            k == 0 or smoothness[i] ** 2 * sum((known[i] - xs[-1]) ** 2) > trigger / lr[k] ** 2 * moves
            for i in range(run.n)
        ]
        for i in range(run.n):
            if asked[i] and k:  # the start is known
                run.count(NUMBER * run.d, 1)
        known = np.array([xs[-1] if asked[i] else known[i] for i in range(run.n)])
        news = run.up(dense, run.gradient(known), who=asked)
        uploaded = np.array([news[i] if asked[i] else uploaded[i] for i in range(run.n)])
        xs.append(xs[-1] - lr[k] * mean(uploaded))
    return np.tile(xs[-1], (run.n, 1))


def coca(run, hessians, linear, penalty, threshold, decay):
    """f_i(x) = x'H_i x/2 - b_i'x."""
    x, replica, dual = (np.zeros((run.n, run.d)) for _ in range(3))
    for k in run:
        for i in range(run.n):
            degree = len(run.neighbours[i])
            pull = penalty * sum(replica[i] + replica[j] for j in run.neighbours[i])
            left = hessians[i] + 2 * penalty * degree * np.eye(run.d)
            x[i] = np.linalg.solve(left, linear[i] - dual[i] + pull)
        far = [np.sqrt(sum((replica[i] - x[i]) ** 2)) >= threshold * decay**k for i in range(run.n)]
        news = run.send(dense, x, who=far)
        replica = np.array([news[i] if far[i] else replica[i] for i in range(run.n)])
        for i in range(run.n):
            dual[i] = dual[i] + penalty * sum(replica[i] - replica[j] for j in run.neighbours[i])
    return x


def dadmm(run, hessians, linear, penalty):
    return coca(run, hessians, linear, penalty, 0.0, 1.0)


def dlm(run, lr, penalty):
    x, dual = run.x0, np.zeros((run.n, run.d))

    def apart(x):
        return np.array([sum(x[i] - x[j] for j in run.neighbours[i]) for i in range(run.n)])

    for k in run:
        x = x - lr[k] * (run.gradient(x) + penalty * apart(x) + dual)
        dual = dual + penalty * apart(x)
        run.mix(x)  # one vector a step
    return x


def dual_averaging(run, lr, radius):
    y, z, points = run.x0, 0 * run.x0, [run.x0]
    for k in run:
        z = run.mix(z) + run.gradient(y)
        y = np.array([run.x0[i] + inside(-lr[k] * z[i], radius) for i in range(run.n)])
        points.append(y)
    return np.mean(points, axis=0)


def inside(v, radius):
    length = np.sqrt(sum(v**2))
    return v if radius is None or length <= radius else v * radius / length


def consensus_control(run, lr, threshold, most):
    x = run.x0
    for k in run:
        x = run.mix(x - lr[k] * run.gradient(x))
        for _ in range(most):
            if np.sqrt(sum(sum((row - mean(x)) ** 2) for row in x) / run.n) <= threshold[k]:
                break
            x = run.mix(x)
    return x


# Variance reduced.


def tracked(run, lr, estimate):
    """Gradient tracking of estimates (k, x) -> (n, d), the tracker first."""
    x, y, v = run.x0, 0 * run.x0, 0 * run.x0
    for k in run:
        new = estimate(k, x)
        y, v = run.mix(y + new - v), new
        x = run.mix(x - lr[k] * y)
    return x


def gt_svrg(run, lr, period):
    snapshot = [run.x0]

    def estimate(k, x):
        if k % period == 0:
            snapshot[0] = x
        return run.gradient(x) - run.gradient(snapshot[0]) + run.full(snapshot[0])

    return tracked(run, lr, estimate)


def gt_saga(run, lr):
    if run.samples is None:
        return tracked(run, lr, lambda k, x: run.gradient(x))
    everything = range(run.n_samples)
    table = [[run.node(i, run.x0[i], np.array([s])) for s in everything] for i in range(run.n)]

    def estimate(k, x):
        v = run.gradient(x)
        for i in range(run.n):
            old = [g.copy() for g in table[i]]
            drawn = run.samples[k, i]
            for s in drawn:
                v[i] -= old[s] / len(drawn)
                table[i][s] = run.node(i, x[i], np.array([s]))
            v[i] += sum(old) / run.n_samples
        return v

    return tracked(run, lr, estimate)


def gt_sarah(run, lr, period):
    last = [run.x0, None]

    def estimate(k, x):
        v = run.full(x) if k % period == 0 else run.gradient(x) - run.gradient(last[0]) + last[1]
        last[:] = x, v
        return v

    return tracked(run, lr, estimate)


def chebyshev(run, x, rounds, rho):
    """T_K(W/ρ)/T_K(1/ρ) x, by the three-term recursion; K exchanges."""
    a, b = 1.0, 1 / rho
    before, now = x, run.mix(x) / rho
    for _ in range(rounds - 1):
        a, b = b, 2 / rho * b - a
        before, now = now, 2 / rho * run.mix(now) - before
    return now / b


def destress(run, lr, period, rho, inner, outer):
    x, s, last = run.x0, 0 * run.x0, 0 * run.x0  # the paper: s = mean of the first gradients
    v = before = x
    for k in run:
        if k % period == 0:
            g = run.full(x)
            v = s = chebyshev(run, s + g - last, outer, rho)
            last = g
        else:
            v = chebyshev(run, v + run.gradient(x) - run.gradient(before), inner, rho)
        before, x = x, chebyshev(run, x - lr[k] * v, inner, rho)
    return x


# Accelerated.


def acc_dngd(run, lr, mu):
    x = u = y = run.x0
    s = g = 0 * run.x0  # so that s = g at the first step
    for k in run:
        new = run.gradient(y)
        s, g = run.mix(s) + new - g, new
        alpha = np.sqrt(mu * lr[k])
        around_u, around_y = run.mix(u), run.mix(y)
        x = around_y - lr[k] * s
        u = (1 - alpha) * around_u + alpha * around_y - lr[k] / alpha * s
        y = (x + alpha * u) / (1 + alpha)
    return x


def apapc(run, lr, extrapolation, dual_lr, mu, mix=None):
    mix, tau = mix or run.mix, extrapolation
    x = fast = run.x0
    y = 0 * run.x0
    for k in run:
        between = tau * x + (1 - tau) * fast
        g = run.gradient(between)
        half = (x - lr[k] * (g - mu * between + y)) / (1 + lr[k] * mu)
        y = y + dual_lr * (half - mix(half))
        new = (x - lr[k] * (g - mu * between + y)) / (1 + lr[k] * mu)
        fast, x = between + 2 * tau / (2 - tau) * (new - x), new
    return x


def opapc(run, lr, extrapolation, dual_lr, mu, rounds, rho):
    return apapc(run, lr, extrapolation, dual_lr, mu, lambda x: chebyshev(run, x, rounds, rho))


def ssda(run, hessians, linear, dual_lr, momentum, mix=None):
    mix = mix or run.mix
    z = y = np.zeros((run.n, run.d))
    x = run.x0
    for _ in run:
        x = np.array([np.linalg.solve(hessians[i], linear[i] + z[i]) for i in range(run.n)])
        new = z - dual_lr * (x - mix(x))
        z, y = (1 + momentum) * new - momentum * y, new
    return x


def msda(run, hessians, linear, dual_lr, momentum, rounds, rho):
    return ssda(run, hessians, linear, dual_lr, momentum, lambda x: chebyshev(run, x, rounds, rho))


def chebyshev_decentlam(run, lr, momentum, rounds, rho):
    """The base over P(W): psi = x - lr g; its gradient (x - P psi)/lr."""
    x, m = run.x0, 0 * run.x0
    for k in run:
        m = momentum * m + (x - chebyshev(run, x - lr[k] * run.gradient(x), rounds, rho)) / lr[k]
        x = x - lr[k] * m
    return x
