"""Walks the op registry: every op has a row, and every row holds (see `tests/ops/table.py`)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph import hooks, registry
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import import_graph_def
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from tests.ops import interpreter, table
from tests.ops.table import Row

ROWS = table.collect()
RUNS = [v for row in ROWS if not row.covered_by for v in row.variants()]
ROOT = pathlib.Path(__file__).parents[2]

# How far a result may be off, by the dtype it was computed in.
TOLERANCES = {
    "float16": (2e-3, 2e-3),
    "bfloat16": (2e-2, 2e-2),
    "float32": (2e-5, 1e-6),
    "complex64": (2e-5, 1e-6),
    "float64": (1e-10, 1e-12),
    "complex128": (1e-10, 1e-12),
}


def ids(rows: Sequence[Row]) -> list[str]:
    """One test id per row; rows that say nothing of their own get a number."""
    seen: dict[str, int] = {}
    result = []
    for row in rows:
        label = row.label()
        seen[label] = seen.get(label, 0) + 1
        result.append(label if seen[label] == 1 else f"{label}-{seen[label]}")
    return result


# -- inputs --------------------------------------------------------------------------------------------------


def as_array(value: Any, dtype: Any = None) -> np.ndarray:
    """A row's input as an array: Python floats are float32, ints int32, text bytes in an object array."""
    if dtype is not None:
        return np.asarray(value).astype(dtype)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
    else:
        array = np.array(value)
        narrow = {"f": np.float32, "i": np.int32, "c": np.complex64}.get(array.dtype.kind)
        array = array if narrow is None else array.astype(narrow)
    return array.astype(object) if array.dtype.kind in "SU" else array


def grouped_inputs(row: Row, dtype: str | None) -> list[Any]:
    """The row's inputs with their dtypes: a list of arrays for a list input, None for a variable that is only written."""
    cls = registry.lookup(row.op)
    args = cls.input_args
    if len(row.inputs) != len(args):
        raise ValueError(f"{row.op} has {len(args)} inputs, the row {len(row.inputs)}")
    result: list[Any] = []
    for arg, value in zip(args, row.inputs):
        kind = None
        if arg.dtype is not None and arg.dtype not in (dtypes.resource, dtypes.string):
            kind = arg.dtype.base_dtype.as_numpy_dtype
        elif dtype is not None and arg.type_attr == row.vary:
            kind = dtypes.as_dtype(dtype).as_numpy_dtype
        if arg.is_list:
            result.append([as_array(v, kind) for v in value])
        else:
            result.append(None if value is None else as_array(value, kind))
    return result


def leaves(grouped: Sequence[Any]) -> Iterator[Any]:
    """The flat inputs."""
    for item in grouped:
        if isinstance(item, list):
            yield from item
        else:
            yield item


class Node:
    """A node of the row's op in a graph of its own; its inputs are placeholders, constants or variables."""

    def __init__(
        self, row: Row, grouped: Sequence[Any], shapes: Sequence[Any] | None = None
    ) -> None:
        self.graph = Graph()
        self.feeds: dict[Tensor, Any] = {}
        cls = registry.lookup(row.op)
        with self.graph.as_default():
            tensors: list[Any] = []
            at = 0
            for arg, value in zip(cls.input_args, grouped):
                many = value if isinstance(value, list) else [value]
                made = []
                for item in many:
                    shape = item.shape if shapes is None and item is not None else None
                    shape = shapes[at] if shapes is not None else shape
                    made.append(self._input(row, arg, item, shape))
                    at += 1
                tensors.append(made if arg.is_list else made[0])
            attrs = {
                k: dtypes.as_dtype(v) if _names_type(cls, k, v) else v for k, v in row.attrs.items()
            }
            made_by = getattr(raw, row.op)
            self.result = made_by(*tensors, **attrs, name="node")
        self.operation = self.graph.get_operation_by_name("node")
        self.definition = self.operation.definition

    def _input(self, row: Row, arg: Any, value: Any, shape: Any) -> Any:
        shape = TensorShape(shape) if shape is not None else unknown_shape()
        if arg.ref or (arg.access and arg.dtype == dtypes.resource):
            dtype = dtypes.float32 if value is None else dtypes.as_dtype(value.dtype)
            if "dtype" in row.attrs and value is None:
                dtype = dtypes.as_dtype(row.attrs["dtype"])
            full = TensorShape(value.shape) if value is not None else shape
            source = raw.VariableV2 if arg.ref else raw.VarHandleOp
            return source(shape=full, dtype=dtype)
        cls = registry.lookup(row.op)
        if arg.name in cls.static_inputs and shape.is_fully_defined():
            return hooks.constant(value, dtype=dtypes.as_dtype(value.dtype))
        placeholder = raw.Placeholder(dtype=dtypes.as_dtype(value.dtype), shape=shape)
        self.feeds[placeholder] = value
        return placeholder


def _names_type(cls: Any, name: str, value: Any) -> bool:
    return isinstance(value, str) and name in cls.attr_defs and cls.attr_defs[name].type == "type"


# -- running the kernel --------------------------------------------------------------------------------------------


def run_kernel(row: Row, node: Node, grouped: Sequence[Any], jit: bool) -> list[Any]:
    """The kernel's results, one per value; under `jax.jit` the static inputs stay NumPy."""
    definition = node.definition
    values = list(grouped)
    if definition.host:
        return interpreter.flatten(
            settled(definition.run(interpreter.host_context(**row.host), *values))
        )
    state = (definition.initial_state(),) if definition.implicit_state else ()
    if not jit:
        xp = interpreter.namespace(definition)
        if xp is not np:
            values = _on_device(xp, definition, values)
        return interpreter.flatten(definition.compute(xp, *state, *values))
    xp = interpreter.jax_numpy()
    import jax

    traced = [
        i for i, arg in enumerate(definition.input_args) if arg.name not in definition.static_inputs
    ]

    def call(*arrays: Any) -> Any:
        full = list(values)
        for index, array in zip(traced, arrays):
            full[index] = array
        return definition.compute(xp, *state, *full)

    arguments = [values[i] for i in traced]
    if row.first:
        return interpreter.flatten(jax.jit(call)(*arguments))
    return interpreter.flatten(jax.eval_shape(call, *arguments))


def _on_device(xp: Any, definition: Any, values: list[Any]) -> list[Any]:
    return [
        v
        if v is None or arg.name in definition.static_inputs
        else [xp.asarray(x) for x in v]
        if isinstance(v, list)
        else xp.asarray(v)
        for arg, v in zip(definition.input_args, values)
    ]


def settled(result: Any) -> Any:
    """The value of a Future; anything else as it is."""
    return result.result(timeout=10) if hasattr(result, "add_done_callback") else result


def reference(row: Row, grouped: Sequence[Any]) -> list[Any] | None:
    """What the row says the results are; 16-bit floats are handed to it as float32."""
    if row.want is None:
        return None
    if not callable(row.want):
        want = row.want
    else:
        seen = [[widened(v) for v in g] if isinstance(g, list) else widened(g) for g in grouped]
        with np.errstate(all="ignore"):
            want = row.want(*seen)
    return opened(want)


def opened(want: Any) -> list[Any]:
    """The wanted values one after another: tuples are several values, and so are lists of arrays."""
    if isinstance(want, tuple) or (
        isinstance(want, list) and any(isinstance(w, np.ndarray) for w in want)
    ):
        return [leaf for item in want for leaf in opened(item)]
    return [want]


def widened(value: Any) -> Any:
    """16-bit floats as float32."""
    if value is not None and value.dtype.name in ("float16", "bfloat16"):
        return value.astype(np.float32)
    return value


def tolerance(row: Row, grouped: Sequence[Any], results: Sequence[Any]) -> tuple[float, float]:
    """The loosest of the tolerances of the dtypes involved, unless the row gives one."""
    names = {v.dtype.name for v in [*leaves(grouped), *results] if v is not None}
    pairs = [TOLERANCES[n] for n in names if n in TOLERANCES] or [(0.0, 0.0)]
    rtol, atol = max(p[0] for p in pairs), max(p[1] for p in pairs)
    return (
        rtol if row.rtol is None else row.rtol,
        atol if row.atol is None else row.atol,
    )


def state_count(definition: Any) -> int:
    """How many leading results are new values of variables or of the implicit state."""
    written = sum(1 for arg in definition.flat_input_args() if arg.access in ("write", "update"))
    return written + (1 if definition.implicit_state else 0)


def check_values(row: Row, grouped: Sequence[Any], node: Node, results: list[Any]) -> None:
    arrays = [np.asarray(r) for r in results]
    declared = [
        t
        for t, arg in zip(node.definition.output_dtypes(), node.definition.flat_output_args())
        if arg.alias is None
    ]
    outputs = arrays[state_count(node.definition) :]
    assert [a.dtype for a in outputs] == [np.dtype(t.as_numpy_dtype) for t in declared]
    compared = arrays[1:] if node.definition.implicit_state else arrays
    want = reference(row, grouped)
    if want is not None:
        assert len(want) == len(compared), f"{len(compared)} results, {len(want)} wanted"
        rtol, atol = tolerance(row, grouped, compared)
        for got, expected in zip(compared, want):
            compare(got, np.asarray(expected), rtol, atol)
    if row.check is not None:
        row.check(*compared)


def compare(got: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> None:
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    if got.dtype == object or got.dtype.kind == "b":
        np.testing.assert_array_equal(got, want)
    else:
        wide = complex if got.dtype.kind == "c" or want.dtype.kind == "c" else float
        if got.dtype.kind in "iu" and want.dtype.kind in "iub":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=rtol, atol=atol)


# -- the tests ------------------------------------------------------------------------------------------------------


def test_every_op_has_a_row() -> None:
    # other test modules define ops of their own
    ours = {t for t in registry.op_types() if registry.lookup(t).__module__.startswith("flowmesh.")}
    missing = sorted(ours - {row.op for row in ROWS})
    assert not missing, f"ops without a row in tests/ops/rows_*.py: {missing}"


def test_every_row_is_of_an_op() -> None:
    unknown = sorted({row.op for row in ROWS} - set(registry.op_types()))
    assert not unknown, f"rows of ops that are not registered: {unknown}"


@pytest.mark.parametrize("row", [r for r in ROWS if r.covered_by], ids=lambda r: r.op)
def test_named_module_covers_the_op(row: Row) -> None:
    path = ROOT / row.covered_by
    assert path.is_file() and row.op in path.read_text()


@pytest.fixture
def prepared(row: Row) -> tuple[list[Any], Node]:
    grouped = grouped_inputs(row, row.dtypes[0] if row.dtypes else None)
    return grouped, Node(row, grouped)


@pytest.mark.parametrize("row", RUNS, ids=ids(RUNS))
def test_value(row: Row, prepared: Any) -> None:
    grouped, node = prepared
    results = run_kernel(row, node, grouped, jit=False)
    check_values(row, grouped, node, results)


@pytest.mark.parametrize("row", RUNS, ids=ids(RUNS))
def test_value_under_jit(row: Row, prepared: Any) -> None:
    grouped, node = prepared
    definition = node.definition
    strings = any(v is not None and v.dtype == object for v in leaves(grouped))
    if definition.host or definition.numpy_only or strings or not row.jit:
        return
    results = run_kernel(row, node, grouped, jit=True)
    if row.first:
        check_values(row, grouped, node, results)
        return
    plain = run_kernel(row, node, grouped, jit=False)
    assert [(r.dtype, r.shape) for r in results] == [
        (np.asarray(r).dtype, np.shape(r)) for r in plain
    ]


@pytest.mark.parametrize("row", RUNS, ids=ids(RUNS))
def test_shape(row: Row, prepared: Any) -> None:
    grouped, node = prepared
    results = run_kernel(row, node, grouped, jit=False)[state_count(node.definition) :]
    flags = [arg.alias is None for arg in node.definition.flat_output_args()]
    actual = [np.shape(r) for r in results]
    full = [t.shape for t, plain in zip(node.operation.outputs, flags) if plain]
    for shape, real in zip(full, actual):
        assert shape.is_compatible_with(real), f"inferred {shape}, the kernel gives {real}"
        if not row.loose_shape:
            assert shape.is_fully_defined(), f"inferred only {shape}, the kernel gives {real}"
    known = [None if v is None else v.shape for v in leaves(grouped)]
    for index, shape in enumerate(known):
        for partial in ([None] * len(shape) if shape else None, None) if shape is not None else ():
            changed = [*known[:index], partial, *known[index + 1 :]]
            again = Node(row, grouped, changed)
            tensors = [t for t, plain in zip(again.operation.outputs, flags) if plain]
            for tensor, real in zip(tensors, actual):
                assert tensor.shape.is_compatible_with(real), (
                    f"inferred {tensor.shape} from {changed}, the kernel gives {real}"
                )


@pytest.mark.parametrize("row", RUNS, ids=ids(RUNS))
def test_graph_def_round_trip(row: Row, prepared: Any) -> None:
    _, node = prepared
    proto = node.graph.as_graph_def()
    with Graph().as_default() as again:
        import_graph_def(proto, name="")
    read = again.get_operation_by_name("node")
    assert read.type == node.operation.type
    assert [t.name for t in read.inputs] == [t.name for t in node.operation.inputs]
    assert [t.dtype for t in read.outputs] == [t.dtype for t in node.operation.outputs]
    assert again.as_graph_def() == proto


def differentiable(row: Row) -> bool:
    cls = registry.lookup(row.op)
    if row.grad is False or cls.NotDifferentiable or cls.gradient is None:
        return False
    if row.dtypes and not set(row.dtypes) & {"float16", "bfloat16", "float32", "float64"}:
        return False
    allowed = cls.attr_defs[row.vary].allowed if row.vary in cls.attr_defs else None
    return allowed is None or dtypes.float64 in allowed


GRADIENT_ROWS = [r for r in ROWS if not r.covered_by and differentiable(r)]


@pytest.mark.parametrize("row", GRADIENT_ROWS, ids=ids(GRADIENT_ROWS))
def test_gradient(row: Row) -> None:
    cls = registry.lookup(row.op)
    varied = any(arg.type_attr == row.vary for arg in cls.input_args)
    plain = grouped_inputs(row, None)
    floating = [
        value.dtype.kind == "f" or value.dtype.name == "bfloat16"
        for arg, item in zip(cls.input_args, plain)
        if arg.type_attr == row.vary
        for value in (item if isinstance(item, list) else [item])
        if value is not None
    ]
    grouped = grouped_inputs(row, "float64") if varied and (all(floating) or row.dtypes) else plain
    node = Node(row, grouped)
    check_gradient(row, node)


def check_gradient(row: Row, node: Node) -> None:
    """Compares built gradients of a random projection of the outputs with central differences."""
    floats = (dtypes.float64,)
    outputs = [t for t in node.operation.outputs if t.dtype in floats]
    flat = list(node.operation.inputs)
    chosen = range(len(flat)) if row.grad is True else [int(i) for i in row.grad]  # type: ignore[union-attr]
    inputs = [flat[i] for i in chosen if flat[i] in node.feeds and flat[i].dtype in floats]
    if not outputs or not inputs:
        return
    random = np.random.default_rng(7)
    base = interpreter.evaluate(outputs, node.feeds)
    weights = [random.uniform(0.5, 1.5, v.shape) for v in base]
    with node.graph.as_default():
        seeds = [hooks.constant(w, dtype=dtypes.float64) for w in weights]
        built = gradients(outputs, inputs, grad_ys=seeds)
    for tensor, gradient in zip(inputs, built):
        numeric = central_differences(node, outputs, weights, tensor)
        if gradient is None:
            np.testing.assert_allclose(
                numeric, 0.0, atol=1e-6, err_msg=f"no gradient of {tensor.name}"
            )
            continue
        if not isinstance(gradient, Tensor):
            from flowmesh.graph.convert import convert_to_tensor

            with node.graph.as_default():
                gradient = convert_to_tensor(gradient)
        got = interpreter.evaluate([gradient], node.feeds)[0]
        assert got.shape == numeric.shape
        np.testing.assert_allclose(got, numeric, rtol=row.grad_tolerance, atol=row.grad_tolerance)


def central_differences(
    node: Node, outputs: Sequence[Tensor], weights: Sequence[np.ndarray], tensor: Tensor
) -> np.ndarray:
    value = np.array(node.feeds[tensor], np.float64)
    slope = np.zeros_like(value)
    step = 1e-6
    for index in np.ndindex(value.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = value.copy()
            moved[index] += sign * step
            ends.append(interpreter.evaluate(outputs, {**node.feeds, tensor: moved}))
        slope[index] = sum(
            float(np.sum(w * (up - down))) for w, up, down in zip(weights, *ends)
        ) / (2 * step)
    return slope
