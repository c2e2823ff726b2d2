"""`tf.keras.datasets.mnist`."""

from __future__ import annotations

from flowmesh.frontend.mnist import load_arrays as load_data

__all__ = ["load_data"]
