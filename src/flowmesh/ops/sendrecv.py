"""The ops that carry tensors between the parts of a graph, and in and out of a run.

They are inserted by `passes/partition.py` and carried out by the executor itself: none has a kernel.
"""

from __future__ import annotations

from typing import Any

from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr


class _Sender(OpDef, abstract=True):
    """What all sending ops share."""

    tensor = Input("T")
    T = type_attr()
    tensor_name = Attr("string")
    send_device = Attr("string")
    send_device_incarnation = Attr("int")
    recv_device = Attr("string")
    client_terminated = Attr("bool", False)
    stateful = True
    devices = ("CPU", "GPU")


class _Receiver(OpDef, abstract=True):
    """What all receiving ops share."""

    tensor = Output("tensor_type")
    tensor_type = type_attr()
    tensor_name = Attr("string")
    send_device = Attr("string")
    send_device_incarnation = Attr("int")
    recv_device = Attr("string")
    client_terminated = Attr("bool", False)
    stateful = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> TensorShape:
        return unknown_shape()


class _Send(_Sender):
    """Puts `tensor` into the rendezvous of the step for the op on `recv_device` that awaits `tensor_name`."""

    stateful = True


class _Recv(_Receiver):
    """The tensor that a `_Send` on `send_device` puts into the rendezvous of the step."""

    stateful = True


class _HostSend(_Sender):
    """A `_Send` whose input lies in host memory."""

    stateful = True


class _HostRecv(_Receiver):
    """A `_Recv` whose output lies in host memory."""

    stateful = True


class _Arg(OpDef):
    """Argument number `index` of a function body."""

    output = Output("T")
    T = type_attr()
    index = Attr("int", minimum=0)
    stateful = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any) -> TensorShape:
        return unknown_shape()


class _Retval(OpDef):
    """Result number `index` of a function body."""

    input = Input("T")
    T = type_attr()
    index = Attr("int", minimum=0)
    stateful = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, input: TensorShape) -> tuple[()]:
        return ()
