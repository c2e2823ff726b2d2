"""Partial shapes: `TensorShape` (a tuple of sizes, some unknown, or unknown rank) and `Dimension`.

A shape is one tuple of `int | None`, or None when even the rank is unknown; it is reachable as
`.key`, which is what code that runs once per graph node should use. `Dimension` objects exist only
while somebody looks at one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, overload

from flowmesh.core.dtypes import DType

ShapeKey: TypeAlias = tuple[int | None, ...] | None


class Dimension:
    """The size of one axis, or unknown (`value` None); unknown makes arithmetic unknown."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # comparison may be undecided

    def __init__(self, value: Any):
        self._value: int | None = None
        if value is None:
            return
        if isinstance(value, DType):
            raise TypeError(f"Cannot convert {value} to Dimension")
        size = int(value)
        if not isinstance(value, (str, bytes)) and size != value:
            raise ValueError(f"Ambiguous dimension: {value}")
        if size < 0:
            raise ValueError(f"Dimension {size} must be >= 0")
        self._value = size

    @property
    def value(self) -> int | None:
        """The size, or None if it is unknown."""
        return self._value

    def __repr__(self) -> str:
        return f"Dimension({self._value!r})"

    def __str__(self) -> str:
        return "?" if self._value is None else str(self._value)

    def __int__(self) -> int:
        return self._value  # type: ignore[return-value]  # int(unknown) is a TypeError by Python

    def __index__(self) -> int:
        return self._value  # type: ignore[return-value]  # likewise

    def __reduce__(self) -> tuple[Any, ...]:
        return Dimension, (self._value,)

    def is_compatible_with(self, other: Any) -> bool:
        """Whether the two sizes can be equal."""
        value = as_dimension(other)._value
        return self._value is None or value is None or self._value == value

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError if the two sizes cannot be equal."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Dimensions {self} and {other} are not compatible")

    def merge_with(self, other: Any) -> Dimension:
        """What is known of the size from both; ValueError if they contradict each other."""
        other = as_dimension(other)
        self.assert_is_compatible_with(other)
        return Dimension(other._value if self._value is None else self._value)

    def _combine(self, other: Any, function: Callable[[int, int], Any], swap: bool = False) -> Any:
        """`function` of both sizes; None if one is unknown, NotImplemented if not a size."""
        try:
            value = as_dimension(other)._value
        except (TypeError, ValueError):
            return NotImplemented
        if self._value is None or value is None:
            return None
        return function(value, self._value) if swap else function(self._value, value)

    def _arithmetic(
        self, other: Any, function: Callable[[int, int], int], swap: bool = False
    ) -> Any:
        result = self._combine(other, function, swap)
        return result if result is NotImplemented else Dimension(result)

    def __eq__(self, other: object) -> bool | None:  # type: ignore[override]
        return self._combine(other, lambda x, y: x == y)

    def __ne__(self, other: object) -> bool | None:  # type: ignore[override]
        return self._combine(other, lambda x, y: x != y)

    def __lt__(self, other: Any) -> bool | None:
        return self._combine(as_dimension(other), lambda x, y: x < y)

    def __le__(self, other: Any) -> bool | None:
        return self._combine(as_dimension(other), lambda x, y: x <= y)

    def __gt__(self, other: Any) -> bool | None:
        return self._combine(as_dimension(other), lambda x, y: x > y)

    def __ge__(self, other: Any) -> bool | None:
        return self._combine(as_dimension(other), lambda x, y: x >= y)

    def __add__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x + y)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x - y)

    def __rsub__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x - y, swap=True)

    def __mul__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x * y)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x // y)

    def __rfloordiv__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x // y, swap=True)

    def __mod__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x % y)

    def __rmod__(self, other: Any) -> Dimension:
        return self._arithmetic(other, lambda x, y: x % y, swap=True)

    def __truediv__(self, other: Any) -> Dimension:
        raise TypeError(
            "unsupported operand type(s) for /: 'Dimension' and "
            f"'{type(other).__name__}', please use // instead"
        )

    def __rtruediv__(self, other: Any) -> Dimension:
        raise TypeError(
            f"unsupported operand type(s) for /: '{type(other).__name__}' and "
            "'Dimension', please use // instead"
        )


class TensorShape:
    """The possibly partial shape of a tensor; immutable."""

    __slots__ = ("key",)
    __hash__ = None  # type: ignore[assignment]  # partial shapes compare unequal: use `.key`
    key: ShapeKey

    def __init__(self, dims: Any = None):
        """From None (unknown rank), sizes, one size, another shape, or a TensorShapeProto."""
        self.key = _key_of(dims)

    @classmethod
    def from_key(cls, key: ShapeKey) -> TensorShape:
        """The shape with exactly this key: no checks, for code that has computed it."""
        shape = cls.__new__(cls)
        shape.key = key
        return shape

    @property
    def rank(self) -> int | None:
        """The number of axes, or None if unknown."""
        return None if self.key is None else len(self.key)

    ndims = rank

    @property
    def dims(self) -> list[Dimension] | None:
        """A list of `Dimension`, or None if the rank is unknown."""
        return None if self.key is None else [_dimension(d) for d in self.key]

    def __repr__(self) -> str:
        return f"TensorShape({self.dims!r})"

    def __str__(self) -> str:
        if self.key is None:
            return "<unknown>"
        sizes = ["?" if d is None else str(d) for d in self.key]
        return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorShape, (self.key,)

    def __copy__(self) -> TensorShape:
        return self

    def __deepcopy__(self, memo: Any) -> TensorShape:
        return self

    def __eq__(self, other: object) -> bool:
        try:
            other = as_shape(other)
        except TypeError:
            return NotImplemented
        if self is other:
            return True
        # Two unknown sizes are not known to be equal.
        return self.key == other.key and (self.key is None or None not in self.key)

    def __ne__(self, other: object) -> bool:
        try:
            other = as_shape(other)
        except TypeError:
            return NotImplemented
        if self.key is None or other.key is None:
            raise ValueError("The inequality of unknown TensorShapes is undefined.")
        return not self == other

    def __bool__(self) -> bool:
        return self.key is not None

    def __len__(self) -> int:
        if self.key is None:
            raise ValueError("Cannot take the length of shape with unknown rank.")
        return len(self.key)

    def __iter__(self) -> Iterator[Dimension]:
        if self.key is None:
            raise ValueError("Cannot iterate over a shape with unknown rank.")
        return map(_dimension, self.key)

    @overload
    def __getitem__(self, key: int) -> Dimension: ...
    @overload
    def __getitem__(self, key: slice) -> TensorShape: ...
    def __getitem__(self, key: int | slice) -> Dimension | TensorShape:
        if self.key is not None:
            if isinstance(key, slice):
                return TensorShape.from_key(self.key[key])
            return _dimension(self.key[key])
        if not isinstance(key, slice):
            return Dimension(None)
        if key.step is not None:
            raise ValueError("Steps are not yet handled")
        start = 0 if key.start is None else key.start
        if key.stop is None or start < 0 or key.stop < 0:
            return unknown_shape()
        return unknown_shape(rank=key.stop - start)

    def as_list(self) -> list[int | None]:
        """The sizes, None for each unknown one."""
        if self.key is None:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return list(self.key)

    def as_proto(self) -> Any:
        """This shape as a `TensorShapeProto`."""
        from flowmesh.proto import tensor_shape_pb2

        if self.key is None:
            return tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
        dim = tensor_shape_pb2.TensorShapeProto.Dim
        return tensor_shape_pb2.TensorShapeProto(
            dim=[dim(size=-1 if d is None else d) for d in self.key]
        )

    def is_fully_defined(self) -> bool:
        """Whether the rank and every size are known."""
        return self.key is not None and None not in self.key

    def assert_is_fully_defined(self) -> None:
        """Raises ValueError unless the rank and every size are known."""
        if not self.is_fully_defined():
            raise ValueError(f"Shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        """The product of the sizes, or None if the shape is not fully defined."""
        if self.key is None or None in self.key:
            return None
        return math.prod(self.key)  # type: ignore[arg-type]  # no None is left

    def is_compatible_with(self, other: Any) -> bool:
        """Whether some full shape is described by both."""
        key = as_shape(other).key
        if self.key is None or key is None:
            return True
        if len(self.key) != len(key):
            return False
        return all(x is None or y is None or x == y for x, y in zip(self.key, key))

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError if no full shape is described by both."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {other} are incompatible")

    def merge_with(self, other: Any) -> TensorShape:
        """What is known of the shape from both; ValueError if they contradict each other."""
        other = as_shape(other)
        if self.key is None:
            return other
        if other.key is None:
            return self
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {other} are not compatible")
        return TensorShape.from_key(
            tuple(y if x is None else x for x, y in zip(self.key, other.key))
        )

    def most_specific_compatible_shape(self, other: Any) -> TensorShape:
        """The most specific shape that describes all that either describes."""
        key = as_shape(other).key
        if self.key is None or key is None or len(self.key) != len(key):
            return unknown_shape()
        return TensorShape.from_key(tuple(x if x == y else None for x, y in zip(self.key, key)))

    def concatenate(self, other: Any) -> TensorShape:
        """The sizes of this shape followed by those of `other`."""
        key = as_shape(other).key
        if self.key is None or key is None:
            return unknown_shape()
        return TensorShape.from_key(self.key + key)

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return as_shape(other).concatenate(self)

    def assert_same_rank(self, other: Any) -> None:
        """Raises ValueError if the ranks are known and differ."""
        other = as_shape(other)
        if self.key is not None and other.key is not None and len(self.key) != len(other.key):
            raise ValueError(f"Shapes {self} and {other} must have the same rank")

    def assert_has_rank(self, rank: int) -> None:
        """Raises ValueError if the rank is known and is not `rank`."""
        if self.rank not in (None, rank):
            raise ValueError(f"Shape {self} must have rank {rank}")

    def with_rank(self, rank: int | None) -> TensorShape:
        """This shape with the rank set to `rank`; ValueError if it is known to be another."""
        if self.key is None:
            return unknown_shape(rank=rank)
        if rank is not None:
            self.assert_has_rank(rank)
        return self

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """This shape; ValueError if the rank is known to be lower than `rank`."""
        if self.rank is not None and self.rank < rank:
            raise ValueError(f"Shape {self} must have rank at least {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """This shape; ValueError if the rank is known to be higher than `rank`."""
        if self.rank is not None and self.rank > rank:
            raise ValueError(f"Shape {self} must have rank at most {rank}")
        return self


def _dimension(value: int | None) -> Dimension:
    dimension = Dimension.__new__(Dimension)
    dimension._value = value
    return dimension


def _size_of(value: Any) -> int | None:
    """The checked size a dimension-like value stands for."""
    if value is None or (type(value) is int and value >= 0):
        return value
    return as_dimension(value)._value


def _key_of(dims: Any) -> ShapeKey:
    """The key of anything that describes a shape."""
    if dims is None:
        return None
    if isinstance(dims, (tuple, list)):
        return tuple([_size_of(d) for d in dims])
    if isinstance(dims, TensorShape):
        return dims.key
    if isinstance(dims, (str, bytes)):
        raise TypeError(
            "A string has ambiguous TensorShape, please wrap in a "
            f"list or convert to an int: {dims!s}"
        )
    if hasattr(dims, "unknown_rank") and hasattr(dims, "dim"):  # a TensorShapeProto
        return (
            None if dims.unknown_rank else tuple(None if d.size == -1 else d.size for d in dims.dim)
        )
    try:
        sizes: Iterable[Any] = iter(dims)
    except TypeError:
        return (_size_of(dims),)
    return tuple([_size_of(d) for d in sizes])


def as_dimension(value: Any) -> Dimension:
    """`value` as a `Dimension`: itself, or one made from an int or None."""
    return value if isinstance(value, Dimension) else Dimension(value)


def dimension_value(dimension: Any) -> Any:
    """The size of a `Dimension` as int or None; anything else as it is."""
    return dimension.value if isinstance(dimension, Dimension) else dimension


def as_shape(shape: Any) -> TensorShape:
    """`shape` as a `TensorShape`: itself, or one made from it."""
    return shape if isinstance(shape, TensorShape) else TensorShape(shape)


_UNKNOWN = TensorShape(None)
_SCALAR = TensorShape(())


def unknown_shape(rank: int | None = None) -> TensorShape:
    """A shape of which nothing, or only the rank, is known."""
    return _UNKNOWN if rank is None else TensorShape.from_key((None,) * rank)


def scalar() -> TensorShape:
    """The shape of a scalar."""
    return _SCALAR


def vector(length: Any) -> TensorShape:
    """The shape of a vector."""
    return TensorShape((length,))


def matrix(rows: Any, cols: Any) -> TensorShape:
    """The shape of a matrix."""
    return TensorShape((rows, cols))


def _broadcast_sizes(x: int | None, y: int | None) -> int | None:
    if x == y or y == 1:
        return x
    if x == 1:
        return y
    if x is None or y is None:  # an unknown size can only be 1 or the known one
        return (y if x is None else x) or None  # as TensorFlow, nothing is said of 0 with unknown
    raise ValueError(f"Dimensions must be equal, but are {x} and {y}")


def broadcast_shapes(a: Any, b: Any) -> TensorShape:
    """The shape of an elementwise result; ValueError if the two cannot be broadcast together."""
    x, y = as_shape(a).key, as_shape(b).key
    if x is None or y is None:
        return _UNKNOWN
    rank = max(len(x), len(y))
    x, y = (1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y
    return TensorShape.from_key(tuple([_broadcast_sizes(p, q) for p, q in zip(x, y)]))
