"""The dataflow graph: nodes, their names, and how they are found (TensorFlow: `tf.Graph`).

This file knows no wire format: GraphDef lives in `serde.py` and `importer.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from flowmesh.graph import default_stack, inference, serde
from flowmesh.graph.function import Function
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.scopes import _VALID_OP_NAME, ScopedGraph
from flowmesh.graph.tensor import Tensor


class Graph(ScopedGraph):
    """A dataflow graph: operations in creation order, collections, scopes.

    Building is thread-safe (each thread has its own scope stacks); a finalized graph refuses changes with RuntimeError.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self._operations: list[Operation] = []
        self._by_name: dict[str, Operation] = {}
        self._version = 0
        self._finalized = False
        self._seed: int | None = None
        self._collections: dict[str, list[Any]] = {}
        self._unfeedable: set[Any] = set()
        self._unfetchable: set[Any] = set()
        self._building_function = False
        self._last_id = 0
        self.functions: dict[str, Function] = {}
        """The library: the functions that `func` attrs name."""
        self.foreign = False
        """Whether another process sent it."""
        self.producer = 0
        """The release (`tf.GraphDef.versions.producer`) that it was made with, if it came from elsewhere."""

    # -- building ------------------------------------------------------------------------------------

    def create_operation(
        self,
        definition: OpDef,
        inputs: Sequence[Tensor],
        name: str | None = None,
        control_inputs: Iterable[Operation] = (),
        device: str | None = None,
        output_shapes: Sequence[Any] | None = None,
    ) -> Operation:
        """Adds a node: the only way one is made.

        `name` is made unique in the current scope, unless it ends in "/": then it is taken as it is. The scopes of this thread
        (device, control dependencies, colocation, container) apply. `output_shapes` replaces shape inference.
        Raises ValueError for a bad name, an input of another graph, or shapes that do not fit.
        """
        self._check_not_finalized()
        name = name or definition.op_type
        for tensor in inputs:
            if tensor.graph is not self:
                raise ValueError(f"{tensor} must be from the same graph as {name}.")
        exact = name.endswith("/")
        full_name = name[:-1] if exact else self.unique_name(name)
        # Masters make nodes such as "_recv_x_0", programs may not.
        if not _VALID_OP_NAME.match(full_name[1:] if exact and full_name[:1] == "_" else full_name):
            raise ValueError(f"'{full_name}' is not a valid node name")
        controls = list(control_inputs)
        if self._state.controllers:
            input_ops = {t.op for t in inputs}
            for op in self._control_dependencies_for_inputs(input_ops):
                if op not in controls:
                    controls.append(op)
        context = self._state.control_flow_context
        if context is not None:
            inputs, controls, context = context.admit(definition, list(inputs), controls)
        shapes = (
            output_shapes
            if output_shapes is not None
            else inference.infer_shapes(definition, full_name, inputs)
        )
        with self.lock:
            self._last_id += 1
            op = Operation(self, definition, full_name, inputs, controls, shapes, self._last_id)
            op._control_flow_context = context
            if device is not None:
                op.device = device
            self._finish_operation(op)
            if full_name in self._by_name:
                raise ValueError(f"Duplicate node name in graph: '{full_name}'")
            self._names_in_use.setdefault(full_name.lower(), 1)
            self._by_name[full_name] = op
            self._operations.append(op)
            self._version = self._last_id
        if self._state.controllers:
            self._record_op_seen(op)
        if context is not None:
            context.op_added(op)
        return op

    def _discard(self, ops: Collection[Operation]) -> None:
        """Forgets operations that no other one uses; only for graphs that no program sees."""
        with self.lock:
            self._operations = [op for op in self._operations if op not in ops]
            for op in ops:
                del self._by_name[op.name]
            self._version += 1

    def _check_not_finalized(self) -> None:
        if self._finalized:
            raise RuntimeError("Graph is finalized and cannot be modified.")

    def _bump_version(self) -> None:
        self._version += 1

    def finalize(self) -> None:
        """Makes the graph read-only."""
        self._finalized = True

    def _unsafe_unfinalize(self) -> None:
        self._finalized = False

    @property
    def finalized(self) -> bool:
        """Whether the graph is read-only."""
        return self._finalized

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    @property
    def building_function(self) -> bool:
        """Whether this is the body of a function that is being traced."""
        return self._building_function

    @property
    def seed(self) -> int | None:
        """The graph-level random seed."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = seed

    def add_function(self, function: Function) -> None:
        """Puts a `Function` into the library, with those that its body has in its own.

        Raises ValueError when there is another function of that name.
        """
        with self.lock:
            known = self.functions.setdefault(function.name, function)
            if known is not function and known.message is None and function.message is None:
                raise ValueError(
                    f"Cannot add function '{function.name}' because a different function with the same name already exists."
                )
        if function.message is None:
            for inner in function.body.graph.functions.values():
                if inner is not function and inner.name not in self.functions:
                    self.add_function(inner)

    # -- finding ---------------------------------------------------------------------------------------

    def get_operations(self) -> list[Operation]:
        """All operations in creation order."""
        return list(self._operations)

    def operations_since(self, op_id: int) -> list[Operation]:
        """The operations created after the one with this id."""
        with self.lock:
            ops = self._operations
            if not ops or ops[-1].id <= op_id:
                return []
            low = len(ops)
            while low > 0 and ops[low - 1].id > op_id:
                low -= 1
            return ops[low:]

    @property
    def last_id(self) -> int:
        """The id of the newest operation, 0 in an empty graph."""
        return self._last_id

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation called `name`; raises KeyError when there is none, TypeError for a non-string."""
        if not isinstance(name, str):
            raise TypeError(f"Operation names are strings (or similar), not {type(name).__name__}.")
        return self.as_graph_element(name, allow_tensor=False, allow_operation=True)

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor called `name` ("op:0"); raises KeyError when there is none."""
        if not isinstance(name, str):
            raise TypeError(f"Tensor names are strings (or similar), not {type(name).__name__}.")
        return self.as_graph_element(name, allow_tensor=True, allow_operation=False)

    def _get_operation_by_name_unsafe(self, name: str) -> Operation:
        return self._by_name[name]

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Any:
        """The Tensor or Operation that `obj` (name, tensor, operation, variable ...) stands for in this graph.

        Raises TypeError (no graph element), ValueError (another graph, malformed name), KeyError (no such name).
        """
        if not allow_tensor and not allow_operation:
            raise ValueError("allow_tensor and allow_operation can't both be False.")
        if hasattr(obj, "_as_graph_element"):
            obj = obj._as_graph_element()
        if isinstance(obj, bytes):
            obj = obj.decode()
        if isinstance(obj, str):
            return self._element_by_name(obj, allow_tensor, allow_operation)
        if isinstance(obj, Tensor) and allow_tensor:
            if obj.graph is not self:
                raise ValueError(f"Tensor {obj} is not an element of this graph.")
            return obj
        if isinstance(obj, Operation) and allow_operation:
            if obj.graph is not self:
                raise ValueError(f"Operation {obj} is not an element of this graph.")
            return obj
        kinds = " or ".join(
            k for k, ok in (("Tensor", allow_tensor), ("Operation", allow_operation)) if ok
        )
        raise TypeError(f"Can not convert a {type(obj).__name__} into a {kinds}.")

    def _element_by_name(self, name: str, allow_tensor: bool, allow_operation: bool) -> Any:
        op_name, colon, index_text = name.partition(":")
        if colon and allow_tensor:
            if not index_text.isdigit():
                raise ValueError(
                    f"The name {name!r} looks a like a Tensor name, but is not a valid one. Tensor names must "
                    'be of the form "<op_name>:<output_index>".'
                )
            op = self._by_name.get(op_name)
            if op is None:
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, "
                    f"{op_name!r}, does not exist in the graph."
                )
            if int(index_text) >= len(op.outputs):
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, "
                    f"{op_name!r}, exists but only has {len(op.outputs)} outputs."
                )
            return op.outputs[int(index_text)]
        if colon:
            raise ValueError(f"Name {name!r} appears to refer to a Tensor, not a Operation.")
        if not allow_operation:
            what = (
                "refers to an Operation"
                if name in self._by_name
                else "looks like an (invalid) Operation name"
            )
            raise ValueError(
                f"The name {name!r} {what}, not a Tensor. Tensor names must be of the form "
                '"<op_name>:<output_index>".'
            )
        op = self._by_name.get(name)
        if op is None:
            raise KeyError(f"The name {name!r} refers to an Operation not in the graph.")
        return op

    def prevent_feeding(self, tensor: Tensor) -> None:
        """Makes `tensor` unfeedable."""
        self._unfeedable.add(tensor)

    def is_feedable(self, tensor: Tensor) -> bool:
        """Whether the tensor may be fed."""
        return tensor not in self._unfeedable

    def prevent_fetching(self, op: Operation) -> None:
        """Makes `op` unfetchable."""
        self._unfetchable.add(op)

    def is_fetchable(self, element: Any) -> bool:
        """Whether the tensor or op may be fetched."""
        op = element.op if isinstance(element, Tensor) else element
        return op not in self._unfetchable

    # -- collections -----------------------------------------------------------------------------------

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends `value` to the collection `name`."""
        self._check_not_finalized()
        with self.lock:
            self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Appends `value` to each of the collections (a name or names)."""
        names = (names,) if isinstance(names, str) else dict.fromkeys(names)
        for name in names:
            self.add_to_collection(name, value)

    def get_collection_ref(self, name: str) -> list[Any]:
        """The collection itself; changes to the list change the graph."""
        with self.lock:
            return self._collections.setdefault(name, [])

    def get_collection(self, name: str, scope: str | None = None) -> list[Any]:
        """A copy of the collection; with `scope`, the items whose `.name` matches that pattern at the start."""
        import re

        with self.lock:
            items = list(self._collections.get(name, ()))
        if scope is None:
            return items
        pattern = re.compile(scope)
        return [i for i in items if hasattr(i, "name") and pattern.match(i.name)]

    def get_all_collection_keys(self) -> list[str]:
        """The names of all non-empty collections."""
        with self.lock:
            return [k for k in self._collections if isinstance(k, str) and self._collections[k]]

    @property
    def collections(self) -> list[str]:
        """The names of the collections."""
        return list(self._collections)

    def clear_collection(self, name: str) -> None:
        """Empties the collection."""
        self._check_not_finalized()
        with self.lock:
            self._collections.pop(name, None)

    @contextmanager
    def _original_op(self, op: Operation) -> Iterator[None]:
        yield

    # -- defaults and protobuf -------------------------------------------------------------------------

    def as_default(self) -> AbstractContextManager[Graph]:
        """Makes this graph the default of this thread inside the `with`."""
        return default_stack.graphs.controller(self)

    def as_graph_def(self, from_version: int | None = None, add_shapes: bool = False) -> Any:
        """The GraphDef message of the graph, or of what was added after `from_version`."""
        return serde.to_graph_def(self, from_version, add_shapes)

    @property
    def graph_def_versions(self) -> Any:
        """The VersionDef message that `as_graph_def` writes."""
        return serde.versions()

    def node_def_of(self, op: Operation) -> Any:
        """The NodeDef message of `op`."""
        return serde.to_node_def(op)

    def attr_message(self, value: Any, dtype: Any = None) -> Any:
        """The TensorShapeProto or TensorProto of an attr value."""
        return serde.value_to_proto(value, dtype)

    def op_def_of(self, op: Operation) -> Any:
        """The OpDef message of `op`'s type."""
        return serde.to_op_def(type(op.definition))  # type: ignore[arg-type]


_global_default: Graph | None = None
_global_lock = threading.Lock()


def get_default_graph() -> Graph:
    """The innermost `with graph.as_default()` graph of this thread, else the process-wide one."""
    graph = default_stack.graphs.get()
    if graph is not None:
        return graph
    global _global_default
    with _global_lock:
        if _global_default is None:
            _global_default = Graph()
        return _global_default


def reset_default_graph() -> None:
    """Replaces the process-wide default graph by an empty one; AssertionError inside a `with graph.as_default()`."""
    global _global_default
    if default_stack.graphs.stack:
        raise AssertionError(
            "Do not use tf.reset_default_graph() to clear nested graphs. If you need a cleared graph, exit the nesting and create a new graph."
        )
    with _global_lock:
        _global_default = None
