"""`tf.keras`: its data sets only."""

from __future__ import annotations

from flowmesh.api.keras import datasets as datasets
