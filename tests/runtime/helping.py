"""Helpers whose threads tell what they do, for tests that say who runs what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from flowmesh.runtime.cores import Habit
from flowmesh.runtime.helpers import Gate, Helper, Piece

LIMIT = 10.0
"""Seconds after which a test gives up waiting."""


class Calls:
    """The calls for a helper."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()
        self.awaited = threading.Event()
        """Whether the helper's thread waits for one."""
        self.thread: threading.Thread | None = None
        """The latest thread that has waited for one."""

    def put(self, call: None) -> None:
        self.awaited.clear()
        self._calls.put(call)

    def get(self, timeout: float) -> None:
        self.thread = threading.current_thread()
        self.awaited.set()
        self._calls.get(timeout=timeout)

    def empty(self) -> bool:
        return self._calls.empty()


class Trust(Habit):
    """Has the helper called however late it comes."""

    def failed(self, weight: int) -> None:
        """It is the test that keeps it back."""


class Team:
    """A helper, and what is needed to know what its thread does."""

    def __init__(
        self, gate: Callable[[], Gate], idle: float = 60.0, stays_away: bool = False
    ) -> None:
        """`stays_away`: whether it keeps off the caller's core, for which there has to be another one."""
        self.calls = Calls()
        self.ends_wait = threading.Event()
        """Set when a caller waits for what the helper has begun."""
        self.helper = Helper(gate, lambda: True, Trust(), idle)
        if not stays_away:
            self.helper._core = None
        self.helper._calls = self.calls  # type: ignore[assignment]
        self.helper._done = self._telling(self.helper._done)

    def _telling(self, gate: Gate) -> Gate:
        def wait() -> None:
            self.ends_wait.set()
            gate.wait()

        return gate._replace(wait=wait)

    @property
    def is_called(self) -> bool:
        """Whether this thread has called the helper."""
        return self.helper._caller == threading.get_ident()

    def call(self) -> None:
        """Begins, with a helper that is there."""
        self.helper.begin()
        if not self.is_called:
            happens(self.calls.awaited)
            self.helper.begin()
        assert self.is_called

    @contextmanager
    def called(self) -> Iterator[Helper]:
        """The helper, called by this thread."""
        self.call()
        try:
            yield self.helper
        finally:
            self.helper.end()

    def dismiss(self) -> None:
        """Ends the helper's thread."""
        if self.calls.thread is None:
            return
        self.helper._idle = 0.0
        self.helper._calls.put(None)
        self.calls.thread.join(LIMIT)
        assert not self.calls.thread.is_alive(), "the thread of the helper does not end"


class Pieces(list[Piece]):
    """Pieces that tell when there are none left."""

    def __init__(self, pieces: list[Piece]) -> None:
        super().__init__(pieces)
        self.are_gone = threading.Event()

    def pop(self, *where: Any) -> Piece:
        try:
            return super().pop(*where)
        except IndexError:
            self.are_gone.set()
            raise


def happens(event: threading.Event) -> None:
    """Waits for an event that has to come."""
    assert event.wait(LIMIT), "nothing happens"


def in_time(function: Callable[[], Any]) -> Any:
    """What `function` returns or raises in a thread of its own. One that hangs fails the test: nothing interrupts a thread that spins."""
    outcome: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(3 * LIMIT)
    assert outcome, "it hangs"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
