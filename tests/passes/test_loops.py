"""Frames: found, ordered, raised to loops, classified, and kept on one task."""

from __future__ import annotations

from typing import Any

import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.graph.operation import Operation
from flowmesh.passes.frames import FRAME_OPS, find_frames
from flowmesh.passes.loop_op import is_loop, loop_of
from flowmesh.passes.loops import raise_loops
from flowmesh.passes.partition import partition
from flowmesh.passes.place import place
from flowmesh.passes.prune import prune, topological_order
from tests.passes.builders import devices


def raised(*fetches: Any) -> list[Operation]:
    graph = raise_loops(_part(*fetches))
    return graph.get_operations()


def _part(*fetches: Any) -> Any:
    graph = fetches[0].graph
    ops = prune(graph, fetches)
    placement = place(ops, devices("CPU:0"))
    (part,) = partition(ops, placement, (), fetches).values()
    return part


def loops(ops: list[Operation]) -> list[Operation]:
    return [op for op in ops if is_loop(op)]


def test_a_graph_without_loops_is_left_alone() -> None:
    with tf.Graph().as_default():
        part = _part(tf.constant(1.0) + 1.0)
        assert raise_loops(part) is part


def test_nested_loops_become_loops_in_loops() -> None:
    with tf.Graph().as_default() as graph:

        def body(i: Any, a: Any) -> Any:
            return i + 1, tf.while_loop(lambda j, b: j < i, lambda j, b: (j + 1, b * 2), [0, a])[1]

        result = tf.while_loop(lambda i, a: i < 3, body, [0, 1])[1]
        root, _ = find_frames(topological_order(graph.get_operations()))
        (outer,) = root.children.values()
        assert [f.name for f in outer.children.values()] == ["while/while/while_context"]
        ops = raised(result)
    (loop,) = loops(ops)
    assert not any(op.type in FRAME_OPS for op in ops)
    inner = loops(loop_of(loop).body.get_operations())
    assert len(inner) == 1
    assert [loop_of(o).variables for o in (loop, inner[0])] == [2, 2]
    assert not loops(loop_of(loop).cond.get_operations())


@pytest.mark.parametrize(
    ("build", "bounded", "traceable", "steps"),
    [
        (lambda n, q: tf.while_loop(lambda i: i < 9, lambda i: i + 2, [0]), True, True, False),
        (lambda n, q: tf.while_loop(lambda i: i > 9, lambda i: i - 2, [90]), True, True, False),
        (lambda n, q: tf.while_loop(lambda i: i < n, lambda i: i + 1, [0]), False, True, False),
        (lambda n, q: tf.while_loop(lambda i: i < n, lambda i: i * 2, [1]), False, True, False),
        (
            lambda n, q: tf.while_loop(lambda i: i < n, lambda i: i * 2, [1], maximum_iterations=5),
            True,
            True,
            False,
        ),
        (lambda n, q: tf.while_loop(lambda i: i < 10**7, lambda i: i + 1, [0]), False, True, False),
        (
            lambda n, q: tf.while_loop(
                lambda i: i < 9, lambda i: i + tf.size(tf.unique([i])[0]), [0]
            ),
            False,
            False,
            False,
        ),
        (
            lambda n, q: tf.while_loop(lambda i: i < 9, lambda i: i + q.dequeue(), [0]),
            False,
            False,
            True,
        ),
    ],
)
def test_how_a_loop_is_run(build: Any, bounded: bool, traceable: bool, steps: bool) -> None:
    with tf.Graph().as_default():
        n = tf.placeholder(tf.int32, [])
        (loop,) = loops(raised(build(n, tf.FIFOQueue(3, tf.int32, [[]]))))
    attrs = loop.definition.attrs
    assert (attrs["bounded"] is not None, attrs["traceable"], attrs["steps"]) == (
        bounded,
        traceable,
        steps,
    )


def test_the_backward_loop_is_as_bounded_as_the_forward_loop() -> None:
    with tf.Graph().as_default():
        x = tf.constant([1.0, 2.0])
        y = tf.while_loop(lambda i, a: i < 4, lambda i, a: (i + 1, a * x), [0, x])[1]
        found = loops(raised(tf.gradients(y, x)[0]))
    assert [op.definition.attrs["bounded"] for op in found] == [(0,), ()]


def test_frames_that_are_no_loop_are_named() -> None:
    with tf.Graph().as_default() as graph:
        entered = tf.raw_ops.Enter(data=1.0, frame_name="odd")
        result = tf.raw_ops.Exit(data=entered + 1.0)
        with pytest.raises(errors.InvalidArgumentError, match=r"The frame odd .* no variable"):
            raise_loops(_part(result))
        del graph


def test_what_is_inside_a_loop_is_neither_fetched_nor_run() -> None:
    with tf.Graph().as_default() as graph:
        tf.while_loop(lambda i: i < 3, lambda i: tf.add(i, 1, name="inside"), [0])
        inside = graph.get_tensor_by_name("while/inside:0")
        with pytest.raises(errors.InvalidArgumentError, match="while/inside:0 is inside the loop"):
            raise_loops(_part(inside))
        ops = prune(graph, [inside])
        placement = place(ops, devices("CPU:0"))
        (part,) = partition(ops, placement, (), [inside], deferred=True).values()
        with pytest.raises(errors.InvalidArgumentError, match="while/inside:0 is inside the loop"):
            raise_loops(part)
        ops = prune(graph, (), [inside.op])
        placement = place(ops, devices("CPU:0"))
        (part,) = partition(ops, placement).values()
        with pytest.raises(errors.InvalidArgumentError, match="cannot be run alone"):
            raise_loops(part)


TASKS = [f"/job:{j}/replica:0/task:{t}/device:CPU:0" for j, t in (("ps", 0), ("ps", 1), ("w", 0))]


def placed(build: Any) -> dict[str, str]:
    with tf.Graph().as_default() as graph:
        build()
        ops = topological_order(graph.get_operations())
        where = place(ops, devices(*TASKS), default="/job:w/replica:0/task:0")
    return {op.name: device for op, device in where.items()}


def test_a_loop_that_updates_a_variable_goes_where_the_variable_is() -> None:
    def build() -> None:
        with tf.device("/job:ps/task:1"):
            v = tf.Variable(1.0, name="v")

        def body(i: Any) -> Any:
            with tf.device("/job:w/task:0"), tf.control_dependencies([tf.assign_add(v, 1.0)]):
                return tf.add(i, 1, name="next")

        tf.while_loop(lambda i: i < 3, body, [0])

    found = placed(build)
    first = "while/Const"  # outside of the loop
    inside = {d for name, d in found.items() if name.startswith("while/") and name != first}
    assert inside == {TASKS[1]}


def test_a_loop_over_values_stays_where_it_was_built() -> None:
    def build() -> None:
        with tf.device("/job:ps/task:0"):
            v = tf.Variable(1.0, name="v")
        with tf.device("/job:w/task:0"):
            tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * v), [0, 1.0])

    inside = {device for name, device in placed(build).items() if name.startswith("while/")}
    assert inside == {TASKS[2]}


def test_a_loop_and_its_backward_loop_are_on_one_task_each() -> None:
    def build() -> None:
        with tf.device("/job:ps/task:0"):
            v = tf.Variable(1.0, name="v")
        with tf.device("/job:ps/task:1"):
            kept = tf.TensorArray(tf.float32, 3)
            body = lambda i, a, t: (i + 1, tf.tanh(a * v), t.write(i, a))  # noqa: E731
            _, _, kept = tf.while_loop(lambda i, *_: i < 3, body, [0, 1.0, kept])
            y = kept.stack()
        tf.gradients(y, v)

    with tf.Graph().as_default() as graph:
        build()
        ops = topological_order(graph.get_operations())
        where = place(ops, devices(*TASKS), default="/job:w/replica:0/task:0")
        root, _ = find_frames(ops)
    for frame in root.children.values():
        assert {where[op] for op in frame.all_ops()} == {TASKS[1]}


def test_a_loop_that_would_be_on_two_tasks_is_refused_by_name() -> None:
    def build() -> None:
        variables = []
        for task in range(2):
            with tf.device(f"/job:ps/task:{task}"):
                variables.append(tf.Variable(1.0, name=f"v{task}"))

        def body(i: Any) -> Any:
            updates = [tf.assign_add(v, 1.0, name=f"update_{v.op.name}") for v in variables]
            with tf.control_dependencies(updates):
                return i + 1

        tf.while_loop(lambda i: i < 3, body, [0])

    with pytest.raises(errors.InvalidArgumentError, match="would be spread over 2 tasks") as info:
        placed(build)
    for text in ("v0", "v1", *TASKS[:2]):
        assert text in str(info.value)
