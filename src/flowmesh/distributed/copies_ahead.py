"""Variables that are copied into shared memory before a step asks for them.

A worker that trains with a parameter server reads the same variables in each step, and waits while they are copied. Where nobody else
changes them between two of its steps the copies can be made when a step is over, while the worker takes the results and begins the
next one. Whether that is so, the steps themselves tell: a value is copied ahead once it was found unchanged a few times in a row, and no
more when it was not. What no step has used for a while goes back.

Where such variables are all that a part sends before it waits for others, the whole message is made ready: the next step sends it first of
all, and sees to the rest while the other task begins.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flowmesh.distributed.interfaces import PlacedCopy, ReadyPush, WorkerInterface
from flowmesh.resources.variable import Variable
from flowmesh.runtime import timer
from flowmesh.runtime.cores import Habit
from flowmesh.runtime.staged import Transfer

TRUST = 4
"""Steps in a row that have to find a variable as the one before left it."""
MESSAGE_TRUST = 32
"""Steps in a row that have to find all variables so before a message is made ready: where others change them now and then it is in vain
more often than it helps."""
MAX_TENSORS = 64
"""What is more than so many is no message that is made ready."""
MAX_BYTES = 16 << 20
"""What one part may have copied ahead."""
IDLE_SECONDS = 5.0


class _Entry:
    """One tensor that is sent in each step, and is the whole of a variable."""

    __slots__ = (
        "bytes",
        "changed",
        "copy",
        "ended",
        "generation",
        "runs",
        "source",
        "target",
        "variable",
    )

    def __init__(self, target: WorkerInterface) -> None:
        self.target = target
        self.variable: Variable | None = None
        self.ended: int | None = None
        """The variable's generation when the last step was over; None when no step was since the last one began."""
        self.runs = 0
        """Steps in a row that found it so."""
        self.changed = False
        """Whether the latest step did not, nor a few before it."""
        self.copy: PlacedCopy | None = None
        self.bytes = 0
        self.generation = -1
        """Of what was copied, or put into the message that is ready."""
        self.source: weakref.ref[Any] | None = None
        """The array that this was: a reference would keep it from being written to in place."""

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
            differs = variable.generation != ended
            self.changed = differs and self.runs < TRUST
            self.runs = 0 if differs else self.runs + 1
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

    def is_as_left(self) -> bool:
        """Whether the variable still has the value that was copied, or put into the message."""
        variable, source = self.variable, self.source
        return (
            variable is not None
            and source is not None
            and variable.generation == self.generation
            and source() is variable.value is not None
            and variable.generation == self.generation
        )


class CopiesAhead:
    """What one part sends of variables. Thread-safe."""

    def __init__(
        self, targets: Iterable[tuple[str, WorkerInterface]], is_message: bool = False
    ) -> None:
        """`targets` are the rendezvous keys under which whole variables are sent, and to whom; `is_message`: whether that is one message,
        with which the part begins."""
        self._entries = {key: _Entry(target) for key, target in targets}
        self._is_message = is_message
        self._ready: ReadyPush | None = None
        self._habit = Habit()
        self._rests = False
        """Whether nothing is done between two steps, because others have changed everything there lately."""
        self._lock = threading.Lock()
        self._used = 0.0
        self._timed = False

    def use(self, transfers: Sequence[Transfer]) -> Sequence[Transfer]:
        """The transfers of a step, with copies that have been made already in the place of the values."""
        entries, used = self._entries, None
        if self._rests:
            return transfers
        with self._lock:
            self._ready = None  # it has the same copies
            for at, (key, value, is_dead) in enumerate(transfers):
                entry = entries.get(key)
                if entry is not None and not is_dead and (copy := entry.take(value)) is not None:
                    used = used or list(transfers)
                    used[at] = (key, copy, False)
        return used or transfers

    @property
    def has_message(self) -> bool:
        """Whether a message is ready."""
        return self._ready is not None

    def is_resting(self) -> bool:
        """Whether nothing is prepared after this step; to be asked once a step."""
        habit = self._habit
        if self._rests and habit.rest > 0:
            habit.rest -= 1
            return True
        return False

    def send(self, step_id: int) -> bool:
        """A step begins: sends the message that is ready for it; False, with nothing sent, when there is none, or it is not what the step
        would read."""
        entries = self._entries.values()
        with self._lock:
            ready, self._ready = self._ready, None
            if ready is None:
                return False
            for entry in entries:
                if not entry.is_as_left():
                    return False
            if entry.target.link is not ready.link or not ready.send(step_id):
                return False
            for entry in entries:
                entry.ended = entry.copy = None
                entry.runs += 1
            self._habit.succeeded()
        return True

    def prepare(self, variables: Iterable[tuple[str, Any]]) -> None:
        """A step is over: makes copies for the next one. `variables` are those that are sent, by key."""
        trusted: list[tuple[str, _Entry, Variable, int]] = []
        with self._lock:
            self._ready = None
            if self._is_to_rest():
                return
            for key, variable in variables:
                entry = self._entries[key]
                if isinstance(variable, Variable):
                    generation = entry.is_left(variable)
                    if entry.runs >= TRUST:
                        trusted.append((key, entry, variable, generation))
        left = MAX_BYTES
        message: list[tuple[str, Any]] = []
        for key, entry, variable, generation in trusted:
            found = self._find(entry, variable, generation, left)
            if found is not None:
                message.append((key, found))
                if found is entry.copy:
                    left -= entry.bytes
        self._make_ready(message)
        if left < MAX_BYTES:
            self._watch()

    def _is_to_rest(self) -> bool:
        """Whether nothing is done after this step; the lock is held."""
        entries = self._entries.values()
        habit = self._habit
        changed = 0
        for entry in entries:
            changed += entry.changed
        if changed == len(entries):
            for entry in entries:
                entry.changed = False
            habit.failed(1)
        self._rests = habit.rest > 0
        if self._rests:
            habit.rest -= 1
            for entry in entries:
                entry.ended = None
        return self._rests

    def _find(self, entry: _Entry, variable: Variable, generation: int, most: int) -> Any:
        """A copy of at most so many bytes of a large value, or a small value that may go into the message; None where there is none."""
        value = variable.value
        # As long as the value is held here nobody writes to it in place.
        if (
            type(value) is not np.ndarray
            or value.nbytes > most
            or variable.generation != generation
            or (link := entry.target.link) is None
        ):
            return None
        copy: PlacedCopy | None = link.place(value)
        if copy is None and not self._is_message:
            return None
        source = weakref.ref(value)
        with self._lock:
            entry.copy, entry.bytes = copy, value.nbytes
            entry.generation, entry.source = generation, source
        return value if copy is None else copy

    def _make_ready(self, message: Sequence[tuple[str, Any]]) -> None:
        """Has the next step send all of this at once, if it is all that the part sends."""
        entries = self._entries
        if not self._is_message or len(message) != len(entries):
            return
        for entry in entries.values():
            if entry.runs < MESSAGE_TRUST:
                return
        link: Any = entry.target.link
        if link is None:
            return
        ready = link.ready(message)
        with self._lock:
            self._ready = ready
            self._is_message = ready is not None  # what is too long stays so

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
                self._ready = None
                for entry in self._entries.values():
                    copy, entry.copy = entry.copy, None
                    if copy is not None:
                        copy.give_back()
                return
        timer.schedule(due, self._trim)
