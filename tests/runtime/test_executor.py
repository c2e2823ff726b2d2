"""The executor: dataflow, state, waiting, failing, dead values."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tests.passes.switches  # noqa: F401  (Switch and Merge)
from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.runtime import cost
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.trace import TraceCollector
from tests.passes.builders import const, placeholder, variable
from tests.runtime import host_kit
from tests.runtime.harness import Machine

WAIT = 20
MODES = ["numpy", "xla", "auto"]
CPU = "/job:localhost/replica:0/task:0/device:CPU:0"


@pytest.fixture(params=MODES)
def machine(request):
    return Machine(request.param)


def test_values_and_feeds(machine):
    with Graph().as_default() as graph:
        x = placeholder("x", [None])
        y = raw.Add(raw.Mul(x, x), const(1.0), name="y")
    assert machine.run(graph, [y], {x: np.array([2.0, 3.0], np.float32)})[0].tolist() == [5, 10]


def test_several_outputs_and_lists(machine):
    with Graph().as_default() as graph:
        parts = raw.Split(np.int32(0), const([1.0, 2.0, 3.0, 4.0]), num_split=2)
        joined = raw.ConcatV2([parts[1], parts[0]], np.int32(0), name="joined")
    values = machine.run(graph, [joined, parts[0]])
    assert [v.tolist() for v in values] == [[3, 4, 1, 2], [1, 2]]


def test_a_missing_feed_is_named(machine):
    with Graph().as_default() as graph:
        x = placeholder("x")
        y = raw.Neg(x)
    (executable,) = machine.prepare(graph, [y], [x])
    with pytest.raises(errors.InvalidArgumentError, match="x:0"):
        executable.run(machine.step(), {}).result(WAIT)


def test_an_unfed_placeholder_is_an_error(machine):
    with Graph().as_default() as graph:
        y = raw.Neg(placeholder("q"))
    with pytest.raises(errors.InvalidArgumentError) as caught:
        machine.run(graph, [y])
    assert "placeholder tensor 'q' with dtype float" in caught.value.message
    assert "[[node q (defined at " in caught.value.message


# -- state -----------------------------------------------------------------------------------------------


def test_an_uninitialized_variable(machine):
    with Graph().as_default() as graph:
        v = variable("v")
        read = raw.Identity(v, name="read")
    with pytest.raises(errors.FailedPreconditionError) as caught:
        machine.run(graph, [read])
    assert caught.value.message.startswith(
        "Attempting to use uninitialized value v\n\t [[node read"
    )
    with pytest.raises(errors.FailedPreconditionError, match=r"value v\n\t \[\[node v"):
        machine.run(graph, [v])


def test_state_outlives_runs_and_fetched_refs_are_read_last(machine):
    with Graph().as_default() as graph:
        v = variable("v", [2])
        init = raw.Assign(v, const([1.0, 2.0]), name="init")
        before = raw.Identity(v, name="before")
        add = raw.AssignAdd(v, const([10.0, 10.0]), name="add")
    assert machine.run(graph, [init])[0].tolist() == [1, 2]
    values = machine.run(graph, [v, before, add])
    # the cached read of a ref is no snapshot: TensorFlow gives [11, 12] for it, too
    assert [np.asarray(v).tolist() for v in values] == [[11, 12], [11, 12], [11, 12]]
    assert machine.run(graph, [v])[0].tolist() == [11, 12]


def test_a_cached_read_shows_the_updates_that_its_user_comes_after(machine):
    with Graph().as_default() as graph:
        v = variable("v")
        init = raw.Assign(v, const(1.0))
        cached = raw.Identity(v, name="v/read")
        add = raw.AssignAdd(v, const(1.0))
        with graph.control_dependencies([add]):
            after = raw.Mul(cached, const(10.0))
    machine.run(graph, [init.op])
    assert machine.run(graph, [after])[0] == 20
    assert machine.run(graph, [after])[0] == 30


def test_control_edges_order_reads_and_writes(machine):
    with Graph().as_default() as graph:
        v = variable("v")
        init = raw.Assign(v, const(1.0))
        add = raw.AssignAdd(v, const(1.0))
        with graph.control_dependencies([add]):
            after = raw.Identity(v, name="after")
        with graph.control_dependencies([after]):
            double = raw.AssignAdd(v, after)
    machine.run(graph, [init.op])
    assert machine.run(graph, [after])[0] == 2
    values = machine.run(graph, [after, double])
    assert [float(v) for v in values] == [3, 6]


def test_resource_variables(machine):
    with Graph().as_default() as graph:
        handle = raw.VarHandleOp(dtype=dtypes.float32, shape=[2], name="r")
        init = raw.AssignVariableOp(handle, const([1.0, 2.0]))
        add = raw.AssignAddVariableOp(handle, const([1.0, 1.0]))
        with graph.control_dependencies([add]):
            read = raw.ReadVariableOp(handle, dtype=dtypes.float32, name="read")
    with pytest.raises(errors.FailedPreconditionError, match="reading resource variable r"):
        machine.run(graph, [read])
    machine.run(graph, [init])
    assert machine.run(graph, [read])[0].tolist() == [2, 3]


def test_two_nodes_of_one_name_share_the_variable(machine):
    with Graph().as_default() as graph:
        a = raw.VariableV2(shape=[], dtype=dtypes.float32, shared_name="s", name="a")
        b = raw.VariableV2(shape=[], dtype=dtypes.float32, shared_name="s", name="b")
        init = raw.Assign(a, const(1.0))
        with graph.control_dependencies([init]):
            add = raw.AssignAdd(b, const(5.0))
        with graph.control_dependencies([add]):
            both = raw.Add(raw.Identity(a), raw.Identity(b), name="both")
    assert machine.run(graph, [both])[0] == 12


def test_assign_checks_the_shape(machine):
    with Graph().as_default() as graph:
        v = variable("v", [2])
        x = placeholder("x")
        init = raw.Assign(v, x)
        reshape = raw.Assign(v, x, validate_shape=False)
    feed = {x: np.zeros(3, np.float32)}
    with pytest.raises(errors.InvalidArgumentError) as caught:
        machine.run(graph, [init.op], feed)
    assert "Assign requires shapes of both tensors to match. lhs shape= [2] rhs shape= [3]" in str(
        caught.value
    )
    machine.run(graph, [reshape.op], feed)
    machine.run(graph, [init.op], feed)


def test_the_callers_arrays_are_his_own(machine):
    with Graph().as_default() as graph:
        v = variable("v", [3])
        x = placeholder("x", [3])
        init = raw.Assign(v, x)
        view = raw.Reshape(v, np.array([3, 1], np.int32))
    mine = np.ones(3, np.float32)
    machine.run(graph, [init.op], {x: mine})
    (held,) = machine.run(graph, [view])
    mine[:] = 7
    assert mine.flags.writeable
    assert np.asarray(held).ravel().tolist() == [1, 1, 1]
    assert machine.run(graph, [v])[0].tolist() == [1, 1, 1]


def test_random_ops_keep_their_state_and_agree_on_both_paths():
    with Graph().as_default() as graph:
        x = raw.RandomUniform(np.array([4], np.int32), dtype=dtypes.float32, seed=1, seed2=2)
    runs = {}
    for mode in MODES:
        machine = Machine(mode)
        runs[mode] = [np.asarray(machine.run(graph, [x])[0]).tolist() for _ in range(3)]
    assert runs["numpy"] == runs["xla"] == runs["auto"]
    assert runs["numpy"][0] != runs["numpy"][1]


def test_no_update_is_lost(machine):
    with Graph().as_default() as graph:
        v = variable("v", [64])
        init = raw.Assign(v, const(np.zeros(64)))
        add = raw.AssignAdd(v, const(np.ones(64)))
    machine.run(graph, [init.op])
    (executable,) = machine.prepare(graph, [add.op])

    def work():
        for _ in range(50):
            executable.run(machine.step()).result(WAIT)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machine.run(graph, [v])[0].tolist() == [200] * 64


# -- host ops and waiting ----------------------------------------------------------------------------------


def make_gate(name):
    return raw.TestGate(gate=name.encode(), name=name)


def test_host_ops_get_what_they_need(machine):
    with Graph().as_default() as graph:
        v = variable("v")
        init = raw.Assign(v, const(3.0))
        with graph.control_dependencies([init]):
            note = raw.TestNote(v, note=b"context")
        count = raw.TestCount(name="count")
    host_kit.seen.pop(b"context", None)
    assert machine.run(graph, [note, count])[1] == 1
    assert machine.run(graph, [count])[0] == 2
    ((value, _, step_id, device),) = host_kit.seen[b"context"]
    assert (value, step_id, device) == (3.0, 1, CPU)


def test_a_blocked_op_holds_no_thread_and_goes_on_where_it_is_released(machine):
    host_kit.gate("blocked")
    host_kit.seen.pop(b"after", None)
    with Graph().as_default() as graph:
        y = raw.Neg(make_gate("blocked"), name="y")
        note = raw.TestNote(y, note=b"after")
    threads = threading.active_count()
    (future,) = machine.start(graph, [y, note])
    assert not future.done()
    assert threading.active_count() == threads
    opener = threading.Thread(
        target=host_kit.gates[b"blocked"].set_result, args=(5.0,), name="opener"
    )
    opener.start()
    assert future.result(WAIT) == {"y:0": -5.0}
    opener.join()
    assert host_kit.seen[b"after"][0][:2] == (-5.0, "opener")


def test_queues_connect_steps(machine):
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(component_types=[dtypes.float32], shapes=[[]], capacity=2, name="q")
        x = placeholder("x", [])
        put = raw.QueueEnqueueV2(queue, [x])
        (got,) = raw.QueueDequeueV2(queue, component_types=[dtypes.float32])
        y = raw.Mul(got, const(2.0), name="y")
    (waiting,) = machine.start(graph, [y])
    assert not waiting.done()
    machine.run(graph, [put], {x: np.float32(4)})
    assert waiting.result(WAIT)["y:0"] == 8


def test_a_step_that_meets_itself_in_a_queue(machine):
    """The enqueued value must not wait for what is dequeued, though both come from one cluster's worth of ops."""
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(component_types=[dtypes.float32], shapes=[[]], name="q")
        a = raw.Neg(const(1.0), name="a")
        put = raw.QueueEnqueueV2(queue, [a])
        (got,) = raw.QueueDequeueV2(queue, component_types=[dtypes.float32])
        b = raw.Add(got, a, name="b")
    assert machine.run(graph, [put, b])[1] == -2


def test_a_deadline_names_what_is_waited_for(machine):
    host_kit.gate("never")
    with Graph().as_default() as graph:
        y = raw.Neg(make_gate("never"))
    with pytest.raises(errors.DeadlineExceededError) as caught:
        machine.start(graph, [y], step=machine.step(timeout=0.01))[0].result(WAIT)
    assert caught.value.message.startswith("Timed out waiting for notification")
    assert "never" in caught.value.message


def test_a_deadline_names_the_rendezvous_key():
    machine = Machine(cpus=2, by_device=True)
    host_kit.gate("slow")
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            slow = raw.Neg(make_gate("slow"), name="slow_value")
        with graph.device("/cpu:1"):
            y = raw.Neg(slow, name="y")
    step = machine.step(timeout=0.01)
    futures = machine.start(graph, [y], step=step)
    messages = []
    for future in futures:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            future.result(WAIT)
        messages.append(caught.value.message)
    assert any("slow" in m or "rendezvous key" in m for m in messages)


def test_a_step_in_time_needs_no_timer(machine, monkeypatch):
    def schedule(at, callback):
        raise AssertionError("a timer was set")

    monkeypatch.setattr("flowmesh.runtime.timer.schedule", schedule)
    with Graph().as_default() as graph:
        y = raw.Neg(const(1.0))
    step = machine.step(timeout=1000)
    assert machine.start(graph, [y], step=step)[0].done()


# -- failing ---------------------------------------------------------------------------------------------------


def test_errors_keep_their_class_and_name_the_node(machine):
    with Graph().as_default() as graph:
        y = raw.TestFail(name="bad")
    with pytest.raises(errors.OutOfRangeError) as caught:
        machine.run(graph, [y])
    assert caught.value.message.startswith("nothing left\n\t [[node bad (defined at ")
    assert "test_executor.py:" in caught.value.message
    assert caught.value.op.name == "bad"


def test_errors_inside_clusters_name_the_op(machine):
    with Graph().as_default() as graph:
        x = placeholder("x")
        y = raw.Add(raw.Neg(x), const([1.0, 2.0]), name="sum")
        z = raw.Neg(y)
    with pytest.raises(errors.InvalidArgumentError) as caught:
        machine.run(graph, [z], {x: np.ones(3, np.float32)})
    assert "[[node sum (defined at " in caught.value.message


def test_the_first_error_cancels_the_step(machine):
    host_kit.gate("open")
    with Graph().as_default() as graph:
        waiting = raw.Neg(make_gate("open"))
        bad = raw.TestFail(name="bad")
    step = machine.step()
    (future,) = machine.start(graph, [waiting, bad], step=step)
    with pytest.raises(errors.OutOfRangeError):
        future.result(WAIT)
    assert step.cancellation.cancelled
    assert isinstance(step.rendezvous.error, errors.OutOfRangeError)
    host_kit.gates[b"open"].set_result(1.0)


def test_cancellation_from_outside(machine):
    host_kit.gate("outside")
    with Graph().as_default() as graph:
        y = raw.Neg(make_gate("outside"))
    step = machine.step()
    (future,) = machine.start(graph, [y], step=step)
    step.cancellation.cancel(errors.CancelledError(None, None, "Session was closed"))
    with pytest.raises(errors.CancelledError, match="Session was closed"):
        future.result(WAIT)


def test_a_cancelled_step_does_not_begin(machine):
    with Graph().as_default() as graph:
        v = variable("v")
        init = raw.Assign(v, const(1.0))
    step = machine.step()
    step.cancellation = CancellationManager()
    step.cancellation.cancel(errors.AbortedError(None, None, "too late"))
    with pytest.raises(errors.AbortedError, match="too late"):
        machine.start(graph, [init.op], step=step)[0].result(WAIT)
    with pytest.raises(errors.FailedPreconditionError):
        machine.run(graph, [v])


def test_a_failed_unit_changes_no_variable(machine):
    with Graph().as_default() as graph:
        v = variable("v", [2])
        x = placeholder("x")
        init = raw.Assign(v, const([1.0, 1.0]))
        add = raw.AssignAdd(v, const([1.0, 1.0]))
        with graph.control_dependencies([add]):
            bad = raw.Add(v, x, name="bad")
    machine.run(graph, [init.op])
    with pytest.raises(errors.InvalidArgumentError):
        machine.run(graph, [bad], {x: np.ones(5, np.float32)})
    assert machine.run(graph, [v])[0].tolist() in ([1, 1], [2, 2])


def test_an_op_on_a_foreign_device():
    machine = Machine()
    with Graph().as_default() as graph:
        op = raw.NoOp(name="x")
    op.device = "/job:other/replica:0/task:0/device:CPU:0"
    with pytest.raises(errors.InvalidArgumentError, match="not a device of this task"):
        Executable(graph, machine.devices, machine.resources)


def test_a_bad_execution_mode():
    with pytest.raises(errors.InvalidArgumentError, match="may be 'auto', 'numpy' or 'xla'"):
        machine = Machine("sometimes")
        Executable(Graph(), machine.devices, machine.resources, config=machine.config)


# -- several parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_parts_exchange_tensors(mode):
    machine = Machine(mode, cpus=2, by_device=True)
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            v = variable("v", [2])
            init = raw.Assign(v, const([1.0, 2.0]))
        with graph.device("/cpu:1"):
            grad = raw.Mul(v, const(3.0), name="grad")
        with graph.device("/cpu:0"):
            update = raw.AssignAdd(v, grad, name="update")
    machine.run(graph, [init.op])
    assert machine.run(graph, [update])[0].tolist() == [4, 8]


def test_the_order_in_which_parts_start_does_not_matter():
    machine = Machine(cpus=2, by_device=True)
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            a = raw.Neg(const(1.0), name="a")
        with graph.device("/cpu:1"):
            b = raw.Neg(a, name="b")
        with graph.device("/cpu:0"):
            c = raw.Neg(b, name="c")
    for turn in (1, -1):
        step = machine.step()
        results = {}
        futures = [e.run(step) for e in machine.prepare(graph, [c])[::turn]]
        for future in futures:
            results.update(future.result(WAIT))
        assert results["c:0"] == -1


def test_one_part_failing_ends_the_others():
    machine = Machine(cpus=2, by_device=True)
    with Graph().as_default() as graph:
        with graph.device("/cpu:0"):
            bad = raw.TestFail(name="bad")
        with graph.device("/cpu:1"):
            y = raw.Neg(bad, name="y")
    for future in machine.start(graph, [y]):
        assert isinstance(future.exception(WAIT), errors.OutOfRangeError)


def test_partial_runs_feed_and_fetch_as_they_go(machine):
    with Graph().as_default() as graph:
        a, b = placeholder("a", []), placeholder("b", [])
        first = raw.Neg(a, name="first")
        second = raw.Add(first, b, name="second")
    (executable,) = machine.prepare(graph, [first, second], [a, b], deferred=True)
    step = machine.step()
    run = executable.run(step)
    rendezvous = step.rendezvous
    rendezvous.send(executable.feed_keys["a:0"], np.float32(1))
    assert rendezvous.recv_async(executable.fetch_keys["first:0"]).result(WAIT)[0] == -1
    assert not run.done()
    rendezvous.send(executable.feed_keys["b:0"], np.float32(5))
    assert rendezvous.recv_async(executable.fetch_keys["second:0"]).result(WAIT)[0] == 4
    assert run.result(WAIT) == {}


# -- branches --------------------------------------------------------------------------------------------------


def conditional(graph):
    with graph.as_default():
        pred = placeholder("pred", [], dtypes.bool)
        data = placeholder("data", [])
        off, on = raw.Switch(data, pred, name="switch")
        a = raw.Neg(off, name="a")
        b = raw.Mul(on, const(10.0), name="b")
        with graph.control_dependencies([b]):
            note = raw.TestNote(const(1.0), note=b"branch")
        merged, index = raw.Merge([a, b], name="merge")
        after = raw.Add(merged, const(1.0), name="after")
    return pred, data, a, after, index, note


@pytest.mark.parametrize("taken", [False, True])
def test_only_the_taken_branch_runs(machine, taken):
    graph = Graph()
    pred, data, _, after, index, note = conditional(graph)
    host_kit.seen.pop(b"branch", None)
    feed = {pred: np.bool_(taken), data: np.float32(3)}
    values = machine.run(graph, [after, index, note], feed)
    assert values[:2] == ([31, 1] if taken else [-2, 0])
    assert len(host_kit.seen.get(b"branch", [])) == taken


def test_fetching_a_dead_tensor(machine):
    graph = Graph()
    pred, data, a, *_ = conditional(graph)
    feed = {pred: np.bool_(True), data: np.float32(3)}
    with pytest.raises(errors.InvalidArgumentError, match="does not have value"):
        machine.run(graph, [a], feed)


@pytest.mark.parametrize("taken", [False, True])
def test_dead_values_cross_parts(taken):
    machine = Machine(cpus=2, by_device=True)
    with Graph().as_default() as graph:
        pred = placeholder("pred", [], dtypes.bool)
        with graph.device("/cpu:0"):
            off, on = raw.Switch(const(3.0), pred, name="switch")
        with graph.device("/cpu:1"):
            a = raw.Neg(off, name="a")
            b = raw.Mul(on, const(10.0), name="b")
            free = raw.Neg(const(2.0), name="free")
            merged, _ = raw.Merge([a, b], name="merge")
            after = raw.Add(merged, free, name="after")
    assert machine.run(graph, [after], {pred: np.bool_(taken)}) == [28 if taken else -5]


# -- side by side ------------------------------------------------------------------------------------------------


def test_heavy_clusters_run_at_the_same_time(monkeypatch):
    monkeypatch.setattr("flowmesh.runtime.executor.HEAVY", 0)
    machine = Machine(gpus=4)
    host_kit.barriers[:] = [threading.Barrier(4)]
    with Graph().as_default() as graph:
        parts = []
        for i in range(4):
            with graph.device(f"/gpu:{i}"):
                parts.append(raw.TestMeet(const([float(i)]), name=f"meet{i}"))
        with graph.device("/cpu:0"):
            total = raw.AddN(parts, name="total")
    assert machine.run(graph, [total])[0].tolist() == [10]


def test_heavy_work_does_not_run_in_the_thread_that_delivers(monkeypatch):
    monkeypatch.setattr("flowmesh.runtime.executor.HEAVY", cost.PER_OP)
    machine = Machine()
    host_kit.gate("heavy")
    with Graph().as_default() as graph:
        y = raw.Neg(make_gate("heavy"), name="y")
        note = raw.TestNote(y, note=b"heavy")
    host_kit.seen.pop(b"heavy", None)
    (future,) = machine.start(graph, [note])
    host_kit.gates[b"heavy"].set_result(2.0)
    assert future.result(WAIT) == {}
    assert host_kit.seen[b"heavy"][0][1].startswith("flowmesh-compute")


def test_a_long_chain_of_deliveries_does_not_overflow_the_stack():
    """Each step releases the next one in its own thread; beyond some depth the pool takes over."""
    machine = Machine()
    with Graph().as_default() as graph:
        queue = raw.FIFOQueueV2(component_types=[dtypes.float32], shapes=[[]], name="q")
        x = placeholder("x", [])
        put = raw.QueueEnqueueV2(queue, [x])
        (got,) = raw.QueueDequeueV2(queue, component_types=[dtypes.float32], name="got")
        again = raw.QueueEnqueueV2(queue, [raw.Add(got, const(1.0))])
    (pass_on,) = machine.prepare(graph, [again, got])
    futures = [pass_on.run(machine.step()) for _ in range(300)]
    machine.run(graph, [put], {x: np.float32(0)})
    assert sorted(float(f.result(WAIT)["got:0"]) for f in futures) == list(range(300))


def test_traces_name_nodes_devices_and_times(machine):
    with Graph().as_default() as graph:
        x = raw.Neg(const([1.0, 2.0]), name="x")
        y = raw.Mul(x, x, name="y")
        note = raw.TestNote(raw.TestCount(name="count"), note=b"trace", name="note")
    trace = TraceCollector()
    machine.run(graph, [y, note], step=machine.step(trace=trace))
    records = trace.devices()[CPU]
    by_name = {r.name: r for r in records}
    assert {"x", "y", "count", "note"} <= set(by_name)
    assert by_name["y"].label.startswith("y = Mul(x, x)")
    assert all(r.start <= r.end for r in records)
    assert by_name["y"].outputs[0].shape == (2,)
    assert set(trace.thread_names()) == {r.thread_id for r in records}


def test_work_whose_size_comes_with_a_value_does_not_run_in_the_thread_that_delivers():
    machine = Machine()
    with Graph().as_default() as graph:
        count = placeholder("count", [], dtypes.int32)
        host_kit.gate("size")
        with graph.control_dependencies([make_gate("size").op]):
            y = raw.Fill([raw.Identity(count)], const(3.0), name="y")
        note = raw.TestNote(raw.Max(y, [0]), note=b"filled")
    host_kit.seen.pop(b"filled", None)
    (future,) = machine.start(graph, [note], {count: np.int32(1 << 20)})
    host_kit.gates[b"size"].set_result(2.0)
    assert future.result(WAIT) == {}
    assert host_kit.seen[b"filled"][0][1].startswith("flowmesh-compute")
    host_kit.gate("size")
    (future,) = machine.start(graph, [note], {count: np.int32(5)})
    host_kit.gates[b"size"].set_result(2.0)
    assert future.result(WAIT) == {}
    assert host_kit.seen[b"filled"][1][1] == threading.current_thread().name
