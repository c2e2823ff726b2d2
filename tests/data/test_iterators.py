"""Iterators: one-shot, initializable, reinitializable, feedable; shared ones; what waits, ends and is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.graph.raw import raw

TYPES = {"output_types": [tf.int64], "output_shapes": [[]]}


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def test_older_ops_do_the_same() -> None:
    resource = raw.Iterator(shared_name="", container="", **TYPES)
    handle = raw.IteratorToStringHandle(resource)
    again = raw.IteratorFromStringHandle(handle)
    begin = raw.MakeIterator(raw.RangeDataset(0, 3, 1, **TYPES), resource)
    one, two = raw.IteratorGetNextSync(resource, **TYPES)[0], raw.IteratorGetNext(again, **TYPES)[0]
    with tf.Session() as sess:
        sess.run(begin)
        assert [sess.run(one), sess.run(two), sess.run(one)] == [0, 1, 2]


def test_a_one_shot_iterator_begins_once() -> None:
    following = tf.data.Dataset.range(2).make_one_shot_iterator().get_next()
    assert tf.get_default_graph().get_operation_by_name("OneShotIterator")
    with tf.Session() as sess:
        assert [sess.run(following), sess.run(following)] == [0, 1]
        for _ in range(2):
            with pytest.raises(errors.OutOfRangeError, match="End of sequence"):
                sess.run(following)
    with tf.Session() as sess:  # another session begins anew
        assert sess.run(following) == 0


def test_an_iterator_must_begin() -> None:
    iterator = tf.data.Dataset.range(2).make_initializable_iterator()
    following = iterator.get_next()
    with tf.Session() as sess:
        with pytest.raises(errors.FailedPreconditionError, match="has not been initialized"):
            sess.run(following)
        for _ in range(2):
            sess.run(iterator.initializer)
            assert sess.run(following) == 0


def test_the_error_names_the_node() -> None:
    following = tf.data.Dataset.range(0).make_one_shot_iterator().get_next(name="give")
    with tf.Session() as sess, pytest.raises(errors.OutOfRangeError) as caught:
        sess.run(following)
    assert caught.value.op is following.op
    assert "[[node give" in caught.value.message


def test_errors_in_functions_name_both_and_iteration_goes_on() -> None:
    def body(x: Any) -> Any:
        return tf.check_numerics(1.0 / tf.cast(x - 1, tf.float32), "no number", name="look")

    following = tf.data.Dataset.range(3).map(body).make_one_shot_iterator().get_next()
    with tf.Session() as sess:
        assert sess.run(following) == -1
        with pytest.raises(errors.InvalidArgumentError) as caught:
            sess.run(following)
        assert sess.run(following) == 1
    assert caught.value.op is following.op
    text = caught.value.message
    assert text.startswith("{{function_node __inference_Dataset_map_body_")
    assert "no number : Tensor had Inf values" in text and "node look" in text


def test_sessions_share_iterators_by_name_only() -> None:
    from tests.distributed import clusters

    iterator = tf.data.Dataset.range(4).make_initializable_iterator(shared_name="common")
    own = tf.data.Dataset.range(4).make_initializable_iterator()
    following, alone = iterator.get_next(), own.get_next()
    with clusters.cluster(worker=1) as servers:
        target = servers["worker:0"].target
        with tf.Session(target) as first, tf.Session(target) as second:
            first.run([iterator.initializer, own.initializer])
            assert [first.run(following), second.run(following), first.run(following)] == [0, 1, 2]
            assert first.run(alone) == 0
            with pytest.raises(errors.FailedPreconditionError):
                second.run(alone)


def test_handles_of_iterators_that_are_not_there() -> None:
    handle = tf.placeholder(tf.string, [])
    fed = tf.data.Iterator.from_string_handle(handle, tf.int64, [])
    assert fed.get_next().op.inputs[0].op.type == "IteratorFromStringHandleV2"
    other = tf.data.Dataset.from_tensors(1.0).make_one_shot_iterator()
    with tf.Session() as sess:
        with pytest.raises(errors.InvalidArgumentError, match="could not be parsed"):
            sess.run(fed.get_next(), {handle: b"\xff\xff"})
        with pytest.raises(errors.InvalidArgumentError, match="elements of types"):
            sess.run(fed.get_next(), {handle: sess.run(other.string_handle())})
        gone = sess.run(other.string_handle())
    with tf.Session() as sess, pytest.raises(errors.NotFoundError):
        sess.run(fed.get_next(), {handle: gone})


def test_datasets_of_other_kinds_are_refused() -> None:
    resource = raw.IteratorV2(shared_name="", container="", **TYPES)
    floats = raw.TensorDataset([1.0], output_shapes=[[]])
    vectors = raw.TensorDataset([np.array([1, 2])], output_shapes=[[2]])
    with tf.Session() as sess:
        with pytest.raises(errors.InvalidArgumentError, match="Data type mismatch at component 0"):
            sess.run(raw.MakeIterator(floats, resource))
        with pytest.raises(errors.InvalidArgumentError, match="Incompatible shapes at component 0"):
            sess.run(raw.MakeIterator(vectors, resource))


class Gate:
    """A generator that waits until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> Any:
        try:
            self.reached.set()
            assert self.open.wait(30)
            yield 1
            yield 2
        finally:
            self.ended.set()


def test_a_step_that_waits_can_run_out_of_time_and_loses_nothing() -> None:
    gate = Gate()
    dataset = tf.data.Dataset.from_generator(gate, tf.int64, [])
    following = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as sess:
        with pytest.raises(errors.DeadlineExceededError):
            sess.run(following, options=tf.RunOptions(timeout_in_ms=100))
        gate.open.set()
        assert [sess.run(following), sess.run(following)] == [1, 2]
    assert gate.ended.wait(20)


def test_steps_of_several_threads_wait_in_line() -> None:
    gate = Gate()
    dataset = tf.data.Dataset.from_generator(gate, tf.int64, [])
    following = dataset.make_one_shot_iterator().get_next()
    found: list[int] = []
    with tf.Session() as sess:
        threads = [
            threading.Thread(target=lambda: found.append(int(sess.run(following))))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert gate.reached.wait(20)
        gate.open.set()
        for thread in threads:
            thread.join(20)
    assert sorted(found) == [1, 2]


def test_closing_the_session_ends_a_wait_and_the_prefetching() -> None:
    dataset = tf.data.Dataset.range(10).repeat().prefetch(3)
    queue = tf.FIFOQueue(1, tf.int64, shapes=[[]], shared_name="never")
    waits = tf.data.Dataset.range(3).map(
        lambda x: x + raw.QueueDequeueV2(queue.queue_ref, component_types=[tf.int64])[0]
    )
    forever, blocked = (
        dataset.make_one_shot_iterator(),
        waits.prefetch(2).make_initializable_iterator(),
    )
    a, b = forever.get_next(), blocked.get_next()
    sess = tf.Session()
    sess.run(blocked.initializer)
    assert sess.run(a) == 0
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            sess.run(b)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    sess.close()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(failed[0], (errors.CancelledError, RuntimeError))


def test_prefetched_elements_come_in_order_with_errors_in_their_places() -> None:
    def body(x: Any) -> Any:
        with tf.control_dependencies([tf.Assert(tf.not_equal(x % 3, 1), [x])]):
            return tf.identity(x)

    dataset = tf.data.Dataset.range(7).map(body, num_parallel_calls=3).prefetch(2)
    following = dataset.make_one_shot_iterator().get_next()
    found: list[Any] = []
    with tf.Session() as sess:
        for _ in range(7):
            try:
                found.append(int(sess.run(following)))
            except errors.InvalidArgumentError:
                found.append("error")
        with pytest.raises(errors.OutOfRangeError):
            sess.run(following)
    assert found == [0, "error", 2, 3, "error", 5, 6]


def test_calls_go_on_side_by_side_and_results_keep_their_order() -> None:
    together = threading.Barrier(3)

    def meet(x: Any) -> Any:
        together.wait(30)  # nobody passes before three are here
        return x

    dataset = tf.data.Dataset.range(6).map(lambda x: tf.py_func(meet, [x], tf.int64), 3)
    following = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as sess:
        assert [int(sess.run(following)) for _ in range(6)] == list(range(6))


def test_reduce_and_the_single_element() -> None:
    dataset = tf.data.Dataset.range(4)
    total = dataset.reduce((np.int64(0), tf.zeros([0])), lambda s, x: (s[0] + x, tf.ones([x])))
    assert total[1].op.type == "ReduceDataset"
    one = tf.data.experimental.get_single_element(dataset.skip(3))
    assert one.op.type == "DatasetToSingleElement"
    many = tf.data.experimental.get_single_element(dataset)
    none = tf.data.experimental.get_single_element(dataset.skip(9))
    with tf.Session() as sess:
        number, ones = sess.run(total)
        assert (int(number), len(ones), int(sess.run(one))) == (6, 3, 3)
        with pytest.raises(errors.InvalidArgumentError, match="more than one element"):
            sess.run(many)
        with pytest.raises(errors.InvalidArgumentError, match="was empty"):
            sess.run(none)


def test_variables_are_read_by_their_handles() -> None:
    scale = tf.get_variable("scale", [], tf.int64, tf.ones_initializer(), use_resource=True)
    dataset = tf.data.Dataset.range(1, 4).map(lambda x: x * scale)
    iterator = dataset.make_initializable_iterator()
    following = iterator.get_next()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(iterator.initializer)
        assert sess.run(following) == 1
        sess.run(scale.assign(10))
        assert sess.run(following) == 20


def test_options_are_merged() -> None:
    options = tf.data.Options()
    options.experimental_threading.private_threadpool_size = 3
    dataset = tf.data.Dataset.range(2).with_options(options)
    assert dataset.options() == options
    with pytest.raises(AttributeError, match="Cannot set the property nothing on Options"):
        options.nothing = 1
    other = tf.data.Options()
    other.experimental_threading.private_threadpool_size = 4
    with pytest.raises(ValueError, match="Cannot merge incompatible values"):
        dataset.with_options(other)
    following = dataset.batch(2).make_one_shot_iterator().get_next()
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(following), [0, 1])


def test_rows_that_lie_side_by_side_are_batched_as_others() -> None:
    a = np.arange(10).reshape(5, 2)
    dataset = tf.data.Dataset.from_tensor_slices((a, [b"a", b"b", b"c", b"d", b"e"]))
    one_by_one = dataset.map(lambda x, y: (x, y)).batch(2)
    pair = tf.data.Dataset.zip((dataset.batch(2), one_by_one)).make_one_shot_iterator().get_next()
    with tf.Session() as sess:
        for _ in range(3):
            fast, slow = sess.run(pair)
            for x, y in zip(fast, slow):
                np.testing.assert_array_equal(x, y)
                assert x.dtype == y.dtype
