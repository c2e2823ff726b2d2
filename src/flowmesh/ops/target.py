"""Which kind of device a kernel is being traced for: some kernels are written one way for processors, another for accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_platform: ContextVar[str] = ContextVar("flowmesh_platform", default="cpu")


def on_cpu() -> bool:
    """Whether the program that is being traced will run on a processor."""
    return _platform.get() == "cpu"


@contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """Within the block kernels are traced for this platform of JAX ("cpu", "gpu" ...)."""
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)
