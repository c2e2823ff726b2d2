"""Values made of several tensors: `IndexedSlices` (sparse gradients) and `SparseTensor`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from flowmesh.core.dtypes import int64
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import constant_value, convert, default_stack
from flowmesh.graph.builder import graph_of
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor

SparseTensorValue = namedtuple("SparseTensorValue", ["indices", "values", "dense_shape"])
IndexedSlicesValue = namedtuple("IndexedSlicesValue", ["values", "indices", "dense_shape"])


class IndexedSlices:
    """Rows `values[i]` of a larger tensor at `indices[i]`; rows with equal index add up.

    Shapes: `values` [n, d1, ...], `indices` [n] (int32 or int64), `dense_shape` [rank] or None.
    """

    def __init__(self, values: Any, indices: Any, dense_shape: Any = None) -> None:
        self._values = values
        self._indices = indices
        self._dense_shape = dense_shape

    @property
    def values(self) -> Any:
        """The rows."""
        return self._values

    @property
    def indices(self) -> Any:
        """Where the rows stand."""
        return self._indices

    @property
    def dense_shape(self) -> Any:
        """The shape of the dense tensor, or None."""
        return self._dense_shape

    @property
    def name(self) -> str:
        """The name of `values`."""
        return self._values.name

    @property
    def device(self) -> str:
        """The device of `values`."""
        return self._values.device

    @property
    def op(self) -> Any:
        """The operation that makes `values`."""
        return self._values.op

    @property
    def dtype(self) -> Any:
        """The dtype of the rows."""
        return self._values.dtype

    @property
    def graph(self) -> Any:
        """The graph."""
        return self._values.graph

    def __str__(self) -> str:
        shape = f", dense_shape={self._dense_shape}" if self._dense_shape is not None else ""
        return f"IndexedSlices(indices={self._indices}, values={self._values}{shape})"

    def __neg__(self) -> IndexedSlices:
        return IndexedSlices(raw.Neg(self._values), self._indices, self._dense_shape)


class SparseTensor:
    """A sparse tensor in coordinates: `indices` int64 [n, rank], `values` [n], `dense_shape` int64 [rank]."""

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        graph = graph_of([indices, values, dense_shape])
        with graph.as_default(), graph.name_scope("SparseTensor"):
            self._indices = convert.convert_to_tensor(indices, dtype=int64, name="indices")
            self._values = convert.convert_to_tensor(values, name="values")
            self._dense_shape = convert.convert_to_tensor(
                dense_shape, dtype=int64, name="dense_shape"
            )
        indices_shape = self._indices.shape.with_rank(2)
        values_shape = self._values.shape.with_rank(1)
        dense = self._dense_shape.shape.with_rank(1)
        indices_shape[0].merge_with(values_shape[0])
        indices_shape[1].merge_with(dense[0])

    @classmethod
    def from_value(cls, value: Any) -> SparseTensor:
        """From a SparseTensor or SparseTensorValue."""
        if isinstance(value, cls):
            return value
        if not is_sparse_value(value):
            raise TypeError(f"Neither a SparseTensor nor SparseTensorValue: {value}.")
        return cls(value.indices, value.values, value.dense_shape)

    @property
    def indices(self) -> Tensor:
        """int64 [n, rank]."""
        return self._indices

    @property
    def values(self) -> Tensor:
        """[n]."""
        return self._values

    @property
    def dense_shape(self) -> Tensor:
        """int64 [rank]."""
        return self._dense_shape

    @property
    def shape(self) -> TensorShape:
        """The static dense shape."""
        return constant_value.constant_value_as_shape(self._dense_shape)

    def get_shape(self) -> TensorShape:
        """Same as `shape`."""
        return self.shape

    @property
    def op(self) -> Any:
        """The operation that makes `values`."""
        return self._values.op

    @property
    def dtype(self) -> Any:
        """The dtype of the values."""
        return self._values.dtype

    @property
    def graph(self) -> Any:
        """The graph."""
        return self._indices.graph

    @property
    def name(self) -> str:
        """The name of `values`."""
        return self._values.name

    def consumers(self) -> list[Any]:
        """The operations that take one of the three tensors."""
        found: dict[Any, None] = {}
        for tensor in (self._indices, self._values, self._dense_shape):
            found.update(dict.fromkeys(tensor.consumers()))
        return list(found)

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The SparseTensorValue in the given or default session."""
        session = default_stack.session_for("evaluate tensor", "eval()", self.graph, session)
        indices, values, shape = session.run(
            [self._indices, self._values, self._dense_shape], feed_dict
        )
        return SparseTensorValue(indices, values, shape)

    def __str__(self) -> str:
        return f"SparseTensor(indices={self._indices}, values={self._values}, dense_shape={self._dense_shape})"


def is_sparse_value(value: Any) -> bool:
    """Whether `value` is a SparseTensorValue (or a tuple of that form)."""
    return hasattr(value, "indices") and hasattr(value, "values") and hasattr(value, "dense_shape")


def _indexed_slices_to_tensor(
    value: IndexedSlices, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    if dtype is not None and not convert.dtype_fits(dtype, value.dtype):
        raise ValueError(
            f"Tensor conversion requested dtype {dtype.name} for IndexedSlices with dtype {value.dtype.name}"
        )
    if value.dense_shape is None:
        raise ValueError(
            "Tensor conversion requested for IndexedSlices without dense_shape: " + str(value)
        )
    rows = value.dense_shape[0]
    return raw.UnsortedSegmentSum(value.values, value.indices, rows, name=name)


def convert_to_tensor_or_indexed_slices(
    value: Any, dtype: Any = None, name: str | None = None
) -> Any:
    """`value` itself when it is IndexedSlices, else `convert_to_tensor(value)`."""
    if isinstance(value, IndexedSlices):
        if dtype is not None and not convert.dtype_fits(dtype, value.dtype):
            raise ValueError(
                f"Tensor conversion requested dtype {dtype} for Tensor with dtype {value.dtype.name}: {value}"
            )
        return value
    return convert.convert_to_tensor(value, dtype=dtype, name=name)


def convert_to_tensor_or_sparse_tensor(
    value: Any, dtype: Any = None, name: str | None = None
) -> Any:
    """`value` as a SparseTensor when it is one, else `convert_to_tensor(value)`."""
    if isinstance(value, SparseTensorValue):
        value = SparseTensor.from_value(value)
    return (
        value if isinstance(value, SparseTensor) else convert.convert_to_tensor(value, dtype, name)
    )


convert.register_tensor_conversion_function(IndexedSlices, _indexed_slices_to_tensor)
