"""Writing to some rows of an array, as scatter ops and sparse optimizer updates do, under both namespaces.

NumPy kernels reject an index that is out of range. In a compiled program such an index changes nothing (see `value_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.ops.array_support import first_bad_index

Array = Any
RowStep = Callable[[list[Array], list[Array]], Sequence[Array]]
"""New rows of each variable from the old rows and from one row of every operand."""

_UFUNCS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}
_JAX_METHODS = {"add": "add", "sub": "add", "mul": "multiply", "min": "min", "max": "max"}


def check_indices(indices: Any, limit: int) -> None:
    """InvalidArgumentError if a NumPy index is not in [0, limit), in the words of gather and scatter."""
    bad = first_bad_index(np.asarray(indices), limit)
    if bad is not None:
        where, value = bad
        raise errors.InvalidArgumentError(
            None,
            None,
            f"indices[{','.join(map(str, where))}] = {value} is not in [0, {limit})",
        )


def beyond(xp: Any, indices: Array, limit: int) -> Array:
    """The indices with those out of range replaced by `limit`, which a JAX scatter drops."""
    return xp.where((indices < 0) | (indices >= limit), limit, indices)


def combine_at(
    xp: Any, kind: str, target: Array, index: Any, updates: Array, in_place: bool = False
) -> Array:
    """`target` combined with `updates` at `index`, repeated places one after another.

    `kind` is add, sub, mul, div, min, max or update. `index` is an array of rows or, to address elements
    by more than one coordinate, a tuple of arrays. With `in_place` NumPy writes to `target` itself.
    """
    updates = xp.asarray(updates, target.dtype)
    if kind == "div":
        rows = target.shape[0]
        if isinstance(index, tuple):
            raise ValueError("division addresses rows")
        flat = index.reshape(-1)
        updates = xp.broadcast_to(updates, index.shape + target.shape[1:])
        updates = updates.reshape((flat.shape[0], *target.shape[1:]))
        (result,) = update_rows(
            xp,
            [target],
            flat,
            [updates],
            lambda old, by: [_quotient(xp, old[0], by[0])],
            rows,
            in_place,
        )
        return result
    if xp is not np:
        place = target.at[index]
        if kind == "update":
            return place.set(updates, mode="drop")
        if kind == "sub":
            updates = -updates
        return getattr(place, _JAX_METHODS[kind])(updates, mode="drop")
    result = target if in_place else np.array(target)
    if kind == "update":
        result[index] = updates
    else:
        _UFUNCS[kind].at(result, index, updates)
    return result


def _quotient(xp: Any, x: Array, y: Array) -> Array:
    """x / y, rounded towards zero for integers."""
    if not np.issubdtype(x.dtype, np.integer):
        return x / y
    quotient = xp.abs(x) // xp.abs(y)
    return (quotient * xp.sign(x) * xp.sign(y)).astype(x.dtype)


def occurrence(xp: Any, indices: Array) -> Array:
    """For each index, how many equal ones stand before it."""
    order = xp.argsort(indices, kind="stable") if xp is np else xp.argsort(indices, stable=True)
    ordered = indices[order]
    rank = xp.arange(indices.shape[0]) - xp.searchsorted(ordered, ordered, side="left")
    return rank[xp.argsort(order)]


def update_rows(
    xp: Any,
    variables: Sequence[Array],
    indices: Array,
    operands: Sequence[Array],
    step: RowStep,
    limit: int,
    in_place: bool = False,
) -> list[Array]:
    """New arrays (with `in_place`, the same ones) after `step` on the rows `indices` of all `variables`, equal indices one after another.

    The k-th occurrences of all indices are handled together, so that a row sees the effect of the
    earlier ones as it would in a loop; mostly there is no second occurrence and one round.
    """
    rank = occurrence(xp, indices)
    if xp is np:
        results = list(variables) if in_place else [np.array(v) for v in variables]
        for k in range(int(rank.max(initial=-1)) + 1):
            chosen = rank == k
            rows = indices[chosen]
            new = step([v[rows] for v in results], [o[chosen] for o in operands])
            for result, value in zip(results, new):
                result[rows] = value
        return results
    return _update_rows_compiled(xp, variables, indices, operands, step, limit, rank)


def _update_rows_compiled(
    xp: Any,
    variables: Sequence[Array],
    indices: Array,
    operands: Sequence[Array],
    step: RowStep,
    limit: int,
    rank: Array,
) -> list[Array]:
    from jax import lax

    if indices.shape[0] == 0:
        return list(variables)
    target = beyond(xp, indices, limit)
    rounds = rank.max() + 1

    def body(state: Any) -> Any:
        k, current = state
        rows = [v.at[target].get(mode="clip") for v in current]
        new = step(rows, list(operands))
        place = xp.where(rank == k, target, limit)
        written = [v.at[place].set(n.astype(v.dtype), mode="drop") for v, n in zip(current, new)]
        return k + 1, written

    start = (xp.zeros((), rank.dtype), list(variables))
    _, results = lax.while_loop(lambda state: state[0] < rounds, body, start)
    return list(results)
