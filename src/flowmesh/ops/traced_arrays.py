"""TensorArrays and stacks while a cluster is traced: one array each, with the elements as its rows.

What would be an error when the ops run one by one (an element written twice, or read before it was written) is not seen here; indices are as
XLA clamps them. An array whose size or shape is not known cannot be traced: TypeError, and the cluster is run by NumPy.
A loop carries `state` round; what its body only then shows (shapes of elements, how much is pushed) is found by tracing it once for
nothing (`runtime/loop_trace.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import limits
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import Resource


class TracedArray(Resource):
    """A TensorArray as one traced array [size, ...]."""

    def __init__(
        self, xp: Any, dtype: Any, size: int, element_shape: TensorShape, adds: bool
    ) -> None:
        self.xp = xp
        self.dtype = dtype
        self.size = size
        self.adds = adds
        self.shape_of_elements: tuple[int, ...] | None = None
        if element_shape.is_fully_defined():
            self.shape_of_elements = tuple(int(d or 0) for d in element_shape.as_list())
        self.buffer: Any = None
        self.gradients: dict[str, TracedArray] = {}

    @property
    def allocated(self) -> bool:
        """Whether there is an array."""
        return self.buffer is not None

    @property
    def state(self) -> list[Any]:
        """What a loop carries round."""
        return [self.buffer]

    @state.setter
    def state(self, values: list[Any]) -> None:
        (self.buffer,) = values

    def forget(self) -> None:
        """Lets go of what was traced for nothing."""
        self.buffer = None

    def allocate(self) -> None:
        """Makes the array, once the shape of the elements is known."""
        if self.shape_of_elements is None:
            raise TypeError("A TensorArray is read before the shape of its elements is known")
        if self.buffer is None:
            shape = (self.size, *self.shape_of_elements)
            limits.check_shape(shape, np.dtype(self.dtype).itemsize)
            self.buffer = self.xp.zeros(shape, self.dtype)

    def _expect(self, shape: tuple[int, ...]) -> None:
        if self.shape_of_elements is None:
            self.shape_of_elements = tuple(shape)
        elif self.shape_of_elements != tuple(shape):
            raise TypeError("A TensorArray has elements of several shapes")
        self.allocate()

    def write(self, index: Any, value: Any) -> None:
        """Sets an element."""
        from jax import lax

        value = self.xp.asarray(value)
        self._expect(value.shape)
        if not self.size:
            return
        if self.adds:
            value = value + self._row(index)
        self.buffer = lax.dynamic_update_index_in_dim(self.buffer, value, index, 0)

    def _row(self, index: Any) -> Any:
        from jax import lax

        return lax.dynamic_index_in_dim(self.buffer, index, 0, keepdims=False)

    def read(self, index: Any) -> Any:
        """An element."""
        self.allocate()
        if not self.size:
            raise TypeError("An element of an empty TensorArray is read")
        return self._row(index)

    def gather(self, indices: Any) -> Any:
        """The elements, stacked."""
        self.allocate()
        if isinstance(indices, np.ndarray):
            if indices.size == self.size and (indices == np.arange(self.size)).all():
                return self.buffer
            if indices.size and not self._has(indices):
                raise TypeError("An index is out of range")
        return self.xp.take(self.buffer, self.xp.asarray(indices), axis=0)

    def _has(self, indices: np.ndarray) -> bool:
        """Whether there are elements at all these indices."""
        return bool(indices.min() >= 0 and indices.max() < self.size)

    def scatter(self, indices: Any, value: Any) -> None:
        """Writes the rows of `value` to elements."""
        value = self.xp.asarray(value)
        if not value.ndim or len(indices) != len(value):
            raise TypeError("The rows do not fit the indices")
        if isinstance(indices, np.ndarray) and indices.size and not self._has(indices):
            raise TypeError("An index is out of range")
        self._expect(value.shape[1:])
        whole = (
            isinstance(indices, np.ndarray)
            and indices.size == self.size
            and bool((indices == np.arange(self.size)).all())
        )
        if whole:
            self.buffer = self.buffer + value if self.adds else value
        else:
            at = self.buffer.at[self.xp.asarray(indices)]
            self.buffer = at.add(value) if self.adds else at.set(value)

    def concat(self) -> tuple[Any, Any]:
        """The elements joined along their first axis, and their lengths."""
        self.allocate()
        shape = self.shape_of_elements
        if not shape:
            raise TypeError("Scalars cannot be joined")
        joined = self.buffer.reshape((self.size * shape[0], *shape[1:]))
        return joined, np.full([self.size], shape[0], np.int64)

    def split(self, value: Any, lengths: Any) -> None:
        """Writes pieces of one length of `value` to the elements."""
        if not isinstance(lengths, np.ndarray) or len(set(lengths.tolist())) > 1:
            raise TypeError("The pieces are of several lengths")
        if lengths.size != self.size or lengths.sum() != value.shape[0]:
            raise TypeError("The pieces do not fit the TensorArray")
        pieces = value.reshape((self.size, value.shape[0] // max(self.size, 1), *value.shape[1:]))
        self.scatter(np.arange(self.size), pieces)

    def gradient(self, source: str) -> TracedArray:
        """The array of the gradients of one `tf.gradients` call."""
        found = self.gradients.get(source)
        if found is None:
            found = TracedArray(self.xp, self.dtype, self.size, TensorShape(None), adds=True)
            found.shape_of_elements = self.shape_of_elements
            self.gradients[source] = found
        return found


class TracedStack(Resource):
    """A stack as one traced array [capacity, ...] and the number of values on it.

    A value that is known when it is pushed (a shape, say) is the same in each iteration of a loop that is traced: it is kept as it is.
    """

    def __init__(self, xp: Any, dtype: Any) -> None:
        self.xp = xp
        self.dtype = dtype
        self.known: np.ndarray | None = None
        self.shape_of_elements: tuple[int, ...] | None = None
        self.pushed = 0
        """How many values have been pushed in the loop that is being traced for nothing."""
        self.counting = False
        self.capacity = 0
        self.reserved = 0
        self.depth = 0
        """How many loops around are being traced, since there is an array."""
        self.buffer: Any = None
        self.count: Any = None

    @property
    def allocated(self) -> bool:
        """Whether there is an array."""
        return self.buffer is not None

    @property
    def state(self) -> list[Any]:
        """What a loop carries round."""
        return [self.buffer, self.count]

    @state.setter
    def state(self, values: list[Any]) -> None:
        self.buffer, self.count = values

    def forget(self) -> None:
        """Lets go of what was traced for nothing."""
        self.buffer = self.count = None

    def allocate(self, capacity: int) -> None:
        """Makes the array."""
        if self.shape_of_elements is None:
            raise TypeError("A stack is popped before the shape of its values is known")
        self.capacity = self.reserved = max(1, capacity)
        self.depth = 0
        shape = (self.capacity, *self.shape_of_elements)
        limits.check_shape(shape, np.dtype(self.dtype).itemsize)
        self.buffer = self.xp.zeros(shape, self.dtype)
        self.count = self.xp.zeros((), np.int32)

    def reserve(self, pushed: int) -> None:
        """Takes note of what another loop pushes; TypeError when there is no room for it."""
        if self.depth:  # the loop around has made room
            return
        self.reserved += pushed
        if self.reserved > self.capacity:
            raise TypeError("A stack is pushed to by several loops")

    def push(self, value: Any) -> None:
        """Adds a value."""
        from jax import lax

        if isinstance(value, Resource):
            raise TypeError("A stack of resources is not traced")
        if isinstance(value, np.ndarray) and self.shape_of_elements is None:
            if self.known is not None and not np.array_equal(self.known, value):
                raise TypeError("A stack is given several known values")
            self.known = value
            return
        if self.known is not None:
            raise TypeError("A stack is given known and unknown values")
        value = self.xp.asarray(value)
        if self.shape_of_elements is None:
            self.shape_of_elements = tuple(value.shape)
        elif self.shape_of_elements != tuple(value.shape):
            raise TypeError("A stack has values of several shapes")
        if self.counting:
            self.pushed += 1
            if self.buffer is None:
                return
        if self.buffer is None:
            raise TypeError("A stack is pushed to outside of any loop")
        self.buffer = lax.dynamic_update_index_in_dim(self.buffer, value, self.count, 0)
        self.count = self.count + np.int32(1)

    def pop(self) -> Any:
        """Takes the value that was added last."""
        from jax import lax

        if self.known is not None:
            return self.known
        if self.buffer is None:
            raise TypeError("A stack is popped before it is pushed to")
        self.count = self.count - np.int32(1)
        return lax.dynamic_index_in_dim(self.buffer, self.count, 0, keepdims=False)
