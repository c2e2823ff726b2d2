"""Shape functions that many ops share; each is usable as `infer = shape_functions.unchanged`."""

from __future__ import annotations

from typing import Any

from flowmesh.core.shapes import TensorShape, broadcast_shapes, scalar as _scalar, unknown_shape


def unchanged(self: Any, ctx: Any, *shapes: Any) -> TensorShape:
    """The output has the shape of the first input."""
    return shapes[0]


def scalar(self: Any, ctx: Any, *shapes: Any) -> TensorShape:
    """The output is a scalar."""
    return _scalar()


def unknown(self: Any, ctx: Any, *shapes: Any) -> tuple[TensorShape, ...]:
    """Nothing is known of the outputs."""
    return tuple(unknown_shape() for _ in self.output_dtypes())


def no_outputs(self: Any, ctx: Any, *shapes: Any) -> tuple[()]:
    """The op has no outputs."""
    return ()


def broadcast(self: Any, ctx: Any, a: TensorShape, b: TensorShape) -> TensorShape:
    """The two inputs broadcast against each other."""
    return broadcast_shapes(a, b)


def same(self: Any, ctx: Any, *shapes: TensorShape) -> TensorShape:
    """All inputs and the output have one shape."""
    result = shapes[0]
    for shape in shapes[1:]:
        try:
            result = result.merge_with(shape)
        except ValueError as error:
            raise ValueError(mismatch(result, shape)) from error
    return result


def mismatch(a: TensorShape, b: TensorShape) -> str:
    """Why two shapes cannot be merged, in the words of TensorFlow's shape functions."""
    if a.ndims is not None and b.ndims is not None and a.ndims == b.ndims:
        for i, (x, y) in enumerate(zip(a.as_list(), b.as_list())):
            if x is not None and y is not None and x != y:
                return f"Dimension {i} in both shapes must be equal, but are {x} and {y}. Shapes are {_text(a)} and {_text(b)}."
    return f"Shapes must be equal rank, but are {a.ndims} and {b.ndims}"


def _text(shape: TensorShape) -> str:
    return "[" + ",".join("?" if d is None else str(d) for d in shape.as_list()) + "]"
