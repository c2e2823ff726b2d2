"""How long that which others have opened here stays when they do not come back.

A client closes its session and a master deletes what it has on its workers, unless they die. What is opened over a connection is therefore on a
lease: it ends when nothing was called for it for a long time *and* the connection of the latest caller is gone. As long as a call is under way,
or the caller is connected, it stays. Nothing is done for a lease but to look, a few times in its length.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from flowmesh.runtime import timer
from flowmesh.runtime.pool import slow_pool
from flowmesh.runtime.timer import Clock

_log = logging.getLogger(__name__)

USUAL_SECONDS = 24 * 3600.0
_LOOKS = 4
_REMEMBERED = 4096


def lease_of(*configs: Any) -> float | None:
    """The seconds that the first ConfigProto asks for which does so (`session_lease_in_ms`); None: for ever."""
    for config in configs:
        experimental = getattr(config, "experimental", None)
        options = getattr(experimental, "flowmesh", None)
        asked = 0 if options is None else options.session_lease_in_ms
        if asked:
            return asked / 1000 if asked > 0 else None
    return USUAL_SECONDS


class Caller(Protocol):
    """Whoever a call came from."""

    tells: bool
    """Whether the end of its connection is noticed at once (`Leases.lost`)."""

    @property
    def gone(self) -> bool:
        """Whether its connection is known to have ended; False where that cannot be told."""


class _Lease:
    __slots__ = ("caller", "calls", "seconds", "used")

    def __init__(self, caller: Caller, seconds: float, now: float) -> None:
        self.caller = caller
        self.seconds = seconds
        self.used = now
        self.calls = 0
        """Calls that are under way."""

    def take(self, caller: Caller) -> None:
        """The latest caller counts, but for a connection that tells of its end: it stands for the process at its other end."""
        if caller.tells or not self.caller.tells or self.caller.gone:
            self.caller = caller


class Leases:
    """Thread-safe. What has no lease may be named: nothing is done for it then."""

    def __init__(
        self,
        seconds: float | None,
        over: Callable[[Any, str], object],
        clock: Clock = timer.clock,
        submit: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`seconds` is the usual length, None for ever; `over(key, why)` is called, in a thread that may take its time (`submit`), for what has come
        to its end."""
        self._seconds = seconds
        self._over = over
        self._clock = clock
        self._submit = submit or (lambda work: slow_pool().submit(work))
        self._lock = threading.Lock()
        self._leases: dict[Hashable, _Lease] = {}
        self._ended: OrderedDict[Hashable, str] = OrderedDict()
        self._timer: tuple[int, float] | None = None
        self._closed = False

    # -- what happens --------------------------------------------------------------------------------------

    def opened(self, key: Hashable, caller: Caller, *lengths: float | None) -> None:
        """Something is there that belongs to this caller; a length other than the usual one may be given."""
        seconds = lengths[0] if lengths else self._seconds
        if seconds is None:
            return
        now = self._clock.now()
        with self._lock:
            if self._closed:
                return
            self._leases[key] = _Lease(caller, seconds, now)
            self._ended.pop(key, None)
            self._look_at(now + seconds / _LOOKS)

    def used(self, key: Hashable, caller: Caller) -> None:
        """A call for it came from this caller."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.take(caller)
            lease.used = self._clock.now()

    @contextmanager
    def using(self, key: Hashable, caller: Caller) -> Iterator[None]:
        """A call for it, from this caller, is under way."""
        lease = self._leases.get(key)
        if lease is None:
            yield
            return
        with self._lock:
            lease.calls += 1
            lease.take(caller)
        try:
            yield
        finally:
            with self._lock:
                lease.calls -= 1
                lease.used = self._clock.now()

    def lost(self, caller: Caller) -> None:
        """The connection of this caller has ended: from now on its time passes."""
        now = self._clock.now()
        with self._lock:
            for lease in self._leases.values():
                if lease.caller is caller:
                    lease.used = now

    def closed(self, key: Hashable) -> None:
        """It is not there any more."""
        if key in self._leases:
            with self._lock:
                self._leases.pop(key, None)

    def why(self, key: Hashable) -> str:
        """Why its lease has ended, as the end of an error's text; "" if it has not."""
        told = self._ended.get(key)
        return "" if told is None else f" It was ended here: {told}."

    def close(self) -> None:
        """Nothing ends any more."""
        with self._lock:
            self._closed = True
            self._leases.clear()
            found, self._timer = self._timer, None
        if found is not None:
            self._clock.cancel(found[0])

    # -- looking -------------------------------------------------------------------------------------------

    def _look_at(self, at: float) -> None:
        """Has somebody look at this time, or earlier; the lock is held."""
        found = self._timer
        if found is not None:
            if found[1] <= at:
                return
            self._clock.cancel(found[0])
        self._timer = (self._clock.schedule(at, self._due), at)

    def _due(self) -> None:
        self._submit(self._look)

    def _look(self) -> None:
        """Ends what is due."""
        now = self._clock.now()
        with self._lock:
            self._timer = None
            idle = [
                (key, lease, lease.used)
                for key, lease in self._leases.items()
                if not lease.calls and now - lease.used >= lease.seconds
            ]
        for key, lease, used in idle:
            if not lease.caller.gone:
                continue
            why = (
                f"it was not used for {now - used:.0f} s, and the connection of its caller is gone"
            )
            with self._lock:
                if self._leases.get(key) is not lease or lease.calls or lease.used != used:
                    continue
                del self._leases[key]
                self._ended[key] = why
                if len(self._ended) > _REMEMBERED:
                    self._ended.popitem(last=False)
            try:
                self._over(key, why)
            except Exception:
                _log.exception("The end of a lease failed: %s", key)
        with self._lock:
            if self._leases and not self._closed:
                self._look_at(now + min(x.seconds for x in self._leases.values()) / _LOOKS)
