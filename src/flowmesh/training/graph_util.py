"""Functions of GraphDefs: cutting out a part, freezing variables (TensorFlow: `tf.graph_util`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flowmesh.formats.tensor import to_tensor_proto
from flowmesh.proto import graph_pb2

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")


def _node_name(text: str) -> str:
    """The node that a NodeDef input names."""
    return text[1:] if text.startswith("^") else text.partition(":")[0]


def _reachable(graph_def: Any, dest_nodes: Sequence[str]) -> set[str]:
    inputs = {node.name: [_node_name(t) for t in node.input] for node in graph_def.node}
    for name in dest_nodes:
        if name not in inputs:
            raise AssertionError(f"{name} is not in graph")
    reached: set[str] = set()
    waiting = list(dest_nodes)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting.extend(inputs.get(name, ()))
    return reached


def extract_sub_graph(graph_def: Any, dest_nodes: Sequence[str]) -> Any:
    """The GraphDef of the nodes that `dest_nodes` need (TensorFlow: `tf.graph_util.extract_sub_graph`).

    Raises TypeError for arguments of the wrong types, AssertionError for a name that is not in the graph.
    """
    if not isinstance(graph_def, graph_pb2.GraphDef):
        raise TypeError("graph_def must be a graph_pb2.GraphDef proto.")
    if isinstance(dest_nodes, str):
        raise TypeError("dest_nodes must be a list.")
    keep = _reachable(graph_def, dest_nodes)
    out = graph_pb2.GraphDef()
    out.node.extend(node for node in graph_def.node if node.name in keep)
    out.library.CopyFrom(graph_def.library)
    out.versions.CopyFrom(graph_def.versions)
    return out


def convert_variables_to_constants(
    sess: Any,
    input_graph_def: Any,
    output_node_names: Sequence[str],
    variable_names_whitelist: Iterable[str] | None = None,
    variable_names_blacklist: Iterable[str] | None = None,
) -> Any:
    """The part of a GraphDef that the outputs need, with variables replaced by constants of their values in `sess`
    (TensorFlow: `tf.graph_util.convert_variables_to_constants`).

    The white list names the variables to replace (all unless given), the black list those to leave.
    """
    part = extract_sub_graph(input_graph_def, output_node_names)
    kinds = {node.name: node for node in part.node}
    white = None if variable_names_whitelist is None else set(variable_names_whitelist)
    black = set(variable_names_blacklist or ())
    names = [
        node.name
        for node in part.node
        if node.op in _VARIABLES
        and (white is None or node.name in white)
        and node.name not in black
    ]
    fetches = [
        f"{name}/Read/ReadVariableOp:0" if kinds[name].op == "VarHandleOp" else f"{name}:0"
        for name in names
    ]
    values = dict(zip(names, sess.run(fetches) if fetches else []))
    out = graph_pb2.GraphDef()
    for node in part.node:
        copy = out.node.add()
        if node.name in values:
            copy.name, copy.op, copy.device = node.name, "Const", node.device
            copy.attr["dtype"].CopyFrom(node.attr["dtype"])
            copy.attr["value"].tensor.CopyFrom(to_tensor_proto(values[node.name]))
        elif node.op == "ReadVariableOp" and _source(node, kinds) in values:
            copy.name, copy.op, copy.device = node.name, "Identity", node.device
            copy.input.extend(node.input)
            copy.attr["T"].CopyFrom(node.attr["dtype"])
            if "_class" in node.attr:
                copy.attr["_class"].CopyFrom(node.attr["_class"])
        else:
            copy.CopyFrom(node)
            if node.op in ("Identity", "Enter", "Switch") and _source(node, kinds) in values:
                variable = kinds[_source(node, kinds)]
                if variable.op == "VarHandleOp":
                    copy.attr["T"].CopyFrom(variable.attr["dtype"])
    out.library.CopyFrom(input_graph_def.library)
    out.versions.CopyFrom(input_graph_def.versions)
    return out


def _source(node: Any, nodes: dict[str, Any]) -> str:
    """The variable whose handle a node passes on or reads, or the node's own name."""
    while node.op in ("ReadVariableOp", "Identity", "Enter", "Switch") and node.input:
        node = nodes[_node_name(node.input[0])]
    return str(node.name)


def remove_training_nodes(input_graph: Any, protected_nodes: Iterable[str] | None = None) -> Any:
    """The GraphDef without nodes that only training needs: CheckNumerics, and Identity nodes without control inputs
    (TensorFlow: `tf.graph_util.remove_training_nodes`).
    """
    protected = set(protected_nodes or ())
    nodes = {node.name: node for node in input_graph.node}
    used_as_control = {
        text[1:] for node in input_graph.node for text in node.input if text.startswith("^")
    }
    replaced: dict[str, str] = {}
    for node in input_graph.node:
        if node.name in protected or len(node.input) != 1 or node.input[0].startswith("^"):
            continue
        if node.op == "CheckNumerics" or (
            node.op == "Identity" and nodes[_node_name(node.input[0])].op not in ("Switch", "Merge")
        ):
            if node.name in used_as_control:
                continue
            replaced[node.name] = node.input[0]
    out = graph_pb2.GraphDef()
    for node in input_graph.node:
        if node.name in replaced:
            continue
        copy = out.node.add()
        copy.CopyFrom(node)
        for i, text in enumerate(node.input):
            while not text.startswith("^") and _node_name(text) in replaced:
                text = replaced[_node_name(text)]
            copy.input[i] = text
    out.library.CopyFrom(input_graph.library)
    out.versions.CopyFrom(input_graph.versions)
    return out


def tensor_shape_from_node_def_name(graph: Any, input_name: str) -> Any:
    """The static shape of the tensor that a NodeDef input names (TensorFlow: `graph_util.tensor_shape_from_node_def_name`)."""
    name = input_name if ":" in input_name else input_name + ":0"
    return graph.get_tensor_by_name(name).shape
