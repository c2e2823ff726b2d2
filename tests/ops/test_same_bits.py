"""Kernels that NumPy computes with few calls give the bits of the plain formulas, in whatever order their inputs are stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes
from flowmesh.graph.registry import lookup

FLOATS = [dtypes.float16, dtypes.float32, dtypes.float64]
SHAPES: list[tuple[int, ...]] = [(1, 1), (3, 5), (7, 130), (64, 10), (33, 17)]


def plain(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x)


def transposed(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x)


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.full([2 * size for size in x.shape], 7, x.dtype)
    part = wide[tuple([slice(None, None, 2)] * x.ndim)]
    part[...] = x
    return part


def backwards(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def frozen(x: np.ndarray) -> np.ndarray:
    made = x.copy()
    made.flags.writeable = False
    return made


LAYOUTS: list[Callable[[np.ndarray], np.ndarray]] = [
    plain,
    transposed,
    strided,
    backwards,
    frozen,
]


def special(dtype: Any) -> np.ndarray:
    """Numbers of all kinds."""
    info = np.finfo(dtype)
    values = [0.0, 1.0, info.tiny, info.smallest_subnormal, info.max, info.eps, np.inf, np.nan]
    return np.array([sign * float(v) for v in values for sign in (1, -1)], dtype)


def random(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def compute(kind: str, dtype: dtypes.DType, *inputs: Any, **attrs: Any) -> Any:
    """What NumPy's kernel of an op gives; the inputs are as they were afterwards."""
    before = [x.copy() for x in inputs]
    with np.errstate(all="ignore"):
        outputs = lookup(kind)({"T": dtype, **attrs}).compute(np, *inputs)
    for x, was in zip(inputs, before):
        np.testing.assert_array_equal(raw_bits(x), raw_bits(was))
    return outputs


def raw_bits(x: Any) -> np.ndarray:
    """The bits of floats as integers; other numbers as they are."""
    x = np.asarray(x)
    return x.view(f"u{x.dtype.itemsize}") if x.dtype.kind == "f" else x


def assert_same_bits(got: Any, expected: Any, exact: bool = False) -> None:
    """Compares all bits; without `exact` but those of NaNs, which depend on the order of the operands."""
    assert got.shape == expected.shape and got.dtype == expected.dtype
    if not exact and expected.dtype.kind == "f":
        got, expected = (
            np.where(np.isnan(x), np.array(np.nan, x.dtype), x) for x in (got, expected)
        )
    np.testing.assert_array_equal(raw_bits(got), raw_bits(expected))


# -- ReluGrad ------------------------------------------------------------------------------------------


def relu_grad(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, g, np.zeros_like(g))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("of_g", LAYOUTS)
def test_relu_grad(dtype: dtypes.DType, of_g: Any, of_x: Any) -> None:
    for shape in [*SHAPES, (5,), (2, 3, 4), (0,), (0, 4), (4, 0)]:
        g = of_g(random(shape, dtype.as_numpy_dtype, 1))
        x = of_x(random(shape, dtype.as_numpy_dtype, 2))
        assert_same_bits(compute("ReluGrad", dtype, g, x), relu_grad(g, x), exact=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu_grad_of_numbers_of_all_kinds(dtype: dtypes.DType) -> None:
    g, x = np.meshgrid(*[special(dtype.as_numpy_dtype)] * 2)
    got = compute("ReluGrad", dtype, g, x)
    assert_same_bits(got, relu_grad(g, x), exact=True)
    assert np.signbit(got[x > 0]).any() and not np.signbit(got[~(x > 0)]).any()


def test_relu_grad_keeps_the_payload_of_a_nan() -> None:
    g = np.array([0x7FC12345, 0xFFC00001, 0x7F800001], np.uint32).view(np.float32)
    got = compute("ReluGrad", dtypes.float32, g, np.ones(3, np.float32))
    assert_same_bits(got, g, exact=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu_grad_of_one_value_that_is_repeated(dtype: dtypes.DType) -> None:
    kind = dtype.as_numpy_dtype
    g, x = np.broadcast_to(kind(3), (4, 5)), np.broadcast_to(random((5,), kind), (4, 5))
    assert_same_bits(compute("ReluGrad", dtype, g, x), relu_grad(g, x), exact=True)


@pytest.mark.parametrize("dtype", [dtypes.int32, dtypes.int8, dtypes.int64])
def test_relu_grad_of_integers(dtype: dtypes.DType) -> None:
    g, x = np.meshgrid(*[np.arange(-3, 4, dtype=dtype.as_numpy_dtype)] * 2)
    assert_same_bits(compute("ReluGrad", dtype, g, x), relu_grad(g, x))


def test_relu_grad_may_be_written_to() -> None:
    g, x = frozen(np.ones(3, np.float32)), frozen(np.ones(3, np.float32))
    got = compute("ReluGrad", dtypes.float32, g, x)
    assert got.flags.writeable and not np.shares_memory(got, g)


# -- SoftmaxCrossEntropyWithLogits ---------------------------------------------------------------------


def cross_entropy(x: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    dtype = x.dtype
    x, labels = np.broadcast_arrays(x, labels)
    if dtype == np.float16:
        x, labels = x.astype(np.float32), labels.astype(np.float32)
    with np.errstate(all="ignore"):
        low = x - np.max(x, axis=-1, keepdims=True, initial=-np.inf)
        powers = np.exp(low)
        total = np.sum(powers, axis=-1, keepdims=True)
        loss = np.sum(labels * (np.log(total) - low), axis=-1)
        return loss.astype(dtype), (powers / total - labels).astype(dtype)


def assert_same_entropy(dtype: dtypes.DType, x: np.ndarray, labels: np.ndarray) -> None:
    got = compute("SoftmaxCrossEntropyWithLogits", dtype, x, labels)
    for one, other in zip(got, cross_entropy(x, labels), strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("of_x", "of_labels"),
    [(a, b) for a in LAYOUTS for b in LAYOUTS if a is not transposed or b is transposed],
)
def test_cross_entropy(dtype: dtypes.DType, of_x: Any, of_labels: Any) -> None:
    for shape in SHAPES:
        x = of_x(10 * random(shape, dtype.as_numpy_dtype, 1))
        labels = of_labels(np.abs(random(shape, dtype.as_numpy_dtype, 2)))
        assert_same_entropy(dtype, x, labels)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("of_x", "of_labels"),
    [
        ((9, 11), (1, 11)),
        ((9, 11), (9, 1)),
        ((9, 11), (1, 1)),
        ((1, 11), (9, 11)),
        ((9, 1), (1, 11)),
    ],
)
def test_cross_entropy_of_what_broadcasts(
    dtype: dtypes.DType, layout: Any, of_x: Any, of_labels: Any
) -> None:
    x, labels = random(of_x, dtype.as_numpy_dtype, 1), random(of_labels, dtype.as_numpy_dtype, 2)
    assert_same_entropy(dtype, layout(x), layout(labels))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_cross_entropy_of_nothing(dtype: dtypes.DType, shape: tuple[int, int]) -> None:
    x = np.zeros(shape, dtype.as_numpy_dtype)
    assert_same_entropy(dtype, x, x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_of_numbers_of_all_kinds(dtype: dtypes.DType) -> None:
    kinds = special(dtype.as_numpy_dtype)
    rng = np.random.default_rng(4)
    for _ in range(20):
        x, labels = rng.choice(kinds, (40, 6)), rng.choice(kinds, (40, 6))
        assert_same_entropy(dtype, x, labels)
        assert_same_entropy(dtype, rng.choice(kinds[:12], (40, 6)), np.abs(labels))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax(kind: str, layout: Any, dtype: dtypes.DType) -> None:
    for shape in [*SHAPES, (5,), (2, 3, 4), (0, 3), (3, 0)]:
        x = layout(10 * random(shape, dtype.as_numpy_dtype))
        wide = x.astype(np.float32) if dtype == dtypes.float16 else x
        with np.errstate(all="ignore"):
            low = wide - np.max(wide, axis=-1, keepdims=True, initial=-np.inf)
            powers = np.exp(low)
            total = np.sum(powers, axis=-1, keepdims=True)
            expected = powers / total if kind == "Softmax" else low - np.log(total)
        assert_same_bits(compute(kind, dtype, x), expected.astype(x.dtype))


# -- Sum -----------------------------------------------------------------------------------------------


def total(x: np.ndarray, axes: tuple[int, ...], keep: bool) -> Any:
    if not axes:
        return x
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.sum(x, axis=axes, keepdims=keep, dtype=wide).astype(x.dtype)


def assert_same_sum(dtype: dtypes.DType, x: np.ndarray, axes: tuple[int, ...]) -> None:
    for keep in (False, True):
        attrs = {"keep_dims": keep, "Tidx": dtypes.int32}
        got = compute("Sum", dtype, x, np.array(axes, np.int32), **attrs)
        assert_same_bits(got, total(x, axes, keep))


@pytest.mark.parametrize("dtype", [*FLOATS, dtypes.int32, dtypes.int8, dtypes.uint8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sum(dtype: dtypes.DType, layout: Any) -> None:
    for shape in [(1,), (1000,), *SHAPES, (5, 6, 70), (0,), (0, 3), (3, 0)]:
        x = layout((100 * random(shape, np.float64)).astype(np.int64).astype(dtype.as_numpy_dtype))
        if dtype in FLOATS:
            x = layout(random(shape, dtype.as_numpy_dtype))
        some = [(), (0,), (x.ndim - 1,), tuple(range(x.ndim))]
        for axes in dict.fromkeys([*some, (0, x.ndim - 1) if x.ndim > 1 else (0,)]):
            assert_same_sum(dtype, x, axes)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_of_numbers_of_all_kinds(dtype: dtypes.DType) -> None:
    x = np.stack(np.meshgrid(*[special(dtype.as_numpy_dtype)] * 2))
    for axes in [(), (0,), (1,), (2,), (0, 1), (0, 1, 2)]:
        assert_same_sum(dtype, x, axes)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_of_one_number(dtype: dtypes.DType) -> None:
    assert_same_sum(dtype, np.array(1.5, dtype.as_numpy_dtype), ())


def test_relu_grad_of_one_number() -> None:
    got = compute("ReluGrad", dtypes.float32, np.array(2, np.float32), np.array(1, np.float32))
    assert got == 2 and got.shape == ()


@pytest.mark.parametrize("of_labels", [f for f in LAYOUTS if f is not transposed])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
def test_cross_entropy_of_transposed_logits(of_labels: Any, dtype: dtypes.DType) -> None:
    for shape in SHAPES:
        x = transposed(10 * random(shape, dtype.as_numpy_dtype, 1))
        labels = of_labels(np.abs(random(shape, dtype.as_numpy_dtype, 2)))
        assert_same_entropy(dtype, x, labels)
