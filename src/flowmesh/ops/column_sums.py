"""Sums over all axes but the last one, for programs on processors.

XLA's loop for such a sum walks down one column after the other. Adding up rows of a long matrix eightfold, level by level, takes whole
rows at a time, is fused with what makes the rows, and rounds less.
"""

from __future__ import annotations

from typing import Any

from flowmesh.ops import kernels
from flowmesh.ops.target import on_cpu

_AT_ONCE = 8
_FEW_ROWS = 64
_SMALL = 1 << 16
"""Arrays of fewer elements are left to XLA."""


def column_sums(xp: Any, x: Any) -> Any:
    """The sum of a floating-point `x` over all axes but the last."""
    if kernels.is_numpy(xp) or not on_cpu() or x.size < _SMALL:
        return xp.sum(x, axis=tuple(range(x.ndim - 1)), dtype=x.dtype)
    x = x.reshape(-1, x.shape[-1])
    rest: Any = None
    while x.shape[0] > _FEW_ROWS:
        rows = x.shape[0] // _AT_ONCE
        left = x[rows * _AT_ONCE :]
        x = x[: rows * _AT_ONCE].reshape(_AT_ONCE, rows, x.shape[-1])
        total = x[0]
        for part in range(1, _AT_ONCE):
            total = total + x[part]
        x = total
        if left.shape[0]:
            some = xp.sum(left, axis=0, dtype=x.dtype)
            rest = some if rest is None else rest + some
    total = xp.sum(x, axis=0, dtype=x.dtype)
    return total if rest is None else total + rest
