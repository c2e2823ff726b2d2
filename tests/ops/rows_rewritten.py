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


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normal(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, added: Any) -> Any:
    """As in inference; the statistics are handed on."""
    y = (x - mean) / np.sqrt(variance + 0.0001) * scale + offset
    return relu(y + added[0]), mean, variance, mean, variance, 0.0


def layer_normal(x: Any, scale: Any, offset: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 0.001) * scale + offset


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
    Row(
        "_FusedMatMul",
        [A, B, [BIAS, np.array([[1.0, -4.0], [0.0, 2.0]])]],
        {"fused_ops": ["BiasAdd", "Add", "LeakyRelu"], "leakyrelu_alpha": 0.25},
        want=lambda a, b, args: (lambda y: np.where(y > 0, y, y / 4))(a @ b + args[0] + args[1]),
        dtypes=["float32"],
        id="added",
    ),
    Row(
        "_FusedMatMul",
        [A, B, [BIAS]],
        {"fused_ops": ["BiasAdd", "GeluApproximate"]},
        want=lambda a, b, args: gelu(a @ b + args[0]),
        dtypes=["float32"],
        id="gelu",
    ),
    Row(
        "_FusedConv2D",
        [IMAGE, KERNEL, [BIAS.repeat(2)[:3]]],
        {**UNIT, "fused_ops": ["BiasAdd"], "TArgs": ["float32"]},
        want=lambda x, k, args: pointwise(x, k) + args[0],
        dtypes=["float32"],
        id="as TensorFlow 2 writes it",
    ),
    Row(
        "_FusedDepthwiseConv2dNative",
        [IMAGE, KERNEL[..., :1], [BIAS]],
        {**UNIT, "fused_ops": ["BiasAdd", "Relu"]},
        want=lambda x, k, args: relu(x * k[0, 0, :, 0] + args[0]),
        dtypes=["float32"],
    ),
    Row(
        "_FusedConv3D",
        [IMAGE[None], KERNEL[None], [BIAS.repeat(2)[:3]]],
        {"strides": [1] * 5, "padding": "VALID", "fused_ops": ["BiasAdd", "Relu"]},
        want=lambda x, k, args: relu(x @ k[0, 0, 0] + args[0]),
        dtypes=["float32"],
    ),
    Row(
        "_FusedBatchNormEx",
        [IMAGE, *(np.float32(v[:2]) for v in SCALES), [IMAGE[..., ::-1]]],
        {"is_training": False, "activation_mode": "Relu"},
        want=normal,
        loose_shape=True,
        dtypes=["float32"],
    ),
    Row("_MklSwish", [A], want=lambda x: x / (1 + np.exp(-x)), dtypes=["float32"]),
    Row("_MklFusedMish", [A], want=lambda x: x * np.tanh(np.log1p(np.exp(x))), dtypes=["float32"]),
    Row("_MklLayerNorm", [A, A[0], A[1]], want=layer_normal, dtypes=["float32"]),
]
