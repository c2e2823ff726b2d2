"""NumPy's matrix library, held to one thread while small clusters are interpreted.

OpenBLAS shares out a product between threads that wait for each other by spinning. When the cores are busy with something else, as
they are when a parameter server and its workers share a machine, a product of 0.2 ms takes 10 ms that way. What is large enough
to be worth several threads is XLA's in any case.
"""

from __future__ import annotations

import ctypes
import glob
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_SUFFIXES = ("64_", "_64_", "")
_PREFIXES = ("scipy_openblas", "openblas")


class SingleThread:
    """A context in which OpenBLAS uses one thread in the whole process; it may be entered by many threads at once."""

    def __init__(self, find: Callable[[], tuple[Any, Any] | None]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._depth = 0
        self._before = 0
        self._functions: tuple[Any, Any] | None = None
        self._searched = False

    @property
    def is_known(self) -> bool:
        """Whether NumPy's matrix library is one whose threads can be held."""
        with self._lock:
            return self._library() is not None

    def _library(self) -> tuple[Any, Any] | None:
        if not self._searched:
            self._functions = self._find()
            self._searched = True
        return self._functions

    def __enter__(self) -> None:
        with self._lock:
            self._library()
            self._depth += 1
            if self._depth == 1 and self._functions is not None:
                self._before = self._functions[0]()
                if self._before != 1:
                    self._functions[1](1)

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._functions is not None and self._before != 1:
                self._functions[1](self._before)


def _openblas() -> tuple[Any, Any] | None:
    """The functions that get and set the number of threads of the OpenBLAS that NumPy brings; None when it brings none."""
    folder = os.path.dirname(np.__file__)
    for path in glob.glob(os.path.join(folder + ".libs", "*openblas*")):
        try:
            library = ctypes.PyDLL(path)  # the calls take less time than to let other threads in
        except OSError:
            continue
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
                put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
                if get is not None and put is not None:
                    get.restype, put.argtypes, put.restype = ctypes.c_int, [ctypes.c_int], None
                    return get, put
    return None


single_thread = SingleThread(_openblas)
