"""The Philox 4x32-10 generator and the distributions drawn from it, for NumPy and `jax.numpy` alike.

A generator state is six `uint32` words: two of key, four of counter (least significant first). Every function takes the
array namespace `xp` and the state, so the same code runs on the host and inside a compiled program. Numbers come in
*blocks*: block `i` is the four 32-bit words that the cipher makes of counter + i. The order in which TensorFlow's CPU
kernels hand blocks out is part of the contract here: a seed must give the same numbers as there.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

Array = Any

RESERVED_BLOCKS_PER_OUTPUT = 256
"""How far an op moves its counter for every output element, whatever it really used."""

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MASK = 0xFFFFFFFF
_MASK_64, _SHIFT = np.uint64(_MASK), np.uint64(32)
_MULTIPLIER_PAIR = np.array([[m] for m in _MULTIPLIERS], np.uint64)
_KEY_SCHEDULE = np.array(
    [[[number * step & _MASK] for step in _KEY_STEPS] for number in range(_ROUNDS)], np.uint64
)
_FEW = 2048
_CHUNK = 8192  # counters worked on at once by NumPy: the working set stays inside a core's cache


def initial_state(seed: int, seed2: int) -> np.ndarray:
    """The state that TensorFlow derives from an op's two seeds; (0, 0) asks the system for entropy."""
    if seed == 0 and seed2 == 0:
        return np.frombuffer(os.urandom(24), np.uint32).copy()
    words = [seed & _MASK, (seed >> 32) & _MASK, 0, 0, seed2 & _MASK, (seed2 >> 32) & _MASK]
    return np.array(words, np.uint32)


def skip(xp: Any, state: Array, count: int) -> Array:
    """The state `count` blocks further on (a 128-bit addition to the counter)."""
    if xp is np:
        counter = int.from_bytes(state[2:].astype("<u4").tobytes(), "little") + count
        moved = (counter % (1 << 128)).to_bytes(16, "little")
        return np.concatenate([state[:2], np.frombuffer(moved, "<u4")])
    low, high = _counter(xp, state)
    moved = low + xp.uint64(count & 0xFFFFFFFFFFFFFFFF)
    high = high + (moved < low).astype(xp.uint64)
    mask, shift = xp.uint64(_MASK), xp.uint64(32)
    counter = xp.concatenate([moved & mask, moved >> shift, high & mask, high >> shift])
    return xp.concatenate([state[:2], counter.astype(xp.uint32)])


def blocks(xp: Any, state: Array, count: int) -> Array:
    """The next `count` blocks: uint32 of shape [count, 4]."""
    return blocks_at(xp, state, xp.arange(count, dtype=xp.uint64))


def blocks_at(xp: Any, state: Array, offsets: Array) -> Array:
    """The blocks at `offsets` (uint64, [n]) from the state: uint32 of shape [n, 4]."""
    low, high = _counter(xp, state)
    keys = state[:2].astype(xp.uint64)
    if xp is not np or len(offsets) <= _CHUNK:
        return _cipher(xp, keys, low, high, offsets)
    out = np.empty((len(offsets), 4), np.uint32)
    for start in range(0, len(offsets), _CHUNK):
        part = offsets[start : start + _CHUNK]
        out[start : start + len(part)] = _cipher(np, keys, low, high, part)
    return out


def lanes(xp: Any, state: Array, count: int) -> tuple[Array, Array, Array, Array]:
    """The next `count` blocks, for a compiled program: the first, second, third and fourth words of all, uint64 below 2**32."""
    low, high = _counter(xp, state)
    return _rounds(xp, state[:2].astype(xp.uint64), low, high, xp.arange(count, dtype=xp.uint64))


def words(xp: Any, state: Array, count: int) -> Array:
    """The next `count` 32-bit words, uint32 of shape [count]."""
    return blocks(xp, state, -(-count // 4)).reshape(-1)[:count]


def _counter(xp: Any, state: Array) -> tuple[Array, Array]:
    """The counter's low and high 64 bits, each of shape [1] (NumPy warns when scalars wrap around)."""
    wide = state[2:].astype(xp.uint64)
    shift = xp.uint64(32)
    return wide[0:1] | (wide[1:2] << shift), wide[2:3] | (wide[3:4] << shift)


def _cipher(xp: Any, keys: Array, low: Array, high: Array, offsets: Array) -> Array:
    """Philox 4x32-10 of counter + offsets: uint32 [n, 4]."""
    if xp is np and len(offsets) <= _FEW:
        return _few(keys, low, high, offsets)
    a, b, c, d = _rounds(xp, keys, low, high, offsets)
    if xp is np:
        return np.stack([a, b, c, d], axis=-1).astype(np.uint32)
    return _interleaved(xp, a, b, c, d)


def _few(keys: Array, low: Array, high: Array, offsets: Array) -> Array:
    """The same for few blocks, where the number of NumPy calls counts: the two halves of a round side by side."""
    bottom = offsets + low
    top = high + (bottom < low)
    counter = np.array([[bottom & _MASK_64, top & _MASK_64], [bottom >> _SHIFT, top >> _SHIFT]])
    x, y = counter[0], counter[1]
    for key in (keys.reshape(2, 1) + _KEY_SCHEDULE) & _MASK_64:
        product = x * _MULTIPLIER_PAIR
        rest = product & _MASK_64
        product >>= _SHIFT
        y ^= key
        y ^= product[::-1]
        x, y = y, rest[::-1]
    out = np.empty((len(offsets), 4), np.uint32)
    out[:, 0::2], out[:, 1::2] = x.T, y.T
    return out


def _rounds(
    xp: Any, keys: Array, low: Array, high: Array, offsets: Array
) -> tuple[Array, Array, Array, Array]:
    """The four words of each block, as uint64."""
    mask, shift = xp.uint64(_MASK), xp.uint64(32)
    m0, m1 = (xp.uint64(m) for m in _MULTIPLIERS)
    bottom = offsets + low
    top = high + (bottom < low).astype(xp.uint64)
    a, b, c, d = bottom & mask, bottom >> shift, top & mask, top >> shift
    for number in range(_ROUNDS):
        k0 = (keys[0:1] + xp.uint64(number * _KEY_STEPS[0] & _MASK)) & mask
        k1 = (keys[1:2] + xp.uint64(number * _KEY_STEPS[1] & _MASK)) & mask
        first, second = a * m0, c * m1
        a, b, c, d = (
            (second >> shift) ^ b ^ k0,
            second & mask,
            (first >> shift) ^ d ^ k1,
            first & mask,
        )
    return a, b, c, d


def _interleaved(xp: Any, a: Array, b: Array, c: Array, d: Array) -> Array:
    """The four words of each block side by side, in a compiled program.

    Left to itself XLA fuses the cipher into whatever reads the words, and so computes each block once for each of its words.
    Two words in one number, and a barrier, make it compute blocks into memory, half of a block at a time, in loops that use
    whole vector registers: 2.5 times as fast.
    """
    from jax import lax

    shift = xp.uint64(32)
    halves = lax.optimization_barrier((a | (b << shift), c | (d << shift)))
    return lax.bitcast_convert_type(xp.stack(halves, axis=-1), xp.uint32).reshape(-1, 4)
