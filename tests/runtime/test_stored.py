"""Values that take several large arrays to compute are stored once, and are what they were."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime import stored, xla
from flowmesh.runtime.device import load_jax
from flowmesh.runtime.stored import StoredValues


@pytest.fixture
def texts(monkeypatch, tmp_path) -> list[str]:
    """What XLA made of the programs that are compiled."""
    found: list[str] = []
    monkeypatch.setenv("FLOWMESH_COMPILE_CACHE", "0")
    quick = xla.quick

    def noting(compiled: Any) -> Any:
        found.append(compiled.as_text())
        return quick(compiled)

    monkeypatch.setattr(xla, "quick", noting)
    return found


def convolved(x: Any, number: int) -> Any:
    weights = np.random.RandomState(number).randn(3, 3, 8, 8).astype(np.float32) / 8
    return tf.nn.conv2d(x, tf.constant(weights), [1, 1, 1, 1], "SAME")


def residual(x: Any, blocks: int) -> Any:
    x = convolved(x, 0)
    for number in range(1, blocks + 1):
        x = tf.nn.relu(x + tf.nn.relu(convolved(x, number)))
    return x


def run(build: Any, rounds: int = 1) -> list[np.ndarray]:
    image = np.random.RandomState(7).randn(2, 64, 64, 8).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 64, 64, 8])
        y = build(x)
        wanted = [y, tf.gradients(y, x)[0]]
        return [session.run(wanted, {x: image}) for _ in range(rounds)][-1]


def longest(text: str) -> int:
    """The most large arrays that one loop of the program reads."""
    large = re.compile(r"f32\[2,64,64,8\]")
    counts = [0]
    for body in re.findall(r"^%fused_computation[^\n]*\{\n(.*?)^\}", text, re.M | re.S):
        counts.append(
            sum(1 for line in body.splitlines() if " parameter(" in line and large.search(line))
        )
    return max(counts)


def test_sums_of_blocks_are_stored(texts, monkeypatch):
    values = run(lambda x: residual(x, 6))
    held = longest(texts[-1])
    monkeypatch.setattr(StoredValues, "note", lambda *_: None)
    plain = run(lambda x: residual(x, 6))
    assert (
        longest(texts[-1]) > 6
    )  # what this is about: if XLA changes, the module is no longer needed
    assert 0 < held <= 4
    for value, other in zip(values, plain):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-5)


def test_what_is_computed_from_one_array_is_not_stored(texts):
    def plain(x: Any) -> Any:
        for number in range(3):
            x = tf.nn.relu(convolved(x, number))
        return x

    run(plain)
    assert texts
    assert not any("divide(" in text for text in texts)


@pytest.mark.parametrize("kind", ["small", "float16", "no convolution"])
def test_other_values_are_left_alone(kind, texts, monkeypatch):
    def never(self: Any, value: Any) -> Any:
        raise AssertionError("stored")

    monkeypatch.setattr(StoredValues, "_stored", never)
    if kind == "small":
        monkeypatch.setattr(stored, "_LARGE", 1 << 20)
        run(lambda x: residual(x, 2))
    elif kind == "float16":
        run(lambda x: tf.cast(residual_half(x), tf.float32))
    else:
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [1 << 17])
            y = tf.placeholder(tf.float32, [1 << 17])
            z = tf.nn.relu(x + y)
            session.run([z * 2.0, z + 1.0], {x: np.ones(1 << 17), y: np.ones(1 << 17)})


def residual_half(x: Any) -> Any:
    x = tf.cast(x, tf.float16)
    weights = tf.ones([1, 1, 8, 8], tf.float16)
    y = tf.nn.conv2d(x, weights, [1, 1, 1, 1], "SAME")
    z = tf.nn.relu(x + y)
    return tf.nn.conv2d(z, weights, [1, 1, 1, 1], "SAME") + z


def test_the_bits_stay():
    """Whatever the first value is: the one is made of its bits."""
    jnp = load_jax().numpy
    special = np.array([-0.0, np.inf, -np.inf, np.nan, 1e-37, -1e-37, 3.4e38, -1.5], np.float32)
    with tf.Graph().as_default():
        program = xla.Program([], {}, set())
    for first in range(len(special)):
        values = np.roll(special, -first)
        keeper = StoredValues(program)
        jitted = load_jax().jit(lambda v, keeper=keeper: keeper._stored(v))
        result = np.asarray(jitted(jnp.asarray(values)))
        np.testing.assert_array_equal(result.view(np.uint32), values.view(np.uint32))
