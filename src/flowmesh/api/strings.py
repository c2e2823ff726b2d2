"""Strings: the names of `tf.strings`."""

from __future__ import annotations

from flowmesh.ops.string_numbers import (
    as_string as as_string,
)
from flowmesh.ops.string_regex import (
    regex_full_match as regex_full_match,
    regex_replace as regex_replace,
)
from flowmesh.ops.strings import (
    reduce_join as reduce_join,
    substr as substr,
)

__all__ = [
    "as_string",
    "reduce_join",
    "regex_full_match",
    "regex_replace",
    "substr",
]
