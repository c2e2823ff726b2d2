"""Functions of a library as host ops call them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.attrs import FunctionRef
from flowmesh.graph.function import Function
from flowmesh.graph.functions import trace
from flowmesh.resources.manager import ResourceManager
from flowmesh.runtime.device import make_devices
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.functions import FunctionLibrary

DEVICES = make_devices("localhost", 0, 0, None)
CPU = DEVICES[0].name


def library(*functions: Function) -> tuple[FunctionLibrary, ResourceManager]:
    resources = ResourceManager()
    known = {f.name: f for f in functions}
    return FunctionLibrary(known, lambda part: Executable(part, DEVICES, resources)), resources


def test_a_function_of_kernels_runs_in_the_callers_thread() -> None:
    with tf.Graph().as_default():
        function = trace(lambda x: [x * 2, x], "f", [tf.int64], [[]])
    functions, _ = library(function)
    prepared = functions.prepare(function.ref, CPU)
    assert functions.prepare(function.ref, CPU) is prepared
    instance = prepared.instance()
    assert instance.inline is not None
    assert prepared.instance() is instance
    for k in range(3):
        a, b = instance.call([np.int64(k)])
        assert (a, b, a.dtype) == (2 * k, k, np.int64)


def test_shapes_of_arguments_are_known_inside() -> None:
    with tf.Graph().as_default():
        function = trace(lambda x: [tf.shape(x)], "f", [tf.float32])
    functions, _ = library(function)
    instance = functions.prepare(function.ref, CPU, [TensorShape([2, 3])]).instance()
    np.testing.assert_array_equal(instance.call([np.zeros([2, 3], np.float32)])[0], [2, 3])


def test_each_instance_draws_its_own_random_numbers_from_the_start() -> None:
    with tf.Graph().as_default():
        function = trace(lambda: [tf.random_uniform([2], seed=3)], "f", [])
    functions, _ = library(function)
    prepared = functions.prepare(function.ref, CPU)
    first, second = prepared.instance(), prepared.instance()
    a, b = first.call([])[0], first.call([])[0]
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(second.call([])[0], a)


def test_a_body_that_waits_gives_a_future_and_can_be_cancelled() -> None:
    with tf.Graph().as_default():

        def body(x: Any) -> Any:
            queue = tf.FIFOQueue(3, tf.float32, shapes=[[]], shared_name="q")
            return [queue.dequeue() + x]

        function = trace(body, "f", [tf.float32], [[]])

        def put(x: Any) -> Any:
            tf.FIFOQueue(3, tf.float32, shapes=[[]], shared_name="q").enqueue(x)
            return [x]

        fill = trace(put, "g", [tf.float32], [[]])
    functions, _ = library(function, fill)
    instance = functions.prepare(function.ref, CPU).instance()
    assert instance.inline is None
    waiting = instance.start([np.float32(1)])
    assert not waiting.done()
    functions.prepare(fill.ref, CPU).instance().call([np.float32(5)])
    assert waiting.result(timeout=20)[0] == 6
    cancellation = CancellationManager()
    waiting = instance.start([np.float32(1)], cancellation)
    cancellation.cancel(errors.CancelledError(None, None, "enough"))
    with pytest.raises(errors.CancelledError):
        waiting.result(timeout=20)


def test_errors_name_the_op_of_the_body() -> None:
    with tf.Graph().as_default():
        function = trace(lambda x: [tf.check_numerics(x, "bad", name="look")], "f", [tf.float32])
    functions, _ = library(function)
    instance = functions.prepare(function.ref, CPU).instance()
    with pytest.raises(errors.InvalidArgumentError, match=r"node look"):
        instance.call([np.float32(np.nan)])


def test_unknown_functions_are_named() -> None:
    functions, _ = library()
    with pytest.raises(errors.NotFoundError, match="Function nothing is not defined"):
        functions.prepare(FunctionRef("nothing"), CPU)


def test_a_function_that_is_called_often_becomes_a_list_of_kernels() -> None:
    def body(x: Any, y: Any) -> Any:
        parts = tf.split(tf.stack([x, y, x + y, x * y]), 2)
        return [tf.reduce_sum(parts[0]), parts[1] / 2.0, tf.as_string(x)]

    with tf.Graph().as_default():
        function = trace(body, "f", [tf.float32, tf.float32], [[], []])
    functions, _ = library(function)
    instance = functions.prepare(function.ref, CPU).instance()
    for k in range(120):
        a, b, text = instance.call([np.array(k, np.float32), np.array(2, np.float32)])
        assert (a, b.tolist(), text[()]) == (k + 2, [(k + 2) / 2, k], f"{k:f}".encode())
    assert instance._straight is not None


def test_errors_of_functions_called_often_are_told_as_of_others() -> None:
    with tf.Graph().as_default():
        function = trace(
            lambda x: [tf.check_numerics(1.0 / x, "bad", name="look")], "f", [tf.float32], [[]]
        )
    functions, _ = library(function)
    instance = functions.prepare(function.ref, CPU).instance()
    with np.errstate(all="ignore"):
        for _ in range(110):
            instance.call([np.array(2, np.float32)])
        with pytest.raises(errors.InvalidArgumentError, match=r"function_node f\}\} bad.*\n.*look"):
            instance.call([np.array(0, np.float32)])
        assert instance.call([np.array(4, np.float32)])[0] == 0.25
