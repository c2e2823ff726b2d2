"""`tf.contrib.learn.datasets`."""

from __future__ import annotations

from flowmesh.api.contrib.learn.datasets import mnist as mnist
