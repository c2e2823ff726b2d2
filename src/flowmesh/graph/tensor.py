"""A symbolic tensor: one output of an operation (TensorFlow: `tf.Tensor`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from flowmesh.core import errors
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph import default_stack, shape_functions

if TYPE_CHECKING:
    from flowmesh.graph.graph import Graph
    from flowmesh.graph.operation import Operation

_UNSET = object()
_NOT_ALLOWED = "{} is not allowed in Graph execution. Use Eager execution or decorate this function with @tf.function."


class Tensor:
    """The symbolic handle of one output of an `Operation`; it holds no value.

    Operators (`+`, `@`, slicing ...) are installed by `flowmesh.ops`.
    """

    OVERLOADABLE_OPERATORS: ClassVar[frozenset[str]] = frozenset(
        [
            "__add__",
            "__radd__",
            "__sub__",
            "__rsub__",
            "__mul__",
            "__rmul__",
            "__div__",
            "__rdiv__",
            "__truediv__",
            "__rtruediv__",
            "__floordiv__",
            "__rfloordiv__",
            "__mod__",
            "__rmod__",
            "__lt__",
            "__le__",
            "__gt__",
            "__ge__",
            "__and__",
            "__rand__",
            "__or__",
            "__ror__",
            "__xor__",
            "__rxor__",
            "__getitem__",
            "__pow__",
            "__rpow__",
            "__invert__",
            "__neg__",
            "__abs__",
            "__matmul__",
            "__rmatmul__",
        ]
    )
    __array_priority__ = 100

    if TYPE_CHECKING:  # installed by flowmesh.ops

        def __add__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __rtruediv__(self, other: Any) -> Any: ...
        def __floordiv__(self, other: Any) -> Any: ...
        def __rfloordiv__(self, other: Any) -> Any: ...
        def __mod__(self, other: Any) -> Any: ...
        def __rmod__(self, other: Any) -> Any: ...
        def __pow__(self, other: Any) -> Any: ...
        def __rpow__(self, other: Any) -> Any: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __rmatmul__(self, other: Any) -> Any: ...
        def __and__(self, other: Any) -> Any: ...
        def __rand__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        def __ror__(self, other: Any) -> Any: ...
        def __xor__(self, other: Any) -> Any: ...
        def __rxor__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __abs__(self) -> Any: ...
        def __invert__(self) -> Any: ...

    def __init__(self, op: Operation, value_index: int, dtype: DType, shape: TensorShape) -> None:
        self._op = op
        self._value_index = value_index
        self._dtype = dtype
        self._shape = shape
        self._consumers: list[Operation] = []
        self._constant: Any = _UNSET

    @property
    def op(self) -> Operation:
        """The operation that produces this tensor."""
        return self._op

    @property
    def value_index(self) -> int:
        """Which output of its operation this is."""
        return self._value_index

    @property
    def dtype(self) -> DType:
        """The DType of the elements (a `_ref` type for the ref of an old-style variable)."""
        return self._dtype

    @property
    def graph(self) -> Graph:
        """The graph that holds the tensor."""
        return self._op.graph

    @property
    def name(self) -> str:
        """`op_name:index`."""
        return f"{self._op.name}:{self._value_index}"

    @property
    def device(self) -> str:
        """The device of the producing operation, "" when unspecified."""
        return self._op.device

    @property
    def shape(self) -> TensorShape:
        """The static shape, as far as it is known."""
        return self._shape

    def get_shape(self) -> TensorShape:
        """Same as `shape`."""
        return self._shape

    def set_shape(self, shape: Any) -> None:
        """Merges `shape` into the static shape; raises ValueError when they are not compatible."""
        given = as_shape(shape)
        try:
            self._shape = self._shape.merge_with(given)
        except ValueError:
            raise ValueError(shape_functions.mismatch(self._shape, given)) from None

    def _shape_as_list(self) -> list[int | None] | None:
        return None if self._shape.ndims is None else self._shape.as_list()

    def _rank(self) -> int | None:
        return self._shape.ndims

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor as an input."""
        return list(self._consumers)

    def _as_node_def_input(self) -> str:
        return self._op.name if self._value_index == 0 else self.name

    def _as_graph_element(self) -> Tensor:
        return self

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """`session.run(self, feed_dict)` in the given or default session."""
        session = default_stack.session_for("evaluate tensor", "eval()", self.graph, session)
        return session.run(self, feed_dict)

    def experimental_ref(self) -> Any:
        """A hashable stand-in for this tensor."""
        return _TensorRef(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __len__(self) -> int:
        raise TypeError(
            f"len is not well defined for symbolic Tensors. ({self.name}) Please call `x.shape` rather than "
            "`len(x)` for shape information."
        )

    def __iter__(self) -> Iterator[Any]:
        raise errors.OperatorNotAllowedInGraphError(
            _NOT_ALLOWED.format("iterating over `tf.Tensor`")
        )

    def __bool__(self) -> bool:
        raise errors.OperatorNotAllowedInGraphError(
            _NOT_ALLOWED.format("using a `tf.Tensor` as a Python `bool`")
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"Cannot convert a symbolic Tensor ({self.name}) to a numpy array."
        )

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("flowmesh.ops has not been imported")

    def __copy__(self) -> Tensor:
        return self

    def __str__(self) -> str:
        shape = f", shape={self._shape}" if self._shape.ndims is not None else ""
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}"{shape}, dtype={self._dtype.name}{device})'

    def __repr__(self) -> str:
        return f"<tf.Tensor '{self.name}' shape={self._shape} dtype={self._dtype.name}>"

    @classmethod
    def _override_operator(cls, operator: str, function: Callable[..., Any]) -> None:
        if operator not in cls.OVERLOADABLE_OPERATORS:
            raise ValueError(f"Overriding {operator} is disallowed")
        setattr(cls, operator, function)


class _TensorRef:
    """Hashable by the identity of the tensor it stands for."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def deref(self) -> Tensor:
        """The tensor."""
        return self._tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TensorRef) and other._tensor is self._tensor

    def __hash__(self) -> int:
        return id(self._tensor)
