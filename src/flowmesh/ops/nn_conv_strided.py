"""The gradient by the input of a convolution with strides, for processors and layouts with the channels last.

XLA puts zeros between the elements of the gradient and convolves that: with strides of 2 three quarters of the work is on zeros. Places of
the input that leave the same remainder when divided by the strides see every stride-th element of the filter only: each remainder is a
convolution of its own, without strides, and their results take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from flowmesh.ops import window_slices


def suits(
    layout: str, strides: Sequence[int], dilations: Sequence[int], kernel: Sequence[int]
) -> bool:
    """Whether the gradient is to be computed this way; `kernel` is the filter's shape, spatial + [in, out]."""
    return (
        layout.endswith("C")
        and any(stride > 1 for stride in strides)
        and all(dilation == 1 for dilation in dilations)
        and all(size >= stride for size, stride in zip(kernel, strides))
    )


def by_input(
    shape: Sequence[int],
    kernel: Any,
    grad: Any,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    layout: str,
) -> Any:
    """The gradient by an input of this shape; `pads` are the zeros added to each spatial axis of it."""
    sizes = shape[1:-1]
    number = [-(-(size + sum(pair)) // s) for size, pair, s in zip(sizes, pads, strides)]
    phases = {
        (0, *phase, 0): _phase(phase, number, kernel, grad, strides, layout)
        for phase in product(*map(range, strides))
    }
    whole = window_slices.interleaved(phases, (1, *strides, 1))
    inner = tuple(slice(low, low + size) for (low, _), size in zip(pads, sizes))
    return whole[(slice(None), *inner)]


def _phase(
    phase: Sequence[int],
    number: Sequence[int],
    kernel: Any,
    grad: Any,
    strides: Sequence[int],
    layout: str,
) -> Any:
    """The gradient at the places with one remainder for each axis."""
    from jax import lax

    part = kernel[tuple(slice(start, None, s) for start, s in zip(phase, strides))]
    axes = tuple(range(len(strides)))
    letters = layout[1:-1]
    room = [(n - 1, full - size) for n, full, size in zip(part.shape, number, grad.shape[1:-1])]
    return lax.conv_general_dilated(
        grad,
        lax.rev(part, axes),
        np.ones(len(axes), int).tolist(),
        room,
        dimension_numbers=(layout, letters + "OI", layout),
    )
