"""What a session wishes of the execution of its programs: NumPy or XLA, the precision of products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime import execution
from flowmesh.runtime.device import load_jax

RANDOM = np.random.RandomState(4)
LEFT = RANDOM.randn(48, 64).astype(np.float32)
RIGHT = RANDOM.randn(64, 32).astype(np.float32)


def configured(precision: str, mode: str = "xla") -> Any:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    config.experimental.flowmesh.matmul_precision = precision
    return config


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(tf.bfloat16.as_numpy_dtype).astype(np.float64)


def error_of(precision: str, mode: str = "xla") -> float:
    """The largest error of a product's element, relative to the largest element."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, LEFT.shape)
        y = tf.placeholder(tf.float32, RIGHT.shape)
        with tf.Session(config=configured(precision, mode)) as session:
            got = session.run(tf.matmul(x, y), {x: LEFT, y: RIGHT})
    assert got.dtype == np.float32
    exact = LEFT.astype(np.float64) @ RIGHT
    return float(np.abs(got - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("precision", ["", "float32", "tensorfloat32"])
def test_processors_multiply_in_float32_unless_bfloat16_is_asked_for(precision):
    assert error_of(precision) < 1e-6


def test_bfloat16_rounds_operands_and_not_sums():
    assert 1e-4 < error_of("bfloat16") < 1e-2
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, LEFT.shape)
        product = tf.matmul(x, tf.constant(RIGHT))
        with tf.Session(config=configured("bfloat16")) as session:
            got = session.run(product, {x: LEFT})
    np.testing.assert_allclose(got, rounded(LEFT) @ rounded(RIGHT), rtol=1e-5, atol=1e-5)


def test_what_numpy_runs_keeps_its_precision():
    assert error_of("bfloat16", "numpy") < 1e-6


def test_convolutions_and_gradients_in_bfloat16():
    image = RANDOM.randn(2, 6, 6, 3).astype(np.float32)
    weights = RANDOM.randn(3, 3, 3, 4).astype(np.float32)

    def run(precision: str, image: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        with tf.Graph().as_default():
            x, w = (
                tf.placeholder(tf.float32, image.shape),
                tf.placeholder(tf.float32, weights.shape),
            )
            y = tf.nn.conv2d(x, w, [1, 2, 2, 1], "SAME")
            fetches = [y, *tf.gradients(tf.reduce_sum(y), [x, w])]
            with tf.Session(config=configured(precision)) as session:
                return session.run(fetches, {x: image, w: weights})

    low, high = run("bfloat16", image, weights), run("float32", image, weights)
    of_rounded = run(
        "float32", rounded(image).astype(np.float32), rounded(weights).astype(np.float32)
    )
    for a, b, c in zip(low, high, of_rounded):
        assert np.abs(a - b).max() > 1e-4
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-5)


def test_a_loop_multiplies_with_the_same_precision():
    def run(precision: str) -> np.ndarray:
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, [32, 32])
            _, power = tf.while_loop(
                lambda i, _: i < 2, lambda i, v: (i + 1, tf.matmul(v, x)), [0, x]
            )
            with tf.Session(config=configured(precision)) as session:
                return session.run(power, {x: LEFT[:32, :32]})

    assert np.abs(run("bfloat16") - run("float32")).max() > 1e-3


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "HIGH")],
)
def test_programs_for_gpus_say_how_precise_products_are(precision, expected):
    jax = load_jax()

    def product(x: Any) -> Any:
        return x @ x

    with execution.precision_of_products(jax, "gpu", precision):
        text = str(jax.make_jaxpr(product)(np.ones((2, 2), np.float32)))
    assert f"Precision.{expected}," in text


def test_a_precision_that_is_not_known():
    with tf.Graph().as_default(), tf.Session(config=configured("float64")) as session:
        one = tf.constant(1.0)
        message = (
            "matmul_precision is 'float64'; it may be 'float32', 'tensorfloat32' or 'bfloat16'"
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(one + one)
