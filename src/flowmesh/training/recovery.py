"""Making a model ready again after some of its tasks came back empty: what was lost is restored, what lives is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.graph.collections import GraphKeys
from flowmesh.training import checkpoint_management

_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_SHOWN = 10


def uninitialized_names(sess: Any, ready_op: Any) -> set[str] | None:
    """The names that `ready_op` reports as not initialized; None when it does not tell names."""
    if ready_op is None:
        return None
    try:
        value = np.asarray(sess.run(ready_op))
    except errors.FailedPreconditionError:
        return None
    if value.size == 0:
        return set()
    names = {n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in value.flat}
    known = sess.graph.get_operations() and all(_is_op(sess.graph, name) for name in names)
    return names if known else None


def _is_op(graph: Any, name: str) -> bool:
    try:
        graph.get_operation_by_name(name)
    except (KeyError, ValueError):
        return False
    return True


def restore_lost(sess: Any, saver: Any, prefix: str, ready_op: Any) -> None:
    """Restores from the checkpoint the variables that are not initialized, all of them when none is or nobody can tell.

    A variable that has a value keeps it: it is newer than the checkpoint. Raises what `Saver.restore` raises.
    """
    missing = uninitialized_names(sess, ready_op)
    assigns = _assignments(sess.graph, saver) if missing is not None else {}
    live = [name for name in assigns if name not in (missing or ())]
    if missing is None or not live:
        saver.restore(sess, prefix)
        return
    lost = sorted(missing.intersection(assigns))
    if not lost:
        tf_logging.info(
            "The model is alive on the cluster: nothing is restored from %s "
            "(tf.Session.reset clears the cluster for a fresh start)",
            prefix,
        )
        return
    ops = [assigns[name] for name in lost]
    if _reaches_others(ops, assigns, live):
        tf_logging.warning("A Saver that restores sequentially restores live variables, too")
        saver.restore(sess, prefix)
        return
    if not checkpoint_management.checkpoint_exists(prefix):
        raise ValueError("The passed save_path is not a valid checkpoint: " + prefix)
    tf_logging.info("Restoring only what was lost from %s: %s", prefix, listed(lost))
    saver._restore(sess, ops, prefix)


def _assignments(graph: Any, saver: Any) -> dict[str, Any]:
    """The operation that restores each variable, by the variable's name."""
    definition = getattr(saver, "saver_def", None)
    if definition is None or not definition.restore_op_name:
        return {}
    found: dict[str, Any] = {}
    pending, seen = [graph.get_operation_by_name(definition.restore_op_name)], set()
    while pending:
        op = pending.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type in _ASSIGNS:
            found[op.inputs[0].op.name] = op
        pending.extend(op.control_inputs)
    return found


def _reaches_others(ops: Sequence[Any], assigns: Mapping[str, Any], live: Sequence[str]) -> bool:
    """Whether running `ops` would also run the assignment of a live variable."""
    others = {assigns[name].name for name in live}
    pending, seen = list(ops), set()
    while pending:
        op = pending.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.name in others:
            return True
        pending.extend(op.control_inputs)
        pending.extend(t.op for t in op.inputs)
    return False


def initialize_lost(
    sess: Any, init_op: Any, init_fn: Any, feed_dict: Any, ready_op: Any
) -> list[Any]:
    """Runs `init_op` and `init_fn` unless some of the model lives already: then only the initializers of what does not.

    Returns the names of what was found alive.
    """
    missing = uninitialized_names(sess, ready_op)
    variables = {v.op.name: v for v in sess.graph.get_collection(GraphKeys.GLOBAL_VARIABLES)}
    live = [] if missing is None else [name for name in variables if name not in missing]
    if not live:
        if init_op is not None:
            sess.run(init_op, feed_dict=feed_dict)
        if init_fn:
            init_fn(sess)
        return []
    lost = [name for name in variables if name in (missing or ())]
    tf_logging.info(
        "The model is alive on the cluster: init_op is not run as a whole "
        "(tf.Session.reset clears the cluster for a fresh start). Initializing only: %s",
        listed(lost) or "nothing",
    )
    if lost:
        sess.run([variables[name].initializer for name in lost], feed_dict=feed_dict)
    return live


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of them when there are many."""
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
