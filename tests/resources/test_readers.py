"""`Reader`: records across work items, waiting, cancelling, state."""

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.queues import FIFOQueue
from flowmesh.resources.readers import Reader


def names(*items, close=False):
    queue = FIFOQueue("_0_q", [dtypes.string], [TensorShape([])])
    put(queue, *items)
    if close:
        queue.close().result(0)
    return queue


def put(queue, *items):
    for item in items:
        queue.enqueue([np.array(item, object)]).result(0)


def letters(item):
    """One record per letter; "!" is a bad file."""
    if item == b"!":
        raise errors.DataLossError(None, None, "bad item")
    for i, letter in enumerate(item):
        yield b"%s:%d" % (item, i), bytes([letter])


def reader(**kwargs):
    return Reader("r", letters, **kwargs)


def values(future):
    return [value for _, value in future.result(0)]


def test_records_come_in_order_across_items():
    r, queue = reader(), names(b"ab", b"", b"c", close=True)
    assert [r.read(queue).result(0) for _ in range(3)] == [
        (b"ab:0", b"a"),
        (b"ab:1", b"b"),
        (b"c:0", b"c"),
    ]
    with pytest.raises(errors.OutOfRangeError, match="is closed and has insufficient elements"):
        r.read(queue).result(0)
    assert (r.records_produced, r.work_units_completed) == (3, 3)


def test_several_at_once_end_with_their_item():
    r, queue = reader(), names(b"abcd", b"efg", close=True)
    assert values(r.read_up_to(queue, 3)) == [b"a", b"b", b"c"]
    assert values(r.read_up_to(queue, 3)) == [b"d"]
    assert values(r.read_up_to(queue, 3)) == [b"e", b"f", b"g"]
    assert r.work_units_completed == 1
    assert values(r.read_up_to(queue, 0)) == []
    with pytest.raises(errors.OutOfRangeError):
        r.read_up_to(queue, 3).result(0)


def test_reads_wait_for_the_queue_in_order():
    r, queue = reader(), names()
    first, second, third = r.read(queue), r.read(queue), r.read_up_to(queue, 2)
    assert not first.done()
    put(queue, b"ab")
    assert first.result(0)[1] == b"a" and second.result(0)[1] == b"b"
    assert not third.done()
    put(queue, b"", b"cde")
    assert values(third) == [b"c", b"d"]


def test_a_bad_item_fails_each_read_until_the_reader_is_reset():
    r, queue = reader(), names(b"!", b"x")
    for _ in range(2):  # as in TensorFlow
        with pytest.raises(errors.DataLossError, match="bad item"):
            r.read(queue).result(0)
    r.reset()
    assert r.read(queue).result(0)[1] == b"x"
    empty = names()
    waiting = r.read(empty)
    put(empty, b"!")
    with pytest.raises(errors.DataLossError, match="bad item"):
        waiting.result(0)


def test_cancelled_reads_leave_the_line():
    r, queue = reader(), names()
    managers = [CancellationManager() for _ in range(3)]
    reads = [r.read(queue, manager) for manager in managers]
    reason = errors.CancelledError(None, None, "Step was cancelled.")
    managers[1].cancel(reason)
    with pytest.raises(errors.CancelledError, match="Dequeue operation was cancelled"):
        reads[1].result(0)
    assert not reads[0].done()
    managers[0].cancel(reason)
    with pytest.raises(errors.CancelledError, match="Dequeue operation was cancelled"):
        reads[0].result(0)
    put(queue, b"x")
    assert reads[2].result(0)[1] == b"x"


def test_one_record_items_are_complete_at_once_and_keep_state():
    r, queue = reader(one_record=True), names(b"a", b"b", b"c")
    assert r.keeps_state and not reader().keeps_state
    r.read(queue).result(0)
    state = r.state()
    assert state == (1, 1, 1, b"a")
    r.read(queue).result(0)
    r.set_state(state)
    assert r.work_units_completed == 1
    assert r.read(queue).result(0)[1] == b"c"
    r.reset()
    assert (r.records_produced, r.work_units_completed) == (0, 0)


def test_the_queue_must_hold_single_strings():
    def failure(types, *components):
        queue = FIFOQueue("q", types)
        queue.enqueue(list(components)).result(0)
        with pytest.raises(errors.InvalidArgumentError) as failed:
            reader().read(queue).result(0)
        return failed.value.message

    text = np.array(b"a", object)
    assert failure([dtypes.int32], np.array(1, np.int32)) == (
        "Expected queue with single string component"
    )
    assert failure([dtypes.string] * 2, text, text) == "Expected single component queue"
    assert failure([dtypes.string], np.array([b"a", b"b"], object)) == (
        "Expected to dequeue a one-element string tensor"
    )


def test_records_taken_on_approval_come_again_unless_they_were_of_use():
    r, queue = reader(), names(b"abcdef", b"gh", close=True)
    assert r.take(3) is None  # no work item yet: a read has to wait for one
    assert r.read(queue).result(0)[1] == b"a"
    taken = r.take(3)
    assert taken.records.values == [b"b", b"c", b"d"]
    assert r.records_produced == 4
    waiting = r.read(queue)
    assert not waiting.done() and r.take(1) is None
    r.settle(taken, 1)
    assert waiting.result(0) == (b"abcdef:2", b"c")
    assert r.records_produced == 3
    taken = r.take(10)
    assert list(taken.records) == [(b"abcdef:3", b"d"), (b"abcdef:4", b"e"), (b"abcdef:5", b"f")]
    r.settle(taken, 3)
    assert r.take(10) is None and r.work_units_completed == 0  # the next read comes upon the end
    assert r.read(queue).result(0)[1] == b"g"
    assert (r.records_produced, r.work_units_completed) == (7, 1)


def test_a_reset_forgets_what_was_taken_on_approval():
    r, queue = reader(), names(b"abc", b"de", close=True)
    r.read(queue).result(0)
    taken = r.take(2)
    r.reset()
    r.settle(taken, 0)
    assert r.records_produced == 0
    assert r.read(queue).result(0)[1] == b"d"


def test_an_error_comes_after_the_records_before_it():
    def failing(item):
        yield from letters(item)
        raise errors.DataLossError(None, None, "torn")

    r, queue = Reader("r", failing), names(b"abc")
    r.read(queue).result(0)
    taken = r.take(5)
    assert taken.records.values == [b"b", b"c"]
    r.settle(taken, 2)
    for _ in range(2):
        assert r.take(1) is None
        with pytest.raises(errors.DataLossError, match="torn"):
            r.read(queue).result(0)
