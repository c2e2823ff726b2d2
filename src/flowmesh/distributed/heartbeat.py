"""Signs of life: while calls to a peer are under way it is asked now and then whether it is still there.

A crash closes connections, which is noticed at once. A stopped process or a network that drops packets closes nothing: only a
question that stays unanswered tells. Nothing is asked while nobody waits for the peer, so that idle tasks cost nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.runtime import timer
from flowmesh.runtime.timer import Clock

_log = logging.getLogger(__name__)

_NO_SIGN = frozenset({errors.UNAVAILABLE, errors.DEADLINE_EXCEEDED, errors.CANCELLED})
"""What a question ends with when nobody answered it; any other error is an answer."""


@dataclass(frozen=True)
class Rhythm:
    """How often a peer is asked, and after how long a silence it is given up; both in seconds."""

    interval: float = 3.0
    timeout: float = 12.0


USUAL = Rhythm()


def rhythm_of(config: Any) -> Rhythm:
    """What a ConfigProto asks for; 0 means the default. A timeout below 0 means that silence is never the end."""
    experimental = getattr(config, "experimental", None)
    options = getattr(experimental, "flowmesh", None)
    if options is None:
        return Rhythm()
    timeout = options.heartbeat_timeout_in_ms / 1000 or Rhythm.timeout
    interval = options.heartbeat_interval_in_ms / 1000 or min(Rhythm.interval, abs(timeout) / 4)
    return Rhythm(max(0.01, interval), timeout)


class Heartbeat:
    """Watches one peer while calls to it are under way. Thread-safe; `begin` and `end` are cheap.

    `ping` asks the peer for anything, `lost` is called, once per silence, with the seconds that it has been silent for.
    """

    def __init__(
        self,
        name: str,
        rhythm: Rhythm,
        ping: Callable[[Deadline], Future[Any]],
        lost: Callable[[float], object],
        progress: Callable[[], Any] | None = None,
        clock: Clock = timer.clock,
    ):
        """`progress`, when given, is a value that changes when the peer shows life without being asked."""
        self.name = name
        self.rhythm = rhythm
        self._ping = ping
        self._lost = lost
        self._progress = progress
        self._clock = clock
        self._last_progress: Any = None
        self._lock = threading.Lock()
        self._busy = 0
        self._idle_ticks = 0
        self._timer: int | None = None
        self._ticking = rhythm.timeout < 0
        self._asked: Future[Any] | None = None
        self._heard = 0.0
        self._told = False
        self._closed = False

    # -- what callers tell -----------------------------------------------------------------------------

    def begin(self) -> None:
        """A call to the peer starts."""
        with self._lock:
            self._busy += 1
            if self._ticking or self._closed:
                return
            self._ticking = True
            self._heard = self._clock.now()
            self._told = False
            self._schedule()

    def end(self, *_: object) -> None:
        """A call to the peer is over, well or not."""
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Stops watching."""
        with self._lock:
            self._closed = True
            number, self._timer = self._timer, None
            asked, self._asked = self._asked, None
        # Whoever made this is not kept alive by it.
        self._ping, self._lost, self._progress = _no_ping, _nothing, None
        if number is not None:
            self._clock.cancel(number)
        if asked is not None:
            asked.cancel()

    # -- the rhythm ------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        now = self._clock.now()
        left = self._heard + self.rhythm.timeout - now
        wait = min(self.rhythm.interval, left) if left > 0 else self.rhythm.interval
        self._timer = self._clock.schedule(now + wait, self._tick)

    def _tick(self) -> None:
        silent = 0.0
        with self._lock:
            self._timer = None
            if self._closed:
                return
            if not self._busy and self._asked is None:
                self._ticking = False  # the next call starts anew
                return
            now = self._clock.now()
            if self._moved():
                self._heard = now
            silent = now - self._heard
            over = bool(self._busy) and silent >= self.rhythm.timeout
            ask = not over and self._asked is None
            if over:
                self._heard = now
            tell = not over and not self._told and silent > self.rhythm.timeout / 2
            self._told = over or tell or self._told
            self._schedule()
        if tell and self._busy:
            _say(f"{self.name} has shown no sign of life for {silent:.0f} s; still waiting for it")
        if over:
            self._lost(silent)
        if ask:
            self._ask()

    def _moved(self) -> bool:
        if self._progress is None:
            return False
        value = self._progress()
        moved = value != self._last_progress
        self._last_progress = value
        return moved

    def _ask(self) -> None:
        asked = self._ping(Deadline.after(self.rhythm.timeout))
        with self._lock:
            if self._closed:
                return
            self._asked = asked
        asked.add_done_callback(self._answered)

    def _answered(self, future: Future[Any]) -> None:
        error = futures.error_of(future)
        with self._lock:
            if self._asked is future:
                self._asked = None
            if error is None or error.error_code not in _NO_SIGN:
                self._heard = self._clock.now()
                self._told = False


def _no_ping(deadline: Deadline) -> Future[Any]:
    return futures.failed(errors.CancelledError(None, None, "closed"))


def _nothing(seconds: float) -> None:
    """Nobody is told."""


def silence(seconds: float) -> str:
    """Why a peer was given up, in words."""
    return (
        f"it has shown no sign of life for {seconds:.1f} s. Its process is stopped or hangs, its machine is down, or the "
        "network drops packets"
    )


def _say(text: str) -> None:
    _log.info(text)
    print(text, file=sys.stderr, flush=True)
