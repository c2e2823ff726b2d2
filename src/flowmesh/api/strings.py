"""Strings: the names of `tf.strings`."""

from __future__ import annotations

from flowmesh.ops.split import (
    split as split,
)

__all__ = [
    "split",
]
