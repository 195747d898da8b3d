"""Problems that users write: what is missing is named, what does not fit is refused."""

import numpy as np
import pytest

import simlab
from simlab.operations import Batch
from simlab.problems import Problem
from tests.simlab.problems.test_problems import close


class Written(Problem):
    """What a user may write, a hook at a time."""

    def __init__(self, **data):
        super().__init__(n_nodes=2, dim=3, **data)


@pytest.mark.parametrize(
    ("use", "name", "remedy"),
    [
        (lambda p: p.loss(np.ones((2, 3))), "local_losses", "a trace records losses; write it"),
        (lambda p: p.global_gradient(np.ones(3)), "local_gradients", "a trace records gradients; write it"),
        (lambda p: p.gradient(np.ones((2, 3)), Batch(np.zeros((2, 1), int))), "sampled_gradients", "leave out n_samp"),
        (lambda p: p.hessian(np.ones(3)), "hessian", "theory need it; write it"),
        (lambda p: p.smoothness, "smoothness", "in its terms; write it"),
        (lambda p: p.strong_convexity, "strong_convexity", "in its terms; write it"),
    ],
)  # fmt: skip
def test_what_is_not_written_is_named(use, name, remedy):
    with pytest.raises(NotImplementedError, match=rf"Written\.{name} is not written.*{remedy}.*"):
        use(Written(n_samples=4))


def test_attributes_of_a_subclass():
    features, classes = np.ones((2, 3)), np.array([1, 2])
    problem = Written(features=features, classes=classes, smoothness=2.0, is_convex=False, name="mine")
    assert (problem.n_nodes, problem.n_samples, problem.dim) == (2, None, 3)
    assert (problem.smoothness, problem.is_convex, problem.gradient_variance) == (2.0, False, 0.0)
    features[:] = 7.0
    classes[:] = 0
    assert problem.features.max() == 1.0 and problem.classes.tolist() == [1, 2]
    for name in ("features", "classes"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(problem, name)[:] = 0
    single = problem.convert(np, np.float32)
    assert (single.features.dtype, single.classes.dtype) == (np.float32, classes.dtype)
    assert problem.with_l1(0.5).smoothness == single.with_l1(0.5).smoothness == 2.0
    with pytest.raises(AttributeError, match=r"Written is immutable, so features .*super\(\)\.__init__"):
        problem.features = features
    with pytest.raises(ValueError, match=r"features holds 1 value"):
        Written(features=np.array([np.nan]))


class Bowl(Written):
    """||x||^2 / 2, whose kernel is given."""

    def local_losses(self, xp, x):
        return xp.sum(x * x, axis=-1) / 2

    def local_gradients(self, xp, x):
        return x

    def hessian(self, x):
        return np.broadcast_to(np.eye(3), (2, 3, 3))


class Unsolved(Bowl):
    """No Hessian is needed."""

    minimizer = None
    hessian = Problem.hessian


def test_a_minimizer_may_be_unknown():
    problem, network = Unsolved(n_samples=2), simlab.topologies.complete(2)
    frame = simlab.simulate(problem, network, simlab.DSGD(0.5), steps=1, engine="numpy", progress=False).frame
    assert frame.mse.isna().all() and frame.drop(columns="mse").notna().all(axis=None)
    for name in ("minimum", "heterogeneity", "gradient_variance"):
        with pytest.raises(ValueError, match=r"Unsolved\(.* has no known minimizer"):
            getattr(problem, name)
    with pytest.raises(NotImplementedError, match=r"hessian is not written.*or set minimizer = None"):
        problem.hessian(np.ones(3))


class CompiledBowl(Bowl):
    def kernel(self, sampled):
        return self.form


def short_row(i, x, out):
    out[:] = x


def test_without_a_kernel_the_array_engine_runs_it():
    problem, network = Bowl(center=np.ones(3)), simlab.topologies.complete(2)
    run = {"steps": 3, "x0": [1.0, 2.0, 3.0], "progress": False}
    trace = simlab.simulate(problem, network, simlab.DSGD(0.5), engine="numpy", **run)
    close(trace.x[0], np.tile([0.125, 0.25, 0.375], (2, 1)), 1e-15)
    message = r"Bowl\.kernel is not written, and the compiled engine.*docs/own_problem\.md.*engine='numpy'"
    with pytest.raises(NotImplementedError, match=message):
        simlab.simulate(problem, network, simlab.DSGD(0.5), **run)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (simlab.Kernel((short_row,), (1.0,)), r"short_row\(i, x, out\).* 4 arguments, row\(i, x, out, .* 0 of.* 1 of"),
        (simlab.Kernel((short_row,), (), (np.empty(2),)), r"with 4 arguments.*1 of work and 0 of data"),
        ((short_row, ()), r"a tuple; return a simlab\.Kernel"),
        (simlab.Kernel(short_row, ()), r"functions = <function short_row.*>; pass a tuple, helpers first"),
        *(
            (simlab.Kernel((short_row,), (), shared=shared), r"shared = .*; pass a tuple of tuples of functions")
            for shared in (short_row, (short_row,), ((),), (("short_row",),))
        ),
    ],
)  # fmt: skip
def test_kernels_that_do_not_fit_are_named(form, message):
    with pytest.raises(TypeError, match=r"CompiledBowl\.kernel\(sampled=False\) returned .*" + message):
        simlab.generated_source(CompiledBowl(form=form), simlab.topologies.complete(2), simlab.DSGD(0.5))
    with pytest.raises(TypeError, match=r"short_row\(i, x, out\).*row\(i, indices, x, out, "):
        fits = CompiledBowl(n_samples=2, form=simlab.Kernel((short_row,), ()))
        simlab.generated_source(fits, simlab.topologies.complete(2), simlab.DSGD(0.5), sampled=True)
