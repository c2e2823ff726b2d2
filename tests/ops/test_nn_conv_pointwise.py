"""Convolutions with windows of one element: matrix products on processors, with the values of convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.graph import registry
from flowmesh.ops.target import tracing_for
from flowmesh.runtime.device import load_jax

CASES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("Conv2D", (2, 5, 6, 3), (1, 1, 3, 4), {"strides": (1, 1, 1, 1), "padding": b"SAME"}),
    ("Conv2D", (2, 5, 6, 3), (1, 1, 3, 4), {"strides": (1, 2, 2, 1), "padding": b"SAME"}),
    ("Conv2D", (1, 7, 6, 3), (1, 1, 3, 4), {"strides": (1, 3, 2, 1), "padding": b"VALID"}),
    (
        "Conv2D",
        (1, 6, 6, 3),
        (1, 1, 3, 4),
        {"strides": (1, 2, 2, 1), "padding": b"SAME", "dilations": (1, 2, 3, 1)},
    ),
    ("Conv3D", (1, 3, 4, 5, 2), (1, 1, 1, 2, 3), {"strides": (1, 2, 1, 2, 1), "padding": b"SAME"}),
]
NOT_POINTWISE: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 4, 4, 4), (1, 1, 2, 4), {"padding": b"SAME"}),  # groups of channels
    (
        (1, 4, 4, 2),
        (1, 1, 2, 3),
        {"padding": b"EXPLICIT", "explicit_paddings": (0, 0, 1, 1, 0, 2, 0, 0)},
    ),
    ((1, 2, 4, 4), (1, 1, 2, 3), {"padding": b"SAME", "data_format": b"NCHW"}),
    ((1, 4, 4, 2), (1, 2, 2, 3), {"padding": b"SAME"}),
]


def made(kind: str, attrs: dict[str, Any]) -> Any:
    rank = 5 if kind.startswith("Conv3D") else 4
    usual = {
        "T": dtypes.float32,
        "strides": (1,) * rank,
        "dilations": (1,) * rank,
        "data_format": b"NDHWC" if rank == 5 else b"NHWC",
    }
    return registry.lookup(kind)({**usual, **attrs})


def text_of(op: Any, *inputs: Any) -> str:
    jax = load_jax()
    return str(jax.make_jaxpr(lambda *a: op.compute(jax.numpy, *a))(*inputs))


def computed(op: Any, *inputs: Any) -> np.ndarray:
    return np.asarray(op.compute(load_jax().numpy, *inputs))


@pytest.mark.parametrize(("kind", "shape", "kernel", "attrs"), CASES)
def test_forward_and_both_gradients_are_those_of_the_convolution(kind, shape, kernel, attrs):
    random = np.random.RandomState(0)
    x = random.randn(*shape).astype(np.float32)
    w = random.randn(*kernel).astype(np.float32)
    forward = made(kind, attrs)
    suffix = "V2" if kind == "Conv3D" else ""
    by_input, by_filter = (
        made(f"{kind}Backprop{what}{suffix}", attrs) for what in ("Input", "Filter")
    )
    with tracing_for("gpu"):  # as a convolution
        y = computed(forward, x, w)
        dy = random.randn(*y.shape).astype(np.float32)
        dx = computed(by_input, np.array(shape, np.int32), w, dy)
        dw = computed(by_filter, x, np.array(kernel, np.int32), dy)
        assert "conv_general_dilated" in text_of(forward, x, w)
    for found, wanted in (
        (computed(forward, x, w), y),
        (computed(by_input, np.array(shape, np.int32), w, dy), dx),
        (computed(by_filter, x, np.array(kernel, np.int32), dy), dw),
    ):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert "conv_general_dilated" not in text_of(forward, x, w)
    assert "conv_general_dilated" not in text_of(
        closed(by_input, {0: np.array(shape, np.int32)}), w, dy
    )
    assert "conv_general_dilated" not in text_of(
        closed(by_filter, {1: np.array(kernel, np.int32)}), x, dy
    )


@pytest.mark.parametrize(("shape", "kernel", "attrs"), NOT_POINTWISE)
def test_other_convolutions_stay_convolutions(shape, kernel, attrs):
    op = made("Conv2D", attrs)
    x, w = np.ones(shape, np.float32), np.ones(kernel, np.float32)
    assert "conv_general_dilated" in text_of(op, x, w)


class closed:
    """An op some of whose inputs are known."""

    def __init__(self, op: Any, known: dict[int, Any]) -> None:
        self._op, self._known = op, known

    def compute(self, xp: Any, *inputs: Any) -> Any:
        rest = iter(inputs)
        count = len(inputs) + len(self._known)
        flat = [self._known[i] if i in self._known else next(rest) for i in range(count)]
        return self._op.compute(xp, *flat)
