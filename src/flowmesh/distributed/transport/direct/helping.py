"""Who reads from a connection: the thread that is made for it, or one that waits for what will arrive.

To wake a thread costs about as much as a message does. A thread that waits for answers therefore reads them itself: it takes the `Turn` of
each connection, and the reading threads step aside for a while. When several threads wait for one connection, they leave
it to the reading thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.spinning import Spinner

HELP = 0.05
"""Seconds for which a waiting thread reads by itself."""
_ASIDE = 0.01
"""Seconds for which a reading thread steps aside after a waiting one has read."""
_LEND = 0.01
"""Seconds to wait for the reading thread to have handled what it reads."""
_CONTENTION = 1.0
"""Seconds for which it does not, when several threads wait at a time."""
_MAX_HELPERS = 64


class Waker:
    """Ends a wait in `help_out` from another thread."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._used = False

    def __call__(self) -> None:
        os.eventfd_write(self.fd, 1)
        self._used = True  # last: what was written is read sooner or later

    def rest(self) -> None:
        """Forgets earlier calls."""
        if self._used:
            self._used = False
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.fd)

    def __del__(self) -> None:
        os.close(self.fd)


class Turn:
    """The right to read from a channel. `step_aside` and `wait` are the reading thread's, `take` and `leave` a waiting one's.

    The reading thread waits without the turn, and takes it when there is something to read: a thread that comes to wait need not
    wake it first.
    """

    def __init__(self, channel: Channel) -> None:
        self.lock = threading.Lock()
        """Held by the thread that reads."""
        self._channel = channel
        self._helped = False
        self._helping = False
        self._taken = 0
        """How often a waiting thread has taken the turn."""
        self._seen = 0
        self._resume = threading.Event()
        self._poll: Any = None
        self._spinner: Spinner | None = None
        self._contended = 0.0

    def step_aside(self) -> None:
        """Waits as long as waiting threads read often enough."""
        while self._helped:
            self._helped = False
            self._resume.wait(_ASIDE)
            self._resume.clear()

    def wait(self) -> bool:
        """Waits until something arrives; False when a waiting thread is there to read it."""
        channel = self._channel
        self._seen = self._taken
        if not channel.can_poll or channel.has_more:
            return True
        spinner = self._spinner
        if spinner is None:
            self._poll = select.poll()
            self._poll.register(channel.fileno(), select.POLLIN)
            spinner = self._spinner = Spinner(self._poll)
        spinner.wait(channel.latest)
        return not self._helped

    def is_due(self) -> bool:
        """Whether there still is something to read. The turn is held."""
        if self._seen == self._taken or not self._channel.can_poll or self._channel.has_more:
            return True
        return bool(self._poll is None or self._poll.poll(0))

    def take(self) -> bool:
        """Takes the reading thread's place, if it can be had soon."""
        if not self._channel.can_poll or (self._contended and time.monotonic() < self._contended):
            return False
        self._helped = True
        if self.lock.acquire(blocking=False) or (
            not self._helping and self.lock.acquire(timeout=_LEND)
        ):
            self._helping = True
            self._taken += 1
            return True
        if self._helping:
            # Several threads wait for this connection: they leave it to the thread that is made for it.
            self._contended = time.monotonic() + _CONTENTION
        self.resume()
        return False

    def leave(self, soon: bool) -> None:
        """Gives the place back; `soon` tells that it will be taken again, so that the reading thread need not come at once."""
        self._helping = False
        if soon and (not self._contended or time.monotonic() >= self._contended):
            self._helped = True
        else:
            self.resume()
        self.lock.release()

    def resume(self) -> None:
        """Has the reading thread go on at once."""
        self._helped = False
        self._resume.set()


class Readable(Protocol):
    """A connection that can be read from in turn."""

    turn: Turn
    channel: Channel
    ended: bool

    def read(self) -> None:
        """Reads and handles one message; the turn is held."""


class _Helper:
    """What a thread needs to wait for some connections."""

    def __init__(self, links: Sequence[Readable], waker: Waker) -> None:
        self._links = links
        poll = select.poll()
        poll.register(waker.fd, select.POLLIN)
        self._spinner = Spinner(poll)
        self._by_number: dict[int, Readable] = {}
        for link in links:
            number = link.channel.fileno()
            self._by_number[number] = link
            poll.register(number, select.POLLIN)

    def run(self, over: Callable[[], bool], seconds: float) -> None:
        """Reads until `over()`, or for so long; all turns are held."""
        for link in self._links:
            if link.channel.has_more:
                _read_all(link, over)
        end = 0.0
        latest = 0
        while not over():
            now = time.monotonic()
            if not end:
                end = now + seconds
            if now >= end:
                return
            awake = False
            for number, _ in self._spinner.wait(latest, (end - now) * 1000):
                found = self._by_number.get(number)
                if found is None:
                    awake = True
                    continue
                _read_all(found, over)
                latest = found.channel.latest
                if found.ended:
                    return
            if awake:
                return


def _read_all(link: Readable, over: Callable[[], bool]) -> None:
    link.read()
    while link.channel.has_more and not link.ended and not over():
        link.read()


class _Waiting(threading.local):
    """What a thread keeps for its waits."""

    def __init__(self) -> None:
        self.waker = Waker()
        self.helpers: dict[tuple[Readable, ...], _Helper] = {}


_waiting = _Waiting()


def thread_waker() -> Waker:
    """The waker of this thread."""
    waker = _waiting.waker
    waker.rest()
    return waker


def help_out(
    links: Sequence[Readable], waker: Waker, over: Callable[[], bool], seconds: float = HELP
) -> None:
    """Handles what arrives on these links in the calling thread, which waits for some of it, until `over()` or for so long.
    `waker` is the thread's own: who ends the wait from elsewhere calls it. Links that another thread is reading from are left to it.
    """
    mine: list[Readable] = []
    try:
        for link in links:
            if not link.turn.take():
                return
            mine.append(link)
            if link.ended:
                return
        _helper(tuple(links), waker).run(over, seconds)
    finally:
        finished = over()
        for link in mine:
            link.turn.leave(finished and not link.ended)


def _helper(links: tuple[Readable, ...], waker: Waker) -> _Helper:
    helpers = _waiting.helpers
    helper = helpers.get(links)
    if helper is None:
        if len(helpers) >= _MAX_HELPERS or any(link.ended for key in helpers for link in key):
            helpers.clear()
        helper = helpers[links] = _Helper(links, waker)
    return helper
