"""docs/theory.md against the code: its tables, what it names, and what cites it."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import simlab
import simlab.algorithms
import theory.theorems
from simlab.operations import Batch
from tests.helpers import algorithms, strategies
from theory.moments.affine import mode_matrices
from theory.theorems import (
    b1,
    b2,
    choco_gossip,
    dgd,
    dpsgd,
    dual_averaging,
    heavy_ball,
    leading_constant,
    local_momentum,
    local_sgd,
    local_updates,
    spectral_gaps,
)
from theory.transfer import bias_transfer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "theory.md").read_text()
README = (ROOT / "README.md").read_text()
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SOURCES = [
    file
    for room in ("simlab", "theory", "figures", "benchmarks", "tests")
    for file in sorted((ROOT / room).rglob("*.py"))
    if file != Path(__file__)
]
THEOREM_FILES = sorted(info.name for info in pkgutil.iter_modules(theory.theorems.__path__) if info.name != "theorem")


# A reader of formulas such as λ/((1−β)(1−λ)): symbols are letters, a product needs no sign.

TOKENS = re.compile(r"log|cos|[A-Za-zα-ως][₀₁₂]?|\d+(?:\.\d+)?|[²³ᵏᵀ√]|[-+/()]")
POWERS = {"²": "**2", "³": "**3", "ᵏ": "**k", "ᵀ": "**T"}
FUNCTIONS = {"log": np.log, "cos": np.cos, "sqrt": np.sqrt, "π": np.pi, "__builtins__": {}}


def evaluate(formula, **values):
    """The value of a formula; its symbols are names, a subscript ₁ is written 1."""
    text = formula.replace("−", "-").replace(" ", "").replace("[", "(").replace("]", ")")
    tokens = TOKENS.findall(text)
    assert "".join(tokens) == text, f"{formula} has a sign that is not read"
    code, ends, root = "", False, False  # ends: whether the last token may end a factor
    for token in tokens:
        if ends and token not in {*"-+/)", *POWERS}:
            code += "*"
        if token == "√":
            code += "sqrt"
        elif token in POWERS:
            code += POWERS[token]
        else:
            name = token.translate(str.maketrans("₀₁₂", "012"))
            code += f"({name})" if root and token != "(" else name
        ends, root = token not in {*"-+/(√", "log", "cos"}, token == "√"
    return eval(code, FUNCTIONS, values)


def table(text, heading):
    """Rows of the table with this heading in a column: first cell, its first piece of code -> that column's cell."""
    lines = text.splitlines()
    (first,) = (k for k, below in enumerate(lines[1:]) if below.startswith("|---") and heading in cells(lines[k]))
    column = cells(lines[first]).index(heading)
    rows = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            return rows
        rows[re.search(r"`([^`]+)`", line)[1]] = cells(line)[column]
    return rows


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


NAMES = set(dir(simlab.algorithms)) & set(dir(simlab))


def named(label):
    """The key of a table for an algorithm of FORMS."""
    return f'DSGD(order="{label[5:]}")' if label.startswith("DSGD") else label


# Those that the document describes; a new algorithm is described by its docstring until it has rows here.
FORMS = [label for label in algorithms.affine(0.1, 0.5) if named(label) in table(TEXT, "φ(λ)")]


@pytest.mark.parametrize(
    ("formula", "value"),
    [("λ/((1−β)(1−λ))", 0.5 / (0.75 * 0.5)), ("z² − 2λz(1 + β)/2", 9 - 3 * 1.25 / 2), ("βλ² − 3", 0.25**2 - 3)],
)
def test_formulas_are_read_as_they_are_meant(formula, value):
    assert evaluate(formula, λ=0.5, β=0.25, z=3.0) == value


@pytest.mark.parametrize("label", FORMS)
def test_transfer_functions_are_those_of_theory(label):
    random = np.random.default_rng(0)
    formula = table(TEXT, "φ(λ)")[named(label)]
    for eigenvalue, momentum in zip(random.uniform(-0.99, 0.99, 20), random.uniform(0, 0.99, 20), strict=True):
        known = bias_transfer(algorithms.affine(0.1, momentum)[label], np.array([eigenvalue]))
        assert evaluate(formula, λ=eigenvalue, β=momentum) == pytest.approx(known[0], rel=1e-12)


def test_transfer_functions_of_the_readme_are_the_same():
    short, long = table(README, "φ(λ)"), table(TEXT, "φ(λ)")
    assert len(short) >= 16
    # What came later may be described by its docstring, and so by the README's table, alone.
    assert len({name for name, formula in short.items() if formula} & {key.split("(")[0] for key in long}) >= 12
    for name in ("ChocoSGD", "SGP", "SubgradientPush", "PushDIGing"):  # in words, below the table
        formula, _, _ = short[name].partition(", ")
        assert formula in TEXT.replace("\n", " "), name
    for key, formula in long.items():
        shown = short.get(key.split("(")[0])
        assert shown is None or re.search(rf"(^|\s){re.escape(formula)}($|[ ,])", shown)


@pytest.mark.parametrize("label", FORMS)
def test_characteristic_polynomials_are_those_of_the_step(label):
    """det(zI − T) is the polynomial times a power of z, by the buffers that x never feels."""
    random = np.random.default_rng(1)
    formula = table(TEXT, "characteristic polynomial of the mode (λ, h)")[named(label)]
    for _ in range(10):
        (eigenvalue, momentum), (lr, h) = random.uniform(-0.9, 0.9, 2), random.uniform(0.1, 1.5, 2)
        eigenvalue, momentum = (1.0 if label == "PmSGD" else eigenvalue), abs(momentum)
        one = algorithms.affine(lr, momentum)[label]
        t, _ = mode_matrices(one, np.array(eigenvalue), np.array(h), np.array(label == "PmSGD"))
        z = np.array([2.0, 1.3, -1.7])
        written = np.array([evaluate(formula, λ=eigenvalue, β=momentum, γ=lr, h=h, z=x) for x in z])
        of_step = np.array([np.linalg.det(x * np.eye(len(t)) - t) for x in z])
        unfelt = round(np.log2(of_step[0] / written[0]))
        assert 0 <= unfelt < len(t)
        np.testing.assert_allclose(of_step, z**unfelt * written, rtol=1e-9)


@pytest.mark.parametrize("label", ["PmSGD", "DmSGD", "AWCDmSGD", "DADmSGD", "QGDmSGD", "DecentLaM"])
def test_the_slow_root_of_the_mean_is_that_of_a_larger_step(label):
    """1 − γh/(1 − β), to first order in γh."""
    formula = table(TEXT, "characteristic polynomial of the mode (λ, h)")[label]
    for tiny in (1e-4, 1e-5):
        left = evaluate(formula, λ=1.0, β=0.6, γ=tiny, h=1.0, z=1 - tiny / 0.4)
        assert abs(left) < 20 * tiny**2


# Bounds: the statement in the table's second column, after its relation, against the function of the theorem's file.

BOUNDS = {
    "B1, consensus": (b1.consensus_bound, "lr=γ transfer=r heterogeneity=b"),
    "B1, bias": (b1.mse_bound, "lr=γ transfer=r heterogeneity=b condition_number=κ"),
    "B1, bias, sharper": (b1.sharper_mse_bound, "lr=γ transfer=r heterogeneity=b condition_number=κ"),
    "B2, bias": (b2.bound, "lr=γ transfer=r heterogeneity=b condition_number=κ smoothness=L"),
    "leading constant, above": (leading_constant.upper_bound, "lr=γ constant=C feedback=a"),
    "leading constant, below": (leading_constant.lower_bound, "lr=γ constant=C feedback=a"),
    "DGD, consensus": (dgd.consensus_bound, "lr=γ smoothness=L initial_gap=F n_nodes=n rho=ρ"),
    "D-PSGD": (dpsgd.bound, "lr=γ steps=K smoothness=L n_nodes=n rho=ρ initial_gap=F variance=σ² dissimilarity=ς²"),
    "D-PSGD, sharper": (
        dpsgd.sharper_bound,
        "lr=γ steps=K smoothness=L n_nodes=n rho=ρ initial_gap=F variance=σ² dissimilarity=ς²",
    ),
    "CHOCO-Gossip": (choco_gossip.run_bound, "gap=δ compression=ω steps=T initial_error=e₀/n"),
    "heavy ball": (lambda k, beta, start: heavy_ball.envelope(k, beta) ** 2 * start, "k=k beta=β start=F"),
    "ring gap": (spectral_gaps.ring_gap, "n_nodes=n"),
    "distributed dual averaging": (
        dual_averaging.bound,
        "steps=T n_nodes=n second_singular_value=σ₂ radius=R lipschitz=G",
    ),
    "the same, sharper": (
        dual_averaging.sharper_bound,
        "steps=T n_nodes=n second_singular_value=σ₂ radius=R lipschitz=G",
    ),
    "local SGD": (
        local_sgd.bound,
        "steps=T n_nodes=n shift=a local_steps=H smoothness=L strong_convexity=μ initial_distance=F variance=σ² "
        "second_moment=G²",
    ),
    "D2": (
        local_updates.bound,
        "lr=γ smoothness=L steps=K n_nodes=n initial_gap=F dissimilarity=ς² variance=σ² window=τ p=p",
    ),
    "D3": (
        local_momentum.bound,
        "lr=γ smoothness=L steps=K n_nodes=n initial_gap=F dissimilarity=ς² variance=σ² momentum=β window=τ p=p",
    ),
}
WORDS = {"(f(x⁰) − f_inf)": "F", "‖x⁰ − x*‖²": "F"}  # what is no formula of symbols


def defined(symbol):
    """What the section on theorems says a symbol is equal to."""
    text = re.sub(r"\s+", " ", TEXT[TEXT.index("### Of runs") :])
    return re.search(rf"(?<!\w){symbol} = (.+?)(?:[,;.] | \|| and )", text)[1]


def bound_in_text(name):
    statement = next(cells(line)[1] for line in TEXT.splitlines() if line.startswith(f"| {name} |"))
    for words, symbol in WORDS.items():
        statement = statement.replace(words, symbol)
    formula = re.split(r"[≤≥=] ", statement.partition(": ")[2] or statement, maxsplit=1)[1]
    return re.split(r" at the limit|, every| where ", formula)[0]


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_those_of_the_theorems(name):
    bound, arguments = BOUNDS[name]
    random = np.random.default_rng(3)
    for _ in range(5):
        values = dict(zip("γrbκCLFσςωδβμGR", random.uniform(0.1, 0.9, 15), strict=True))
        values |= {"n": 7.0, "K": 40.0, "T": 30.0, "k": 5.0, "a": 0.3, "H": 4.0, "ρ": 0.4, "σ2": 0.8, "e0": 3.0}
        values |= {"τ": 3.0, "p": 0.6}
        values["γ"] /= 40  # so that what must be positive is
        if name == "B2, bias":
            values["a"] = evaluate(defined("a"), **values)
        if name == "local SGD":
            values["a"], values["S"] = 30.0, sum((30.0 + t) ** 2 for t in range(30))
        if name == "DGD, consensus":
            values["D"] = np.sqrt(2 * values["L"] * values["F"])
        if name.startswith("D-PSGD"):
            for symbol in ("D₂", "D₁", "D"):
                values[symbol.translate(str.maketrans("₁₂", "12"))] = evaluate(defined(symbol), **values)
        given = (pair.split("=") for pair in arguments.split())
        expected = bound(**{argument: evaluate(formula, **values) for argument, formula in given})
        assert evaluate(bound_in_text(name), **values) == pytest.approx(expected, rel=1e-12)


def test_the_consensus_step_is_that_of_the_theorem():
    values = {"δ": 0.3, "ω": 0.2, "q": 1.4}
    expected = choco_gossip.consensus_step(values["δ"], values["q"], values["ω"])
    assert evaluate(defined("ζ"), **values) == pytest.approx(expected, rel=1e-14)


def test_exponents_are_those_that_the_studies_claim():
    for line in TEXT.splitlines():
        found = re.search(r"`python -m figures (\w+)` \|$|`(tests/theory/\w+\.py)` \|$", line)
        if not found or not line.startswith("|"):
            continue
        text = (ROOT / (found[2] or f"figures/{found[1]}.py")).read_text()
        known = {float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", text)}
        for number in re.findall(r"−?\d+(?:\.\d+)?", cells(line)[1]):
            assert float(number.replace("−", "-")) in known, f"{number} in: {line}"


def formula_after(words):
    """The formula that follows these words, up to a colon, a comma or a period."""
    return re.search(rf"{re.escape(words)} ([^:,.]+)", re.sub(r"\s+", " ", TEXT))[1]


@pytest.mark.parametrize(("eigenvalue", "momentum", "lr"), [(0.9, 0.5, 0.2), (0.3, 0.8, 0.05), (-0.4, 0.7, 0.1)])
def test_variances_of_modes_are_those_of_predictions(eigenvalue, momentum, lr):
    h, std = 0.7, 0.3
    network = simlab.Network.from_matrix((1 + eigenvalue * np.array([[1, -1], [-1, 1]])) / 2)
    values = {"λ": eigenvalue, "β": momentum, "γ": lr, "h": h, "s": std, "n": 2.0}

    def spreads(one, curvature):
        problem = simlab.Quadratic([[curvature]] * 2, [[0.0]] * 2)
        found = theory.predict(problem, network, one, noise_std=std)
        return found.variance - found.consensus, found.consensus

    for one, m in ((simlab.DmSGD(lr, momentum), eigenvalue), (simlab.DecentLaM(lr, momentum), 1.0)):
        mode = {"p1": eigenvalue * (1 - lr * h) + momentum, "p2": -momentum * m}
        of_mean, disagreement = spreads(one, h)
        written = evaluate(formula_after("each coordinate of variance s²:"), **values, **mode)
        assert written / 2 == pytest.approx(disagreement, rel=1e-9)
        assert evaluate(formula_after("Of the mean x̄ (λ = 1, over n):"), **values) == pytest.approx(of_mean, rel=1e-9)
    ratio = evaluate(formula_after("that of DecentLaM over that of DmSGD is"), **values)
    flat = [spreads(cls(lr, momentum), 1e-9)[1] for cls in (simlab.DecentLaM, simlab.DmSGD)]
    assert ratio == pytest.approx(flat[0] / flat[1], rel=1e-7)


CONSERVED = {
    "D2": lambda state: state.correction,
    "D2DmSGD": lambda state: state.correction,
    "NIDS": lambda state: state.correction,
    "EXTRA": lambda state: state.y,
    "GradientTracking": lambda state: state.y - state.g,
    "PmSGD": lambda state: state.x - state.x.mean(axis=0),
}


@pytest.mark.parametrize("label", CONSERVED)
def test_what_is_conserved(label):
    random = np.random.default_rng(2)
    problem = strategies.objective("least_squares", 5, 3, 6, random).problem
    network = strategies.network(5, "metropolis", True, random)
    one = simlab.NIDS(0.1, l1=0.2) if label == "NIDS" else algorithms.affine(0.1, 0.6)[label]
    state = one.init(random.standard_normal((5, 3)))
    at_first = CONSERVED[label](state)
    for _ in range(6):
        state = one.step(state, problem, network, Batch())
    kept = CONSERVED[label](state)
    if label == "PmSGD":
        np.testing.assert_allclose(kept, at_first, atol=1e-14)
    else:
        assert not at_first.any()
        np.testing.assert_allclose(kept.mean(axis=0), 0, atol=1e-14)
    assert np.abs(kept).max() > 1e-3


# What the document names, and what names the document.


def slug(heading):
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


HEADINGS = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)


def test_algorithms_and_theorems_are_in_it():
    """All of the first ones; what came later may be described by its docstring alone."""
    described = table(TEXT, "one step")
    assert set(described) <= NAMES and len(described) >= 16 and len(FORMS) >= 13
    files = [name for name in THEOREM_FILES if f"`{name}.py`" in TEXT or f"theory.theorems.{name}" in TEXT]
    assert len(files) >= 11
    assert sum(f"| {theorem.name} |" in TEXT for theorem in theory.theorems.THEOREMS) >= 13


def test_what_it_names_exists():
    spans = set(re.findall(r"`([^`\n]+)`", TEXT))
    paths = {span.split("::")[0] for span in spans if re.match(r"(simlab|theory|figures|tests)/", span)}
    assert len(paths) > 15
    for path in paths:
        assert list(ROOT.glob(path)), path
    for dotted in (span.split("(")[0] for span in spans if re.match(r"(simlab|theory)\.[\w.]+($|\()", span)):
        module, found = dotted.split(".")[0], None
        for part in dotted.split(".")[1:]:
            found = importlib.import_module(module) if found is None else found
            found = getattr(found, part, None) or importlib.import_module(f"{found.__name__}.{part}")
    studies = set(importlib.import_module("figures").STUDIES)
    assert {study for span in spans for study in re.findall(r"python -m figures (\w+)$", span)} <= studies
    for sentence in re.findall(r"stud(?:y|ies) ((?:`\w+`(?:, and |, | and )?\s*)+)", TEXT):
        assert set(re.findall(r"`(\w+)`", sentence)) <= studies, sentence


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} points to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name} points to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_have_the_cells_of_their_heading(page):
    lines = page.read_text().splitlines()
    for heading, row in itertools.pairwise(lines):
        if heading.startswith("|") and row.startswith("|"):
            assert len(cells(row)) == len(cells(heading)), f"{page.name}: {row}"


def test_citations_of_it_name_a_heading_of_it():
    """Written docs/theory.md, "Heading"; no document outside the repository is cited."""
    cited = []
    for file in SOURCES:
        text = re.sub(r"\s+(?:# )?", " ", file.read_text())
        for headings in re.findall(r'docs/theory\.md,((?: (?:and )?"[^"]+"(?= |\.|,|\)))+)', text):
            cited += re.findall(r'"([^"]+)"', headings)
        stray = re.search(r"(?<!docs/)theory\.md|docs/theory\.md(?!, \")|(?:design|methods)\.md|\bsections? \d", text)
        assert not stray, f"{file.relative_to(ROOT)}: {text[stray.start() - 40 : stray.end() + 40]}"
    assert len(cited) >= 4
    assert set(cited) <= set(HEADINGS)


def test_every_room_is_in_the_architecture():
    """Its tree names every package, every file at the top of one, and nothing that does not exist."""
    tree = re.search(r"```\n(simlab/.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)[1]
    listed, rooms = set(), []
    for line in tree.splitlines():
        rooms = rooms[: (len(line) - len(line.lstrip())) // 2]
        for name in re.split("  +", line.strip())[0].split(", "):
            listed.add(ROOT.joinpath(*rooms, name))
            rooms += [name] if name.endswith("/") else []
    assert not [path for path in listed if not path.exists()]
    for room in ("simlab", "theory"):
        packages = {file.parent for file in (ROOT / room).rglob("__init__.py")}
        files = {file for file in (ROOT / room).glob("*.py") if file.name != "__init__.py"}
        assert packages | files <= listed
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text()):
        assert any((folder / path).exists() for folder in (ROOT, ROOT / "simlab")), path
