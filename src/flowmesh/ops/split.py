"""Split and SplitV."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, int64
from flowmesh.core.shapes import TensorShape, dimension_value, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, dims_of, ints, invalid, shape_of, with_rank


def _checked_axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise invalid(f"-input rank(-{rank}) <= split_dim < input rank ({rank}), but got {axis}")
    return axis % rank


class Split(OpDef):
    """`value` in equal pieces along `split_dim`."""

    split_dim = Input(int32)
    value = Input("T")
    output = Output("T", number="num_split")
    num_split = Attr("int", minimum=1)
    T = type_attr()
    static_inputs = ("split_dim",)

    def infer(self, ctx: Any, split_dim: TensorShape, value: TensorShape) -> Any:
        count, axis, dims = self.attrs["num_split"], ctx.value(0), dims_of(value)
        if axis is None or dims is None:
            return [[unknown_shape(rank=value.ndims)] * count]
        at = int(axis)
        if not -len(dims) <= at < len(dims):
            raise ValueError(
                f"Dimension size, given by scalar input 0 must be in range [-{len(dims)}, {len(dims)})"
            )
        size = dims[at]
        if size is not None and size % count:
            raise ValueError(
                f"Dimension size must be evenly divisible by {count} but is {size}\n\t"
                "Number of ways to split should evenly divide the split dimension"
            )
        dims[at] = None if size is None else size // count
        return [[shape_of(dims)] * count]

    def compute(self, xp: Any, split_dim: Any, value: Any) -> Any:
        count, at = self.attrs["num_split"], _checked_axis(int(split_dim), np.ndim(value))
        if value.shape[at] % count:
            raise invalid(
                f"Number of ways to split should evenly divide the split dimension, but got split_dim {at} "
                f"(size = {value.shape[at]}) and num_split {count}"
            )
        return (list(xp.split(value, count, at)),)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return None, _joined(list(grads), op.inputs[0])


def _joined(grads: list[Any], axis: Tensor) -> Tensor:
    if len(grads) == 1:
        return raw.Identity(grads[0], name="concat")
    return raw.ConcatV2(grads, axis, name="concat")


class SplitV(OpDef):
    """`value` in pieces of the sizes `size_splits` along `split_dim`."""

    value, size_splits = Input("T"), Input("Tlen")
    split_dim = Input(int32)
    output = Output("T", number="num_split")
    num_split = Attr("int", minimum=1)
    T = type_attr()
    Tlen = type_attr(INDEX, int64)
    static_inputs = ("size_splits", "split_dim")

    def infer(
        self, ctx: Any, value: TensorShape, size_splits: TensorShape, split_dim: TensorShape
    ) -> Any:
        count, sizes, axis = self.attrs["num_split"], ctx.value(1), ctx.value(2)
        dims = dims_of(value)
        with_rank(size_splits, 1)
        if dims is None or axis is None:
            return [[unknown_shape(rank=value.ndims)] * count]
        at = int(axis)
        if not -len(dims) <= at < len(dims):
            raise ValueError(
                f"Dimension size, given by scalar input 2 must be in range [-{len(dims)}, {len(dims)})"
            )
        if sizes is None:
            pieces: list[int | None] = [dims[at]] if count == 1 else [None] * count
        else:
            pieces = list(self._pieces(ints(sizes), dims[at]))
        return [
            [shape_of([*dims[: at % len(dims)], p, *dims[at % len(dims) + 1 :]]) for p in pieces]
        ]

    def _pieces(self, sizes: list[int], whole: int | None) -> list[int | None]:
        if len(sizes) != self.attrs["num_split"]:
            raise ValueError("Length of size_splits should be equal to num_outputs")
        known = sum(s for s in sizes if s != -1)
        if whole is None:
            return [None if s == -1 else s for s in sizes]
        if (-1 not in sizes and known != whole) or known > whole:
            pieces = ",".join("?" if s == -1 else str(s) for s in sizes)
            raise ValueError(f"can't split axis of size {whole} into pieces of size [{pieces}]")
        return [whole - known if s == -1 else s for s in sizes]

    def compute(self, xp: Any, value: Any, size_splits: Any, split_dim: Any) -> Any:
        at = _checked_axis(int(split_dim), np.ndim(value))
        sizes, whole = ints(size_splits), value.shape[at]
        known = sum(s for s in sizes if s != -1)
        if sizes.count(-1) > 1:
            raise invalid("There can only be one -1 in the input.")
        if len(sizes) != self.attrs["num_split"]:
            raise invalid(
                "size_splits length must be the same as the number of outputs, but got "
                f"{len(sizes)} vs. {self.attrs['num_split']}"
            )
        if (-1 not in sizes and known != whole) or known > whole:
            raise invalid(
                f"Determined shape must either match input shape along split_dim exactly if fully specified, "
                f"or be less than the size of the input along split_dim if not fully specified.  Got: {known}"
            )
        sizes = [whole - known if s == -1 else s for s in sizes]
        return (list(xp.split(value, np.cumsum(sizes)[:-1], at)),)

    def gradient(self, op: Any, *grads: Any) -> Any:
        return [_joined(list(grads), op.inputs[2]), None, None]


def split(
    value: Any,
    num_or_size_splits: Any,
    axis: Any = 0,
    num: int | None = None,
    name: str = "split",
) -> list[Tensor]:
    """`value` in pieces along dimension `axis` (tf.split).

    Args:
      num_or_size_splits: the number of equal pieces, or a 1-D integer tensor or list of sizes (one may be -1).
      num: the number of pieces, where the shape of a tensor of sizes does not tell.

    Raises ValueError when the sizes do not fit the static shape.
    """
    sizes = convert_to_tensor(num_or_size_splits)
    if isinstance(num_or_size_splits, (int, np.integer)) or hasattr(num_or_size_splits, "value"):
        return raw.Split(axis, value, num_split=int(dimension_value(num_or_size_splits)), name=name)
    if sizes.shape.ndims == 0:
        raise ValueError(
            "Rank-0 tensors are not supported as the num_or_size_splits argument to split. Argument provided: "
            f"{num_or_size_splits}"
        )
    if num is None:
        shape = sizes.shape
        if shape.ndims is None or shape.as_list()[0] is None:
            raise ValueError(f"Cannot infer num from shape {num_or_size_splits}")
        num = shape.as_list()[0]
    return raw.SplitV(value, sizes, axis, num_split=num, name=name)
