"""`Variable`: a value that outlives the step that wrote it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from flowmesh.core import errors
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.manager import DEFAULT_CONTAINER, Resource
from flowmesh.resources.messages import shape_string

_TAKEN = object()


class Variable(Resource):
    """One variable of a task, for both ref and resource variables.

    `value` is an immutable array of `dtype` (NumPy's or a device's), or None before the first assignment;
    a new value replaces the array. `generation` counts the assignments, so that who kept something
    derived from the value can tell whether it still holds. `lock` makes read-modify-write atomic.

    Who holds the lock may `take` the value to update it in place, and `put`s the new one back before letting the lock go. Readers
    that come in between wait for it; readers that have the old array already keep it alive, which the taker must respect.
    """

    type_name = "N10tensorflow3VarE"

    def __init__(
        self,
        name: str,
        dtype: DType,
        shape: TensorShape,
        *,
        container: str = "",
        device: str = "",
        is_resource: bool = False,
    ):
        """`shape` is the declared one; `is_resource` selects the error a missing value gives."""
        self.name = name
        self.container = container or DEFAULT_CONTAINER
        self.dtype = dtype
        self.shape = shape
        self.device = device
        self.is_resource = is_resource
        self.lock = threading.RLock()
        self.generation = 0
        self._value: Any = None

    def __repr__(self) -> str:
        value = self.value
        state = "uninitialized" if value is None else shape_string(value.shape)
        return f"<Variable {self.container}/{self.name} {self.dtype.name} {state}>"

    @property
    def is_initialized(self) -> bool:
        """Whether there is a value."""
        return self._value is not None

    @property
    def value(self) -> Any:
        """The array, or None."""
        value = self._value
        if value is _TAKEN:
            with self.lock:
                return self._value
        return value

    @value.setter
    def value(self, value: Any) -> None:
        with self.lock:
            self.generation += 1
            self._value = value

    def take(self) -> Any:
        """The array, which the variable lets go of. The caller holds `lock`, and calls `put` before releasing it."""
        value, self._value = self._value, _TAKEN
        return value

    def put(self, value: Any) -> None:
        """Ends what `take` began; the caller still holds `lock`. Who sees the new value sees its generation, too."""
        self.generation += 1
        self._value = value

    def move(self, old: Any, new: Any) -> None:
        """Keeps the same value in another place: `new` takes the place of `old`, if that is still the value.

        Never waits: whoever holds the lock may be waiting for the caller, and will bring a new value anyway.
        """
        if self.lock.acquire(blocking=False):
            try:
                if self._value is old:
                    self._value = new
            finally:
                self.lock.release()

    def read(self) -> Any:
        """The array; FailedPreconditionError if the variable has none."""
        value = self.value
        if value is None:
            raise self.uninitialized_error()
        return value

    def assign(self, value: Any, validate_shape: bool = False) -> None:
        """Replaces the value; with `validate_shape`, only by one of the same shape."""
        with self.lock:
            if validate_shape:
                self.check_shape(tuple(value.shape))
            self.value = value

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """InvalidArgumentError unless a value of this shape may be assigned to a ref variable.

        It must have the shape of the present value or, if there is none, agree with the declared shape.
        """
        value = self.value
        if value is not None:
            expected: TensorShape = TensorShape(tuple(value.shape))
        else:
            expected = self.shape
        if not expected.is_compatible_with(TensorShape(shape)):
            raise errors.InvalidArgumentError(
                None,
                None,
                "Assign requires shapes of both tensors to match. "
                f"lhs shape= {shape_string(expected)} rhs shape= {shape_string(shape)}",
            )

    def uninitialized_error(self) -> errors.FailedPreconditionError:
        """The error that reading raises when there is no value."""
        if not self.is_resource:
            message = f"Attempting to use uninitialized value {self.name}"
        else:
            message = (
                f"Error while reading resource variable {self.name} from Container: {self.container}. "
                "This could mean that the variable was uninitialized. Not found: "
                f"Resource {self.container}/{self.name}/{self.type_name} does not exist."
            )
        return errors.FailedPreconditionError(None, None, message)

    def release(self) -> None:
        """Drops the value."""
        self.value = None


def take_all(variables: Iterable[Variable], values: list[Any]) -> None:
    """`Variable.take` for each of them; the arrays are appended to `values`. The caller holds the locks."""
    for variable in variables:
        values.append(variable._value)
        variable._value = _TAKEN
