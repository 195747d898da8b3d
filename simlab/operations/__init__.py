"""What an algorithm's step may use, besides array operators.

Each function takes arrays of any namespace (NumPy, CuPy, array-api-strict) or the symbolic arrays on
which the compiled engine traces a step.
"""

from simlab.operations.context import degrees, fires, per_node, phase, present as present, steps_taken
from simlab.operations.elementwise import (
    absolute,
    block_norms,
    maximum,
    minimum,
    norm,
    sign,
    soft_threshold,
    sqrt,
    where,
    zeros_like,
)
from simlab.operations.exchanges import (
    Polynomial,
    average,
    average_replicas,
    common_uniform,
    compress,
    differences,
    differences_replicas,
    mix,
    mix_replicas,
    sum_replicas,
)
from simlab.operations.language import Array, tally as tally
from simlab.operations.oracles import Altered as Altered, conjugate, gradient, proximal, saga_gradient, sample_table
from simlab.step.batch import Batch

__all__ = [
    "Array",
    "Batch",
    "Polynomial",
    "absolute",
    "average",
    "average_replicas",
    "block_norms",
    "common_uniform",
    "compress",
    "conjugate",
    "degrees",
    "differences",
    "differences_replicas",
    "fires",
    "gradient",
    "maximum",
    "minimum",
    "mix",
    "mix_replicas",
    "norm",
    "per_node",
    "phase",
    "proximal",
    "saga_gradient",
    "sample_table",
    "sign",
    "soft_threshold",
    "sqrt",
    "steps_taken",
    "sum_replicas",
    "where",
    "zeros_like",
]
