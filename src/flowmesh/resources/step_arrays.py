"""What lives for one step: the arrays behind TensorArray ops, and the stacks in which loops keep values for their gradients.

An element of an array is written once and read at most once (unless `clear_after_read` is False); those of a gradient are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors, limits
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource

_NOTHING: Any = None
_CLEARED: Any = object()
_REFERENCE = 8
"""Bytes that an element takes before it has a value."""


class StepArray(Resource):
    """A list of tensors of one dtype (TensorFlow: the TensorArray resource)."""

    type_name = "N10tensorflow11TensorArrayE"

    def __init__(
        self,
        name: str,
        dtype: DType,
        size: int,
        element_shape: TensorShape,
        *,
        dynamic_size: bool = False,
        clear_after_read: bool = True,
        identical_shapes: bool = False,
        adds: bool = False,
    ) -> None:
        """`adds`: values written to one element are added up (gradients)."""
        if size < 0:
            raise errors.InvalidArgumentError(None, None, "Size should be >= 0.")
        limits.check_shape([size], _REFERENCE)
        self.name = name
        self.dtype = dtype
        self.element_shape = element_shape
        self.dynamic_size = dynamic_size
        self.clear_after_read = clear_after_read
        self.identical_shapes = identical_shapes
        self.adds = adds
        self.values: list[Any] = [_NOTHING] * size
        self.gradients: dict[str, StepArray] = {}
        self.closed = False

    # -- one element -------------------------------------------------------------------------------------

    def write(self, index: int, value: np.ndarray) -> None:
        """Sets an element. InvalidArgumentError for a bad index, a wrong dtype or shape, or an element that was written."""
        self._check_open()
        index = int(index)
        size = len(self.values)
        if index < 0 or (index >= size and not self.dynamic_size):
            raise self._error(
                f"Tried to write to index {index} but array "
                + (f"is not resizeable and size is: {size}" if index >= 0 else f"size is: {size}")
            )
        self._check_dtype(value)
        shape = TensorShape(value.shape)
        if not self.element_shape.is_compatible_with(shape):
            raise self._error(
                f"Could not write to TensorArray index {index} because the value shape is {_brackets(shape)} which is "
                f"incompatible with the TensorArray's inferred element shape: {_brackets(self.element_shape)} (consider "
                "setting infer_shape=False)."
            )
        if self.identical_shapes and not self.element_shape.is_fully_defined():
            self.element_shape = shape
        if index >= size:
            limits.check_shape([index + 1], _REFERENCE)
            self.values.extend([_NOTHING] * (index + 1 - size))
        held = self.values[index]
        if held is _CLEARED:
            raise self._error(
                f"Could not write to TensorArray index {index} because it has already been read."
            )
        if held is not _NOTHING:
            if not self.adds:
                raise self._error(
                    f"Could not write to TensorArray index {index} because it has already been written to."
                )
            if held.shape != value.shape:
                raise self._error(
                    f"Could not aggregate to TensorArray index {index} because the existing shape is "
                    f"{_brackets(TensorShape(held.shape))} but the new input shape is {_brackets(shape)}."
                )
            value = held + value
        self.values[index] = value

    def read(self, index: int) -> np.ndarray:
        """An element. InvalidArgumentError when there is none."""
        self._check_open()
        index = int(index)
        size = len(self.values)
        if index < 0 or index >= size:
            raise self._error(f"Tried to read from index {index} but array size is: {size}")
        value = self.values[index]
        if value is _CLEARED:
            raise self._error(
                f"Could not read index {index} twice because it was cleared after a previous read (perhaps try setting "
                "clear_after_read = false?)."
            )
        if value is _NOTHING:
            value = self._zeros(index)
        if self.clear_after_read:
            self.values[index] = _CLEARED
        else:
            self.values[index] = value
        return value

    def _zeros(self, index: int) -> np.ndarray:
        if not self.element_shape.is_fully_defined():
            raise self._error(
                f"Could not read from TensorArray index {index}.  Furthermore, the element shape is not fully defined: "
                f"{_brackets(self.element_shape)}.  It is possible you are working with a resizeable TensorArray and "
                "stop_gradients is not allowing the gradients to be written.  If you set the full element_shape property "
                "on the forward TensorArray, the proper all-zeros tensor will be returned instead of incurring this "
                "error."
            )
        dims = _sizes(self.element_shape)
        limits.check_shape(dims, 8)
        if self.dtype.as_numpy_dtype is object:
            return np.full(dims, b"", object)
        return np.zeros(dims, self.dtype.as_numpy_dtype)

    # -- many elements -----------------------------------------------------------------------------------

    def gather(self, indices: Sequence[int], element_shape: TensorShape) -> np.ndarray:
        """The elements, stacked."""
        if not len(indices):
            shape = self.element_shape.merge_with(element_shape)
            if not shape.is_fully_defined():
                raise errors.UnimplementedError(
                    None,
                    None,
                    f"TensorArray has size zero, but element shape {_brackets(shape)} is not fully defined. Currently "
                    "only static shapes are supported when packing zero-size TensorArrays.",
                )
            dtype = self.dtype.as_numpy_dtype
            return np.zeros([0, *_sizes(shape)], dtype)
        values = [self.read(int(i)) for i in indices]
        first = values[0].shape
        for position, value in enumerate(values):
            if value.shape != first:
                raise self._error(
                    f"TensorArray has inconsistent shapes.  Index 0 has shape: {_brackets(TensorShape(first))} but index "
                    f"{position} has shape: {_brackets(TensorShape(value.shape))}"
                )
        return np.stack(values)

    def scatter(self, indices: np.ndarray, value: np.ndarray) -> None:
        """Writes the rows of `value` to elements."""
        self._check_dtype(value)
        if not value.ndim:
            raise errors.InvalidArgumentError(
                None,
                None,
                "Input value for unpack must be at least a vector but received shape: []",
            )
        if indices.ndim != 1:
            raise errors.InvalidArgumentError(
                None, None, f"Expected indices to be a vector, but received shape: {indices.shape}"
            )
        if len(indices) != len(value):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Expected len(indices) == values.shape[0], but saw: {len(indices)} vs. {len(value)}",
            )
        size = len(self.values)
        if len(indices) and int(indices.max()) >= size and not self.dynamic_size:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Max scatter index must be < array size ({int(indices.max())} vs. {size})",
            )
        for index, row in zip(indices, value):
            self.write(int(index), np.asarray(row, value.dtype))

    def concat(self, element_shape: TensorShape) -> tuple[np.ndarray, np.ndarray]:
        """The elements joined along their first axis, and their lengths."""
        values = [self.read(i) for i in range(len(self.values))]
        if not values:
            if not element_shape.is_fully_defined():
                raise errors.UnimplementedError(
                    None,
                    None,
                    f"TensorArray has size zero, but element_shape_except0 {_brackets(element_shape)} is not fully "
                    "defined. Currently only static shapes are supported when concatenating zero-size TensorArrays.",
                )
            empty = np.zeros([0, *_sizes(element_shape)], self.dtype.as_numpy_dtype)
            return empty, np.zeros([0], np.int64)
        for position, value in enumerate(values):
            if not value.ndim:
                raise self._error(
                    f"Concat saw a scalar shape at index {position} but requires at least vectors.  Did you mean to "
                    "call pack?"
                )
            if value.shape[1:] != values[0].shape[1:]:
                raise self._error(
                    "TensorArray has inconsistent shapes.  Index 0 has (excepting dimension 0) shape: "
                    f"{_brackets(TensorShape(values[0].shape[1:]))} but index {position} has (excepting dimension 0) "
                    f"shape: {_brackets(TensorShape(value.shape[1:]))}"
                )
        return np.concatenate(values), np.asarray([len(v) for v in values], np.int64)

    def split(self, value: np.ndarray, lengths: np.ndarray) -> None:
        """Writes pieces of `value` to the elements, one after the other."""
        self._check_dtype(value)
        total = int(lengths.sum())
        if not value.ndim:
            raise errors.InvalidArgumentError(
                None, None, "Expected value to be at least a vector, but received shape: []"
            )
        if total != len(value):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Expected sum of lengths to be equal to values.shape[0], but sum of lengths is {total} and value's "
                f"shape is: {_brackets(TensorShape(value.shape))}",
            )
        size = len(self.values)
        if len(lengths) != size and not (self.dynamic_size and len(lengths) > size):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"TensorArray's size is not equal to the size of lengths ({size} vs. {len(lengths)}), and the "
                "TensorArray is not marked as dynamically resizeable",
            )
        start = 0
        for index, length in enumerate(lengths):
            self.write(index, value[start : start + int(length)])
            start += int(length)

    # -- the rest ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many elements there are."""
        self._check_open()
        return len(self.values)

    def close(self) -> None:
        """Lets go of the elements."""
        self.values = []
        self.closed = True

    def gradient(self, source: str) -> StepArray:
        """The array of the gradients of one `tf.gradients` call, made when there is none."""
        self._check_open()
        found = self.gradients.get(source)
        if found is None:
            found = self.gradients[source] = StepArray(
                f"{self.name}@{source}",
                self.dtype,
                len(self.values),
                self.element_shape,
                clear_after_read=False,
                identical_shapes=self.identical_shapes,
                adds=True,
            )
            # What was written forwards tells the shapes of the zeros.
            if not self.element_shape.is_fully_defined():
                shapes = {v.shape for v in self.values if isinstance(v, np.ndarray)}
                if len(shapes) == 1:
                    found.element_shape = TensorShape(shapes.pop())
        return found

    def _check_open(self) -> None:
        if self.closed:
            raise errors.InvalidArgumentError(
                None, None, f"TensorArray {self.name} has already been closed."
            )

    def _check_dtype(self, value: np.ndarray) -> None:
        if value.dtype != np.dtype(self.dtype.as_numpy_dtype):
            raise self._error(
                f"Could not write to TensorArray because the value dtype is {value.dtype} but TensorArray dtype is "
                f"{self.dtype.name}."
            )

    def _error(self, text: str) -> errors.InvalidArgumentError:
        return errors.InvalidArgumentError(None, None, f"TensorArray {self.name}: {text}")


class StepStack(Resource):
    """Values, last in first out (TensorFlow: the Stack resource)."""

    type_name = "N10tensorflow5StackE"

    def __init__(self, name: str, dtype: DType, max_size: int = -1) -> None:
        self.name = name
        self.dtype = dtype
        self.max_size = max_size
        self.values: list[Any] = []
        self.closed = False

    def push(self, value: Any) -> None:
        """Adds a value."""
        if self.closed:
            raise errors.InvalidArgumentError(
                None, None, f"Stack[{self.name}] has already been closed."
            )
        if 0 <= self.max_size <= len(self.values):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Stack[{self.name}] overflowed its max_size ({self.max_size})",
            )
        self.values.append(value)

    def pop(self) -> Any:
        """Takes the value that was added last; InvalidArgumentError when there is none."""
        if self.closed:
            raise errors.InvalidArgumentError(
                None, None, f"Stack[{self.name}] has already been closed."
            )
        if not self.values:
            raise errors.InvalidArgumentError(
                None, None, f"Stack[{self.name}] is empty when calling Pop()."
            )
        return self.values.pop()

    def close(self) -> None:
        """Lets go of the values."""
        self.values = []
        self.closed = True


def _sizes(shape: TensorShape) -> list[int]:
    """The dimensions of a shape that is known."""
    return [int(d or 0) for d in shape.as_list()]


def _brackets(shape: TensorShape) -> str:
    if shape.key is None:
        return "<unknown>"
    return "[" + ",".join("?" if d is None else str(d) for d in shape.key) + "]"
