"""A hint to the processor: rows of memory that are needed soon."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LINE = 64  # bytes of a cache line
LINES = 2  # of a row; what follows them the hardware finds by itself


@intrinsic
def prefetch(context: Any, array: Any, row: Any) -> Any:
    """Begin to load the start of ``array[row]``; nothing is computed, and no row is wrong, even one out of range."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, row_type = signature.args
        view = context.make_array(array_type)(context, builder, arguments[0])
        row = context.cast(builder, arguments[1], row_type, types.intp)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        hint = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        load = builder.module.declare_intrinsic("llvm.prefetch", [byte], hint)
        start = builder.mul(row, builder.extract_value(view.strides, 0))
        for line in range(LINES):
            offset = builder.add(start, start.type(LINE * line))
            address = builder.gep(builder.bitcast(view.data, byte), [offset])
            builder.call(load, [address, word(0), word(3), word(1)])  # to read, for all caches, data
        return context.get_dummy_value()

    return types.void(array, row), generate
