"""Columns of input features: the names of `tf.feature_column`."""

from __future__ import annotations

from flowmesh.training.estimator.feature_columns import (
    input_layer as input_layer,
    numeric_column as numeric_column,
)
