"""Sliding windows as a few slices of the whole array, for processors.

XLA walks over windows element by element. A window of k elements along an axis is as well the combination of k slices, each a step further,
which XLA fuses into one vectorised loop: a maximum over windows of 3x3 takes a tenth of the time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

_LONGEST = 16
"""Longer windows along an axis are left to XLA."""


def suits(window: Sequence[int]) -> bool:
    """Whether windows of these sizes are worth slices."""
    return max(window) <= _LONGEST


def reduce(
    x: Any,
    initial: Any,
    combine: Callable[[Any, Any], Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Any:
    """What `lax.reduce_window` gives, axis after axis."""
    x = _padded(x, initial, padding)
    for axis, (window, stride) in enumerate(zip(window_dimensions, window_strides)):
        if window > 1 or stride > 1:
            parts = [_every(x, axis, i, window, stride) for i in range(window)]
            x = functools.reduce(combine, parts)
    return x


def first_largest(
    x: Any,
    largest: Any,
    lowest: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> dict[tuple[int, ...], Any]:
    """For each place in a window whether the first of the largest elements stands there; `largest` is the maximum of each window.

    Of a window without a largest element (NaN) it is the first.
    """
    x = _padded(x, lowest, padding)
    found: Any = None
    result = {}
    for place in product(*map(range, window_dimensions)):
        part = x
        for axis, at in enumerate(place):
            part = _every(part, axis, at, window_dimensions[axis], window_strides[axis])
        fits = ~(part < largest)
        result[place] = fits if found is None else fits & ~found
        found = fits if found is None else found | fits
    return result


def spread(
    parts: dict[tuple[int, ...], Any],
    shape: Sequence[int],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Any:
    """The reverse of taking windows: the sum of what `parts` has for each place in a window, at the places of an array of `shape`.

    Places that are as far apart as the stride meet no other window's: they make up one array for each remainder, and these are interleaved.
    """
    number = [-(-(n + sum(pads)) // s) for n, pads, s in zip(shape, padding, window_strides)]
    phases = {
        phase: _phase(parts, phase, number, window_dimensions, window_strides)
        for phase in product(*map(range, window_strides))
    }
    whole = interleaved(phases, window_strides)
    return whole[tuple(slice(low, low + n) for (low, _), n in zip(padding, shape))]


def _phase(
    parts: dict[tuple[int, ...], Any],
    phase: tuple[int, ...],
    number: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
) -> Any:
    """The elements whose places leave these remainders when divided by the strides, `number` along each axis."""
    from jax import lax

    some = next(iter(parts.values()))
    zero = np.zeros((), some.dtype)
    total: Any = None
    for steps in product(*(range(-(-(w - p) // s)) for w, p, s in zip(window, phase, strides))):
        part = parts[tuple(p + s * t for p, s, t in zip(phase, strides, steps))]
        room = [(t, n - t - size, 0) for t, n, size in zip(steps, number, part.shape)]
        part = lax.pad(part, zero, room)
        total = part if total is None else total + part
    if total is None:
        return lax.full(tuple(number), zero)
    return total


def interleaved(phases: dict[tuple[int, ...], Any], strides: Sequence[int]) -> Any:
    """One array of as many arrays as the product of the strides: along each axis their elements take turns, in the order of their keys."""
    import jax.numpy as jnp

    for axis in reversed(range(len(strides))):
        merged: dict[tuple[int, ...], list[Any]] = {}
        for phase in sorted(phases):
            merged.setdefault(phase[:axis] + (0,) + phase[axis + 1 :], []).append(phases[phase])
        phases = {}
        for phase, turns in merged.items():
            if len(turns) == 1:
                phases[phase] = turns[0]
                continue
            both = jnp.stack(turns, axis + 1)
            sizes = list(turns[0].shape)
            sizes[axis] *= len(turns)
            phases[phase] = both.reshape(sizes)
    return next(iter(phases.values()))


def _padded(x: Any, value: Any, padding: Sequence[tuple[int, int]]) -> Any:
    from jax import lax

    if all(pair == (0, 0) for pair in padding):
        return x
    return lax.pad(x, np.asarray(value, x.dtype), [(low, high, 0) for low, high in padding])


def _every(x: Any, axis: int, start: int, window: int, stride: int) -> Any:
    """Every `stride`-th element along an axis, from `start` on, as many as there are windows."""
    from jax import lax

    if window == stride == 1:
        return x
    number = (x.shape[axis] - window) // stride + 1
    return lax.slice_in_dim(x, start, start + (number - 1) * stride + 1, stride, axis)
