"""Theorems, one file each: statement, reference, assumptions that are checked, constants, bound.

`THEOREMS` are those about runs of algorithms of this package, which `theory.verify` goes through. `qsgd`,
`dual_averaging` and `local_sgd` are about arrays and parameters alone: they have `assumptions(...)` and bounds of their
own. `choco_gossip` and `spectral_gaps` have both. All statements side by side: docs/theory.md, "Theorems".
"""

from theory.theorems import (
    b1,
    b2,
    choco_gossip,
    dgd,
    dpsgd,
    dual_averaging,
    heavy_ball,
    leading_constant,
    local_sgd,
    qsgd,
    spectral_gaps,
)
from theory.theorems.theorem import Check, Setting, Theorem

THEOREMS = (
    b1.CONSENSUS,
    b1.MSE,
    b1.SHARPER_MSE,
    b2.MSE,
    leading_constant.UPPER,
    leading_constant.LOWER,
    dgd.CONSENSUS,
    dgd.GRADIENTS,
    dpsgd.CITED,
    dpsgd.SHARPER,
    choco_gossip.CONSENSUS,
    heavy_ball.ENVELOPE,
    spectral_gaps.RING,
)

__all__ = [
    "THEOREMS",
    "Check",
    "Setting",
    "Theorem",
    "b1",
    "b2",
    "choco_gossip",
    "dgd",
    "dpsgd",
    "dual_averaging",
    "heavy_ball",
    "leading_constant",
    "local_sgd",
    "qsgd",
    "spectral_gaps",
]
