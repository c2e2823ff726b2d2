"""NumPy or XLA: which one runs is decided by counts and sizes, and the outcome is the same."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.runtime import cluster_runner, cost
from flowmesh.runtime.cluster_runner import choose
from flowmesh.runtime.xla import statistics
from tests.passes.builders import const, placeholder, variable
from tests.runtime import host_kit  # noqa: F401  (ops for tests)
from tests.runtime.harness import Machine


class Counting:
    """What the counters of `statistics` grew by."""

    def __init__(self):
        self._before = statistics()

    def __call__(self, name):
        return statistics()[name] - self._before[name]


# -- the rule ----------------------------------------------------------------------------------------------


def test_small_work_is_never_compiled():
    assert choose("auto", 10**9, cost.MINIMUM_FOR_XLA - 1, 1) == "numpy"


def test_work_is_compiled_once_it_would_have_paid():
    work = 1_000_000
    enough = cost.compile_cost(10) // work
    assert choose("auto", 0, work, 10) == "numpy"
    assert choose("auto", enough - 2, work, 10) == "numpy"
    assert choose("auto", enough, work, 10) == "xla"


def test_huge_work_is_compiled_at_once():
    assert choose("auto", 0, cost.compile_cost(3), 3) == "xla"


def test_modes_are_forced():
    assert choose("xla", 0, 0, 1) == "xla"
    assert choose("numpy", 10**6, 10**9, 1, xla_only=True) == "numpy"


def test_kernels_of_xla_only_are_compiled():
    assert choose("auto", 0, 0, 1, xla_only=True) == "xla"
    assert choose("auto", 0, 0, 1, xla_only=True, full=True) == "numpy"


def test_an_accelerator_compiles_the_second_run():
    work = cost.MINIMUM_FOR_ACCELERATOR
    assert choose("auto", 0, work, 5, accelerator=True) == "numpy"
    assert choose("auto", 1, work, 5, accelerator=True) == "xla"
    assert choose("auto", 1, work - 1, 5, accelerator=True) == "numpy"


def test_work_counts_multiplications():
    with Graph().as_default():
        a = placeholder("a", [100, 200])
        b = placeholder("b", [200, 300])
        product = raw.MatMul(a, b).op
        flipped = raw.MatMul(b, a, transpose_a=True, transpose_b=True).op
    expected = 100 * 200 * 300 // cost.MULTIPLY_ADDS_PER_UNIT
    assert cost.static_work(product) > expected
    assert cost.static_work(flipped) > expected
    values = [np.zeros((100, 200)), np.zeros((200, 300))], [np.zeros((100, 300))]
    assert cost.measured_work(product, *values) == cost.static_work(product)


# -- what happens ------------------------------------------------------------------------------------------


def test_the_switch_comes_by_counting(monkeypatch):
    monkeypatch.setattr(cost, "MINIMUM_FOR_XLA", 0)
    monkeypatch.setattr(cost, "COMPILE_BASE", 10 * cost.PER_OP)
    monkeypatch.setattr(cost, "COMPILE_PER_OP", 0)
    machine = Machine("auto")
    with Graph().as_default() as graph:
        x = placeholder("x", [None])
        y = raw.Neg(raw.Neg(x))
    (executable,) = machine.prepare(graph, [y], [x])
    grew = Counting()
    for _ in range(10):
        executable.run(machine.step(), {"x:0": np.ones(2, np.float32)}).result(60)
    assert (grew("compiles"), grew("numpy_runs") + grew("xla_runs")) == (1, 10)
    assert 1 <= grew("numpy_runs") < 10


def test_one_program_for_each_signature():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x = placeholder("x")
        y = raw.Mul(x, x)
    (executable,) = machine.prepare(graph, [y], [x])
    grew = Counting()
    for shape in [(2,), (3,), (2,), (2, 2), (3,)]:
        result = executable.run(machine.step(), {"x:0": np.full(shape, 3, np.float32)}).result(60)
        assert np.asarray(result["Mul:0"]).tolist() == np.full(shape, 9).tolist()
    assert (grew("compiles"), grew("xla_runs")) == (3, 5)


def test_too_many_signatures_go_back_to_numpy(monkeypatch, caplog):
    monkeypatch.setattr(cluster_runner, "MAX_SIGNATURES", 3)
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x = placeholder("x")
        y = raw.Neg(x)
    (executable,) = machine.prepare(graph, [y], [x])
    grew = Counting()
    with caplog.at_level(logging.WARNING, "flowmesh"):
        for size in range(1, 8):
            result = executable.run(machine.step(), {"x:0": np.ones(size, np.float32)}).result(60)
            assert result["Neg:0"].shape == (size,)
    assert grew("compiles") == 3
    assert caplog.text.count("was compiled for 3 different shapes") == 1
    assert "Remedy: " in caplog.text


def test_static_values_are_part_of_the_signature():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x = placeholder("x", [6])
        rows = placeholder("rows", [], dtypes.int32)
        y = raw.Reshape(raw.Neg(x), raw.Pack([rows, np.int32(-1)]), name="y")
    (executable,) = machine.prepare(graph, [y], [x, rows])
    (cluster,) = executable.clusters.values()
    assert [cluster.program.inputs[i].name for i in cluster.program.static_inputs] == [
        "rows/_feed_0:0"
    ]
    grew = Counting()
    for n in (2, 3, 2):
        args = {"x:0": np.arange(6, dtype=np.float32), "rows:0": np.int32(n)}
        result = executable.run(machine.step(), args).result(60)
        assert result["y:0"].shape == (n, 6 // n)
    assert (grew("compiles"), grew("fallbacks")) == (2, 0)


def test_shapes_of_traced_arrays_are_constants():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x, y = placeholder("x"), placeholder("y")
        s0, s1 = raw.Shape(x), raw.Shape(y)
        axes, _ = raw.BroadcastGradientArgs(s0, s1)
        z = raw.Reshape(raw.Sum(raw.Add(x, y), axes), s0, name="z")
        count = raw.Size(x, name="count")
    (executable,) = machine.prepare(graph, [z, count], [x, y])
    grew = Counting()
    args = {"x:0": np.ones((1, 3), np.float32), "y:0": np.ones((4, 3), np.float32)}
    result = executable.run(machine.step(), args).result(60)
    assert np.asarray(result["z:0"]).tolist() == [[8, 8, 8]]
    assert result["count:0"] == 3
    assert (grew("compiles"), grew("fallbacks"), grew("xla_runs")) == (1, 0, 1)


def test_large_constants_are_made_by_the_program():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x = placeholder("x", [])
        y = raw.Add(raw.Fill(np.array([200, 200], np.int32), np.float32(2)), x, name="y")
    assert machine.run(graph, [y], {x: np.float32(1)})[0].sum() == 120_000


def test_large_constants_are_handed_over():
    machine = Machine("xla")
    table = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    with Graph().as_default() as graph:
        x = placeholder("x", [2], dtypes.int32)
        y = raw.GatherV2(const(table), x, np.int32(0), name="y")
    grew = Counting()
    (rows,) = machine.run(graph, [y], {x: np.array([3, 7], np.int32)})
    np.testing.assert_array_equal(rows, table[[3, 7]])
    assert (grew("compiles"), grew("fallbacks")) == (1, 0)


def test_what_cannot_be_traced_is_run_by_numpy():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        v = variable("v", [2])
        init = raw.Assign(v, const([1.0, 2.0]))
        x = placeholder("x", [2])
        y = raw.AssignAdd(v, raw.TestOpaque(x), name="y")
    machine.run(graph, [init.op])
    (executable,) = machine.prepare(graph, [y], [x])
    grew = Counting()
    for _ in range(2):
        result = executable.run(machine.step(), {"x:0": np.ones(2, np.float32)}).result(60)
    assert result["y:0"].tolist() == [-1, 0]
    assert (grew("fallbacks"), grew("numpy_runs")) == (1, 2)


@pytest.mark.parametrize("mode", ["numpy", "xla", "auto"])
def test_kernels_of_xla_only_run_either_way(mode):
    machine = Machine(mode)
    with Graph().as_default() as graph:
        x = placeholder("x", [2])
        y = raw.Neg(raw.TestXlaOnly(raw.Neg(x)), name="y")
    values = machine.run(graph, [y], {x: np.array([1, 2], np.float32)})
    assert np.asarray(values[0]).tolist() == [2, 4]
    assert values[0].dtype == np.float32


def test_64_bits_stay():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        x = placeholder("x", [], dtypes.int64)
        y = raw.Add(x, np.int64(1), name="y")
        z = raw.Cast(x, DstT=dtypes.float64, name="z")
    values = machine.run(graph, [y, z], {x: np.int64(1 << 40)})
    assert [str(v.dtype) for v in values] == ["int64", "float64"]
    assert int(values[0]) == (1 << 40) + 1


def test_programs_run_on_the_device_asked_for():
    machine = Machine("xla", gpus=2)
    with Graph().as_default() as graph:
        x = placeholder("x", [2])
        with graph.device("/gpu:0"):
            a = raw.Neg(x, name="a")
        with graph.device("/gpu:1"):
            b = raw.Neg(a, name="b")
    first, second = machine.run(graph, [a, b], {x: np.ones(2, np.float32)})
    assert first.device == machine.devices[1].jax_device()
    assert second.device == machine.devices[2].jax_device()
    assert np.asarray(second).tolist() == [1, 1]


def test_variables_hold_what_the_program_made():
    machine = Machine("xla")
    with Graph().as_default() as graph:
        v = variable("v", [2])
        init = raw.Assign(v, const([1.0, 2.0]))
        double = raw.AssignAdd(v, raw.Identity(v))
    machine.run(graph, [init.op])
    (executable,) = machine.prepare(graph, [double])
    grew = Counting()
    values = [executable.run(machine.step()).result(60)["AssignAdd:0"] for _ in range(3)]
    assert [np.asarray(v).tolist() for v in values] == [[2, 4], [4, 8], [8, 16]]
    assert grew("compiles") == 1


def test_compilation_is_logged_with_its_cause(caplog):
    machine = Machine("xla")
    with Graph().as_default() as graph:
        y = raw.Neg(placeholder("x"))
    with caplog.at_level(logging.DEBUG, "flowmesh.runtime"):
        machine.run(graph, [y], {graph.get_tensor_by_name("x:0"): np.ones(2, np.float32)})
    assert "Compiled cluster_0 on /job:localhost" in caplog.text
    assert "1 ops, run 1" in caplog.text
