"""Functions: graphs with arguments and results, kept by name in a graph's library (TensorFlow: FunctionDef, FuncGraph, Defun).

A `func` attr names a function (`FunctionRef`); the node that has it gets what the function takes from outside as inputs. `trace` makes a
function of Python code: tensors of the graph around it become further arguments (`Function.captured`), or are copied into the body with
their ancestors (`capture_by_value`). A function that came with a GraphDef builds its body when it is first needed.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.graph import constant_value, registry
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.function import Argument, Body, Function
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

NO_CALL_SHAPES = {"_disable_call_shape_inference": True}
"""The attrs of functions made by `Defun`."""
_SHARED_COLLECTIONS = frozenset(
    {GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES}
)
_FREE_ORDER = frozenset(
    [
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "ParameterizedTruncatedNormal",
        "TruncatedNormal",
        "RandomShuffle",
        "Multinomial",
        "RandomGamma",
        "RandomGammaGrad",
        "RandomPoisson",
        "RandomPoissonV2",
    ]
)
"""Stateful ops whose order does not matter."""
_numbers = itertools.count(1)


def unique_function_name(base: str) -> str:
    """The name under which TensorFlow puts a function traced for a library into a graph."""
    return f"__inference_{base}_{next(_numbers)}"


# -- tracing ------------------------------------------------------------------------------------------------


class FunctionGraph(Graph):
    """The graph of a function while it is traced: tensors from outside become placeholders when an op takes them."""

    def __init__(self, name: str, by_value: bool = False, copied: Collection[Operation] = ()):
        """With `by_value`, ops from outside are copied instead; stateful ones only if they are among `copied`."""
        super().__init__()
        self.name = name
        self.outer_graph = get_default_graph()
        self.captures: dict[Tensor, Tensor] = {}
        """Tensors outside, and what stands for them here."""
        self.arguments: list[Tensor] = []
        """The placeholders of declared and captured arguments, in order."""
        self._by_value = by_value
        self._copied = frozenset(copied)
        self._building_function = True
        self._seed = self.outer_graph.seed

    def create_operation(
        self,
        definition: OpDef,
        inputs: Sequence[Tensor],
        name: str | None = None,
        control_inputs: Iterable[Operation] = (),
        device: str | None = None,
        output_shapes: Sequence[Any] | None = None,
    ) -> Operation:
        """As in any graph; inputs of other graphs are captured, control inputs of other graphs left out."""
        own = [t if t.graph is self else self.capture(t) for t in inputs]
        controls = [op for op in control_inputs if op.graph is self]
        return super().create_operation(definition, own, name, controls, device, output_shapes)

    def capture(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """What stands in this graph for a tensor of a graph around it."""
        if tensor.graph is self:
            return tensor
        found = self.captures.get(tensor)
        if found is not None:
            return found
        if self._by_value:
            return self._copy(tensor.op).outputs[tensor.value_index]
        made = self.placeholder(tensor.dtype.base_dtype, tensor.shape, name or tensor.op.name)
        if tensor.dtype.base_dtype == dtypes.resource:
            constant_value.set_handle_shape(made, constant_value.handle_shape(tensor))
        self.captures[tensor] = made
        self.arguments.append(made)
        return made

    def placeholder(self, dtype: DType, shape: TensorShape, name: str) -> Tensor:
        """An argument's place."""
        definition = registry.lookup("Placeholder")({"dtype": dtype, "shape": shape})
        with self.control_dependencies(None):
            return super().create_operation(definition, [], name).outputs[0]

    def _copy(self, op: Operation) -> Operation:
        if op.definition.stateful and op not in self._copied:
            raise ValueError(
                f"Cannot capture a stateful node (name:{op.name}, type:{op.type}) by value."
            )
        if op.type in ("Placeholder", "PlaceholderV2"):
            raise ValueError(
                f"Cannot capture a placeholder (name:{op.name}, type:{op.type}) by value."
            )
        inputs = [self.capture(t) for t in op.inputs]
        copy = self.create_operation(op.definition, inputs, op.name)
        copy.extra_attrs = {k: v for k, v in op.extra_attrs.items() if k != "_class"}
        for before, after in zip(op.outputs, copy.outputs):
            self.captures[before] = after
        return copy

    def control_dependencies(self, control_inputs: Any) -> Any:
        """As in any graph; what is of other graphs is left out."""
        if control_inputs is not None:
            control_inputs = [c for c in control_inputs if _graph_of(c) in (self, None)]
        return super().control_dependencies(control_inputs)

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Any:
        """As in any graph; a tensor of a graph around is captured."""
        element = obj._as_graph_element() if hasattr(obj, "_as_graph_element") else obj
        if isinstance(element, Tensor) and allow_tensor and element.graph is not self:
            return self.capture(element)
        return super().as_graph_element(element, allow_tensor, allow_operation)

    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Any:
        """As in any graph; what is of other graphs says nothing about places here."""
        if op is not None and _graph_of(op) not in (self, None):
            op, ignore_existing = None, True
        return super().colocate_with(op, ignore_existing)

    def get_collection_ref(self, name: str) -> list[Any]:
        """The collection; those of variables are the outer graph's own."""
        if name in _SHARED_COLLECTIONS:
            return self.outer_graph.get_collection_ref(name)
        return super().get_collection_ref(name)

    def get_collection(self, name: str, scope: str | None = None) -> list[Any]:
        """A copy of the collection of this graph, or of the outer graph's where this has none."""
        if name in _SHARED_COLLECTIONS or name not in self._collections:
            return self.outer_graph.get_collection(name, scope)
        return super().get_collection(name, scope)

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends `value`; to the outer graph's collections of variables."""
        if name in _SHARED_COLLECTIONS:
            self.outer_graph.add_to_collection(name, value)
        else:
            super().add_to_collection(name, value)


def _graph_of(item: Any) -> Any:
    if hasattr(item, "_as_graph_element"):
        item = item._as_graph_element()
    return getattr(item, "graph", None)


def trace(
    function: Callable[..., Any],
    name: str,
    dtypes_in: Sequence[Any],
    shapes_in: Sequence[Any] | None = None,
    names_in: Sequence[str] | None = None,
    *,
    wrap_outputs: bool = True,
    capture_by_value: bool = False,
    copied: Collection[Operation] = (),
    description: str = "",
    attrs: dict[str, Any] | None = None,
) -> Function:
    """The function that Python code builds: `function` is called with one placeholder for each of `dtypes_in`.

    Args:
      function: returns a list of tensors, or values that can be converted to tensors.
      name: of the function; with a "*" at its end, a hash of the body is put there.
      shapes_in, names_in: of the arguments (default: unknown, "args_0", "args_1" ...).
      wrap_outputs: whether results pass through an Identity of their own, as functions of `tf.function` have it.
      capture_by_value: copies ops from outside into the body instead of making arguments of them; `copied` may be stateful.

    The function is added to no graph. Raises what `function` raises; ValueError for an op that cannot be copied.
    """
    graph = FunctionGraph(name.rstrip("*"), capture_by_value, copied)
    with graph.as_default():
        for i, dtype in enumerate(dtypes_in):
            shape = unknown_shape() if shapes_in is None else as_shape(shapes_in[i])
            argument = f"args_{i}" if names_in is None else names_in[i]
            made = graph.placeholder(dtypes.as_dtype(dtype), shape, argument)
            made.op.extra_attrs["_user_specified_name"] = argument.encode()
            graph.arguments.append(made)
        results = [graph.capture(convert_to_tensor(r)) for r in function(*graph.arguments)]
        controls: tuple[Operation, ...] = ()
        if wrap_outputs:
            results = [_identity(graph, t) for t in results]
            controls = _order_effects(graph, results)
    return _finished(graph, name, results, controls, description, attrs)


def _identity(graph: Graph, tensor: Tensor) -> Tensor:
    definition = registry.lookup("Identity")({"T": tensor.dtype.base_dtype})
    with graph.control_dependencies(None):
        return graph.create_operation(definition, [tensor], "Identity").outputs[0]


def _order_effects(graph: FunctionGraph, results: Sequence[Tensor]) -> tuple[Operation, ...]:
    """Lets the ops with effects on one resource run in the order in which they were made, and the results wait for all of them."""
    effects: list[Operation] = []
    latest: dict[Tensor, Operation] = {}
    conditional = False
    for op in graph.get_operations():
        if conditional and op.type == "Merge" and op._control_flow_context is None:
            effects.append(op)  # runs with whichever branch has the effect
        if not op.definition.stateful or op.type in _FREE_ORDER:
            continue
        if op._control_flow_context is not None:
            conditional = True
            continue
        effects.append(op)
        for tensor in op.inputs:
            if tensor.dtype.base_dtype == dtypes.resource:
                if tensor in latest:
                    op._add_control_input(latest[tensor])
                latest[tensor] = op
    for tensor in results:
        tensor.op._add_control_inputs(effects)
    return tuple(effects)


def _finished(
    graph: FunctionGraph,
    name: str,
    results: Sequence[Tensor],
    controls: tuple[Operation, ...],
    description: str,
    attrs: dict[str, Any] | None,
) -> Function:
    used: set[str] = set()
    inputs = [
        Argument(
            unique_argument(t.op.name, used), t.dtype.base_dtype, tuple(t.op.extra_attrs.items())
        )
        for t in graph.arguments
    ]
    outputs = [Argument(unique_argument(t.op.name, used), t.dtype.base_dtype) for t in results]
    body = Body(graph, tuple(graph.arguments), tuple(results), controls)
    if name.endswith("*"):
        name = f"{name[:-1]}_{_content_hash(body)}"
    made = Function(
        name,
        inputs,
        outputs,
        lambda: body,
        captured=[outer for outer in graph.captures if graph.captures[outer] in graph.arguments],
        stateful=any(op.definition.stateful for op in graph.get_operations()),
        description=description,
        attrs=attrs,
    )
    graph.finalize()
    return made


def unique_argument(name: str, used: set[str]) -> str:
    """The name of an argument or result for a tensor of the op `name`: lower case letters, digits and underscores."""
    base = re.sub(r"[^a-z0-9]", "_", name.lower())
    base = re.sub(r"^[^a-z]+", "", base) or "unknown"
    candidate, number = base, 1
    while candidate in used:
        candidate, number = f"{base}_{number}", number + 1
    used.add(candidate)
    return candidate


def _content_hash(body: Body) -> str:
    """Equal for equal bodies: eleven letters and digits."""
    digest = hashlib.sha1()
    for op in body.graph.get_operations():
        parts = (op.name, op.type, [t.name for t in op.inputs], sorted(op.attrs.items(), key=str))
        digest.update(repr(parts).encode())
    digest.update(repr([t.name for t in body.outputs]).encode())
    number, letters = int.from_bytes(digest.digest()[:8]), ""
    while len(letters) < 11:
        number, index = divmod(number, 36)
        letters += "abcdefghijklmnopqrstuvwxyz0123456789"[index]
    return letters
