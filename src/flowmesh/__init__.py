"""Flowmesh: distributed TensorFlow 1, re-founded in Python on XLA.

`import flowmesh as tf` gives the TensorFlow 1 API. The names stand in `flowmesh.api.root` and load on first use, so that
the command line, which needs few of them, starts at once; neither JAX nor grpc is imported before a program needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowmesh.api.root import *

__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module 'flowmesh' has no attribute {name!r}")
    from flowmesh.api import root

    try:
        value = getattr(root, name)
    except AttributeError:
        raise AttributeError(f"module 'flowmesh' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from flowmesh.api import root

    return sorted({*globals(), *root.__all__})
