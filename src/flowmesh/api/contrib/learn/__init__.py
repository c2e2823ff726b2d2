"""`tf.contrib.learn`: the data sets, and what `tf.estimator` has taken over."""

from __future__ import annotations

from flowmesh.api.contrib.learn import datasets as datasets
from flowmesh.api.estimator import ModeKeys as ModeKeys, RunConfig as RunConfig
