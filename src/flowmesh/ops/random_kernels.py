"""Kernels of the discrete random ops (shuffle, categorical) and of gamma, in TensorFlow's order of draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.ops import philox, philox_draws

Array = Any


def permutation(state: Array, size: int) -> np.ndarray:
    """The order in which TensorFlow's Fisher-Yates walk leaves `size` rows (NumPy only: it is sequential)."""
    words = philox.words(np, state, size - 1).astype(np.int64)
    places = (words % np.arange(size, 1, -1) + np.arange(size - 1)).tolist()
    order = list(range(size))
    for at, other in enumerate(places):
        order[at], order[other] = order[other], order[at]
    return np.array(order, np.int64)


def categorical(xp: Any, state: Array, logits: Array, count: int) -> Array:
    """`count` draws per row of unnormalised log probabilities, by inversion: int64 [batch, count]."""
    batch = logits.shape[0]
    finite = xp.isfinite(logits)
    top = xp.max(xp.where(finite, logits, -xp.inf), axis=1, keepdims=True).astype(xp.float64)
    weights = xp.where(finite, xp.exp(logits.astype(xp.float64) - top), 0.0)
    cumulative = xp.cumsum(weights, axis=1)
    draws = philox_draws.uniform(xp, state, batch * count, np.float64).reshape(batch, count)
    targets = draws * cumulative[:, -1:]
    if xp is np:
        rows = [np.searchsorted(c, t, side="right") for c, t in zip(cumulative, targets)]
        return np.array(rows, np.int64).reshape(batch, count)
    import jax

    search = jax.vmap(lambda c, t: xp.searchsorted(c, t, side="right"))
    return search(cumulative, targets).astype(xp.int64)


def gamma(state: Array, per_alpha: int, alphas: np.ndarray) -> np.ndarray:
    """Gamma draws float64 [per_alpha, len(alphas)] by Marsaglia and Tsang's rejection (NumPy only).

    Every output has a stream of its own; streams run over the alphas first and over their samples within.
    """
    streams = _Streams(state, per_alpha * len(alphas))
    alpha = np.repeat(alphas.astype(np.float64), per_alpha)
    result = np.empty(len(alpha))
    exponential = np.flatnonzero(alpha == 1.0)
    if len(exponential):
        result[exponential] = -np.log(1.0 - streams.uniforms(exponential))
    small = alpha < 1
    d = alpha + np.where(small, 2.0 / 3, -1.0 / 3)
    c = 1.0 / 3 / np.sqrt(d)
    drawable = (alpha >= 0) & np.isfinite(alpha)
    result[~drawable] = np.where(alpha[~drawable] == np.inf, np.inf, np.nan)
    open_ = np.flatnonzero((alpha != 1.0) & drawable)
    while len(open_):
        x = streams.normals(open_)
        v = 1 + c[open_] * x
        tried, x, v = open_[v > 0], x[v > 0], v[v > 0]
        v = v * v * v
        u = streams.uniforms(tried)
        with np.errstate(divide="ignore"):
            bound = 0.5 * x * x + d[tried] * (1 - v + np.log(v))
            accept = (u < 1 - 0.0331 * (x * x) * (x * x)) | (np.log(u) < bound)
        done = tried[accept]
        result[done] = d[done] * v[accept]
        boosted = done[small[done]]
        if len(boosted):
            result[boosted] *= streams.uniforms(boosted) ** (1 / alpha[boosted])
        open_ = np.setdiff1d(open_, done, assume_unique=True)
    return result.reshape(len(alphas), per_alpha).T


class _Streams:
    """One generator per output, each with a pair of normals and a pair of uniforms, used from the back."""

    def __init__(self, state: Array, count: int) -> None:
        self._state = state
        self._at = np.arange(count, dtype=np.uint64) * np.uint64(philox.RESERVED_BLOCKS_PER_OUTPUT)
        self._pairs = {"normal": np.zeros((count, 2)), "uniform": np.zeros((count, 2))}
        self._left = {name: np.zeros(count, np.int64) for name in self._pairs}

    def normals(self, which: np.ndarray) -> np.ndarray:
        """The next normal of each stream in `which`."""
        return self._take("normal", philox_draws.normals_of_blocks, which)

    def uniforms(self, which: np.ndarray) -> np.ndarray:
        """The next uniform of each stream in `which`."""
        return self._take("uniform", philox_draws.uniforms_of_blocks, which)

    def _take(self, name: str, draw: Any, which: np.ndarray) -> np.ndarray:
        pairs, left = self._pairs[name], self._left[name]
        empty = which[left[which] == 0]
        if len(empty):
            blocks = philox.blocks_at(np, self._state, self._at[empty])
            pairs[empty] = draw(np, blocks, np.float64)
            self._at[empty] += np.uint64(1)
            left[empty] = 2
        left[which] -= 1
        return pairs[which, left[which]]
