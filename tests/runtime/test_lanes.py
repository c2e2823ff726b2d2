"""Random numbers in lanes: the same bits as in their usual order, whatever is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from tests.runtime.harness import Machine

SHAPE = np.array([64, 128], np.int32)
ALL = np.array([0, 1], np.int32)


def draw(seed: int = 3) -> Any:
    return raw.RandomUniform(SHAPE, dtype=dtypes.float32, seed=seed, seed2=5)


def pi() -> Any:
    x, y = (raw.Sub(raw.Mul(draw(s), np.float32(2)), np.float32(1)) for s in (1, 2))
    inside = raw.Less(raw.Add(raw.Square(x), raw.Square(y)), np.float32(1))
    return raw.Sum(raw.Cast(inside, DstT=dtypes.float32), ALL)


CASES = {
    "fetched": draw,
    "elementwise": lambda: raw.Mul(draw(), np.float32(0.5)),
    "of two draws": lambda: raw.Maximum(draw(1), draw(2)),
    "count": pi,
    "largest": lambda: raw.Max(draw(), ALL, keep_dims=True),
    "smallest": lambda: raw.Min(draw(), np.array([-1, 0], np.int32)),
    "some axes": lambda: raw.Max(draw(), np.array([1], np.int32)),
    "with an array": lambda: raw.Add(draw(), np.ones(128, np.float32)),
    "with a matrix of one": lambda: raw.Add(draw(), np.ones((1, 1), np.float32)),
    "other op": lambda: raw.Transpose(raw.Neg(draw()), np.array([1, 0], np.int32)),
    "shape": lambda: raw.Shape(draw()),
    "reshaped": lambda: raw.Reshape(draw(), np.array([-1], np.int32)),
    "selected": lambda: raw.Select(raw.Less(draw(1), np.float32(0.5)), draw(2), draw(3)),
}


@pytest.mark.parametrize("name", CASES)
def test_bits_are_the_same(name):
    def values(mode: str) -> list[np.ndarray]:
        with Graph().as_default() as graph:
            wanted = CASES[name]()
        machine = Machine(mode)
        return [np.asarray(machine.run(graph, [wanted])[0]) for _ in range(2)]

    for ours, expected in zip(values("xla"), values("numpy")):
        assert ours.dtype == expected.dtype and ours.shape == expected.shape
        np.testing.assert_array_equal(ours, expected)


def test_sums_agree():
    with Graph().as_default() as graph:
        wanted = [raw.Sum(draw(), ALL), raw.Mean(draw(), ALL, keep_dims=True)]
    (a, b), (c, d) = (Machine(mode).run(graph, wanted) for mode in ("xla", "numpy"))
    np.testing.assert_allclose(a, c, rtol=1e-6)
    np.testing.assert_allclose(b, d, rtol=1e-6)
    assert b.shape == d.shape == (1, 1)


def test_a_variable_is_assigned_the_numbers_in_order():
    with Graph().as_default() as graph:
        ref = raw.VariableV2(shape=(64, 128), dtype=dtypes.float32)
        wanted = [raw.Assign(ref, draw())]
    a, c = (np.asarray(Machine(mode).run(graph, wanted)[0]) for mode in ("xla", "numpy"))
    np.testing.assert_array_equal(a, c)
