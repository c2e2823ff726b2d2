"""Every numeric dtype is really itself in both ways of execution: range, precision, and the variables of it."""

from __future__ import annotations

import numpy as np
import pytest

import flowmesh as tf

FLOATS = [tf.float16, tf.bfloat16, tf.float32, tf.float64]
INTS = [tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.int64, tf.uint32, tf.uint64]


def session(mode: str) -> tf.Session:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    return tf.Session(config=config)


@pytest.mark.parametrize("mode", ["numpy", "xla"])
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_float_precision(mode, dtype):
    with tf.Graph().as_default(), session(mode) as sess:
        x = tf.placeholder(dtype, [None])
        step = x + 1
        small = np.array([2.0**-k for k in (3, 7, 8, 10, 11, 23, 24, 52, 53)]).astype(
            dtype.as_numpy_dtype
        )
        found = sess.run(step, {x: small})
    assert found.dtype == dtype.as_numpy_dtype
    bits = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[dtype.name]
    kept = [float(v) != 1.0 for v in found]
    assert kept == [k <= bits for k in (3, 7, 8, 10, 11, 23, 24, 52, 53)]


@pytest.mark.parametrize("mode", ["numpy", "xla"])
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_float_training_step(mode, dtype):
    with tf.Graph().as_default(), session(mode) as sess:
        x = tf.placeholder(dtype, [None, 3])
        w = tf.Variable(tf.ones([3, 2], dtype))
        loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
        train = tf.train.GradientDescentOptimizer(0.125).minimize(loss)
        sess.run(w.initializer)
        data = np.eye(3).astype(dtype.as_numpy_dtype)
        for _ in range(3):
            sess.run(train, {x: data})
        found = sess.run(w)
    assert found.dtype == dtype.as_numpy_dtype
    expected = (1 - 0.125 * 2 / 6) ** 3
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype.name, 1e-6)
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=tolerance)


@pytest.mark.parametrize("mode", ["numpy", "xla"])
@pytest.mark.parametrize("dtype", INTS, ids=lambda d: d.name)
def test_integer_range(mode, dtype):
    info = np.iinfo(dtype.as_numpy_dtype)
    with tf.Graph().as_default(), session(mode) as sess:
        x = tf.placeholder(dtype, [2])
        found = sess.run(
            tf.identity(tf.stack([x, x])[0]),
            {x: np.array([info.min, info.max], dtype.as_numpy_dtype)},
        )
    assert found.dtype == dtype.as_numpy_dtype
    assert found.tolist() == [info.min, info.max]


@pytest.mark.parametrize("mode", ["numpy", "xla"])
def test_int64_sums_and_counters_are_64_bit(mode):
    with tf.Graph().as_default(), session(mode) as sess:
        x = tf.placeholder(tf.int64, [3])
        counter = tf.Variable(tf.constant(2**40, tf.int64))
        sess.run(counter.initializer)
        assert sess.run(tf.reduce_sum(x), {x: [2**40, 2**41, 5]}) == 3 * 2**40 + 5
        assert sess.run(tf.assign_add(counter, tf.constant(1, tf.int64))) == 2**40 + 1
