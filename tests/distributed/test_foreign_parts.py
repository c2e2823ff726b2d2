"""Parts of graphs that TensorFlow's masters send."""

from __future__ import annotations

from google.protobuf import text_format

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.distributed.transport.foreign import in_our_terms
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import load_graph_def
from flowmesh.passes.conditions import doubt_receives, find_conditions
from flowmesh.proto import graph_pb2

CPU = "/job:ps/replica:0/task:0/device:CPU:0"


def parse(text: str) -> graph_pb2.GraphDef:
    return text_format.Parse(text, graph_pb2.GraphDef())


def receive(op: str, name: str, terminated: bool = False) -> str:
    return f"""
        node {{ name: "{name}" op: "{op}" device: "{CPU}"
          attr {{ key: "tensor_type" value {{ type: DT_FLOAT }} }}
          attr {{ key: "tensor_name" value {{ s: "{name}" }} }}
          attr {{ key: "send_device" value {{ s: "{CPU}" }} }}
          attr {{ key: "recv_device" value {{ s: "{CPU}" }} }}
          attr {{ key: "send_device_incarnation" value {{ i: 1 }} }}
          attr {{ key: "client_terminated" value {{ b: {str(terminated).lower()} }} }} }}"""


def test_each_receive_may_be_dead_on_its_own() -> None:
    text = (
        receive("_Recv", "_recv_a_0")
        + receive("_HostRecv", "_recv_b_0")
        + receive("_Recv", "_recv_c_0", True)
    )
    text += """
        node { name: "x" op: "Neg" input: "_recv_a_0" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "y" op: "Neg" input: "_recv_b_0" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "z" op: "Neg" input: "_recv_c_0" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "_send_x_0" op: "_HostSend" input: "x"
          attr { key: "T" value { type: DT_FLOAT } } attr { key: "tensor_name" value { s: "x" } }
          attr { key: "send_device" value { s: "a" } } attr { key: "recv_device" value { s: "b" } }
          attr { key: "send_device_incarnation" value { i: 1 } } }"""
    graph = Graph()
    load_graph_def(graph, parse(text))
    doubt_receives(graph.get_operations())
    conditions = {op.name: c for op, c in find_conditions(graph.get_operations()).items()}
    assert conditions["x"] == conditions["_send_x_0"] != conditions["y"]
    assert conditions["y"] != conditions["z"] == frozenset()


def test_ends_of_functions_can_be_loaded() -> None:
    graph = Graph()
    text = """
        node { name: "a" op: "_Arg" attr { key: "T" value { type: DT_FLOAT } } attr { key: "index" value { i: 0 } } }
        node { name: "r" op: "_Retval" input: "a" attr { key: "T" value { type: DT_FLOAT } } attr { key: "index" value { i: 0 } } }"""
    load_graph_def(graph, parse(text))
    assert graph.get_operation_by_name("r").inputs[0].shape.ndims is None


def test_a_parallel_concat_in_pieces_is_joined() -> None:
    types = 'attr { key: "T" value { type: DT_FLOAT } }'
    text = f"""
        node {{ name: "a" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
        node {{ name: "b" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
        node {{ name: "start" op: "_ParallelConcatStart" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }}
          attr {{ key: "shape" value {{ shape {{ dim {{ size: 2 }} }} }} }} }}
        node {{ name: "one" op: "_ParallelConcatUpdate" input: "start" input: "b" input: "^w" {types} attr {{ key: "loc" value {{ i: 1 }} }} }}
        node {{ name: "zero" op: "_ParallelConcatUpdate" input: "start" input: "a" {types} attr {{ key: "loc" value {{ i: 0 }} }} }}
        node {{ name: "w" op: "NoOp" }}
        node {{ name: "v" op: "NoOp" }}
        node {{ name: "stack" op: "Identity" input: "start" input: "^one" input: "^v" input: "^zero" {types} }}
        node {{ name: "y" op: "Neg" input: "stack" {types} }}"""
    graph_def = parse(text)
    joined = {node.name: node for node in in_our_terms(graph_def).node}
    assert sorted(joined) == ["a", "b", "stack", "v", "w", "y"]
    assert joined["stack"].op == "ParallelConcat"
    assert list(joined["stack"].input) == ["a", "b", "^v", "^w"]
    graph = Graph()
    load_graph_def(graph, in_our_terms(graph_def))
    assert graph.get_tensor_by_name("y:0").shape.as_list() == [2]
    assert in_our_terms(parse("")) == parse("")
