"""boolean_mask, sequence_mask, meshgrid: functions made of other ops."""

from __future__ import annotations

from typing import Any

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import shape_of
from flowmesh.ops.concat import concat
from flowmesh.ops.constant import constant
from flowmesh.ops.fill import ones
from flowmesh.ops.gather import gather
from flowmesh.ops.naming import name_scope
from flowmesh.ops.reshape import expand_dims, reshape, squeeze
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor, size as size_tensor
from flowmesh.ops.stack import stack
from flowmesh.ops.unique import where


def boolean_mask(tensor: Any, mask: Any, name: str = "boolean_mask", axis: Any = None) -> Tensor:
    """The entries of `tensor` where `mask` is true, along the dimensions of `mask` from `axis` on (tf.boolean_mask).

    Raises ValueError for a scalar mask, a mask of unknown rank, or shapes that do not fit.
    """
    with name_scope(name, values=[tensor, mask]):
        tensor = convert_to_tensor(tensor, name="tensor")
        mask = convert_to_tensor(mask, name="mask")
        mask_shape, ndims = mask.shape, mask.shape.ndims
        if ndims == 0:
            raise ValueError("mask cannot be scalar.")
        if ndims is None:
            raise ValueError(
                "Number of mask dimensions must be specified, even if some dimensions are None.  E.g. shape=[None] "
                "is ok, but shape=None is not."
            )
        axis = 0 if axis is None else axis
        axis_value = constant_value(axis) if isinstance(axis, Tensor) else axis
        if axis_value is not None:
            axis = int(axis_value)
            tensor.shape[axis : axis + ndims].assert_is_compatible_with(mask_shape)
        whole = tensor.shape
        leading = raw.Prod(shape_tensor(tensor)[axis : axis + ndims], [0])
        tensor = reshape(
            tensor,
            concat(
                [
                    shape_tensor(tensor)[:axis],
                    [leading],
                    shape_tensor(tensor)[axis + ndims :],
                ],
                0,
            ),
        )
        if axis_value is not None and tensor.shape.ndims is not None:
            first = whole[axis : axis + ndims].num_elements()
            dims = tensor.shape.as_list()
            tensor.set_shape(shape_of([*dims[:axis], first, *dims[axis + 1 :]]))
        flat = reshape(mask, [-1])
        indices = squeeze(where(flat), axis=[1])
        return gather(tensor, indices, axis=axis)


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = dtypes.bool, name: str | None = None
) -> Tensor:
    """A mask of shape lengths.shape + [maxlen] whose first `lengths[i]` positions are true (tf.sequence_mask).

    `maxlen` defaults to the largest length; `dtype` is that of the mask.
    """
    with name_scope(name, "SequenceMask", [lengths, maxlen]):
        lengths = convert_to_tensor(lengths)
        if maxlen is None:
            maxlen = raw.Max(lengths, _all_axes(lengths))
            maxlen = raw.Maximum(constant(0, maxlen.dtype), maxlen)
        else:
            maxlen = convert_to_tensor(maxlen)
        if maxlen.shape.ndims is not None and maxlen.shape.ndims != 0:
            raise ValueError("maxlen must be scalar for sequence_mask")
        row = raw.Range(constant(0, maxlen.dtype), maxlen, constant(1, maxlen.dtype))
        column = raw.Cast(expand_dims(lengths, -1), DstT=maxlen.dtype.base_dtype)
        result = raw.Less(row, column)
        wanted: DType = dtypes.as_dtype(dtype)
        return result if wanted == dtypes.bool else raw.Cast(result, DstT=wanted)


def _all_axes(tensor: Tensor) -> Tensor:
    if tensor.shape.ndims is not None:
        return constant(list(range(tensor.shape.ndims)), dtypes.int32)
    return raw.Range(0, rank_tensor(tensor), 1)


def meshgrid(*args: Any, **kwargs: Any) -> list[Tensor]:
    """Coordinate grids of the given vectors (tf.meshgrid).

    Keywords: `indexing` "xy" (default; the first two dimensions are swapped) or "ij", `name`. Raises TypeError
    for other keywords, ValueError for another indexing.
    """
    indexing = kwargs.pop("indexing", "xy")
    name = kwargs.pop("name", "meshgrid")
    if kwargs:
        key = next(iter(kwargs))
        raise TypeError(f"'{key}' is an invalid keyword argument for this function")
    if indexing not in ("xy", "ij"):
        raise ValueError("indexing parameter must be either 'xy' or 'ij'")
    with name_scope(name, "meshgrid", list(args)):
        count = len(args)
        outputs: list[Any] = []
        for i, arg in enumerate(args):
            shape = [1] * i + [-1] + [1] * (count - i - 1)
            outputs.append(reshape(stack(arg), shape))
        sizes = [size_tensor(a) for a in args]
        dtype = convert_to_tensor(args[0]).dtype.base_dtype
        if indexing == "xy" and count > 1:
            outputs[0] = reshape(outputs[0], [1, -1] + [1] * (count - 2))
            outputs[1] = reshape(outputs[1], [-1, 1] + [1] * (count - 2))
            sizes[0], sizes[1] = sizes[1], sizes[0]
        full: Any = ones(sizes, dtype)
        return [x * full for x in outputs]
