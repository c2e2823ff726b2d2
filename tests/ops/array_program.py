"""Runs the little programs of `tests/oracle/array_cases.py` under Flowmesh, with a NumPy interpreter in place of a session."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

import flowmesh.ops as ops_package
from flowmesh.core import dtypes
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.graph import convert, serde
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.op_def import DEAD, HostContext
from flowmesh.graph.operation import Operation
from flowmesh.graph.tensor import Tensor

_FIRST = [
    "constant",
    "placeholder",
    "identity",
    "shape_ops",
    "reshape",
    "transpose",
    "concat",
    "split",
    "stack",
    "pad",
    "sequence",
    "fill",
    "slicing",
    "gather",
    "scatter_nd",
    "reverse",
    "unique",
    "dynamic",
    "top_k",
    "space",
    "masks",
    "sparse_values",
    "control",
    "control_flow",
    "assertions",
    "logging_ops",
    "py_func",
    "strings",
    "string_numbers",
    "string_split",
    "string_regex",
    "string_hash",
    "decode_csv",
]
_RENAMED = {"slice": "slice_", "control_flow_with_dependencies": "with_dependencies"}


class Namespace:
    """`tf` for the programs: names looked up in the op modules."""

    newaxis = None

    def __init__(self) -> None:
        from flowmesh.graph import gradients

        self.TensorShape = TensorShape
        self.Graph = Graph
        self.convert_to_tensor = convert.convert_to_tensor
        self.gradients = gradients.gradients
        self.device = lambda name: get_default_graph().device(name)
        self.control_dependencies = lambda deps: get_default_graph().control_dependencies(deps)
        self.string = dtypes.string
        self.bool = dtypes.bool
        every = [name for name in vars(ops_package) if not name.startswith("_")]
        order = [*_FIRST, *sorted(set(every) - set(_FIRST))]
        self._modules = [
            importlib.import_module(f"flowmesh.ops.{name}")
            for name in order
            if importlib.util.find_spec(f"flowmesh.ops.{name}")
        ]

    def __getattr__(self, name: str) -> Any:
        name = _RENAMED.get(name, name)
        if name in ("nn", "io"):
            return self
        if name == "strings":
            return _Strings(self)
        if isinstance(getattr(dtypes, name, None), dtypes.DType):
            return getattr(dtypes, name)
        for module in self._modules:
            found = module.__dict__.get(name)
            if isinstance(found, types.FunctionType):
                return found
        raise AttributeError(name)


class _Strings:
    """`tf.strings`: the old names without their prefix."""

    def __init__(self, tf: Namespace) -> None:
        self._tf = tf

    def __getattr__(self, name: str) -> Any:
        for candidate in (f"string_{name}", name):
            try:
                return getattr(self._tf, candidate)
            except AttributeError:
                continue
        raise AttributeError(name)


# -- running ----------------------------------------------------------------------------------------


def evaluate(fetches: Any, feed: dict[Tensor, Any] | None = None) -> Any:
    """The values of nested fetches."""
    values: dict[Tensor, Any] = {}
    for tensor, value in (feed or {}).items():
        values[tensor] = np.asarray(value, tensor.dtype.as_numpy_dtype)
    return _fetch(fetches, values)


def _fetch(item: Any, values: dict[Tensor, Any]) -> Any:
    if isinstance(item, Tensor):
        if item not in values:
            _run_for([item.op], values)
        return values[item]
    if isinstance(item, Operation):
        _run_for([item], values)
        return None
    if isinstance(item, IndexedSlices):
        return [_fetch(x, values) for x in (item.values, item.indices, item.dense_shape)]
    if isinstance(item, SparseTensor):
        return [_fetch(x, values) for x in (item.indices, item.values, item.dense_shape)]
    if isinstance(item, dict):
        return {k: _fetch(v, values) for k, v in item.items()}
    return [_fetch(x, values) for x in item]


def _run_for(targets: Iterable[Operation], values: dict[Tensor, Any]) -> None:
    done: dict[Operation, bool] = {}  # op -> whether it was alive
    stack = list(targets)
    while stack:
        op = stack[-1]
        if op in done:
            stack.pop()
            continue
        needs = [t.op for t in op.inputs if t not in values and t.op not in done]
        needs += [c for c in op.control_inputs if c not in done]
        if needs:
            stack.extend(needs)
            continue
        stack.pop()
        if op.outputs and all(t in values for t in op.outputs):
            done[op] = True
            continue
        done[op] = _run_one(op, values, done)


def _run_one(op: Operation, values: dict[Tensor, Any], done: dict[Operation, bool]) -> bool:
    inputs = [values[t] for t in op.inputs]
    definition = op.definition
    merging = op.type in ("Merge", "RefMerge")
    dead = any(not done[c] for c in op.control_inputs) or (
        not merging and any(v is DEAD for v in inputs)
    )
    if merging and all(v is DEAD for v in inputs):
        dead = True
    if dead:
        outputs: list[Any] = [DEAD] * len(op.outputs)
    else:
        outputs = _outputs(definition, inputs, op)
    for tensor, value in zip(op.outputs, outputs):
        assert value is DEAD or tensor.dtype.base_dtype == dtypes.as_dtype(
            np.asarray(value).dtype
        ), f"{op.type} gave {np.asarray(value).dtype} for {tensor}"
        if value is not DEAD:
            assert tensor.shape.is_compatible_with(np.shape(value)), (
                f"{op.name} ({op.type}): inferred {tensor.shape}, got {np.shape(value)}"
            )
        values[tensor] = value
    return not dead


def _outputs(definition: Any, inputs: list[Any], op: Operation) -> list[Any]:
    grouped = definition.group_inputs(inputs)
    if definition.run is not None:
        context = HostContext(op.name, "", None, "", 1, CancellationManager(), {})
        result = definition.run(context, *grouped)
    else:
        result = definition.compute(np, *grouped)
    if len(op.outputs) == 1 and not isinstance(result, tuple):
        return [result]
    flat: list[Any] = []
    for item in result if result is not None else ():
        flat.extend(item) if isinstance(item, list) else flat.append(item)
    return flat


def run_program(source: str) -> tuple[Graph, Any]:
    """(the graph that the program builds, the values of its fetches)."""
    with Graph().as_default() as graph:
        scope: dict[str, Any] = {"tf": Namespace(), "np": np}
        exec(source, scope)
        values = evaluate(scope["out"], scope.get("feed"))
    return graph, values


def node(op: Operation) -> dict[str, Any]:
    """What the recordings hold of a node."""
    proto = serde.to_node_def(op)
    attrs = {k: " ".join(str(v).split()) for k, v in sorted(proto.attr.items())}
    return {
        "name": op.name,
        "op": op.type,
        "inputs": [t.name for t in op.inputs],
        "control": sorted(c.name for c in op.control_inputs),
        "device": op.device,
        "attrs": {k: v for k, v in attrs.items() if k not in ("_class", "value", "token")},
        "dtypes": [t.dtype.name for t in op.outputs],
        "shapes": [None if t.shape.key is None else list(t.shape.key) for t in op.outputs],
    }


def plain(value: Any) -> Any:
    """A fetched value as JSON data."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    array = np.asarray(value)
    if array.dtype == np.object_:
        flat: list[Any] = [v.decode("latin-1") for v in array.reshape(-1)]
        kind = "S"
    elif array.dtype.kind == "c":
        flat, kind = [[v.real, v.imag] for v in array.reshape(-1).tolist()], "c"
    else:
        flat, kind = array.reshape(-1).tolist(), array.dtype.kind
    return {"dtype": kind, "shape": list(array.shape), "flat": flat}
