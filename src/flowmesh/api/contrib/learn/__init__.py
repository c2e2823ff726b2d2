"""`tf.contrib.learn`: the data sets."""

from __future__ import annotations

from flowmesh.api.contrib.learn import datasets as datasets
