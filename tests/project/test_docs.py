"""The scripts in docs/ run, and say what the text says they say."""

import io
import re
import runpy
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import simlab
import theory
from simlab.operations import Batch
from simlab.step.streams import Stream

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("own_*.md"))


def script(page: Path) -> str:
    return re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL).group(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The names that a page's script defines and what it prints; run as a file, because that is how a user would."""
    folder = tmp_path_factory.mktemp("scripts")

    @cache
    def run(name):
        file = folder / f"{name}.py"
        file.write_text(script(DOCS / f"{name}.md"))
        with redirect_stdout(io.StringIO()) as printed:
            names = runpy.run_path(str(file))
        return names, printed.getvalue()

    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_script_runs(page, run):
    _, printed = run(page.stem)
    assert printed


def test_own_algorithm_is_simulated_predicted_and_verified(run):
    names, _ = run("own_algorithm")
    trace, prediction = names["trace"], names["prediction"]
    assert trace.frame["mse"].iloc[-1] < 1e-20  # exact diffusion has no bias
    assert prediction.stable and prediction.bias < 1e-20
    late = trace.frame["mse"][(trace.frame["mse"] > 1e-18) & (trace.frame["step"] > 300)]
    measured = (late.iloc[-1] / late.iloc[0]) ** (1 / (2 * 20 * (len(late) - 1)))
    assert measured == pytest.approx(prediction.rate, rel=0.01)
    report = theory.verify(trace)
    assert len(report.frame) and not (report.frame["verdict"] == "violated").any()
    code = [line for line in script(DOCS / "own_algorithm.md").splitlines() if line.strip()]
    assert len(code) <= 34  # the promise of a short script


def test_own_problem_is_simulated_on_both_engines_and_predicted(run):
    printed = [float(line.split()[-1]) for line in run("own_problem")[1].splitlines()]
    full, batch = printed[:3], printed[3:]
    assert full[0] == full[1] == pytest.approx(full[2], rel=0.01)
    # The mean over 5 replicates and 1000 steps, which are independent after about 1/(lr mu) = 100 to 500 of them.
    assert batch[0] == batch[1] == pytest.approx(batch[2], rel=0.1)
    assert batch[2] > 1.5 * full[2]
    code = [line for line in script(DOCS / "own_problem.md").splitlines() if line.strip()]
    assert len(code) <= 48


def test_own_network_is_what_it_says(run):
    names, printed = run("own_network")
    opened, errors = printed.splitlines()
    assert 100 * 0.2 - 4 * 4 <= int(opened.split()[2]) <= 100 * 0.2 + 4 * 4  # four standard deviations
    one, two = (float(part) for part in errors.removeprefix("mse ").split(" and "))
    assert one == pytest.approx(two, rel=1e-9)
    path, again = names["network"].sample(30, seed=1), names["network"].walk(Stream(1, 0).network())
    parts = [again(size) for size in (1, 4, 25)]
    cut = [part.matrix(k, 8).toarray() for part in parts for k in range(len(part.which))]
    for k in range(30):
        np.testing.assert_allclose(path[k] @ np.ones(8), 1, atol=1e-15)
        np.testing.assert_array_equal(path[k], cut[k])
    code = script(DOCS / "own_network.md")
    body = code[code.index("class Bridge") : code.index("problem =")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_own_worst_case_is_what_it_says(run):
    pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")
    names, printed = run("own_worst_case")
    said, rate, bias = printed.splitlines()
    assert float(said.split()[-1]) == pytest.approx(names["worst"].value, abs=1e-4)
    assert 0.9 < float(rate) < 1 and float(bias) > 0


def test_own_problem_is_what_it_says(run):
    """Losses by plain loops, gradients and Hessians by differences, and what follows from them."""
    problem = run("own_problem")[0]["problem"]
    n, m, d = problem.features.shape
    random = np.random.default_rng(0)
    x, indices = 2 * random.standard_normal((n, d)), random.integers(0, m, (n, 3))

    def loss(i, x, samples):
        total = 0.0
        for s in samples:
            r = abs(problem.features[i, s] @ x - problem.targets[i, s])
            total += r**2 / 2 if r < 1 else r - 1 / 2
        return total / len(samples) + 0.05 * x @ x

    def slope(f, x):
        return np.array([(f(x + h) - f(x - h)) / 2e-6 for h in 1e-6 * np.eye(d)])

    everything = [range(m)] * n
    np.testing.assert_allclose(problem.loss(x), [loss(i, x[i], everything[i]) for i in range(n)], rtol=1e-12)
    for batch, drawn in ((None, everything), (Batch(indices), indices)):
        expected = [slope(lambda y, i=i, s=s: loss(i, y, s), x[i]) for i, s in enumerate(drawn)]
        np.testing.assert_allclose(problem.gradient(x, batch), expected, atol=1e-7)
    curved = [(problem.gradient(x + h) - problem.gradient(x - h)) / 2e-6 for h in 1e-6 * np.eye(d)]
    np.testing.assert_allclose(problem.hessian(x), np.stack(curved, axis=-1), atol=1e-7)
    assert np.linalg.norm(problem.global_gradient(problem.minimizer)) <= 1e-12
    values = np.linalg.eigvalsh(problem.hessian(x))
    assert values.min() >= 0.1 and values.max() <= problem.smoothness
    at_best = np.broadcast_to(problem.minimizer, (n, d))
    samples = np.stack([problem.gradient(at_best, Batch(np.full((n, 1), s))) for s in range(m)])
    assert problem.gradient_variance == pytest.approx(np.mean(np.sum(np.var(samples, axis=0), axis=-1)))
    assert problem.gradient_variance > 0.1


def test_own_compressor_is_unbiased_and_contracts(run):
    names, printed = run("own_compressor")
    first, second = (line.split(": ")[1] for line in printed.splitlines())
    assert first == second
    v = np.random.default_rng(0).standard_normal(50) * 10.0 ** np.arange(-25, 25)
    dither = np.broadcast_to(((np.arange(1024) + 0.5) / 1024)[:, None], (1024, 50))
    q, bits = names["Natural"]().compress(np.broadcast_to(v, dither.shape), dither)
    assert np.all(np.log2(abs(q)) % 1 == 0)
    np.testing.assert_allclose(q.mean(axis=0), v, rtol=1e-3)
    error = np.mean((q - v) ** 2, axis=0) / v**2
    assert error.max() <= 1 - names["Natural"]().contraction(50) + 1e-3
    assert error.max() > 0.1
    assert (bits == 450).all()


def test_own_compressor_has_two_equal_forms(run):
    names, _ = run("own_compressor")
    random = np.random.default_rng(0)
    v, dither = random.standard_normal((20, 50)), random.random((20, 50), np.float32)
    v[:, ::7] = 0
    out = np.full_like(v, np.nan)
    with np.errstate(all="ignore"):
        q, bits = names["Natural"]().compress(v, dither)
        assert [names["natural_row"](i, v[i], dither[i], out[i]) for i in range(20)] == bits.tolist()
    np.testing.assert_array_equal(out, q)
    assert not q[:, ::7].any()
    options = {"steps": 50, "x0": v[:8, :5], "progress": False}
    network = simlab.topologies.grid(8)
    one, two = (
        simlab.simulate(names["problem"], network, names["algorithm"], engine=engine, **options).x
        for engine in ("compiled", "numpy")
    )
    np.testing.assert_allclose(one, two, atol=1e-12)
