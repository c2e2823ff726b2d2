"""Sums over all axes but the last, on processors.

XLA's own reduction over rows walks down one column after the other. Here eight neighbouring rows become one, which it computes in vectors along the row
while it reads what it sums (and computes it, when that is elementwise); then eight parts of what is left are added until few rows are left, which a product
with ones adds. Further reductions in their place would be merged with the first one, into a walk down the columns. In levels
sums also round less.
"""

from __future__ import annotations

from typing import Any

from flowmesh.ops import kernels
from flowmesh.ops.target import on_cpu

_AT_ONCE = 8
_FEW_ROWS = 128
_SMALL = 1 << 16
"""Arrays of fewer elements are left to XLA."""
_PRODUCTS = ("float32", "float64")
"""Types whose products are as precise as their sums."""


def column_sums(xp: Any, x: Any) -> Any:
    """The sum of a floating-point `x` over all axes but the last."""
    if (
        kernels.is_numpy(xp)
        or not on_cpu()
        or x.size < max(_SMALL, _AT_ONCE * x.shape[-1])
        or x.dtype.name not in _PRODUCTS
    ):
        return xp.sum(x, axis=tuple(range(x.ndim - 1)), dtype=x.dtype)
    x, rest = _in_groups(xp, x.reshape(-1, x.shape[-1]), [])
    x = xp.sum(x.reshape(-1, _AT_ONCE, x.shape[-1]), axis=1, dtype=x.dtype)
    while x.shape[0] > _FEW_ROWS:
        x, rest = _in_groups(xp, x, rest)
        parts = x.reshape(_AT_ONCE, -1, x.shape[-1])
        x = parts[0]
        for part in range(1, _AT_ONCE):
            x = x + parts[part]
    total = xp.matmul(xp.ones((x.shape[0],), x.dtype), x, precision="highest")
    return sum(rest, total)


def _in_groups(xp: Any, x: Any, rest: list[Any]) -> tuple[Any, list[Any]]:
    """The rows that make whole groups, and the sums of rows that do not, with that of the others of these rows."""
    whole = x.shape[0] // _AT_ONCE * _AT_ONCE
    if whole == x.shape[0]:
        return x, rest
    return x[:whole], [*rest, xp.sum(x[whole:], axis=0, dtype=x.dtype)]
