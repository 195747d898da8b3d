"""Compressors: two forms, bits, and the bounds they state."""

import importlib.util
import itertools
import linecache
from typing import NamedTuple

import array_api_strict
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st

import simlab
from simlab.compression import (
    QSGD,
    DitheredUniform,
    Identity,
    Induced,
    Natural,
    OneBit,
    PermK,
    RandomK,
    RankOne,
    RTopK,
    Scaled,
    Sign,
    TopK,
    check_contraction,
    check_unbiased,
    source_code,
)
from simlab.compression.codes.program import program
from simlab.programs import part_of
from tests.helpers.rows import bits_of_rows

CODES = ["level", "adaptive", "elias", "fixed", "float32"]
QUANTIZERS = [QSGD, DitheredUniform, lambda *a, **k: DitheredUniform(*a, norm="max", **k)]
EVEN = (np.arange(1024) + 0.5) / 1024  # dithers whose mean is the expectation, to 1/2048 of a level


def grown(dim):
    """Every compressor there is, for messages of `dim` numbers."""
    half = (dim + 1) // 2
    quantizers = [
        make(levels, scaled=scaled, code=code)
        for make, (levels, code), scaled in itertools.product(
            QUANTIZERS,
            [
                (1, "level"),
                (3, "elias"),
                (16, "fixed"),
                (1000, "level"),
                (7, "adaptive"),
                (300, "adaptive"),
                (5, "float32"),
            ],
            [False, True],
        )
    ]
    sparse = [TopK(half), TopK(dim), RandomK(half), RandomK(1), RandomK(half, unbiased=True), RTopK(1, half)]
    return [Identity(), Sign(), OneBit(), Natural(), *sparse, *quantizers]


def vectors(dim, random):
    """Ordinary rows and awkward ones, (k, dim)."""
    normal = random.standard_normal((6, dim))
    normal[1] *= 1e-30
    normal[2] *= random.random(dim) < 0.3
    normal[3] = np.round(normal[3])
    normal[4] *= 1e6 ** random.random(dim)
    single = np.zeros((1, dim))
    single[0, -1] = -0.7
    signs = np.sign(random.standard_normal((1, dim)))
    return np.concatenate([normal, single, np.zeros((1, dim)), signs, np.full((1, dim), 1e-42)])


def compiled(compressor, v, dither):
    """The row functions on the rows of `v`, as the compiled engine calls them."""
    kernel = compressor.kernel(v.shape[1])
    real = v.dtype.type
    work = [np.empty(w.shape, v.dtype if w.dtype.kind == "f" else w.dtype) for w in kernel.work]
    data = [a if isinstance(a, np.ndarray) else real(a) for a in kernel.data]
    out = np.full_like(v, np.nan)
    bits = bits_of_rows(part_of(kernel), (v, dither, out), (*work, *data))
    return out, bits


# The forms do the same arithmetic on the same numbers, so they agree to the last bit. Only the sum of squares may be
# rounded differently; that shows if it crosses a rounding step of float32, once in about 10^8 rows.
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [1, 2, 7, 64, 301])
def test_compiled_rows_are_the_array_form(dim, dtype):
    random = np.random.default_rng(dim)
    for compressor in grown(dim):
        v = vectors(dim, random).astype(dtype)
        dither = random.random(v.shape, np.float32)
        out, bits = compiled(compressor, v, dither)
        q, sent = compressor.compress(v, dither)
        assert q.dtype == dtype
        np.testing.assert_array_equal(out, q, err_msg=repr(compressor))
        np.testing.assert_array_equal(bits, sent, err_msg=repr(compressor))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_what_float32_cannot_hold_shows(bad):
    """A quantizer's row with it becomes NaN in both forms, so that a run that diverges is seen to."""
    v = np.ones((1, 5))
    v[0, 2] = bad
    dither = np.full(v.shape, 0.5, np.float32)
    for compressor in [QSGD(4), DitheredUniform(4), DitheredUniform(4, norm="max", code="elias")]:
        assert np.isnan(compiled(compressor, v, dither)[0]).all()
        assert np.isnan(compressor.compress(v, dither)[0]).all()


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 1e40])
@pytest.mark.parametrize(
    "compressor", [Sign(), Natural(), TopK(1), TopK(3), RandomK(1), RTopK(1, 4), RTopK(2, 2)], ids=repr
)
def test_no_compressor_drops_what_is_not_finite(compressor, bad):
    """Wherever it stands, and whatever the dither: both forms send it, so that receivers see the divergence."""
    random = np.random.default_rng(6)
    v = random.standard_normal((9, 9))
    np.fill_diagonal(v, bad)
    dither = random.random(v.shape, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        q, _ = compressor.compress(v, dither)
        np.testing.assert_array_equal(compiled(compressor, v, dither)[0], q)
        assert (~np.isfinite(q)).any(axis=-1).all()


@pytest.mark.parametrize("dim", [1, 9])
def test_other_array_namespaces(dim):
    random = np.random.default_rng(0)
    x, dither = random.standard_normal((2, 3, dim)), random.random((2, 3, dim), np.float32)
    with array_api_strict.ArrayAPIStrictFlags(api_version="2024.12"):
        for compressor in grown(dim):
            q, bits = compressor.compress(array_api_strict.asarray(x), array_api_strict.asarray(dither))
            expected, sent = compressor.compress(x, dither)
            np.testing.assert_array_equal(np.from_dlpack(q), expected)
            np.testing.assert_array_equal(bits, sent)
            assert bits.shape == (2, 3)


# What is sent.


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 40), s=st.sampled_from([1, 2, 5, 16, 300]))
def test_quantizers_by_the_formula(seed, dim, s):
    random = np.random.default_rng(seed)
    v, u = random.standard_normal(dim), random.random(dim, np.float32)
    for make, norm in zip(QUANTIZERS, [np.linalg.norm(v), np.linalg.norm(v), np.abs(v).max()], strict=True):
        levels, sent = make(s).quantize(v, u)
        assert norm < sent < norm * (1 + 2e-7)
        assert sent.dtype == np.float32
        assert np.abs(levels).max() <= s
        exact = s * np.abs(v) / np.float64(sent)
        clear = np.abs(exact - np.floor(exact) - u) > 1e-9  # of rounding in the quotient
        rounded = np.sign(v) * (np.floor(exact) + (u < exact - np.floor(exact)))
        np.testing.assert_array_equal(levels[clear], rounded[clear])
        q = make(s).reconstruct(levels, sent)
        np.testing.assert_allclose(q, levels * np.float64(sent) / s, rtol=1e-15)
        scaled = make(s, scaled=True)
        tau = 1 + scaled.variance_factor(dim)
        np.testing.assert_allclose(scaled.compress(v, u)[0], q / tau, rtol=1e-14)
        assert scaled.contraction(dim) == 1 / tau


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 30), ties=st.booleans(), data=st.data())
def test_sparsifiers_by_sorting(seed, dim, ties, data):
    random = np.random.default_rng(seed)
    v = random.standard_normal(dim)
    v = np.round(v) if ties else v
    r = data.draw(st.integers(1, dim))
    k = data.draw(st.integers(1, r))
    u = random.random(dim, np.float32)
    by_size = sorted(range(dim), key=lambda j: (-abs(v[j]), j))
    for compressor, kept, bits in (
        (TopK(k), by_size[:k], k * (32 + int(np.ceil(np.log2(dim))))),
        (RandomK(k), sorted(range(dim), key=lambda j: u[j])[:k], 32 * k + 32),
        (RTopK(k, r), sorted(by_size[:r], key=lambda j: u[j])[:k], k * (32 + int(np.ceil(np.log2(dim))))),
    ):
        expected = np.zeros(dim)
        expected[kept] = v[kept].astype(np.float32)
        q, sent = compressor.compress(v, u)
        np.testing.assert_array_equal(q, expected)
        assert sent == bits


def test_sign_and_identity():
    v = np.array([3.0, -1.0, 0.0, -0.0])
    q, bits = Sign().compress(v)
    np.testing.assert_array_equal(q, [1, -1, 1, 1])
    assert bits == 32 + 4
    q, bits = Identity().compress(v)
    np.testing.assert_array_equal(q, v)
    assert bits == 256
    assert Identity().compress(v.astype(np.float32))[1] == 128


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_the_trace_counts_the_bytes_that_are_sent(engine, code):
    """Every message of a short run: its stream is as long as counted, and decoding it gives what the receivers use."""
    random = np.random.default_rng(4)
    problem = simlab.LeastSquares.synthetic(n_nodes=5, n_samples=20, dim=37, seed=2)
    network = simlab.topologies.ring(5)
    x0 = random.standard_normal((5, 37))
    compressor = DitheredUniform(8, code=code)
    algorithm = simlab.ChocoSGD(0.1, 0.3, compressor)
    trace = simlab.simulate(
        problem, network, algorithm, steps=6, batch_size=4, x0=x0, seed=3, engine=engine, progress=False
    )
    streams = simlab.step.streams.Stream(3, 0)
    indices, dither = streams.indices(6, 5, 4, 20), streams.dither(6, 1, 5, 37)
    state, total = algorithm.init(x0), [0]
    named = source_code(code, 8)
    for k in range(6):
        batch = simlab.operations.Batch(indices[k], None, dither[k], [])
        new = algorithm.step(state, problem, network, batch)
        half = state.x - 0.1 * problem.gradient(state.x, batch)
        levels, norms = compressor.quantize(half - state.replica, dither[k, 0])
        q, bits = compressor.compress(half - state.replica, dither[k, 0])
        np.testing.assert_array_equal(new.replica, state.replica + q)
        for i in range(5):
            if named.encode is not None:
                message = named.encode(levels[i], float(norms[i]))
                assert 0 <= 8 * len(message) - bits[i] < 8
                received, norm = named.decode(message, length=37)
                np.testing.assert_array_equal(compressor.reconstruct(received, np.float32(norm)), q[i])
            else:
                assert bits[i] == {"fixed": 32 + 37 * (1 + 4), "float32": 32 * 37}[code]
        total.append(total[-1] + bits.sum())
        state = new
    np.testing.assert_array_equal(trace.frame.payload_bits, total)
    np.testing.assert_array_equal(trace.frame.bits, 2 * np.array(total))
    np.testing.assert_allclose(trace.x[0], state.x, rtol=0, atol=1e-12)


# What is promised.


@pytest.mark.parametrize("make", QUANTIZERS)
def test_unbiased(make):
    """Sums of squared standard scores of each coordinate's mean against chi-square; false alarms: 1e-6 a case."""
    random = np.random.default_rng(7)
    for dim, s in itertools.product([1, 5, 60], [1, 4, 30]):
        v = random.standard_normal(dim) * random.choice([1.0, 10.0], dim)
        compressor = make(s)
        dither = random.random((40_000, dim), np.float32)
        levels, norm = compressor.quantize(np.broadcast_to(v, dither.shape), dither)
        position = np.abs(v) / float(norm[0]) * s
        p = position - np.floor(position)
        random_ones = p * (1 - p) > 0.01
        scores = (np.abs(levels).mean(axis=0) - position)[random_ones] / np.sqrt((p * (1 - p))[random_ones] / 40_000)
        assert np.sum(scores**2) <= scipy.stats.chi2.isf(1e-6, max(random_ones.sum(), 1))
        np.testing.assert_allclose(compressor.compress(v, dither[0])[0] * s / float(norm[0]), levels[0], atol=1e-6)


def test_random_k_is_uniform():
    """How often each pair of entries is kept, against chi-square; false alarms: 1e-6."""
    random = np.random.default_rng(8)
    dither = random.random((60_000, 6), np.float32)
    kept = RandomK(2).compress(np.ones((60_000, 6)), dither)[0]
    pairs = np.array([np.sum(kept[:, a] * kept[:, b]) for a, b in itertools.combinations(range(6), 2)])
    assert pairs.sum() == 60_000
    assert scipy.stats.chisquare(pairs).pvalue > 1e-6


def expected_error(compressor, v):
    """E||C(v) - v||^2 / ||v||^2 for one row: over evenly spaced dithers, or all orders of few entries."""
    if isinstance(compressor, QSGD | DitheredUniform):
        # The error is a sum over coordinates, so that they may share one dither.
        dither = np.broadcast_to(EVEN[:, None], (len(EVEN), len(v)))
    elif isinstance(compressor, RandomK | RTopK):
        dither = np.array(list(itertools.permutations(np.linspace(0.1, 0.9, len(v)))))
    else:
        dither = np.zeros((1, len(v)))
    q = compressor.compress(np.broadcast_to(v, dither.shape), dither.astype(np.float32))[0]
    return np.mean(np.sum((q - v) ** 2, axis=-1)) / np.sum(v**2)


def adversarial(dim):
    """Rows at which the bounds are nearly reached."""
    rest = 2.0 ** -np.arange(0, 13)
    spikes = np.ones((len(rest), dim)) * rest[:, None]
    spikes[:, 0] = 1
    powers = np.arange(1, dim + 1) ** -np.array([[0.25], [0.5], [1.0], [2.0]])
    return np.concatenate([spikes, powers])


def climbed(compressor, v, random, steps=30):
    """A row of larger relative error than `v`, by random changes."""
    worst, error = v, expected_error(compressor, v)
    for _ in range(steps):
        trial = worst * np.exp(0.5 * random.standard_normal(len(v)) * (random.random(len(v)) < 0.3))
        new = expected_error(compressor, trial)
        if new > error:
            worst, error = trial, new
    return worst


@pytest.mark.parametrize("dim", [1, 2, 5, 33])
def test_variance_and_contraction_bounds(dim):
    random = np.random.default_rng(dim)
    tightest = {}
    small = [RandomK(2), RTopK(1, 2), RTopK(2, 4), RandomK(5)] if dim == 5 else []
    for compressor in [Identity(), Sign(), TopK((dim + 1) // 2), *small, *quantizers_for_bounds()]:
        name = type(compressor).__name__ + getattr(compressor, "norm", "")
        bounds = {"contraction": 1 - compressor.contraction(dim)}
        if not getattr(compressor, "scaled", True):
            bounds = {"variance": compressor.variance_factor(dim)}
        rows = [*adversarial(dim), *random.standard_normal((5, dim))]
        rows.append(climbed(compressor, rows[random.integers(len(rows))], random))
        for v in rows:
            for kind, bound in bounds.items():
                # float32 on the wire, and the spacing of the dithers
                slack = 1e-6 + (1 / (2 * 1024) / compressor.levels if hasattr(compressor, "levels") else 0)
                ratio = expected_error(compressor, v) / (bound + slack)
                assert ratio <= 1, (compressor, v)
                tightest[name, kind] = max(tightest.get((name, kind), 0), ratio)
    if dim == 33:  # the search comes near to the bounds that are meant to be sharp
        assert tightest["DitheredUniforml2", "variance"] > 0.7
        assert tightest["DitheredUniformmax", "variance"] > 0.7
        assert tightest["Sign", "contraction"] > 0.9
        assert tightest["TopK", "contraction"] > 0.99


def quantizers_for_bounds():
    return [make(s, scaled=scaled) for make in QUANTIZERS for s in (1, 2, 8, 50) for scaled in (False, True)]


# Errors.


@pytest.mark.parametrize(
    ("compressor", "words"),
    [
        (QSGD(0, scaled=True), ["QSGD.levels = 0", "at least 1", "larger"]),
        (QSGD(-3), ["QSGD.levels = -3", "at least 1"]),
        (QSGD(16, code="levle"), ["QSGD.code", "levle", "did you mean 'level'"]),
        (DitheredUniform(16, norm="l1"), ["DitheredUniform.norm", "l1", "'max'"]),
        (TopK(0), ["TopK.k = 0", "at least 1"]),
        (TopK(31), ["TopK.k = 31", "at most 30"]),
        (RandomK(31), ["RandomK.k = 31", "at most 30"]),
        (RTopK(5, 4), ["RTopK.k = 5", "at most 4"]),
        (RTopK(5, 31), ["RTopK.r = 31", "at most 30"]),
        (QSGD(2), ["QSGD(levels=2", "not a contraction", "30 numbers", "scaled=True"]),
        (DitheredUniform(1, norm="max"), ["not a contraction", "more levels"]),
    ],
)
@pytest.mark.parametrize("algorithm", [simlab.ChocoSGD, simlab.MalcomPSGD, simlab.ChocoGossip])
def test_impossible_compressors(algorithm, compressor, words):
    hyper = {"consensus_lr": 0.1, "compressor": compressor}
    hyper |= {"lr": 0.1} if algorithm is not simlab.ChocoGossip else {}
    hyper |= {"l1": 0.0} if algorithm is simlab.MalcomPSGD else {}
    problem = simlab.LeastSquares.synthetic(4, 40, 30)
    with pytest.raises(ValueError) as error:
        simlab.simulate(problem, simlab.topologies.ring(4), algorithm(**hyper), steps=1)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("compressor", [None, 16, QSGD, "qsgd"])
def test_no_compressor(compressor):
    with pytest.raises(TypeError, match=r"compressor.*pass an instance such as simlab\.compression\.QSGD"):
        check_contraction(compressor, 3)


class Half(NamedTuple):
    """Sends x/2, in 7 bits."""

    def contraction(self, dim):
        return 0.75

    def compress(self, x, dither):
        return x / 2, np.full(x.shape[:-1], 7)


class WithKernel(Half):
    def kernel(self, dim):
        return simlab.Kernel((half_row,), (1.0,))


def half_row(i, v, dither, out):
    out[:] = v / 2
    return 7


def test_without_a_kernel_the_array_engine_runs_it():
    problem, network = simlab.LeastSquares.synthetic(4, 10, 3), simlab.topologies.ring(4)
    algorithm = simlab.ChocoSGD(0.1, 0.5, Half())
    trace = simlab.simulate(problem, network, algorithm, steps=2, engine="numpy", progress=False)
    assert trace.frame.payload_bits.tolist() == [0, 28, 56]
    message = r"Half\(\) has no `kernel`, and the compiled engine.*docs/own_compressor\.md.*engine='numpy'"
    with pytest.raises(TypeError, match=message):
        simlab.simulate(problem, network, algorithm, steps=2, progress=False)
    message = r"WithKernel\.kernel returned .*half_row\(i, v, dither, out\).* 5 arguments, row\(i, v, dither, out, "
    with pytest.raises(TypeError, match=message):
        simlab.generated_source(problem, network, algorithm._replace(compressor=WithKernel()))


def test_what_a_compressor_lacks_is_named():
    for lacking, message in ((object(), "has no `compress` and no `contraction`"), (Half, "Half is a class")):
        with pytest.raises(TypeError, match=message):
            check_contraction(lacking, 3)


@pytest.mark.parametrize("levels", [2.5, "16", True])
def test_levels_are_whole(levels):
    with pytest.raises(TypeError, match=r"levels.*not an integer"):
        QSGD(levels).contraction(10)


def test_a_code_edited_after_its_import_is_refused(tmp_path):
    """The file's new text must not pass for the functions that were imported; what was read before stays theirs."""
    file = tmp_path / "edited_code.py"
    file.write_text("def double(n):\n    return 2 * n\n\n\ndef triple(n):\n    return 3 * n\n")
    specification = importlib.util.spec_from_file_location("edited_code", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert program((), (module.double,)).double(4) == 8
    file.write_text("def double(n):\n    return 3 * n\n\n\ndef triple(n):\n    return 4 * n\n")
    linecache.checkcache()
    assert program((), (module.double,)).double(4) == 8
    with pytest.raises(ValueError, match="kernel triple cannot be read, has changed"):
        program((), (module.triple,))
    with pytest.raises(ValueError, match="kernel triple cannot be read, has changed"):
        program((module.triple,), ())


@pytest.mark.parametrize("compressor", [QSGD(4), DitheredUniform(4), RandomK(2), RTopK(1, 2)])
def test_random_ones_need_dither(compressor):
    with pytest.raises(ValueError, match="dither = None"):
        compressor.compress(np.ones(3), None)


def test_contraction_is_checked_as_a_number():
    assert check_contraction(TopK(3), 12) == 0.25
    assert check_contraction(Identity(), 12) == 1.0


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_few_levels_make_sparse_messages(seed):
    """E||Q(v)||_0 <= s(s + sqrt(d)), over evenly spaced dithers."""
    v = np.random.default_rng(seed).standard_normal(400)
    for s in (1, 4):
        dither = np.broadcast_to(EVEN[::4, None], (256, 400)).astype(np.float32)
        levels, _ = QSGD(s).quantize(np.broadcast_to(v, dither.shape), dither)
        assert np.mean(np.count_nonzero(levels, axis=-1)) <= s * (s + 20) + 400 / 256


class Bitless(NamedTuple):
    """Forgets to say what its messages cost."""

    def contraction(self, dim):
        return 1.0

    def compress(self, x, dither):
        return x


def test_a_compressor_that_counts_no_bits_is_refused():
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=5, dim=2, seed=1)
    with pytest.raises(TypeError, match=r"Bitless\.compress returned a ndarray; return two things"):
        simlab.simulate(
            problem, simlab.topologies.ring(4), simlab.ChocoSGD(0.1, 0.3, Bitless()), steps=1, engine="numpy"
        )


class Unwritten(NamedTuple):
    def contraction(self, dim):
        return 1.0

    def compress(self, x, dither):
        return x, np.zeros(x.shape[:-1], np.int64)

    def kernel(self, dim):
        return simlab.Kernel((), ())


def test_a_compressor_whose_kernel_has_no_functions_is_refused():
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=5, dim=2, seed=1)
    with pytest.raises(TypeError, match=r"Unwritten\.kernel returned no functions; add the row function"):
        simlab.simulate(problem, simlab.topologies.ring(4), simlab.ChocoSGD(0.1, 0.3, Unwritten()), steps=1)


# Those that came later.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [1, 3, 5, 6, 17, 64])
def test_rank_one_and_permutations_have_two_equal_forms(dim, dtype):
    random = np.random.default_rng(dim)
    for n in (1, 4, 6):
        v, own = random.standard_normal((n, dim)).astype(dtype), random.random((n, dim), np.float32)
        for compressor, dither in ((PermK(n), own[:1] + 0 * own), (RankOne((dim + 2) // 3), own)):
            out, bits = compiled(compressor, v, dither)
            q, sent = compressor.compress(v, dither)
            assert q.dtype == dtype
            # Sums are rounded in another order, which float32 on the wire may show.
            np.testing.assert_allclose(
                out, q, rtol=0 if isinstance(compressor, PermK) else 3e-7, atol=1e-7 * np.abs(v).max()
            )
            np.testing.assert_array_equal(bits, sent)
            strict = (array_api_strict.asarray(each) for each in (v, dither))
            np.testing.assert_allclose(np.from_dlpack(compressor.compress(*strict)[0]), q, rtol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9), blocks=st.integers(1, 4))
def test_permutations_of_equal_rows_lose_nothing(seed, n, blocks):
    """Where n divides d, or d n; each coordinate is sent by n/min(n, d) nodes, in float32."""
    random = np.random.default_rng(seed)
    for dim in {blocks * n, *(d for d in range(1, n) if n % d == 0)}:
        v = random.standard_normal(dim).astype(np.float32).astype(float)
        dither = np.broadcast_to(random.random(dim, np.float32), (n, dim))
        q, bits = PermK(n).compress(np.broadcast_to(v, (n, dim)), dither)
        np.testing.assert_allclose(q.mean(axis=0), v, rtol=1e-12)
        np.testing.assert_array_equal(bits, 32 * max(1, dim // n))
        assert np.all((q != 0).sum(axis=0) == max(1, n // dim))


def unbiased(dim, n):
    """Compressors of rows of a matrix (n, dim), with their q."""
    makers = [Natural(), PermK(n), RandomK(2, unbiased=True), QSGD(3), DitheredUniform(2, norm="max")]
    return [(compressor, compressor.variance_factor(dim)) for compressor in makers]


@pytest.mark.parametrize(("dim", "n"), [(7, 3), (6, 3), (4, 6), (5, 1)])
def test_means_and_variances_of_unbiased_compressors(dim, n):
    """Means by standard scores, false alarms 1e-6 a case; mean squared errors at most, or equal to, what is said."""
    random, count = np.random.default_rng(dim), 40_000
    v = (random.standard_normal((n, dim)) * random.choice([1.0, 30.0], (n, dim))).astype(np.float32).astype(float)
    for compressor, q in unbiased(dim, n):
        dither = random.random((count, n, dim), np.float32)
        if getattr(compressor, "shared", False):
            dither = np.broadcast_to(dither[:, :1], dither.shape)
        sent = compressor.compress(np.broadcast_to(v, dither.shape), dither)[0]
        spread = sent.std(axis=0)
        moves = spread > 1e-6 * np.abs(v)
        scores = ((sent - v).mean(axis=0) / np.where(moves, spread, 1) * np.sqrt(count))[moves]
        assert np.abs(scores).max(initial=0) < scipy.stats.norm.isf(1e-6 / 2 / max(1, moves.sum())), compressor
        error = np.sum((sent - v) ** 2, axis=-1) / np.sum(v**2, axis=-1)
        assert np.all(error.mean(axis=0) <= q + 5 * error.std(axis=0) / np.sqrt(count) + 1e-6), compressor
        if isinstance(compressor, PermK | RandomK):
            assert np.all(np.abs(error.mean(axis=0) - q) <= 5 * error.std(axis=0) / np.sqrt(count) + 1e-6), compressor


def test_natural_rounds_to_powers_of_two():
    v = np.array([1.0, 3.0, -3.0, 0.0, 1.5 * 2.0**-126, 2.0**-127, 5e-324, np.nextafter(2.0, 0), 1e39])
    for u, expected in (
        (0.499, [1, 4, -4, 0, 2.0**-125, 2.0**-126, 0, 2, np.inf]),
        (0.501, [1, 2, -2, 0, 2.0**-126, 0, 0, 2, np.inf]),
    ):
        np.testing.assert_array_equal(Natural().compress(v, np.full(9, u, np.float32))[0], expected)
    v = 1 + np.linspace(0, 1, 1000, endpoint=False)[:, None]  # exactly: p²t(1 − t), most at t = 1/3
    errors = [expected_square(t[0] - 1) for t in v]
    assert 0.1249 < max(errors) <= 1 / 8


def expected_square(t):
    low, high = (Natural().compress(np.array([1 + t]), np.array([u], np.float32))[0][0] for u in (0.99999994, 0.0))
    return (t * (high - 1 - t) ** 2 + (1 - t) * (low - 1 - t) ** 2) / (1 + t) ** 2


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), dim=st.integers(1, 12))
@settings(max_examples=40)
def test_rank_one_contracts(seed, rows, dim):
    """Over all signs of q, exactly; rank-one messages arrive whole."""
    random, rows = np.random.default_rng(seed), min(rows, dim)
    compressor = RankOne(rows)
    c = compressor.columns(dim)
    v = random.standard_normal(dim) * 10.0 ** random.integers(-2, 3, dim)
    signs = np.array(list(itertools.product([0.25, 0.75], repeat=c)), np.float32)
    dither = np.concatenate([signs, np.zeros((len(signs), max(0, dim - c)), np.float32)], axis=1)[:, :dim]
    if c <= dim:
        q = compressor.compress(np.broadcast_to(v, (len(signs), dim)), dither)[0]
        assert np.mean(np.sum((q - v) ** 2, axis=-1)) <= (1 - compressor.contraction(dim) + 1e-6) * np.sum(v**2)
    one = np.outer(random.standard_normal(rows), random.standard_normal(c)).ravel()
    q, bits = compressor.compress(one[None], random.random((1, rows * c), np.float32)) if c * rows == dim else (one, 0)
    np.testing.assert_allclose(q.ravel(), one, rtol=1e-5, atol=1e-6 * np.abs(one).max())
    assert np.all(bits in (0, 32 * (rows + c)))


def test_conversions():
    """C/(1 + q) and C₁ + C₂(v − C₁(v)), their bounds, and what they refuse."""
    random, d = np.random.default_rng(3), 6
    v = random.standard_normal((40_000, d))
    v[:] = v[0]
    calls = []

    def send(compressor, x):
        calls.append(compressor)
        return compressor.compress(x, random.random(x.shape, np.float32))[0]

    scaled, induced = Scaled(RandomK(2, unbiased=True)), Induced(TopK(2), RandomK(2, unbiased=True))
    assert scaled.contraction(d) == check_contraction(scaled, d) == 1 / (1 + 2)
    q = scaled.compose(v, d, send)
    assert np.mean(np.sum((q - v) ** 2, axis=-1)) <= (1 - 1 / 3) * np.sum(v[0] ** 2) * 1.01
    q = induced.compose(v, d, send)
    assert calls[1:] == [TopK(2), RandomK(2, unbiased=True)]
    np.testing.assert_allclose(q.mean(axis=0), v[0], atol=0.06)
    assert induced.variance_factor(d) == check_unbiased(induced, d) == 2 * (1 - 1 / 3)
    assert np.mean(np.sum((q - v) ** 2, axis=-1)) <= induced.variance_factor(d) * np.sum(v[0] ** 2)
    for biased in (TopK(2), Sign()):
        with pytest.raises(TypeError, match=r"not known to be unbiased.*Induced"):
            check_unbiased(biased, d)
    for biased in (RandomK(2), QSGD(4, scaled=True)):
        with pytest.raises(ValueError, match=r"biased"):
            check_unbiased(biased, d)
    with pytest.raises(ValueError, match=r"OneBit\(\) is no contraction"):
        check_contraction(OneBit(), d)
    with pytest.raises(ValueError, match=r"PermK\.n_nodes = 3.*2 rows"):
        PermK(3).compress(np.ones((2, 4)), np.ones((2, 4)))
