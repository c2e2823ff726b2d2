"""`raw.MatMul(...)`: builds a node by op type, bound at call time, so that op files never import each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flowmesh.graph import builder, registry


class _Raw:
    """Attribute access gives the builder of an op type (TensorFlow: `tf.raw_ops`)."""

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("__") or not registry.is_registered(op_type):
            raise AttributeError(f"module 'raw_ops' has no op {op_type!r}")
        return partial(builder.build, registry.lookup(op_type))

    def __dir__(self) -> list[str]:
        return registry.op_types()


raw = _Raw()
