"""`tf.contrib.framework`: nested structures, the global step, variable collections."""

from __future__ import annotations

from flowmesh.api import nest as nest
from flowmesh.frontend.smart_cond import smart_cond as smart_cond
from flowmesh.frontend.variable_collections import (
    global_variables as get_variables,
    trainable_variables as get_trainable_variables,
)
from flowmesh.training.global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
)

__all__ = [
    "assert_global_step",
    "create_global_step",
    "get_global_step",
    "get_or_create_global_step",
    "get_trainable_variables",
    "get_variables",
    "nest",
    "smart_cond",
]
