"""Variables cut into parts along one axis (TensorFlow: what `get_variable` with a partitioner returns)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.frontend.naming import name_scope
from flowmesh.graph import convert
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.concat import concat
from flowmesh.ops.split import split


class PartitionedVariable:
    """The parts of one logical variable, each a `Variable` of its own called `<name>/part_<i>`.

    Iterating gives the parts in order; used as a tensor it is their concatenation. Raises TypeError for lists that are none,
    ValueError for parts that do not belong to a variable of `shape`.
    """

    def __init__(
        self,
        name: str,
        shape: Any,
        dtype: Any,
        variable_list: Sequence[Any],
        partitions: Sequence[int],
    ) -> None:
        if not isinstance(variable_list, (list, tuple)):
            raise TypeError(f"variable_list is not a list or tuple: {variable_list}")
        if not isinstance(partitions, (list, tuple)):
            raise TypeError(f"partitions is not a list or tuple: {partitions}")
        if any(count < 1 for count in partitions):
            raise ValueError(f"partition values must be positive: {partitions}")
        if not variable_list:
            raise ValueError("variable_list may not be empty")
        _check_parts(variable_list, shape, partitions)
        self._variable_list = sorted(
            variable_list, key=lambda part: part._get_save_slice_info().var_offset
        )
        self._name = name
        self._shape = shape
        self._dtype = as_dtype(dtype)
        self._partitions = partitions

    # -- what it is ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return iter(self._variable_list)

    def __len__(self) -> int:
        axes = self._partition_axes()
        if len(axes) > 1:
            raise ValueError(f"Cannot get a length for {len(axes)} > 1 partition axes")
        return len(self._variable_list)

    @property
    def name(self) -> str:
        """The name of the whole variable, without `:0`."""
        return self._name

    @property
    def dtype(self) -> DType:
        """The dtype of the parts."""
        return self._dtype

    @property
    def shape(self) -> Any:
        """The shape of the whole."""
        return self._shape

    def get_shape(self) -> Any:
        """Same as `shape`."""
        return self._shape

    def _get_variable_list(self) -> list[Any]:
        return self._variable_list

    def _get_partitions(self) -> Sequence[int]:
        return self._partitions

    def _partition_axes(self) -> list[int]:
        return [axis for axis, count in enumerate(self._partitions) if count > 1] or [0]

    # -- as a tensor -------------------------------------------------------------------------------------

    def as_tensor(self) -> Tensor:
        """The concatenation of the parts, under no control dependency of the place where it is used.

        Raises NotImplementedError for a variable cut along several axes.
        """
        with get_default_graph().control_dependencies(None):
            return self._concat()

    def _concat(self) -> Tensor:
        """The concatenation of the parts by new nodes that keep the control dependencies around them."""
        if len(self._variable_list) == 1:
            whole = self._variable_list[0]
        else:
            axes = self._partition_axes()
            if len(axes) > 1:
                raise NotImplementedError(
                    f"Cannot concatenate along more than one dimension: {axes}.  Multi-axis partition concat is not "
                    "supported"
                )
            with name_scope(self._name + "/ConcatPartitions/"):
                whole = concat(self._variable_list, axes[0])
        with name_scope(None):
            return raw.Identity(whole, name=self._name)

    # -- changing ----------------------------------------------------------------------------------------

    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> list[Any]:
        """Gives the parts new values: of one tensor that is split, a list of a value for each, or a partitioned variable.

        Returns what `assign` of each part does. Raises NotImplementedError for a variable cut along several axes.
        """
        return self._each("assign", value, use_locking, name, read_value)

    def assign_add(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> list[Any]:
        """Adds to the parts; see `assign`."""
        return self._each("assign_add", value, use_locking, name, read_value)

    def assign_sub(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> list[Any]:
        """Subtracts from the parts; see `assign`."""
        return self._each("assign_sub", value, use_locking, name, read_value)

    def _each(
        self, method: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> list[Any]:
        axes = self._partition_axes()
        if len(axes) > 1:
            raise NotImplementedError(
                f"Cannot do assign action along more than one dimension: {axes}.  Multi-axis partition assign action "
                "is not supported "
            )
        change: Callable[..., Any]
        results = []
        for part, new in zip(self._variable_list, self._values(value, axes[0]), strict=True):
            change = getattr(part, method)
            results.append(change(new, use_locking=use_locking, name=name, read_value=read_value))
        return results

    def _values(self, value: Any, axis: int) -> Sequence[Any]:
        """A value for each part."""
        if isinstance(value, (list, PartitionedVariable)):
            values = list(value)
            if len(values) != len(self._variable_list):
                raise ValueError(
                    f"{len(self._variable_list)} values are needed for the parts of {self._name}, not {len(values)}"
                )
            return values
        sizes = [int(part.shape[axis]) for part in self._variable_list]
        return split(value, sizes, axis=axis)

    def __repr__(self) -> str:
        return f"<tf.PartitionedVariable '{self._name}' shape={self._shape} dtype={self._dtype.name} parts={len(self._variable_list)}>"


def _check_parts(parts: Sequence[Any], shape: Any, partitions: Sequence[int]) -> None:
    infos = [part._get_save_slice_info() for part in parts]
    if any(info is None for info in infos):
        raise ValueError(
            f"All variables must have a save_slice_info available: {[part.name for part in parts]}"
        )
    if len(shape) != len(partitions):
        raise ValueError(f"len(shape) != len(partitions): {shape} vs. {partitions}")
    for info in infos:
        if list(info.full_shape) != [int(d) for d in shape]:
            raise ValueError(
                f"All variables' full shapes must match shape: {shape}; but full shapes were: "
                f"{[info.full_shape]}"
            )


def _to_tensor(value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> Any:
    if dtype is not None and not as_dtype(dtype).is_compatible_with(value.dtype):
        raise ValueError(
            f"Incompatible type conversion requested to type '{as_dtype(dtype).name}' for variable of type "
            f"'{value.dtype.name}'"
        )
    if as_ref:
        raise NotImplementedError("PartitionedVariable doesn't support being used as a reference.")
    return value.as_tensor()


convert.register_tensor_conversion_function(PartitionedVariable, _to_tensor)


def slice_of_initializer(
    initializer: Any, dtype: Any, offset: list[int], size: list[int]
) -> Tensor:
    """The part of a constant initial value that belongs to one part of a variable."""
    if not isinstance(initializer, Tensor):
        initializer = convert.convert_to_tensor(initializer, dtype=dtype)
    return raw.Slice(initializer, np.array(offset, np.int32), np.array(size, np.int32))
