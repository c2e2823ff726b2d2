"""Matrix products by NumPy in pieces that two threads can compute at the same time.

The pieces follow from the shapes alone, so that the bits are the same whoever computes them. OpenBLAS's own threads wait for each
other by spinning (see `blas`), which costs more than it gives where the tasks of a cluster share the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core.dtypes import float32, float64
from flowmesh.graph.operation import Operation
from flowmesh.runtime import cost
from flowmesh.runtime.helpers import helper

WORTH = 500_000
"""Work from which on a product is computed in pieces (see `cost`): to tell another thread takes some 50 us."""
MOST_CORES = 8
"""With more cores than these XLA, which uses all, is taken to be faster than two threads although it has to wake them (not measured)."""
_FULL = 8
"""Rows or columns of a piece are a multiple of what the kernels of matrix libraries take at a time."""
_LARGER = 54
"""Percent of a product that the caller begins with: the helper comes a little later, and to wait for it costs more than the difference."""


Room: TypeAlias = Callable[[tuple[int, ...], Any], Any]
"""Gives an array of this shape and type in which the result is wanted; None for any."""


def can_be_shared(op: Operation) -> bool:
    """Whether an op is a product whose pieces a matrix library computes."""
    return op.type == "MatMul" and op.inputs[0].dtype.base_dtype in (float32, float64)


def operands(op: Operation) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Gives the matrices that a MatMul multiplies, for its inputs; raises what its kernel raises."""
    definition = op.definition
    flip_a, flip_b = definition.attrs["transpose_a"], definition.attrs["transpose_b"]

    def split(a: Any, b: Any) -> tuple[Any, Any]:
        if a.ndim == 2 and b.ndim == 2:
            left = a.T if flip_a else a
            right = b.T if flip_b else b
            if left.shape[1] == right.shape[0]:
                return left, right
        definition.compute(np, a, b)
        raise AssertionError("these matrices cannot be multiplied")

    return split


def shared_kernel(op: Operation, is_last: bool = False) -> Callable[..., Any]:
    """What computes a MatMul that `can_be_shared`, as its own kernel does, in pieces if it is large; and then, if there is room for it
    somewhere, there. `is_last`: whether no other large product comes after it."""
    split = operands(op)

    def kernel(xp: Any, a: Any, b: Any, room: Room | None = None) -> Any:
        left, right = split(a, b)
        return multiplied(left, right, room, is_last)

    return kernel


def multiplied(a: Any, b: Any, room: Room | None = None, is_last: bool = False) -> Any:
    """`a @ b` for matrices of floats, in pieces if it is large; see `product`."""
    if a.shape[0] * a.shape[1] * b.shape[1] >= WORTH * cost.MULTIPLY_ADDS_PER_UNIT:
        return product(a, b, room, is_last)
    return np.matmul(a, b)


def product(a: Any, b: Any, room: Room | None = None, is_last: bool = False) -> Any:
    """`a @ b` for matrices of floats, in two pieces: of its rows, or of its columns if there are more of them. `is_last`: whether no other
    large product comes after it."""
    rows, columns = a.shape[0], b.shape[1]
    out = None if room is None else room((rows, columns), a.dtype)
    if out is None:
        out = np.empty((rows, columns), a.dtype)
    # The caller takes the last one first.
    if rows >= columns:
        size = _larger(rows)
        pieces = [(a[size:], b, out[size:]), (a[:size], b, out[:size])]
    else:
        size = _larger(columns)
        pieces = [(a, b[:, size:], out[:, size:]), (a, b[:, :size], out[:, :size])]
    helper().share([(np.matmul, piece) for piece in pieces], is_last)
    return out


def _larger(size: int) -> int:
    """The rows or columns of the larger piece."""
    if size < 8 * _FULL:
        return (size + 1) // 2
    return -(-size * _LARGER // 100 // _FULL) * _FULL


def mostly_products(works: Sequence[tuple[Operation, int]]) -> bool:
    """Whether at least three quarters of the work of these ops are products that can be shared."""
    total = sum(work for _, work in works)
    shared = sum(work for op, work in works if can_be_shared(op))
    return 4 * shared >= 3 * total
