"""Rows of the ops that TensorFlow's masters make."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import Row

A = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
B = np.array([[1.0, -1.0], [0.5, 2.0], [-3.0, 0.75]])
BIAS = np.array([0.5, -1.0])
IMAGE = np.arange(18.0).reshape(1, 3, 3, 2) / 4 - 2
KERNEL = np.array([[[[1.0, -0.5, 2.0], [0.25, 1.5, -1.0]]]])
SCALES = [
    np.array(v) for v in ([1.0, 2.0, 0.5], [0.1, 0.2, 0.3], [0.5, -1.0, 0.0], [1.0, 4.0, 2.0])
]
UNIT = {"strides": [1, 1, 1, 1], "padding": "VALID"}


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def pointwise(x: Any, kernel: Any) -> Any:
    """A convolution of one pixel."""
    return x @ kernel[0, 0]


def normalised(x: Any, kernel: Any, args: Any) -> Any:
    scale, offset, mean, variance = args
    return relu((pointwise(x, kernel) - mean) / np.sqrt(variance + 0.0001) * scale + offset)


def first(x: Any) -> Any:
    """Channels before rows and columns."""
    return np.moveaxis(x, -1, 1)


ROWS = [
    Row(
        "_FusedMatMul",
        [A, B, [BIAS]],
        {"fused_ops": ["BiasAdd", "Relu"]},
        want=lambda a, b, args: relu(a @ b + args[0]),
        dtypes=["float32"],
    ),
    Row(
        "_FusedMatMul",
        [A.T, B.T, [BIAS]],
        {"fused_ops": ["BiasAdd"], "transpose_a": True, "transpose_b": True},
        want=lambda a, b, args: a.T @ b.T + args[0],
        dtypes=["float32"],
        id="transposed",
    ),
    Row(
        "_FusedConv2D",
        [IMAGE, KERNEL, [BIAS.repeat(2)[:3]]],
        {**UNIT, "fused_ops": ["BiasAdd", "Relu6"]},
        want=lambda x, k, args: np.clip(pointwise(x, k) + args[0], 0, 6),
        dtypes=["float32", "float64"],
    ),
    Row(
        "_FusedConv2D",
        [IMAGE, KERNEL, SCALES],
        {**UNIT, "fused_ops": ["FusedBatchNorm", "Relu"]},
        want=normalised,
        dtypes=["float32"],
        id="norm",
    ),
    Row(
        "_FusedConv2D",
        [first(IMAGE), KERNEL, [BIAS.repeat(2)[:3]]],
        {**UNIT, "fused_ops": ["BiasAdd"], "data_format": "NCHW"},
        want=lambda x, k, args: first(pointwise(np.moveaxis(x, 1, -1), k) + args[0]),
        dtypes=["float32"],
        id="channels_first",
    ),
    Row(
        "_UnaryOpsComposition",
        [A],
        {"op_names": ["Square", "Sqrt", "Tanh", "Relu"]},
        want=lambda x: relu(np.tanh(np.sqrt(np.square(x)))),
        dtypes=["float32", "float64"],
    ),
]
