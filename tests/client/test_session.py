"""What a session does that no recording can show: where errors point, concurrency, life."""

from __future__ import annotations

import gc
import threading
import traceback
import weakref

import numpy as np
import pytest

import flowmesh as tf


def test_an_error_names_the_operation_and_the_line_that_made_it() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        p = tf.placeholder(tf.float32, name="p")
        q = tf.placeholder(tf.float32, name="q")
        line = traceback.extract_stack()[-1].lineno
        product = tf.matmul(p, q, name="product")
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            session.run(product, {p: [[1.0]], q: [[1.0], [2.0]]})
    error = caught.value
    assert error.op is product.op
    assert error.node_def.name == "product"
    text = str(error)
    assert "node product" in text
    assert __file__ in text
    assert f"line {line + 1}" in text or f":{line + 1}" in text
    assert "tf.matmul(p, q" in text


def test_an_unfed_placeholder_says_so() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        p = tf.placeholder(tf.float32, [2], name="p")
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="You must feed a value for placeholder tensor 'p'"
        ):
            session.run(p + 1.0)
        assert session.run(p + 1.0, {p: [1, 2]}).tolist() == [2.0, 3.0]


def test_one_session_serves_many_threads() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        p = tf.placeholder(tf.int64, [], name="p")
        square = p * p
        counter = tf.Variable(0, name="counter")
        increment = counter.assign_add(1, use_locking=True)
        session.run(counter.initializer)
        wrong: list[object] = []

        def work(index: int) -> None:
            for i in range(20):
                value = index * 100 + i
                if session.run(square, {p: value}) != value * value:
                    wrong.append(value)
                session.run(increment.op)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not wrong
        assert session.run(counter) == 80


def test_a_forgotten_session_goes_away() -> None:
    with tf.Graph().as_default():
        session = tf.Session()
        session.run(tf.constant(1))
        gone = weakref.ref(session)
        del session
        gc.collect()
        assert gone() is None


def test_closing_ends_a_blocked_run() -> None:
    with tf.Graph().as_default():
        queue = tf.FIFOQueue(1, tf.float32)
        item = queue.dequeue()
        session = tf.Session()
        session.run(queue.size())
        raised: list[BaseException] = []
        started = threading.Event()

        def wait() -> None:
            started.set()
            try:
                session.run(item)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        started.wait(timeout=20)
        session.close()
        thread.join(timeout=20)
        assert not thread.is_alive()
        assert isinstance(raised[0], (tf.errors.CancelledError, RuntimeError))


def test_a_timeout_ends_a_run() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        item = tf.FIFOQueue(1, tf.float32).dequeue()
        with pytest.raises(tf.errors.DeadlineExceededError):
            session.run(item, options=tf.RunOptions(timeout_in_ms=50))


def test_results_and_feeds_share_no_memory() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        p = tf.placeholder(tf.float32, [2], name="p")
        v = tf.Variable([0.0, 0.0])
        session.run(v.initializer)
        given = np.array([1.0, 2.0], np.float32)
        session.run(v.assign(p), {p: given})
        given[0] = 50.0
        assert session.run(v).tolist() == [1.0, 2.0]
        fetched = session.run(p, {p: given})
        fetched[0] = -1.0
        assert given[0] == 50.0


def test_attrs_classes_are_fetch_structures() -> None:
    class Pair:
        """Shaped as the attrs package shapes its classes."""

        class _Field:
            def __init__(self, name: str) -> None:
                self.name = name

        __attrs_attrs__ = (_Field("a"), _Field("b"))

        def __init__(self, a: object, b: object) -> None:
            self.a, self.b = a, b

    with tf.Graph().as_default(), tf.Session() as session:
        got = session.run(Pair(tf.constant(1), [tf.constant(2)]))
        assert (got.a, got.b) == (1, [2])


def test_fetch_structures_are_resolved_again_when_a_name_changes_its_graph() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.constant(1, name="a")
        assert session.run(["a:0"]) == [1]
        with pytest.raises(ValueError, match="not in the graph"):
            session.run("b")
        tf.constant(2, name="b")
        assert session.run("b:0") == 2


def test_reset_clears_containers() -> None:
    tf.Session.reset("")
    with pytest.raises(TypeError, match="list of names"):
        tf.Session.reset("", containers="name")


def test_a_graph_with_a_cycle_is_refused() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        a = tf.constant(1.0, name="a")
        b = tf.identity(a, name="b")
        c = tf.identity(b, name="c")
        b.op._update_input(0, c)
        assert graph.version > 0
        with pytest.raises(tf.errors.InvalidArgumentError, match="cycle"):
            session.run(c)


def test_timeline_of_a_traced_run() -> None:
    from flowmesh.client import timeline

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.matmul(tf.ones([4, 4]), tf.ones([4, 4]), name="x")
        metadata = tf.RunMetadata()
        session.run(
            x, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata
        )
        trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    import json

    events = json.loads(trace)["traceEvents"]
    assert any(e.get("ph") == "X" for e in events)
    assert any(e.get("args", {}).get("name") == "x" for e in events)
