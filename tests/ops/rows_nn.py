"""Rows of the neural-network ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from tests.ops import nn_reference as ref
from tests.ops.table import Row

RANDOM = np.random.default_rng(5)
FLOATS = ["float16", "bfloat16", "float32", "float64"]
# No element lies within a finite-difference step of a kink.
X = np.array([[-3.5, -1.25, -0.5, 0.25], [0.75, 1.5, 4.5, 7.25]])
G = np.array([[1.0, -2.0, 0.5, 3.0], [-1.5, 2.5, 0.25, 1.0]])
LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.25]])
TARGETS = np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
SELU = (1.0507009873554805, 1.7580993408473766)


def normal(*shape: int) -> np.ndarray:
    """Seeded normals rounded to a few bits, so that 16-bit floats hold them."""
    return np.round(RANDOM.normal(size=shape) * 8) / 8


def distinct(*shape: int) -> np.ndarray:
    """Different numbers in random order: every window has one largest element."""
    count = int(np.prod(shape))
    return (RANDOM.permutation(count).reshape(shape) - count / 3) / 4


def selu(x: Any) -> Any:
    return np.where(x < 0, SELU[1] * np.expm1(x), SELU[0] * x)


def selu_grad(g: Any, y: Any) -> Any:
    return g * np.where(y < 0, y + SELU[1], SELU[0])


def cross_entropy(x: Any, labels: Any) -> Any:
    p = ref.softmax(x)
    return -(labels * np.log(p)).sum(-1), p - labels


def sparse_cross_entropy(x: Any, labels: Any) -> Any:
    return cross_entropy(x, np.eye(x.shape[1])[labels])


ACTIVATIONS = [
    Row("Relu", [X], want=lambda x: np.maximum(x, 0), dtypes=[*FLOATS, "int32", "uint8", "int64"]),
    Row("ReluGrad", [G, X], want=lambda g, x: g * (x > 0), dtypes=[*FLOATS, "int32"]),
    Row("Relu6", [X], want=lambda x: np.clip(x, 0, 6), dtypes=[*FLOATS, "int32"]),
    Row("Relu6Grad", [G, X], want=lambda g, x: g * ((x > 0) & (x < 6)), dtypes=FLOATS),
    Row("LeakyRelu", [X], want=lambda x: np.where(x > 0, x, np.float32(0.2) * x), dtypes=FLOATS),
    Row("LeakyRelu", [X], {"alpha": 0.5}, want=lambda x: np.where(x > 0, x, 0.5 * x)),
    Row(
        "LeakyReluGrad",
        [G, X],
        {"alpha": 0.25},
        want=lambda g, x: np.where(x > 0, g, 0.25 * g),
        dtypes=FLOATS,
    ),
    Row("Elu", [X], want=lambda x: np.where(x < 0, np.expm1(x), x), dtypes=FLOATS),
    Row("EluGrad", [G, X], want=lambda g, y: np.where(y < 0, (y + 1) * g, g), dtypes=FLOATS),
    Row("Selu", [X], want=selu, dtypes=FLOATS),
    Row("SeluGrad", [G, X], want=selu_grad, dtypes=FLOATS),
    Row("Softplus", [X], want=lambda x: np.log1p(np.exp(x)), dtypes=FLOATS),
    Row("Softplus", [np.float32([-200, 200])], want=np.array([0.0, 200.0]), id="far"),
    Row("SoftplusGrad", [G, X], want=lambda g, x: g * special.expit(x), dtypes=FLOATS),
    Row("Softsign", [X], want=lambda x: x / (1 + np.abs(x)), dtypes=FLOATS),
    Row("SoftsignGrad", [G, X], want=lambda g, x: g / (1 + np.abs(x)) ** 2, dtypes=FLOATS),
]

SOFTMAX = [
    Row("Softmax", [LOGITS], want=ref.softmax, dtypes=FLOATS),
    Row("Softmax", [np.float32([1000, 1001])], want=ref.softmax([0.0, 1.0]), id="large"),
    Row("Softmax", [normal(2, 2, 3)], want=ref.softmax, id="rank3"),
    Row("LogSoftmax", [LOGITS], want=lambda x: np.log(ref.softmax(x)), dtypes=FLOATS),
    Row(
        "SoftmaxCrossEntropyWithLogits",
        [LOGITS, TARGETS],
        want=cross_entropy,
        dtypes=FLOATS,
        grad=[0],  # by its labels only the loss has a derivative
    ),
    Row(
        "SoftmaxCrossEntropyWithLogits",
        [LOGITS, TARGETS[:1]],
        want=cross_entropy,
        id="broadcast",
        grad=False,
    ),
    Row(
        "SparseSoftmaxCrossEntropyWithLogits",
        [LOGITS, np.array([2, 0])],
        want=sparse_cross_entropy,
        dtypes=FLOATS,
        grad=False,  # its second output may not be differentiated: see test_nn_functions.py
    ),
    Row(
        "SparseSoftmaxCrossEntropyWithLogits",
        [LOGITS, np.int32([1, 1])],
        want=sparse_cross_entropy,
        id="int32",
        grad=False,
    ),
]

BIAS = [
    Row("BiasAdd", [normal(2, 3), normal(3)], want=np.add, dtypes=[*FLOATS, "int32", "complex64"]),
    Row(
        "BiasAdd",
        [normal(2, 3, 2, 2), normal(3)],
        {"data_format": "NCHW"},
        want=lambda v, b: v + b[:, None, None],
        id="nchw",
    ),
    Row("BiasAddV1", [normal(2, 2, 3), normal(3)], want=np.add),
    Row("BiasAddGrad", [normal(2, 4, 3)], want=lambda g: g.sum((0, 1)), dtypes=[*FLOATS, "int32"]),
    Row(
        "BiasAddGrad",
        [normal(2, 3, 2, 2)],
        {"data_format": "NCHW"},
        want=lambda g: g.sum((0, 2, 3)),
        id="nchw",
    ),
    Row("L2Loss", [X], want=lambda t: (t**2).sum() / 2, dtypes=FLOATS),
]

PREDICTIONS = np.float32([[0.1, 0.5, 0.4], [0.3, 0.3, 0.3], [0.9, 0.1, np.inf], [1, 2, 3]])
IN_TOP_2 = np.array([True, True, False, False])
TOP = [
    Row("InTopK", [PREDICTIONS, np.int32([2, 1, 0, 7])], {"k": 2}, want=IN_TOP_2),
    Row("InTopKV2", [PREDICTIONS, np.int64([2, 1, 0, 7]), np.int64(2)], want=IN_TOP_2),
]

IMAGE = normal(2, 5, 4, 2)
KERNEL = normal(3, 2, 2, 3)
EVERY = [1, 1, 1, 1]
BY_2 = {"strides": [1, 2, 2, 1], "padding": "SAME"}


def conv(x: Any, w: Any) -> Any:
    return ref.conv2d(x, w, (2, 2), "SAME")


def explicit(x: Any, w: Any) -> Any:
    return ref.conv2d(x, w, (1, 2), ((1, 0), (2, 1)))


def dilated(x: Any, w: Any) -> Any:
    return ref.conv2d(x, w, (1, 1), "VALID", (2, 3))


def depthwise(x: Any, w: Any) -> Any:
    return ref.conv2d(x, w, (2, 2), "SAME", depthwise=True)


CONV = [
    Row(
        "Conv2D",
        [IMAGE, KERNEL],
        BY_2,
        want=conv,
        dtypes=["bfloat16", "float32", "float64"],
        atol=2e-2,
        id="same",
    ),
    Row("Conv2D", [IMAGE, KERNEL], BY_2, want=conv, id="exact"),
    Row(
        "Conv2D",
        [normal(1, 2, 4, 5), KERNEL],
        {"strides": [1, 1, 2, 1], "padding": "VALID", "data_format": "NCHW"},
        want=lambda x, w: ref.conv2d(x, w, (2, 1), "VALID", layout="NCHW"),
        id="nchw",
    ),
    Row(
        "Conv2D",
        [IMAGE, KERNEL],
        {
            "strides": [1, 1, 2, 1],
            "padding": "EXPLICIT",
            "explicit_paddings": [0, 0, 1, 0, 2, 1, 0, 0],
        },
        want=explicit,
        id="explicit",
    ),
    Row(
        "Conv2D",
        [normal(1, 6, 6, 2), KERNEL],
        {"strides": EVERY, "padding": "VALID", "dilations": [1, 2, 3, 1]},
        want=dilated,
        id="dilated",
    ),
    Row(
        "Conv2DBackpropInput",
        [np.int32([2, 5, 4, 2]), KERNEL, normal(2, 3, 2, 3)],
        BY_2,
        want=lambda s, w, g: ref.transposed(lambda x: conv(x, w), s, g),
    ),
    Row(
        "Conv2DBackpropFilter",
        [IMAGE, np.int32([3, 2, 2, 3]), normal(2, 3, 2, 3)],
        BY_2,
        want=lambda x, s, g: ref.transposed(lambda w: conv(x, w), s, g),
    ),
    Row("DepthwiseConv2dNative", [IMAGE, normal(2, 3, 2, 2)], BY_2, want=depthwise),
    Row(
        "DepthwiseConv2dNativeBackpropInput",
        [np.int32([1, 4, 3, 2]), normal(2, 3, 2, 2), normal(1, 2, 2, 4)],
        BY_2,
        want=lambda s, w, g: ref.transposed(lambda x: depthwise(x, w), s, g),
    ),
    Row(
        "DepthwiseConv2dNativeBackpropFilter",
        [normal(1, 4, 3, 2), np.int32([2, 3, 2, 2]), normal(1, 2, 2, 4)],
        BY_2,
        want=lambda x, s, g: ref.transposed(lambda w: depthwise(x, w), s, g),
    ),
    Row(
        "Conv3D",
        [normal(1, 1, 3, 3, 2), normal(1, 2, 2, 2, 2)],
        {"strides": [1, 1, 1, 1, 1], "padding": "SAME"},
        want=lambda x, w: ref.conv2d(x[:, 0], w[0])[:, None],
    ),
    Row(
        "Conv3DBackpropInputV2",
        [np.int32([1, 1, 3, 3, 2]), normal(1, 2, 2, 2, 2), normal(1, 1, 3, 3, 2)],
        {"strides": [1, 1, 1, 1, 1], "padding": "SAME"},
        want=lambda s, w, g: ref.transposed(lambda x: ref.conv2d(x[:, 0], w[0])[:, None], s, g),
    ),
    Row(
        "Conv3DBackpropFilterV2",
        [normal(1, 1, 3, 3, 2), np.int32([1, 2, 2, 2, 2]), normal(1, 1, 3, 3, 2)],
        {"strides": [1, 1, 1, 1, 1], "padding": "SAME"},
        want=lambda x, s, g: ref.transposed(lambda w: ref.conv2d(x[:, 0], w[0])[:, None], s, g),
    ),
]

WINDOW: dict[str, Any] = {"ksize": [1, 3, 2, 1], "strides": [1, 2, 2, 1]}
SAME = {**WINDOW, "padding": "SAME"}
VALID = {**WINDOW, "padding": "VALID"}
POOLED = distinct(1, 5, 4, 2)
POOLED_GRAD = normal(1, 3, 2, 2)


def windows(padding: str) -> tuple[list[int], list[int], str]:
    return WINDOW["ksize"], WINDOW["strides"], padding


def largest(padding: str) -> Any:
    return lambda x: ref.pool(x, np.max, *windows(padding))


def argmax(x: Any) -> Any:
    places = ref.argmax_places(x, *windows("SAME"))
    flat = np.zeros(np.array(list(places)).max(axis=0) + 1, np.int64)
    for place, source in places.items():
        flat[place] = np.ravel_multi_index((0, *source[1:]), (1, *x.shape[1:]))
    return largest("SAME")(x), flat


def gathered(x: Any, y: Any, g: Any) -> Any:
    out = np.zeros(y.shape)
    for place, source in ref.argmax_places(x, *windows("SAME")).items():
        out[place] = g[source]
    return out


PLACES = argmax(POOLED)[1]
POOL = [
    Row("MaxPool", [POOLED], SAME, want=largest("SAME"), dtypes=[*FLOATS, "int32"]),
    Row("MaxPool", [POOLED], VALID, want=largest("VALID"), id="valid"),
    Row(
        "MaxPool",
        [distinct(1, 2, 5, 4)],
        {"ksize": [1, 1, 3, 2], "strides": [1, 1, 2, 2], "padding": "VALID", "data_format": "NCHW"},
        want=lambda x: ref.pool(x, np.max, [1, 1, 3, 2], [1, 1, 2, 2], "VALID"),
        id="nchw",
    ),
    Row(
        "MaxPoolGrad",
        [POOLED, largest("SAME")(POOLED), POOLED_GRAD],
        SAME,
        want=lambda x, y, g: ref.max_pool_grad(x, g, *windows("SAME")),
        dtypes=["float32", "float64"],
        grad=[2],
    ),
    Row(
        "MaxPoolGrad",
        [np.ones([1, 4, 4, 1]), np.ones([1, 2, 2, 1]), np.ones([1, 2, 2, 1])],
        {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"},
        want=np.kron(np.ones([2, 2]), [[1, 0], [0, 0]])[None, :, :, None],
        id="ties",
        grad=False,
    ),
    Row(
        "MaxPoolGrad",
        [np.int32(4 * POOLED), np.int32(4 * largest("SAME")(POOLED)), np.ones([1, 3, 2, 2], int)],
        SAME,
        want=lambda x, y, g: ref.max_pool_grad(x, g, *windows("SAME")),
        dtypes=["int32"],
        id="integers",
    ),
    Row(
        "MaxPoolGradGrad",
        [POOLED, largest("SAME")(POOLED), normal(1, 5, 4, 2)],
        SAME,
        want=gathered,
        grad=[2],
    ),
    Row("MaxPoolWithArgmax", [POOLED], SAME, want=argmax),
    Row(
        "MaxPoolWithArgmax",
        [np.concatenate([POOLED, POOLED])],
        {**SAME, "include_batch_in_index": True, "Targmax": "int32"},
        want=lambda x: (
            np.tile(argmax(POOLED)[0], (2, 1, 1, 1)),
            np.concatenate([PLACES, PLACES + POOLED.size]).astype(np.int32),
        ),
        id="batch",
        grad=False,
    ),
    Row(
        "MaxPoolGradWithArgmax",
        [POOLED, POOLED_GRAD, PLACES],
        SAME,
        want=lambda x, g, a: ref.max_pool_grad(x, g, *windows("SAME")),
    ),
    Row(
        "AvgPool",
        [POOLED],
        SAME,
        want=lambda x: ref.pool(x, np.mean, *windows("SAME")),
        dtypes=FLOATS,
    ),
    Row(
        "AvgPool",
        [POOLED],
        VALID,
        want=lambda x: ref.pool(x, np.mean, *windows("VALID")),
        id="valid",
    ),
    Row(
        "AvgPoolGrad",
        [np.int32([1, 5, 4, 2]), POOLED_GRAD],
        SAME,
        want=lambda s, g: ref.transposed(lambda x: ref.pool(x, np.mean, *windows("SAME")), s, g),
    ),
]

BATCH = normal(2, 3, 2, 2).astype(np.float32)
SCALE, OFFSET = np.float32([1.5, -0.5]), np.float32([0.25, 1.0])
MEAN, VARIANCE = np.float32([0.5, -0.25]), np.float32([1.25, 0.75])
NONE = np.zeros([0], np.float32)
EPSILON = 1e-4


def norm(training: bool, extra: int = 0) -> Any:
    def want(x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
        found = ref.batch_norm(x, scale, offset, mean, variance, training, EPSILON)
        return (*found, *[np.array(0.0)] * extra)

    return want


def norm_grad(training: bool) -> Any:
    """Derivatives by central differences of the reference."""

    def want(g: Any, x: Any, scale: Any, mean: Any, variance: Any, *rest: Any) -> Any:
        def total(x: Any, s: Any, o: Any) -> float:
            return float(np.sum(g * ref.batch_norm(x, s, o, mean, variance, training, EPSILON)[0]))

        arguments = [np.asarray(a, np.float64) for a in (x, scale, np.zeros(2))]
        slopes = []
        for i, value in enumerate(arguments):
            slope = np.zeros_like(value)
            for index in np.ndindex(value.shape):
                sides = []
                for step in (1e-6, -1e-6):
                    moved = [a.copy() for a in arguments]
                    moved[i][index] += step
                    sides.append(total(*moved))
                slope[index] = (sides[0] - sides[1]) / 2e-6
            slopes.append(slope)
        return (*slopes, NONE, NONE)

    return want


TRAINING = [BATCH, SCALE, OFFSET, NONE, NONE]
INFERENCE = [BATCH, SCALE, OFFSET, MEAN, VARIANCE]
OWN = [BATCH.mean((0, 1, 2)).astype(np.float32), BATCH.var((0, 1, 2)).astype(np.float32)]
BACK = [normal(2, 3, 2, 2).astype(np.float32), BATCH, SCALE]
STILL = {"is_training": False}
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5}
NORM = [
    Row("FusedBatchNorm", TRAINING, want=norm(True), **CLOSE),
    Row("FusedBatchNorm", INFERENCE, STILL, want=norm(False), id="inference", **CLOSE),
    Row("FusedBatchNormV2", TRAINING, want=norm(True), **CLOSE),
    Row("FusedBatchNormV2", TRAINING, want=norm(True), dtypes=["float16"], rtol=2e-3, atol=4e-3),
    Row("FusedBatchNormV3", TRAINING, want=norm(True, 1), loose_shape=True, **CLOSE),
    Row("FusedBatchNormV3", INFERENCE, STILL, want=norm(False, 1), loose_shape=True, **CLOSE),
    Row("FusedBatchNormGrad", [*BACK, *OWN], want=norm_grad(True), **CLOSE),
    Row("FusedBatchNormGrad", [*BACK, MEAN, VARIANCE], STILL, want=norm_grad(False), **CLOSE),
    Row("FusedBatchNormGradV2", [*BACK, *OWN], want=norm_grad(True), **CLOSE),
    Row("FusedBatchNormGradV3", [*BACK, *OWN, np.float32(0)], want=norm_grad(True), **CLOSE),
]

CHANNELS = normal(1, 2, 2, 5)
RESPONSE: dict[str, Any] = {"depth_radius": 1, "bias": 2.0, "alpha": 0.5, "beta": 0.75}


def response(x: Any) -> Any:
    return ref.response_norm(x, 1, 2.0, 0.5, 0.75)


def response_grad(g: Any, x: Any, y: Any) -> Any:
    slope = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        moved = [np.array(x, np.float64) for _ in range(2)]
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        slope[index] = np.sum(g * (response(moved[0]) - response(moved[1]))) / 2e-6
    return slope


RESPONSES = [
    Row("LRN", [CHANNELS], RESPONSE, want=response, dtypes=["float16", "bfloat16", "float32"]),
    Row(
        "LRNGrad",
        [normal(1, 2, 2, 5), CHANNELS, response(CHANNELS)],
        RESPONSE,
        want=response_grad,
        dtypes=["float32"],
    ),
]

SAMPLING = [
    Row(op, covered_by="tests/ops/test_random_candidates.py")
    for op in ("UniformCandidateSampler", "LogUniformCandidateSampler", "ComputeAccidentalHits")
]

ROWS = [
    *ACTIVATIONS,
    *SOFTMAX,
    *BIAS,
    *TOP,
    *CONV,
    *POOL,
    *NORM,
    *RESPONSES,
    *SAMPLING,
]
