"""MetaGraphDefs: a graph with its collections, its saver and the ops it needs (TensorFlow: `tf.train.export_meta_graph`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from flowmesh.formats.files import write_atomically
from flowmesh.frontend import collection_protos
from flowmesh.frontend.naming import name_scope
from flowmesh.graph import importer, registry, serde
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.proto import graph_pb2, meta_graph_pb2, op_def_pb2, saver_pb2

_VERSION = "1.15.0"
_UNBOUND = "$unbound_inputs_"


# -- export ------------------------------------------------------------------------------------------------


def stripped_op_list_for_graph(graph_def: Any) -> Any:
    """The OpList of all op types that a GraphDef uses, its functions included.

    Raises ValueError for a type that is not registered.
    """
    used = {node.op for node in graph_def.node}
    for function in graph_def.library.function:
        used.update(node.op for node in function.node_def)
    used -= {function.signature.name for function in graph_def.library.function}
    unknown = sorted(op for op in used if not registry.is_registered(op))
    if unknown:
        raise ValueError(f"Op {unknown[0]} is used by the graph, but is not registered")
    return op_def_pb2.OpList(op=[_op_def(op) for op in sorted(used)])


def _op_def(op_type: str) -> Any:
    cls: Any = registry.lookup(op_type)
    return serde.to_op_def(cls)


def create_meta_graph_def(
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Iterable[str] | None = None,
    graph: Graph | None = None,
    export_scope: str | None = None,
    exclude_nodes: Any = None,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
) -> Any:
    """A MetaGraphDef of `graph` (the default graph unless given).

    Raises TypeError for arguments of the wrong types.
    """
    if graph is not None and not isinstance(graph, Graph):
        raise TypeError("graph must be of type Graph, not %s", type(graph))
    if graph_def is not None and not isinstance(graph_def, graph_pb2.GraphDef):
        raise TypeError("graph_def must be of type GraphDef, not %s", type(graph_def))
    graph = graph or get_default_graph()
    meta_graph = meta_graph_pb2.MetaGraphDef()
    info = meta_graph.meta_info_def
    if meta_info_def is not None:
        info.MergeFrom(meta_info_def)
    info.tensorflow_version = _VERSION
    info.tensorflow_git_version = "unknown"
    meta_graph.graph_def.MergeFrom(
        graph_def if graph_def is not None else graph.as_graph_def(add_shapes=True)
    )
    if not info.stripped_op_list.op:
        info.stripped_op_list.MergeFrom(stripped_op_list_for_graph(meta_graph.graph_def))
    if strip_default_attrs:
        _strip_defaults(meta_graph)
    if saver_def is not None:
        meta_graph.saver_def.MergeFrom(saver_def)
    keys = graph.get_all_collection_keys() if collection_list is None else list(collection_list)
    for key in keys:
        items = graph.get_collection(key)
        if clear_extraneous_savers and key == GraphKeys.SAVERS:
            items = []
        collection_protos.add_to_meta_graph(meta_graph, key, items, export_scope)
    return meta_graph


def _strip_defaults(meta_graph: Any) -> None:
    defaults: dict[str, dict[str, Any]] = {}
    for node in meta_graph.graph_def.node:
        known = defaults.get(node.op)
        if known is None:
            message = _op_def(node.op)
            known = {a.name: a.default_value for a in message.attr if a.HasField("default_value")}
            defaults[node.op] = known
        for name in list(node.attr):
            if name in known and node.attr[name] == known[name]:
                del node.attr[name]
    meta_graph.meta_info_def.stripped_default_attrs = True


def _scope_of_saver(saver_def: Any) -> str:
    return str(saver_def.restore_op_name.rpartition("/")[0])


def _without_savers(graph: Graph, graph_def: Any, keep: Any) -> Any:
    """The GraphDef without the nodes of the savers in the collection, except those of `keep`."""
    kept = _scope_of_saver(keep) if keep is not None else None
    scopes = []
    for saver in graph.get_collection(GraphKeys.SAVERS):
        saver_def = saver if isinstance(saver, saver_pb2.SaverDef) else saver.as_saver_def()
        scope = _scope_of_saver(saver_def)
        if scope and scope != kept:
            scopes.append(scope + "/")
    if not scopes:
        return graph_def
    result = graph_pb2.GraphDef()
    result.CopyFrom(graph_def)
    del result.node[:]
    result.node.extend(n for n in graph_def.node if not n.name.startswith(tuple(scopes)))
    return result


def _scoped_graph_def(graph_def: Any, scope: str) -> tuple[Any, list[str]]:
    """The nodes below `scope` under names without it, and the names of their inputs from outside."""
    prefix = scope.rstrip("/") + "/"
    result = graph_pb2.GraphDef()
    result.versions.CopyFrom(graph_def.versions)
    unbound: dict[str, None] = {}
    for node in graph_def.node:
        if not node.name.startswith(prefix):
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        copy.name = node.name[len(prefix) :]
        for i, text in enumerate(node.input):
            mark, name = ("^", text[1:]) if text.startswith("^") else ("", text)
            if name.startswith(prefix):
                copy.input[i] = mark + name[len(prefix) :]
            else:
                unbound[mark + name] = None
                copy.input[i] = f"{mark}{_UNBOUND}{name}"
        if "_class" in copy.attr:
            groups = [
                b"loc:@" + g[5 + len(prefix) :]
                for g in copy.attr["_class"].list.s
                if g.startswith(b"loc:@" + prefix.encode())
            ]
            del copy.attr["_class"].list.s[:]
            copy.attr["_class"].list.s.extend(groups)
            if not groups:
                del copy.attr["_class"]
    return result, list(unbound)


def export_meta_graph(
    filename: str | None = None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Iterable[str] | None = None,
    as_text: bool = False,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
    **kwargs: Any,
) -> Any:
    """The MetaGraphDef of a graph, or of the part below `export_scope`; written to `filename` if given
    (TensorFlow: `tf.train.export_meta_graph`).

    Raises ValueError when both `graph_def` and `export_scope`'s graph are missing nodes that the scope names.
    """
    graph = graph or get_default_graph()
    if graph_def is None:
        graph_def = graph.as_graph_def(add_shapes=True)
    if clear_extraneous_savers:
        graph_def = _without_savers(graph, graph_def, saver_def)
    unbound: list[str] = []
    if export_scope:
        graph_def, unbound = _scoped_graph_def(graph_def, export_scope)
    if clear_devices:
        copy = graph_pb2.GraphDef()
        copy.CopyFrom(graph_def)
        for node in copy.node:
            node.device = ""
        graph_def = copy
    meta_graph = create_meta_graph_def(
        meta_info_def=meta_info_def,
        graph_def=graph_def,
        saver_def=saver_def,
        collection_list=collection_list,
        graph=graph,
        export_scope=export_scope,
        clear_extraneous_savers=clear_extraneous_savers,
        strip_default_attrs=strip_default_attrs,
    )
    if unbound:
        names = meta_graph.collection_def["unbound_inputs"].bytes_list.value
        names.extend(name.encode() for name in unbound)
    if filename:
        write_message(meta_graph, filename, as_text)
    return meta_graph


def write_message(message: Any, path: str, as_text: bool) -> None:
    """Writes a message in text or binary form, making the directory that it lies in."""
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)
    data = text_format.MessageToString(message).encode() if as_text else message.SerializeToString()
    write_atomically(path, data)


# -- import ------------------------------------------------------------------------------------------------


def read_meta_graph_file(filename: str) -> Any:
    """The MetaGraphDef that a file holds in binary or text form; OSError when there is none, or it is malformed."""
    if not os.path.exists(filename):
        raise OSError(f"File {filename} does not exist.")
    with open(filename, "rb") as file:
        data = file.read()
    try:
        return meta_graph_pb2.MetaGraphDef.FromString(data)
    except DecodeError:
        pass
    message = meta_graph_pb2.MetaGraphDef()
    try:
        text_format.Merge(data.decode(), message)
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise OSError(f"Cannot parse file {filename}: {error}.") from error
    return message


def import_scoped_meta_graph(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: dict[str, Any] | None = None,
    unbound_inputs_col_name: str = "unbound_inputs",
) -> dict[str, Any]:
    """Adds the graph and the collections of a MetaGraphDef to `graph` (the default one unless given), below
    `import_scope`; returns the variables by their names in the MetaGraphDef.

    Raises ValueError for a malformed graph or inputs that `input_map` must bind, OSError for a file that cannot be read.
    """
    if isinstance(meta_graph_or_file, meta_graph_pb2.MetaGraphDef):
        meta_graph = meta_graph_or_file
    else:
        meta_graph = read_meta_graph_file(os.fspath(meta_graph_or_file))
    inputs = _bound_inputs(meta_graph, input_map or {}, unbound_inputs_col_name)
    graph_def = meta_graph.graph_def
    if clear_devices:
        graph_def = graph_pb2.GraphDef()
        graph_def.CopyFrom(meta_graph.graph_def)
        for node in graph_def.node:
            node.device = ""
    graph = graph or get_default_graph()
    with graph.as_default():
        scope = graph.unique_name(import_scope, mark_as_used=False) if import_scope else ""
        importer.import_graph_def(
            graph_def,
            name=import_scope or "",
            input_map=inputs,
            producer_op_list=meta_graph.meta_info_def.stripped_op_list,
        )
        return _restore_collections(graph, meta_graph, scope, unbound_inputs_col_name)


def _bound_inputs(meta_graph: Any, input_map: dict[str, Any], collection: str) -> dict[str, Any]:
    if collection not in meta_graph.collection_def:
        return dict(input_map)
    names = [n.decode() for n in meta_graph.collection_def[collection].bytes_list.value]
    missing = sorted(n for n in names if n not in input_map)
    if missing:
        raise ValueError(
            f"Graph contains unbound inputs: {', '.join(missing)}. Must provide these inputs through input_map."
        )
    return {
        (f"^{_UNBOUND}{n[1:]}" if n.startswith("^") else _UNBOUND + n): input_map[n] for n in names
    }


def _restore_collections(
    graph: Graph, meta_graph: Any, scope: str, unbound_name: str
) -> dict[str, Any]:
    variables: dict[bytes, Any] = {}
    for key, col in sorted(meta_graph.collection_def.items()):
        if key == unbound_name:
            continue
        kind = col.WhichOneof("kind")
        registered = collection_protos.lookup(key)
        if kind == "bytes_list" and registered is not None:
            for value in col.bytes_list.value:
                item = variables.get(value) if key in _VARIABLES else None
                if item is None:
                    message = registered.proto_type.FromString(value)
                    item = registered.from_proto(message, import_scope=scope or None)
                    if key in _VARIABLES:
                        variables[value] = item
                graph.add_to_collection(key, item)
        elif kind == "node_list":
            for value in col.node_list.value:
                name = f"{scope}/{value}" if scope else value
                graph.add_to_collection(key, graph.as_graph_element(name))
        elif kind is not None and key not in _CONTEXTS:
            for value in getattr(col, kind).value:
                graph.add_to_collection(key, value)
    by_name = {}
    for variable in variables.values():
        name = variable.op.name
        by_name[name.removeprefix(scope + "/") if scope else name] = variable
    return by_name


_VARIABLES = frozenset((*GraphKeys._VARIABLE_COLLECTIONS, GraphKeys.GLOBAL_STEP))
_CONTEXTS = (GraphKeys.COND_CONTEXT, GraphKeys.WHILE_CONTEXT)


def copy_scoped_meta_graph(
    from_scope: str,
    to_scope: str,
    from_graph: Graph | None = None,
    to_graph: Graph | None = None,
) -> dict[str, Any]:
    """Copies the part of a graph below one scope below another; returns the copied variables by name.

    Raises ValueError when both scopes are the same in one graph.
    """
    from_graph = from_graph or get_default_graph()
    to_graph = to_graph or get_default_graph()
    if from_graph is to_graph and from_scope == to_scope:
        raise ValueError(
            f"'from_scope' and 'to_scope' need to be different when performing copy in the same graph: {from_scope}"
        )
    meta_graph = export_meta_graph(graph=from_graph, export_scope=from_scope)
    with to_graph.as_default(), name_scope(None):
        return import_scoped_meta_graph(meta_graph, graph=to_graph, import_scope=to_scope)
