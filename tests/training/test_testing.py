"""`tf.test`: comparisons, sessions, gradients, clusters."""

from __future__ import annotations

import os

import numpy as np
import pytest

from flowmesh.client.session import Session
from flowmesh.core import errors
from flowmesh.core.dtypes import float32
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops.constant import constant
from flowmesh.ops.elementwise import square
from flowmesh.ops.placeholder import placeholder
from flowmesh.training import testing


class TestOwnCase(testing.TestCase):
    """The methods of TestCase, used as programs use them."""

    def test_sessions_run_on_the_cpu(self) -> None:
        with self.session(graph=Graph()) as session:
            value = constant(2.0)
            assert value.device == "/device:CPU:0"
            self.assertAllEqual(session.run(value), 2.0)

    def test_cached_session_stays(self) -> None:
        with self.cached_session() as first:
            self.assertEqual(self.evaluate(constant(3)), 3)
        with self.test_session() as second:
            assert first is second

    def test_comparisons(self) -> None:
        self.assertAllEqual([1.0, float("nan")], np.array([1.0, float("nan")]))
        self.assertAllClose({"a": [1.0, 2.0]}, {"a": np.array([1.0, 2.0 + 1e-7])})
        self.assertAllCloseAccordingToType(np.float16(1.0), np.float16(1.0005))
        self.assertNotAllEqual([1, 2], [1, 3])
        self.assertAllGreater([2, 3], 1)
        self.assertArrayNear([1.0], [1.01], 0.1)
        self.assertShapeEqual(np.zeros([2, 3]), placeholder(float32, [2, 3]))
        for wrong in (
            lambda: self.assertAllEqual([1, 2], [1, 3]),
            lambda: self.assertAllEqual([1, 2], [[1, 2]]),
            lambda: self.assertAllClose([1.0], [1.1]),
            lambda: self.assertNear(1.0, 2.0, 0.5),
        ):
            with pytest.raises(AssertionError):
                wrong()

    def test_op_errors(self) -> None:
        with self.session(graph=Graph()) as session:
            bad = raw.CheckNumerics(constant(float("inf")), message="bad one")
            with self.assertRaisesOpError("bad one"):
                session.run(bad)
        with pytest.raises(AssertionError), self.assertRaisesOpError("x"):
            pass

    def test_temporary_directory_is_of_this_test(self) -> None:
        assert os.path.isdir(self.get_temp_dir())
        assert self.get_temp_dir().startswith(testing.get_temp_dir())


def test_gradients_agree_with_differences() -> None:
    with Graph().as_default(), Session():
        x = placeholder(float32, [2, 3])
        y = square(x)
        start = np.arange(6.0).reshape(2, 3)
        theory, numbers = testing.compute_gradient(x, [2, 3], y, [2, 3], start)
        np.testing.assert_allclose(theory, np.diag(2 * start.reshape(-1)), rtol=1e-5)
        assert testing.compute_gradient_error(x, [2, 3], y, [2, 3], start) < 0.02
        assert theory.shape == numbers.shape == (6, 6)


def test_local_cluster_runs() -> None:
    workers, servers = testing.create_local_cluster(1, 1)
    try:
        with Graph().as_default():
            with get_default_graph().device("/job:ps/task:0"):
                value = raw.Add(constant(1.0), constant(2.0))
            with Session(workers[0].target) as session:
                assert session.run(value) == 3.0
    finally:
        for server in [*workers, *servers]:
            server.stop()


def test_graph_definitions_compare_by_node() -> None:
    with Graph().as_default() as graph:
        constant(1.0, name="a")
        one = graph.as_graph_def()
        constant(1.0, name="b")
        testing.assert_equal_graph_def(one, one)
        with pytest.raises(AssertionError):
            testing.assert_equal_graph_def(one, graph.as_graph_def())
    assert issubclass(errors.InvalidArgumentError, errors.OpError)
