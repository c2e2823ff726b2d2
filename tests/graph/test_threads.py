"""A graph may be built from several threads, each with scopes of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import flowmesh as tf


def _in_threads(work: Callable[[int], None], count: int = 4) -> list[BaseException]:
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(index: int) -> None:
        try:
            start.wait(timeout=20)
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return failures


def test_names_stay_unique_and_all_nodes_are_there() -> None:
    graph = tf.Graph()

    def build(_: int) -> None:
        with graph.as_default():
            for _ in range(50):
                tf.add(tf.constant(1.0, name="c"), 1.0, name="sum")

    assert not _in_threads(build)
    names = [op.name for op in graph.get_operations()]
    assert len(names) == len(set(names)) == 4 * 50 * 3
    assert {"c", "sum", "sum/y", "c_199", "sum_199"} <= set(names)
    ids = [op.id for op in graph.get_operations()]
    assert ids == sorted(ids)


def test_scopes_belong_to_a_thread() -> None:
    graph = tf.Graph()
    inside = threading.Barrier(4)

    def build(index: int) -> None:
        with (
            graph.as_default(),
            tf.device(f"/job:j/task:{index}"),
            tf.name_scope(f"scope{index}"),
        ):
            first = tf.no_op(name="first")
            inside.wait(timeout=20)
            with graph.control_dependencies([first]):
                inside.wait(timeout=20)
                second = tf.no_op(name="second")
            assert second.name == f"scope{index}/second"
            assert second.device == f"/job:j/task:{index}"
            assert second.control_inputs == [first]

    assert not _in_threads(build)
    with graph.as_default():
        assert tf.no_op(name="outside").device == ""


def test_default_graph_of_a_new_thread_is_the_process_wide_one() -> None:
    seen: list[object] = []
    with tf.Graph().as_default():
        assert not _in_threads(lambda _: seen.append(tf.get_default_graph()), 1)
        assert seen[0] is not tf.get_default_graph()


def test_variable_scope_belongs_to_a_thread() -> None:
    graph = tf.Graph()
    inside = threading.Barrier(3)

    def build(index: int) -> None:
        with graph.as_default(), tf.variable_scope(f"v{index}"):
            inside.wait(timeout=20)
            assert tf.get_variable("w", [1]).name == f"v{index}/w:0"

    assert not _in_threads(build, 3)


def test_a_session_runs_while_the_graph_grows() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        start = tf.constant(1.0)

        def work(index: int) -> None:
            with graph.as_default():
                total = start
                for _ in range(10):
                    total = total + float(index)
                    session.run(total)
            assert session.run(total) == 1.0 + 10.0 * index

        assert not _in_threads(work)
