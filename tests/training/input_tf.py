"""The part of `tf` that the recorded input programs use: the public names, and the functions of this package's modules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import flowmesh
from flowmesh.training import input_batching, input_buckets, input_producers


class Overlay:
    """`base` with other attributes in front."""

    def __init__(self, base: Any, **names: Any) -> None:
        self._base = base
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


_PRODUCERS = ("limit_epochs", "input_producer", "string_input_producer", "range_input_producer",
              "slice_input_producer", "match_filenames_once")  # fmt: skip
_BATCHING = ("batch", "batch_join", "shuffle_batch", "shuffle_batch_join", "maybe_batch", "maybe_batch_join",
             "maybe_shuffle_batch", "maybe_shuffle_batch_join")  # fmt: skip

tf = Overlay(
    flowmesh,
    train=Overlay(
        flowmesh.train,
        **{name: getattr(input_producers, name) for name in _PRODUCERS},
        **{name: getattr(input_batching, name) for name in _BATCHING},
    ),
    contrib=SimpleNamespace(
        training=SimpleNamespace(
            bucket=input_buckets.bucket,
            bucket_by_sequence_length=input_buckets.bucket_by_sequence_length,
        )
    ),
)
