"""`tf.map_fn`, `tf.scan`, `tf.foldl` and `tf.foldr`: functions applied to the rows of tensors, one after the other, in a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flowmesh.frontend import nest
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_scope import get_variable_scope
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import shape_ops
from flowmesh.ops.constant import constant
from flowmesh.ops.tensor_array import TensorArray
from flowmesh.ops.while_loop import while_loop


def _device_of(op: Any) -> str:
    return str(op.device)


@contextmanager
def _cached_variables() -> Iterator[None]:
    """Variables made inside are read once, before the loop."""
    scope: Any = get_variable_scope()
    if scope.caching_device is not None:
        yield
        return
    scope.set_caching_device(_device_of)
    try:
        yield
    finally:
        scope.set_caching_device(None)


class _Form:
    """A structure, or a single value that is none."""

    def __init__(self, structure: Any) -> None:
        self._structure = structure
        self._nested = nest.is_sequence(structure)

    def flatten(self, value: Any) -> list[Any]:
        """The leaves of a value of this form."""
        return nest.flatten(value) if self._nested else [value]

    def pack(self, leaves: list[Any]) -> Any:
        """The leaves in this form."""
        return nest.pack_sequence_as(self._structure, leaves) if self._nested else leaves[0]


def _rows(tensors: list[Tensor], scan: bool = False) -> Any:
    """How many rows there are: a number where it is known."""
    size = tensors[0].shape.as_list()[0] if tensors[0].shape.ndims is not None else None
    if size is None or (not size and not scan):
        return shape_ops.shape(tensors[0])[0]
    return size


def _unstacked(tensors: list[Tensor], rows: Any, known_shapes: bool = False) -> list[TensorArray]:
    arrays = [
        TensorArray(
            t.dtype,
            size=rows,
            dynamic_size=False,
            element_shape=t.shape[1:] if known_shapes else None,
            infer_shape=True,
        )
        for t in tensors
    ]
    return [a.unstack(t) for a, t in zip(arrays, tensors)]


def _with_rows(results: list[Tensor], tensors: list[Tensor]) -> None:
    """Tells the results how many rows they have, where that is known."""
    sizes = [t.shape.with_rank_at_least(1).as_list()[0] for t in tensors]
    known = next((s for s in sizes if s is not None), None)
    for result in results:
        rest = result.shape[1:]
        result.set_shape([known, *rest.as_list()] if rest.ndims is not None else None)


def _refuse_scalars(tensors: list[Tensor]) -> None:
    if tensors[0].shape.ndims == 0:
        raise ValueError(
            "elems must be a 1+ dimensional Tensor, not a scalar"
            if len(tensors) == 1
            else "elements in elems must be 1+ dimensional Tensors, not scalars"
        )


def _result_arrays(first: list[Tensor], rows: Any, infer_shape: bool) -> list[TensorArray]:
    """Arrays for values like the given ones."""
    return [
        TensorArray(
            v.dtype,
            size=rows,
            element_shape=v.shape if infer_shape else None,
            dynamic_size=False,
            infer_shape=infer_shape,
        )
        for v in first
    ]


def map_fn(
    fn: Callable[[Any], Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: str | None = None,
) -> Any:
    """`fn` of each row of `elems`, stacked (tf.map_fn).

    Args:
      fn: takes one row, in the structure of `elems`, and returns tensors in the structure of `dtype`.
      elems: a tensor [n, ...], or a structure of them with the same n.
      dtype: the dtypes of the results, where they differ from those of `elems`.
      infer_shape: False when the results are not all of one shape.

    Returns tensors [n, ...]. Raises TypeError for what is not callable or sparse, ValueError for scalars and other structures.
    """
    if not callable(fn):
        raise TypeError("fn must be callable.")
    if isinstance(elems, SparseTensor):
        raise TypeError(
            "To perform a map on the values of a sparse tensor use either  SparseTensor(input.indices, fn(input.values), "
            "input.dense_shape) or  SparseTensor(input.indices, map_fn(fn, input.values), input.dense_shape)"
        )
    given = _Form(elems)
    flat = given.flatten(elems)
    with name_scope(name, "map", flat), _cached_variables():
        tensors = [convert_to_tensor(e, name="elem") for e in flat]
        dtype = dtype or given.pack([t.dtype for t in tensors])
        wanted = _Form(dtype)
        _refuse_scalars(tensors)
        rows = _rows(tensors)
        arrays = _unstacked(tensors, rows)
        first = constant(0)
        results = [
            TensorArray(d, size=rows, dynamic_size=False, infer_shape=infer_shape)
            for d in wanted.flatten(dtype)
        ]

        def step(i: Tensor, written: list[TensorArray]) -> Any:
            value = fn(given.pack([a.read(i) for a in arrays]))
            nest.assert_same_structure(dtype or elems, value)
            return i + 1, [a.write(i, v) for a, v in zip(written, wanted.flatten(value))]

        _, written = while_loop(
            lambda i, _: i < rows,
            step,
            (first, results),
            parallel_iterations=parallel_iterations or 10,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=rows,
        )
        stacked = [a.stack() for a in written]
        _with_rows(stacked, tensors)
        return wanted.pack(stacked)


def scan(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """The results of `fn(accumulated, row)` for each row of `elems`, one after the other, stacked (tf.scan): tensors [n, ...].

    `elems` is a tensor [n, ...], or a structure of them. Without `initializer` the first row is what is accumulated at first, and is the
    first result. With `reverse` the last row comes first. Raises TypeError for what is not callable, ValueError for other structures.
    """
    if not callable(fn):
        raise TypeError("fn must be callable.")
    given = _Form(elems)
    wanted = given if initializer is None else _Form(initializer)
    flat = given.flatten(elems)
    with name_scope(name, "scan", flat), _cached_variables():
        tensors = [convert_to_tensor(e, name="elem") for e in flat]
        rows = _rows(tensors, scan=True)
        arrays = _unstacked(tensors, rows, known_shapes=True)
        before: Any
        if initializer is None:
            before, start = [a.read(rows - 1 if reverse else 0) for a in arrays], 1
        else:
            before, start = [convert_to_tensor(v) for v in wanted.flatten(initializer)], 0
        results = _result_arrays(before, rows, infer_shape)
        if initializer is None:
            results = [a.write(rows - 1 if reverse else 0, v) for a, v in zip(results, before)]

        def step(i: Tensor, accumulated: list[Tensor], written: list[TensorArray]) -> Any:
            row = given.pack([a.read(i) for a in arrays])
            value = fn(wanted.pack(accumulated), row)
            nest.assert_same_structure(elems if initializer is None else initializer, value)
            leaves = wanted.flatten(value)
            written = [a.write(i, v) for a, v in zip(written, leaves)]
            return i - 1 if reverse else i + 1, leaves, written

        def goes_on(i: Tensor, *_: Any) -> Any:
            return i >= 0 if reverse else i < rows

        _, _, written = while_loop(
            goes_on,
            step,
            (rows - 1 - start if reverse else start, before, results),
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=rows,
        )
        stacked = [a.stack() for a in written]
        _with_rows(stacked, tensors)
        return wanted.pack(stacked)


def foldl(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """What `fn(accumulated, row)` has made of all rows of `elems`, from the first to the last (tf.foldl).

    Without `initializer` the first row is what is accumulated at first. Raises TypeError for what is not callable.
    """
    return _fold(fn, elems, initializer, parallel_iterations, back_prop, swap_memory, name, "foldl")


def foldr(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """What `fn(accumulated, row)` has made of all rows of `elems`, from the last to the first (tf.foldr).

    Without `initializer` the last row is what is accumulated at first. Raises TypeError for what is not callable.
    """
    return _fold(fn, elems, initializer, parallel_iterations, back_prop, swap_memory, name, "foldr")


def _fold(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any,
    parallel_iterations: int,
    back_prop: bool,
    swap_memory: bool,
    name: str | None,
    kind: str,
) -> Any:
    if not callable(fn):
        raise TypeError("fn must be callable.")
    backwards = kind == "foldr"
    with name_scope(name, kind, [elems]), _cached_variables():
        tensors = [convert_to_tensor(e, name="elem") for e in nest.flatten(elems)]
        rows = _rows(tensors)
        arrays = nest.map_structure(
            lambda e: TensorArray(e.dtype, size=rows, dynamic_size=False, infer_shape=True).unstack(
                e
            ),
            elems,
        )

        def row(i: Any) -> Any:
            return nest.map_structure(lambda a: a.read(i), arrays)

        start: Any
        if initializer is not None:
            accumulated = initializer
            start = rows if backwards else constant(0)
        elif backwards:
            start = rows - 1
            accumulated = row(start)
        else:
            accumulated = row(0)
            start = constant(1)

        def step(i: Tensor, value: Any) -> list[Any]:
            if backwards:
                i = i - 1
                return [i, fn(value, row(i))]
            value = fn(value, row(i))
            return [i + 1, value]

        _, result = while_loop(
            lambda i, _: i > 0 if backwards else i < rows,
            step,
            [start, accumulated],
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=rows,
        )
        return result
