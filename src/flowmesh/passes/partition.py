"""Partitioning: one graph per task (or per device), joined by `_Send` and `_Recv`.

Rules
  1. Each op is copied, with its name, attrs, device (the full one it was placed on) and origin, into the part of its device.
  2. A tensor used in another part crosses once per part, however many ops use it there: `_Send` beside its
     producer, `_Recv` on the device of its first consumer. A ref crosses as the value that it refers to once all has
     run that its consumer comes after: once for each such set.
  3. A control edge to another part is carried by an empty constant that waits for the op and is sent like a tensor. A `NoOp` that
     nothing waits for (`tf.group` as a target) needs none: a step is not over before all its parts are. With `deferred` it does,
     for its end may be asked for in between.
  4. A fed tensor is a `_Recv` with `client_terminated` in every part that uses it; a fetched tensor is a `_Send` with
     `client_terminated` beside its producer. Their `tensor_name` is the tensor's name.
  5. With `deferred`, feeds and fetches pass through the rendezvous of the step instead (partial runs): not client_terminated,
     and marked by attr `_client` = "feed" or "fetch".
  6. The read that a ref variable caches (`w/read`, an Identity without control inputs) is no snapshot: an op on the variable's
     own device that takes it takes the ref itself, and so sees the updates that it comes after, as in TensorFlow, where
     both share one buffer.
  7. A part has the functions in its library that its ops need.
  8. Loops lie in one part as a whole (see `place_loops.py`); their back edges are made last.
  9. A large floating-point tensor is compressed on its way if that was asked for (`compress.py`).
  10. A receive carries the condition under which its value is alive in attr `_condition`.
Precondition: `ops` are pruned for `feeds`, in topological order, and all placed.
Postcondition: no edge leaves a part; a part's ops are created in topological order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.core import device_spec, dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import registry
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.function import reachable
from flowmesh.graph.graph import Graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor
from flowmesh.passes import compress, conditions
from flowmesh.passes.frames import SWITCHES, is_back_edge

_FROM_KNOWN = frozenset({"Cast", "ConcatV2", "Pack", "StridedSlice"})
_EMPTY = TensorShape([0])
_MAX_REPLICATED = 1 << 20
"""Bytes up to which a constant is put into each part that uses it."""


def partition(
    ops: Sequence[Operation],
    placement: Mapping[Operation, str],
    feeds: Collection[Tensor] = (),
    fetches: Iterable[Tensor] = (),
    *,
    key: Callable[[str], str] = device_spec.task_name,
    incarnations: Mapping[str, int] | None = None,
    deferred: bool = False,
    compression: str = "",
) -> dict[str, Graph]:
    """The parts of a pruned and placed graph, by `key(full device name)`.

    Args:
      ops: the ops to run, in topological order.
      placement: the full device name of each.
      feeds: tensors whose values the caller gives.
      fetches: tensors whose values the caller wants.
      key: which part a device belongs to: by default its task; `str` makes one part per device.
      incarnations: the incarnation of each device, by name (0 where missing).
      deferred: whether feeds and fetches come and go while the run goes on (partial runs).
      compression: how floating-point tensors travel, unless a node says otherwise (see `compress.py`).
    """
    made = _Partitioner(placement, feeds, key, incarnations or {}, deferred, compression)
    return made.run(ops, fetches)


class _Partitioner:
    def __init__(
        self,
        placement: Mapping[Operation, str],
        feeds: Collection[Tensor],
        key: Callable[[str], str],
        incarnations: Mapping[str, int],
        deferred: bool,
        compression: str,
    ) -> None:
        self._compression = compress.check(compression)
        self._placement = placement
        self._fed = set(feeds)
        self._fed_ops = {t.op for t in self._fed}
        self._key = key
        self._incarnations = incarnations
        self._deferred = deferred
        self._parts: dict[str, Graph] = {}
        self._copies: dict[Operation, Operation] = {}
        self._received: dict[tuple[Any, ...], Operation] = {}
        self._edges = 0
        self._foreign = False
        self._awaited: set[Operation] = set()
        self._conditions: dict[Operation, conditions.Condition] = {}

    def run(self, ops: Sequence[Operation], fetches: Iterable[Tensor]) -> dict[str, Graph]:
        if any(op.type in SWITCHES for op in ops):
            self._conditions = conditions.find_conditions(ops)
        self._foreign = any(op.graph.foreign for op in ops[:1])
        self._awaited = {control for op in ops for control in op._control_inputs}
        for op in ops:
            self._copy(op)
        for op in ops:
            self._close_loop(op)
        for tensor in dict.fromkeys(fetches):
            self._fetch(tensor)
        if ops and ops[0].graph.functions:
            for graph in self._parts.values():
                graph.functions = reachable(graph.get_operations(), ops[0].graph.functions)
        return self._parts

    def _part(self, part: str) -> Graph:
        graph = self._parts.get(part)
        if graph is None:
            graph = self._parts[part] = Graph()
            graph.foreign = self._foreign
        return graph

    def _copy(self, op: Operation) -> None:
        device = self._placement[op]
        part = self._key(device)
        before = tuple(c for c in op._control_inputs if c not in self._fed_ops)
        inputs = [
            self._input(
                op.inputs[0] if is_back_edge(op, tensor.op) else tensor, part, device, before, op
            )
            for tensor in op.inputs
        ]
        last = op.type == "NoOp" and op not in self._awaited and not self._deferred
        controls = [
            self._control(control, part, device)
            for control in before
            if not last or self._key(self._placement[control]) == part
        ]
        copy = self._part(part).create_operation(
            op.definition,
            inputs,
            op.name + "/",
            list(dict.fromkeys(controls)),
            device,
            [t.shape for t in op.outputs],
        )
        copy.extra_attrs = dict(op.extra_attrs)
        copy.device = device
        copy._frames = op._frames
        self._copies[op] = copy

    def _close_loop(self, op: Operation) -> None:
        """Gives a Merge the input that comes from the iteration before, which was not there when the Merge was copied."""
        for index, tensor in enumerate(op.inputs):
            if is_back_edge(op, tensor.op):
                following = self._copies[tensor.op].outputs[tensor.value_index]
                self._copies[op]._update_input(index, following)

    def _input(
        self,
        tensor: Tensor,
        part: str,
        device: str,
        before: tuple[Operation, ...],
        consumer: Operation,
    ) -> Tensor:
        """The tensor in `part` for an op there, `consumer`, that comes after the ops `before`."""
        if tensor in self._fed:
            return self._feed(tensor, part, device)
        source = self._placement[tensor.op]
        if source == device:
            tensor = self._unread(tensor)
        if self._key(source) == part:
            return self._copies[tensor.op].outputs[tensor.value_index]
        if not tensor.dtype._is_ref_dtype:
            before = ()
        kind = compress.kind_of(tensor, consumer, self._compression)
        received = self._received.get((tensor, part, before, kind))
        received = received or self._received.get((tensor, part, before, ""))
        if received is None:
            if tensor.dtype.base_dtype == dtypes.resource:
                raise errors.InvalidArgumentError(
                    None,
                    tensor.op,
                    f"Trying to access resource {tensor.op.name} located in device {source} from device {device}",
                )
            known = None if before else _known_value(tensor)
            if known is not None and not conditions.tensor_condition(tensor, self._conditions):
                return self._replicate(tensor, known, part, device)
            sent = self._copies[tensor.op].outputs[tensor.value_index]
            condition = conditions.tensor_condition(tensor, self._conditions)

            def send(each: Tensor) -> Operation:
                made = self._transfer(each, source, part, device, tensor.op.name)
                self._note(made, condition)
                return made

            if kind:
                ends = self._part(self._key(source)), self._part(part)
                reader, received = compress.transfer(sent, kind, send, *ends)
            else:
                received = send(sent)
                reader = sent.consumers()[-1]
            self._received[tensor, part, before, kind] = received
            reader._add_control_inputs(self._control(c, self._key(source), source) for c in before)
        return received.outputs[0]

    def _unread(self, tensor: Tensor) -> Tensor:
        """The ref behind the cached read of a variable (rule 6), else the tensor."""
        op = tensor.op
        if op.type == "Identity" and not op._control_inputs:
            ref = op.inputs[0]
            here = self._placement[ref.op] == self._placement[op]
            if here and ref.dtype._is_ref_dtype and ref not in self._fed:
                return ref
        return tensor

    def _replicate(self, tensor: Tensor, value: Any, part: str, device: str) -> Tensor:
        """A constant in `part` for a tensor whose value is known: nothing needs to be sent in every step."""
        graph = self._part(part)
        constant = graph.create_operation(
            _define("Const", value=value, dtype=tensor.dtype.base_dtype),
            [],
            graph.unique_name(f"{tensor.op.name}/_constant_{tensor.value_index}") + "/",
            [],
            device,
            [TensorShape(value.shape)],
        )
        constant.device = device
        constant._frames = tensor.op._frames
        self._received[tensor, part, (), ""] = constant
        return constant.outputs[0]

    def _control(self, op: Operation, part: str, device: str) -> Operation:
        source = self._placement[op]
        if self._key(source) == part:
            return self._copies[op]
        received = self._received.get((op, part))
        if received is None:
            graph = self._part(self._key(source))
            definition = _define("Const", value=np.zeros([0], np.float32), dtype=dtypes.float32)
            token = graph.create_operation(
                definition,
                [],
                graph.unique_name(f"{op.name}/_control_{self._edges}") + "/",
                [self._copies[op]],
                source,
                [_EMPTY],
            )
            token.device = source
            token._frames = op._frames
            received = self._transfer(token.outputs[0], source, part, device, op.name)
            self._note(received, self._conditions.get(op, conditions.ALWAYS))
            self._received[op, part] = received
        return received

    def _transfer(
        self, sent: Tensor, source: str, part: str, device: str, origin: str
    ) -> Operation:
        """Sends `sent` on `source` to `device`; returns the `_Recv`."""
        number = self._edges
        self._edges += 1
        ends: dict[str, Any] = {
            "tensor_name": f"edge_{number}_{origin}".encode(),
            "send_device": source.encode(),
            "send_device_incarnation": self._incarnations.get(source, 0),
            "recv_device": device.encode(),
            "client_terminated": False,
        }
        base = sent.dtype.base_dtype
        sending, receiving = self._part(self._key(source)), self._part(part)
        self._add(
            sending, "_Send", f"{origin}/_send_{number}", [sent], source, sent.op, T=base, **ends
        )
        return self._add(
            receiving,
            "_Recv",
            f"{origin}/_recv_{number}",
            [],
            device,
            sent.op,
            shape=sent.shape,
            tensor_type=base,
            **ends,
        )

    @staticmethod
    def _note(received: Operation, condition: conditions.Condition) -> None:
        """Says on a receive under which condition its value is alive."""
        received.extra_attrs["_condition"] = conditions.encode(condition)

    def _feed(self, tensor: Tensor, part: str, device: str) -> Tensor:
        received = self._received.get((tensor, part))
        if received is None:
            received = self._add(
                self._part(part),
                "_Recv",
                f"{tensor.op.name}/_feed_{tensor.value_index}",
                [],
                device,
                tensor.op,
                shape=tensor.shape,
                tensor_type=tensor.dtype.base_dtype,
                **self._client_end(tensor, device),
            )
            self._mark(received, b"feed")
            self._received[tensor, part] = received
        return received.outputs[0]

    def _fetch(self, tensor: Tensor) -> None:
        if tensor in self._fed:
            raise errors.InvalidArgumentError(
                None, tensor.op, f"Tensor {tensor.name} was both fed and fetched."
            )
        device = self._placement[tensor.op]
        kept = self._unread(tensor)
        sent = self._copies[kept.op].outputs[kept.value_index]
        send = self._add(
            self._part(self._key(device)),
            "_Send",
            f"{tensor.op.name}/_fetch_{tensor.value_index}",
            [sent],
            device,
            tensor.op,
            T=tensor.dtype.base_dtype,
            **self._client_end(tensor, device),
        )
        self._mark(send, b"fetch")

    def _client_end(self, tensor: Tensor, device: str) -> dict[str, Any]:
        return {
            "tensor_name": tensor.name.encode(),
            "send_device": device.encode(),
            "send_device_incarnation": self._incarnations.get(device, 0),
            "recv_device": device.encode(),
            "client_terminated": not self._deferred,
        }

    def _mark(self, op: Operation, role: bytes) -> None:
        if self._deferred:
            op.extra_attrs["_client"] = role

    def _add(
        self,
        graph: Graph,
        op_type: str,
        name: str,
        inputs: Sequence[Tensor],
        device: str,
        origin: Operation,
        shape: TensorShape | None = None,
        **attrs: Any,
    ) -> Operation:
        op = graph.create_operation(
            _define(op_type, **attrs),
            inputs,
            graph.unique_name(name) + "/",
            (),
            device,
            [] if shape is None else [shape],
        )
        op.device = device
        op._frames = origin._frames
        if shape is not None and shape.key is not None:
            op.extra_attrs["_output_shapes"] = (shape,)
        return op


def _known_value(tensor: Tensor) -> Any:
    """The value of a constant, of a shape that is known, or of what is made from these; None for all others and where control
    inputs must come first."""
    if not _may_be_known(tensor.op):
        return None
    value = constant_value(tensor)
    return value if isinstance(value, np.ndarray) and value.nbytes <= _MAX_REPLICATED else None


def _may_be_known(op: Operation) -> bool:
    if op._control_inputs:
        return False
    if op.type in ("Const", "Shape", "ShapeN", "Size", "Rank"):
        return True
    return op.type in _FROM_KNOWN and all(_may_be_known(t.op) for t in op.inputs)


def _define(op_type: str, **attrs: Any) -> Any:
    return registry.lookup(op_type)(attrs)
