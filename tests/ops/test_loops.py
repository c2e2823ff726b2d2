"""Loops, TensorArrays and stacks: graphs, values, gradients and errors as TensorFlow 1.15's, and each op by itself."""

from __future__ import annotations

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import limits
from tests.oracle import replay

MADE_HERE = [
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    "NextIteration",
    "RefNextIteration",
    "LoopCond",
    "TensorArrayV3",
    "TensorArrayGradV3",
    "TensorArrayWriteV3",
    "TensorArrayReadV3",
    "TensorArrayGatherV3",
    "TensorArrayScatterV3",
    "TensorArrayConcatV3",
    "TensorArraySplitV3",
    "TensorArraySizeV3",
    "TensorArrayCloseV3",
    "StackV2",
    "StackPushV2",
    "StackPopV2",
    "StackCloseV2",
]


@pytest.mark.parametrize("case", replay.cases("loops"))
def test_as_tensorflow(case: str) -> None:
    found = replay.differences("loops", case)
    assert not found, "\n".join(found)


def session(mode: str = "") -> tf.Session:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    return tf.Session(config=config)


@pytest.mark.parametrize("op_type", MADE_HERE)
def test_signature_is_registered(op_type: str) -> None:
    from flowmesh.graph import registry

    assert registry.is_registered(op_type)


def test_stack_gives_back_in_reverse() -> None:
    with tf.Graph().as_default():
        stack = tf.raw_ops.StackV2(max_size=2, elem_type=tf.float32)
        first = tf.raw_ops.StackPushV2(handle=stack, elem=[1.0])
        with tf.control_dependencies([first]):
            second = tf.raw_ops.StackPushV2(handle=stack, elem=[2.0, 3.0])
        with tf.control_dependencies([second]):
            popped = tf.raw_ops.StackPopV2(handle=stack, elem_type=tf.float32)
        with tf.control_dependencies([second]):
            third = tf.raw_ops.StackPushV2(handle=stack, elem=[0.0])
        with tf.control_dependencies([popped]):
            closed = tf.raw_ops.StackCloseV2(handle=stack)
            more = tf.raw_ops.StackPopV2(handle=stack, elem_type=tf.float32)
        with tf.control_dependencies([more]):
            last = tf.raw_ops.StackPopV2(handle=stack, elem_type=tf.float32)
        with session() as sess:
            assert sess.run([first, popped])[1].tolist() == [2.0, 3.0]
            sess.run(closed)
            assert sess.run(more).tolist() == [1.0]
            with pytest.raises(tf.errors.InvalidArgumentError, match="is empty when calling Pop"):
                sess.run(last)
            with pytest.raises(tf.errors.InvalidArgumentError, match="overflowed its max_size"):
                sess.run(third)


def test_a_loop_over_references_reads_what_it_wrote() -> None:
    with tf.Graph().as_default():
        v = tf.Variable(1.0, name="v")

        def body(i, total):
            added = tf.assign_add(v, 1.0)
            with tf.control_dependencies([added]):
                return i + 1, total + tf.identity(added)

        i, total = tf.while_loop(lambda i, _: i < 4, body, [0, 0.0])
        for mode in ("numpy", "xla"):
            with session(mode) as sess:
                sess.run(tf.global_variables_initializer())
                assert sess.run([i, total]) == [4, 2.0 + 3.0 + 4.0 + 5.0]
                assert sess.run(v) == 5.0
                assert sess.run(total) == 6.0 + 7.0 + 8.0 + 9.0


def test_resource_variables_and_random_numbers_go_on_from_iteration_to_iteration() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(3)
        v = tf.get_variable("v", [], initializer=tf.zeros_initializer(), use_resource=True)

        def body(i, numbers):
            with tf.control_dependencies([v.assign_add(1.0)]):
                return i + 1, numbers.write(i, tf.random_uniform([2]) + v)

        numbers = tf.TensorArray(tf.float32, 3)
        _, numbers = tf.while_loop(lambda i, _: i < 3, body, [0, numbers])
        drawn = numbers.stack()
        found = []
        for mode in ("numpy", "xla"):
            with session(mode) as sess:
                sess.run(tf.global_variables_initializer())
                found.append([sess.run(drawn) for _ in range(2)])
        np.testing.assert_array_equal(found[0], found[1])
        whole = np.concatenate(found[0])
        assert np.floor(whole).astype(int)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
        assert len(np.unique(whole % 1)) == 12


def test_loops_over_strings_and_objects_of_any_shape() -> None:
    with tf.Graph().as_default():
        words = tf.placeholder(tf.string, [None])

        def body(i, text):
            return i + 1, tf.string_join([text, words[i]], "-")

        _, text = tf.while_loop(lambda i, _: i < tf.size(words), body, [0, ""])
        unique = tf.while_loop(
            lambda i, _: i < 3,
            lambda i, a: (i + 1, tf.unique(tf.concat([a, a + 1], 0))[0]),
            [0, tf.constant([1])],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
        )[1]
        with session() as sess:
            assert sess.run(text, {words: ["a", "b", "c"]}) == b"-a-b-c"
            assert sess.run(unique).tolist() == [1, 2, 3, 4]


def test_queues_in_a_loop() -> None:
    with tf.Graph().as_default():
        queue = tf.FIFOQueue(10, tf.float32, [[]])
        fill = queue.enqueue_many([[1.0, 2.0, 3.0, 4.0]])
        i, total = tf.while_loop(
            lambda i, _: i < 4, lambda i, t: (i + 1, t + queue.dequeue()), [0, 0.0]
        )
        with session() as sess:
            sess.run(fill)
            assert sess.run([i, total]) == [4, 10.0]


def test_a_variable_that_changes_its_dtype_is_refused() -> None:
    changed = pytest.raises(tf.errors.InvalidArgumentError, match="was passed float32 from")
    with tf.Graph().as_default(), changed:
        tf.while_loop(lambda i: i < 3, lambda i: tf.cast(i, tf.float32), [0])


def test_the_size_of_an_array_is_limited() -> None:
    with limits.use(limits.Limits.parse("tensor=1M")), tf.Graph().as_default():
        size = tf.placeholder(tf.int32, [])
        array = tf.TensorArray(tf.float32, size)
        grown = tf.TensorArray(tf.float32, 0, dynamic_size=True).write(size, 1.0)
        with session() as sess:
            for wanted in (array.size(), grown.size()):
                with pytest.raises(tf.errors.ResourceExhaustedError):
                    sess.run(wanted, {size: 2**31 - 2})
                assert sess.run(wanted, {size: 3}) in (3, 4)
