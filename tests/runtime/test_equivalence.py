"""Random graphs give the same values by NumPy, by XLA and split over devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st

from flowmesh.client.session import Session
from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.proto import config_pb2
from tests.passes.builders import const, placeholder, variable
from tests.runtime.harness import Machine, config

SHAPE = (3, 4)
UNARY = ["Neg", "Abs", "Square", "Tanh", "Sign", "Relu", "Sigmoid", "Softplus", "Floor", "Softmax"]
BINARY = ["Add", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"]
TYPES = [
    dtypes.float16, dtypes.bfloat16, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.complex64,
    dtypes.complex128,
]  # fmt: skip
ORDERED = ("assign", "add", "scatter", "read", "gather_ref")
"""Uses of variables are ordered: otherwise their outcome would be a race."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *UNARY, *BINARY, "sum", "transpose", "reshape", "concat", "matmul", "cast", "select",
                "control", "random", "shape", "typed", "bool", "reduce", "slice", "strided", "pad", "split", "pack",
                "tile", "gather", "gather_nd", "segment", "unsorted", "argmax", "one_hot", "cumsum", "batch", "broadcast",
                "top_k", *ORDERED,
            ]
        ),
        st.integers(0, 1000),
        st.integers(0, 1000),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)  # fmt: skip


class Build:
    """Builds a graph from drawn steps; all tensors that steps hand on have one shape and dtype."""

    def __init__(self, steps: Any) -> None:
        self.graph = Graph()
        with self.graph.as_default():
            self.x = placeholder("x", SHAPE)
            self.tensors = [self.x, const(np.linspace(-1, 1, 12).reshape(SHAPE))]
            self.refs = [variable(f"v{i}", SHAPE) for i in range(2)]
            self.init = [
                raw.Assign(v, const(np.full(SHAPE, i + 1.0))) for i, v in enumerate(self.refs)
            ]
            self.last: Any = None
            for number, (kind, a, b, other) in enumerate(steps):
                device = "/cpu:1" if other else "/cpu:0"
                with self.graph.device(device):
                    self.add(kind, a, b, number)

    def add(self, kind: str, a: int, b: int, number: int) -> None:
        x, y = self.tensors[a % len(self.tensors)], self.tensors[b % len(self.tensors)]
        if kind in UNARY:
            made = getattr(raw, kind)(x)
        elif kind in BINARY:
            made = getattr(raw, kind)(x, y)
        elif kind in ORDERED:
            after = [self.last] if self.last is not None else []
            with self.graph.control_dependencies(after):
                made = self.of_variable(kind, self.refs[a % 2], y, b)
            self.last = made.op
            if kind in ("assign", "add", "scatter"):
                return
        else:
            made = self.other(kind, x, y, number)
        self.tensors.append(raw.Tanh(made) if b % 3 == 0 else made)

    def of_variable(self, kind: str, ref: Any, y: Any, b: int) -> Any:
        rows = np.array([b % 3, (b + 1) % 3], np.int32)
        if kind == "assign":
            return raw.Assign(ref, y)
        if kind == "add":
            return raw.AssignAdd(ref, raw.Tanh(y))
        if kind == "scatter":
            two = raw.Slice(raw.Tanh(y), np.array([1, 0], np.int32), np.array([2, 4], np.int32))
            return raw.ScatterAdd(ref, rows, two)
        if kind == "gather_ref":
            read = raw.Identity(ref)
            return raw.GatherV2(read, np.array([2, b % 3, 0], np.int32), np.int32(0))
        return raw.Identity(ref)

    def other(self, kind: str, x: Any, y: Any, number: int) -> Any:
        made = self.of_one_type(kind, x, y, number)
        return self.of_indices(kind, x, y, number) if made is None else made

    def of_indices(self, kind: str, x: Any, y: Any, number: int) -> Any:
        """Ops with indices, and those of other types than float32."""
        some = np.array([number % 3, 2, 0], np.int32)
        if kind == "gather":
            return raw.GatherV2(x, some, np.int32(0))
        if kind == "gather_nd":
            places = np.array([[[i, (i * j + number) % 4] for j in range(4)] for i in range(3)])
            return raw.GatherNd(x, places.astype(np.int64))
        if kind == "segment":
            sums = raw.SegmentSum(x, np.array([0, 0, 2], np.int32))
            return raw.Add(sums, y)
        if kind == "unsorted":
            return raw.UnsortedSegmentSum(x, some, np.int32(3))
        if kind == "argmax":
            best = raw.ArgMax(x, np.int32(1), output_type=dtypes.int64)
            return raw.Add(raw.ExpandDims(raw.Cast(best, DstT=dtypes.float32), np.int32(1)), y)
        if kind == "one_hot":
            best = raw.ArgMax(y, np.int32(1), output_type=dtypes.int32)
            hot = raw.OneHot(best, np.int32(4), np.float32(2), np.float32(-1))
            return raw.Mul(hot, x)
        if kind == "top_k":
            return raw.TopKV2(x, np.int32(4), sorted=True)[0]
        if kind == "bool":
            either = raw.LogicalOr(raw.Greater(x, y), raw.LogicalNot(raw.Less(x, y)))
            every = raw.All(either, np.array([1], np.int32), keep_dims=True)
            return raw.Add(
                raw.Cast(every, DstT=dtypes.float32), raw.Cast(either, DstT=dtypes.float32)
            )
        return self.typed(x, y, TYPES[number % len(TYPES)])

    def typed(self, x: Any, y: Any, dtype: Any) -> Any:
        """Sums and products of another type."""
        bounded = [raw.Mul(raw.Tanh(v), const(50.0)) for v in (x, y)]
        if dtype.is_integer:
            a, b = (raw.Cast(v, DstT=dtype) for v in bounded)
            three = np.array(3, dtype.as_numpy_dtype)
            return raw.Cast(raw.Add(raw.FloorMod(a, three), raw.Mul(a, b)), DstT=dtypes.float32)
        if dtype.is_complex:
            part = dtype.real_dtype
            whole = raw.Complex(*(raw.Cast(v, DstT=part) for v in bounded), Tout=dtype)
            square = raw.Mul(whole, raw.Conj(whole))
            return raw.Cast(raw.Real(square, Tout=part), DstT=dtypes.float32)
        a, b = (raw.Cast(v, DstT=dtype) for v in bounded)
        return raw.Cast(raw.Maximum(a, b), DstT=dtypes.float32)

    def of_one_type(self, kind: str, x: Any, y: Any, number: int) -> Any:
        """Ops on float32 whose results have the shape of their arguments; None for other kinds."""
        if kind == "reduce":
            axes = np.array([number % 2], np.int32)
            name = ("Max", "Min", "Mean", "Prod")[number % 4]
            return raw.Add(getattr(raw, name)(raw.Tanh(x), axes, keep_dims=True), y)
        if kind == "slice":
            begin = np.array([1, number % 3], np.int32)
            part = raw.Slice(x, begin, np.array([1, 1], np.int32))
            return raw.Mul(part, y)
        if kind == "strided":
            ends = [np.array(v, np.int32) for v in ([0, 0], [0, 0], [-1, 1])]
            return raw.StridedSlice(x, *ends, begin_mask=3, end_mask=3)
        if kind == "pad":
            wide = raw.PadV2(x, np.array([[1, 0], [0, 2]], np.int32), np.float32(number))
            return raw.Slice(wide, np.array([0, 1], np.int32), np.array(SHAPE, np.int32))
        if kind == "split":
            left, right = raw.Split(np.int32(1), x, num_split=2)
            return raw.ConcatV2([right, left], np.int32(1))
        if kind == "pack":
            rows = raw.Unpack(x, num=3, axis=0)
            return raw.Pack([rows[2], *raw.Unpack(y, num=3, axis=0)[:2]], axis=0)
        if kind == "tile":
            row = raw.Slice(x, np.array([number % 3, 0], np.int32), np.array([1, 4], np.int32))
            return raw.Tile(row, np.array([3, 1], np.int32))
        if kind == "cumsum":
            return raw.Cumsum(raw.Tanh(x), np.int32(number % 2), reverse=bool(number % 3))
        if kind == "batch":
            three = raw.BatchMatMulV2(
                raw.ExpandDims(raw.Tanh(x), np.int32(2)), raw.ExpandDims(y, np.int32(1))
            )
            return raw.Sum(three, np.array([1], np.int32))
        if kind == "broadcast":
            column = raw.Slice(x, np.array([0, number % 4], np.int32), np.array([3, 1], np.int32))
            return raw.BroadcastTo(column, np.array(SHAPE, np.int32))
        return self.of_few(kind, x, y, number)

    def of_few(self, kind: str, x: Any, y: Any, number: int) -> Any:
        if kind == "sum":
            return raw.Add(raw.Sum(x, np.array([0], np.int32), keep_dims=True), y)
        if kind == "transpose":
            return raw.Transpose(
                raw.Reshape(x, np.array([4, 3], np.int32)), np.array([1, 0], np.int32)
            )
        if kind == "reshape":
            return raw.Reshape(raw.Reshape(x, np.array([-1], np.int32)), raw.Shape(y))
        if kind == "concat":
            joined = raw.ConcatV2([x, y], np.int32(0))
            return raw.Slice(joined, np.array([2, 0], np.int32), np.array(SHAPE, np.int32))
        if kind == "matmul":
            return raw.Tanh(raw.MatMul(raw.MatMul(x, y, transpose_b=True), y))
        if kind == "cast":
            wide = raw.Cast(x, DstT=dtypes.float64)
            return raw.Cast(raw.Mul(wide, wide), DstT=dtypes.float32)
        if kind == "select":
            return raw.Select(raw.Greater(x, y), x, y)
        if kind == "control":
            with self.graph.control_dependencies([y]):
                return raw.Neg(x)
        if kind == "random":
            drawn = raw.RandomUniform(
                np.array(SHAPE, np.int32), dtype=dtypes.float32, seed=number, seed2=7
            )
            return raw.Add(drawn, x)
        if kind != "shape":
            return None
        size = raw.Cast(raw.Size(y), DstT=dtypes.float32)
        return raw.Add(x, raw.Mul(size, const(0.01)))


def outcome(steps: Any, mode: str, by_device: bool) -> list[np.ndarray]:
    built = Build(steps)
    machine = Machine(mode, cpus=2, by_device=by_device)
    machine.run(built.graph, built.init)
    fetches = [*built.tensors[1:], *([built.last] if built.last is not None else []), *built.refs]
    feed = {built.x: np.linspace(-2, 2, 12, dtype=np.float32).reshape(SHAPE)}
    values: list[Any] = []
    for _ in range(2):
        values += machine.run(built.graph, fetches, feed)
    return [np.asarray(v) for v in values if v is not None]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_numpy_and_xla_agree(steps):
    expected = outcome(steps, "numpy", by_device=False)
    for found in (outcome(steps, "xla", by_device=False), outcome(steps, "numpy", by_device=True)):
        assert len(found) == len(expected)
        for a, b in zip(expected, found):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def through_session(steps: Any, mode: str, simplified: bool) -> list[np.ndarray]:
    """The values of four runs, of which the later ones go the short way."""
    built = Build(steps)
    options = config(mode, cpus=2)
    if not simplified:
        options.graph_options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
    fetches = [*built.tensors[1:], *([built.last] if built.last is not None else []), *built.refs]
    feed = {built.x: np.linspace(-2, 2, 12, dtype=np.float32).reshape(SHAPE)}
    values: list[Any] = []
    with Session(graph=built.graph, config=options) as session:
        session.run(built.init)
        for _ in range(4):
            values += session.run(fetches, feed)
    return [np.asarray(v) for v in values if v is not None]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_simplified_and_warm_runs_agree(steps):
    expected = through_session(steps, "numpy", simplified=False)
    for a, b in zip(expected, through_session(steps, "numpy", simplified=True), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for a, b in zip(expected, through_session(steps, "xla", simplified=True), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
