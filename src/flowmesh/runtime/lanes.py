"""Random numbers that are traced in the order in which the generator makes them.

Philox makes four words at a time. An array of its words in their final order has them side by side, and XLA, which fuses a producer into
its consumer element by element, would compute each block four times, or write all words to memory first. `Lanes` is an array that is
traced as four: element k of the array is element k // 4 of lane k % 4. Elementwise ops of lanes and scalars give lanes, reductions of all
elements end them; so draw, arithmetic and sum become one loop without memory. For any other use the array is made in the usual way (`full`),
of which nothing is computed unless it is needed. Values are bit for bit the same; sums are associated differently, as XLA may anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.runtime.program import Instruction, invoke

MINIMUM = 4096
"""Smaller arrays are not worth it."""

_ELEMENTWISE = frozenset(
    [
        "Add",
        "AddV2",
        "Sub",
        "Mul",
        "RealDiv",
        "Div",
        "Maximum",
        "Minimum",
        "SquaredDifference",
        "Square",
        "Neg",
        "Abs",
        "Sqrt",
        "Rsqrt",
        "Exp",
        "Log",
        "Log1p",
        "Sin",
        "Cos",
        "Tanh",
        "Sigmoid",
        "Floor",
        "Ceil",
        "Round",
        "Rint",
        "Cast",
        "Less",
        "LessEqual",
        "Greater",
        "GreaterEqual",
        "Equal",
        "NotEqual",
        "LogicalAnd",
        "LogicalOr",
        "LogicalNot",
        "Identity",
        "Relu",
        "Sign",
        "Reciprocal",
        "Inv",
        "Pow",
    ]
)
_REDUCTIONS: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "Sum": lambda jnp, parts: (parts[0] + parts[1]) + (parts[2] + parts[3]),
    "Mean": lambda jnp, parts: ((parts[0] + parts[1]) + (parts[2] + parts[3])) / len(parts),
    "Max": lambda jnp, parts: jnp.stack(parts).max(axis=0),
    "Min": lambda jnp, parts: jnp.stack(parts).min(axis=0),
}


class Lanes:
    """An array in four parts. It looks like an array only as far as shape and dtype go."""

    def __init__(
        self, parts: Sequence[Any], shape: tuple[int, ...], make: Callable[[], Any]
    ) -> None:
        """`make` traces the array in its usual form."""
        self.parts = parts
        self.shape = shape
        self.dtype = parts[0].dtype
        self._make = make
        self._full: Any = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return 4 * int(self.parts[0].size)

    def full(self) -> Any:
        """The array in its usual form."""
        if self._full is None:
            self._full = self._make()
        return self._full


def settled(value: Any) -> Any:
    """The value as a proper array."""
    return value.full() if isinstance(value, Lanes) else value


def draw(instruction: Instruction, jnp: Any, arguments: list[Any], implicit: list[Any]) -> Any:
    """What a random op returns, with lanes for the numbers; None when it cannot give them."""
    make = getattr(instruction.op.definition, "compute_lanes", None)
    state = implicit[instruction.implicit] if instruction.implicit >= 0 else None
    made = None if make is None else make(jnp, state, *arguments)
    if made is None or made[1][0].size * 4 < MINIMUM:
        return None
    moved, parts, shape = made
    before = list(implicit)
    return moved, Lanes(parts, shape, lambda: invoke(instruction, jnp, arguments, before)[1])


def call(instruction: Instruction, jnp: Any, arguments: list[Any], implicit: list[Any]) -> Any:
    """The kernel on arguments of which some are lanes."""
    op = instruction.op
    arguments = [
        jnp.asarray(a) if isinstance(a, np.ndarray) and i not in instruction.needs_static else a
        for i, a in enumerate(arguments)
    ]
    if op.type in _ELEMENTWISE and instruction.simple:
        parts = _elementwise(instruction, jnp, arguments)
        if parts is not None:
            shape = next(a.shape for a in arguments if isinstance(a, Lanes))
            return Lanes(
                parts,
                shape,
                lambda: invoke(instruction, jnp, [settled(a) for a in arguments], implicit),
            )
    if op.type in _REDUCTIONS and isinstance(arguments[0], Lanes):
        found = _reduction(instruction, jnp, arguments)
        if found is not None:
            return found
    return invoke(instruction, jnp, [settled(a) for a in arguments], implicit)


def _elementwise(instruction: Instruction, jnp: Any, arguments: list[Any]) -> list[Any] | None:
    shapes = {a.shape for a in arguments if isinstance(a, Lanes)}
    if len(shapes) != 1 or any(a.ndim for a in arguments if not isinstance(a, Lanes)):
        return None
    return [
        invoke(instruction, jnp, [a.parts[k] if isinstance(a, Lanes) else a for a in arguments], [])
        for k in range(4)
    ]


def _reduction(instruction: Instruction, jnp: Any, arguments: list[Any]) -> Any:
    """The reduction of all elements by way of the lanes; None when it leaves any axis, or when lanes have no such order."""
    lanes, axes = arguments
    rank = len(lanes.shape)
    if isinstance(axes, Lanes) or {int(a) % rank for a in axes.reshape(-1)} != set(range(rank)):
        return None
    if lanes.dtype.kind not in "fiu" or lanes.dtype.itemsize < 4:
        return None
    whole = axes.reshape(-1)[:1] * 0
    kept = instruction.op.definition.attrs["keep_dims"]
    parts = [invoke(instruction, jnp, [part, whole], []).reshape(()) for part in lanes.parts]
    result = _REDUCTIONS[instruction.op.type](jnp, parts).astype(lanes.dtype)
    return result.reshape((1,) * rank) if kept else result
