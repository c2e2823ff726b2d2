"""Stopping several threads together (TensorFlow: `tf.train.Coordinator`)."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
_POLL_SECS = 0.05
_STACK_CALLS = 12  # of a thread that does not stop: enough to see what it waits in


class Coordinator:
    """Tells a set of threads when to stop, waits for them, and raises the first exception that one of them reported.

    Exceptions of `clean_stop_exception_types` (OutOfRangeError by default) ask for a stop without being reported.
    """

    def __init__(self, clean_stop_exception_types: Any = None) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (errors.OutOfRangeError,)
        self._clean_stop_exception_types = tuple(clean_stop_exception_types)
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        self._exc_info_to_raise: _ExcInfo | None = None
        self._joined = False
        self._registered_threads: set[threading.Thread] = set()

    def _reportable(self, ex: Any) -> _ExcInfo | None:
        """What `ex`, an exception or an exc_info tuple, is to be reported as; None for a clean stop."""
        if ex is None:
            return None
        if isinstance(ex, tuple):
            exception = ex[1]
        else:
            exception = ex
        if not isinstance(exception, BaseException):
            raise TypeError(f"ex must be an exception or the result of sys.exc_info(), not {ex!r}")
        if isinstance(exception, self._clean_stop_exception_types):
            return None
        return type(exception), exception, exception.__traceback__

    def request_stop(self, ex: Any = None) -> None:
        """Asks all threads to stop; `ex` (an exception or `sys.exc_info()`) is raised by `join`.

        After `join` a new exception is raised here.
        """
        with self._lock:
            info = self._reportable(ex)
            if self._joined and info is not None:
                raise info[1]
            if self._stop_event.is_set():
                return
            if info is not None and self._exc_info_to_raise is None:
                tf_logging.info("Error reported to Coordinator: %s, %s", info[0], info[1])
                self._exc_info_to_raise = info
            self._stop_event.set()

    def clear_stop(self) -> None:
        """Takes the request back, so that threads may run again; a reported exception is forgotten."""
        with self._lock:
            self._joined = False
            self._exc_info_to_raise = None
            self._stop_event.clear()

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._stop_event.is_set()

    @contextlib.contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Turns an exception inside the `with` into a request to stop."""
        try:
            yield
        except Exception:
            self.request_stop(ex=sys.exc_info())

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Waits until a stop is requested, or `timeout` seconds; returns whether it was."""
        return self._stop_event.wait(timeout=timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Adds a thread that `join` waits for."""
        with self._lock:
            self._registered_threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Waits for the threads (those given and those registered) to end.

        They may run until a stop is requested, and then `stop_grace_period_secs` more. Raises the exception that a thread
        reported, else RuntimeError when threads are still running then, unless `ignore_live_threads`. Either way the threads
        that did not stop are named, with the place where each of them is.
        """
        with self._lock:
            waited = list(self._registered_threads.union(threads or ()))
        while not self._stop_event.is_set():
            alive = [t for t in waited if t.is_alive()]
            if not alive:
                break
            alive[0].join(_POLL_SECS)
        deadline = time.monotonic() + stop_grace_period_secs
        for thread in waited:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        stragglers = [t for t in waited if t.is_alive()]
        message = _still_running(stragglers) if stragglers else ""
        with self._lock:
            self._joined = True
            self._registered_threads = set()
            if self._exc_info_to_raise is not None:
                if message:
                    tf_logging.warning("%s", message)
                raise self._exc_info_to_raise[1]
            if message:
                if not ignore_live_threads:
                    raise RuntimeError(message)
                tf_logging.info("%s", message)

    @property
    def joined(self) -> bool:
        """Whether `join` has ended."""
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raises the exception that was reported, if any."""
        with self._lock:
            if self._exc_info_to_raise is not None:
                raise self._exc_info_to_raise[1]


def _still_running(threads: Sequence[threading.Thread]) -> str:
    """Which threads did not stop, and where each of them is."""
    frames = sys._current_frames()
    parts = ["Coordinator stopped with threads still running: " + " ".join(t.name for t in threads)]
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        if frame is None:
            continue  # it has ended meanwhile
        calls = [f for f in traceback.extract_stack(frame) if f.filename != threading.__file__]
        where = "".join(traceback.format_list(calls[-_STACK_CALLS:])).rstrip()
        parts.append(f"Thread {thread.name} is at (most recent call last):\n{where}")
    return "\n".join(parts)


class LooperThread(threading.Thread):
    """A daemon thread that calls `target` until its coordinator stops: every `timer_interval_secs` seconds, or again and
    again when that is None. Subclasses may override `start_loop`, `run_loop` and `stop_loop` instead.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        super().__init__(daemon=True)
        self._coord = coord
        self._timer_interval_secs = timer_interval_secs
        self._loop_target = target
        if target is not None:
            self._loop_args, self._loop_kwargs = tuple(args or ()), dict(kwargs or {})
        elif args or kwargs:
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        else:
            self._loop_args, self._loop_kwargs = (), {}
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Starts a thread that calls `target(*args, **kwargs)` until the coordinator stops, and returns it."""
        looper = LooperThread(coord, timer_interval_secs, target=target, args=args, kwargs=kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        """The loop; an exception in it asks the coordinator to stop."""
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._timer_interval_secs is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                next_time = time.monotonic()
                while not self._coord.wait_for_stop(max(0.0, next_time - time.monotonic())):
                    next_time += self._timer_interval_secs
                    self.run_loop()
            self.stop_loop()

    def start_loop(self) -> None:
        """Called once before the loop."""

    def run_loop(self) -> None:
        """Called once in each turn."""
        if self._loop_target is not None:
            self._loop_target(*self._loop_args, **self._loop_kwargs)

    def stop_loop(self) -> None:
        """Called once after the loop, when it ended without an exception."""
