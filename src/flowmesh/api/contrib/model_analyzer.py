"""Sizes of models: the names of `tf.contrib.slim.model_analyzer`."""

from __future__ import annotations

from flowmesh.frontend.contrib_model_analyzer import (
    analyze_ops as analyze_ops,
    analyze_vars as analyze_vars,
    tensor_description as tensor_description,
)

__all__ = ["analyze_ops", "analyze_vars", "tensor_description"]
