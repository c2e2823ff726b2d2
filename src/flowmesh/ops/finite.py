"""Checks that a tensor holds no Inf and no NaN."""

from __future__ import annotations

from typing import Any

from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import name_scope
from flowmesh.ops.control import with_dependencies


def verify_tensor_all_finite(
    t: Any = None, msg: Any = None, name: str | None = None, x: Any = None, message: Any = None
) -> Tensor:
    """The tensor `t` (or `x`); running it with an Inf or NaN raises InvalidArgumentError with `msg` (or `message`)
    (tf.verify_tensor_all_finite)."""
    tensor, text = (t if x is None else x), (msg if message is None else message)
    with name_scope(name, "VerifyFinite", [tensor]):
        tensor = convert_to_tensor(tensor, name="x")
        with get_default_graph().colocate_with(tensor.op):
            checked = raw.CheckNumerics(tensor, message=text)
            return with_dependencies([checked.op], tensor)
