"""The persistent cache of compiled programs: what one process has compiled, the next one on this machine reads from a file.

There are two kinds of files in it. `program_files.py` keeps clusters by what they follow from (`program_key.py`): they are read without being
traced. JAX keeps by what was traced whatever else it compiles. The folder lies in `$XDG_CACHE_HOME/flowmesh/xla-<processor>` (`~/.cache` by default), for each kind of processor apart: programs use the instructions
of the processor that compiled them. `FLOWMESH_COMPILE_CACHE=0` turns it off, another value names another folder. A cache that the
program or its environment has given JAX itself is left as it is. The programs that were not used for longest are removed when the cache has grown too large.

What is in it is run as it is, so that it is used only where no other user can write to it: the folder must be the user's own (or root's), and is made
with mode 0700.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import stat
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

VARIABLE = "FLOWMESH_COMPILE_CACHE"
MINIMUM_SECONDS = 0.1
"""Programs that compile faster are compiled again: reading them would not be much faster."""
MAXIMUM_BYTES = 1 << 30
PROGRAM, HINT, NEW = ".program", ".hint", ".new"
"""How the names of our files end; NEW: of those that are being written."""
_ENDS = (PROGRAM, HINT, NEW, "-cache", "-atime")


def folder() -> Path | None:
    """Where compiled programs are kept; None when they are not."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() in ("0", "off", "false", "no"):
        return None
    if wanted and wanted.lower() not in ("1", "on", "true", "yes"):
        return Path(wanted).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "flowmesh" / f"xla-{processor()}"


def configure(jax: Any) -> None:
    """Has JAX use the cache; nothing happens when the folder cannot be written to."""
    path = folder()
    if path is None or jax.config.jax_compilation_cache_dir is not None or not prepare(path):
        return
    make_room(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MINIMUM_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def prepare(path: Path) -> bool:
    """Makes the folder if it is not there; whether it may be used and written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return is_trusted(path) and os.access(path, os.W_OK)


def is_trusted(path: Path) -> bool:
    """Whether the folder is there, and only the user (or root) can have put something into it."""
    try:
        found = path.stat()
    except OSError:
        return False
    if is_ours(found):
        return True
    _warn(path)
    return False


def is_ours(found: os.stat_result) -> bool:
    """Whether a file or folder belongs to the user (or to root), and no other user may write to it."""
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid in (os.geteuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _warn(path: Path) -> None:
    _log.warning(
        "Compiled programs are not kept in %s, nor taken from there: other users can write to it. Remedy: make it your own "
        "(chmod 700), or name another folder in %s",
        path,
        VARIABLE,
    )


def make_room(path: Path) -> None:
    """Removes the programs that were not used for longest when there are too many; no other files."""
    files = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.endswith(_ENDS):
                    with contextlib.suppress(OSError):  # others remove files, too
                        files.append((entry.stat(), entry.path))
    except OSError:
        return
    size = sum(found.st_size for found, _ in files)
    for found, name in sorted(files, key=lambda f: f[0].st_mtime):
        if size <= MAXIMUM_BYTES:
            break
        size -= found.st_size
        with contextlib.suppress(OSError):
            os.unlink(name)


@functools.cache
def processor() -> str:
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
