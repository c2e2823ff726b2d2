"""The persistent cache of compiled programs: what one process has compiled, the next one on this machine reads from a file.

It lies in `$XDG_CACHE_HOME/flowmesh/xla-<processor>` (`~/.cache` by default), for each kind of processor apart: programs use the instructions
of the processor that compiled them. `FLOWMESH_COMPILE_CACHE=0` turns it off, another value names another folder. A cache that the
program or its environment has given JAX itself is left as it is. The oldest programs are removed when the cache has grown too large.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

VARIABLE = "FLOWMESH_COMPILE_CACHE"
_MINIMUM_SECONDS = 0.1
"""Programs that compile faster are compiled again: reading them would not be much faster."""
_MAXIMUM_BYTES = 1 << 30


def folder() -> Path | None:
    """Where compiled programs are kept; None when they are not."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() in ("0", "off", "false", "no"):
        return None
    if wanted and wanted.lower() not in ("1", "on", "true", "yes"):
        return Path(wanted).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "flowmesh" / f"xla-{_processor()}"


def configure(jax: Any) -> None:
    """Has JAX use the cache; nothing happens when the folder cannot be written to."""
    path = folder()
    if path is None or jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(path, os.W_OK):
        return
    _make_room(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MINIMUM_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _make_room(path: Path) -> None:
    """Removes the programs that were written first when there are too many."""
    with contextlib.suppress(OSError):
        files = [(entry.stat(), entry.path) for entry in os.scandir(path) if entry.is_file()]
        size = sum(stat.st_size for stat, _ in files)
        for stat, name in sorted(files, key=lambda f: f[0].st_mtime):
            if size <= _MAXIMUM_BYTES:
                break
            size -= stat.st_size
            os.unlink(name)


def _processor() -> str:
    """A short name for the processor's instruction set."""
    facts = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
            for line in info:
                if line.startswith(("flags", "Features", "model name")):
                    facts += line
                if not line.strip():
                    break
    except OSError:
        facts += platform.processor()
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
