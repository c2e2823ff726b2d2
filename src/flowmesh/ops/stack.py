"""Pack (stack) and Unpack (unstack)."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import dims_of, invalid, merge_shapes, shape_of


class Pack(OpDef):
    """The values, all of one shape, along a new dimension `axis`."""

    values = Input("T", number="N")
    output = Output("T")
    N = Attr("int", minimum=1)
    T = type_attr()
    axis = Attr("int", 0)

    def infer(self, ctx: Any, values: Any) -> TensorShape:
        merged = values[-1]
        for i in range(len(values) - 2, -1, -1):
            merged = merge_shapes(
                values[i], merged, f"\n\tFrom merging shape {i} with other shapes."
            )
        dims = dims_of(merged)
        if dims is None:
            return unknown_shape()
        at = self.attrs["axis"]
        if not -len(dims) - 1 <= at <= len(dims):
            raise ValueError(f"Invalid axis: {at}; must be in [{-len(dims) - 1},{len(dims) + 1})")
        dims.insert(at + len(dims) + 1 if at < 0 else at, len(values))
        return shape_of(dims)

    def compute(self, xp: Any, values: Any) -> Any:
        first = np.shape(values[0])
        if xp is np and not first:
            kinds = {v.dtype for v in values}
            if (
                len(kinds) == 1
                and np.dtype(object) not in kinds
                and not any(v.ndim for v in values)
            ):
                return np.fromiter(values, kinds.pop(), len(values))
        for i, value in enumerate(values):
            if np.shape(value) != first:
                raise invalid(
                    f"Shapes of all inputs must match: values[0].shape = {_text(first)} != "
                    f"values[{i}].shape = {_text(np.shape(value))}"
                )
        at = self.attrs["axis"]
        if any(getattr(v, "dtype", None) == np.object_ for v in values):
            return np.stack([np.asarray(v, object) for v in values], at)
        return xp.stack(list(values), at)

    def gradient(self, op: Any, grad: Any) -> Any:
        return list(
            raw.Unpack(grad, num=op.get_attr("N"), axis=op.get_attr("axis"), name="unstack")
        )


def _text(dims: Any) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


class Unpack(OpDef):
    """The slices of `value` along dimension `axis`."""

    value = Input("T")
    output = Output("T", number="num")
    num = Attr("int", minimum=0)
    T = type_attr()
    axis = Attr("int", 0)

    def infer(self, ctx: Any, value: TensorShape) -> Any:
        dims, at, count = dims_of(value), self.attrs["axis"], self.attrs["num"]
        if dims is None:
            return [[unknown_shape()] * count]
        if not -len(dims) <= at < len(dims):
            raise ValueError(f"Invalid axis: {at}; must be in [{-len(dims)},{len(dims)})")
        size = dims.pop(at)
        if size is not None and size != count:
            raise ValueError(f"Dimension must be {count} but is {size}")
        return [[shape_of(dims)] * count]

    def compute(self, xp: Any, value: Any) -> Any:
        at, count = self.attrs["axis"], self.attrs["num"]
        rank = np.ndim(value)
        if not -rank <= at < rank:
            raise invalid(f"axis = {at} not in [{-rank}, {rank})")
        if value.shape[at] != count:
            raise invalid(
                f"Input shape axis {at % rank} must equal {count}, got shape {_text(value.shape)}"
            )
        before = (slice(None),) * (at % rank)
        if value.dtype == np.object_:
            return ([np.asarray(value[(*before, i, ...)], object) for i in range(count)],)
        return ([value[(*before, i)] for i in range(count)],)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return stack(list(grads), axis=op.get_attr("axis"))


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """The tensors `values` (one shape, one dtype) along a new dimension `axis` (tf.stack).

    A list of constants becomes one constant. Raises ValueError when `axis` or the shapes do not fit.
    """
    if axis == 0:
        try:
            return convert_to_tensor(values, name=name)
        except (TypeError, ValueError):
            pass
    first = convert_to_tensor(values[0], name=name)
    if first.shape.ndims is not None:
        rank = first.shape.ndims + 1
        if not -rank <= axis < rank:
            raise ValueError(f"axis = {axis} not in [{-rank}, {rank})")
    return raw.Pack(values, axis=axis, name=name)


def unstack(
    value: Any, num: int | None = None, axis: int = 0, name: str = "unstack"
) -> list[Tensor]:
    """The slices of `value` along `axis` (tf.unstack).

    `num`, the number of slices, is needed where the static shape does not tell: ValueError otherwise.
    """
    if num is None:
        value = convert_to_tensor(value)
        dims = dims_of(value.shape)
        if dims is not None:
            if not -len(dims) <= axis < len(dims):
                raise ValueError(f"axis = {axis} not in [{-len(dims)}, {len(dims)})")
            num = dims[axis]
    if num is None:
        raise ValueError(f"Cannot infer num from shape {value.shape}")
    return raw.Unpack(value, num=num, axis=axis, name=name)
