"""Reverse-mode differentiation of a graph, by graph: `gradients(ys, xs)` adds the nodes that compute dys/dxs.

Node names and structure follow TensorFlow 1.15 (`gradients/<op>_grad/...`, `gradients/AddN`).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.graph import convert, hooks
from flowmesh.graph.composite import IndexedSlices, convert_to_tensor_or_indexed_slices
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor

_OVERRIDES: dict[str, Callable[..., Any] | None] = {}


class AggregationMethod:
    """How gradients that reach one tensor on several ways are added up."""

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


class UnconnectedGradients(enum.Enum):
    """What the gradient of an unconnected x is: None, or zeros."""

    NONE = "none"
    ZERO = "zero"


class RegisterGradient:
    """Decorator: registers `f(op, *grads)` as a gradient under a name, for `gradient_override_map`."""

    def __init__(self, op_type: str) -> None:
        if not isinstance(op_type, str):
            raise TypeError("op_type must be a string")
        self._op_type = op_type

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self._op_type in _OVERRIDES:
            raise KeyError(f"Registering two gradient with name '{self._op_type}'!")
        _OVERRIDES[self._op_type] = function
        return function


def no_gradient(op_type: str) -> None:
    """Declares that ops of this type have no gradient (TensorFlow: `tf.NotDifferentiable`)."""
    _OVERRIDES[op_type] = None


def is_trainable(value: Any) -> bool:
    """Whether gradients flow through tensors of this dtype."""
    dtype = getattr(value, "dtype", value).base_dtype
    return dtype in (
        dtypes.float16, dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128,
        dtypes.resource, dtypes.variant, dtypes.bfloat16,
    )  # fmt: skip


def gradient_function(op: Operation) -> Callable[..., Any] | None:
    """The gradient function of `op` (called with op and output gradients), None when it is not differentiable.

    Raises LookupError when none is defined.
    """
    override = op.extra_attrs.get("_gradient_op_type")
    name = override.decode() if override else op.type
    if name in _OVERRIDES:
        return _OVERRIDES[name]
    if override:
        raise LookupError(f"No gradient defined for operation '{op.name}' (op type: {name})")
    definition = op.definition
    if definition.NotDifferentiable:
        return None
    function = type(definition).gradient
    if function is None:
        raise LookupError(f"No gradient defined for operation '{op.name}' (op type: {op.type})")
    return function


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """Symbolic derivatives of sum(ys) with respect to each x in `xs` (TensorFlow: `tf.gradients`).

    Returns one Tensor, IndexedSlices or None for each x. Raises LookupError for an op without gradient on the way,
    TypeError or ValueError for ys, grad_ys that do not fit.
    """
    try:
        unconnected = UnconnectedGradients(unconnected_gradients)
    except ValueError:
        raise ValueError(
            f"Unknown value for unconnected_gradients: {unconnected_gradients!r}"
        ) from None
    ys, xs = _as_list(ys), _as_list(xs)
    stops = [] if stop_gradients is None else _as_list(stop_gradients)
    grad_ys = [None] * len(ys) if grad_ys is None else _as_list(grad_ys)
    if len(ys) != len(grad_ys):
        raise ValueError(f"Passed {len(grad_ys)} grad_ys for {len(ys)} ys")
    with _name_scope(name, [*ys, *xs, *stops, *[g for g in grad_ys if g is not None]]) as graph:
        ys = [convert.convert_to_tensor(y, name="y") for y in ys]
        xs = [_differentiable(x) for x in xs]
        stops = [convert.convert_to_tensor(s) for s in stops]
        run = _Backward(graph, colocate_gradients_with_ops, gate_gradients, aggregation_method)
        grads = run.run(ys, xs, run.default_grad_ys(ys, grad_ys), stops)
    if unconnected is UnconnectedGradients.ZERO:
        grads = [hooks.zeros_like(x) if g is None else g for g, x in zip(grads, xs)]
    return grads


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _differentiable(x: Any) -> Tensor:
    handle = getattr(x, "handle", None)
    if isinstance(handle, Tensor):
        return handle
    if hasattr(x, "_as_graph_element"):
        return x._as_graph_element()
    return convert.convert_to_tensor(x, name="x", as_ref=True)


@contextmanager
def _name_scope(name: str, values: Sequence[Any]) -> Iterator[Graph]:
    from_values = [getattr(v, "graph", None) for v in values]
    graph = next((g for g in from_values if isinstance(g, Graph)), None)
    if graph is None:
        raise ValueError("gradients() needs tensors of a graph")
    with graph.as_default(), graph.name_scope(name or "gradients"):
        yield graph


class _Backward:
    """One backward pass: which ops lie between ys and xs, and the gradients that have arrived so far."""

    def __init__(self, graph: Graph, colocate: bool, gate: bool, aggregation: int | None) -> None:
        self.graph = graph
        self.colocate = colocate
        self.gate = gate
        if aggregation not in (None, 0, 1, 2):
            raise ValueError(f"Invalid aggregation_method specified {aggregation}.")
        self.aggregation = aggregation
        self.grads: dict[Operation, list[list[Any]]] = {}
        self.pending: dict[Operation, int] = {}
        self.from_ops: set[Operation] = set()
        self.queue: deque[Operation] = deque()
        self.loops: Any = None
        """What is known of the loops on the way, None when there is none."""

    def default_grad_ys(self, ys: list[Tensor], grad_ys: list[Any]) -> list[Any]:
        """The given gradients of ys, ones where there is none."""
        given = [
            g if g is None else convert_to_tensor_or_indexed_slices(g, name=f"grad_y_{i}")
            for i, g in enumerate(grad_ys)
        ]
        result: list[Any] = []
        for i, (y, grad) in enumerate(zip(ys, given)):
            with self._on(y.op):
                result.append(self._ones(y, i) if grad is None else _given_grad(y, grad, i))
        return result

    def _ones(self, y: Tensor, i: int) -> Tensor:
        if y.dtype.base_dtype.is_complex:
            raise TypeError(
                f"Gradients of complex tensors must set grad_ys (y.dtype = {y.dtype!r})"
            )
        shape = hooks.shape_of(y)
        return raw.Fill(shape, hooks.constant(1, dtype=y.dtype.base_dtype, name=f"grad_ys_{i}"))

    def _on(self, op: Operation) -> Any:
        return self.graph.colocate_with(op) if self.colocate else nullcontext()

    def run(
        self, ys: list[Tensor], xs: list[Tensor], grad_ys: list[Any], stops: list[Tensor]
    ) -> list[Any]:
        """The gradient of each x."""
        to_ops = list(dict.fromkeys(y.op for y in ys))
        from_ops = list(dict.fromkeys(x.op for x in xs))
        stopped = {s.op for s in stops}
        self._count_pending(to_ops, from_ops, stopped)
        stopped.update(op for op in from_ops if not any(self.pending.get(t.op) for t in op.inputs))
        for y, grad in zip(ys, grad_ys):
            self._add(y, grad)
        self.from_ops = set(from_ops)
        self.queue = deque(op for op in to_ops if self.pending.get(op) == 0)
        if self.loops is not None:
            for y in self.loops.unused_exits(self.pending, list(self.queue)):
                if is_trainable(y):
                    self._add(y, self.loops.zeros_for_exit(y))
                    self.queue.append(y.op)
        while self.queue:
            op = self.queue.popleft()
            self._step(op, stopped)
            for tensor in op.inputs:
                self._arrived(tensor)
        if self.loops is not None:
            self.loops.finish()
        return [self._result(x) for x in xs]

    def _arrived(self, tensor: Tensor) -> None:
        """One more of the gradients of a tensor is there: with the last one its op has its turn. The Switch of a loop has two."""
        before = tensor.op
        if before not in self.pending:
            return
        self.pending[before] -= 1
        left = self.pending[before]
        loops = self.loops
        if left and not (loops is not None and left > 0 and loops.is_loop_switch(before)):
            return
        if loops is None or not loops.is_exit(before):
            self.queue.append(before)
            return
        # Exits of a loop have their turn together, once it is known which of them matter.
        state = loops.state_of(before, False)
        state.deferred_exits.append(tensor)
        state.pending_exits -= 1
        if state.pending_exits:
            return
        used = [y for y in state.deferred_exits if self._has_grads(y.op)]
        self.queue.extend(y.op for y in used)
        state.unused_exits.extend(y for y in state.deferred_exits if y not in used)
        for y in state.unused_exits:
            if used and is_trainable(y):
                self._add(y, loops.zeros_for_exit(y))
            self.queue.append(y.op)

    def _has_grads(self, op: Operation) -> bool:
        return any(g is not None for slot in self.grads.get(op, ()) for g in slot)

    def _count_pending(
        self, to_ops: list[Operation], from_ops: list[Operation], stops: set[Operation]
    ) -> None:
        reached: set[Operation] = set()
        queue = deque(from_ops)
        while queue:  # everything that depends on xs
            op = queue.popleft()
            if op in reached:
                continue
            reached.add(op)
            for output in op.outputs:
                if is_trainable(output):
                    queue.extend(output._consumers)
        between: dict[Operation, None] = {}
        queue = deque(to_ops)
        while queue:  # and that ys depend on
            op = queue.popleft()
            if op in reached and op not in between:
                between[op] = None
                if op not in stops:
                    queue.extend(t.op for t in op.inputs)
        if hooks.start_loop_gradients is not None:
            self.loops = hooks.start_loop_gradients(between, self.colocate)
        self.pending = dict.fromkeys(between, 0)
        for op in between:
            if op in stops:
                continue
            for tensor in op.inputs:
                if tensor.op in between:
                    self.pending[tensor.op] += 1

    def _add(self, tensor: Tensor, grad: Any) -> None:
        slots = self.grads.setdefault(tensor.op, [[] for _ in tensor.op.outputs])
        if grad is not None:
            slots[tensor.value_index].append(grad)

    def _in_loop(self, op: Operation, before: bool) -> Any:
        """The backward loop that belongs to the loop `op` is in, as the context of new nodes."""
        return nullcontext() if self.loops is None else self.loops.entered(op, before)

    def _step(self, op: Operation, stopped: set[Operation]) -> None:
        with self._on(op):
            with self._in_loop(op, before=True):
                out_grads = self._aggregate(op)
            if op in stopped:
                return
            has_grads = any(g is not None for g in out_grads)
            function = gradient_function(op) if has_grads else None
            with self._in_loop(op, before=False):
                self._refuse_initial_value(op)
                if function is None or not has_grads:
                    return
                out_grads = [
                    self._zeros(op, i) if g is None and is_trainable(op.outputs[i]) else g
                    for i, g in enumerate(out_grads)
                ]
                with self.graph.name_scope(op.name + "_grad"):
                    in_grads = self._call(op, function, out_grads)
                self._pass_on(op, in_grads)

    def _pass_on(self, op: Operation, in_grads: list[Any]) -> None:
        for tensor, grad in zip(op.inputs, in_grads):
            if grad is None:
                continue
            if isinstance(grad, Tensor) and tensor.dtype != dtypes.resource:
                try:
                    grad.set_shape(tensor.shape)
                except ValueError:
                    raise ValueError(
                        f"Incompatible shapes between op input and calculated input gradient. Forward operation: "
                        f"{op.name}. Input shape: {tensor.shape}. Calculated input gradient shape: {grad.shape}"
                    ) from None
            if tensor.op in self.pending:
                self._add(tensor, grad)

    def _refuse_initial_value(self, op: Operation) -> None:
        """A loop cannot be differentiated with respect to what its own variables were at the start, from inside it."""
        context = op._control_flow_context
        if (
            op.type not in ("Switch", "RefSwitch")
            or context is None
            or not context.is_while
            or context is not self.graph._get_control_flow_context()
        ):
            return
        queue, seen = deque([op]), {op}
        while queue:
            each = queue.popleft()
            if each in self.from_ops:
                raise ValueError(
                    f"Cannot compute gradient inside while loop with respect to op '{each.name}'. We do not support "
                    "taking the gradient wrt or through the initial value of a loop variable. Gradients can be computed "
                    "through loop invariants or wrt the input parameters to the loop body."
                )
            new = [t.op for t in each.inputs if t.op not in seen]
            seen.update(new)
            queue.extend(new)

    def _call(self, op: Operation, function: Callable[..., Any], out_grads: list[Any]) -> list[Any]:
        if function is type(op.definition).gradient:
            in_grads = function(op.definition, op, *out_grads)
        else:
            in_grads = function(op, *out_grads)
        if isinstance(in_grads, (list, tuple)):
            result = list(in_grads)
        else:
            result = [in_grads]
        if len(result) != len(op.inputs):
            raise ValueError(
                f"Num gradients {len(result)} generated for op {op.node_def} do not match num inputs {len(op.inputs)}"
            )
        for i, (tensor, grad) in enumerate(zip(op.inputs, result)):
            self._verify(op, i, tensor, grad)
        if self.gate and sum(g is not None for g in result) > 1:
            with self.graph.device(None):
                result = hooks.convert_tuple(result)
        return result

    def _verify(self, op: Operation, i: int, tensor: Tensor, grad: Any) -> None:
        if grad is None or tensor.dtype == dtypes.resource:
            return
        if grad.dtype.base_dtype != tensor.dtype.base_dtype:
            raise ValueError(
                f"Gradient type {grad.dtype.name} generated for input {i} of op {op.name} ({op.type}) does not "
                f"match the input's type {tensor.dtype.base_dtype.name}"
            )

    def _zeros(self, op: Operation, index: int) -> Any:
        if self.loops is not None:
            return self.loops.zeros_for(op, index)
        if hooks.zeros_for_gradient is not None:
            return hooks.zeros_for_gradient(op, index)
        return hooks.zeros_like(op.outputs[index], optimize=False)

    def _aggregate(self, op: Operation) -> list[Any]:
        slots = self.grads.get(op)
        if slots is None:
            return [None] * len(op.outputs)
        result = []
        for i, slot in enumerate(slots):
            if len(slot) > 1:
                slots[i] = [self._sum(slot, op)]
            result.append(slots[i][0] if slots[i] else None)
        return result

    def _sum(self, grads: list[Any], op: Operation) -> Any:
        slices = [isinstance(g, IndexedSlices) for g in grads]
        if all(slices):
            return _concat_slices(grads)
        if any(slices):
            return raw.AddN(grads)
        if self.aggregation not in (
            AggregationMethod.EXPERIMENTAL_TREE,
            AggregationMethod.EXPERIMENTAL_ACCUMULATE_N,
        ):
            return self._add_n(grads)
        with self.graph.name_scope(op.name + "_gradient_sum"):
            total = grads[0]
            for grad in grads[1:]:
                total = raw.AddN([total, grad])
        return total

    def _add_n(self, grads: list[Tensor]) -> Tensor:
        """Adds what is on one device there, then the sums of the devices."""
        by_device: dict[str, list[Tensor]] = {}
        for grad in grads:
            by_device.setdefault(grad.device, []).append(grad)
        sums = []
        for device in sorted(by_device):
            tensors = by_device[device]
            with self.graph.colocate_with(tensors[0].op, ignore_existing=True):
                sums.append(raw.AddN(tensors) if len(tensors) > 1 else tensors[0])
        return raw.AddN(sums) if len(sums) > 1 else sums[0]

    def _result(self, x: Tensor) -> Any:
        slots = self.grads.get(x.op)
        if slots is None:
            return None
        with self._on(x.op):
            return self._aggregate(x.op)[x.value_index]


def _given_grad(y: Tensor, grad: Any, i: int) -> Any:
    """The gradient of a y as the caller gave it; raises TypeError when its dtype does not suit y."""
    given, wanted = grad.dtype, y.dtype
    problem = ""
    if wanted.is_floating or wanted.is_integer:
        if not given.is_floating and not given.is_integer:
            problem = "real or integer-valued tensor {} with type {} must be real or integer"
    elif wanted.is_complex:
        if not given.is_complex:
            problem = "complex-valued tensor {} with type {} must be real"
    elif wanted.base_dtype not in (dtypes.resource, dtypes.variant):
        raise TypeError(
            f"Tensor {y} with type {wanted.name} must be numeric to obtain a default gradient"
        )
    if problem:
        raise TypeError(
            f"Gradient type {given.name} generated for " + problem.format(y, wanted.name)
        )
    if not isinstance(grad, IndexedSlices):
        return raw.Identity(grad, name=f"grad_ys_{i}")
    dense = grad.dense_shape
    return IndexedSlices(
        raw.Identity(grad.values, name=f"grad_ys_{i}_values"),
        raw.Identity(grad.indices, name=f"grad_ys_{i}_indices"),
        None if dense is None else raw.Identity(dense, name=f"grad_ys_{i}_shape"),
    )


def _concat_slices(grads: list[IndexedSlices]) -> IndexedSlices:
    values = raw.ConcatV2([g.values for g in grads], np.int32(0), name="concat")
    indices = [g.indices for g in grads]
    if len({i.dtype for i in indices}) > 1:
        indices = [
            raw.Cast(i, DstT=dtypes.int64) if i.dtype != dtypes.int64 else i for i in indices
        ]
    return IndexedSlices(
        values, raw.ConcatV2(indices, np.int32(0), name="concat"), grads[0].dense_shape
    )


def hessians(ys: Any, xs: Any, name: str = "hessians", **kwargs: Any) -> list[Any]:
    """Second derivatives of a scalar `ys` with respect to vectors `xs`: one [n, n] tensor for each x."""
    result = []
    for x in _as_list(xs):
        first = gradients(ys, x, name=name, **kwargs)[0]
        size = x.shape.with_rank(1).as_list()[0]
        if size is None:
            raise ValueError("hessians() needs x of known length")
        rows = []
        for i in range(size):
            entry = first[i]
            rows.append(gradients(entry, x, **kwargs)[0])
        result.append(raw.Pack(rows))
    return result
