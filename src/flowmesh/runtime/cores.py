"""The processor cores that this process may use, and whether others want them."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable

_LOAD = "/proc/loadavg"
_ASK = 0.005
"""Seconds after which it is asked again whether there are cores to spare."""
_WEIGHT = 0.25
"""Of one answer, against those before it: a moment's bustle is no crowd."""
_CROWDED = 0.4
_MOST_DOUBT = 8
_SECONDS = 500e-6
"""How long a thread may look for what it waits for, unless FLOWMESH_SPIN_MICROSECONDS says something else."""


@functools.cache
def available() -> int:
    """How many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def looking_time() -> float:
    """The seconds for which a thread of this process may keep a core busy looking whether something arrives; 0 for not at all."""
    given = os.environ.get("FLOWMESH_SPIN_MICROSECONDS", "").strip()
    try:
        return max(0.0, float(given) * 1e-6)
    except ValueError:
        pass
    return _SECONDS if available() > 1 else 0.0


def teller() -> Callable[[], int] | None:
    """A function that tells on which core its thread runs; None where threads cannot be kept off a core."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        return ctypes.PyDLL(None).sched_getcpu  # type: ignore[no-any-return]
    except (OSError, AttributeError, TypeError):
        return None


def _wanted() -> int:
    """How many threads of this machine run or want to, this one included; 0 where the system does not tell."""
    try:
        with open(_LOAD, "rb") as file:
            return int(file.read().split()[3].split(b"/")[0])
    except (OSError, ValueError, IndexError):
        return 0


class Habit:
    """What attempts of one kind have taught: the more often they were in vain, the rarer they become."""

    __slots__ = ("_most", "doubt", "rest")

    def __init__(self, most: int = _MOST_DOUBT) -> None:
        """In the end one in two to the power of `most` is tried."""
        self._most = most
        self.doubt = 0
        self.rest = 0
        """How often it is not tried from now on."""

    def succeeded(self) -> None:
        """It was worth while."""
        self.doubt = max(0, self.doubt - 1)

    def failed(self, weight: int) -> None:
        """It was not."""
        self.doubt = min(self._most, self.doubt + weight)
        self.rest = (1 << self.doubt) - 1


class Crowd:
    """Whether there are cores to spare."""

    def __init__(self) -> None:
        self._next = 0.0
        self._share = 0.0
        """How often there were none lately."""
        self.own = 0
        """Threads of this process that use a core only as long as nobody else wants it."""

    def is_there(self, now: float) -> bool:
        """Whether others want the core on which a thread would look."""
        if now >= self._next:
            self._next = now + _ASK
            self._share += _WEIGHT * ((_wanted() - self.own > available()) - self._share)
        return self._share > _CROWDED


crowd = Crowd()
"""That of this machine."""
