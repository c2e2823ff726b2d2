"""Clustering: what runs together, and what must not."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tests.passes.switches  # noqa: F401  (Switch and Merge)
from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes import op_traits
from flowmesh.passes.cluster import cluster
from flowmesh.passes.op_traits import Kind
from flowmesh.passes.prune import topological_order
from tests.passes.builders import const, placeholder, variable

CPU = "/job:localhost/replica:0/task:0/device:CPU:0"
INT = np.int32


def clustered(graph):
    for op in graph.get_operations():
        op.device = op.device or CPU
    return cluster(graph.get_operations())


def sets(graph):
    return [{op.name for op in unit.ops} for unit in clustered(graph).units]


def receive(name, shape=()):
    from flowmesh.graph import registry

    definition = registry.lookup("_Recv")(
        {
            "tensor_type": dtypes.float32,
            "tensor_name": name.encode(),
            "send_device": b"",
            "send_device_incarnation": 0,
            "recv_device": b"",
            "client_terminated": False,
        }
    )
    from flowmesh.core.shapes import TensorShape
    from flowmesh.graph.graph import get_default_graph

    op = get_default_graph().create_operation(
        definition, [], name, output_shapes=[TensorShape(shape)]
    )
    return op.outputs[0]


def send(tensor, name):
    return raw_send(tensor, name, False)


def raw_send(tensor, name, client):
    from flowmesh.graph import registry
    from flowmesh.graph.graph import get_default_graph

    definition = registry.lookup("_Send")(
        {
            "T": dtypes.float32,
            "tensor_name": name.encode(),
            "send_device": b"",
            "send_device_incarnation": 0,
            "recv_device": b"",
            "client_terminated": client,
        }
    )
    return get_default_graph().create_operation(definition, [tensor], name)


def test_pure_ops_are_one_cluster():
    with Graph().as_default() as graph:
        a = const([1.0, 2.0], "a")
        b = raw.Neg(a, name="b")
        c = raw.Neg(a, name="c")
        raw.Add(b, c, name="d")
    found = clustered(graph)
    assert [{op.name for op in u.ops} for u in found.units] == [{"b", "c", "d"}]
    assert [op.name for op in found.constants] == ["a"]
    assert found.units[0].kind is Kind.COMPUTE


def test_devices_are_not_mixed():
    with Graph().as_default() as graph:
        a = raw.Neg(const(1.0), name="a")
        b = raw.Neg(a, name="b")
        raw.Neg(b, name="c")
    for other in (CPU.replace("CPU:0", "GPU:0"), CPU.replace("task:0", "task:1")):
        b.op.device = other
        assert sets(graph) == [{"a"}, {"b"}, {"c"}]


def test_the_cpu_devices_of_a_task_are_one_processor():
    with Graph().as_default() as graph:
        a = raw.Neg(const(1.0), name="a")
        b = raw.Neg(a, name="b")
        raw.Neg(const(2.0), name="c")
    b.op.device = CPU.replace("CPU:0", "CPU:1")
    assert sets(graph) == [{"a", "b", "c"}]


def test_a_training_step_with_state_is_one_cluster():
    with Graph().as_default() as graph:
        v = variable("v")
        read = raw.Identity(v, name="read")
        grad = raw.Mul(read, const(2.0), name="grad")
        raw.AssignSub(v, grad, name="update")
    found = clustered(graph)
    assert [{op.name for op in u.ops} for u in found.units] == [{"read", "grad", "update"}]
    assert [op.name for op in found.sources] == ["v"]


def test_a_send_does_not_come_to_wait_for_another_receive():
    with Graph().as_default() as graph:
        early = raw.Neg(const(1.0), name="early")
        send(early, "out")
        answer = receive("in")
        raw.Add(early, answer, name="late")
    assert {"early"} in sets(graph)
    assert {"late"} in sets(graph)


def test_receives_are_joined_where_everything_needs_both():
    with Graph().as_default() as graph:
        a = raw.Neg(receive("r1"), name="a")
        b = raw.Add(a, receive("r2"), name="b")
        send(b, "out")
    assert {"a", "b"} in sets(graph)


def test_updates_wait_for_no_more_than_before():
    with Graph().as_default() as graph:
        for i in (1, 2):
            raw.AssignSub(variable(f"v{i}"), receive(f"grad{i}"), name=f"apply{i}")
    assert {"apply1"} in sets(graph)
    assert {"apply2"} in sets(graph)


def test_values_for_the_caller_do_not_split():
    with Graph().as_default() as graph:
        a = raw.Neg(const(1.0), name="a")
        raw_send(a, "fetch_a", client=True)
        b = raw.Add(a, receive("r"), name="b")
        raw_send(b, "fetch_b", client=True)
    found = clustered(graph)
    assert {"a", "b"} in [{op.name for op in u.ops} for u in found.units]
    assert [op.name for op in found.results] == ["fetch_a", "fetch_b"]


def test_a_detour_over_a_host_op_splits():
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(component_types=[dtypes.float32], shapes=[], name="queue")
        a = raw.Neg(const(1.0), name="a")
        raw.QueueEnqueueV2(queue, [a], name="enqueue")
        (out,) = raw.QueueDequeueV2(queue, component_types=[dtypes.float32], name="dequeue")
        raw.Add(out, a, name="b")
    assert {"a"} in sets(graph)
    assert {"b"} in sets(graph)


def test_a_shape_from_a_variable_is_not_traced_with_its_use():
    with Graph().as_default() as graph:
        size = raw.Identity(variable("n", [1], dtypes.int32), name="size")
        raw.Reshape(const([1.0, 2.0]), size, name="reshaped")
    assert sets(graph) == [{"size"}, {"reshaped"}]


def test_shapes_stay_inside():
    with Graph().as_default() as graph:
        x = raw.Neg(placeholder("x"), name="y")
        raw.Reshape(const([1.0, 2.0]), raw.Shape(x, name="shape"), name="z")
    assert {"y", "shape", "z"} in sets(graph) or {"x", "y", "shape", "z"} in sets(graph)


def test_strings_are_units_of_numpy():
    with Graph().as_default() as graph:
        x = raw.Neg(const(1.0), name="x")
        text = raw.ScalarSummary(np.array(b"tag", object), x, name="text")
        raw.MergeSummary([text], name="merged")
    found = clustered(graph)
    assert [(u.kind, {op.name for op in u.ops}) for u in found.units] == [
        (Kind.COMPUTE, {"x"}),
        (Kind.NUMPY, {"text", "merged"}),
    ]


def branches(graph):
    with graph.as_default():
        pred = raw.Greater(const(1.0), const(0.0), name="pred")
        off, on = raw.Switch(const(3.0), pred, name="switch")
        a = raw.Neg(off, name="a")
        b = raw.Neg(on, name="b")
        merged = raw.Merge([a, b], name="merge")
        raw.Neg(merged[0], name="after")


def test_branches_are_clusters_of_their_own():
    graph = Graph()
    branches(graph)
    found = clustered(graph)
    by_name = {op.name: u for u in found.units for op in u.ops}
    assert by_name["a"] is not by_name["b"]
    assert by_name["a"].condition == {("pred:0", 0)}
    assert by_name["after"].condition == frozenset()
    assert by_name["pred"].condition == frozenset()


# -- random graphs -------------------------------------------------------------------------------------


def random_graph(seed):
    rng = random.Random(seed)
    graph = Graph()
    with graph.as_default():
        tensors = [const(1.0, "c"), raw.Neg(const(2.0), name="n")]
        refs = [variable(f"v{i}") for i in range(2)]
        for i in range(rng.randint(5, 30)):
            kind = rng.choice(["neg", "add", "add", "recv", "send", "read", "write", "ctl"])
            if kind == "neg":
                tensors.append(raw.Neg(rng.choice(tensors), name=f"op{i}"))
            elif kind == "add":
                tensors.append(raw.Add(rng.choice(tensors), rng.choice(tensors), name=f"op{i}"))
            elif kind == "recv":
                tensors.append(receive(f"recv{i}"))
            elif kind == "send":
                send(rng.choice(tensors), f"send{i}")
            elif kind == "read":
                tensors.append(raw.Identity(rng.choice(refs), name=f"op{i}"))
            elif kind == "write":
                raw.AssignSub(rng.choice(refs), rng.choice(tensors), name=f"op{i}")
            else:
                with graph.control_dependencies([rng.choice(tensors)]):
                    tensors.append(raw.Neg(rng.choice(tensors), name=f"op{i}"))
        for op in graph.get_operations():
            op.device = CPU.replace("CPU:0", rng.choice(["CPU:0", "CPU:0", "CPU:1", "GPU:0"]))
    return graph


def waits_of(op, kinds, before, memo):
    if op not in memo:
        memo[op] = {op} if kinds[op] is Kind.RECV else set()
        for p in before(op):
            memo[op] |= waits_of(p, kinds, before, memo)
    return memo[op]


@pytest.mark.parametrize("seed", range(60))
def test_rules_hold_for_random_graphs(seed):
    graph = random_graph(seed)
    ops = topological_order(graph.get_operations())
    found = cluster(ops)
    kinds = {op: op_traits.kind_of(op) for op in ops}
    unit_of = {op: u for u in found.units for op in u.ops}
    position = {u: i for i, u in enumerate(found.units)}

    def before(op):
        return [t.op for t in op.inputs] + op.control_inputs

    for op in ops:
        for p in before(op):
            if op in unit_of and p in unit_of:
                assert position[unit_of[p]] <= position[unit_of[op]]
    for unit in found.units:
        order = {op: i for i, op in enumerate(unit.ops)}
        for op in unit.ops:
            assert all(order[p] < order[op] for p in before(op) if p in order)
        assert len({op.device.rpartition(":")[0] for op in unit.ops}) == 1

    memo: dict = {}
    unit_memo: dict = {}

    def unit_waits(unit):
        if unit not in unit_memo:
            unit_memo[unit] = {op for op in unit.ops if kinds[op] is Kind.RECV}
            for op in unit.ops:
                for p in before(op):
                    if p in unit_of and unit_of[p] is not unit:
                        unit_memo[unit] |= unit_waits(unit_of[p])
        return unit_memo[unit]

    for op in ops:
        if kinds[op] is Kind.SEND or op_traits.writes_state(op):
            assert unit_waits(unit_of[op]) == waits_of(op, kinds, before, memo)
