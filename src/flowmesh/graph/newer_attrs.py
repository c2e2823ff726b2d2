"""Attrs that releases after TensorFlow 1.15 gave to ops of before.

TensorFlow lets a newer producer talk to an older consumer as long as what is new says nothing: an attr that the consumer does not
know is dropped when it has its default. A GraphDef that comes over the wire does not carry the producer's defaults: they stand here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowmesh.core.dtypes import DType, int32
from flowmesh.graph import registry

_HINTS = frozenset({"grad_a", "grad_b", "grad_x", "grad_y", "debug_name", "validate_shape"})
"""Attrs that change no result: hints to kernels, names for messages, and a check that shape inference makes as well."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "allowed_devices": ((),),
    "allow_missing_files": (False,),
    "bad_indices_policy": (b"", b"DEFAULT", b"ERROR"),
    "explicit_paddings": ((),),
    "exponential_avg_factor": (1.0,),
    "filter_format": (b"HWIO",),
    "index_type": (int32,),
    "multiply_linear_by_lr": (False,),
    "num_host_args": (0,),
    "padding_list": ((),),
    "shape_type": (int32,),
    "sparse_gradient": (False,),
    "Tk": (int32,),
    "Tsegmentids": (int32,),
}
"""The values with which a new attr means what the op did before."""


def is_neutral(name: str, value: Any) -> bool:
    """Whether an attr that the op does not have can be dropped."""
    if name in _HINTS:
        return True
    return any(
        value == v and isinstance(v, DType) == isinstance(value, DType)
        for v in _NEUTRAL.get(name, ())
    )


def strip_defaults(graph_def: Any, producer_ops: Iterable[Any]) -> Any:
    """A GraphDef without the attrs that its producer's ops (OpDef messages) have, with this default, and ours have not."""
    known = {op.name: op for op in producer_ops}
    stripped = type(graph_def)()
    stripped.CopyFrom(graph_def)
    for node in stripped.node:
        producer = known.get(node.op)
        if producer is None or not registry.is_registered(node.op):
            continue
        ours = registry.lookup(node.op).attr_defs
        for attr in producer.attr:
            new = attr.name in node.attr and attr.name not in ours
            if (
                new
                and attr.HasField("default_value")
                and node.attr[attr.name] == attr.default_value
            ):
                del node.attr[attr.name]
    return stripped
