"""Tests of programs that use sessions (TensorFlow: `tf.test`)."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import shutil
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from flowmesh.client.session import Session
from flowmesh.core import errors
from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.core.device_spec import canonical_name
from flowmesh.distributed.ports import reserve
from flowmesh.distributed.server import Server
from flowmesh.frontend import nest
from flowmesh.graph import random_seed
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.default_stack import get_default_session
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph, reset_default_graph
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.placeholder import placeholder
from flowmesh.training.testing_checks import ElementChecks

_SEED = 87654321
_directory: str | None = None


def get_temp_dir() -> str:
    """A directory for the files of this test process (tf.test.get_temp_dir)."""
    global _directory
    if _directory is None or not os.path.isdir(_directory):
        _directory = tempfile.mkdtemp(prefix="flowmesh_test_")
    return _directory


def is_built_with_cuda() -> bool:
    """Always False: GPUs come through JAX, not through a build (tf.test.is_built_with_cuda)."""
    return False


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """Whether a GPU is there (tf.test.is_gpu_available)."""
    return bool(gpu_device_name())


def gpu_device_name() -> str:
    """The name of the first GPU, "" without one (tf.test.gpu_device_name)."""
    with Session(graph=Graph()) as session:
        for device in session.list_devices():
            if device.device_type == "GPU":
                return str(device.name)
    return ""


def create_local_cluster(
    num_workers: int,
    num_ps: int,
    protocol: str = "grpc",
    worker_config: Any = None,
    ps_config: Any = None,
) -> tuple[list[Server], list[Server]]:
    """`(worker servers, ps servers)` of a cluster in this process, on free ports (tf.test.create_local_cluster)."""
    ports = reserve("127.0.0.1", num_workers + num_ps)
    addresses = [f"localhost:{port.number}" for port in ports]
    jobs = {"worker": addresses[:num_workers], "ps": addresses[num_workers:]}
    cluster = ClusterSpec({job: hosts for job, hosts in jobs.items() if hosts})
    left = iter(ports)

    def start(job: str, count: int, config: Any) -> list[Server]:
        servers = []
        for index in range(count):
            next(left).release()
            servers.append(Server(cluster, job, index, protocol, config))
        return servers

    try:
        return start("worker", num_workers, worker_config), start("ps", num_ps, ps_config)
    finally:
        for port in ports:
            port.close()


# -- gradients -------------------------------------------------------------------------------------


def _jacobians(
    x: Any, x_shape: Any, y: Any, y_shape: Any, x_init_value: Any, delta: float, feeds: Any
) -> tuple[np.ndarray, np.ndarray]:
    session = get_default_session()
    if session is None:
        raise ValueError("compute_gradient needs a default session: call it inside `with session:`")
    dtype = x.dtype.base_dtype.as_numpy_dtype
    if x_init_value is None:
        x_init_value = np.random.random_sample(x_shape)
    value = np.array(x_init_value, dtype).reshape(x_shape)
    rows, columns = int(np.prod(x_shape, dtype=int)), int(np.prod(y_shape, dtype=int))
    slope = np.zeros(y_shape, y.dtype.base_dtype.as_numpy_dtype)
    grad_y = placeholder(y.dtype.base_dtype, slope.shape)
    given = gradients(y, x, grad_ys=grad_y)[0]
    theoretical = np.zeros((rows, columns), dtype)
    for column in range(columns if given is not None else 0):
        one = slope.copy()
        one.reshape(-1)[column] = 1
        found = session.run(given, {**feeds, x: value, grad_y: one})
        theoretical[:, column] = _dense(found, x_shape).reshape(-1)
    numeric = np.zeros((rows, columns), dtype)
    for row in range(rows):
        step = np.zeros(rows, dtype)
        step[row] = delta
        step = step.reshape(x_shape)
        above = session.run(y, {**feeds, x: value + step})
        below = session.run(y, {**feeds, x: value - step})
        numeric[row] = (np.asarray(above) - np.asarray(below)).reshape(-1) / (2 * delta)
    return theoretical, numeric


def _dense(found: Any, shape: Any) -> np.ndarray:
    if not hasattr(found, "indices"):
        return np.asarray(found)
    result = np.zeros(shape, found.values.dtype)
    np.add.at(result, found.indices, found.values)
    return result


def compute_gradient(
    x: Any,
    x_shape: Any,
    y: Any,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: Any = None,
) -> Any:
    """The Jacobian of `y` by `x`, from `gradients` and from differences (tf.test.compute_gradient).

    `x` is a tensor or a list; the result is a pair, or a list of pairs, of [size of x, size of y] arrays.
    """
    feeds = dict(extra_feed_dict or {})
    if init_targets is not None:
        session = get_default_session()
        assert session is not None
        session.run(init_targets)
    if not isinstance(x, list):
        return _jacobians(x, x_shape, y, y_shape, x_init_value, delta, feeds)
    values = (
        x_init_value if x_init_value is not None else [np.random.random_sample(s) for s in x_shape]
    )
    results = []
    for one, shape, value in zip(x, x_shape, values):
        others = {o: v for o, v in zip(x, values) if o is not one}
        results.append(_jacobians(one, shape, y, y_shape, value, delta, {**feeds, **others}))
    return results


def compute_gradient_error(
    x: Any,
    x_shape: Any,
    y: Any,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: Any = None,
) -> float:
    """The largest difference between the two Jacobians of `compute_gradient` (tf.test.compute_gradient_error)."""
    found = compute_gradient(
        x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict
    )
    pairs = [found] if isinstance(found, tuple) else found
    return max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)


# -- test cases ------------------------------------------------------------------------------------


class TestCase(ElementChecks):
    """A unittest.TestCase with sessions, seeds and comparisons of arrays (tf.test.TestCase)."""

    __test__ = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = True  # type: ignore[attr-defined]

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self._cached: Session | None = None
        self._folder: str | None = None

    def setUp(self) -> None:
        """Clears the default graph and sets all seeds."""
        random.seed(_SEED)
        np.random.seed(_SEED)
        reset_default_graph()
        random_seed.set_random_seed(_SEED)

    def tearDown(self) -> None:
        """Closes the cached session and removes the directory of the test."""
        if self._cached is not None:
            self._cached.close()
            self._cached = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def get_temp_dir(self) -> str:
        """A directory for the files of this test."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(dir=get_temp_dir())
        return self._folder

    @contextlib.contextmanager
    def session(
        self, graph: Any = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """A session that ends with the `with`; without `use_gpu`, nodes made inside are put on the CPU."""
        with Session(graph=graph, config=config) as made, self._placed(made, use_gpu, force_gpu):
            yield made

    @contextlib.contextmanager
    def cached_session(
        self, graph: Any = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """The session of this test: the same at each call."""
        if self._cached is None:
            self._cached = Session(graph=graph, config=config)
        made = self._cached
        with made.graph.as_default(), made.as_default(), self._placed(made, use_gpu, force_gpu):
            yield made

    def test_session(
        self, graph: Any = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> contextlib.AbstractContextManager[Session]:
        """The cached session, or a new one where a graph is given; not a test itself, whatever runners think."""
        if self._testMethodName == "test_session":
            self.skipTest("Not a test.")
        opened = self.cached_session if graph is None else self.session
        return opened(graph, config, use_gpu, force_gpu)

    @staticmethod
    @contextlib.contextmanager
    def _placed(session: Session, use_gpu: bool, force_gpu: bool) -> Iterator[None]:
        name = "/device:GPU:0" if force_gpu else None if use_gpu else "/cpu:0"
        with session.graph.device(name) if name else contextlib.nullcontext():
            yield

    def evaluate(self, tensors: Any) -> Any:
        """The values of a structure of tensors in the default session."""
        session = get_default_session() or self._cached
        if session is None:
            raise ValueError("evaluate needs a session: call it inside `with self.session():`")
        return session.run(tensors)

    def _array(self, value: Any) -> Any:
        if isinstance(value, (Tensor, IndexedSlices)) or hasattr(value, "_as_graph_element"):
            value = self.evaluate(value)
        return np.asarray(value)

    # -- comparisons ---------------------------------------------------------------------------

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Fails unless the arrays have equal shapes and elements (NaN equals NaN)."""
        first, second = self._array(a), self._array(b)
        self.assertEqual(
            first.shape,
            second.shape,
            f"Shape mismatch: expected {first.shape}, got {second.shape}. {msg or ''}",
        )
        same = first == second
        if first.dtype.kind in "fc" and second.dtype.kind in "fc":
            same = same | (np.isnan(first) & np.isnan(second))
        if not np.all(same):
            where = np.argwhere(np.logical_not(same))
            self.fail(
                f"Arrays are not equal: {len(where)} of {first.size} elements differ, at {where[:10].tolist()}: "
                f"{first} != {second}. {msg or ''}"
            )

    def assertNotAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Fails when the arrays are equal."""
        try:
            self.assertAllEqual(a, b)
        except AssertionError:
            return
        self.fail(f"The two values are equal at all elements. {msg or ''}")

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None
    ) -> None:
        """Fails unless the arrays, or structures of them, are near: |a - b| <= atol + rtol * |b|."""
        if isinstance(a, Mapping) or isinstance(b, Mapping):
            self.assertEqual(sorted(a), sorted(b), msg)
            for key in a:
                self.assertAllClose(a[key], b[key], rtol, atol, f"[{key}] {msg or ''}")
            return
        if nest.is_sequence(a) and any(not np.isscalar(x) for x in a):
            self.assertEqual(len(a), len(b), msg)
            for x, y in zip(a, b):
                self.assertAllClose(x, y, rtol, atol, msg)
            return
        first, second = self._array(a), self._array(b)
        self.assertEqual(
            first.shape,
            second.shape,
            f"Shape mismatch: expected {first.shape}, got {second.shape}. {msg or ''}",
        )
        if not np.allclose(first, second, rtol=rtol, atol=atol, equal_nan=True):
            close = np.isclose(first, second, rtol=rtol, atol=atol, equal_nan=True)
            where = np.argwhere(np.logical_not(close))
            worst = np.max(np.abs(np.asarray(first - second, float)))
            self.fail(
                f"Not equal to tolerance rtol={rtol}, atol={atol}: {len(where)} of {first.size} elements differ, at "
                f"{where[:10].tolist()}, by up to {worst:g}: {first} != {second}. {msg or ''}"
            )

    def assertAllCloseAccordingToType(
        self,
        a: Any,
        b: Any,
        rtol: float = 1e-6,
        atol: float = 1e-6,
        float_rtol: float = 1e-6,
        float_atol: float = 1e-6,
        half_rtol: float = 1e-3,
        half_atol: float = 1e-3,
        bfloat16_rtol: float = 1e-2,
        bfloat16_atol: float = 1e-2,
        msg: str | None = None,
    ) -> None:
        """As `assertAllClose`, with tolerances of the less precise dtype."""
        first, second = self._array(a), self._array(b)
        kinds = {first.dtype.name, second.dtype.name}
        if kinds & {"float32", "complex64"}:
            rtol, atol = max(rtol, float_rtol), max(atol, float_atol)
        if "float16" in kinds:
            rtol, atol = max(rtol, half_rtol), max(atol, half_atol)
        if "bfloat16" in kinds:
            rtol, atol = max(rtol, bfloat16_rtol), max(atol, bfloat16_atol)
        self.assertAllClose(first, second, rtol, atol, msg)

    def assertNear(self, f1: Any, f2: Any, err: float, msg: str | None = None) -> None:
        """Fails unless two numbers are within `err`."""
        if not (f1 == f2 or math.fabs(f1 - f2) <= err):
            self.fail(f"{f1} != {f2} +/- {err}{f' ({msg})' if msg else ''}")

    def assertArrayNear(
        self, farray1: Any, farray2: Any, err: float, msg: str | None = None
    ) -> None:
        """Fails unless two lists of numbers are within `err`."""
        self.assertEqual(len(farray1), len(farray2), msg=msg)
        for f1, f2 in zip(farray1, farray2):
            self.assertNear(float(f1), float(f2), err, msg=msg)

    def assertNDArrayNear(
        self, ndarray1: Any, ndarray2: Any, err: float, msg: str | None = None
    ) -> None:
        """Fails unless the norm of the difference of two arrays is below `err`."""
        self.assertLess(
            float(np.linalg.norm(self._array(ndarray1) - self._array(ndarray2))), err, msg
        )

    def assertShapeEqual(self, np_array: Any, tf_tensor: Any, msg: str | None = None) -> None:
        """Fails unless an array and a tensor have one static shape."""
        if not isinstance(np_array, (np.ndarray, np.generic)):
            raise TypeError("np_array must be a Numpy ndarray or Numpy scalar")
        self.assertAllEqual(np_array.shape, tf_tensor.shape.as_list(), msg)

    def assertDeviceEqual(self, device1: Any, device2: Any, msg: str | None = None) -> None:
        """Fails unless two device names mean the same."""
        self.assertEqual(canonical_name(device1), canonical_name(device2), msg)

    @contextlib.contextmanager
    def assertRaisesWithPredicateMatch(
        self, exception_type: Any, expected_err_re_or_predicate: str | Callable[[Any], bool]
    ) -> Iterator[None]:
        """Fails unless the block raises the error, with a text that matches the pattern (or satisfies the function)."""
        wanted = expected_err_re_or_predicate
        try:
            yield
        except exception_type as error:
            text = error.message if isinstance(error, errors.OpError) else str(error)
            good = wanted(error) if callable(wanted) else re.search(wanted, text)
            if not good:
                raise AssertionError(f"Exception of type {type(error)}: {error}") from error
        else:
            self.fail(f"{getattr(exception_type, '__name__', exception_type)} not raised")

    def assertRaisesOpError(self, expected_err_re_or_predicate: Any) -> Any:
        """Fails unless the block raises an OpError of that text."""
        return self.assertRaisesWithPredicateMatch(errors.OpError, expected_err_re_or_predicate)

    def assertProtoEquals(
        self, expected_message_maybe_ascii: Any, message: Any, msg: str | None = None
    ) -> None:
        """Fails unless two messages (the first maybe as text) are equal."""
        expected = expected_message_maybe_ascii
        if isinstance(expected, str):
            from google.protobuf import text_format

            expected = text_format.Merge(expected, type(message)())
        self.assertEqual(str(expected), str(message), msg)

    def assertStartsWith(self, actual: str, expected_start: str, msg: str | None = None) -> None:
        """Fails unless a text starts so."""
        if not actual.startswith(expected_start):
            self.fail(f"{actual!r} does not start with {expected_start!r}. {msg or ''}")


def main(argv: Any = None) -> None:
    """Runs the tests of the program (tf.test.main)."""
    unittest.main(argv=argv or sys.argv)


def test_src_dir_path(relative_path: str) -> str:
    """`relative_path` below the folder of the running program (tf.test.test_src_dir_path)."""
    return os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), relative_path)


test_src_dir_path.__test__ = False  # type: ignore[attr-defined]


def assert_equal_graph_def(actual: Any, expected: Any) -> None:
    """AssertionError unless two GraphDefs have the same nodes, in whatever order (tf.test.assert_equal_graph_def)."""
    ours = {n.name: n for n in actual.node}
    theirs = {n.name: n for n in expected.node}
    if ours.keys() != theirs.keys():
        raise AssertionError(f"nodes differ: {sorted(ours.keys() ^ theirs.keys())}")
    for name, node in ours.items():
        if node != theirs[name]:
            raise AssertionError(f"node {name} differs: {node} != {theirs[name]}")
