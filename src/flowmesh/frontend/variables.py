"""Variables: tensors whose value outlives the steps (TensorFlow: `tf.Variable`, the ref form of TF 1)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.initial_values import (
    check_scope,
    guard_uninitialized,
    initial_tensor,
    own_group,
    variable_shape,
)
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.save_slice_info import SaveSliceInfo, add_scope, strip_scope
from flowmesh.graph import convert, default_stack
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import state as _state  # noqa: F401  (registers the variable ops)
from flowmesh.ops.control_flow import cond
from flowmesh.ops.indexing import slice_helper
from flowmesh.proto import variable_pb2


class VariableSynchronization(enum.Enum):
    """When the copies of a replicated variable are brought together."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How updates of a replicated variable are combined."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3
    ONLY_FIRST_TOWER = 3  # noqa: PIE796  (TensorFlow's old name)


class _VariableMeta(type):
    """`tf.Variable(...)` makes a ref variable, or a resource variable with `use_resource=True`."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not Variable:
            return super().__call__(*args, **kwargs)
        wants_resource = kwargs.pop("use_resource", None)
        if wants_resource is None:
            scope_default = _DEFAULT_USE_RESOURCE
            wants_resource = scope_default() if scope_default is not None else False
        proto = kwargs.get("variable_def")
        if proto is not None:
            wants_resource = proto.is_resource
        made = _CLASSES["resource" if wants_resource else "ref"]
        creators = _creators(get_default_graph())
        if creators and proto is None:
            return _call_creators(creators, made, args, kwargs)
        return made(*args, **kwargs)


_CLASSES: dict[str, Callable[..., Any]] = {}
_DEFAULT_USE_RESOURCE: Callable[[], bool] | None = None
_POSITIONAL = (
    "initial_value", "trainable", "collections", "validate_shape", "caching_device", "name", "variable_def",
    "dtype", "expected_shape", "import_scope", "constraint",
)  # fmt: skip


def set_default_use_resource(function: Callable[[], bool]) -> None:
    """Installs what tells whether the current scope makes resource variables."""
    global _DEFAULT_USE_RESOURCE
    _DEFAULT_USE_RESOURCE = function


def _creators(graph: Graph) -> list[Callable[..., Any]]:
    return getattr(graph, "_variable_creators", [])


def _call_creators(
    creators: list[Callable[..., Any]], made: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    kwargs = {**dict(zip(_POSITIONAL, args)), **kwargs}

    def base(**arguments: Any) -> Any:
        return made(**arguments)

    getter: Callable[..., Any] = base
    for creator in creators:
        getter = _wrap(creator, getter)
    return getter(**kwargs)


def _wrap(creator: Callable[..., Any], next_creator: Callable[..., Any]) -> Callable[..., Any]:
    def call(**kwargs: Any) -> Any:
        return creator(next_creator, **kwargs)

    return call


class Variable(metaclass=_VariableMeta):
    """A mutable tensor kept in a container of its task between steps.

    `Variable(initial_value, trainable=True, collections=None, validate_shape=True, caching_device=None, name=None,
    variable_def=None, dtype=None, expected_shape=None, import_scope=None, constraint=None, use_resource=None, shape=None)`.
    """

    if TYPE_CHECKING:  # the arguments are those of the class that the metaclass picks

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    SaveSliceInfo: ClassVar[Any]

    _variable: Tensor
    _snapshot: Tensor
    _initializer_op: Operation
    _initial_value: Any
    _trainable: bool
    _constraint: Any = None
    _save_slice_info: Any = None
    _graph_key: Any = None
    _cached_initialized: Any = None
    _in_graph_mode = True
    __array_priority__ = 100

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the variable's tensor ("w:0")."""
        return self._variable.name

    @property
    def _shared_name(self) -> str:
        return self.name[: self.name.index(":")]

    @property
    def op(self) -> Operation:
        """The operation that holds the variable."""
        return self._variable.op

    @property
    def device(self) -> str:
        """The device asked for, "" when unspecified."""
        return self._variable.device

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._variable.graph

    @property
    def dtype(self) -> DType:
        """The dtype (a `_ref` type for a ref variable)."""
        return self._variable.dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape."""
        return self._variable.shape

    def get_shape(self) -> TensorShape:
        """Same as `shape`."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Merges `shape` into the static shape."""
        self._variable.set_shape(shape)
        self.value().set_shape(shape)

    @property
    def trainable(self) -> bool:
        """Whether optimizers update it by default."""
        return self._trainable

    @property
    def synchronization(self) -> VariableSynchronization:
        """Always AUTO."""
        return VariableSynchronization.AUTO

    @property
    def aggregation(self) -> VariableAggregation:
        """Always NONE."""
        return VariableAggregation.NONE

    @property
    def initializer(self) -> Operation:
        """The operation that assigns the initial value."""
        return self._initializer_op

    @property
    def initial_value(self) -> Any:
        """The tensor of the initial value."""
        return self._initial_value

    @property
    def constraint(self) -> Any:
        """The projection applied after updates, or None."""
        return self._constraint

    def _as_graph_element(self) -> Tensor:
        return self._variable

    # -- reading -----------------------------------------------------------------------------------------

    def value(self) -> Tensor:
        """The value as a tensor (the cached read of the variable)."""
        return self._snapshot

    def read_value(self) -> Tensor:
        """A new node that reads the value when it runs."""
        return raw.Identity(self._variable, name="read")

    def _ref(self) -> Tensor:
        return self._variable

    def is_initialized(self, name: str | None = None) -> Tensor:
        """A bool scalar: whether the variable has a value."""
        return raw.IsVariableInitialized(self._variable, name=name)

    def initialized_value(self) -> Any:
        """The value, or the initial value when the variable is not initialized yet: safe inside other initializers."""
        with init_scope():
            return _initialized_value(self)

    def eval(self, session: Any = None) -> Any:
        """The value in the given or default session."""
        return self._variable.eval(session=session)

    def load(self, value: Any, session: Any = None) -> None:
        """Sets the value in the given or default session."""
        session = session or default_stack.get_default_session()
        if session is None:
            raise ValueError(
                "Either session argument should be provided or default session should be established"
            )
        session.run(self.initializer, {self.initializer.inputs[1]: value})

    # -- changing ----------------------------------------------------------------------------------------

    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Gives the variable a new value; returns the variable after it (the op with `read_value=False`)."""
        return _read_or_op(
            raw.Assign(self._variable, value, use_locking=use_locking, name=name), read_value
        )

    def assign_add(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Adds `delta`."""
        return _read_or_op(
            raw.AssignAdd(self._variable, delta, use_locking=use_locking, name=name), read_value
        )

    def assign_sub(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Subtracts `delta`."""
        return _read_or_op(
            raw.AssignSub(self._variable, delta, use_locking=use_locking, name=name), read_value
        )

    def _scatter(
        self, kind: str, slices: IndexedSlices, use_locking: bool, name: str | None
    ) -> Any:
        if not isinstance(slices, IndexedSlices):
            raise TypeError(f"sparse_delta is not IndexedSlices: {slices}")
        build = getattr(raw, f"Scatter{kind}")
        return build(
            self._variable, slices.indices, slices.values, use_locking=use_locking, name=name
        )

    def scatter_add(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Adds rows."""
        return self._scatter("Add", sparse_delta, use_locking, name)

    def scatter_sub(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Subtracts rows."""
        return self._scatter("Sub", sparse_delta, use_locking, name)

    def scatter_update(
        self, sparse_delta: IndexedSlices, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Replaces rows."""
        return self._scatter("Update", sparse_delta, use_locking, name)

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Adds slices at n-dimensional indices."""
        return raw.ScatterNdAdd(self._variable, indices, updates, use_locking=True, name=name)

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Subtracts slices at n-dimensional indices."""
        return raw.ScatterNdSub(self._variable, indices, updates, use_locking=True, name=name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Replaces slices at n-dimensional indices."""
        return raw.ScatterNdUpdate(self._variable, indices, updates, use_locking=True, name=name)

    def count_up_to(self, limit: int) -> Tensor:
        """Increments until `limit`; then OutOfRangeError."""
        return raw.CountUpTo(self._variable, limit=limit)

    # -- protobuf ------------------------------------------------------------------------------------------

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The VariableDef message; None when the variable is outside of `export_scope`."""
        if export_scope is not None and not self._variable.name.startswith(export_scope):
            return None
        proto = variable_pb2.VariableDef()
        proto.variable_name = strip_scope(self._variable.name, export_scope)
        if isinstance(self._initial_value, Tensor):
            proto.initial_value_name = strip_scope(self._initial_value.name, export_scope)
        proto.trainable = self._trainable
        proto.initializer_name = strip_scope(self.initializer.name, export_scope)
        proto.snapshot_name = strip_scope(self._snapshot.name, export_scope)
        if self._save_slice_info is not None:
            proto.save_slice_info_def.MergeFrom(self._save_slice_info.to_proto(export_scope))
        return proto

    @staticmethod
    def from_proto(variable_def: Any, import_scope: str | None = None) -> Any:
        """The variable that a VariableDef describes, in the default graph."""
        return Variable(  # type: ignore[call-arg]
            variable_def=variable_def, import_scope=import_scope
        )

    def _set_save_slice_info(self, info: Any) -> None:
        self._save_slice_info = info

    def _get_save_slice_info(self) -> Any:
        return self._save_slice_info

    def experimental_ref(self) -> Any:
        """A hashable stand-in."""
        return self._variable.experimental_ref()

    def __iter__(self) -> Any:
        raise TypeError("'Variable' object is not iterable.")

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __getitem__(self, key: Any) -> Any:
        return slice_helper(self.value(), key, var=self)

    def _strided_slice_assign(
        self, begin: Any, end: Any, strides: Any, value: Any, name: str | None, **masks: int
    ) -> Any:
        return raw.StridedSliceAssign(
            self._variable, begin, end, strides, value, name=name, **masks
        )

    def __repr__(self) -> str:
        return f"<tf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}>"


Variable.SaveSliceInfo = SaveSliceInfo


def _read_or_op(result: Tensor, read_value: bool) -> Any:
    return result if read_value else result.op


def _initialized_value(variable: Any) -> Any:
    return cond(variable.is_initialized(), variable.read_value, lambda: variable.initial_value)


class RefVariable(Variable):
    """A variable of the old form: a VariableV2 node whose output is a ref."""

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
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
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
        with name_scope(name, "Variable", [] if from_function else [initial_value]) as scope:
            check_scope(scope)
            if from_function:
                value = initial_tensor(initial_value, scope, dtype)
            else:
                value = convert.convert_to_tensor(initial_value, name="initial_value", dtype=dtype)
            var_shape = variable_shape(shape, value, validate_shape)
            with own_group(scope) if from_function else nullcontext():
                self._variable = raw.VariableV2(
                    shape=var_shape, dtype=value.dtype.base_dtype, name=scope
                )
            self._initial_value = value
            guarded = guard_uninitialized(scope, value)
            self._initializer_op = raw.Assign(
                self._variable, guarded, validate_shape=validate_shape, name="Assign"
            ).op
            graph = get_default_graph()
            if caching_device is not None:
                place: Any = graph.device(caching_device)
            else:
                place = graph.colocate_with(self._variable.op)
            with place:
                self._snapshot = raw.Identity(self._variable, name="read")

    def _init_from_proto(self, proto: Any, import_scope: str | None) -> None:
        graph = get_default_graph()
        self._variable = graph.as_graph_element(add_scope(proto.variable_name, import_scope))
        self._initializer_op = graph.as_graph_element(
            add_scope(proto.initializer_name, import_scope)
        )
        if proto.initial_value_name:
            self._initial_value = graph.as_graph_element(
                add_scope(proto.initial_value_name, import_scope)
            )
        else:
            self._initial_value = None
        self._trainable = proto.trainable if hasattr(proto, "trainable") else True
        self._snapshot = graph.as_graph_element(add_scope(proto.snapshot_name, import_scope))
        if proto.HasField("save_slice_info_def"):
            self._save_slice_info = SaveSliceInfo(
                save_slice_info_def=proto.save_slice_info_def, import_scope=import_scope
            )


def _check(initial_value: Any, collections: Any, trainable: bool, constraint: Any) -> list[str]:
    """The collections of a new variable; raises ValueError for arguments that make no variable."""
    if initial_value is None:
        raise ValueError("initial_value must be specified.")
    if collections is None:
        collections = [GraphKeys.GLOBAL_VARIABLES]
    if not isinstance(collections, (list, tuple, set)):
        raise ValueError(
            f"collections argument to Variable constructor must be a list, tuple, or set. Got {collections} of "
            f"type {type(collections)}"
        )
    if constraint is not None and not callable(constraint):
        raise ValueError("The `constraint` argument must be a callable.")
    collections = list(collections)
    if trainable and GraphKeys.TRAINABLE_VARIABLES not in collections:
        collections.append(GraphKeys.TRAINABLE_VARIABLES)
    return collections


_CLASSES["ref"] = RefVariable


def _to_tensor(value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> Any:
    if dtype is not None and not as_dtype(dtype).is_compatible_with(value.dtype):
        raise ValueError(
            f"Incompatible type conversion requested to type '{as_dtype(dtype).name}' for variable of type "
            f"'{value.dtype.name}'"
        )
    return value._ref() if as_ref else value.value()


convert.register_tensor_conversion_function(Variable, _to_tensor, 0)


def _overload(operator: str) -> None:
    tensor_operator = operator

    def call(self: Any, *args: Any) -> Any:
        return getattr(Tensor, tensor_operator)(self.value(), *args)

    call.__name__ = operator
    setattr(Variable, operator, call)


for _operator in Tensor.OVERLOADABLE_OPERATORS - {"__getitem__"}:
    _overload(_operator)


def is_variable(value: Any) -> bool:
    """Whether `value` is a Variable."""
    return isinstance(value, Variable)
