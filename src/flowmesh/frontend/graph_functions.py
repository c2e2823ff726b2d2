"""Functions on the default graph (TensorFlow: `tf.device`, `tf.get_collection` ...)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from flowmesh.frontend.naming import name_scope
from flowmesh.graph import convert
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.graph import get_default_graph


def device(device_name_or_function: Any) -> AbstractContextManager[None]:
    """`Graph.device` of the default graph."""
    return get_default_graph().device(device_name_or_function)


def container(container_name: str) -> AbstractContextManager[str]:
    """`Graph.container` of the default graph."""
    return get_default_graph().container(container_name)


def colocate_with(op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
    """`Graph.colocate_with` of the default graph."""
    return get_default_graph().colocate_with(op, ignore_existing)


def control_dependencies(control_inputs: Any) -> AbstractContextManager[None]:
    """`Graph.control_dependencies` of the default graph."""
    return get_default_graph().control_dependencies(control_inputs)


def op_scope(
    values: Sequence[Any], name: str | None, default_name: str | None = None
) -> AbstractContextManager[str]:
    """The old order of arguments of `name_scope`."""
    return name_scope(name, default_name, values)


def add_to_collection(name: str, value: Any) -> None:
    """`Graph.add_to_collection` of the default graph."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """`Graph.add_to_collections` of the default graph."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key: str, scope: str | None = None) -> list[Any]:
    """`Graph.get_collection` of the default graph."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: str) -> list[Any]:
    """`Graph.get_collection_ref` of the default graph."""
    return get_default_graph().get_collection_ref(key)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a tensor or stands for one."""
    return convert.is_tensor_like(x)


def get_static_value(tensor: Any, partial: bool = False) -> Any:
    """The constant NumPy value of a tensor when it is known without running the graph, else None."""
    return constant_value(convert.convert_to_tensor(tensor), partial)


def executing_eagerly() -> bool:
    """Always False: programs build graphs."""
    return False


def _graph_mode_only(name: str) -> None:
    raise RuntimeError(
        f"{name} is not available: Flowmesh runs graphs (TensorFlow 1's default mode). Build the graph and run it in a "
        "Session."
    )


def enable_eager_execution(
    config: Any = None, device_policy: Any = None, execution_mode: Any = None
) -> None:
    """Refused with RuntimeError: there is no eager mode."""
    _graph_mode_only("tf.enable_eager_execution")


def disable_eager_execution() -> None:
    """Does nothing: programs build graphs."""


def disable_v2_behavior() -> None:
    """Does nothing: this is TensorFlow 1's behaviour."""


def disable_v2_tensorshape() -> None:
    """Does nothing: shapes behave as in TensorFlow 1."""


def disable_tensor_equality() -> None:
    """Does nothing: tensors are equal by identity."""


def disable_control_flow_v2() -> None:
    """Does nothing: `cond` builds Switch and Merge."""


def control_flow_v2_enabled() -> bool:
    """Always False: `cond` builds Switch and Merge."""
    return False


def enable_v2_behavior() -> None:
    """Refused with RuntimeError."""
    _graph_mode_only("tf.enable_v2_behavior")
