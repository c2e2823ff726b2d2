"""Distributions drawn from Philox blocks, word for word in the order of TensorFlow's CPU kernels.

Every function returns exactly `count` values of the asked dtype and leaves moving the state on to its caller.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.ops import philox, single_math

Array = Any

_TINY = 1e-7  # uniforms below this are raised to it before the logarithm
_TWO_PI = 2.0 * np.pi
_TRUNCATION = 2.0
_CHUNK = 8192  # blocks worked on at once by NumPy


def uniform(xp: Any, state: Array, count: int, dtype: Any) -> Array:
    """Uniform numbers in [0, 1), float16, bfloat16, float32 or float64."""
    if np.dtype(dtype) == np.float64:
        blocks = philox.blocks(xp, state, -(-count // 2))
        return uniforms_of_blocks(xp, blocks, dtype).reshape(-1)[:count]
    words = philox.words(xp, state, count)
    if np.dtype(dtype) == np.float32:
        return _single(xp, words)
    if np.dtype(dtype) == np.float16:
        bits = (words & xp.uint32(0x3FF)) | xp.uint32(15 << 10)
    else:  # bfloat16
        bits = (words & xp.uint32(0x7F)) | xp.uint32(127 << 7)
    return bits.astype(xp.uint16).view(dtype) - np.dtype(dtype).type(1)


def uniform_lanes(xp: Any, state: Array, count: int) -> list[Array]:
    """What `uniform` gives for float32 and a multiple of 4, for a compiled program: number k is number k // 4 of array k % 4."""
    return [_single(xp, w.astype(xp.uint32)) for w in philox.lanes(xp, state, count // 4)]


def uniform_int(xp: Any, state: Array, count: int, low: Array, high: Array, dtype: Any) -> Array:
    """Uniform integers in [low, high), int32 or int64; `low` and `high` are scalars of that dtype."""
    wide = np.dtype(dtype) == np.int64
    unsigned = xp.uint64 if wide else xp.uint32
    low = xp.asarray(low, dtype=dtype).reshape(1).view(unsigned)
    span = xp.asarray(high, dtype=dtype).reshape(1).view(unsigned) - low
    words = philox.words(xp, state, 2 * count if wide else count)
    if wide:
        pairs = words.reshape(count, 2).astype(xp.uint64)
        words = pairs[:, 0] | (pairs[:, 1] << xp.uint64(32))
    return (words % span + low).view(dtype)


def normal(xp: Any, state: Array, count: int, dtype: Any) -> Array:
    """Standard normal numbers (Box-Muller: the sine and the cosine branch both used)."""
    per_block = _normals_per_block(dtype)
    blocks = philox.blocks(xp, state, -(-count // per_block))
    return normals_of_blocks(xp, blocks, dtype).reshape(-1)[:count].astype(dtype)


def truncated_normal(xp: Any, state: Array, count: int, dtype: Any) -> Array:
    """Standard normal numbers below 2 in size, by rejection.

    Each group of as many outputs as one block gives normals has a stream of its own, far enough from the next.
    """
    size = _normals_per_block(dtype)
    groups = -(-count // size)
    stride = philox.RESERVED_BLOCKS_PER_OUTPUT * size // 4
    fill = _fill_groups_numpy if xp is np else _fill_groups_traced
    values = fill(xp, state, groups, size, stride, dtype)
    return values.reshape(-1)[:count].astype(dtype)


def _normals_per_block(dtype: Any) -> int:
    return 2 if np.dtype(dtype) == np.float64 else 4


def _single(xp: Any, words: Array) -> Array:
    bits = (words & xp.uint32(0x7FFFFF)) | xp.uint32(127 << 23)
    return bits.view(xp.float32) - xp.float32(1)


def uniforms_of_blocks(xp: Any, blocks: Array, dtype: Any) -> Array:
    """The two float64 uniforms of each block: [n, 2]."""
    return _double(xp, blocks[:, 0::2], blocks[:, 1::2])


def _double(xp: Any, upper: Array, lower: Array) -> Array:
    high = (upper & xp.uint32(0xFFFFF)) | xp.uint32(1023 << 20)
    bits = (high.astype(xp.uint64) << xp.uint64(32)) | lower.astype(xp.uint64)
    return bits.view(xp.float64) - 1.0


def normals_of_blocks(xp: Any, blocks: Array, dtype: Any) -> Array:
    """Normals of uint32 blocks [n, 4]: float64 [n, 2] for float64, else float32 [n, 4]."""
    if xp is np and len(blocks) > _CHUNK:
        parts = range(0, len(blocks), _CHUNK)
        return np.concatenate([normals_of_blocks(np, blocks[i : i + _CHUNK], dtype) for i in parts])
    if np.dtype(dtype) == np.float64:
        first = xp.maximum(_double(xp, blocks[:, 0], blocks[:, 1]), _TINY)
        angle = _TWO_PI * _double(xp, blocks[:, 2], blocks[:, 3])
        radius = xp.sqrt(-2.0 * _exact(xp, "log", first))
        sine, cosine = _exact(xp, "sin", angle), _exact(xp, "cos", angle)
        return xp.stack([sine * radius, cosine * radius], axis=-1)
    pairs = _single(xp, blocks)
    first = xp.maximum(pairs[:, 0::2], xp.float32(_TINY))
    angle = (_TWO_PI * pairs[:, 1::2].astype(xp.float64)).astype(xp.float32)
    radius = xp.sqrt(xp.float32(-2) * single_math.log(xp, first))
    sine, cosine = single_math.sine_cosine(xp, angle)
    return xp.stack([sine * radius, cosine * radius], axis=-1).reshape(-1, 4)


def _exact(xp: Any, name: str, x: Array) -> Array:
    """The C library's double-precision function (NumPy's own vector code differs in a few last bits)."""
    if xp is not np:
        return getattr(xp, name)(x)
    return np.fromiter(map(getattr(math, name), x.tolist()), np.float64, len(x))


def _fill_groups_numpy(
    xp: Any, state: Array, groups: int, size: int, stride: int, dtype: Any
) -> Array:
    """Truncated normals [groups, size]; later blocks are drawn only for groups that still lack values."""
    starts = np.arange(groups, dtype=np.uint64) * np.uint64(stride)
    candidates = normals_of_blocks(np, philox.blocks_at(np, state, starts), dtype)
    values, number = candidates.copy(), 1
    short = np.flatnonzero(~(np.abs(candidates) < _TRUNCATION).all(axis=1))
    pool = candidates[short]
    while len(short):
        more = philox.blocks_at(np, state, starts[short] + np.uint64(number))
        pool = np.concatenate([pool, normals_of_blocks(np, more, dtype)], axis=1)
        good = np.abs(pool) < _TRUNCATION
        full = good.sum(axis=1) >= size
        order = np.argsort(~good[full], axis=1, kind="stable")[:, :size]
        values[short[full]] = np.take_along_axis(pool[full], order, axis=1)
        short, pool, number = short[~full], pool[~full], number + 1
    return values


def _fill_groups_traced(
    xp: Any, state: Array, groups: int, size: int, stride: int, dtype: Any
) -> Array:
    """The same as a compiled loop over blocks: each pass places what is accepted in the next free slots."""
    from jax import lax

    starts = xp.arange(groups, dtype=xp.uint64) * xp.uint64(stride)
    slots = xp.arange(size)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        return (carry[1] < size).any()

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        values, filled, number = carry
        candidates = normals_of_blocks(xp, philox.blocks_at(xp, state, starts + number), dtype)
        good = xp.abs(candidates) < _TRUNCATION
        position = filled[:, None] + xp.cumsum(good, axis=1) - 1
        chosen = good[:, :, None] & (position[:, :, None] == slots)
        drawn = xp.where(chosen, candidates[:, :, None], 0).sum(axis=1)
        values = xp.where(chosen.any(axis=1), drawn, values)
        return values, filled + good.sum(axis=1), number + xp.uint64(1)

    work = xp.float64 if size == 2 else xp.float32
    carry = (xp.zeros((groups, size), work), xp.zeros(groups, xp.int64), xp.uint64(0))
    return lax.while_loop(unfinished, step, carry)[0]
