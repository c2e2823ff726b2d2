"""Variables that are copied into shared memory before a step asks for them.

A worker that trains with a parameter server reads the same variables in each step, and waits while they are copied. Where nobody else
changes them between two of its steps the copies can be made when a step is over, while the worker takes the results and begins the
next one. Whether that is so, the steps themselves tell: a value is copied ahead once it was found unchanged a few times in a row, and no
more when it was not. What no step has used for a while goes back.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flowmesh.distributed.interfaces import PlacedCopy, WorkerInterface
from flowmesh.resources.variable import Variable
from flowmesh.runtime import timer
from flowmesh.runtime.staged import Transfer

TRUST = 4
"""Steps in a row that have to find a variable as the one before left it."""
MAX_BYTES = 16 << 20
"""What one part may have copied ahead."""
IDLE_SECONDS = 5.0


class _Entry:
    """One tensor that is sent in each step, and is the whole of a variable."""

    __slots__ = ("copy", "ended", "generation", "runs", "source", "target", "variable")

    def __init__(self, target: WorkerInterface) -> None:
        self.target = target
        self.variable: Variable | None = None
        self.ended: int | None = None
        """The variable's generation when the last step was over; None when no step was since the last one began."""
        self.runs = 0
        """Steps in a row that found it so."""
        self.copy: PlacedCopy | None = None
        self.generation = -1
        """Of what was copied."""
        self.source: weakref.ref[Any] | None = None
        """The array that was copied: a reference would keep it from being written to in place."""

    def is_left(self, variable: Variable) -> int:
        """A step is over; the generation of the variable as it has left it."""
        if self.variable is not variable:
            self.variable, self.runs, self.copy = variable, 0, None
        self.ended = generation = variable.generation
        return generation

    def take(self, value: Any) -> PlacedCopy | None:
        """The copy, if it is one of this value. A value that was written to in place since has another generation."""
        variable = self.variable
        if variable is None:
            return None
        ended, self.ended = self.ended, None
        if ended is not None:
            self.runs = self.runs + 1 if variable.generation == ended else 0
        copy, self.copy = self.copy, None
        source = self.source
        if (
            copy is None
            or source is None
            or source() is not value
            or variable.generation != self.generation
            or self.target.link is not copy.link
        ):
            return None
        copy.array = value
        return copy


class CopiesAhead:
    """What one part sends of variables. Thread-safe."""

    def __init__(self, targets: Iterable[tuple[str, WorkerInterface]]) -> None:
        """`targets` are the rendezvous keys under which whole variables are sent, and to whom."""
        self._entries = {key: _Entry(target) for key, target in targets}
        self._lock = threading.Lock()
        self._used = 0.0
        self._timed = False

    def use(self, transfers: Sequence[Transfer]) -> Sequence[Transfer]:
        """The transfers of a step, with copies that have been made already in the place of the values."""
        entries, used = self._entries, None
        with self._lock:
            for at, (key, value, is_dead) in enumerate(transfers):
                entry = entries.get(key)
                if entry is not None and not is_dead and (copy := entry.take(value)) is not None:
                    used = used or list(transfers)
                    used[at] = (key, copy, False)
        return used or transfers

    def prepare(self, variables: Iterable[tuple[str, Any]]) -> None:
        """A step is over: makes copies for the next one. `variables` are those that are sent, by key."""
        left = MAX_BYTES
        for key, variable in variables:
            entry = self._entries[key]
            if isinstance(variable, Variable):
                with self._lock:
                    generation = entry.is_left(variable)
                    wanted = entry.runs >= TRUST
                if wanted:
                    left -= self._copy(entry, variable, generation, left)
        if left < MAX_BYTES:
            self._watch()

    def _copy(self, entry: _Entry, variable: Variable, generation: int, most: int) -> int:
        """Makes a copy of at most so many bytes, and tells its size; 0 when there is none."""
        link, value = entry.target.link, variable.value
        # As long as the value is held here nobody writes to it in place.
        if (
            link is None
            or type(value) is not np.ndarray
            or value.nbytes > most
            or variable.generation != generation
        ):
            return 0
        copy: PlacedCopy | None = link.place(value)
        if copy is None:
            return 0
        with self._lock:
            entry.copy, entry.generation, entry.source = copy, generation, weakref.ref(value)
        return value.nbytes

    # -- memory that nobody uses -----------------------------------------------------------------------------

    def _watch(self) -> None:
        with self._lock:
            self._used = time.monotonic()
            if self._timed:
                return
            self._timed = True
        timer.schedule(self._used + IDLE_SECONDS, self._trim)

    def _trim(self) -> None:
        with self._lock:
            due = self._used + IDLE_SECONDS
            self._timed = time.monotonic() < due
            if not self._timed:
                for entry in self._entries.values():
                    copy, entry.copy = entry.copy, None
                    if copy is not None:
                        copy.give_back()
                return
        timer.schedule(due, self._trim)
