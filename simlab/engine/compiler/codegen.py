"""A step's graph as the text of a Numba program: one fused loop over nodes for each exchange."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np

from simlab.engine.compiler.layout import Layout, Position, store_position, written_to
from simlab.kernel import LANES, Kernel
from simlab.programs import Part, contents, part_of
from simlab.step.graph import AVERAGES, MIXES, Graph, Steps, is_shared
from simlab.step.operation import OPERATIONS, kind

#: One run; `LANES` runs; one run whose nodes threads share; one run on a network that changes.
Form = Literal["alone", "side by side", "by nodes", "changing"]

# Reassociation and contraction only: flags that assume no NaN or infinity would delete divergence checks. Division by
# zero is infinite or NaN, as in NumPy.
HEADER = """import math

import numpy as np
from numba import njit

real = np.{real}
LANES = {lanes}
FAST = {{"reassoc", "contract", "arcp", "nsz"}}
"""
DECORATOR = '@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", no_cfunc_wrapper=True)\n'
# What no Python code calls needs no way in from Python, which would take as long to compile.
INNER = '@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", no_cfunc_wrapper=True, '
INNER += "no_cpython_wrapper=True)\n"
# The levels of a quantizer and the parameters of a source code must not depend on how sums are reassociated.
EXACT = INNER.replace(" fastmath=FAST,", "")
# Among many nodes the rows of an event's few are in no cache: those of later events are asked for while this one runs.
PREFETCH = """
if (last - first) * 16 < n:
    for t in range(last + 12, min(2 * last - first + 12, rows.shape[0])):
        i = rows[t]
"""

# Indices without sign need no check for negative ones.
MIX_ROW = """
def mix_row(i, indptr, neighbours, weights, source, out):
    e, last = indptr[i], indptr[i + 1]
    if (last - e) % 2:
        w = weights[e]
        row = source[neighbours[e]]
        for j in range(np.uintp(out.shape[0])):
            out[j] = w * row[j]
        e += 1
    else:
        for j in range(np.uintp(out.shape[0])):
            out[j] = 0
    while e < last:  # two neighbours at a time: half the traffic of the sum
        w, v = weights[e], weights[e + 1]
        row, other = source[neighbours[e]], source[neighbours[e + 1]]
        for j in range(np.uintp(out.shape[0])):
            out[j] += w * row[j] + v * other[j]
        e += 2
"""
# Row e of the network is that of node i. The difference comes first, and sums are not reassociated.
DIFFERENCES_ROW = """
def differences_row(e, i, indptr, neighbours, weights, source, out):
    e, last = indptr[e], indptr[e + 1]
    own = source[i]
    if (last - e) % 2:
        w = weights[e]
        row = source[neighbours[e]]
        for j in range(np.uintp(out.shape[0])):
            out[j] = w * (row[j] - own[j])
        e += 1
    else:
        for j in range(np.uintp(out.shape[0])):
            out[j] = 0
    while e < last:
        w, v = weights[e], weights[e + 1]
        row, other = source[neighbours[e]], source[neighbours[e + 1]]
        for j in range(np.uintp(out.shape[0])):
            out[j] += w * (row[j] - own[j]) + v * (other[j] - own[j])
        e += 2
"""
SUM_ROW = """
def sum_row(e, i, indptr, neighbours, weights, source, out):
    for j in range(np.uintp(out.shape[0])):
        out[j] = 0
    for s in range(indptr[e], indptr[e + 1]):
        if neighbours[s] != i:
            row = source[neighbours[s]]
            for j in range(np.uintp(out.shape[0])):
                out[j] += row[j]
"""
AVERAGE_ROWS = """
def average_rows(source, out):
    for j in range(out.shape[0]):
        out[j] = 0
    for i in range(source.shape[0]):
        for j in range(out.shape[0]):
            out[j] += source[i, j]
    for j in range(out.shape[0]):
        out[j] /= source.shape[0]
"""

AVERAGE_AWAKE = """
def average_awake(rows, first, last, source, out):
    for j in range(out.shape[0]):
        out[j] = 0
    for t in range(first, last):
        for j in range(out.shape[0]):
            out[j] += source[rows[t], j]
    for j in range(out.shape[0]):
        out[j] /= last - first
"""

# A large network: the second stage of a tile of nodes follows the first stages it depends on while they are in cache.
WAVE = """
def wave(first, last, cuts, following, order, k, {parameters}):
    for t in range(first, last):
        stage_0(cuts[t], cuts[t + 1], k, {parameters})
        for f in range(following[t], following[t + 1]):
            stage_1(cuts[order[f]], cuts[order[f] + 1], k, {parameters})
"""
FINISH = """
def finish(late, cuts, k, {parameters}):
    for t in late:
        stage_1(cuts[t], cuts[t + 1], k, {parameters})
"""


class Text(NamedTuple):
    """A program as text.

    Attributes
    ----------
    source : str
        Its own functions: `run`, or the stages that threads share.
    parts : tuple of Part
        The row functions that it calls, each compiled once for all programs that call it.
    """

    source: str
    parts: tuple[Part, ...]


def generate(
    steps: Steps,
    layouts: list[Layout],
    gradients: dict[bool | str, Kernel],
    compressors: list[list[list[tuple[Kernel, int]]]],
    *,
    title: str,
    real: str,
    form: Form,
) -> Text:
    """The program that runs chunks of steps.

    Parameters
    ----------
    steps : Steps
        The traced steps.
    layouts : list of Layout
        The stages and storage of each graph.
    gradients : dict of Kernel
        The problem's gradients of one node that the steps take: on mini-batches (True), of all samples (False); and
        its "tilted" minimizers.
    compressors : list of lists of lists of (Kernel, int)
        The row function of each block of each compression, and its length; a list for each graph.
    title : str
        First line of the program.
    real : {"float64", "float32"}
        Precision of states and arithmetic.
    form : {"alone", "side by side", "by nodes", "changing"}
        Side by side, a row holds `LANES` runs, each with hyperparameters of its own; by nodes asks for one graph.
    """
    header = HEADER.format(real=real, lanes=LANES)
    kernels = [*gradients.values(), *(kernel for kernel, _ in itertools.chain(*itertools.chain(*compressors)))]
    work = [[f"work_{c}_{k}" for k in range(len(each.work))] for c, each in enumerate(kernels)]
    data = [[f"data_{c}_{k}" for k in range(len(each.data))] for c, each in enumerate(kernels)]
    rows = [part_of(each, header, "fastmath=FAST, ") for each in gradients.values()]
    rows += [part_of(each) for each in kernels[len(rows) :]]  # without fast math
    names = _apart([row.name for row in rows])
    parts = dict(zip(names, rows, strict=True))
    for text in (
        MIX_ROW,
        DIFFERENCES_ROW,
        SUM_ROW,
        AVERAGE_ROWS,
        AVERAGE_AWAKE,
        *itertools.chain(*map(_helpers, steps.graphs)),
    ):
        part = _part(text, header, EXACT if text is DIFFERENCES_ROW else INNER)
        parts.setdefault(part.name, part)
    calls = [_Call(name, [*w, *a]) for name, w, a in zip(names, work, data, strict=True)]
    of_gradients, rest = dict(zip(gradients, calls, strict=False)), iter(calls[len(gradients) :])
    networks = foreign_networks(steps)
    copies = form == "changing" or len(steps.graphs) > 1
    writers = []
    for graph, layout, mine in zip(steps.graphs, layouts, compressors, strict=True):
        messages = [[(next(rest), size) for _, size in message] for message in mine]
        writers.append(_Writer(graph, layout, of_gradients, messages, networks, form, copies))
    known = [
        *(f"state_{f}" for f in (*steps.first.outputs, *steps.first.tables)),
        *dict.fromkeys(f"next_{f}" for layout in layouts for f in layout.swapped),
        *dict.fromkeys(name for layout in layouts for name in layout.buffers),
        *("scratch", "averages"),
        *itertools.chain(*work),
        *("hyper", "hyper_rows", "order", "sent", "indices", "counts", "noise", "dither", "received"),
        *(LINKS if form == "changing" else ("receivers",)),
        *itertools.chain(*(network_names(k) for k in range(len(networks) + 1))),
        *itertools.chain(*data),
    ]
    arrays = [a for each in kernels for a in each.data]
    soon = [f"state_{f}" for f in steps.first.outputs]
    soon += dict.fromkeys(f"next_{f}" for layout in layouts for f in layout.swapped if f not in layout.brief)
    soon += [name for name, a in zip(itertools.chain(*data), arrays, strict=True) if np.ndim(a) == 2]
    if form == "by nodes":
        body, parameters = writers[0].by_nodes(known)
    else:
        body, parameters = run(steps, writers, known, form, soon)
    used = {name: part for name, part in parts.items() if _names(body, name)}
    named = tuple(part._replace(name=name) for name, part in used.items())
    docstring = (
        f'"""{title}\n\nPrinted by simlab from the traced step; a changed step or kernel is another file.\n"""\n\n'
    )
    if form == "changing":
        header += f"\nfrom simlab.engine.prefetch import prefetch  # {_prefetch_text()}\n"
    source = "\n\n".join(
        [
            docstring + header,
            contents(named),
            body,
            f"PARAMETERS = {tuple(parameters)!r}\nN_STAGES = {layouts[0].last[0] + 1}\n",
        ]
    )
    return Text(source, named)


@functools.cache
def _prefetch_text() -> str:
    """A hash of what a program imports: with another text it is another program."""
    return hashlib.sha256(files("simlab.engine").joinpath("prefetch.py").read_bytes()).hexdigest()[:8]


def run(steps: Steps, writers: list[_Writer], known: list[str], form: Form, soon: list[str]) -> tuple[str, list[str]]:
    """One function that runs a chunk of steps and takes snapshots of x; and its arguments, those of `known` in use.

    Of the arrays `soon` a step reads or writes the rows of the nodes that are awake.

    Fields that cannot be overwritten in place are swapped with a second array; so the new values are in that one after
    an odd number of steps. Where steps differ in kind, or nodes sleep, they are copied back.
    """
    fields = list(steps.first.outputs)
    x = f"state_{fields[0]}"
    body = [
        f"    n, width = {x}.shape[0], np.uintp({x}.shape[1])",
        *(["    drawn = 0"] if form == "changing" else []),
        "    taken = 0",
        "    for k in range(hyper.shape[0]):",
    ]
    if form == "changing":
        body += [
            "        first, last = start[which[k]], start[which[k] + 1]",
            "        shift = drawn - first  # from rows to random numbers",
            "        drawn += last - first",
            *(f"        {line}" for line in PREFETCH.strip().splitlines()),
            *(f"                prefetch({name}, i)" for name in soon),
        ]
    if len(writers) == 1:
        body += ["        " + line for line in writers[0].whole_step()]
    else:
        body.append("        kind = order[(first_step + k) % order.shape[0]]")
        for g, writer in enumerate(writers):
            body.append(f"        {'elif' if g else 'if'} kind == {g}:")
            body += ["            " + line for line in writer.whole_step()]
    body += [
        "        if (first_step + k + 1) % every == 0:",
        "            for i in range(n):",
        "                for j in range(width):",
        f"                    snapshots[taken, i, j] = {x}[i, j]",
    ]
    if any(writer.compressors for writer in writers):
        body += [
            "            for i in range(n):",
            "                sent_snapshots[taken, 0] += sent[i, 0]",
            "                sent_snapshots[taken, 1] += sent[i, 1]",
        ]
    body.append("            taken += 1")
    text = "\n".join(body)
    parameters = [name for name in [*known, "snapshots", "sent_snapshots"] if _names(text, name)]
    return f"{DECORATOR}def run(first_step, every, {', '.join(parameters)}):\n{text}", parameters


LINKS = ("which", "start", "rows", "fires", "receivers")  # of `Exchanges`


def foreign_networks(steps: Steps) -> list[Any]:
    """The networks that steps mix over besides the one that is simulated, each once."""
    return list(dict.fromkeys(network for graph in steps.graphs for network in graph.networks))


def network_names(k: int) -> tuple[str, str, str]:
    """Names of the CSR arrays of network k: 0 is the one that is simulated, then those that the step brings."""
    suffix = f"_{k}" if k else ""
    return f"indptr{suffix}", f"neighbours{suffix}", f"weights{suffix}"


def _helpers(graph: Graph) -> list[str]:
    """Texts of the functions that row calls of the graph need, each once."""
    rows = (OPERATIONS[node.op] for node in graph.nodes)
    return list(dict.fromkeys(row.helper for row in rows if row.helper))


def _part(text: str, header: str, decorator: str) -> Part:
    found = re.search(r"def (\w+)", text)
    assert found is not None
    return Part(found[1], f"{header}\n\n{decorator}{text.strip()}\n")


def _hyper(name: str) -> str:
    return f"hyper_{name.replace('.', '_')}"


def _apart(names: list[str]) -> list[str]:
    """The names, those that occurred before with a number."""
    return [name if name not in names[:k] else f"{name}_{k}" for k, name in enumerate(names)]


def _names(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


class _Call(NamedTuple):
    """A row function's name and its trailing arguments."""

    name: str
    trailing: list[str]


class _Writer:
    """Prints the parts of one program."""

    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        gradients: dict[bool | str, _Call],
        compressors: list[list[tuple[_Call, int]]],
        networks: list[Any],
        form: Form,
        copies: bool,
    ) -> None:
        self.graph, self.layout, self.lanes = graph, layout, form == "side by side"
        self.gradients, self.compressors, self.networks = gradients, compressors, networks
        self.changing, self.copies = form == "changing", copies
        self.n_stages = layout.last[0] + 1

    def whole_step(self) -> list[str]:
        """Lines that take a step."""
        body = [*self._hyperparameters(), *self._rows()]
        rows = ["for t in range(first, last):", "    i = rows[t]"] if self.changing else ["for i in range(n):"]
        for stage in range(self.n_stages):
            body += [*self._before(stage), *rows]
            body += ["    " + line for line in self._row_work(stage)]
        if not self.copies:
            return body + [f"state_{f}, next_{f} = next_{f}, state_{f}" for f in self.layout.swapped]
        if self.layout.swapped:
            body += rows
        for f in self.layout.swapped:
            if f in self.graph.narrow:
                body.append(f"    state_{f}[i, 0] = {self._target(f, '0')}")
            else:
                body += ["    for j in range(width):", f"        state_{f}[i, j] = {self._target(f, 'j')}"]
        return body

    def _rows(self) -> list[str]:
        """Lines that name the rows in which a node's work is kept."""
        part = {name: ", :1" for k, name in self.layout.scratch.items() if self.graph.nodes[k].narrow}
        names = self.layout.scratch.values()
        return [
            *(f"{name} = scratch[{r}{part.get(name, '')}]" for r, name in enumerate(names)),
            *(
                f"a{k} = averages[{a}{', :1' if self.graph.nodes[k].narrow else ''}]"
                for a, k in enumerate(self.layout.averages)
            ),
        ]

    def by_nodes(self, known: list[str]) -> tuple[str, list[str]]:
        """Functions of some rows of a stage, for threads to share; and the arguments that follow their own."""
        wave = self.layout.wave
        bodies, befores = [], {}
        for stage in range(self.n_stages):
            lines = [
                *self._hyperparameters(),
                *self._rows(),
                "width = np.uintp(scratch.shape[1])",
                "for i in range(lo, hi):",
            ]
            bodies.append(
                "\n".join("    " + line for line in lines + ["    " + line for line in self._row_work(stage)])
            )
            if before := self._before(stage):
                befores[stage] = "\n".join("    " + line for line in [*self._rows(), *before])
        text = "\n".join([*bodies, *befores.values()])
        swapped = {f"{which}_{f}" for f in self.layout.swapped for which in ("state", "next")}
        first = next(iter(self.graph.outputs))
        parameters = [
            name for name in ["first_step", *known] if _names(text, name) or name in swapped or name == f"state_{first}"
        ]
        arguments = ", ".join(parameters)
        functions = [
            *(
                f"{INNER if wave else DECORATOR}def stage_{s}(lo, hi, k, {arguments}):\n{b}"
                for s, b in enumerate(bodies)
            ),
            *(f"{DECORATOR}def before_{s}({arguments}):\n{b}" for s, b in befores.items()),
            *((DECORATOR + part.format(parameters=arguments).strip() for part in (WAVE, FINISH)) if wave else ()),
        ]
        return "\n\n\n".join(functions), parameters

    def _hyperparameters(self) -> list[str]:
        """Lines that find the hyperparameters of step k."""
        if not self.lanes:
            return self._scalars("hyper[k, {}]")
        return [  # those of runs side by side, one for each number of a row
            "for h in range(hyper.shape[1]):",
            "    for j in range(hyper_rows.shape[1]):",
            "        hyper_rows[h, j] = hyper[k, h, j % LANES]",
        ]

    def _before(self, stage: int) -> list[str]:
        """Lines that take the exact averages which a stage reads."""
        how = "average_awake(rows, first, last, " if self.changing else "average_rows("
        return [
            f"{how}{self._array(self.graph.nodes[k].args[0])}, a{k})"
            for k in self.layout.averages
            if self.layout.positions[k][0] == stage
        ]

    def _row_work(self, stage: int) -> list[str]:
        """Lines that do row i's work of a stage."""
        levels = range(self._levels(stage))
        return [line for level in levels for line in self._calls((stage, level)) + self._loop((stage, level))]

    def _levels(self, stage: int) -> int:
        places = [*map(self._place, range(len(self.graph.nodes))), *self.layout.outputs.values()]
        return 1 + max(level for s, level in places if s == stage)

    def _place(self, k: int) -> Position:
        return store_position(k, self.layout.positions)

    def _scalars(self, hyper: str) -> list[str]:
        """Lines that set the hyperparameters, the h-th found at `hyper`, and the numbers that follow from them."""
        nodes = enumerate(self.graph.nodes)
        return [f"{_hyper(name)} = {hyper.format(h)}" for h, name in enumerate(self.graph.hyper)] + [
            f"v{k} = {self._value(k, (0, 0))}" for k, n in nodes if not n.is_array and n.op != "hyper"
        ]

    def _calls(self, place: Position) -> list[str]:
        lines = []
        at = "shift + t" if self.changing else "k, i"
        for k, node in enumerate(self.graph.nodes):
            if self.layout.positions[k] != place or k not in self.layout.scratch:
                continue
            out = self.layout.scratch[k]
            if node.op in MIXES:
                which = 0 if node.by is None else 1 + self.networks.index(node.by)
                arrays = ", ".join(network_names(which))
                row = "t" if self.changing and not which else "i"
                rows = {"mix": f"mix_row({row}", "differences": f"differences_row({row}, i", "sum": f"sum_row({row}, i"}
                call = rows[node.op.removesuffix("_replicas")]
                lines.append(f"{call}, {arrays}, {self._array(node.args[0])}, {out})")
            elif node.op == "gradient":
                sampled, noisy = node.by
                name, trailing = self.gradients[sampled]
                batch = [f"indices[{at}]"] if sampled else []
                work = [f"{name}({', '.join(['i', *batch, self._row(node.args[0]), out, *trailing])})"]
                if noisy and self.lanes:
                    work += [f"for c in range({out}.shape[0] // LANES):", "    for r in range(LANES):"]
                    work += [f"        {out}[LANES * c + r] += noise[r, k, i, c]"]
                elif noisy:
                    work += [f"for j in range({out}.shape[0]):", f"    {out}[j] += noise[{at}, j]"]
                lines += self._where_fires(work, out)
            elif node.op == "saga":
                name, trailing = self.gradients[True]
                fresh = "scratch[scratch.shape[0] - 1]"  # one more than the rows in use
                field, noisy = node.by
                arguments = ["i", "samples[b:b + 1]", self._row(node.args[0]), fresh, *trailing]
                work = [f"samples = indices[{at}]", "for b in range(samples.shape[0]):"]
                work += [f"    {name}({', '.join(arguments)})"]
                work += [f"    saga_row(b, samples, counts[i], {fresh}, state_{field}[i], {out})"]
                if noisy:
                    work += [f"for j in range({out}.shape[0]):", f"    {out}[j] += noise[{at}, j]"]
                lines += self._where_fires(work, out)
            elif node.op == "tilted":
                name, trailing = self.gradients["tilted"]
                row, weight = node.args
                lines += self._assignments([(weight, "")], place)[:-1]
                lines.append(f"{name}({', '.join(['i', self._row(row), self._register(weight), out, *trailing])})")
            elif node.op == "compress":
                lines += self._message(k)
            elif kind(node.op) == "row call":
                printed = OPERATIONS[node.op].printed
                lanes = "LANES" if self.lanes else "1"
                lines.append(printed.format(row=self._row(node.args[0]), out=out, lanes=lanes, by=node.by))
        return lines

    def _where_fires(self, work: list[str], out: str) -> list[str]:
        """Lines that fill a row, with zeros at nodes that do not fire."""
        if not self.changing:
            return work
        work = ["if fires[t]:", *("    " + line for line in work)]
        return [*work, "else:", f"    for j in range({out}.shape[0]):", f"        {out}[j] = 0"]

    def _message(self, k: int) -> list[str]:
        """Lines that compress a row, and count its bits once and once a receiver."""
        compressor, plane, to, triggered = self.graph.nodes[k].by
        row, out = self._row(self.graph.nodes[k].args[0]), self.layout.scratch[k]
        who = "0" if is_shared(compressor, to) else "i"
        dither = f"dither[shift + t, {plane}]" if self.changing else f"dither[k, {plane}, {who}]"
        lines, start = [], 0
        for (name, trailing), size in self.compressors[plane]:
            whole = len(self.compressors[plane]) == 1
            arrays = [a if whole else f"{a}[{start}:{start + size}]" for a in (row, dither, out)]
            lines.append(f"bits {'+=' if start else '='} {name}(i, {', '.join([*arrays, *trailing])})")
            start += size
        match to:
            case "neighbours" if self.changing:
                lines += ["sent[i, 0] += bits if receivers[t] > 0 else 0", "sent[i, 1] += receivers[t] * bits"]
            case "neighbours":
                lines += ["sent[i, 0] += bits", "sent[i, 1] += receivers[i] * bits"]
            case "server":
                lines += ["sent[i, 0] += bits", "sent[i, 1] += bits"]
            case "all":
                lines += ["if i == 0:", "    sent[0, 0] += bits", "    sent[0, 1] += sent.shape[0] * bits"]
        if not triggered:
            return lines
        return [
            "silent = True",
            f"for j in range({row}.shape[0]):",
            f"    if {row}[j] != 0:",
            "        silent = False",
            "if silent:",
            f"    for j in range({out}.shape[0]):",
            f"        {out}[j] = 0",
            "else:",
            *("    " + line for line in lines),
        ]

    def _loop(self, place: Position) -> list[str]:
        """The loop over coordinates at one position: compute in registers, then store; then numbers of the node."""
        graph, layout = self.graph, self.layout
        targets: list[tuple[int, str]] = []
        for k, name in layout.stored.items():
            if self._place(k) == place and name not in self._output_arrays():
                targets.append((k, f"{name}[i, {{}}]"))
        for k, row in layout.scratch.items():
            if kind(graph.nodes[k].op) == "elementwise" and self._place(k) == place:
                targets.append((k, f"{row}[{{}}]"))
        for field, k in graph.outputs.items():
            if layout.outputs[field] == place:
                targets.append((k, self._target(field, "{}")))
        wide = [(k, target.format("j")) for k, target in targets if not graph.nodes[k].narrow]
        narrow = [(k, target.format("0")) for k, target in targets if graph.nodes[k].narrow]
        lines = []
        if wide:
            lines.append("for j in range(width):")
            if self.lanes:
                lines += ["    " + line for line in self._scalars("hyper_rows[{}, j]")]
            lines += ["    " + line for line in self._assignments(wide, place)]
        return lines + self._assignments(narrow, place)

    def _assignments(self, targets: list[tuple[int, str]], place: Position) -> list[str]:
        """Lines that compute nodes from what is stored before `place`, each once, and store them."""
        needed: set[int] = set()
        pending = [k for k, _ in targets]
        while pending:
            k = pending.pop()
            node = self.graph.nodes[k]
            if k not in needed and node.is_array:
                needed.add(k)
                if kind(node.op) == "elementwise" and not self._stored_before(k, place):
                    pending.extend(node.args)
        lines = [f"v{k} = {self._value(k, place)}" for k in sorted(needed)]
        return lines + [f"{target} = v{k}" for k, target in targets]

    def _target(self, field: str, j: str) -> str:
        """Where the new value of a field is written."""
        i = "t - first" if self.changing and field in self.layout.brief else "i"
        return f"{written_to(field, self.layout.swapped)}[{i}, {j}]"

    def _output_arrays(self) -> set[str]:
        return {written_to(f, self.layout.swapped) for f in self.graph.outputs}

    def _stored_before(self, k: int, place: Position) -> bool:
        return k in self.layout.stored and self._place(k) < place

    def _value(self, k: int, place: Position) -> str:
        node = self.graph.nodes[k]
        j = "0" if node.narrow else "j"
        if self._stored_before(k, place):
            return f"{self.layout.stored[k]}[i, {j}]"
        if kind(node.op) == "row call" or node.op in MIXES:
            return f"{self.layout.scratch[k]}[{j}]"
        match node.op:
            case "input":
                return f"state_{node.args[0]}[i, {j}]"
            case "const":
                return f"real({repr(node.args[0]).replace('inf', 'np.inf').replace('nan', 'np.nan')})"
            case "steps":
                return "real(first_step + k)"
            case "fires":
                return "fires[t]" if self.changing else "True"
            case "degrees":
                return "real(receivers[i])"
            case "received":
                return f"received[shift + t, {node.args[0]}, {j}]"
            case "average" | "average_replicas":
                return f"a{k}[{j}]"
        return OPERATIONS[node.op].printed.format(*map(self._register, node.args))

    def _register(self, k: int) -> str:
        """The local variable that holds one number of node k."""
        node = self.graph.nodes[k]
        return _hyper(node.args[0]) if node.op == "hyper" else f"v{k}"

    def _array(self, k: int) -> str:
        """The (n, d) array that holds node k, complete."""
        node = self.graph.nodes[k]
        return f"state_{node.args[0]}" if node.op == "input" else self.layout.stored[k]

    def _row(self, k: int) -> str:
        """The row of length d that holds row i of node k."""
        node = self.graph.nodes[k]
        if node.op in AVERAGES:
            return f"a{k}"
        if node.op != "input" and k in self.layout.scratch:
            return self.layout.scratch[k]
        return f"{self._array(k)}[i]"
