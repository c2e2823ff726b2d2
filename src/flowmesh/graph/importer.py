"""GraphDef into a graph: `import_graph_def` (TensorFlow: `tf.import_graph_def`)."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from typing import Any

from flowmesh.core import errors
from flowmesh.core.device_spec import canonical_name
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import serde
from flowmesh.graph.function_import import add_library
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.newer_attrs import strip_defaults
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_BACK_EDGES = frozenset({"NextIteration", "RefNextIteration"})
_MERGES = frozenset({"Merge", "RefMerge"})
_NODE_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*$")
# Masters make nodes such as "_recv_x_0".
_INTERNAL_NAME = re.compile(r"^[A-Za-z0-9._][A-Za-z0-9_.\\/>-]*$")


def import_graph_def(
    graph_def: Any,
    input_map: Mapping[Any, Any] | None = None,
    return_elements: Any = None,
    name: str | None = None,
    op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:
    """Adds the nodes of `graph_def` to the default graph under the scope `name` ("import" unless given).

    `input_map` maps tensor names of the GraphDef to tensors of the graph; returns the Operations or Tensors named in
    `return_elements`. With the producer's ops (an OpList message) in `producer_op_list`, attrs that are new to this release are
    dropped where they have their defaults. Raises TypeError or ValueError for arguments and graphs that do not fit.
    """
    if not hasattr(graph_def, "node") or not hasattr(graph_def, "SerializeToString"):
        raise TypeError("graph_def must be a GraphDef proto.")
    if input_map is not None and not (
        isinstance(input_map, Mapping) and all(isinstance(k, (str, bytes)) for k in input_map)
    ):
        raise TypeError("input_map must be a dictionary mapping strings to Tensor objects.")
    if return_elements is not None:
        return_elements = tuple(return_elements)
        if not all(isinstance(e, (str, bytes)) for e in return_elements):
            raise TypeError("return_elements must be a list of strings.")
    input_map = dict(input_map or {})
    if producer_op_list is not None:
        graph_def = strip_defaults(graph_def, producer_op_list.op)
    graph = get_default_graph()
    prefix = "" if name == "" else (name or "import")
    add_library(graph, graph_def.library, load_graph_def)
    try:
        if not prefix:
            return _Import(graph, graph_def, input_map, "", graph.get_name_scope()).run(
                return_elements
            )
        with graph.name_scope(prefix) as scope:
            return _Import(graph, graph_def, input_map, prefix, scope.rstrip("/")).run(
                return_elements
            )
    except errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error


def load_graph_def(graph: Graph, graph_def: Any) -> None:
    """Adds the nodes of a GraphDef to `graph` under their own names, as a master or worker receives them.

    Raises InvalidArgumentError or NotFoundError.
    """
    add_library(graph, graph_def.library, load_graph_def)
    with graph.as_default():
        _Import(graph, graph_def, {}, "", "", apply_scopes=False).run(None)


class _Import:
    """One import: nodes are added in topological order, whatever their order in the message."""

    def __init__(
        self,
        graph: Graph,
        graph_def: Any,
        input_map: dict[Any, Any],
        prefix: str,
        scope: str,
        apply_scopes: bool = True,
    ) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph_def.node}
        allowed = _NODE_NAME if apply_scopes else _INTERNAL_NAME
        for name in self.nodes:
            if not allowed.match(name):
                raise errors.InvalidArgumentError(
                    None, None, f"Node '{name}': Node name contains invalid characters"
                )
        if len(self.nodes) != len(graph_def.node):
            seen: set[str] = set()
            double = next(n.name for n in graph_def.node if n.name in seen or seen.add(n.name))  # type: ignore[func-returns-value]
            raise errors.InvalidArgumentError(None, None, f"Node '{double}' is not unique")
        if (
            graph_def.HasField("versions")
            and graph_def.versions.min_consumer > serde.PRODUCER_VERSION
        ):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"GraphDef min consumer version {graph_def.versions.min_consumer} above current version "
                f"{serde.PRODUCER_VERSION} for TensorFlow 1.15.  Please upgrade Flowmesh.",
            )
        self.input_map = {
            (k.decode() if isinstance(k, bytes) else k): v for k, v in input_map.items()
        }
        self.used_keys: set[str] = set()
        self.scope = scope
        self.prefix = prefix
        self.apply_scopes = apply_scopes
        self.made: dict[str, Operation] = {}
        self.open: list[tuple[Operation, int, str]] = []
        """Merges of loops, and the inputs of them that are still to be made."""

    def run(self, return_elements: Any) -> list[Any] | None:
        """Adds all nodes and looks up the wanted elements."""
        for node_name in self._order():
            self._add(self.nodes[node_name])
        for op, index, text in self.open:
            op._update_input(index, self._input(op, text))
        unused = [k for k in self.input_map if k not in self.used_keys]
        missing = sorted(k if ":" in k else f"{k}:0" for k in unused if not self._has(k))
        if missing:
            raise ValueError(
                f"Attempted to map inputs that were not found in graph_def: [{', '.join(missing)}]"
            )
        if return_elements is None:
            return None
        return [self._element(e) for e in return_elements]

    def _has(self, key: str) -> bool:
        source, index = _parse(key)
        return source in self.made and index < len(self.made[source].outputs)

    def _order(self) -> list[str]:
        waiting: dict[str, int] = {}
        users: dict[str, list[str]] = {}
        existing = self.graph._by_name
        for name, node in self.nodes.items():
            count = 0
            for text in node.input:
                source, _ = _parse(text)
                if self._is_back_edge(node, source):
                    continue
                if source in self.nodes:
                    users.setdefault(source, []).append(name)
                    count += 1
                elif not self._is_mapped(text) and not (not self.prefix and source in existing):
                    raise errors.InvalidArgumentError(
                        None, None, f"Node '{name}': Unknown input node '{text}'"
                    )
            waiting[name] = count
        names = list(self.nodes)
        position = {name: i for i, name in enumerate(names)}
        ready = [i for i, name in enumerate(names) if waiting[name] == 0]
        order: list[str] = []
        while ready:  # of the nodes whose inputs are there, the first in the message
            name = names[heapq.heappop(ready)]
            order.append(name)
            for user in users.get(name, ()):
                waiting[user] -= 1
                if waiting[user] == 0:
                    heapq.heappush(ready, position[user])
        if len(order) != len(self.nodes):
            cycle = sorted(set(self.nodes) - set(order))
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Graph is invalid, contains a cycle: {len(cycle)} nodes in a cycle, among them {', '.join(cycle[:5])}",
            )
        return order

    def _is_back_edge(self, node: Any, source: str) -> bool:
        """Whether an input of a node comes from the iteration before: loops close so."""
        before = self.nodes.get(source)
        return node.op in _MERGES and before is not None and before.op in _BACK_EDGES

    def _is_mapped(self, text: str) -> bool:
        source, index = _parse(text)
        if index < 0:
            return text in self.input_map
        return f"{source}:{index}" in self.input_map or (index == 0 and source in self.input_map)

    def _input(self, node: Any, text: str) -> Tensor:
        source, index = _parse(text)
        for key in (f"{source}:{index}", source) if index == 0 else (f"{source}:{index}",):
            if key in self.input_map:
                self.used_keys.add(key)
                mapped = self.input_map[key]
                if hasattr(mapped, "_as_graph_element"):
                    mapped = mapped._as_graph_element()
                if not isinstance(mapped, Tensor):
                    return self.graph.as_graph_element(mapped, allow_operation=False)
                return mapped
        op = self.made.get(source) or self.graph._by_name[source]
        if index >= len(op.outputs):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Node '{node.name}': Connecting to invalid output {index} of source node {source} which has "
                f"{len(op.outputs)} outputs.",
            )
        return op.outputs[index]

    def _add(self, node: Any) -> None:
        full = f"{self.scope}/{node.name}" if self.scope else node.name
        definition, extra = serde.definition_from_node(node, full)
        inputs: list[Tensor] = []
        controls: list[Operation] = []
        later: list[tuple[int, str]] = []
        for text in node.input:
            source, index = _parse(text)
            if index >= 0:
                if controls:
                    raise errors.InvalidArgumentError(
                        None,
                        None,
                        f"Node '{node.name}': Control dependencies must come after regular dependencies",
                    )
                if self._is_back_edge(node, source) and inputs:
                    later.append((len(inputs), text))
                    inputs.append(inputs[0])
                else:
                    inputs.append(self._input(node, text))
            elif text in self.input_map:
                self.used_keys.add(text)
                mapped = self.input_map[text]
                controls.append(mapped if isinstance(mapped, Operation) else mapped.op)
            else:
                controls.append(self.made.get(source) or self.graph._by_name[source])
        self._check_types(full, node.op, definition, inputs)
        if (
            self.apply_scopes
        ):  # TensorFlow drops none of the scope's, whatever a node's inputs imply
            for controller in self.graph._state.controllers:
                controls.extend(op for op in controller.control_inputs if op not in controls)
        op = self._create(node, definition, inputs, controls, full)
        if "_output_shapes" in extra:
            for tensor, shape in zip(op.outputs, extra.pop("_output_shapes")):
                tensor.set_shape(shape)
        if self.scope and "_class" in extra:
            extra["_class"] = tuple(
                b"loc:@" + f"{self.scope}/".encode() + c[5:] if c.startswith(b"loc:@") else c
                for c in extra["_class"]
            )
        op.extra_attrs.update(extra)
        self.made[node.name] = op
        self.open += [(op, index, text) for index, text in later]

    def _create(
        self, node: Any, definition: Any, inputs: list[Tensor], controls: list[Operation], full: str
    ) -> Operation:
        shapes: list[TensorShape] | None = None
        if node.op in _MERGES and any(
            self._is_back_edge(node, _parse(text)[0]) for text in node.input
        ):
            shapes = [unknown_shape(), TensorShape([])]  # the other iterations are not known yet
        try:
            op = self.graph.create_operation(
                definition, inputs, full + "/", controls, device=_device(node), output_shapes=shapes
            )
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise errors.InvalidArgumentError(None, None, str(error)) from error
        return op

    def _check_types(self, name: str, op_type: str, definition: Any, inputs: list[Tensor]) -> None:
        expected = definition.input_dtypes()
        if len(inputs) != len(expected):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"NodeDef expected inputs '{', '.join(map(_type_name, expected))}' do not match {len(inputs)} inputs "
                f"specified; Op<name={op_type}>; NodeDef: {{{{node {name}}}}}",
            )
        for i, (tensor, dtype) in enumerate(zip(inputs, expected)):
            fits = tensor.dtype.base_dtype == dtype.base_dtype and (
                not dtype._is_ref_dtype or tensor.dtype._is_ref_dtype
            )
            if not fits:
                raise errors.InvalidArgumentError(
                    None,
                    None,
                    f"Input {i} of node {name} was passed {_type_name(tensor.dtype)} from {tensor.name} "
                    f"incompatible with expected {_type_name(dtype)}.",
                )

    def _element(self, element: Any) -> Any:
        text = element.decode() if isinstance(element, bytes) else element
        source, colon, index = text.partition(":")
        if colon and not index.isdigit():
            raise ValueError(f"Cannot convert {text!r} to a tensor name.")
        op = self.made.get(source)
        if op is None:
            raise ValueError(f"Requested return node '{source}' not found in graph def")
        if not colon:
            return op
        if int(index) >= len(op.outputs):
            raise ValueError(
                f"Invalid return output {index} of node '{source}', which has {len(op.outputs)} output(s)"
            )
        mapped = self.input_map.get(text, self.input_map.get(source) if index == "0" else None)
        return op.outputs[int(index)] if mapped is None else mapped


_TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def _type_name(dtype: Any) -> str:
    """The name of a dtype as TensorFlow's runtime spells it."""
    name = dtype.base_dtype.name
    return _TYPE_NAMES.get(name, name) + ("_ref" if dtype._is_ref_dtype else "")


def _device(node: Any) -> str:
    try:
        return canonical_name(node.device)
    except ValueError as error:
        raise errors.InvalidArgumentError(
            None, None, f"NodeDef '{node.name}': malformed device '{node.device}': {error}"
        ) from error


def _parse(text: str) -> tuple[str, int]:
    """Node name and output index of a NodeDef input; -1 for a control input."""
    if text.startswith("^"):
        return text[1:], -1
    name, colon, index = text.rpartition(":")
    if not colon:
        return text, 0
    if not index.isdigit():
        raise errors.InvalidArgumentError(None, None, f"'{text}' is no valid node input")
    return name, int(index)
