"""How the items of graph collections become protobuf messages and come back, by collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flowmesh.core.platform import tf_logging
from flowmesh.frontend.control_flow_protos import (
    cond_context_from_proto,
    cond_context_to_proto,
    while_context_from_proto,
    while_context_to_proto,
)
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.proto import control_flow_pb2, variable_pb2


class CollectionProto(NamedTuple):
    """The message class of a collection's items and the two conversions."""

    proto_type: Any
    to_proto: Callable[..., Any]
    from_proto: Callable[..., Any]


_REGISTRY: dict[str, CollectionProto] = {}


def register_proto_function(
    collection_name: str,
    proto_type: Any = None,
    to_proto: Callable[..., Any] | None = None,
    from_proto: Callable[..., Any] | None = None,
) -> None:
    """Makes MetaGraphDefs hold the items of a collection as messages (TensorFlow: `ops.register_proto_function`).

    `to_proto(item, export_scope=)` and `from_proto(message, import_scope=)`. Raises TypeError when one is not callable.
    """
    if not callable(to_proto):
        raise TypeError("to_proto must be callable.")
    if not callable(from_proto):
        raise TypeError("from_proto must be callable.")
    _REGISTRY[collection_name] = CollectionProto(proto_type, to_proto, from_proto)


def lookup(collection_name: str) -> CollectionProto | None:
    """How items of the collection are converted, or None."""
    return _REGISTRY.get(collection_name)


def add_to_meta_graph(
    meta_graph: Any, key: str, items: list[Any], export_scope: str | None = None
) -> None:
    """Writes a collection into a MetaGraphDef; what cannot be written is left out with a warning."""
    registered = lookup(key)
    try:
        col = meta_graph.collection_def[key]
        if registered is not None:
            for item in items:
                message = registered.to_proto(item, export_scope=export_scope)
                if message is not None:
                    col.bytes_list.value.append(message.SerializeToString(deterministic=True))
        else:
            _write_plain(col, items, export_scope)
        if col.WhichOneof("kind") is None:
            del meta_graph.collection_def[key]
    except Exception as error:
        tf_logging.warning(
            "Issue encountered when serializing %s.\nType is unsupported, or the types of the items don't match "
            "field type in CollectionDef. Note this is a warning and probably safe to ignore.\n%s",
            key,
            error,
        )
        meta_graph.collection_def.pop(key, None)


def _write_plain(col: Any, items: list[Any], export_scope: str | None) -> None:
    kind = _kind(items[-1]) if items else None
    for item in items:
        if kind == "node_list":
            name = item.name
            if export_scope and not name.startswith(export_scope.rstrip("/") + "/"):
                continue
            col.node_list.value.append(
                name.removeprefix(export_scope.rstrip("/") + "/") if export_scope else name
            )
        elif kind == "bytes_list":
            col.bytes_list.value.append(item.encode() if isinstance(item, str) else item)
        elif kind is not None:
            getattr(col, kind).value.append(item)


def _kind(item: Any) -> str:
    if isinstance(item, (str, bytes)):
        return "bytes_list"
    if isinstance(item, int):
        return "int64_list"
    if isinstance(item, float):
        return "float_list"
    return "node_list"


def _variable_to_proto(variable: Any, export_scope: str | None = None) -> Any:
    return variable.to_proto(export_scope)


for _key in dict.fromkeys((*GraphKeys._VARIABLE_COLLECTIONS, GraphKeys.GLOBAL_STEP)):
    register_proto_function(_key, variable_pb2.VariableDef, _variable_to_proto, Variable.from_proto)
register_proto_function(
    GraphKeys.COND_CONTEXT,
    control_flow_pb2.CondContextDef,
    cond_context_to_proto,
    cond_context_from_proto,
)
register_proto_function(
    GraphKeys.WHILE_CONTEXT,
    control_flow_pb2.WhileContextDef,
    while_context_to_proto,
    while_context_from_proto,
)
