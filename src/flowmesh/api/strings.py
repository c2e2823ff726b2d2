"""Strings: the names of `tf.strings`."""

from __future__ import annotations

from flowmesh.ops.string_hash import (
    string_to_hash_bucket as to_hash_bucket,
    string_to_hash_bucket_fast as to_hash_bucket_fast,
    string_to_hash_bucket_strong as to_hash_bucket_strong,
)
from flowmesh.ops.string_numbers import (
    as_string as as_string,
    string_to_number as to_number,
)
from flowmesh.ops.string_regex import (
    regex_full_match as regex_full_match,
    regex_replace as regex_replace,
)
from flowmesh.ops.strings import (
    reduce_join as reduce_join,
    string_join as join,
    string_strip as strip,
    substr as substr,
)

__all__ = [
    "as_string",
    "join",
    "reduce_join",
    "regex_full_match",
    "regex_replace",
    "strip",
    "substr",
    "to_hash_bucket",
    "to_hash_bucket_fast",
    "to_hash_bucket_strong",
    "to_number",
]
