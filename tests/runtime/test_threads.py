"""The compute pool and the timer: threads come with the work and go with it."""

from __future__ import annotations

import threading
import time

from flowmesh.runtime.pool import WorkPool, shared_pool
from flowmesh.runtime.timer import Timer

WAIT = 10


def threads(prefix):
    return [t for t in threading.enumerate() if t.name.startswith(prefix)]


def join(prefix):
    for thread in threads(prefix):
        thread.join(WAIT)
        assert not thread.is_alive()


def test_jobs_run_side_by_side_up_to_the_size():
    pool = WorkPool(2, "test-side", idle=0.01)
    meet = threading.Barrier(2)
    done = [threading.Event() for _ in range(2)]
    for event in done:

        def job(event=event):
            meet.wait(WAIT)
            event.set()

        pool.submit(job)
    assert all(event.wait(WAIT) for event in done)
    join("test-side")


def test_jobs_keep_their_order_on_one_thread():
    pool = WorkPool(1, "test-order", idle=0.01)
    seen = []
    over = threading.Event()
    for i in range(20):
        pool.submit(lambda i=i: seen.append(i))
    pool.submit(over.set)
    assert over.wait(WAIT)
    assert seen == list(range(20))
    join("test-order")
    assert not threads("test-order")


def test_a_failing_job_does_not_take_the_pool_with_it(caplog):
    pool = WorkPool(1, "test-fail", idle=0.01)
    over = threading.Event()

    def fail():
        raise ValueError("oops")

    pool.submit(fail)
    pool.submit(over.set)
    assert over.wait(WAIT)
    assert "A job of the compute pool failed" in caplog.text
    join("test-fail")


def test_the_shared_pool_is_one_for_each_size():
    assert shared_pool(3) is shared_pool(3)
    assert shared_pool(3).size == 3
    assert shared_pool(0).size >= 4


def test_callbacks_come_in_the_order_of_their_moments():
    timer = Timer()
    now = time.monotonic()
    seen = []
    over = threading.Event()
    timer.schedule(now + 0.02, lambda: (seen.append(2), over.set()))
    timer.schedule(now + 0.01, lambda: seen.append(1))
    assert over.wait(WAIT)
    assert seen == [1, 2]


def test_a_cancelled_callback_does_not_come_and_the_thread_ends():
    before = set(threads("flowmesh-timer"))
    timer = Timer()
    number = timer.schedule(time.monotonic() + 1000, lambda: None)
    (thread,) = set(threads("flowmesh-timer")) - before
    timer.cancel(number)
    thread.join(WAIT)
    assert not thread.is_alive()
    again = threading.Event()
    timer.schedule(time.monotonic(), again.set)
    assert again.wait(WAIT)
