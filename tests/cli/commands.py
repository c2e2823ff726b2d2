"""The `flowmesh` command as a process, for tests of what its users see."""

import os
import select
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

import flowmesh as package

_ROOT = str(Path(package.__path__[0]).resolve().parent)
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")])),
}
"""This process's environment, in which Python finds Flowmesh from any folder."""

MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from flowmesh.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command as code for `python -c`, for tests that send it signals."""


def python(*words: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        check=False,
        cwd=cwd,
        env={**ENV, **env},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def flowmesh(
    *words: object, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return python("-m", "flowmesh", *words, cwd=cwd, **env)


def script(folder: Path, text: str, name: str = "script.py") -> Path:
    """Write a script into `folder`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def wait_for_ends(pids: Iterable[int], timeout: float = 30.0) -> None:
    """Wait until these processes, our children or not, have ended. Linux only."""
    poll = select.poll()
    ends = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            ends.add(os.pidfd_open(pid))
    for fd in ends:
        poll.register(fd, select.POLLIN)
    while ends:
        ready = poll.poll(timeout * 1000)
        assert ready, f"some of {pids} are still there"
        for fd, _ in ready:
            poll.unregister(fd)
            ends.remove(fd)
            os.close(fd)


needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
