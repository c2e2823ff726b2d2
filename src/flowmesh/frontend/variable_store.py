"""The variables of a graph by name, as `get_variable` finds and makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flowmesh.core.dtypes import as_dtype, float32, string
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend import initializers
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.partitioned_variable import PartitionedVariable, slice_of_initializer
from flowmesh.frontend.partitioners import PartitionInfo, partitions_of, slices_of
from flowmesh.frontend.save_slice_info import SaveSliceInfo
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.tensor import Tensor


class _ReuseMode:
    """`tf.AUTO_REUSE`: make the variable when it is not there yet."""

    def __repr__(self) -> str:
        return "_ReuseMode.AUTO_REUSE"


AUTO_REUSE = _ReuseMode()


class VariableStore:
    """All variables that `get_variable` made in one graph."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.partitioned: dict[str, PartitionedVariable] = {}
        self.scope_counts: dict[str, int] = {}

    def get_variable(
        self, name: str, shape: Any, dtype: Any, options: dict[str, Any], partitioner: Any = None
    ) -> Any:
        """The variable `name`, found or made as the options (see `VariableScope.get_variable`) ask.

        With a partitioner, a variable that is no scalar is a `PartitionedVariable`.
        Raises ValueError when it exists but may not be reused, does not exist but must, or has another shape, dtype or
        partitioning.
        """
        dtype = as_dtype(dtype or float32).base_dtype
        if partitioner is not None and not (shape is not None and as_shape(shape).ndims == 0):
            if not callable(partitioner):
                raise ValueError(f"Partitioner must be callable, but received: {partitioner}")
            return self._get_partitioned(name, shape, dtype, options, partitioner)
        if options["reuse"] is True and name in self.partitioned:
            return self._existing_parts(name, as_shape(shape), dtype, None, True)
        if f"{name}/part_0" in self.variables:
            raise ValueError(
                f"No partitioner was provided, but a partitioned version of the variable was found: {name}/part_0. "
                "Perhaps a variable of the same name was already created with partitioning?"
            )
        return self._get_single(name, shape, dtype, options)

    def _get_single(
        self,
        name: str,
        shape: Any,
        dtype: Any,
        options: dict[str, Any],
        part: PartitionInfo | None = None,
    ) -> Any:
        reuse = options["reuse"]
        if name in self.variables:
            return self._existing(name, shape, dtype, reuse)
        if reuse is True:
            raise ValueError(
                f"Variable {name} does not exist, or was not created with tf.get_variable(). Did you mean to set "
                "reuse=tf.AUTO_REUSE in VarScope?"
            )
        variable = self._make(name, shape, dtype, options, part)
        self.variables[name] = variable
        regularizer = options["regularizer"]
        if regularizer is not None:
            self._regularize(variable, name, regularizer)
        return variable

    def _existing(self, name: str, shape: Any, dtype: Any, reuse: Any) -> Any:
        found = self.variables[name]
        if reuse is False or reuse is None:
            where = found.op.defined_at
            raise ValueError(
                f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or "
                f"reuse=tf.AUTO_REUSE in VarScope? Originally defined at:\n\n  {where}\n"
            )
        if shape is not None and not as_shape(shape).is_compatible_with(found.shape):
            raise ValueError(
                f"Trying to share variable {name}, but specified shape {as_shape(shape)} and found shape {found.shape}."
            )
        if not dtype.is_compatible_with(found.dtype.base_dtype):
            raise ValueError(
                f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype "
                f"{found.dtype.name}."
            )
        return found

    # -- in parts --------------------------------------------------------------------------------------

    def _get_partitioned(
        self, name: str, shape: Any, dtype: Any, options: dict[str, Any], partitioner: Any
    ) -> PartitionedVariable:
        if name in self.variables:
            raise ValueError(
                "A partitioner was provided, but an unpartitioned version of the variable was found: "
                f"{name}.  Perhaps a variable of the same name was already created without partitioning?"
            )
        initializer, reuse = options["initializer"], options["reuse"]
        full = as_shape(shape)
        if isinstance(initializer, Tensor):
            full = full.merge_with(initializer.shape)
        partitions = partitions_of(partitioner, full, dtype)
        if name in self.partitioned:
            return self._existing_parts(name, full, dtype, partitions, reuse)
        if reuse is True:
            raise ValueError(
                f"PartitionedVariable {name} does not exist, or was not created with tf.get_variable(). Did you mean "
                "to set reuse=False or reuse=tf.AUTO_REUSE in VarScope?"
            )
        slices = slices_of([int(d) for d in full], partitions)
        self._check_shards(name, len(slices))
        parts = []
        for i, (offset, size) in enumerate(slices):
            part_name = f"{name}/part_{i}"
            info = PartitionInfo([int(d) for d in full], offset)
            part_options = {**options, "initializer": initializer}
            part_shape: Any = size
            if initializer is not None and not callable(initializer):
                with name_scope(part_name + "/PartitionedInitializer"):
                    value = slice_of_initializer(initializer, dtype, offset, size)
                part_options["initializer"], part_shape = value, None
                dtype = value.dtype.base_dtype
            with name_scope(None):
                part = self._get_single(part_name, part_shape, dtype, part_options, info)
            part._set_save_slice_info(SaveSliceInfo(name, info.full_shape, offset, size))
            parts.append(part)
        whole = PartitionedVariable(name, full, dtype, parts, partitions)
        self.partitioned[name] = whole
        return whole

    def _existing_parts(
        self, name: str, shape: TensorShape, dtype: Any, partitions: Any, reuse: Any
    ) -> PartitionedVariable:
        if not reuse:
            raise ValueError(
                f"Partitioned variable with name {name} already exists. Did you mean to set reuse=True or "
                "reuse=tf.AUTO_REUSE in VarScope?"
            )
        found = self.partitioned[name]
        trying = f"Trying to reuse partitioned variable {name}, but specified"
        if not shape.is_compatible_with(found.shape):
            raise ValueError(f"{trying} shape {shape} and found shape {found.shape}.")
        if not dtype.is_compatible_with(found.dtype):
            raise ValueError(f"{trying} dtype {dtype.name} and found dtype {found.dtype.name}.")
        held = found._get_partitions()
        if partitions is not None and list(partitions) != list(held):
            raise ValueError(f"{trying} partitions {partitions} and found partitions {held}.")
        return found

    def _check_shards(self, name: str, count: int) -> None:
        """Raises ValueError when parts of that name were made one by one, and are more or fewer."""
        if f"{name}/part_0" not in self.variables:
            return
        said = (
            "Partitioner returned a different partitioning than what was already found.  Partitioner returned "
            f"{count} shards, and shard {name}/part_0 was found, but"
        )
        if f"{name}/part_{count - 1}" not in self.variables:
            raise ValueError(f"{said} {name}/part_{count - 1} was not.")
        if f"{name}/part_{count}" in self.variables:
            raise ValueError(f"{said} so was the extra shard {name}/part_{count}.")

    # -- making one --------------------------------------------------------------------------------------

    def _make(
        self,
        name: str,
        shape: Any,
        dtype: Any,
        options: dict[str, Any],
        part: PartitionInfo | None,
    ) -> Any:
        initializer = options["initializer"]
        shape = None if shape is None else as_shape(shape)
        initial_value, dtype = _initial_value(name, shape, dtype, initializer, part)
        collections = options["collections"]
        kwargs = {
            "initial_value": initial_value,
            "name": name,
            "trainable": options["trainable"],
            "collections": collections if collections is not None else [GraphKeys.GLOBAL_VARIABLES],
            "caching_device": options["caching_device"],
            "dtype": dtype,
            "validate_shape": options["validate_shape"],
            "constraint": options["constraint"],
            "use_resource": options["use_resource"],
        }
        return Variable(**kwargs)

    def _regularize(self, variable: Any, name: str, regularizer: Callable[..., Any]) -> None:
        graph = get_default_graph()
        with graph.colocate_with(variable.op), name_scope(name + "/Regularizer/"), init_scope():
            loss = regularizer(variable)
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)


def _initial_value(
    name: str,
    shape: TensorShape | None,
    dtype: Any,
    initializer: Any,
    part: PartitionInfo | None,
) -> tuple[Any, Any]:
    """What `Variable` is to be given as initial value and dtype."""
    if initializer is None:
        initializer = default_initializer(name, dtype)
    if not callable(initializer):
        if shape is not None:
            raise ValueError("If initializer is a constant, do not specify shape.")
        return initializer, None
    if isinstance(initializer, type):
        initializer = initializer()
    if shape is not None and shape.is_fully_defined():
        return _Call(initializer, shape, dtype, part), dtype
    if _takes_no_arguments(initializer):
        return initializer, None
    raise ValueError(
        "The initializer passed is not valid. It should be a callable with no arguments and the shape should not be "
        "provided or an instance of `tf.keras.initializers.*' and `shape` should be fully defined."
    )


def _takes_no_arguments(initializer: Callable[..., Any]) -> bool:
    required = [
        p
        for p in inspect.signature(initializer).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return not required


class _Call:
    """`initializer(shape, dtype=dtype)`, with the partition_info of a part, to be called where the variable is made."""

    def __init__(
        self,
        initializer: Callable[..., Any],
        shape: TensorShape,
        dtype: Any,
        part: PartitionInfo | None,
    ) -> None:
        self._initializer, self._shape, self._dtype = initializer, shape, dtype
        self._more: dict[str, Any] = {}
        if part is not None and _takes(initializer, "partition_info"):
            self._more["partition_info"] = part

    def __call__(self) -> Any:
        try:
            return self._initializer(self._shape.as_list(), dtype=self._dtype, **self._more)
        except TypeError as error:
            if "dtype" not in str(error):
                raise
            return self._initializer(self._shape.as_list(), **self._more)


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def default_initializer(name: str, dtype: Any) -> Any:
    """What `get_variable` uses when it is given no initializer."""
    if dtype.is_floating:
        return initializers.glorot_uniform_initializer(dtype=dtype)
    if dtype.is_integer or dtype.is_unsigned or dtype.is_bool or dtype == string:
        return initializers.Zeros(dtype)
    raise ValueError(f"An initializer for variable {name} of {dtype} is required")
