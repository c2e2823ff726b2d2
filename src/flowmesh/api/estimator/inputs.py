"""Input functions over arrays in memory: the names of `tf.estimator.inputs`."""

from __future__ import annotations

from flowmesh.training.estimator.inputs import (
    numpy_input_fn as numpy_input_fn,
    pandas_input_fn as pandas_input_fn,
)
