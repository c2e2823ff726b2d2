"""Getting ready what a graph with kernels of XLA's alone will need, while its variables are being initialized.

Such a graph is known to need JAX, whose import takes a third of a second, and the programs that it had the last time, which have to be read
and linked. A thread does both from the first run of any of it on. Which programs those are is written down in a *hint*, a file under a
number for the names and types of the graph's ops. A hint may be wrong: a program is used only under its own key (`program_key.py`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowmesh.graph.graph import Graph
from flowmesh.runtime import program_files, program_key
from flowmesh.runtime.compile_options import convolving
from flowmesh.runtime.device import load_jax

_log = logging.getLogger(__name__)

MAX_PROGRAMS = 8
"""Programs of one graph that are got ready."""


class _Ahead:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ready: dict[str, Future[Any]] = {}
        """Programs that are being read, or were, and that nobody has taken yet."""
        self.mark = ""
        """The number of the latest graph."""
        self.used: dict[str, list[Any]] = {}
        """The programs of that graph so far."""


_ahead = _Ahead()


def expect(graph: Graph) -> threading.Thread | None:
    """Hears of a graph of which something is about to run; returns the thread that gets ready what it may need, if there is one."""
    ops = graph.get_operations()
    if not any(op.definition.xla_only for op in ops):
        return None
    digest = hashlib.sha256()
    for op in ops:
        digest.update(f"{op.type} {op.name}\n".encode())
    mark = digest.hexdigest()
    with _ahead.lock:
        if _ahead.mark == mark:
            return None
        _ahead.mark, _ahead.used = mark, {}
    thread = threading.Thread(target=_get_ready, args=(mark,), name="flowmesh-ahead")
    thread.start()
    return thread


def _get_ready(mark: str) -> None:
    pending: list[tuple[list[Any], Future[Any]]] = []
    try:
        wanted = program_files.read_hint(mark)[:MAX_PROGRAMS]
        with _ahead.lock:
            pending = [(w, Future()) for w in wanted if w[0] not in _ahead.ready]
            _ahead.ready.update((w[0], future) for w, future in pending)
        jax = load_jax()
        devices = {(d.platform, d.id): d for d in jax.devices()}
        for (key, platform, number), future in pending:
            future.set_result(_read(key, devices[platform, number]))
        program_key.surroundings(jax)
        convolving(jax)
    except Exception as exc:
        _log.debug("Nothing was got ready: %s: %s", type(exc).__name__, exc)
    finally:
        for _, future in pending:
            if not future.done():
                future.set_result(None)


def take(key: str, device: Any) -> tuple[Any, list[np.ndarray], Any] | None:
    """What is kept under the key (see `program_files.write`), with the executable loaded on JAX's device; None when there is no such thing."""
    with _ahead.lock:
        future = _ahead.ready.pop(key, None)
    found = None if future is None else future.result()
    if found is None:
        found = _read(key, device)
    if found is not None:
        note(key, device)
    return found


def note(key: str, device: Any) -> None:
    """Writes down that the latest graph uses this program."""
    with _ahead.lock:
        mark, used = _ahead.mark, _ahead.used
        if not mark or key in used or len(used) >= MAX_PROGRAMS:
            return
        used[key] = [key, device.platform, device.id]
        hints = list(used.values())
    if program_files.read_hint(mark)[: len(hints)] != hints:
        program_files.write_hint(mark, hints)


def device_list(device: Any) -> Any:
    """JAX's list of this one device."""
    from jaxlib import xla_client

    return xla_client.DeviceList((device,))


def _read(key: str, device: Any) -> tuple[Any, list[np.ndarray], Any] | None:
    found = program_files.read(key)
    if found is None:
        return None
    facts, arrays, code = found
    from jax._src.compiler import get_compile_options

    options = get_compile_options(1, 1, np.array([[device.id]]), backend=device.client)
    executable = device.client.deserialize_executable(code, device_list(device), options)
    return facts, arrays, executable
