"""The public border: what NumPy, pandas or Python would refuse in their words, or take silently, is refused in ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simlab
import simlab.algorithms
import theory

MATRIX = np.eye(3) / 2 + 1 / 6
FEATURES = np.ones((3, 4, 2)) + np.arange(4.0)[:, None]
PROBLEM = simlab.LeastSquares(FEATURES, np.ones((3, 4)))
RING = simlab.topologies.ring(3)

# Every public entry that takes an array: the argument's name, a value, and how it is passed.
ENTRIES: dict[str, tuple[str, np.ndarray, Callable[[Any], Any]]] = {
    "from_matrix": ("w", MATRIX, simlab.Network.from_matrix),
    "from_adjacency": ("adjacency", np.ones((3, 3)), simlab.Network.from_adjacency),
    "least squares": ("features", FEATURES, lambda a: simlab.LeastSquares(a, np.ones((3, 4)))),
    "targets": ("targets", np.ones((3, 4)), lambda b: simlab.LeastSquares(FEATURES, b)),
    "logistic": ("features", FEATURES, lambda a: simlab.LogisticRegression(a, np.ones((3, 4)), l2=0.1)),
    "labels": ("labels", np.ones((3, 4)), lambda b: simlab.LogisticRegression(FEATURES, b, l2=0.1)),
    "nonconvex": ("features", FEATURES, lambda a: simlab.NonconvexLogistic(a, np.ones((3, 4)), 0.1)),
    "hessians": ("hessians", np.stack([np.eye(2)] * 3), lambda h: simlab.Quadratic(h, np.ones((3, 2)))),
    "partition": ("features", np.eye(6), lambda a: simlab.data.partition(a, np.arange(6), 2)),
    "partition targets": ("targets", np.arange(6.0), lambda b: simlab.data.partition(np.eye(6), b, 2)),
    "x0": (
        "x0",
        np.ones((3, 2)),
        lambda x: simlab.simulate(PROBLEM, RING, simlab.DSGD(0.1), steps=0, x0=x, engine="numpy"),
    ),
}


def ragged(value: np.ndarray) -> Any:
    rows = value.tolist()
    return [*rows[:-1], [rows[-1], rows[-1]]]


def masked(value: np.ndarray) -> Any:
    return np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) == 0)


def complex_numbers(value: np.ndarray) -> Any:
    return value + 0j


def complex_objects(value: np.ndarray) -> Any:
    return (value + 1j).astype(object)


def text(value: np.ndarray) -> Any:
    return np.full((*value.shape, 1), "many")


def digits_as_text(value: np.ndarray) -> Any:
    return value.astype(str)[None]


def dates(value: np.ndarray) -> Any:
    return value.astype("datetime64[s]") if value.dtype.kind == "i" else value.astype(int).astype("datetime64[s]")


def too_large(value: np.ndarray) -> Any:
    large = value.astype(object)
    large[(0,) * value.ndim] = 10**400
    return large


def an_object(value: np.ndarray) -> Any:
    return object()


WRONG = {
    ragged: "rows of unequal length|is not an array of numbers",
    masked: "masked value.s.; impute",
    complex_numbers: "is complex; pass real numbers",
    complex_objects: "is complex; pass real numbers",
    text: "is not an array of numbers: it holds",
    digits_as_text: "is not an array of numbers: it holds",
    dates: "is not an array of numbers: it holds",
    too_large: "is not an array of numbers",
    an_object: "is not an array of numbers",
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda f: f.__name__)
def test_arrays_that_are_none_are_refused_by_name(wrong: Callable[[np.ndarray], Any], entry: str) -> None:
    name, value, call = ENTRIES[entry]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(value)  # the entry takes what is right
        with pytest.raises((TypeError, ValueError), match=rf"^{name} .*({WRONG[wrong]})"):
            call(wrong(value))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: simlab.DSGD(learning_rate=0.1),
            "DSGD takes no learning_rate = 0.1; did you mean 'lr'.* it takes lr, ",
        ),
        (lambda: simlab.algorithms.EXTRA(learning_rate=0.1), "EXTRA takes no learning_rate = 0.1; did you mean 'lr'"),
        (
            lambda: theory.predict(PROBLEM, RING, simlab.DSGD(0.1), noise=1.0),
            "predict takes no noise = 1.0; .*_std",
        ),
        (
            lambda: theory.tune(PROBLEM, RING, None, targt=1.0),
            "tune takes no targt = 1.0; did you mean 'target'",
        ),
        (lambda: theory.fit_rate([1.0], knd="linear"), "fit_rate takes no knd"),
        (lambda: simlab.topologies.ring(5, lasy=True), "ring takes no lasy = True; did you mean 'lazy'"),
        (lambda: simlab.Network.from_matrix(W=1), "Network.from_matrix takes no W = 1; .*it takes w"),
        (
            lambda: simlab.LeastSquares.synthetic(n_node=5),
            "synthetic takes no n_node = 5; did you mean 'n_nodes'",
        ),
        (lambda: simlab.LeastSquares([[[1.0]]], [[1.0]], L2=1.0), "LeastSquares takes no L2 = 1.0; did you mean 'l2'"),
        (lambda: simlab.compression.QSGD(level=3), "QSGD takes no level = 3; did you mean 'levels'"),
        (lambda: simlab.schedules.Cosine(initial=1.0, step=3), "Cosine takes no step = 3; did you mean 'steps'"),
        (lambda: simlab.DmSGD(lr=0.1, momentun=0.9), "DmSGD takes no momentun = 0.9; did you mean 'momentum'"),
        (
            lambda: simlab.simulate(PROBLEM, RING, simlab.DSGD(0.1), step=100),
            "simulate takes no step = 100; did you mean 'steps'",
        ),
        (
            lambda: simlab.frame([], hyperparameter=True),
            "frame takes no hyperparameter = True; did you mean 'hyperpara",
        ),
        (
            lambda: simlab.data.partition(np.eye(4), np.ones(4), nodes=2),
            "partition takes no nodes = 2; did you mean 'n_nodes'",
        ),
    ],
)
def test_a_misspelled_keyword_is_told_the_nearest_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_algorithms_are_still_tuples() -> None:
    import copy
    import pickle

    algorithm = simlab.DmSGD(0.1, momentum=0.5)
    assert algorithm == simlab.DmSGD(lr=0.1, momentum=0.5)
    assert algorithm._replace(lr=0.2).lr == 0.2
    assert pickle.loads(pickle.dumps(algorithm)) == copy.copy(algorithm) == algorithm
    with pytest.raises(TypeError, match="missing 1 required"):
        simlab.DmSGD()  # type: ignore[call-arg]
