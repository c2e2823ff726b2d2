"""Partitioning: what crosses, how often, and under which names."""

from __future__ import annotations

import pytest

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes.partition import partition
from flowmesh.passes.place import place
from flowmesh.passes.prune import prune
from tests.passes.builders import const, devices, placeholder, variable

PS = "/job:ps/replica:0/task:0"
WORKER = "/job:worker/replica:0/task:0"
ALL = devices(f"{PS}/device:CPU:0", f"{WORKER}/device:CPU:0", f"{WORKER}/device:CPU:1")


def split(graph, fetches, targets=(), feeds=(), **options):
    ops = prune(graph, fetches, targets, feeds)
    placement = place(ops, ALL, default=WORKER)
    return partition(ops, placement, feeds, fetches, **options)


def of_type(part, op_type):
    return [op for op in part.get_operations() if op.type == op_type]


def test_a_part_for_each_task_with_full_devices_and_origins():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            v = variable("v")
            read = raw.Identity(v, name="read")
        y = raw.Neg(read, name="y")
    parts = split(graph, [y], incarnations={ALL[0].name: 17})
    assert sorted(parts) == [PS, WORKER]
    assert [op.name for op in parts[PS].get_operations()][:2] == ["v", "read"]
    assert {op.device for op in parts[PS].get_operations()} == {ALL[0].name}
    copy = parts[WORKER].get_operation_by_name("y")
    assert copy.defined_at == y.op.defined_at
    (send,), (recv,) = of_type(parts[PS], "_Send"), of_type(parts[WORKER], "_Recv")
    assert send.attrs["tensor_name"] == recv.attrs["tensor_name"]
    assert recv.attrs["send_device"] == ALL[0].name.encode()
    assert recv.attrs["recv_device"] == ALL[1].name.encode()
    assert send.attrs["send_device_incarnation"] == recv.attrs["send_device_incarnation"] == 17
    assert recv.outputs[0].shape.as_list() == []
    (fetch,) = of_type(parts[WORKER], "_Send")
    assert fetch.attrs["client_terminated"] is True
    assert fetch.attrs["tensor_name"] == b"y:0"


def test_a_tensor_crosses_once_for_each_part():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            x = raw.Neg(const([1.0, 2.0]), name="x")
        with graph.device("/cpu:0"):
            a = raw.Neg(x, name="a")
        with graph.device("/cpu:1"):
            b = raw.Neg(x, name="b")
    parts = split(graph, [a, b])
    assert len(of_type(parts[PS], "_Send")) == 1
    by_device = split(graph, [a, b], key=str)
    assert len(by_device) == 3
    assert len(of_type(by_device[ALL[0].name], "_Send")) == 2


def test_a_ref_crosses_as_its_value():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            v = variable("v", [2])
        y = raw.Neg(v, name="y")
    (recv,) = of_type(split(graph, [y])[WORKER], "_Recv")
    assert recv.outputs[0].dtype == dtypes.float32
    assert not recv.outputs[0].dtype._is_ref_dtype


def test_a_ref_is_sent_after_what_its_reader_comes_after():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            v = variable("v", [])
            add = raw.AssignAdd(v, const(1.0), name="add")
        before = raw.Neg(v, name="before")
        with graph.control_dependencies([add]):
            after = raw.Neg(v, name="after")
    ps = split(graph, [before, after])[PS]
    sends = {
        s.attrs["tensor_name"]: [c.name for c in s.control_inputs] for s in of_type(ps, "_Send")
    }
    assert sorted(sends.values()) == [[], [], ["add"]]  # the ref twice, and the control edge itself


def test_control_edges_cross_as_empty_constants():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            first = raw.NoOp(name="first")
        with graph.control_dependencies([first]):
            second = raw.NoOp(name="second")
            third = raw.NoOp(name="third")
        with graph.control_dependencies([second, third]):
            fourth = raw.NoOp(name="fourth")
    parts = split(graph, [], [fourth])
    (token,) = of_type(parts[PS], "Const")
    assert token.control_inputs[0].name == "first"
    assert token.attrs["value"].shape == (0,)
    (recv,) = of_type(parts[WORKER], "_Recv")
    assert parts[WORKER].get_operation_by_name("second").control_inputs == [recv]
    assert parts[WORKER].get_operation_by_name("third").control_inputs == [recv]


def test_the_end_of_a_group_is_the_end_of_the_step():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            far = raw.NoOp(name="far")
        near = raw.NoOp(name="near")
        with graph.control_dependencies([far, near]):
            group = raw.NoOp(name="group")
    parts = split(graph, [], [group])
    assert not of_type(parts[PS], "_Send")
    assert [c.name for c in parts[WORKER].get_operation_by_name("group").control_inputs] == ["near"]
    pieces = split(graph, [], [group], deferred=True)
    assert len(of_type(pieces[PS], "_Send")) == 1


def test_what_is_made_of_known_values_is_known_in_each_part():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            x = placeholder("x", [3, 4])
            size = raw.Cast(raw.Shape(x, out_type=dtypes.int64), DstT=dtypes.int32)
        with graph.device("/job:worker"):
            doubled = raw.AddV2(size, size, name="doubled")
    parts = split(graph, [doubled])
    (constant,) = of_type(parts[WORKER], "Const")
    assert constant.attrs["value"].tolist() == [3, 4]
    assert not of_type(parts[WORKER], "_Recv")


def test_feeds_come_in_wherever_they_are_used():
    with Graph().as_default() as graph:
        x = placeholder("x", [3])
        with graph.device("/job:ps"):
            a = raw.Neg(x, name="a")
        b = raw.Neg(x, name="b")
    parts = split(graph, [a, b], feeds=[x])
    for part in parts.values():
        (recv,) = of_type(part, "_Recv")
        assert recv.attrs["client_terminated"] is True
        assert recv.attrs["tensor_name"] == b"x:0"
        assert recv.outputs[0].shape.as_list() == [3]


def test_deferred_ends_are_marked():
    with Graph().as_default() as graph:
        x = placeholder("x")
        y = raw.Neg(x, name="y")
    part = split(graph, [y], feeds=[x], deferred=True)[WORKER]
    (recv,), (send,) = of_type(part, "_Recv"), of_type(part, "_Send")
    assert (recv.extra_attrs["_client"], send.extra_attrs["_client"]) == (b"feed", b"fetch")
    assert recv.attrs["client_terminated"] is False


def test_names_and_own_attrs_stay():
    with Graph().as_default() as graph, graph.name_scope("scope"):
        x = raw.Neg(const(1.0), name="x")
    x.op.extra_attrs["_class"] = (b"loc:@scope/x",)
    copy = split(graph, [x])[WORKER].get_operation_by_name("scope/x")
    assert copy.extra_attrs["_class"] == (b"loc:@scope/x",)


def test_a_resource_may_not_cross():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            handle = raw.VarHandleOp(dtype=dtypes.float32, shape=[], name="v")
        read = raw.ReadVariableOp(handle, dtype=dtypes.float32, name="read")
    placement = {handle.op: ALL[0].name, read.op: ALL[1].name}
    with pytest.raises(
        errors.InvalidArgumentError, match="Trying to access resource v located in device"
    ):
        partition([handle.op, read.op], placement, [], [read])


def test_fed_and_fetched():
    with Graph().as_default():
        x = placeholder("x")
    with pytest.raises(errors.InvalidArgumentError, match="x:0 was both fed and fetched"):
        partition([], {}, [x], [x])


def test_a_read_that_is_not_beside_its_variable_is_received():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            v = variable("v")
        with graph.device("/job:worker/cpu:0"):
            read = raw.Identity(v, name="read")
            y = raw.Neg(read, name="y")
    parts = split(graph, [y])
    (recv,) = of_type(parts[WORKER], "_Recv")
    assert parts[WORKER].get_operation_by_name("read").inputs[0] is recv.outputs[0]
    assert parts[WORKER].get_operation_by_name("y").inputs[0].op.name == "read"


def test_every_receive_tells_its_condition():
    with Graph().as_default() as graph:
        with graph.device("/job:ps"):
            x = raw.Neg(const([1.0, 2.0]), name="x")
        y = raw.Neg(x, name="y")
    parts = split(graph, [y])
    (recv,) = of_type(parts[WORKER], "_Recv")
    assert recv.extra_attrs["_condition"] == ()
