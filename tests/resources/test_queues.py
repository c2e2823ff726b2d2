"""The queues: order, waiting, closing, cancelling, and TensorFlow 1.15's errors."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.queues import FIFOQueue, PaddingFIFOQueue, PriorityQueue, RandomShuffleQueue

SCALAR = TensorShape([])


def fifo(capacity=-1, shape=SCALAR, name="_0_q"):
    return FIFOQueue(name, [dtypes.int32], [shape] if shape is not None else None, capacity)


def shuffle(capacity=-1, minimum=0):
    return RandomShuffleQueue(
        "_0_q",
        [dtypes.int32],
        [SCALAR],
        capacity,
        min_after_dequeue=minimum,
        seeds=(1, 2),
        words=itertools.count(7, 13),
    )


def padding(*shapes):
    return PaddingFIFOQueue("_0_q", [dtypes.int32] * len(shapes), [TensorShape(s) for s in shapes])


def priority():
    return PriorityQueue("_0_q", [dtypes.int32], [SCALAR])


def i32(value):
    return np.array(value, np.int32)


def put(queue, *values):
    for value in values:
        queue.enqueue([i32(value)]).result(0)


def taken(future):
    """The first component of what a dequeue gave, as a list or number."""
    return future.result(0)[0].tolist()


def message(future, cls):
    with pytest.raises(cls) as failure:
        future.result(0)
    return failure.value.message


def cancelled_manager(manager):
    manager.cancel(errors.CancelledError(None, None, "Step was cancelled."))


# -- order ---------------------------------------------------------------------------------------------


def test_fifo_gives_elements_in_order_alone_and_in_batches():
    queue = fifo()
    put(queue, 1, 2)
    queue.enqueue_many([i32([3, 4, 5, 6])]).result(0)
    assert queue.size() == 6
    assert taken(queue.dequeue()) == 1
    assert taken(queue.dequeue_many(3)) == [2, 3, 4]
    assert taken(queue.dequeue_up_to(2)) == [5, 6]
    assert queue.size() == 0


def test_components_stay_together():
    queue = FIFOQueue("q", [dtypes.float32, dtypes.string], [TensorShape([2]), SCALAR])
    queue.enqueue_many(
        [np.array([[1, 2], [3, 4]], np.float32), np.array([b"a", b"b"], object)]
    ).result(0)
    numbers, texts = queue.dequeue_many(2).result(0)
    assert numbers.tolist() == [[1, 2], [3, 4]] and numbers.dtype == np.float32
    assert texts.tolist() == [b"a", b"b"] and texts.dtype == object


def test_an_empty_batch_has_the_right_shapes():
    queue = FIFOQueue("q", [dtypes.float32], [TensorShape([2])])
    (batch,) = queue.dequeue_many(0).result(0)
    assert batch.shape == (0, 2) and batch.dtype == np.float32
    queue.enqueue_many([np.zeros((0, 2), np.float32)]).result(0)
    assert queue.size() == 0


def test_shuffle_keeps_its_minimum_until_it_is_closed():
    queue = shuffle(minimum=2)
    queue.enqueue_many([i32(range(5))]).result(0)
    first = taken(queue.dequeue_many(3))
    waiting = queue.dequeue()
    assert not waiting.done()
    queue.close().result(0)
    rest = [taken(waiting), taken(queue.dequeue())]
    assert sorted(first + rest) == [0, 1, 2, 3, 4]
    assert message(queue.dequeue(), errors.OutOfRangeError) == (
        "RandomShuffleQueue '_0_q' is closed and has insufficient elements "
        "(requested 1, current size 0)"
    )


def test_shuffle_order_is_that_of_the_words():
    queue = shuffle()
    queue.enqueue_many([i32(range(4))]).result(0)
    # 7 % 4 = 3, 20 % 3 = 2, 33 % 2 = 1, 46 % 1 = 0
    assert [taken(queue.dequeue()) for _ in range(4)] == [3, 2, 1, 0]


def test_padding_fills_up_to_the_largest_of_the_batch():
    queue = PaddingFIFOQueue(
        "q", [dtypes.int32, dtypes.string], [TensorShape([None]), TensorShape([None, None])]
    )
    a, b = np.array([[b"a"]], object), np.array([[b"b", b"c"], [b"d", b"e"]], object)
    queue.enqueue([i32([1, 2]), a]).result(0)
    queue.enqueue([i32([1, 2, 3]), b]).result(0)
    queue.enqueue([i32([9]), a]).result(0)
    numbers, texts = queue.dequeue_many(2).result(0)
    assert numbers.tolist() == [[1, 2, 0], [1, 2, 3]]
    assert texts.tolist() == [[[b"a", b""], [b"", b""]], [[b"b", b"c"], [b"d", b"e"]]]
    assert taken(queue.dequeue()) == [9]


def test_priority_gives_the_smallest_first_and_equals_in_order():
    queue = priority()
    queue.enqueue_many([np.array([3, 1, 2, 1]), i32([30, 10, 20, 11])]).result(0)
    keys, values = queue.dequeue_many(3).result(0)
    assert keys.tolist() == [1, 1, 2] and values.tolist() == [10, 11, 20]
    assert queue.dequeue().result(0)[1] == 30


def test_elements_do_not_change_with_the_array_they_came_from():
    queue, mine = fifo(), i32([1, 2])
    queue.enqueue_many([mine]).result(0)
    view = mine[0, ...]
    view.flags.writeable = False
    queue.enqueue([view]).result(0)
    mine[:] = 9
    assert taken(queue.dequeue_many(3)) == [1, 2, 1]
    assert mine.flags.writeable


# -- waiting -------------------------------------------------------------------------------------------


def test_a_dequeue_waits_for_an_enqueue():
    queue = fifo()
    first, second = queue.dequeue(), queue.dequeue()
    assert not first.done() and not second.done()
    put(queue, 1)
    assert taken(first) == 1 and not second.done()
    put(queue, 2)
    assert taken(second) == 2


def test_an_enqueue_waits_for_room():
    queue = fifo(capacity=2)
    waiting = queue.enqueue_many([i32([1, 2, 3, 4])])
    late = queue.enqueue([i32(5)])
    assert not waiting.done() and queue.size() == 2
    assert taken(queue.dequeue_many(3)) == [1, 2, 3]
    assert waiting.done() and late.done() and queue.size() == 2
    assert taken(queue.dequeue_many(2)) == [4, 5]


def test_a_batch_larger_than_the_capacity_passes_through():
    queue = fifo(capacity=1)
    batch = queue.dequeue_many(3)
    queue.enqueue_many([i32([1, 2, 3])]).result(0)
    assert taken(batch) == [1, 2, 3]


def test_the_first_waiting_dequeue_is_served_first():
    queue = fifo()
    batch, single = queue.dequeue_many(2), queue.dequeue()
    put(queue, 1)
    assert not batch.done() and not single.done() and queue.size() == 0
    put(queue, 2)
    assert taken(batch) == [1, 2] and not single.done()
    put(queue, 3)
    assert taken(single) == 3


def test_callbacks_run_without_the_lock():
    queue = fifo(capacity=1)
    sizes = []
    queue.dequeue().add_done_callback(lambda _: sizes.append(queue.size()))
    put(queue, 1)
    assert sizes == [0]


# -- closing -------------------------------------------------------------------------------------------


def test_a_closed_queue_gives_out_what_it_has():
    queue = fifo()
    put(queue, 1, 2, 3)
    queue.close().result(0)
    assert queue.is_closed()
    assert taken(queue.dequeue()) == 1
    assert message(queue.dequeue_many(3), errors.OutOfRangeError) == (
        "FIFOQueue '_0_q' is closed and has insufficient elements (requested 3, current size 2)"
    )
    assert queue.size() == 2
    assert taken(queue.dequeue_up_to(3)) == [2, 3]
    assert "requested 3, current size 0" in message(queue.dequeue_up_to(3), errors.OutOfRangeError)
    assert message(queue.dequeue(), errors.OutOfRangeError) == (
        "FIFOQueue '_0_q' is closed and has insufficient elements (requested 1, current size 0)"
    )


def test_closing_fails_waiting_dequeues_and_gives_their_elements_back():
    queue = fifo()
    put(queue, 1)
    batch, other = queue.dequeue_many(3), queue.dequeue_up_to(5)
    assert queue.size() == 0
    queue.close().result(0)
    assert "requested 2, current size 0" in message(batch, errors.OutOfRangeError)
    assert taken(other) == [1]


def test_enqueues_on_a_closed_queue_fail():
    queue = fifo()
    queue.close().result(0)
    closed = "FIFOQueue '_0_q' is closed."
    assert message(queue.enqueue([i32(1)]), errors.CancelledError) == closed
    assert message(queue.enqueue_many([i32([1])]), errors.CancelledError) == closed
    assert message(queue.close(), errors.CancelledError) == "Queue '_0_q' is already closed."


def test_close_waits_for_the_enqueues_that_wait():
    queue = fifo(capacity=1)
    put(queue, 1)
    waiting, closing, late = queue.enqueue([i32(2)]), queue.close(), queue.enqueue([i32(3)])
    assert not closing.done() and not queue.is_closed()
    assert taken(queue.dequeue()) == 1
    assert waiting.result(0) is None and closing.result(0) is None
    assert message(late, errors.CancelledError) == "FIFOQueue '_0_q' is closed."
    assert taken(queue.dequeue()) == 2


def test_close_can_cancel_the_enqueues_that_wait():
    queue = fifo(capacity=1)
    put(queue, 1)
    waiting = queue.enqueue([i32(2)])
    queue.close(cancel_pending=True).result(0)
    assert message(waiting, errors.CancelledError) == "Enqueue operation was cancelled"
    queue.close(cancel_pending=True).result(0)
    assert taken(queue.dequeue()) == 1


# -- cancelling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fifo, shuffle])
def test_a_cancelled_batch_puts_its_elements_back(make):
    queue, manager = make(), CancellationManager()
    put(queue, 1, 2)
    batch, next_one = queue.dequeue_many(3, manager), queue.dequeue()
    assert queue.size() == 0
    cancelled_manager(manager)
    assert message(batch, errors.CancelledError) == "Dequeue operation was cancelled"
    rest = [taken(next_one), taken(queue.dequeue())]
    assert sorted(rest) == [1, 2]
    if make is fifo:
        assert rest == [1, 2]


def test_priority_order_survives_a_cancelled_batch():
    queue, manager = priority(), CancellationManager()
    queue.enqueue_many([np.array([2, 1, 1]), i32([20, 10, 11])]).result(0)
    batch = queue.dequeue_many(4, manager)
    cancelled_manager(manager)
    assert message(batch, errors.CancelledError) == "Dequeue operation was cancelled"
    assert queue.dequeue_many(3).result(0)[1].tolist() == [10, 11, 20]


def test_a_cancelled_enqueue_adds_nothing_more():
    queue, manager = fifo(capacity=2), CancellationManager()
    waiting, after = queue.enqueue_many([i32([1, 2, 3])], manager), queue.enqueue([i32(4)])
    cancelled_manager(manager)
    assert message(waiting, errors.CancelledError) == "Enqueue operation was cancelled"
    assert taken(queue.dequeue_many(3)) == [1, 2, 4]
    assert after.done()


def test_a_cancelled_step_starts_nothing():
    queue, manager = fifo(), CancellationManager()
    cancelled_manager(manager)
    message(queue.enqueue([i32(1)], manager), errors.CancelledError)
    message(queue.dequeue(manager), errors.CancelledError)
    assert queue.size() == 0


def test_what_is_finished_is_not_cancelled():
    queue, manager = fifo(), CancellationManager()
    waiting = queue.dequeue(manager)
    put(queue, 1)
    cancelled_manager(manager)
    assert taken(waiting) == 1


# -- arguments -----------------------------------------------------------------------------------------


def fails(start, text):
    with pytest.raises(errors.InvalidArgumentError) as failure:
        start()
    assert failure.value.message == text


def test_components_must_fit():
    queue = fifo(shape=TensorShape([2]))
    fails(
        lambda: queue.enqueue([i32([1, 2, 3])]),
        "Shape mismatch in tuple component 0. Expected [2], got [3]",
    )
    fails(
        lambda: queue.enqueue([np.zeros(2, np.float32)]),
        "Type mismatch in tuple component 0. Expected int32, got float",
    )
    fails(
        lambda: queue.enqueue([i32([1, 2])] * 2),
        "Wrong number of components in tuple. Expected 1, got 2",
    )
    fails(
        lambda: queue.enqueue_many([i32(np.zeros((3, 3)))]),
        "Shape mismatch in tuple component 0. Expected [3,2], got [3,3]",
    )
    fails(
        lambda: padding([None, 2]).enqueue([i32([1, 2])]),
        "Shape mismatch in tuple component 0. Expected [?,2], got [2]",
    )
    pair = FIFOQueue("q", [dtypes.int32] * 2, [SCALAR] * 2)
    fails(
        lambda: pair.enqueue_many([i32([1, 2, 3]), i32([1, 2])]),
        "Shape mismatch in tuple component 1. Expected [3], got [2]",
    )


def test_batches_need_fixed_shapes():
    queue = fifo(shape=None)
    put(queue, 1)
    queue.enqueue([i32([1, 2])]).result(0)
    fails(
        lambda: queue.dequeue_many(1),
        "FIFOQueue's DequeueMany and DequeueUpTo require the components to have specified shapes.",
    )
    fails(lambda: fifo().dequeue_many(-1), "DequeueManyOp requested -1 < 0 elements")
    assert taken(queue.dequeue()) == 1 and taken(queue.dequeue()) == [1, 2]


def test_shapes_are_for_all_components():
    fails(
        lambda: FIFOQueue("q", [dtypes.int32] * 2, [SCALAR]),
        "Different number of component types and shapes: 2 types, 1 shapes.",
    )


# -- many at once --------------------------------------------------------------------------------------


def test_threads_lose_and_double_nothing():
    queue, total, workers = fifo(capacity=5), 300, 4
    seen: list[int] = []
    lock = threading.Lock()

    def produce(start):
        for value in range(start, total, workers):
            queue.enqueue([i32(value)]).result(20)

    def consume():
        while True:
            try:
                values = queue.dequeue_up_to(3).result(20)[0].tolist()
            except errors.OutOfRangeError:
                return
            with lock:
                seen.extend(values)

    producers = [threading.Thread(target=produce, args=(i,)) for i in range(workers)]
    consumers = [threading.Thread(target=consume) for _ in range(workers)]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join()
    queue.close().result(20)
    for thread in consumers:
        thread.join()
    assert sorted(seen) == list(range(total))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["take", "up_to"]), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(steps=STEPS, capacity=st.integers(1, 5))
def test_every_element_comes_out_once_and_in_order(steps, capacity):
    queue, serial = fifo(capacity=capacity), 0
    puts, takes = [], []
    for action, n in steps:
        if action == "put":
            puts.append((queue.enqueue_many([i32(range(serial, serial + n))]), n))
            serial += n
        elif action == "cancel":
            if n < len(takes):
                cancelled_manager(takes[n][1])
        else:
            manager = CancellationManager()
            start = queue.dequeue_many if action == "take" else queue.dequeue_up_to
            takes.append((start(n, manager), manager))
    queue.close(cancel_pending=True).result(0)
    out = []
    for future, _ in takes:
        if future.exception(0) is None:
            out.append(taken(future))
    out.append(taken(queue.dequeue_many(queue.size())))
    flat = sorted(value for batch in out for value in batch)
    assert flat == list(range(len(flat)))
    assert all(batch == sorted(batch) for batch in out)
    assert len(flat) >= sum(n for future, n in puts if future.exception(0) is None)


def test_rows_go_in_as_far_as_there_is_room():
    queue = fifo(capacity=5)
    put(queue, 0)
    assert queue.room() == 4
    assert queue.put_rows([i32(range(1, 8))], 7) == 4
    waiting = queue.enqueue([i32(9)])
    assert queue.room() == 0 and queue.put_rows([i32([8])], 1) == 0  # others are first
    assert taken(queue.dequeue_many(3)) == [0, 1, 2]
    assert waiting.done() and queue.room() == 2
    assert queue.put_rows([[i32(5), i32(6)]], 2) == 2
    assert taken(queue.dequeue()) == 3
    assert taken(queue.dequeue_many(4)) == [4, 9, 5, 6]
    queue.close().result(0)
    assert queue.room() == 0 and queue.put_rows([i32([1])], 1) == 0


def test_rows_that_do_not_fit_the_queue_are_refused_whole():
    queue = fifo(shape=TensorShape([2]))
    with pytest.raises(errors.InvalidArgumentError, match="Shape mismatch in tuple component 0"):
        queue.put_rows([i32([[1, 2, 3]])], 1)
    with pytest.raises(errors.InvalidArgumentError, match="Type mismatch in tuple component 0"):
        queue.put_rows([np.zeros((1, 2), np.float32)], 1)
    assert queue.size() == 0


def test_rows_serve_those_who_wait():
    queue = fifo(capacity=3)
    batch = queue.dequeue_many(5)
    assert queue.put_rows([i32([1, 2, 3])], 3) == 3 and queue.room() == 3
    assert queue.put_rows([i32([4, 5, 6])], 3) == 3
    assert taken(batch) == [1, 2, 3, 4, 5] and queue.size() == 1


def test_elements_taken_on_approval_go_back_to_the_front():
    queue = fifo(capacity=6)
    queue.enqueue_many([i32(range(4))]).result(0)
    some = queue.take_rows(3)
    assert some.taken == 3 and queue.size() == 1
    other = queue.dequeue()
    assert not other.done() and queue.take_rows(1) is None
    put(queue, 4, 5)
    queue.settle(some, 1)
    assert taken(other) == 1
    assert taken(queue.dequeue_many(4)) == [2, 3, 4, 5]
    assert queue.take_rows(3) is None and shuffle().take_rows(1) is None


def test_a_queue_that_is_released_forgets_what_was_taken_on_approval():
    queue = fifo()
    put(queue, 1, 2)
    some = queue.take_rows(1)
    queue.release()
    queue.settle(some, 0)
    assert queue.size() == 2


def test_blocks_and_single_elements_keep_their_order():
    queue = fifo(shape=TensorShape([2]))
    rows = np.arange(40, dtype=np.int32).reshape(20, 2)
    queue.enqueue([rows[0]]).result(0)
    queue.enqueue_many([rows[1:8]]).result(0)
    queue.enqueue([rows[8]]).result(0)
    queue.enqueue([rows[9]]).result(0)
    queue.enqueue_many([rows[10:20]]).result(0)
    found = [queue.dequeue().result(0)[0][None] for _ in range(3)]
    found += [queue.dequeue_many(n).result(0)[0] for n in (1, 6, 7, 3)]
    np.testing.assert_array_equal(np.concatenate(found), rows)
    cancelled = CancellationManager()
    queue.enqueue_many([rows[:3]]).result(0)
    failed = queue.dequeue_many(5, cancelled)
    cancelled.cancel(errors.CancelledError(None, None, "stop"))
    assert isinstance(failed.exception(0), errors.CancelledError)
    np.testing.assert_array_equal(queue.dequeue_many(3).result(0)[0], rows[:3])
