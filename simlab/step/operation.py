"""The rows of the step language: each operation with its name, its kind and the form in which programs print it.

The array form of an operation of `simlab.operations` is the function that carries the row (its decorator
`simlab.operations.operation`); that of the operators below is Python's own.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["leaf", "elementwise", "exchange", "row call"]


class Operation(NamedTuple):
    """One row.

    Attributes
    ----------
    name : str
    kind : {"leaf", "elementwise", "exchange", "row call"}
        A leaf has no arguments; an elementwise operation is recomputed wherever it is used; what an exchange reads is
        complete at all nodes before; a row call fills a row from a whole row.
    printed : str
        Elementwise: the expression, ``{0}``, ``{1}``, ... its arguments. Row call: the statement, ``{row}`` its
        argument, ``{out}`` what it fills, ``{lanes}`` the runs in a row. Empty where the printer has to know more, of
        kernels and networks.
    helper : str
        The function that the statement calls, where it calls one.
    """

    name: str
    kind: Kind
    printed: str = ""
    helper: str = ""


OPERATIONS = {
    row.name: row
    for row in (
        Operation("input", "leaf"),
        Operation("hyper", "leaf"),
        Operation("const", "leaf"),
        Operation("steps", "leaf"),
        Operation("fires", "leaf"),
        Operation("degrees", "leaf"),
        Operation("received", "leaf"),
        Operation("add", "elementwise", "{} + {}"),
        Operation("sub", "elementwise", "{} - {}"),
        Operation("mul", "elementwise", "{} * {}"),
        Operation("div", "elementwise", "{} / {}"),
        Operation("pow", "elementwise", "{} ** {}"),
        Operation("neg", "elementwise", "-{}"),
        Operation("lt", "elementwise", "{} < {}"),
        Operation("le", "elementwise", "{} <= {}"),
        Operation("gt", "elementwise", "{} > {}"),
        Operation("ge", "elementwise", "{} >= {}"),
        Operation("eq", "elementwise", "{} == {}"),
        Operation("ne", "elementwise", "{} != {}"),
        Operation("and", "elementwise", "({} != 0) & ({} != 0)"),
        Operation("or", "elementwise", "({} != 0) | ({} != 0)"),
    )
}


def add(row: Operation) -> None:
    """Add a row to the table; ValueError if its name is taken."""
    if row.name in OPERATIONS:
        raise ValueError(f"operation {row.name!r} is in the table already; choose another name")
    OPERATIONS[row.name] = row


def kind(name: str) -> Kind:
    """The kind of an operation."""
    return OPERATIONS[name].kind
