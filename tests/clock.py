"""A clock for tests: time passes when they say so."""

from __future__ import annotations

import itertools
from collections.abc import Callable


class Hands:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[float, Callable[[], None]]] = {}

    def now(self) -> float:
        return self._now

    def schedule(self, at: float, callback: Callable[[], None]) -> int:
        number = next(self._numbers)
        self._waiting[number] = (at, callback)
        return number

    def cancel(self, number: int) -> None:
        self._waiting.pop(number, None)

    @property
    def idle(self) -> bool:
        """Whether nothing is going to happen."""
        return not self._waiting

    def pass_by(self, seconds: float) -> None:
        """That much time passes, and all happens that is due in it."""
        end = self._now + seconds
        while due := [(at, n) for n, (at, _) in self._waiting.items() if at <= end]:
            at, number = min(due)
            self._now = max(self._now, at)
            self._waiting.pop(number)[1]()
        self._now = end
