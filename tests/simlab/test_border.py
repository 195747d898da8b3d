"""The public border: what NumPy, pandas or Python would refuse in their words, or take silently, is refused in ours."""

from __future__ import annotations

import inspect
import linecache
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import simlab
import simlab.algorithms
import theory
import theory.testing
from simlab import compression, schedules
from theory.prediction import expected_errors

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
    ragged: "rows of unequal length|is not an array of numbers|has shape .*, not .*; reshape it",  # of which node
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
        with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[\d\])? .*({WRONG[wrong]})"):
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


# Every public callable, with arguments that it takes; some find no file, or nothing to assert.
ALGORITHM = simlab.DSGD(0.1)
TRACE = simlab.simulate(PROBLEM, RING, ALGORITHM, steps=40, record_every=10, engine="numpy")
LEVELS = np.array([0, 1, -2, 0])
LAW: dict[str, Any] = {"probabilities": [0.5, 0.5], "length": 4}
SIZES = {"n_nodes": 3, "n_samples": 4, "dim": 2, "seed": 0}
TRIPLE: dict[str, Any] = {"problem": PROBLEM, "network": RING, "algorithm": ALGORITHM}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "simulate": (
        simlab.simulate,
        {
            **TRIPLE,
            "steps": 2,
            "seed": 0,
            "replicates": 1,
            "record_every": 1,
            "x0": None,
            "noise_std": 0.0,
            "batch_size": None,
            "engine": "numpy",
            "dtype": "float64",
            "record": None,
            "stop_when": "loss <= 0.1",
        },
    ),
    "resume": (simlab.resume, {"trace": TRACE, "steps": 42, "replicates": 2, "record": None}),
    "load_traces": (simlab.load_traces, {"path": "no such file"}),
    "sweep": (simlab.sweep, {"cells": [], "folder": "cells", "client": None, "workers": 0}),
    "grid": (simlab.grid, {}),
    "load_sweep": (simlab.load_sweep, {"folder": "no such folder"}),
    "first": (simlab.first, {"traces": [TRACE], "column": "loss", "target": 0.1, "at_least": False}),
    "table": (simlab.table, {"frame": TRACE.frame, "format": "latex", "digits": 3}),
    "plot.convergence": (simlab.plot.convergence, {"traces": [TRACE], "y": "loss", "x": "bits", "bands": None}),
    "plot.sweep": (simlab.plot.sweep, {"frame": TRACE.frame, "x": "step", "y": "mse", "hue": "algorithm"}),
    "plot.network": (simlab.plot.network, {"network": RING}),
    "plot.report": (simlab.plot.report, {"report": theory.verify(TRACE)}),
    "generated_source": (simlab.generated_source, {**TRIPLE}),
    "frame": (simlab.frame, {"traces": [TRACE], "hyperparameters": False}),
    "cite": (simlab.cite, {"method_or_trace": TRACE}),
    "worst_node_error": (simlab.worst_node_error, {"problem": PROBLEM}),
    "Trace.load": (simlab.Trace.load, {"path": "no such file"}),
    "Trace.save": (TRACE.save, {"path": "/no/such/folder/file"}),
    "Network.from_matrix": (simlab.Network.from_matrix, {"w": MATRIX}),
    "Network.from_adjacency": (simlab.Network.from_adjacency, {"adjacency": np.ones((3, 3)), "weights": "metropolis"}),
    "Network.from_graph": (simlab.Network.from_graph, {"graph": nx.path_graph(3), "weights": "metropolis"}),
    "LeastSquares": (simlab.LeastSquares, {"features": FEATURES, "targets": np.ones((3, 4)), "l2": 0.1}),
    "LeastSquares.synthetic": (simlab.LeastSquares.synthetic, SIZES),
    "LogisticRegression": (simlab.LogisticRegression, {"features": FEATURES, "labels": np.ones((3, 4)), "l2": 0.1}),
    "LogisticRegression.synthetic": (simlab.LogisticRegression.synthetic, SIZES),
    "NonconvexLogistic": (simlab.NonconvexLogistic, {"features": FEATURES, "labels": np.ones((3, 4)), "penalty": 0.1}),
    "NonconvexLogistic.synthetic": (simlab.NonconvexLogistic.synthetic, SIZES),
    "Quadratic": (simlab.Quadratic, {"hessians": np.stack([np.eye(2)] * 3), "linear": np.ones((3, 2))}),
    "NeuralNetwork": (simlab.NeuralNetwork, {"layers": [3], "features": FEATURES, "labels": np.ones((3, 4), int)}),
    "with_l1": (PROBLEM.with_l1, {"l1": 0.1}),
    "signals": (simlab.data.signals, {"n_samples": 20}),
    "load": (simlab.data.load, {"name": "no such name"}),
    "partition": (simlab.data.partition, {"features": np.eye(6), "targets": np.arange(6.0), "n_nodes": 2}),
    "predict": (theory.predict, {**TRIPLE, "noise_std": 0.1, "batch_size": None}),
    "tune": (theory.tune, {**TRIPLE, "target": 1e-3}),
    "stability_limit": (theory.stability_limit, TRIPLE),
    "mixing_parameter": (theory.mixing_parameter, {"network": RING}),
    "worst_case_rate": (theory.worst_case_rate, {"algorithm": simlab.DSGD(0.1), "condition_number": 2.0, "rho": 0.5}),
    "worst_case_bias": (
        theory.worst_case_bias,
        {"algorithm": simlab.DSGD(0.1), "condition_number": 2.0, "rho": 0.5, "heterogeneity": 1.0},
    ),
    "worst_case": (
        theory.worst_case,
        {
            "network": RING,
            "algorithm": simlab.DSGD(0.1),
            "steps": 1,
            "smoothness": 1.0,
            "strong_convexity": 0.1,
            "heterogeneity": 0.5,
            "radius": 1.0,
            "measure": "mse",
        },
    ),
    "stable_intervals": (theory.stable_intervals, TRIPLE),
    "critical_batch_size": (theory.critical_batch_size, TRIPLE),
    "verify": (theory.verify, {"trace": TRACE}),
    "fit_rate": (
        theory.fit_rate,
        {
            "steps": np.arange(1, 50),
            "values": 0.5 ** np.arange(1, 50),
            "kind": "linear",
            "window": None,
            "resamples": 10,
            "seed": 0,
        },
    ),
    "assert_bias_scales": (
        theory.testing.assert_bias_scales,
        {"traces": [TRACE] * 3, "parameter": "lr", "exponent": 2},
    ),
    "assert_bound_holds": (theory.testing.assert_bound_holds, {"trace": TRACE, "theorem": "B1, bias"}),
    "assert_converges_at_rate": (theory.testing.assert_converges_at_rate, {"trace": TRACE, "rate": 0.5}),
    "assert_matches_prediction": (theory.testing.assert_matches_prediction, {"trace": TRACE}),
    "count_bits": (compression.count_bits, {"levels": LEVELS, "n_levels": 2}),
    "encode": (compression.encode, {"levels": LEVELS, "norm": 1.0, "n_levels": 2}),
    "decode": (compression.decode, {"data": b"", "length": None, "n_levels": None, "max_length": 5}),
    "count_adaptive_bits": (compression.count_adaptive_bits, {"levels": LEVELS, "n_levels": 2}),
    "encode_adaptive": (compression.encode_adaptive, {"levels": LEVELS, "norm": 1.0, "n_levels": 2}),
    "count_elias_bits": (compression.count_elias_bits, {"levels": LEVELS}),
    "encode_elias": (compression.encode_elias, {"levels": LEVELS, "norm": 1.0}),
    "expected_bits": (compression.expected_bits, {**LAW, "levels": [0, 1], "n_levels": 1}),
    "expected_adaptive_bits": (compression.expected_adaptive_bits, {**LAW, "levels": [0, 1], "n_levels": 1}),
    "expected_elias_bits": (compression.expected_elias_bits, LAW),
    "decode_adaptive": (compression.decode_adaptive, {"data": b"", "length": None, "n_levels": None}),
    "decode_elias": (compression.decode_elias, {"data": b"", "length": None}),
    "fixed_length_bits": (compression.fixed_length_bits, {"length": 4, "n_levels": 2}),
    "float32_bits": (compression.float32_bits, {"length": 4}),
    "golomb_expected_length": (compression.golomb_expected_length, {"probability": 0.5}),
    "source_code": (compression.source_code, {"name": "level", "n_levels": 2}),
    "empirical_entropy": (compression.empirical_entropy, {"levels": LEVELS}),
    "check_contraction": (compression.check_contraction, {"compressor": compression.TopK(1), "dim": 3}),
    "check_unbiased": (compression.check_unbiased, {"compressor": compression.Natural(), "dim": 3}),
}
CALLS |= {
    f"topologies.{name}": (getattr(simlab.topologies, name), {"n": 4, "weights": "metropolis", "lazy": False})
    for name in ("complete", "exponential", "grid", "hypercube", "path", "ring", "star", "torus")
}


CLASSIFIER = simlab.NeuralNetwork([3], FEATURES, np.tile([0, 1], (3, 2)))


def run(algorithm: Any) -> Any:
    return simlab.simulate(PROBLEM, RING, algorithm, steps=1, engine="numpy")


def choco(lr: Any, consensus_lr: Any, compressor: Any) -> Any:
    return run(simlab.ChocoSGD(lr, consensus_lr, compressor))


def quantized(levels: Any, scaled: Any) -> Any:
    return run(simlab.ChocoSGD(0.1, 0.1, compression.QSGD(levels, scaled=scaled)))


CALLS |= {
    "ChocoSGD": (choco, {"lr": 0.1, "consensus_lr": 0.1, "compressor": compression.TopK(1)}),
    "DmSGD": (lambda lr, momentum: run(simlab.DmSGD(lr, momentum)), {"lr": 0.1, "momentum": 0.5}),
    "DSGD": (lambda order: run(simlab.DSGD(0.1, order=order)), {"order": "cta"}),
    "Cosine": (lambda initial, steps: run(simlab.DSGD(schedules.Cosine(initial, steps))), {"initial": 0.1, "steps": 4}),
    "WarmUp": (
        lambda schedule, steps: run(simlab.DSGD(schedules.WarmUp(schedule, steps))),
        {"schedule": 0.1, "steps": 4},
    ),
    "StepDecay": (
        lambda initial, every, factor: run(simlab.DSGD(schedules.StepDecay(initial, every, factor))),
        {"initial": 0.1, "every": 4, "factor": 0.5},
    ),
    "QSGD": (quantized, {"levels": 3, "scaled": True}),
    "TopK": (lambda k: choco(0.1, 0.1, compression.TopK(k)), {"k": 1}),
    "DitheredUniform": (lambda levels: choco(0.1, 0.1, compression.DitheredUniform(levels)), {"levels": 9}),
    "mix": (RING.mix, {"x": np.ones((3, 2))}),
    "NeuralNetwork.predict": (CLASSIFIER.predict, {"x": CLASSIFIER.initial(), "features": np.ones((5, 2))}),
    "expected_errors": (expected_errors, {**TRIPLE, "steps": 3, "batch_size": 2, "noise_std": 0.1, "x0": None}),
    "loss": (PROBLEM.loss, {"x": np.ones((3, 2))}),
    "gradient": (PROBLEM.gradient, {"x": np.ones((3, 2))}),
    "hessian": (PROBLEM.hessian, {"x": np.ones(2)}),
    "objective": (PROBLEM.objective, {"x": np.ones(2)}),
    "transient": (theory.predict(**TRIPLE).transient, {"steps": 3}),
}
CALLS["topologies.erdos_renyi"] = (simlab.topologies.erdos_renyi, {"n": 8, "p": 0.9, "seed": 0})
CALLS["topologies.random_geometric"] = (simlab.topologies.random_geometric, {"n": 8, "radius": 0.9, "seed": 0})

CALLS["topologies.directed_ring"] = (simlab.topologies.directed_ring, {"n": 4})
CALLS["topologies.directed_exponential"] = (simlab.topologies.directed_exponential, {"n": 4})
CALLS["topologies.disconnected"] = (simlab.topologies.disconnected, {"n": 4})
CALLS["topologies.random_digraph"] = (
    simlab.topologies.random_digraph,
    {"n": 8, "probability": 0.5, "seed": 0, "weights": "push"},
)
CALLS |= {
    "dynamics.cycle": (simlab.dynamics.cycle, {"networks": [RING]}),
    "dynamics.every": (simlab.dynamics.every, {"network": RING, "period": 2}),
    "dynamics.choice": (simlab.dynamics.choice, {"networks": [RING], "probabilities": [1.0]}),
    "dynamics.markov": (simlab.dynamics.markov, {"networks": [RING], "transitions": [[1.0]]}),
    "dynamics.link_failures": (
        simlab.dynamics.link_failures,
        {"network": RING, "probability": 0.5, "burst": 2.0, "one_sided": False},
    ),
    "dynamics.node_failures": (simlab.dynamics.node_failures, {"network": RING, "probability": 0.5}),
    "dynamics.matchings": (simlab.dynamics.matchings, {"network": RING, "budget": 0.5}),
    "dynamics.pairwise": (simlab.dynamics.pairwise, {"network": RING}),
    "dynamics.groups": (simlab.dynamics.groups, {"n_nodes": 4, "size": 2}),
    "dynamics.one_peer_exponential": (simlab.dynamics.one_peer_exponential, {"n_nodes": 4}),
    "dynamics.asynchronous": (simlab.dynamics.asynchronous, {"network": RING, "compute": 1.0}),
    "dynamics.noise": (simlab.dynamics.noise, {"network": RING, "std": np.full((3, 3), 0.1)}),
    "sample": (RING.sample, {"steps": 3, "seed": 0, "replicate": 0}),
    "Cluster": (simlab.Cluster, {"compute": 1.0, "latency": 0.0, "bandwidth": 1.0, "collective": "ring"}),
    "cluster": (lambda cluster: simlab.simulate(PROBLEM, RING, simlab.DSGD(0.1), steps=1, cluster=cluster), {}),
    "LocalSGD": (
        lambda lr, local_steps, momentum: run(simlab.LocalSGD(lr, local_steps, momentum)),
        {"lr": 0.1, "local_steps": 2, "momentum": 0.5},
    ),
    "SlowMo": (
        lambda base, period, slow_momentum, slow_lr: run(simlab.SlowMo(base, period, slow_momentum, slow_lr)),
        {"base": simlab.DSGD(0.1), "period": 2, "slow_momentum": 0.5, "slow_lr": 1.0},
    ),
    "SGP": (
        lambda lr, momentum, overlap: run(simlab.SGP(lr, momentum, overlap)),
        {"lr": 0.1, "momentum": 0.5, "overlap": False},
    ),
}

ANY = {
    "None": None,
    "text": "many",
    "a truth value": True,
    "NaN": float("nan"),
    "negative": -3,
    "zero": 0,
    "fraction": 0.3,
    "huge": 10**400,
    "complex": 1j,
    "ragged": [[1.0], [1.0, 2.0]],
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    "empty": [],
    "texts": ["a", "b"],
    "object": object(),
    "vector": np.ones(7),
    "cube": np.ones((2, 2, 2)),
    "number in an array": np.array(0.5),
    "sparse": sparse.csr_array(np.eye(3)),
    "frame": pd.DataFrame({"a": [1, "b"], "c": [1, 2]}),
    "numbers and texts": np.array([1, "b", None], dtype=object),
    "no name": "",
    "NaNs": np.full((3, 3), np.nan),
    "mapping": {"a": 1},
    "function": len,
    "class": simlab.DSGD,
}


def refusals(call: Callable[..., Any], values: dict[str, Any], name: str) -> dict[str, str]:
    """What is raised for each wrong value of argument `name`, but by a `raise` of the project's own."""
    raw = {}
    for kind, wrong in ANY.items():
        if name == "parameter" and callable(wrong):
            continue  # a function of the user's, whose errors are the user's
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(**{**values, name: wrong})
        except AssertionError:
            pass
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            own = any(f"/{room}/" in last.filename for room in ("simlab", "theory"))
            if not own or not linecache.getline(last.filename, last.lineno or 0).strip().startswith("raise"):
                raw[kind] = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
            elif not isinstance(error, TypeError | ValueError | OSError) or "positional argument" in str(error):
                raw[kind] = repr(error)
    return raw


@pytest.mark.parametrize("entry", CALLS)
def test_no_error_of_another_library_reaches_the_user(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # any text is the name of a file
    call, values = CALLS[entry]
    taken = inspect.signature(call).parameters
    assert not values.keys() - taken.keys()
    for name in taken:
        assert not refusals(call, values, name), name


@pytest.mark.parametrize("entry", [name for name, (call, _) in CALLS.items() if hasattr(call, "__wrapped__")])
def test_missing_arguments_are_named(entry: str) -> None:
    call, values = CALLS[entry]
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            with pytest.raises(TypeError, match=rf"misses {name}.*; it takes .*{name}"):
                call(**{k: v for k, v in values.items() if k != name})


def test_what_is_missing_is_explained() -> None:
    with pytest.raises(
        TypeError, match=r"^DecentLaM misses lr \(float or schedule: Step size γ > 0\); it takes lr, momentum$"
    ):
        simlab.DecentLaM()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^LeastSquares misses targets \(array, .*: b_i\); it takes features, "):
        simlab.LeastSquares(FEATURES)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"DecentLaM does not take 3 without a name; it takes lr, momentum"):
        simlab.DecentLaM(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"DecentLaM gets lr by its place and as lr = 2; pass it once"):
        simlab.DecentLaM(1, lr=2)  # type: ignore[misc]


def test_every_public_function_is_among_the_calls() -> None:
    tried = {inspect.unwrap(call) for call, _ in CALLS.values()}
    for module in (simlab, theory, theory.testing, compression, simlab.data, simlab.topologies, simlab.dynamics):
        names = getattr(module, "__all__", vars(module))
        public = [getattr(module, name) for name in names if not name.startswith("_")]
        written = [f for f in public if inspect.isfunction(f) and f.__module__.startswith(module.__name__)]
        assert written
        assert not [f.__name__ for f in written if inspect.unwrap(f) not in tried]
