"""Huge pages for the scratch memory of large programs.

XLA takes the memory of a program's intermediate values anew in every run and gives it back at the end: the kernel clears it page by page, 390,000 times
for a training step of ResNet-50 with batch 16, an eighth of its time. Where the kernel gives huge pages to those who ask
(`/sys/kernel/mm/transparent_hugepage/enabled` says `madvise`), `with_huge_pages` asks for them, each time that the program has just been started: its scratch memory is
a mapping of its own, which is found by its size in `/proc/self/maps`. Nobody's memory grows by this: what is asked for is in use until it is unmapped.
Programs with little scratch memory are left alone, and so is everything when `FLOWMESH_HUGE_PAGES=0`.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowmesh.runtime import pool

_log = logging.getLogger(__name__)

VARIABLE = "FLOWMESH_HUGE_PAGES"
LARGE = 1 << 28
"""Bytes of scratch memory from which on asking pays: a run takes a good part of a second then, looking a few milliseconds."""
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS = "/proc/self/maps"
_ANONYMOUS = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *$", re.MULTILINE)
_HUGE_PAGE = 14
"""MADV_HUGEPAGE."""
_PAUSES = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
"""Seconds before each look: XLA starts the program in a thread of its own."""


def with_huge_pages(function: Callable[..., Any], compiled: Any) -> Callable[..., Any]:
    """The function of a compiled program, which has huge pages asked for in each run when its scratch memory is large."""
    size = _scratch(compiled)
    if size < LARGE or _advise() is None:
        return function

    def look() -> None:
        ask(size)

    def run(*arguments: Any) -> Any:
        for argument in arguments:  # XLA takes the memory when they are there
            ready = getattr(argument, "block_until_ready", None)
            if ready is not None:
                ready()
        result = function(*arguments)
        pool.slow_pool().submit(look)
        return result

    return run


def ask(size: int, pauses: tuple[float, ...] = _PAUSES) -> int:
    """Asks for huge pages in all anonymous mappings of `size` bytes or more, now and in the next 30 ms; how often it did."""
    advise = _advise()
    count = 0
    if advise is None:
        return count
    for pause in pauses:
        time.sleep(pause)
        with open(_MAPS, "rb") as file:
            text = file.read()
        for match in _ANONYMOUS.finditer(text):
            start, end = (int(number, 16) for number in match.groups())
            if end - start >= size:
                count += advise(start, end - start, _HUGE_PAGE) == 0
    return count


def _scratch(compiled: Any) -> int:
    try:
        return int(compiled.memory_analysis().temp_size_in_bytes)
    except Exception as exc:
        _log.debug("XLA does not say how much memory a program needs: %s", exc)
        return 0


@functools.cache
def _advise() -> Callable[[int, int, int], int] | None:
    """`madvise`, where it helps."""
    if os.environ.get(VARIABLE) == "0":
        return None
    try:
        if "[madvise]" not in _SETTING.read_text():
            return None
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]
