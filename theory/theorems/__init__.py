"""Theorems, one file each: statement, reference, assumptions that are checked, constants, bound.

`THEOREMS` are those about runs, which `theory.verify` goes through: the `THEOREMS` of each module in `ABOUT_RUNS`.
Modules in `ABOUT_FORMULAS` are about arrays and parameters alone: they have `assumptions(...)` and bounds of their
own; `choco_gossip`, `spectral_gaps` and `local_sgd` have both. A new theorem is one file and one name here. All
statements side by side: docs/theory.md, "Theorems".
"""

from importlib import import_module

from theory.theorems.theorem import Check, Setting, Theorem

#: Modules with theorems about runs.
ABOUT_RUNS = (
    "b1",
    "b2",
    "leading_constant",
    "dgd",
    "dpsgd",
    "choco_gossip",
    "heavy_ball",
    "spectral_gaps",
    "random_mixing",
    "local_updates",
    "gossip_pga",
    "local_momentum",
    "one_peer",
    "local_sgd",
    "error_feedback",
    "double_squeeze",
    "marina",
    "sign_sgd",
    "lag",
    "ssda",
    "consensus_distance",
    "scaling",
)
#: Modules with theorems about arrays and parameters alone.
ABOUT_FORMULAS = (
    "dual_averaging",
    "qsgd",
    "averaging_time",
    "matcha",
    "push_sum",
    "asynchronous_weights",
)

_modules = {name: import_module(f"theory.theorems.{name}") for name in (*ABOUT_RUNS, *ABOUT_FORMULAS)}

#: Theorems about runs, in the order in which `theory.verify` goes through them.
THEOREMS: tuple[Theorem, ...] = tuple(theorem for name in ABOUT_RUNS for theorem in _modules[name].THEOREMS)

__all__ = ["ABOUT_FORMULAS", "ABOUT_RUNS", "THEOREMS", "Check", "Setting", "Theorem"]
