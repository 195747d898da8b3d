"""A step's graph as the text of a Numba program: one fused loop over nodes for each exchange."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from simlab.engine.compiler.layout import Layout, Position, store_position, written_to
from simlab.kernel import LANES, Kernel, source as kernel_source
from simlab.step.graph import MIXES, Graph
from simlab.step.operation import OPERATIONS, kind

# Reassociation and contraction only: flags that assume no NaN or infinity would delete divergence checks. Division by
# zero is infinite or NaN, as in NumPy.
HEADER = '''"""{title}

Printed by simlab from the traced step; a changed step or kernel is another file.
"""

import math

import numpy as np
from numba import njit

real = np.{real}
LANES = {lanes}
FAST = {{"reassoc", "contract", "arcp", "nsz"}}


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def mix_row(i, indptr, neighbours, weights, source, out):
    e, last = indptr[i], indptr[i + 1]
    if (last - e) % 2:
        w = weights[e]
        row = source[neighbours[e]]
        for j in range(out.shape[0]):
            out[j] = w * row[j]
        e += 1
    else:
        out[:] = 0
    while e < last:  # two neighbours at a time: half the traffic of the sum
        w, v = weights[e], weights[e + 1]
        row, other = source[neighbours[e]], source[neighbours[e + 1]]
        for j in range(out.shape[0]):
            out[j] += w * row[j] + v * other[j]
        e += 2


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def average_rows(source, out):
    out[:] = 0
    for i in range(source.shape[0]):
        for j in range(out.shape[0]):
            out[j] += source[i, j]
    out /= source.shape[0]

'''


# A large network: the second stage of a tile of nodes follows the first stages it depends on while they are in cache.
WAVE = """
@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def wave(first, last, cuts, following, order, k, {parameters}):
    for t in range(first, last):
        stage_0(cuts[t], cuts[t + 1], k, {parameters})
        for f in range(following[t], following[t + 1]):
            stage_1(cuts[order[f]], cuts[order[f] + 1], k, {parameters})


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def finish(late, cuts, k, {parameters}):
    for t in late:
        stage_1(cuts[t], cuts[t + 1], k, {parameters})
"""


# The hyperparameters of runs side by side, one for each number of a row.
SPREAD = """
@njit(nogil=True)
def spread(values, rows):
    for h in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[h, j] = values[h, j % LANES]
"""


DECORATOR = '@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")\n'
KERNEL_DECORATOR = '@njit(nogil=True, fastmath=FAST, error_model="numpy")\n'
# The levels of a quantizer and the parameters of a source code must not depend on how sums are reassociated.
COMPRESSOR_DECORATOR = '@njit(nogil=True, error_model="numpy")\n'


def generate(
    graph: Graph,
    layout: Layout,
    gradients: dict[bool, Kernel],
    compressors: list[Kernel],
    *,
    title: str,
    real: str,
    lanes: bool,
) -> str:
    """The program that runs chunks of steps of `graph`.

    Parameters
    ----------
    graph : Graph
        The traced step.
    layout : Layout
        Its stages and storage.
    gradients : dict of Kernel
        The problem's gradients of one node that the step takes: on mini-batches (True), of all samples (False).
    compressors : list of Kernel
        The row function of each compression of a step.
    title : str
        First line of the program.
    real : {"float64", "float32"}
        Precision of states and arithmetic.
    lanes : bool
        Whether a row holds `LANES` runs, each with hyperparameters of its own.
    """
    kernels = [*gradients.values(), *compressors]
    work = [[f"work_{c}_{k}" for k in range(len(each.work))] for c, each in enumerate(kernels)]
    data = [[f"data_{c}_{k}" for k in range(len(each.data))] for c, each in enumerate(kernels)]
    fields = list(graph.outputs)
    parameters = [
        *(f"state_{f}" for f in fields),
        *(f"next_{f}" for f in layout.swapped),
        *layout.buffers,
        *("scratch", "averages"),
        *itertools.chain(*work),
        *(["hyper_rows"] if lanes else []),
        *("sent", "hyper", "indices", "noise", "dither"),
        *itertools.chain(*(network_names(k) for k in range(len(graph.networks) + 1))),
        *itertools.chain(*data),
    ]
    calls = [_Call(each.functions[-1].__name__, [*w, *a]) for each, w, a in zip(kernels, work, data, strict=True)]
    of_gradients = dict(zip(gradients, calls, strict=False))
    writer = _Writer(graph, layout, of_gradients, calls[len(gradients) :], lanes)
    n_stages = layout.last[0] + 1
    return "\n\n".join(
        [
            HEADER.format(title=title, real=real, lanes=LANES),
            *(KERNEL_DECORATOR + helper.strip() for helper in _helpers(graph)),
            *([SPREAD] if lanes else []),
            *_kernel_sources(
                [f for each in gradients.values() for f in each.functions],
                [f for each in compressors for f in each.functions],
            ),
            *(
                part
                for s in range(n_stages)
                for part in (writer.before(s, parameters), writer.stage(s, parameters))
                if part
            ),
            writer.driver(parameters, fields, n_stages),
            *([WAVE.format(parameters=", ".join(parameters))] if layout.wave else []),
            f"PARAMETERS = {tuple(parameters)!r}\nN_STAGES = {n_stages}\n",
        ]
    )


def network_names(k: int) -> tuple[str, str, str]:
    """Names of the CSR arrays of network k: 0 is the one that is simulated, then those that the step brings."""
    suffix = f"_{k}" if k else ""
    return f"indptr{suffix}", f"neighbours{suffix}", f"weights{suffix}"


def _helpers(graph: Graph) -> list[str]:
    """Texts of the functions that row calls of the graph need, each once."""
    rows = (OPERATIONS[node.op] for node in graph.nodes)
    return list(dict.fromkeys(row.helper for row in rows if row.helper))


def _kernel_sources(gradient: Iterable[Callable[..., object]], compressors: list[Callable[..., object]]) -> list[str]:
    sources: dict[str, str] = {}
    for function in [*gradient, *compressors]:
        text = kernel_source(function)
        if sources.setdefault(function.__name__, text) != text:
            raise ValueError(f"two different kernel functions are named {function.__name__}; rename one")
    exact = {function.__name__ for function in compressors}
    return [
        (COMPRESSOR_DECORATOR if name in exact else KERNEL_DECORATOR) + text.rstrip() for name, text in sources.items()
    ]


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
        gradients: dict[bool, _Call],
        compressors: list[_Call],
        lanes: bool,
    ) -> None:
        self.graph, self.layout, self.lanes = graph, layout, lanes
        self.gradients, self.compressors = gradients, compressors

    def stage(self, stage: int, parameters: list[str]) -> str:
        """The function that works on rows lo to hi of one stage."""
        body = [f"def stage_{stage}(lo, hi, k, {', '.join(parameters)}):"]
        if not self.lanes:
            body += ["    " + line for line in self._scalars("hyper[k, {}]")]
        body += [f"    {row} = scratch[{r}]" for r, row in enumerate(self.layout.scratch.values())]
        body += [f"    a{k} = averages[{a}]" for a, k in enumerate(self.layout.averages)]
        body.append("    for i in range(lo, hi):")
        for level in range(self._levels(stage)):
            body += [" " * 8 + line for line in self._calls((stage, level)) + self._loop((stage, level))]
        return DECORATOR + "\n".join(body)

    def driver(self, parameters: list[str], fields: list[str], n_stages: int) -> str:
        """The function that runs a chunk of steps and takes snapshots of x."""
        arguments = ", ".join(parameters)
        body = [
            f"def run({arguments}, first_step, every, snapshots, sent_snapshots):",
            f"    n = state_{fields[0]}.shape[0]",
            "    taken = 0",
            "    for k in range(hyper.shape[0]):",
            *(["        spread(hyper[k], hyper_rows)"] if self.lanes else []),
        ]
        for stage in range(n_stages):
            if self.before(stage, parameters):
                body.append(f"        before_{stage}({arguments})")
            body.append(f"        stage_{stage}(0, n, k, {arguments})")
        body += [f"        state_{f}, next_{f} = next_{f}, state_{f}" for f in self.layout.swapped]
        body += [
            "        if (first_step + k + 1) % every == 0:",
            f"            snapshots[taken] = state_{fields[0]}",
            "            sent_snapshots[taken] = sent",
            "            taken += 1",
            f"    return {', '.join(f'state_{f}' for f in fields)},",
        ]
        return DECORATOR + "\n".join(body) + "\n"

    def before(self, stage: int, parameters: list[str]) -> str:
        """The function that takes the exact averages a stage reads; empty if it reads none."""
        calls = [
            f"    average_rows({self._array(self.graph.nodes[k].args[0])}, averages[{a}])"
            for a, k in enumerate(self.layout.averages)
            if self.layout.positions[k][0] == stage
        ]
        if not calls:
            return ""
        return "\n".join([f"{DECORATOR}def before_{stage}({', '.join(parameters)}):", *calls])

    def _levels(self, stage: int) -> int:
        places = [*map(self._place, range(len(self.graph.nodes))), *self.layout.outputs.values()]
        return 1 + max(level for s, level in places if s == stage)

    def _place(self, k: int) -> Position:
        return store_position(k, self.layout.positions)

    def _scalars(self, hyper: str) -> list[str]:
        """Lines that set the hyperparameters, the h-th found at `hyper`, and the numbers that follow from them."""
        nodes = enumerate(self.graph.nodes)
        return [f"hyper_{name} = {hyper.format(h)}" for h, name in enumerate(self.graph.hyper)] + [
            f"v{k} = {self._value(k, (0, 0))}" for k, n in nodes if not n.is_array and n.op != "hyper"
        ]

    def _calls(self, place: Position) -> list[str]:
        lines = []
        for k, node in enumerate(self.graph.nodes):
            if self.layout.positions[k] != place or k not in self.layout.scratch:
                continue
            out = self.layout.scratch[k]
            if node.op in MIXES:
                which = 0 if node.by is None else 1 + self.graph.networks.index(node.by)
                arrays = ", ".join(network_names(which))
                lines.append(f"mix_row(i, {arrays}, {self._array(node.args[0])}, {out})")
            elif node.op == "gradient":
                sampled, noisy = node.by
                name, trailing = self.gradients[sampled]
                batch = ["indices[k, i]"] if sampled else []
                lines.append(f"{name}({', '.join(['i', *batch, self._row(node.args[0]), out, *trailing])})")
                if noisy and self.lanes:
                    lines += [f"for c in range({out}.shape[0] // LANES):", "    for r in range(LANES):"]
                    lines += [f"        {out}[LANES * c + r] += noise[r, k, i, c]"]
                elif noisy:
                    lines += [f"for j in range({out}.shape[0]):", f"    {out}[j] += noise[k, i, j]"]
            elif node.op == "compress":
                plane = node.by[1]
                name, trailing = self.compressors[plane]
                row = [self._row(node.args[0]), f"dither[k, {plane}, i]", out, *trailing]
                lines.append(f"sent[i] += {name}(i, {', '.join(row)})")
            elif kind(node.op) == "row call":
                printed = OPERATIONS[node.op].printed
                lanes = "LANES" if self.lanes else "1"
                lines.append(printed.format(row=self._row(node.args[0]), out=out, lanes=lanes))
        return lines

    def _loop(self, place: Position) -> list[str]:
        """The loop over coordinates at one position: compute in registers, then store."""
        graph, layout = self.graph, self.layout
        targets: list[tuple[int, str]] = []
        for k, name in layout.stored.items():
            if self._place(k) == place and name not in self._output_arrays():
                targets.append((k, f"{name}[i, j]"))
        for k, row in layout.scratch.items():
            if kind(graph.nodes[k].op) == "elementwise" and self._place(k) == place:
                targets.append((k, f"{row}[j]"))
        for field, k in graph.outputs.items():
            if layout.outputs[field] == place:
                targets.append((k, f"{written_to(field, layout.swapped)}[i, j]"))
        if not targets:
            return []
        needed: set[int] = set()
        pending = [k for k, _ in targets]
        while pending:
            k = pending.pop()
            node = graph.nodes[k]
            if k not in needed and node.is_array:
                needed.add(k)
                if kind(node.op) == "elementwise" and not self._stored_before(k, place):
                    pending.extend(node.args)
        lines = ["for j in range(scratch.shape[1]):"]
        if self.lanes:
            lines += ["    " + line for line in self._scalars("hyper_rows[{}, j]")]
        lines += [f"    v{k} = {self._value(k, place)}" for k in sorted(needed)]
        lines += [f"    {target} = v{k}" for k, target in targets]
        return lines

    def _output_arrays(self) -> set[str]:
        return {written_to(f, self.layout.swapped) for f in self.graph.outputs}

    def _stored_before(self, k: int, place: Position) -> bool:
        return k in self.layout.stored and self._place(k) < place

    def _value(self, k: int, place: Position) -> str:
        node = self.graph.nodes[k]
        if self._stored_before(k, place):
            return f"{self.layout.stored[k]}[i, j]"
        if kind(node.op) == "row call" or node.op in MIXES:
            return f"{self.layout.scratch[k]}[j]"
        match node.op:
            case "input":
                return f"state_{node.args[0]}[i, j]"
            case "const":
                return f"real({repr(node.args[0]).replace('inf', 'np.inf').replace('nan', 'np.nan')})"
            case "average":
                return f"a{k}[j]"
        names = (f"hyper_{n.args[0]}" if n.op == "hyper" else f"v{a}" for a, n in self._arguments(k))
        return OPERATIONS[node.op].printed.format(*names)

    def _arguments(self, k: int):  # type: ignore[no-untyped-def]
        return [(a, self.graph.nodes[a]) for a in self.graph.nodes[k].args]

    def _array(self, k: int) -> str:
        """The (n, d) array that holds node k, complete."""
        node = self.graph.nodes[k]
        return f"state_{node.args[0]}" if node.op == "input" else self.layout.stored[k]

    def _row(self, k: int) -> str:
        """The row of length d that holds row i of node k."""
        node = self.graph.nodes[k]
        if node.op == "average":
            return f"a{k}"
        if node.op != "input" and k in self.layout.scratch:
            return self.layout.scratch[k]
        return f"{self._array(k)}[i]"
