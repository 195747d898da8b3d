"""The gradient of one node's network as loops and matrix products that Numba compiles.

Values and deltas of all layers, for a block of samples, lie one layer after the other in flat working arrays.
"""

from __future__ import annotations

import math

import numpy as np


def network_matrix(flat: np.ndarray, start: int, rows: int, columns: int) -> np.ndarray:
    """A matrix that lies at `start` of a flat array."""
    return flat[start : start + rows * columns].reshape(rows, columns)


def network_tanh(z: float) -> float:
    """Hyperbolic tangent by one exponential, which is faster; the library's where 1 − tail would cancel."""
    size = abs(z)
    if size < 0.25:
        return math.tanh(z)
    tail = math.exp(-(size + size))
    return math.copysign((1 - tail) / (1 + tail), z)


def network_forward(x: np.ndarray, sizes: np.ndarray, relu: float, count: int, block: int, values: np.ndarray) -> None:
    """Fill `values` from the features of `count` samples, which are its first layer."""
    start, weights = 0, 0
    for layer in range(sizes.size - 1):
        p, q = sizes[layer], sizes[layer + 1]
        inputs = network_matrix(values, start, count, p)
        start += block * p
        outputs = network_matrix(values, start, count, q)
        np.dot(inputs, network_matrix(x, weights, q, p).T, outputs)
        bias = weights + q * p
        weights += q * (p + 1)
        hidden = layer < sizes.size - 2
        for s in range(count):
            for k in range(q):
                z = outputs[s, k] + x[bias + k]
                if hidden:
                    z = max(z, 0 * z) if relu else network_tanh(z)
                outputs[s, k] = z


def network_softmax(logits: np.ndarray, delta: np.ndarray, classes: np.ndarray, scale: float) -> None:
    """Gradient of the cross-entropies in the logits, times `scale`."""
    for s in range(logits.shape[0]):
        largest = logits[s, 0]
        for k in range(logits.shape[1]):
            largest = max(largest, logits[s, k])
        total = 0 * largest
        for k in range(logits.shape[1]):
            delta[s, k] = math.exp(logits[s, k] - largest)
            total += delta[s, k]
        for k in range(logits.shape[1]):
            delta[s, k] *= scale / total
        delta[s, classes[s]] -= scale


def network_backward(
    x: np.ndarray,
    out: np.ndarray,
    sizes: np.ndarray,
    relu: float,
    count: int,
    block: int,
    values: np.ndarray,
    deltas: np.ndarray,
    product: np.ndarray,
) -> None:
    """Add the gradient to `out`; the deltas of the last layer are given."""
    end, weights = values.size, x.size
    for layer in range(sizes.size - 2, -1, -1):
        p, q = sizes[layer], sizes[layer + 1]
        end -= block * q
        start = end - block * p
        weights -= q * (p + 1)
        delta = network_matrix(deltas, end, count, q)
        inputs = network_matrix(values, start, count, p)
        np.dot(delta.T, inputs, network_matrix(product, 0, q, p))
        for k in range(q * p):
            out[weights + k] += product[k]
        for s in range(count):
            for k in range(q):
                out[weights + q * p + k] += delta[s, k]
        if layer > 0:
            before = network_matrix(deltas, start, count, p)
            np.dot(delta, network_matrix(x, weights, q, p), before)
            for s in range(count):
                for k in range(p):
                    if relu:
                        before[s, k] = before[s, k] if inputs[s, k] > 0 else 0
                    else:
                        before[s, k] *= 1 - inputs[s, k] * inputs[s, k]


def network_block(
    x: np.ndarray,
    out: np.ndarray,
    sizes: np.ndarray,
    relu: float,
    count: int,
    scale: float,
    values: np.ndarray,
    deltas: np.ndarray,
    product: np.ndarray,
    classes: np.ndarray,
) -> None:
    """Add `scale` times the gradients of `count` samples to `out`; their features are in `values`."""
    block = classes.size
    network_forward(x, sizes, relu, count, block, values)
    top = values.size - block * sizes[-1]
    logits, delta = network_matrix(values, top, count, sizes[-1]), network_matrix(deltas, top, count, sizes[-1])
    network_softmax(logits, delta, classes, scale)
    network_backward(x, out, sizes, relu, count, block, values, deltas, product)


def network_row(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    values: np.ndarray,
    deltas: np.ndarray,
    product: np.ndarray,
    classes: np.ndarray,
    sizes: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
    relu: float,
) -> None:
    """Mean gradient over all samples of node i times its share, plus l2 x."""
    for k in range(x.size):
        out[k] = l2 * x[k]
    p, block, end = sizes[0], classes.size, starts[i + 1]
    scale = x.dtype.type(shares[i] / (end - starts[i]))
    for first in range(starts[i], end, block):
        count = min(block, end - first)
        for s in range(count):
            classes[s] = labels[first + s]
            for k in range(p):
                values[s * p + k] = features[first + s, k]
        network_block(x, out, sizes, relu, count, scale, values, deltas, product, classes)


def network_sampled_row(
    i: int,
    indices: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    values: np.ndarray,
    deltas: np.ndarray,
    product: np.ndarray,
    classes: np.ndarray,
    sizes: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
    relu: float,
) -> None:
    """Mean gradient over the drawn samples of node i times its share, plus l2 x."""
    for k in range(x.size):
        out[k] = l2 * x[k]
    p, block = sizes[0], classes.size
    scale = x.dtype.type(shares[i] / indices.size)
    for first in range(0, indices.size, block):
        count = min(block, indices.size - first)
        for s in range(count):
            sample = starts[i] + indices[first + s]
            classes[s] = labels[sample]
            for k in range(p):
                values[s * p + k] = features[sample, k]
        network_block(x, out, sizes, relu, count, scale, values, deltas, product, classes)


HELPERS = (network_matrix, network_tanh, network_forward, network_softmax, network_backward, network_block)
KERNEL = (*HELPERS, network_row)
SAMPLED_KERNEL = (*HELPERS, network_sampled_row)
