"""The ops at the edges of a part: `_HostSend`, `_HostRecv`, `_Arg`, `_Retval`, as TensorFlow's masters may write them."""

from __future__ import annotations

import pytest

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import serde
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import load_graph_def
from flowmesh.graph.raw import raw
from flowmesh.passes.op_traits import Kind, kind_of

ENDS = {
    "tensor_name": "edge_1_x",
    "send_device": "/job:ps/replica:0/task:0/device:CPU:0",
    "send_device_incarnation": 7,
    "recv_device": "/job:worker/replica:0/task:0/device:GPU:0",
}


def test_host_ends_are_sends_and_receives() -> None:
    with Graph().as_default():
        received = raw._HostRecv(name="recv", tensor_type=dtypes.int32, **ENDS)
        sent = raw._HostSend(received, name="send", **ENDS)
    assert received.dtype == dtypes.int32 and received.shape.ndims is None
    assert kind_of(received.op) is Kind.RECV
    assert kind_of(sent) is Kind.SEND


def test_arguments_and_results_of_functions_keep_their_index() -> None:
    with Graph().as_default():
        argument = raw._Arg(name="arg", T=dtypes.float32, index=2)
        result = raw._Retval(argument, index=1, name="ret")
    assert argument.op.get_attr("index") == 2 and result.get_attr("index") == 1
    assert argument.shape.key == TensorShape(None).key


@pytest.mark.parametrize("op_type", ["_HostSend", "_HostRecv", "_Arg", "_Retval"])
def test_the_node_survives_a_graph_def(op_type: str) -> None:
    with Graph().as_default() as graph:
        received = raw._HostRecv(name="recv", tensor_type=dtypes.float32, **ENDS)
        raw._HostSend(received, name="send", **ENDS)
        raw._Retval(raw._Arg(name="arg", T=dtypes.float32, index=0), index=0, name="ret")
    graph_def = serde.to_graph_def(graph)
    again = Graph()
    load_graph_def(again, graph_def)
    (node,) = [n for n in graph_def.node if n.op == op_type]
    assert serde.to_node_def(again.get_operation_by_name(node.name)) == node
