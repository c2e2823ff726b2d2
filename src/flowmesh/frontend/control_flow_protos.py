"""The branches of `tf.cond` and the loops in MetaGraphDefs: what an import needs to differentiate through those of another program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control_flow import CondContext
from flowmesh.ops.while_context import WhileContext
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
    _add_nested(proto, context, export_scope)
    return proto


def while_context_to_proto(context: Any, export_scope: str | None = None) -> Any:
    """The WhileContextDef of a loop and of the branches and loops in it; None when it is not in `export_scope`."""
    if export_scope and not context.name.startswith(export_scope):
        return None
    prefix = export_scope.rstrip("/") + "/" if export_scope else ""

    def local(name: str) -> str:
        return name.removeprefix(prefix)

    proto = control_flow_pb2.WhileContextDef(
        context_name=local(context.name),
        parallel_iterations=context.parallel_iterations,
        back_prop=context.back_prop,
        swap_memory=context.swap_memory,
        pivot_name=local(context.pivot.name),
        pivot_for_pred_name=local(context.pivot_for_pred.name),
        pivot_for_body_name=local(context.pivot_for_body.name),
    )
    if context.maximum_iterations is not None:
        proto.maximum_iterations_name = local(context.maximum_iterations.name)
    proto.loop_exit_names.extend(local(t.name) for t in context.loop_exits)
    proto.loop_enter_names.extend(local(t.name) for t in context.loop_enters)
    proto.values_def.values.extend(sorted(local(t.name) for t in context._values))
    for outside, inside in context._external.items():
        proto.values_def.external_values[local(outside.name)] = local(inside.name)
    _add_nested(proto, context, export_scope)
    return proto


def _add_nested(proto: Any, context: Any, export_scope: str | None) -> None:
    for nested in _inside(context):
        if nested.is_while:
            inner = while_context_to_proto(nested, export_scope)
        else:
            inner = cond_context_to_proto(nested, export_scope)
        if inner is not None:
            made = proto.nested_contexts.add()
            (made.while_ctxt if nested.is_while else made.cond_ctxt).CopyFrom(inner)


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
    tensor = _finder(graph, import_scope)
    context = CondContext.__new__(CondContext)
    _restore(context, graph, proto, import_scope)
    context.pred, context.pivot = tensor(proto.pred_name), tensor(proto.pivot_name)
    context.branch = proto.branch
    _claim(context)
    context.pivot.op._set_control_flow_context(context)
    _restore_nested(context, proto, import_scope)
    return context


def while_context_from_proto(proto: Any, import_scope: str | None = None) -> WhileContext:
    """The loop that a WhileContextDef describes; the operations in it are told that they are. KeyError or ValueError for names that
    are not in the default graph."""
    graph = get_default_graph()
    tensor = _finder(graph, import_scope)
    context = WhileContext.__new__(WhileContext)
    _restore(context, graph, proto, import_scope)
    context.grad_state = None
    limit = proto.maximum_iterations_name
    context.maximum_iterations = tensor(limit) if limit else None
    context.parallel_iterations = proto.parallel_iterations
    context.back_prop, context.swap_memory = proto.back_prop, proto.swap_memory
    context.pivot_for_pred = tensor(proto.pivot_for_pred_name)
    context.pivot_for_body = tensor(proto.pivot_for_body_name)
    context.pivot = tensor(proto.pivot_name)
    context.loop_exits = [tensor(name) for name in proto.loop_exit_names]
    context.loop_enters = [tensor(name) for name in proto.loop_enter_names]
    _claim(context)
    for exit_tensor in context.loop_exits:
        exit_tensor.op._set_control_flow_context(context)
    if import_scope:  # the frame is called after the loop
        for value in context._values:
            if value.op.type in ("Enter", "RefEnter"):
                value.op._set_attr("frame_name", context.name.encode())
    _restore_nested(context, proto, import_scope)
    return context


def _finder(graph: Graph, import_scope: str | None) -> Callable[[str], Tensor]:
    def tensor(name: str) -> Tensor:
        full = f"{import_scope}/{name}" if import_scope else name
        found: Tensor = graph.as_graph_element(full, allow_operation=False)
        return found

    return tensor


def _restore(context: Any, graph: Graph, proto: Any, import_scope: str | None) -> None:
    """What branches and loops have in common."""
    tensor = _finder(graph, import_scope)
    context.graph = graph
    context.name = f"{import_scope}/{proto.context_name}" if import_scope else proto.context_name
    context.outer_context = graph._get_control_flow_context()
    context._before = []
    context._values = {tensor(name) for name in proto.values_def.values}
    context._external = {
        tensor(outside): tensor(inside)
        for outside, inside in proto.values_def.external_values.items()
    }


def _claim(context: Any) -> None:
    """Tells the operations in the context that they are in it; those in contexts inside are told otherwise later."""
    for value in context._values - set(context._external):
        value.op._set_control_flow_context(context)


def _restore_nested(context: Any, proto: Any, import_scope: str | None) -> None:
    with context.entered():
        for nested in proto.nested_contexts:
            if nested.HasField("cond_ctxt"):
                cond_context_from_proto(nested.cond_ctxt, import_scope)
            elif nested.HasField("while_ctxt"):
                while_context_from_proto(nested.while_ctxt, import_scope)
