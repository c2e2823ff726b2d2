"""`tf.keras.datasets`, from files on disk."""

from __future__ import annotations

from flowmesh.api.keras.datasets import mnist as mnist
