"""FunctionDef messages as functions: the body becomes a graph when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core import errors
from flowmesh.core.dtypes import as_dtype
from flowmesh.graph import serde
from flowmesh.graph.function import Argument, Body, Function
from flowmesh.graph.graph import Graph
from flowmesh.proto import graph_pb2

Load = Callable[[Graph, Any], None]


def add_library(graph: Graph, library: Any, load: Load) -> None:
    """Puts the functions of a FunctionDefLibrary message into `graph`, but for those whose names it knows.

    `load(graph, graph_def)` adds the nodes of a GraphDef. Raises InvalidArgumentError for a signature that cannot be.
    """
    for message in library.function:
        if message.signature.name not in graph.functions:
            graph.add_function(_function(message, graph, load))


def _function(message: Any, graph: Graph, load: Load) -> Function:
    signature = message.signature
    kept = type(message)()
    kept.CopyFrom(message)
    return Function(
        signature.name,
        _arguments(signature.input_arg, signature.name),
        _arguments(signature.output_arg, signature.name),
        lambda: _body(kept, graph, load),
        stateful=signature.is_stateful,
        description=signature.description,
        message=kept,
    )


def _arguments(args: Any, function: str) -> list[Argument]:
    found = []
    for arg in args:
        if not arg.type or arg.number_attr or arg.type_list_attr:
            raise errors.UnimplementedError(
                None,
                None,
                f"Function {function}: argument {arg.name} has no dtype of its own. Functions with type attrs cannot run "
                "here: instantiate it for its dtypes first.",
            )
        found.append(Argument(arg.name, as_dtype(arg.type).base_dtype))
    return found


def _body(message: Any, outer: Graph, load: Load) -> Body:
    """The body; an OpError names the function."""
    name = message.signature.name
    graph = Graph()
    graph.functions = outer.functions
    graph.foreign = outer.foreign
    graph_def = graph_pb2.GraphDef()
    arguments = [arg.name for arg in message.signature.input_arg]
    for arg in message.signature.input_arg:
        node = graph_def.node.add(name=arg.name, op="Placeholder")
        node.attr["dtype"].type = arg.type
        node.attr["shape"].shape.unknown_rank = True
    try:
        outputs: dict[str, dict[str, int]] = {argument: {"": 0} for argument in arguments}
        for source in message.node_def:
            definition, _ = serde.definition_from_node(source)
            starts, count = {}, 0
            for out in definition.output_args:
                starts[out.name] = count
                count += len(definition.arg_dtypes(out))
            outputs[source.name] = starts
        for source in message.node_def:
            node = graph_def.node.add()
            node.CopyFrom(source)
            node.input[:] = [_input(text, outputs, name) for text in source.input]
        load(graph, graph_def)
    except errors.OpError as error:
        raise errors.make(error.error_code, f"Function {name}: {error.message}") from error
    results = []
    for arg in message.signature.output_arg:
        text = _input(message.ret[arg.name], outputs, name)
        results.append(graph.get_tensor_by_name(text if ":" in text else text + ":0"))
    return Body(
        graph,
        tuple(graph.get_operation_by_name(n).outputs[0] for n in arguments),
        tuple(results),
        tuple(graph.get_operation_by_name(n) for n in message.control_ret.values()),
    )


def _input(text: str, outputs: dict[str, dict[str, int]], function: str) -> str:
    """`node:output:number` in the terms of a graph."""
    if text.startswith("^"):
        return text
    node, _, rest = text.partition(":")
    output, _, number = rest.partition(":")
    starts = outputs.get(node)
    if starts is None or (output not in starts and output) or (number and not number.isdigit()):
        raise errors.InvalidArgumentError(
            None, None, f"Function {function}: there is no value '{text}' in its body"
        )
    return f"{node}:{starts.get(output, 0) + int(number or 0)}"
