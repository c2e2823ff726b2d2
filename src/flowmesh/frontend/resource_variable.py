"""Variables behind a resource handle (TensorFlow: `ResourceVariable`, `tf.Variable(use_resource=True)`)."""

from __future__ import annotations

from typing import Any

from flowmesh.core.shapes import TensorShape
from flowmesh.frontend import variables
from flowmesh.frontend.initial_values import (
    check_scope,
    guard_uninitialized,
    initial_tensor,
    own_group,
    variable_shape,
)
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.save_slice_info import SaveSliceInfo, add_scope, strip_scope
from flowmesh.frontend.variables import (
    Variable,
    _check,
)
from flowmesh.graph import convert
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import resource_variable as _ops  # noqa: F401  (registers the ops)
from flowmesh.proto import variable_pb2


class ResourceVariable(Variable):
    """A variable behind a handle: a read is a node of its own and sees the writes that it depends on."""

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        self._graph_key = get_default_graph()
        self._cached_value: Tensor | None = None
        if variable_def is not None:
            self._init_from_proto(variable_def, import_scope)
            return
        self._trainable = True if trainable is None else bool(trainable)
        self._constraint = constraint
        collections = _check(initial_value, collections, self._trainable, constraint)
        with init_scope():
            self._build(initial_value, validate_shape, caching_device, name, dtype, shape)
        get_default_graph().add_to_collections(collections, self)

    def _build(
        self,
        initial_value: Any,
        validate_shape: bool,
        caching_device: Any,
        name: str | None,
        dtype: Any,
        shape: Any,
    ) -> None:
        from_function = callable(initial_value)
        graph = get_default_graph()
        with name_scope(name, "Variable", [] if from_function else [initial_value]) as scope:
            check_scope(scope)
            handle_name = scope.rstrip("/")
            function = initial_value if from_function else lambda: initial_value
            value = initial_tensor(function, scope, dtype)
            var_shape = value.shape if shape is None else variable_shape(shape, value, True)
            with own_group(scope):
                self._handle = raw.VarHandleOp(
                    shape=var_shape,
                    dtype=value.dtype.base_dtype,
                    shared_name=handle_name,
                    name=scope,
                )
            self._shape = var_shape
            self._dtype = value.dtype.base_dtype
            self._initial_value = value
            self._handle_name = handle_name + ":0"
            with name_scope("IsInitialized"):
                self._is_initialized_op = raw.VarIsInitializedOp(self._handle)
            guarded = guard_uninitialized(scope, value)
            with (
                name_scope("Assign") as assign,
                graph.colocate_with(None, ignore_existing=True),
                graph.device(self._handle.device),
            ):
                self._initializer_op = raw.AssignVariableOp(self._handle, guarded, name=assign)
            with name_scope("Read"):
                with graph.device(self._handle.device):
                    self._graph_element = self._read()
                if caching_device is not None:
                    with (
                        graph.colocate_with(None, ignore_existing=True),
                        graph.device(caching_device),
                    ):
                        self._cached_value = raw.Identity(self._graph_element)

    def _init_from_proto(self, proto: Any, import_scope: str | None) -> None:
        graph = get_default_graph()
        self._handle = graph.as_graph_element(add_scope(proto.variable_name, import_scope))
        self._shape = self._handle.op.attrs["shape"]
        self._dtype = self._handle.op.get_attr("dtype")
        self._handle_name = self._handle.name
        self._initializer_op = graph.as_graph_element(
            add_scope(proto.initializer_name, import_scope)
        )
        self._initial_value = (
            graph.as_graph_element(add_scope(proto.initial_value_name, import_scope))
            if proto.initial_value_name
            else None
        )
        self._trainable = proto.trainable
        snapshot = graph.as_graph_element(add_scope(proto.snapshot_name, import_scope))
        self._graph_element = snapshot
        if snapshot.op.type != "ReadVariableOp":
            self._cached_value = snapshot
        if proto.HasField("save_slice_info_def"):
            self._save_slice_info = SaveSliceInfo(
                save_slice_info_def=proto.save_slice_info_def, import_scope=import_scope
            )

    @property
    def handle(self) -> Tensor:
        """The resource handle."""
        return self._handle

    @property
    def name(self) -> str:
        """The name of the handle's tensor."""
        return self._handle_name

    @property
    def op(self) -> Operation:
        """The VarHandleOp operation."""
        return self._handle.op

    @property
    def device(self) -> str:
        """The device asked for."""
        return self._handle.device

    @property
    def graph(self) -> Any:
        """The graph."""
        return self._handle.graph

    @property
    def dtype(self) -> Any:
        """The dtype."""
        return self._dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape."""
        return self._shape

    def set_shape(self, shape: Any) -> None:
        """Merges `shape` into the static shape."""
        self._shape = self._shape.merge_with(shape)

    def _as_graph_element(self) -> Tensor:
        return self._graph_element

    def _read(self) -> Tensor:
        value = raw.ReadVariableOp(self._handle, dtype=self._dtype)
        value.set_shape(self._shape)
        return value

    def value(self) -> Tensor:
        """A node that reads the value when it runs (the cached read when there is a caching device)."""
        if self._cached_value is not None:
            return self._cached_value
        graph = get_default_graph()
        with (
            graph.colocate_with(None, ignore_existing=True),
            graph.device(self._handle.device),
        ):
            return self._read()

    def read_value(self) -> Tensor:
        """A new node that reads the value when it runs."""
        with name_scope("Read"), get_default_graph().device(self._handle.device):
            value = self._read()
        return raw.Identity(value)

    def _ref(self) -> Tensor:
        return self._handle

    def is_initialized(self, name: str | None = None) -> Tensor:
        """A bool scalar: whether the variable has a value."""
        return raw.VarIsInitializedOp(self._handle, name=name)

    def eval(self, session: Any = None) -> Any:
        """The value in the given or default session."""
        return self._graph_element.eval(session=session)

    def _after(self, op: Operation, read_value: bool) -> Any:
        if not read_value:
            return op
        return _UnreadVariable(self, op)

    def assign(
        self, value: Any, use_locking: Any = None, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Gives the variable a new value; returns a read after it, or the op with `read_value=False`."""
        tensor = convert.convert_to_tensor(value, dtype=self._dtype)
        if not self._shape.is_compatible_with(tensor.shape):
            raise ValueError(f"Shapes {self._shape} and {tensor.shape} are incompatible")
        return self._after(raw.AssignVariableOp(self._handle, tensor, name=name), read_value)

    def assign_add(
        self, delta: Any, use_locking: Any = None, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Adds `delta`."""
        tensor = convert.convert_to_tensor(delta, dtype=self._dtype)
        return self._after(raw.AssignAddVariableOp(self._handle, tensor, name=name), read_value)

    def assign_sub(
        self, delta: Any, use_locking: Any = None, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Subtracts `delta`."""
        tensor = convert.convert_to_tensor(delta, dtype=self._dtype)
        return self._after(raw.AssignSubVariableOp(self._handle, tensor, name=name), read_value)

    def _scatter(
        self, kind: str, slices: IndexedSlices, use_locking: bool, name: str | None
    ) -> Any:
        if not isinstance(slices, IndexedSlices):
            raise TypeError(f"sparse_delta is not IndexedSlices: {slices}")
        build = getattr(raw, f"ResourceScatter{kind}")
        values = convert.convert_to_tensor(slices.values, self._dtype)
        return self._after(build(self._handle, slices.indices, values, name=name), True)

    def _strided_slice_assign(
        self, begin: Any, end: Any, strides: Any, value: Any, name: str | None, **masks: int
    ) -> Any:
        tensor = convert.convert_to_tensor(value, dtype=self._dtype)
        op = raw.ResourceStridedSliceAssign(
            self._handle, begin, end, strides, tensor, name=name, **masks
        )
        return self._after(op, True)

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """Rows of the variable."""
        with name_scope(name, "Gather") as scope:
            value = raw.ResourceGather(self._handle, indices, dtype=self._dtype, name=scope)
        return raw.Identity(value)

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The VariableDef message; None when the variable is outside of `export_scope`."""
        if export_scope is not None and not self.name.startswith(export_scope):
            return None
        proto = variable_pb2.VariableDef(is_resource=True, trainable=self._trainable)
        proto.variable_name = strip_scope(self.name, export_scope)
        if self._initial_value is not None:
            proto.initial_value_name = strip_scope(self._initial_value.name, export_scope)
        proto.initializer_name = strip_scope(self.initializer.name, export_scope)
        snapshot = self._cached_value if self._cached_value is not None else self._graph_element
        proto.snapshot_name = strip_scope(snapshot.name, export_scope)
        if self._save_slice_info is not None:
            proto.save_slice_info_def.MergeFrom(self._save_slice_info.to_proto(export_scope))
        return proto

    def count_up_to(self, limit: int) -> Tensor:
        """Increments until `limit`; then OutOfRangeError."""
        return raw.ResourceCountUpTo(self._handle, limit=limit, T=self._dtype)

    def __repr__(self) -> str:
        return f"<tf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}>"


variables._CLASSES["resource"] = ResourceVariable


class _UnreadVariable(ResourceVariable):
    """A resource variable as an assignment leaves it: whatever reads it comes after the assignment."""

    def __init__(self, variable: ResourceVariable, after: Operation) -> None:
        self._graph_key = variable._graph_key
        self._trainable = variable._trainable
        self._constraint = variable._constraint
        self._handle = variable._handle
        self._handle_name = variable._handle_name
        self._shape, self._dtype = variable._shape, variable._dtype
        self._initial_value = variable._initial_value
        self._initializer_op = variable._initializer_op
        self._save_slice_info = variable._save_slice_info
        self._cached_value = None
        self._parent_op = after
        self._graph_element = self._read()

    @property
    def op(self) -> Operation:
        """The assignment."""
        return self._parent_op

    @property
    def name(self) -> str:
        """The name of the assignment."""
        return self._parent_op.name

    def _read(self) -> Tensor:
        with get_default_graph().control_dependencies([self._parent_op]):
            return super()._read()

    def value(self) -> Tensor:
        """A node that reads the value after the assignment."""
        return self._read()

    def read_value(self) -> Tensor:
        """A node that reads the value after the assignment."""
        return raw.Identity(self._read())
