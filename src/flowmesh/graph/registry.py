"""The table of all op definitions, by op type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowmesh.core import errors

if TYPE_CHECKING:
    from flowmesh.graph.op_def import OpDef

_OPS: dict[str, type[OpDef]] = {}

_FUNCTIONS = "functions cannot run here: call tf.disable_v2_behavior(), or tf.disable_control_flow_v2(), before the graph is built"
_UNIMPLEMENTED = {
    **dict.fromkeys(("For", "_If", "_While"), _FUNCTIONS),
    **dict.fromkeys(
        ("PartitionedCall", "StatefulPartitionedCall", "RemoteCall", "SymbolicGradient"), _FUNCTIONS
    ),
}
"""Ops of TensorFlow that need what a static schedule does not have, and what to do instead."""


def register(cls: type[OpDef]) -> None:
    """Adds an op definition; a second definition of the same type is a programming error."""
    known = _OPS.get(cls.op_type)
    if known is not None and (known.__module__, known.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise ValueError(f"op type {cls.op_type!r} is defined in {known.__module__} already")
    _OPS[cls.op_type] = cls


def lookup(op_type: str) -> type[OpDef]:
    """The definition of `op_type`; raises NotFoundError when there is none, UnimplementedError for loops and functions."""
    try:
        return _OPS[op_type]
    except KeyError:
        lists = _FUNCTIONS if op_type.startswith("TensorList") else ""
        reason = _UNIMPLEMENTED.get(op_type, lists)
        if reason:
            raise errors.UnimplementedError(None, None, f"Op type '{op_type}': {reason}.") from None
        raise errors.NotFoundError(
            None,
            None,
            f"Op type not registered '{op_type}' in flowmesh. Make sure the op is among those listed by "
            "`flowmesh.raw_ops`, or replace it in the program.",
        ) from None


def is_registered(op_type: str) -> bool:
    """Whether there is an op of this type."""
    return op_type in _OPS


def op_types() -> list[str]:
    """All registered op types, sorted."""
    return sorted(_OPS)
