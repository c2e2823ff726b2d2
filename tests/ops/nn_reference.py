"""Slow NumPy references of convolution, pooling and normalisation, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def pads_of(
    size: int, window: int, stride: int, padding: str, dilation: int = 1
) -> tuple[int, int]:
    """(before, behind) zeros along one axis."""
    if padding == "VALID":
        return 0, 0
    reach = (window - 1) * dilation + 1
    total = max((int(np.ceil(size / stride)) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def conv2d(
    x: Any,
    kernel: Any,
    strides: Sequence[int] = (1, 1),
    padding: Any = "SAME",
    dilations: Sequence[int] = (1, 1),
    layout: str = "NHWC",
    depthwise: bool = False,
) -> np.ndarray:
    """Convolution as a sum over output places; `padding` may be a pair of (before, behind) pairs."""
    x = np.asarray(x, np.float64)
    if layout == "NCHW":
        x = x.transpose(0, 2, 3, 1)
    kernel = np.asarray(kernel, np.float64)
    height, width = kernel.shape[:2]
    pads = (
        [
            pads_of(x.shape[i + 1], kernel.shape[i], strides[i], padding, dilations[i])
            for i in (0, 1)
        ]
        if isinstance(padding, str)
        else list(padding)
    )
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    reach = [(kernel.shape[i] - 1) * dilations[i] + 1 for i in (0, 1)]
    rows, columns = ((x.shape[i + 1] - reach[i]) // strides[i] + 1 for i in (0, 1))
    depth = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    out = np.zeros((x.shape[0], rows, columns, depth))
    for i in range(rows):
        for j in range(columns):
            top, left = i * strides[0], j * strides[1]
            patch = x[:, top : top + reach[0] : dilations[0], left : left + reach[1] : dilations[1]]
            if depthwise:
                out[:, i, j] = np.einsum("bhwc,hwcm->bcm", patch, kernel).reshape(len(x), -1)
            else:
                out[:, i, j] = np.einsum("bhwc,hwco->bo", patch, kernel)
    assert (height, width) == kernel.shape[:2]
    return out.transpose(0, 3, 1, 2) if layout == "NCHW" else out


def transposed(forward: Any, shape: Sequence[int], grad: Any) -> np.ndarray:
    """The transpose of a linear function of an array of `shape`, applied to `grad`, one basis vector at a time."""
    result = np.zeros(shape)
    for index in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[index] = 1.0
        result[index] = np.sum(forward(unit) * np.asarray(grad, np.float64))
    return result


def pool_windows(
    shape: Sequence[int], ksize: Sequence[int], strides: Sequence[int], padding: str
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each output place with the slices of its window, cut to the input."""
    pads = [pads_of(s, k, t, padding)[0] for s, k, t in zip(shape, ksize, strides)]
    counts = [
        int(np.ceil(s / t)) if padding == "SAME" else (s - k) // t + 1
        for s, k, t in zip(shape, ksize, strides)
    ]
    for place in np.ndindex(*counts):
        starts = [p * t - pad for p, t, pad in zip(place, strides, pads)]
        yield place, tuple(slice(max(a, 0), min(a + k, s)) for a, k, s in zip(starts, ksize, shape))


def pool(
    x: Any, reduce: Any, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> np.ndarray:
    """Any reduction of windows."""
    found = [(p, reduce(x[w])) for p, w in pool_windows(x.shape, ksize, strides, padding)]
    out = np.zeros(np.array([p for p, _ in found]).max(axis=0) + 1, x.dtype)
    for place, value in found:
        out[place] = value
    return out


def argmax_places(
    x: Any, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Where the first largest element of each window stands."""
    result = {}
    for place, window in pool_windows(x.shape, ksize, strides, padding):
        part = x[window]
        inner = np.unravel_index(int(np.argmax(part)), part.shape)
        result[place] = tuple(int(i) + w.start for i, w in zip(inner, window))
    return result


def max_pool_grad(
    x: Any, grad: Any, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> np.ndarray:
    """Each gradient added at the place of its window's largest element."""
    out = np.zeros(x.shape)
    for place, source in argmax_places(x, ksize, strides, padding).items():
        out[source] += grad[place]
    return out


def softmax(x: Any) -> np.ndarray:
    """Softmax along the last axis, in double precision."""
    powers = np.exp(np.asarray(x, np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def batch_norm(
    x: Any, scale: Any, offset: Any, mean: Any, variance: Any, training: bool, epsilon: float
) -> tuple[np.ndarray, ...]:
    """(y, mean, unbiased variance, mean, variance) of a batch with channels last."""
    x = np.asarray(x, np.float64)
    reported = variance
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size // x.shape[3]
        reported = variance * count / (count - 1)
    y = (x - mean) / np.sqrt(variance + epsilon) * scale + offset
    return y, mean, reported, mean, variance


def response_norm(x: Any, radius: int, bias: float, alpha: float, beta: float) -> np.ndarray:
    """Local response normalisation, channel by channel."""
    x = np.asarray(x, np.float64)
    out = np.zeros_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(c - radius, 0) : c + radius + 1]
        out[..., c] = x[..., c] / (bias + alpha * (near**2).sum(-1)) ** beta
    return out
