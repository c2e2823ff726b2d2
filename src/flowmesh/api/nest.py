"""Nested structures: the names of `tf.contrib.framework.nest` and `tensorflow.python.util.nest`."""

from __future__ import annotations

from flowmesh.frontend.nest import (
    assert_same_structure as assert_same_structure,
    flatten as flatten,
    flatten_up_to as flatten_up_to,
    is_nested as is_nested,
    is_sequence as is_sequence,
    map_structure as map_structure,
    map_structure_up_to as map_structure_up_to,
    pack_sequence_as as pack_sequence_as,
    yield_flattened_up_to as yield_flattened_up_to,
)
