"""`smart_cond`: a branch chosen while the graph is built when the predicate is known then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control_flow import cond


def smart_constant_value(pred: Any) -> bool | None:
    """The value of a predicate (bool, 0, 1, or constant tensor), None when only a run can tell; TypeError otherwise."""
    if isinstance(pred, bool) or (isinstance(pred, int) and pred in (0, 1)):
        return bool(pred)
    tensor = pred._as_graph_element() if hasattr(pred, "_as_graph_element") else pred
    if isinstance(tensor, Tensor):
        value = constant_value(tensor)
        return None if value is None else bool(value)
    raise TypeError(
        f"`pred` must be a Tensor, or a Python bool, or 1 or 0. Found instead: {pred!r}"
    )


def smart_cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """`true_fn()` or `false_fn()` where the predicate is known, else `tf.cond` of the two."""
    if not callable(true_fn):
        raise TypeError("`true_fn` must be callable.")
    if not callable(false_fn):
        raise TypeError("`false_fn` must be callable.")
    known = smart_constant_value(pred)
    if known is None:
        return cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)
    return true_fn() if known else false_fn()
