"""The branches of `tf.cond` in MetaGraphDefs: what an import needs to differentiate through a cond that another program built."""

from __future__ import annotations

from typing import Any

from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control_flow import CondContext
from flowmesh.proto import control_flow_pb2


def cond_context_to_proto(context: Any, export_scope: str | None = None) -> Any:
    """The CondContextDef of a branch and of the conds in it; None when it is not in `export_scope`."""
    if export_scope and not context.name.startswith(export_scope):
        return None

    prefix = export_scope.rstrip("/") + "/" if export_scope else ""

    def local(name: str) -> str:
        return name.removeprefix(prefix)

    proto = control_flow_pb2.CondContextDef(
        context_name=local(context.name),
        pred_name=local(context.pred.name),
        pivot_name=local(context.pivot.name),
        branch=context.branch,
    )
    proto.values_def.values.extend(sorted(local(t.name) for t in context._values))
    for outside, inside in context._external.items():
        proto.values_def.external_values[local(outside.name)] = local(inside.name)
    for nested in _inside(context):
        inner = cond_context_to_proto(nested, export_scope)
        if inner is not None:
            proto.nested_contexts.add().cond_ctxt.CopyFrom(inner)
    return proto


def _inside(context: Any) -> list[Any]:
    """The contexts directly in this one, in order of creation."""
    found: dict[Any, None] = {}
    for op in context.graph.get_operations():
        each = op._control_flow_context
        while each is not None and each.outer_context is not context:
            each = each.outer_context
        if each is not None:
            found[each] = None
    return list(found)


def cond_context_from_proto(proto: Any, import_scope: str | None = None) -> CondContext:
    """The branch that a CondContextDef describes; the operations in it are told that they are. KeyError or ValueError for names that
    are not in the default graph."""
    graph = get_default_graph()

    def tensor(name: str) -> Tensor:
        full = f"{import_scope}/{name}" if import_scope else name
        return graph.as_graph_element(full, allow_operation=False)

    context = _restored(graph, proto, tensor)
    if import_scope:
        context.name = f"{import_scope}/{context.name}"
    for value in context._values - set(context._external):
        if value.op._control_flow_context is context.outer_context:
            value.op._set_control_flow_context(context)
    context.pivot.op._set_control_flow_context(context)
    with context.entered():
        for nested in proto.nested_contexts:
            if nested.HasField("cond_ctxt"):
                cond_context_from_proto(nested.cond_ctxt, import_scope)
    return context


def _restored(graph: Graph, proto: Any, tensor: Any) -> CondContext:
    context = CondContext.__new__(CondContext)
    context.name = proto.context_name
    context.pred, context.pivot = tensor(proto.pred_name), tensor(proto.pivot_name)
    context.branch, context.graph = proto.branch, graph
    context.outer_context = graph._get_control_flow_context()
    context._values = {tensor(name) for name in proto.values_def.values}
    context._external = {
        tensor(outside): tensor(inside)
        for outside, inside in proto.values_def.external_values.items()
    }
    return context
