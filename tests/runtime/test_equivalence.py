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
UNARY = ["Neg", "Abs", "Square", "Tanh", "Sign", "Relu"]
BINARY = ["Add", "Sub", "Mul", "Maximum", "Minimum"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *UNARY, *BINARY, "sum", "transpose", "reshape", "concat", "matmul", "cast", "select",
                "read", "assign", "add", "control", "random", "shape",
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
    """Builds a graph from drawn steps; all tensors have one shape and dtype."""

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
        elif kind in ("assign", "add"):
            # All uses of variables are ordered: otherwise their outcome would be a race.
            ref = self.refs[a % 2]
            with self.graph.control_dependencies([self.last] if self.last is not None else []):
                op = raw.Assign(ref, y) if kind == "assign" else raw.AssignAdd(ref, raw.Tanh(y))
            self.last = op.op
            return
        elif kind == "read":
            with self.graph.control_dependencies([self.last] if self.last is not None else []):
                made = raw.Identity(self.refs[a % 2])
            self.last = made.op
        else:
            made = self.other(kind, x, y, number)
        self.tensors.append(raw.Tanh(made) if b % 3 == 0 else made)

    def other(self, kind: str, x: Any, y: Any, number: int) -> Any:
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


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
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


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_simplified_and_warm_runs_agree(steps):
    expected = through_session(steps, "numpy", simplified=False)
    for a, b in zip(expected, through_session(steps, "numpy", simplified=True), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for a, b in zip(expected, through_session(steps, "xla", simplified=True), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
