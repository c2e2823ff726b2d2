"""Errors: the names of `tf.errors`."""

from __future__ import annotations

from flowmesh.core.errors import *  # noqa: F403
