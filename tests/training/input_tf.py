"""The part of `tf` that the recorded input programs use: the public names, and the functions of this package's modules."""

from __future__ import annotations

from typing import Any

import flowmesh
from flowmesh.ops import parsing_functions, sparse_serialize
from flowmesh.proto import example_pb2, feature_pb2
from flowmesh.training import input_batching, input_producers


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

_MESSAGES = ("Feature", "Features", "FeatureList", "FeatureLists", "BytesList", "FloatList", "Int64List")  # fmt: skip


def _public(*modules: Any) -> dict[str, Any]:
    """The functions and classes that modules define."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    }


_PARSING = _public(parsing_functions, sparse_serialize)

tf = Overlay(
    flowmesh,
    **_PARSING,
    io=Overlay(flowmesh.io, **_PARSING),
    train=Overlay(
        flowmesh.train,
        Example=example_pb2.Example,
        SequenceExample=example_pb2.SequenceExample,
        **{name: getattr(feature_pb2, name) for name in _MESSAGES},
        **{name: getattr(input_producers, name) for name in _PRODUCERS},
        **{name: getattr(input_batching, name) for name in _BATCHING},
    ),
)
