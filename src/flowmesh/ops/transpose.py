"""Transpose, ConjugateTranspose, InvertPermutation."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import INDEX, dims_of, ints, invalid, shape_of, with_rank
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import rank_internal


def _permutation(perm: Any, rank: int) -> list[int]:
    order = ints(perm)
    if len(order) != rank:
        raise invalid(
            f"transpose expects a vector of size {rank}. But input(1) is a vector of size {len(order)}"
        )
    for d in order:
        if not -rank <= d < rank:
            raise invalid(f"{d} is out of range [0 .. {rank})")
    order = [d % rank for d in order]
    for d in range(rank):
        if d not in order:
            raise invalid(f"{d} is missing from {{{','.join(map(str, order))}}}.")
    return order


class _Permuted(OpDef, abstract=True):
    x, perm = Input("T"), Input("Tperm")
    y = Output("T")
    T = type_attr()
    Tperm = type_attr(INDEX, int32)
    static_inputs = ("perm",)

    def infer(self, ctx: Any, x: TensorShape, perm: TensorShape) -> TensorShape:
        with_rank(perm, 1)
        dims, order = dims_of(x), ctx.value(1)
        length = perm.as_list()[0] if perm.ndims else None
        if dims is None:
            rank = length if length is not None else None
            return unknown_shape() if rank is None else unknown_shape(rank=rank)
        if length is not None and length != len(dims):
            raise ValueError(f"Dimension must be {len(dims)} but is {length}")
        if order is None:
            return unknown_shape(rank=len(dims))
        for d in ints(order):
            if not -len(dims) <= d < len(dims):
                raise ValueError(f"perm dim {d} is out of range of input rank {len(dims)}")
        return shape_of([dims[d] for d in ints(order)])

    def compute(self, xp: Any, x: Any, perm: Any) -> Any:
        return xp.transpose(x, _permutation(perm, np.ndim(x)))


class Transpose(_Permuted):
    """`x` with its dimensions in the order `perm`."""

    def gradient(self, op: Any, grad: Any) -> Any:
        return transpose(grad, raw.InvertPermutation(op.inputs[1])), None


class ConjugateTranspose(_Permuted):
    """The complex conjugate of `x` with its dimensions in the order `perm`."""

    def compute(self, xp: Any, x: Any, perm: Any) -> Any:
        return xp.conj(super().compute(xp, x, perm))

    def gradient(self, op: Any, grad: Any) -> Any:
        return transpose(grad, raw.InvertPermutation(op.inputs[1]), conjugate=True), None


class InvertPermutation(OpDef):
    """The inverse of a permutation."""

    x = Input("T")
    y = Output("T")
    T = type_attr(INDEX, int32)
    NotDifferentiable = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return with_rank(x, 1)

    def compute(self, xp: Any, x: Any) -> Any:
        if xp is np:
            size = len(x)
            if size and not ((x >= 0) & (x < size)).all():
                bad = int(x[(x < 0) | (x >= size)][0])
                raise invalid(f"{bad} is not between 0 and {size}")
            if len(set(ints(x))) != size:
                raise invalid(f"{ints(x)} has a repeated index")
        return xp.argsort(x).astype(self.attrs["T"].as_numpy_dtype)


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """`y` with `y[x[i]] = i`; `x` is a 1-D int32 or int64 permutation (tf.invert_permutation)."""
    return raw.InvertPermutation(x, name=name)


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    """`a` with its dimensions in the order `perm`, reversed by default (tf.transpose).

    With `conjugate` a complex tensor is conjugated as well.
    """
    with name_scope(name, "transpose", [a]) as scope:
        build = raw.Transpose
        if conjugate:
            a = convert_to_tensor(a, name="a")
            if a.dtype.base_dtype in dtypes.COMPLEX:
                build = raw.ConjugateTranspose
        if perm is not None:
            return build(a, perm, name=scope)
        a = convert_to_tensor(a, name="a")
        if a.shape.ndims is not None:
            return build(a, np.arange(a.shape.ndims, dtype=np.int32)[::-1], name=scope)
        rank: Any = rank_internal(a, optimize=False)
        perm = (rank - 1) - raw.Range(0, rank, 1)
        return build(a, perm, name=scope)
