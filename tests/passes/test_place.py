"""Placement: TensorFlow's choice of devices, and its words where there is none."""

from __future__ import annotations

import pytest

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes.place import device_mapping, place
from flowmesh.passes.prune import topological_order
from tests.passes.builders import FakeDevice, const, devices, variable

LOCAL = "/job:localhost/replica:0/task:0/device:"


def placed(graph, available, **options):
    ops = topological_order(graph.get_operations())
    return {op.name: d for op, d in place(ops, devices(*available), **options).items()}


def fails(graph, available, **options):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        placed(graph, available, **options)
    return caught.value.message


def test_the_first_gpu_is_preferred():
    with Graph().as_default() as graph:
        raw.Add(const(1.0, "a"), const(2.0, "b"), name="sum")
    found = placed(graph, ["CPU:0", "GPU:1", "GPU:0"])
    assert set(found.values()) == {LOCAL + "GPU:0"}


def test_ops_without_a_gpu_kernel_stay_on_the_cpu():
    with Graph().as_default() as graph:
        variable("counter", dtype=dtypes.int32)
        raw.FIFOQueueV2(component_types=[dtypes.float32], name="host")
    found = placed(graph, ["CPU:0", "GPU:0"])
    assert found["counter"] == found["host"] == LOCAL + "CPU:0"


def test_partial_names_are_completed():
    with Graph().as_default() as graph, graph.device("/cpu:1"):
        raw.NoOp(name="x")
    assert placed(graph, ["CPU:0", "CPU:1", "GPU:0"])["x"] == LOCAL + "CPU:1"


def test_the_default_task_comes_first():
    with Graph().as_default() as graph:
        raw.NoOp(name="x")
        with graph.device("/job:ps"):
            raw.NoOp(name="y")
    tasks = [f"/job:{job}/replica:0/task:0/device:CPU:0" for job in ("ps", "worker")]
    found = placed(graph, tasks, default="/job:worker/replica:0/task:0")
    assert found == {"x": tasks[1], "y": tasks[0]}


def test_an_unknown_device_is_an_error_that_tells_where():
    with Graph().as_default() as graph, graph.device("/gpu:7"):
        raw.NoOp(name="a")
    message = fails(graph, ["CPU:0"])
    assert message.startswith("Cannot assign a device for operation a: node a (defined at ")
    assert "test_place.py:" in message
    assert (
        f" was explicitly assigned to /device:GPU:7 but available devices are [ {LOCAL}CPU:0 ]. "
        "Make sure the device specification refers to a valid device." in message
    )
    assert "simulate" in message
    assert message.endswith("\n\t [[a]]")


def test_an_unknown_job_is_an_error_even_with_soft_placement():
    with Graph().as_default() as graph, graph.device("/job:foo/gpu:3"):
        raw.NoOp(name="a")
    assert "assigned to /job:foo/device:GPU:3 but" in fails(
        graph, ["CPU:0"], allow_soft_placement=True
    )


def test_soft_placement_leaves_the_device_that_cannot():
    with Graph().as_default() as graph:
        with graph.device("/gpu:3"):
            raw.NoOp(name="a")
        with graph.device("/gpu:0"):
            variable("counter", dtype=dtypes.int32)
    found = placed(graph, ["CPU:0", "GPU:0"], allow_soft_placement=True)
    assert found == {"a": LOCAL + "GPU:0", "counter": LOCAL + "CPU:0"}


def test_no_kernel_for_the_device_asked_for():
    with Graph().as_default() as graph, graph.device("/gpu:0"):
        variable("counter", dtype=dtypes.int32)
    message = fails(graph, ["CPU:0", "GPU:0"])
    assert message.startswith(
        "Cannot assign a device for operation counter: Could not satisfy explicit device specification "
        "'/device:GPU:0' because no supported kernel for GPU devices is available."
    )
    assert "Registered kernels:\n  device='CPU'\n  device='GPU'; dtype in [" in message
    assert "Op: VariableV2\nNode attrs: " in message
    assert "[[node counter (defined at " in message


def test_ref_edges_colocate_and_the_variable_wins():
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            v = variable("v")
        with graph.device("/cpu:1"):
            raw.Assign(v, const(2.0, "two"), name="assign")
    found = placed(graph, ["CPU:0", "CPU:1"])
    assert found["v"] == found["assign"] == LOCAL + "CPU:0"
    assert found["two"] == LOCAL + "CPU:1"


def test_resource_edges_colocate():
    with Graph().as_default() as graph:
        with graph.device("/cpu:1"):
            handle = raw.VarHandleOp(dtype=dtypes.float32, shape=[], name="v")
        raw.ReadVariableOp(handle, dtype=dtypes.float32, name="read")
    assert placed(graph, ["CPU:0", "CPU:1"])["read"] == LOCAL + "CPU:1"


def test_a_group_goes_where_all_members_can():
    with Graph().as_default() as graph:
        v = variable("v", dtype=dtypes.int32)
        raw.Assign(v, raw.Cast(const(2.0), DstT=dtypes.int32), name="assign")
    found = placed(graph, ["CPU:0", "GPU:0"])
    assert found["v"] == found["assign"] == LOCAL + "CPU:0"


def test_colocation_attr():
    with Graph().as_default() as graph:
        with graph.device("/cpu:1"):
            x = raw.NoOp(name="x")
        y = raw.NoOp(name="y")
        z = raw.NoOp(name="z")
    y.extra_attrs["_class"] = (b"loc:@x",)
    z.extra_attrs["_class"] = (b"loc:@nowhere",)
    found = placed(graph, ["CPU:0", "CPU:1"])
    assert found["y"] == found[x.name] == LOCAL + "CPU:1"
    assert found["z"] == LOCAL + "CPU:0"


def conflicting():
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            raw.NoOp(name="x")
        with graph.device("/cpu:1"):
            y = raw.NoOp(name="y")
    y.extra_attrs["_class"] = (b"loc:@x",)
    return graph


def test_contradicting_colocation():
    message = fails(conflicting(), ["CPU:0", "CPU:1"])
    assert message.startswith("Cannot colocate nodes node y (defined at ")
    assert (
        "Cannot merge devices with incompatible ids: '/device:CPU:1' and '/device:CPU:0'" in message
    )


def test_contradicting_colocation_with_soft_placement():
    found = placed(conflicting(), ["CPU:0", "CPU:1"], allow_soft_placement=True)
    assert set(found.values()) == {LOCAL + "CPU:0"}


def test_generators_go_to_their_consumers():
    with Graph().as_default() as graph:
        c = const(1.0, "c")
        with graph.device("/cpu:0"):
            raw.Neg(c, name="on_cpu")
    assert placed(graph, ["CPU:0", "GPU:0"])["c"] == LOCAL + "CPU:0"


def test_metadata_ops_stay_with_their_input():
    with Graph().as_default() as graph:
        with graph.device("/gpu:1"):
            x = raw.Neg(const([1.0]), name="x")
        raw.Shape(x, name="shape")
    assert placed(graph, ["CPU:0", "GPU:0", "GPU:1"])["shape"] == LOCAL + "GPU:1"


def test_earlier_placements_stay():
    with Graph().as_default() as graph:
        v = variable("v")
        raw.Identity(v, name="read")
        raw.Assign(v, const(1.0), name="assign")
    kept = {v.op: LOCAL + "CPU:0"}
    found = placed(graph, ["CPU:0", "GPU:0"], assigned=kept)
    assert found["assign"] == LOCAL + "CPU:0"
    assert found["read"] == LOCAL + "GPU:0"


def test_the_log_has_a_line_for_each_op():
    lines: list[str] = []
    with Graph().as_default() as graph:
        const(1.0, "a")
    placed(graph, ["CPU:0"], log=lines.append)
    assert lines == [f"a: (Const): {LOCAL}CPU:0"]


def test_device_mapping_text():
    gpu = FakeDevice(LOCAL + "GPU:0", "GPU", "device: 0, name: X")
    assert device_mapping(devices("CPU:0")) == "Device mapping: no known devices."
    assert device_mapping([*devices("CPU:0"), gpu]) == (
        f"Device mapping:\n{LOCAL}GPU:0 -> device: 0, name: X"
    )
