"""Program entry: the names of `tf.app`."""

from __future__ import annotations

from flowmesh.api import flags as flags
from flowmesh.core.platform.app import run as run

__all__ = ["flags", "run"]
