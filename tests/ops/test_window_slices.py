"""Windows as slices, gradients of strided convolutions in pieces, sums of long columns: the values of XLA's own operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import dtypes
from flowmesh.graph import registry
from flowmesh.ops import window_slices, windows
from flowmesh.ops.column_sums import column_sums
from flowmesh.ops.target import tracing_for
from flowmesh.runtime.device import load_jax

POOLS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bytes]] = [
    ((2, 9, 11, 3), (1, 3, 3, 1), (1, 2, 2, 1), b"SAME"),
    ((2, 9, 11, 3), (1, 3, 3, 1), (1, 2, 2, 1), b"VALID"),
    ((2, 9, 11, 3), (1, 3, 3, 1), (1, 1, 1, 1), b"SAME"),
    ((2, 8, 8, 3), (1, 2, 2, 1), (1, 2, 2, 1), b"SAME"),
    ((2, 8, 7, 3), (1, 2, 3, 1), (1, 3, 1, 1), b"VALID"),  # a stride beyond the window
    ((2, 8, 7, 3), (1, 2, 3, 1), (1, 3, 2, 1), b"SAME"),
    ((2, 8, 7, 4), (1, 1, 1, 2), (1, 1, 1, 2), b"SAME"),  # over channels
]
CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bytes]] = [
    ((2, 9, 11, 3), (3, 3, 3, 4), (1, 2, 2, 1), b"SAME"),
    ((2, 9, 11, 3), (3, 3, 3, 4), (1, 2, 2, 1), b"VALID"),
    ((2, 10, 8, 3), (5, 2, 3, 4), (1, 2, 1, 1), b"SAME"),
    ((2, 17, 18, 3), (7, 7, 3, 4), (1, 3, 2, 1), b"VALID"),
]


def arguments(shape: tuple[int, ...], window: Any, strides: Any, padding: bytes) -> dict[str, Any]:
    pads = windows.paddings(shape, window, strides, padding)
    return {"window_dimensions": window, "window_strides": strides, "padding": pads}


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), POOLS)
def test_the_maxima_and_their_places_are_those_of_reduce_window(shape, window, strides, padding):
    jax = load_jax()
    lax, jnp = jax.lax, jax.numpy
    random = np.random.RandomState(3)
    x = jnp.asarray(random.randint(0, 5, shape).astype(np.float32))  # with many equals
    geometry = arguments(shape, window, strides, padding)
    lowest = np.float32(-np.inf)

    def expected(v: Any) -> Any:
        return lax.reduce_window(v, lowest, lax.max, **geometry)

    largest = window_slices.reduce(x, lowest, lax.max, **geometry)
    np.testing.assert_array_equal(largest, expected(x))

    grad = jnp.asarray(random.randint(1, 9, largest.shape).astype(np.float32))
    places = window_slices.first_largest(x, largest, lowest, **geometry)
    parts = {place: jnp.where(here, grad, 0) for place, here in places.items()}
    got = window_slices.spread(parts, shape, **geometry)
    np.testing.assert_array_equal(got, jax.vjp(expected, x)[1](grad)[0])


def test_a_window_without_a_largest_element_has_its_gradient_at_the_first():
    jnp = load_jax().numpy
    x = jnp.asarray(np.full((1, 2, 2, 1), np.nan, np.float32))
    geometry = arguments(x.shape, (1, 2, 2, 1), (1, 2, 2, 1), b"VALID")
    places = window_slices.first_largest(x, x[:, :1, :1], np.float32(-np.inf), **geometry)
    assert [place for place, here in places.items() if bool(here[0, 0, 0, 0])] == [(0, 0, 0, 0)]


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), POOLS)
@pytest.mark.parametrize("kind", ["MaxPool", "AvgPool"])
def test_pooling_on_processors_equals_pooling_as_other_devices_do_it(
    kind, shape, window, strides, padding
):
    jnp = load_jax().numpy
    op = registry.lookup(kind)(
        {
            "T": dtypes.float32,
            "ksize": window,
            "strides": strides,
            "padding": padding,
            "data_format": b"NHWC",
        }
    )
    x = jnp.asarray(np.random.RandomState(1).randn(*shape).astype(np.float32))
    here = op.compute(jnp, x)
    with tracing_for("gpu"):
        there = op.compute(jnp, x)
    np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "kernel", "strides", "padding"), CONVOLUTIONS)
def test_strided_gradients_by_the_input_have_no_zeros_between(shape, kernel, strides, padding):
    jax = load_jax()
    jnp = jax.numpy
    attrs = {
        "T": dtypes.float32,
        "strides": strides,
        "padding": padding,
        "explicit_paddings": (),
        "dilations": (1, 1, 1, 1),
        "data_format": b"NHWC",
    }
    op = registry.lookup("Conv2DBackpropInput")(attrs)
    random = np.random.RandomState(2)
    weights = jnp.asarray(random.randn(*kernel).astype(np.float32))
    like = jax.ShapeDtypeStruct(shape, np.float32)
    forward = registry.lookup("Conv2D")(attrs)
    out = jax.eval_shape(lambda x: forward.compute(jnp, x, weights), like)
    grad = jnp.asarray(random.randn(*out.shape).astype(np.float32))

    def by_input(g: Any) -> Any:
        return op.compute(jnp, np.array(shape, np.int32), weights, g)

    def text() -> str:
        def anew(g: Any) -> Any:  # what was traced for one platform is not taken for the other
            return by_input(g)

        return str(jax.make_jaxpr(anew)(grad))

    here = by_input(grad)
    assert "lhs_dilation=(1, 1)" in text()
    with tracing_for("gpu"):
        there = by_input(grad)
        assert "lhs_dilation=(1, 1)" not in text()
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(20011, 7), (4, 100, 100, 3), (65, 2048), (1 << 17, 1)])
def test_sums_of_long_columns(shape):
    jnp = load_jax().numpy
    x = np.random.RandomState(5).rand(*shape).astype(np.float32)
    exact = x.astype(np.float64).sum(axis=tuple(range(x.ndim - 1)))
    np.testing.assert_allclose(column_sums(jnp, jnp.asarray(x)), exact, rtol=1e-6)


def test_long_sums_keep_their_type():
    jnp = load_jax().numpy
    x = jnp.ones((1 << 15, 2), np.float16) * np.float16(0.5)
    total = column_sums(jnp, x)
    assert total.dtype == np.float16
    np.testing.assert_array_equal(total, [16384, 16384])


def test_programs_with_convolutions_have_them_from_eigen():
    """They give what they gave (tests/runtime/test_compile_options.py tells which programs that are)."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [1, 4, 4, 1])
        y = tf.nn.conv2d(x, tf.ones([3, 3, 1, 1]), [1, 1, 1, 1], "SAME")
        image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
        assert session.run(y, {x: image})[0, 1, 1, 0] == image[0, :3, :3, 0].sum()
