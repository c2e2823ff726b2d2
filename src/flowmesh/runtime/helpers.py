"""A second thread for the pieces of one piece of work, where a core is free.

Whoever has work to share calls for the helper (`begin`), offers pieces (`share`), and lets it go (`end`). The caller takes pieces as
well, and does everything when nobody has come: nobody waits for a helper that has taken nothing. Who runs a piece makes no
difference to what it gives.

Between two offers the helper looks for the next one instead of sleeping, because to be woken on another core takes as long as a piece. It
does so in the C library, without the interpreter's lock, and for as long as the caller's work lasts. Where it comes late, or takes longer than
the caller, because others want the core, it is called less and less often.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from flowmesh.runtime import cores
from flowmesh.runtime.cores import Habit

_MOST_DOUBT = 3
IDLE_SECONDS = 2.0
"""After so long without work the thread ends."""

Piece: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and its arguments."""


class Gate(NamedTuple):
    """Lets one thread through each time that it is opened; opening an open one changes nothing."""

    wait: Callable[[], object]
    """Waits until it is open, and closes it."""
    open: Callable[[], object]
    close: Callable[[], object]


def spinning_gate(library: Any, quick: Any) -> Gate:
    """A closed gate at which one waits by looking, without the interpreter's lock. `library` is the C library, `quick` the same one, called
    with that lock held: who opens a gate goes on at once. Raises AttributeError when there are no such locks."""
    memory = ctypes.c_int(0)
    place = ctypes.byref(memory)
    library.pthread_spin_init(place, 0)
    gate = Gate(
        partial(library.pthread_spin_lock, place),
        partial(quick.pthread_spin_unlock, place),
        partial(quick.pthread_spin_trylock, place),
    )
    gate.close()
    return gate


def sleeping_gate() -> Gate:
    """A closed gate at which one sleeps."""
    lock = threading.Lock()
    lock.acquire()

    def open_it() -> None:
        with contextlib.suppress(RuntimeError):  # it was open
            lock.release()

    return Gate(lock.acquire, open_it, partial(lock.acquire, blocking=False))


def make_gate() -> Gate:
    """One at which one looks where the system has it."""
    try:
        return spinning_gate(ctypes.CDLL(None), ctypes.PyDLL(None))
    except (OSError, AttributeError, TypeError):
        return sleeping_gate()


class _Offer:
    """Pieces, how many of them the helper is through with, and what went wrong."""

    __slots__ = ("done", "error", "is_last", "pieces")

    def __init__(self, pieces: list[Piece], is_last: bool) -> None:
        self.pieces = pieces
        self.is_last = is_last
        self.done = 0
        self.error: BaseException | None = None

    def run(self, piece: Piece) -> bool:
        """Runs a piece that was taken out of the list, unless an earlier one has failed; whether it did."""
        if self.error is not None:
            return False
        function, arguments = piece
        try:
            function(*arguments)
        except BaseException as error:
            self.error = error
        return True


class Helper:
    """One thread that helps one caller at a time. Thread-safe."""

    def __init__(
        self,
        gate: Callable[[], Gate] = make_gate,
        wanted: Callable[[], bool] | None = None,
        habit: Habit | None = None,
        idle: float = IDLE_SECONDS,
    ) -> None:
        """`wanted` tells whether there may be a core for it; `habit` learns whether it comes in time."""
        self._wanted = wanted or _may_look
        self._habit = habit or Habit(_MOST_DOUBT)
        self._idle = idle
        self._lock = threading.Lock()
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._alive = False
        self._waiting = False
        """Whether the thread waits for a call."""
        self._called = False
        """Whether it has been called and has not gone since."""
        self._caller = 0
        """The thread that it helps; 0 for none."""
        self._offer: _Offer | None = None
        self._offered, self._done = gate(), gate()
        self._number = 0
        """By which the system knows the thread."""
        self._core = cores.teller()
        self._avoided = -1
        self._in_time = self._late = False
        """Whether it has taken pieces since it was called, and whether it came late for some."""
        self.taken = 0
        """Pieces that the thread has run."""

    def begin(self) -> None:
        """Calls for help in what this thread does until `end`. The helper may be on its way, or busy, or not come at all."""
        if not self._wanted():
            return
        habit = self._habit
        with self._lock:
            if not self._waiting:
                self._start()
                return
            if habit.rest:
                habit.rest -= 1
                return
            if not self._keep_away():
                return
            self._waiting = False
            self._called = True
            self._in_time = self._late = False
            cores.crowd.own += 1
            self._offer = None
            self._offered.close()
            self._done.close()
            self._caller = threading.get_ident()
            self._calls.put(None)

    def end(self) -> None:
        """Lets the helper go, if it was called by this thread."""
        if self._caller != threading.get_ident():
            return
        with self._lock:
            if self._late:
                self._habit.failed(1)
            elif self._in_time:
                self._habit.succeeded()
            self._offer = None
            self._caller = 0
            self._offered.open()
            if not self._called:
                self._be_free()

    def _be_free(self) -> None:
        """The caller has let the thread go, and it has gone: only now it is anybody else's. The lock is held."""
        self._waiting = self._alive
        cores.crowd.own -= 1

    def share(self, pieces: list[Piece], is_last: bool = False) -> None:
        """Runs all pieces, some of them perhaps at the same time, and takes them out of the list. After an error, which it raises,
        those that nobody has begun are left out. After the last offer the helper goes by itself, while it has the interpreter's lock: later
        it would wait for it beside the caller, who goes on."""
        offer = _Offer(pieces, is_last)
        left = len(pieces)
        called = left > 1 and self._caller == threading.get_ident()
        if called:
            self._offer = offer
            self._offered.open()
            begun = time.perf_counter()
        while True:
            try:
                piece = pieces.pop()
            except IndexError:
                break
            left -= 1
            offer.run(piece)
        if called:
            alone = time.perf_counter()
            while offer.done < left:
                self._done.wait()
            if left and time.perf_counter() - alone <= alone - begun:
                self._in_time = True
            else:
                self._late = True
        if offer.error is not None:
            raise offer.error

    def _start(self) -> None:
        if not self._alive:
            try:
                threading.Thread(target=self._work, name="flowmesh-helper", daemon=True).start()
            except RuntimeError:  # there may be no more threads
                return
            self._alive = True

    def _keep_away(self) -> bool:
        """Sees to it that the thread does not run where the caller does: the system often wakes it there, and lets it wait until the
        caller is through although another core is free. False when there is no other core."""
        if self._core is None:
            return True
        core = self._core()
        if core == self._avoided:
            return True
        try:
            others = os.sched_getaffinity(0) - {core}
            if not others:
                return False
            os.sched_setaffinity(self._number, others)
        except OSError:
            self._core = None
            return True
        self._avoided = core
        return True

    def _work(self) -> None:
        self._number = threading.get_native_id()
        self._avoided = -1
        with np.errstate(all="ignore"):
            self._waiting = True
            while True:
                try:
                    self._calls.get(timeout=self._idle)
                except Empty:
                    with self._lock:
                        if self._calls.empty():
                            self._waiting = self._alive = False
                            return
                    continue  # somebody has called meanwhile
                while self._caller:
                    self._offered.wait()
                    offer = self._offer
                    if offer is not None:
                        self._take(offer)
                        if offer.is_last:
                            break
                    offer = None  # nothing is kept while it waits
                offer = None
                with self._lock:
                    if self._called:
                        self._called = False
                        if not self._caller:
                            self._be_free()

    def _take(self, offer: _Offer) -> None:
        while True:
            try:
                piece = offer.pieces.pop()
            except IndexError:
                return
            self.taken += offer.run(piece)
            del piece
            offer.done += 1
            self._done.open()


def _may_look() -> bool:
    return cores.looking_time() > 0


_shared = Helper()


def _forget() -> None:
    """In a process that was forked there is no such thread."""
    global _shared
    _shared = Helper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def helper() -> Helper:
    """The one of this process."""
    return _shared
