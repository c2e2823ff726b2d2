"""`tf.cond` and `tf.case` in the dataflow form: branches gated by Switch, joined by Merge."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from flowmesh.core import dtypes
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.constant import constant
from flowmesh.ops.control import no_op, with_dependencies
from flowmesh.ops.flow_context import FlowContext, contains
from flowmesh.ops.naming import name_scope
from flowmesh.ops.stack import stack
from flowmesh.ops.structure import assert_same, flatten, map_leaves
from flowmesh.ops.switch_merge import merge, switch, switch_ref_or_tensor
from flowmesh.ops.tensor_array import TensorArray, with_flow


class CondContext(FlowContext):
    """One branch of a cond while it is built: what enters from outside goes through a Switch."""

    is_cond = True

    def __init__(self, pred: Tensor, pivot: Tensor, branch: int, name: str = "cond_text") -> None:
        graph = pred.graph
        super().__init__(graph, graph.unique_name(name))
        self.pred = pred
        self.pivot = pivot
        self.branch = branch
        self._values = {pred, pivot}
        self._external = {pred: pred, pivot: pivot}
        pivot.op._set_control_flow_context(self)

    @property
    def control_pivot(self) -> Tensor:
        """What nodes without inputs wait for."""
        return self.pivot

    @property
    def grad_state(self) -> Any:  # type: ignore[override]
        """What the backward loop around this branch knows of the forward loop."""
        loop = self.while_context
        return None if loop is None else loop.grad_state

    @property
    def back_prop(self) -> bool:
        """Whether gradients go through the loop around this branch."""
        loop = self.while_context
        return True if loop is None else bool(loop.back_prop)

    # -- called by the graph for each new node -------------------------------------------------------

    def admit(
        self, definition: OpDef, inputs: list[Tensor], controls: list[Operation]
    ) -> tuple[list[Tensor], list[Operation], Any]:
        """The inputs of a new node, those from outside switched, and its control inputs: a node without either in
        this branch waits for the branch's pivot."""
        controls, _ = self._split_controls(controls)
        if inputs:
            return [self.add_value(t) for t in inputs], controls, self
        if not any(self._holds(op) for op in controls):
            controls = [*controls, self.pivot.op]
        return inputs, controls, self

    def op_added(self, op: Operation) -> None:
        """Notes that the outputs of a new node belong to this branch and to those around it."""
        context: Any = self
        while context is not None:
            context._values.update(op.outputs)
            context = context.outer_context
        if self.outer_context is not None or op.type not in ("Exit", "RefExit"):
            self.graph.prevent_fetching(op)
        if self.outer_context is not None:
            self.outer_context.inner_op_added(op)

    def _holds(self, op: Operation) -> bool:
        return contains(self, op._control_flow_context)

    # -- values from outside ---------------------------------------------------------------------------

    def add_value(self, value: Tensor) -> Tensor:
        """`value` as this branch sees it: itself, or the output of a Switch for what comes from outside."""
        if value in self._values:
            return self._external.get(value, value)
        self._values.add(value)
        result = self._through_outer(value)
        with self.graph.control_dependencies(None):
            result = switch_ref_or_tensor(result, self.pred)[self.branch]
        self.graph.prevent_fetching(result.op)
        result.op._set_control_flow_context(self)
        context: Any = self
        while context is not None:
            context._values.add(result)
            context = context.outer_context
        self._external[value] = result
        return result

    def _through_outer(self, value: Tensor) -> Tensor:
        if self.outer_context is None:
            return value
        seen: Tensor = self.outer_context.add_value(value)
        self._values.add(seen)
        self._external[seen] = seen
        return seen

    # -- results -----------------------------------------------------------------------------------------

    def build_branch(self, function: Callable[[], Any]) -> tuple[Any, list[Any] | None]:
        """(what the function returned, the same as tensors of this branch)."""
        summaries = get_default_graph().get_collection_ref("_SUMMARY_V2")
        before = len(summaries)
        original = function()
        if len(summaries) > before:
            new = list(summaries[before:])
            del summaries[before:]
            with self.graph.control_dependencies(new):
                original = no_op() if original is None else map_leaves(raw.Identity, original)
        if original is None:
            return None, None
        result = map_leaves(self._result, _expanded(original))
        return original, flatten(result)

    def _result(self, value: Any) -> Tensor:
        if isinstance(value, Operation):
            return with_dependencies([value], self.pivot)
        tensor = convert_to_tensor(value)
        if tensor in self._values:
            return self._external.get(tensor, tensor)
        self._values.add(tensor)
        outer = self._through_outer(tensor)
        switched: Tensor = switch_ref_or_tensor(outer, self.pred)[self.branch]
        self._external[tensor] = switched
        return switched


def _expanded(value: Any) -> Any:
    """IndexedSlices and SparseTensors as lists of their parts."""

    def expand(leaf: Any) -> Any:
        if isinstance(leaf, IndexedSlices):
            parts = [leaf.values, leaf.indices]
            return parts if leaf.dense_shape is None else [*parts, leaf.dense_shape]
        if isinstance(leaf, SparseTensor):
            return [leaf.indices, leaf.values, leaf.dense_shape]
        if isinstance(leaf, TensorArray):
            return leaf.flow
        return leaf

    return map_leaves(expand, value)


def _repacked(structure: Any, merged: Iterator[Tensor]) -> Any:
    def build(leaf: Any) -> Any:
        if isinstance(leaf, IndexedSlices):
            values, indices = next(merged), next(merged)
            return IndexedSlices(
                values, indices, None if leaf.dense_shape is None else next(merged)
            )
        if isinstance(leaf, SparseTensor):
            return SparseTensor(next(merged), next(merged), next(merged))
        if isinstance(leaf, TensorArray):
            return with_flow(leaf, next(merged))
        return next(merged)

    return map_leaves(build, structure)


def _unpacked(value: Any) -> Any:
    """A list or tuple of one element as that element."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return value[0]
    return value


def cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    strict: bool = False,
    name: str | None = None,
    fn1: Callable[[], Any] | None = None,
    fn2: Callable[[], Any] | None = None,
) -> Any:
    """`true_fn()` where the scalar bool `pred` is true, else `false_fn()` (tf.cond; old names `fn1`, `fn2`).

    Both functions are called once, to build the branches; they return the same structure of tensors (or operations) with the
    same dtypes: TypeError or ValueError otherwise. What a branch takes from outside is computed whichever branch runs.
    A list or tuple of one is unpacked unless `strict`.
    """
    true_fn = _renamed("fn1", fn1, "true_fn", true_fn)
    false_fn = _renamed("fn2", fn2, "false_fn", false_fn)
    for what, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(function):
            raise TypeError(f"{what} must be callable.")
    assert true_fn is not None
    assert false_fn is not None
    with name_scope(name, "cond", [pred]):
        if isinstance(pred, bool):
            raise TypeError("pred must not be a Python bool")
        false_pivot, true_pivot = switch(pred, pred)
        pivots = (
            raw.Identity(true_pivot, name="switch_t"),
            raw.Identity(false_pivot, name="switch_f"),
        )
        pred = raw.Identity(pred, name="pred_id")
        for tensor in (false_pivot, *pivots, pred):
            tensor.graph.prevent_fetching(tensor.op)
        context_t = CondContext(pred, pivots[0], 1)
        original_t, flat_t = _branch(context_t, true_fn, "true_fn")
        context_f = CondContext(pred, pivots[1], 0)
        original_f, flat_f = _branch(context_f, false_fn, "false_fn")
        if not strict:
            original_t, original_f = _unpacked(original_t), _unpacked(original_f)
        _check_structures(original_t, original_f)
        merged = _merged(flat_t, flat_f)
        if context_t.outer_context is None:
            graph = get_default_graph()
            graph.add_to_collection(GraphKeys.COND_CONTEXT, context_t)
            graph.add_to_collection(GraphKeys.COND_CONTEXT, context_f)
        result = _repacked(original_t, iter(merged))
        return result if strict else _unpacked(result)


def _renamed(old_name: str, old: Any, new_name: str, new: Any) -> Any:
    if old is None:
        return new
    if new is not None:
        raise TypeError(f"cond(): {new_name} and {old_name} may not be set simultaneously.")
    return old


def _branch(
    context: CondContext, function: Callable[[], Any], what: str
) -> tuple[Any, list[Tensor]]:
    with context.entered():
        original, flat = context.build_branch(function)
        if flat is None:
            raise ValueError(f"{what} must have a return value.")
        context.exit_result(flat)
    return original, flat


def _check_structures(a: Any, b: Any) -> None:
    try:
        assert_same(a, b)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Incompatible return types of true_fn and false_fn: {error}") from None


def _merged(true_values: list[Tensor], false_values: list[Tensor]) -> list[Tensor]:
    if not true_values:
        raise ValueError("true_fn and false_fn must return at least one result.")
    for x, y in zip(true_values, false_values):
        if x.dtype.base_dtype != y.dtype.base_dtype:
            raise ValueError(
                f"Outputs of true_fn and false_fn must have the same type: {x.dtype.name}, "
                f"{y.dtype.name}"
            )
    return [merge(pair)[0] for pair in zip(false_values, true_values)]


# -- case ------------------------------------------------------------------------------------------------


def _checked_pairs(pairs: Any, exclusive: bool) -> tuple[list[Any], list[Any]]:
    if not isinstance(pairs, (list, tuple, dict)):
        raise TypeError("fns must be a list, tuple, or dict")
    if isinstance(pairs, OrderedDict):
        items = list(pairs.items())
    elif isinstance(pairs, dict):
        items = sorted(pairs.items(), key=lambda item: item[0].name)
        if not exclusive and len(items) > 1:
            raise ValueError(
                "An unordered dictionary of predicate/function pairs needs exclusive=True: the order of the "
                "checks is not defined."
            )
    else:
        items = list(pairs)
    for pair in items:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError("Each entry in pred_fn_pairs must be a 2-tuple")
        pred, function = pair
        if isinstance(pred, Tensor):
            if pred.dtype != dtypes.bool:
                raise TypeError(f"pred must be Tensor of type bool: {pred.name}")
        else:
            raise TypeError(f"pred must be a Tensor, got: {pred}")
        if not callable(function):
            raise TypeError(f"fn for pred {pred.name} must be callable.")
    return [p for p, _ in items], [f for _, f in items]


def _assert_at_most(preds: list[Tensor], n: int, message: str) -> Any:
    joined = stack(preds, name="preds_c")
    count = raw.Cast(joined, DstT=dtypes.int32)
    total = raw.Sum(count, constant([0], dtypes.int32), name="num_true_conds")
    fits = raw.LessEqual(total, constant(n, name="n_true_conds"))
    names = ", ".join(p.name for p in preds)
    told = [f"{message}: more than {n} conditions ({names}) evaluated as True:", joined]
    return Assert(fits, told, summarize=len(preds))


def _without_default(preds: list[Any], functions: list[Any]) -> tuple[Any, list[Any], list[Any]]:
    """(the default action, predicates, actions) for a case in which one predicate has to be true."""
    last = len(preds) - 1
    pred, function = preds[last], functions[last]

    def default_action() -> Any:
        others = (
            f"Implementation error: selected default action #{last} was called, but some of other "
            "predicates are True: "
        )
        told = ("Input error: None of conditions evaluated as True:", stack(preds, name="preds_c"))
        checks = [_assert_at_most(preds[:last], 0, others), Assert(pred, told)]
        with get_default_graph().control_dependencies(checks):
            return function()

    return default_action, preds[:last], functions[:last]


def case(
    pred_fn_pairs: Any,
    default: Callable[[], Any] | None = None,
    exclusive: bool = False,
    strict: bool = False,
    name: str = "case",
) -> Any:
    """The result of the first function whose predicate is true, else of `default` (tf.case).

    Args:
      pred_fn_pairs: (scalar bool tensor, function) pairs, or a dict of them (then `exclusive` is needed).
      exclusive: more than one true predicate raises InvalidArgumentError when run.

    Without `default` one predicate has to be true. Raises TypeError for entries that are no such pairs.
    """
    preds, functions = _checked_pairs(pred_fn_pairs, exclusive)
    with name_scope(name, "case", preds):
        if default is None:
            default, preds, functions = _without_default(preds, functions)
        elif not callable(default):
            raise TypeError("default must be callable.")
        chosen: Any = default
        for pred, function in reversed(list(zip(preds, functions))):
            chosen = functools.partial(cond, pred, true_fn=function, false_fn=chosen, strict=strict)
        if not exclusive:
            return chosen()
        check = _assert_at_most(preds, 1, "Input error: exclusive=True")
        with get_default_graph().control_dependencies([check]):
            return chosen()


def Assert(
    condition: Any, data: Any, summarize: int | None = None, name: str | None = None
) -> Operation:
    """An Operation that raises InvalidArgumentError with `data` when the bool `condition` is false (tf.Assert).

    Run it as a control dependency. At most `summarize` (3) entries of each tensor are printed.
    """
    with name_scope(name, "Assert", [condition, data]):
        tensors = [convert_to_tensor(value) for value in data]

        def build() -> Operation:
            return raw.Assert(
                condition, list(data), summarize=3 if summarize is None else summarize
            )

        if all(t.dtype.base_dtype in (dtypes.string, dtypes.int32) for t in tensors):
            return build()
        condition = convert_to_tensor(condition, name="Condition")
        return cond(condition, no_op, build, name="AssertGuard").op
