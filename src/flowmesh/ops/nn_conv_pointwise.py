"""Convolutions with windows of one element as matrix products.

XLA's convolutions for processors take two to six times as long for them: most of all the gradient by the filter, which is a convolution with
a filter as large as the image. Layouts with the channels last only: there a product needs no copy of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_LONG = 512
"""From so many places of an image on the gradient by the filter is a sum of matrix products, for parts of the batch."""
_PARTS = 4
"""Twice as many as cores would do; one for each image takes a tenth longer where the batch is larger."""


def is_pointwise(
    kernel: Sequence[int], channels: int, pads: Sequence[tuple[int, int]], layout: str
) -> bool:
    """Whether a convolution with a filter of this shape (spatial + [in, out]) is a matrix product at every place."""
    return (
        layout.endswith("C")
        and all(size == 1 for size in kernel[:-2])
        and kernel[-2] == channels
        and all(pad == (0, 0) for pad in pads)
    )


def forward(x: Any, kernel: Any, strides: Sequence[int]) -> Any:
    """The convolution."""
    x = _strided(x, strides)
    return _product(x, kernel.reshape(kernel.shape[-2:]))


def by_input(shape: Sequence[int], kernel: Any, grad: Any, strides: Sequence[int]) -> Any:
    """The gradient by an input of this shape: zero at the places that the strides leave out."""
    from jax import lax

    matrix = kernel.reshape(kernel.shape[-2:])
    result = _product(grad, matrix.T)
    if all(stride == 1 for stride in strides):
        return result
    spread = [
        (0, size - 1 - (places - 1) * stride, stride - 1)
        for size, places, stride in zip(shape[1:-1], grad.shape[1:-1], strides)
    ]
    return lax.pad(result, np.zeros((), result.dtype), [(0, 0, 0), *spread, (0, 0, 0)])


def by_filter(x: Any, shape: Sequence[int], grad: Any, strides: Sequence[int]) -> Any:
    """The gradient by a filter of this shape."""
    from jax import lax

    x = _strided(x, strides)
    images, channels = x.shape[0], x.shape[-1]
    if images * channels and x.size >= _LONG * images * channels:
        # a sum over so many places is done faster in parts
        parts = _PARTS if images % _PARTS == 0 else images
        rows, columns = (v.reshape(parts, -1, v.shape[-1]) for v in (x, grad))
        total = lax.dot_general(rows, columns, (((1,), (1,)), ((0,), (0,)))).sum(0)
        return total.reshape(tuple(shape))
    rows, columns = (v.reshape(-1, v.shape[-1]) for v in (x, grad))
    return lax.dot_general(rows, columns, (((0,), (0,)), ((), ()))).reshape(tuple(shape))


def _strided(x: Any, strides: Sequence[int]) -> Any:
    if all(stride == 1 for stride in strides):
        return x
    return x[(slice(None), *(slice(None, None, int(stride)) for stride in strides))]


def _product(x: Any, matrix: Any) -> Any:
    rows = x.reshape(-1, x.shape[-1])
    return (rows @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])
