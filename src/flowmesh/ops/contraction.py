"""`tensordot` and `einsum`, built from transposes, reshapes and matrix products."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope, static_shape
from flowmesh.ops.matmul import matmul
from flowmesh.ops.reduce_functions import reduce_prod, reduce_sum
from flowmesh.ops.reshape import reshape
from flowmesh.ops.transpose import transpose

# -- tensordot ---------------------------------------------------------------------------------------------


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Any:
    """The sum of products of `a` and `b` over pairs of axes (TensorFlow: `tf.tensordot`).

    `axes`: how many of the last axes of `a` and the first of `b`, or a pair of (lists of) axes. Returns the other axes of `a` followed by
    those of `b`. Raises ValueError when `axes` do not fit.
    """
    with name_scope(name, "Tensordot", [a, b, axes]) as scope:
        a = convert_to_tensor(a, name="a")
        b = convert_to_tensor(b, name="b")
        a_axes, b_axes = _axes_of(a, axes)
        a_matrix, a_free, a_sizes = _as_matrix(a, a_axes, first=True)
        b_matrix, b_free, b_sizes = _as_matrix(b, b_axes, first=False)
        product = matmul(a_matrix, b_matrix)
        if isinstance(a_free, list) and isinstance(b_free, list):
            shape = constant(np.array(a_free + b_free, np.int32), int32, "shape")
            return raw.Reshape(product, shape, name=scope)
        free = raw.ConcatV2([_vector(a_free), _vector(b_free)], 0, name="concat")
        result = raw.Reshape(product, free, name=scope)
        if a_sizes is not None and b_sizes is not None:
            result.set_shape(a_sizes + b_sizes)
        return result


def _vector(sizes: Any) -> Any:
    return convert_to_tensor(sizes, dtype=int32) if isinstance(sizes, list) else sizes


def _axes_of(a: Any, axes: Any) -> tuple[Any, Any]:
    if isinstance(axes, (int, np.integer)):
        if axes < 0:
            raise ValueError("'axes' must be at least 0.")
        rank = a.shape.ndims
        if rank is not None:
            if axes > rank:
                raise ValueError(
                    f"'axes' must not be larger than the number of dimensions of tensor {a}."
                )
            return list(range(rank - axes, rank)), list(range(axes))
        count = raw.Rank(a)
        start = raw.Sub(count, int(axes), name="sub")
        return raw.Range(start, count, 1, name="range"), list(range(axes))
    if isinstance(axes, (list, tuple)):
        if len(axes) != 2:
            raise ValueError("'axes' must be an integer or have length 2.")
        pair = [
            [int(x)]
            if isinstance(x, (int, np.integer))
            else x
            if isinstance(x, Tensor)
            else list(x)
            for x in axes
        ]
        if all(isinstance(x, list) for x in pair) and len(pair[0]) != len(pair[1]):
            raise ValueError(
                f"Different number of contraction axes 'a' and 'b', {len(pair[0])} != {len(pair[1])}."
            )
        return pair[0], pair[1]
    axes = convert_to_tensor(axes, name="axes", dtype=int32)
    return raw.Unpack(axes, num=2)[0], raw.Unpack(axes, num=2)[1]


def _as_matrix(x: Any, axes: Any, first: bool) -> tuple[Any, Any, Any]:
    """`x` as [free, summed] (first) or [summed, free]; the free sizes, as ints or a tensor, and as far as they are known."""
    known = static_shape(x)
    rank = x.shape.ndims
    if known is not None and isinstance(axes, list):
        axes = [i + rank if i < 0 else i for i in axes]
        free_axes = [i for i in range(rank) if i not in axes]
        sizes = [known[i] for i in free_axes]
        rows = int(np.prod(sizes, dtype=np.int64))
        columns = int(np.prod([known[i] for i in axes], dtype=np.int64))
        order = free_axes + axes if first else axes + free_axes
        shape = [rows, columns] if first else [columns, rows]
        return reshape(transpose(x, order), np.array(shape, np.int32)), sizes, list(sizes)
    sizes_known = None
    summed: Any
    if rank is not None and isinstance(axes, list):
        axes = [i + rank if i < 0 else i for i in axes]
        free_axes = [i for i in range(rank) if i not in axes]
        sizes_known = [x.shape.key[i] for i in free_axes]
        summed = constant(np.array(axes, np.int32), int32, "axes")
        free = constant(np.array(free_axes, np.int32), int32, "free")
        shape_tensor = raw.Shape(x)
    else:
        shape_tensor, count = raw.Shape(x), raw.Rank(x)
        summed = convert_to_tensor(axes, dtype=int32, name="axes")
        positive = raw.GreaterEqual(summed, 0)
        summed = raw.Select(positive, summed, raw.AddV2(summed, count, name="add"))
        free = raw.ListDiff(raw.Range(0, count, 1, name="range"), summed)[0]
    free_sizes = raw.GatherV2(shape_tensor, free, 0)
    summed_sizes = raw.GatherV2(shape_tensor, summed, 0)
    rows, columns = reduce_prod(free_sizes), reduce_prod(summed_sizes)
    order = raw.ConcatV2([free, summed] if first else [summed, free], 0, name="concat")
    target = raw.Pack([rows, columns] if first else [columns, rows], name="stack")
    return reshape(transpose(x, order), target), free_sizes, sizes_known


# -- einsum ------------------------------------------------------------------------------------------------


def einsum(equation: str, *inputs: Any, **kwargs: Any) -> Any:
    """Sums of products written with index letters, like "ij,jk->ik" (TensorFlow: `tf.einsum`).

    Each input has one letter per axis; letters that the output lacks are summed over. Without "->" the output has the letters
    that occur once, in alphabetical order. Raises ValueError for an equation that does not fit the inputs.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise TypeError(f"invalid keyword arguments for this function: {', '.join(sorted(kwargs))}")
    with name_scope(name, "einsum", list(inputs)):
        tensors = [convert_to_tensor(x, name=f"inputs_{i}") for i, x in enumerate(inputs)]
        labels, output = _parse(equation, len(tensors))
        for letters, tensor in zip(labels, tensors):
            if tensor.shape.ndims is not None and tensor.shape.ndims != len(letters):
                raise ValueError(
                    f"Number of labels {letters!r} does not match the rank of {tensor}"
                )
            if len(set(letters)) != len(letters):
                raise ValueError(
                    f"Subscript not supported: an axis appears more than once: {letters}"
                )
        result, current = tensors[0], labels[0]
        for index in range(1, len(tensors)):
            later = "".join(labels[index + 1 :])
            result, current = _pair(
                result, current, tensors[index], labels[index], set(output) | set(later)
            )
        return _finished(result, current, output)


def _parse(equation: str, count: int) -> tuple[list[str], str]:
    equation = equation.replace(" ", "")
    match = re.match("^([a-zA-Z,]+)(->[a-zA-Z]*)?$", equation)
    if not match:
        raise ValueError(f"Indices have incorrect format: {equation}")
    labels = match.group(1).split(",")
    if len(labels) != count:
        raise ValueError(
            f"Incorrect number of arguments: {count} given, {len(labels)} in {equation!r}"
        )
    if match.group(2) is not None:
        output = match.group(2)[2:]
    else:
        text = "".join(labels)
        output = "".join(sorted(letter for letter in set(text) if text.count(letter) == 1))
    for letter in output:
        if not any(letter in letters for letters in labels):
            raise ValueError(f"Unknown output axis: {letter}")
    return labels, output


def _finished(tensor: Any, labels: str, output: str) -> Any:
    """Sums what is left over and brings the axes into the order of the output."""
    gone = [i for i, letter in enumerate(labels) if letter not in output]
    if gone:
        tensor = reduce_sum(tensor, axis=gone)
        labels = "".join(letter for letter in labels if letter in output)
    if labels != output:
        tensor = _ordered(tensor, labels, output)
    return tensor


def _ordered(tensor: Any, labels: str, wanted: Sequence[str]) -> Any:
    order = [labels.index(letter) for letter in wanted]
    return tensor if order == list(range(len(labels))) else transpose(tensor, perm=order)


def _pair(x: Any, x_labels: str, y: Any, y_labels: str, needed: set[str]) -> tuple[Any, str]:
    """The product of two inputs, summed over the letters that both have and nobody needs any more."""
    both = set(x_labels) & set(y_labels)
    summed, kept = sorted(both - needed), sorted(both & needed)
    x_only = sorted(set(x_labels) - both)
    y_only = sorted(set(y_labels) - both)
    if not summed:
        return _outer(x, x_labels, y, y_labels)
    x = _ordered(x, x_labels, [*kept, *x_only, *summed])
    y = _ordered(y, y_labels, [*kept, *summed, *y_only])
    sizes_x, sizes_y = _sizes(x), _sizes(y)
    at, rows = len(kept), len(x_only)
    batch, x_sizes, inner = sizes_x[:at], sizes_x[at : at + rows], sizes_x[at + rows :]
    y_sizes = sizes_y[at + len(summed) :]
    if len(x_only) != 1 or len(summed) != 1:
        x = reshape(x, _shape([*batch, _product(x_sizes), _product(inner)]))
    if len(y_only) != 1 or len(summed) != 1:
        y = reshape(y, _shape([*sizes_y[:at], _product(inner), _product(y_sizes)]))
    result = matmul(x, y)
    if len(x_only) != 1 or len(y_only) != 1:
        result = reshape(result, _shape([*batch, *x_sizes, *y_sizes]))
    return result, "".join([*kept, *x_only, *y_only])


def _outer(x: Any, x_labels: str, y: Any, y_labels: str) -> tuple[Any, str]:
    """The elementwise product, with axes of size 1 where an input has no such letter."""
    every = sorted(set(x_labels) | set(y_labels))
    x = _ordered(x, x_labels, [letter for letter in every if letter in x_labels])
    y = _ordered(y, y_labels, [letter for letter in every if letter in y_labels])
    expanded = []
    for tensor, labels in ((x, x_labels), (y, y_labels)):
        for index, letter in enumerate(every):
            if letter not in labels:
                tensor = raw.ExpandDims(tensor, -1 if index == len(every) - 1 else index)
        expanded.append(tensor)
    return raw.Mul(*expanded), "".join(every)


def _sizes(x: Any) -> list[Any]:
    """The sizes of a tensor: ints where they are known, else scalar tensors."""
    key = x.shape.key
    if key is None:
        raise ValueError(f"The rank of {x} must be known")
    if None not in key:
        return list(key)
    shape = raw.Shape(x)
    return [_element(shape, i) if n is None else n for i, n in enumerate(key)]


def _element(vector: Any, index: int) -> Any:
    with name_scope("strided_slice") as scope:
        bounds = [
            constant(np.array([value], np.int32), int32, name)
            for name, value in (("stack", index), ("stack_1", index + 1), ("stack_2", 1))
        ]
        return raw.StridedSlice(vector, *bounds, shrink_axis_mask=1, name=scope)


def _product(sizes: Sequence[Any]) -> Any:
    total: Any = 1
    for size in sizes:
        if isinstance(size, Tensor) or isinstance(total, Tensor):
            total = raw.Mul(total, size, T=int32, name="mul")
        else:
            total *= size
    return total


def _shape(sizes: list[Any]) -> Any:
    if not any(isinstance(s, Tensor) for s in sizes):
        return np.array(sizes, np.int32)
    return sizes
