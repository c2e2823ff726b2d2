"""How far the runs of one program on the processor may be ahead of XLA.

A run that fetches nothing returns when its work is handed over. JAX holds the caller back when 32 runs are under way, and wakes it for each one that ends: on
busy cores that is a switch of threads in each step, whose Python finds nothing left in the caches. Here the caller waits until few are left, and then starts
many in one go: half the processor time in its thread.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any

_EVERY = 8
"""Every so many runs a mark is left, to be waited for."""
_MARKS = 3
"""Marks under way (24 runs) at which the caller waits, until only the last one (8 runs) is left."""


@lru_cache
def _marker(jax: Any) -> Any:
    """A tiny program that is done when what it reads is."""
    return jax.jit(lambda array: array.ravel()[:1] * 1)


class RunningAhead:
    """The runs of one program that are under way. Several threads may use it: they may wait a little more or less then."""

    __slots__ = ("_jax", "_marks", "_runs")

    def __init__(self, jax: Any) -> None:
        self._jax = jax
        self._marks: deque[Any] = deque()
        self._runs = 0

    def hold(self) -> None:
        """Waits if many runs are under way. Called before a run, without any lock."""
        marks = self._marks
        if len(marks) < _MARKS:
            return
        mark = None
        try:
            while len(marks) > 1:
                mark = marks.popleft()
        except IndexError:  # another thread has taken them
            pass
        if mark is not None:
            mark.block_until_ready()

    def started(self, results: Any) -> None:
        """A run has been handed over; these arrays are its results, which nobody has yet been given."""
        self._runs += 1
        if self._runs % _EVERY == 0:
            self._marks.append(_marker(self._jax)(min(results, key=_size)))


def _size(array: Any) -> int:
    return array.size if array.size else 1 << 62
