"""What `simplify` does, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes.partition import partition
from flowmesh.passes.place import place
from flowmesh.passes.prune import prune
from flowmesh.passes.simplify import simplify
from tests.passes.builders import const, devices, placeholder, variable

CPU = devices("CPU:0")


def part_of(graph: Graph, fetches: list[Any], feeds: tuple[Any, ...] = ()) -> Graph:
    tensors = [f for f in fetches if hasattr(f, "op")]
    targets = [f for f in fetches if not hasattr(f, "op")]
    ops = prune(graph, tensors, targets, feeds)
    (part,) = partition(ops, place(graph.get_operations(), CPU), feeds, tensors).values()
    return part


def types(part: Graph) -> list[str]:
    return sorted(op.type for op in part.get_operations() if op.type not in ("_Send", "_Recv"))


def test_constants_are_folded_under_the_name_of_the_op():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        y = x * raw.Exp(const([1.0, 2.0]) + const([2.0, 3.0]), name="e")
    part = part_of(graph, [y], (x,))
    assert simplify(part) == 3
    assert types(part) == ["Const", "Mul"]
    folded = part.get_operation_by_name("e")
    np.testing.assert_array_equal(
        folded.definition.attrs["value"], np.exp(np.array([3, 5], np.float32))
    )
    assert folded.inputs == () and folded.outputs[0].shape.as_list() == [2]


def test_a_constant_that_cannot_be_computed_stays_to_fail():
    with Graph().as_default() as graph:
        bad = raw.Gather(const([1.0]), np.array([5], np.int32), validate_indices=True)
        good = raw.Neg(bad)
    part = part_of(graph, [good])
    simplify(part)
    assert "Gather" in types(part)


def test_large_constants_are_not_made():
    with Graph().as_default() as graph:
        y = raw.Fill(np.array([100, 100], np.int32), np.float32(1))
    part = part_of(graph, [y])
    assert simplify(part) == 0


def test_equal_ops_are_shared():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        y = raw.Add(raw.Neg(x), raw.Neg(x))
        z = raw.Add(raw.Sum(x, np.array([0], np.int32)), raw.Sum(x, np.array([0], np.int32)))
    part = part_of(graph, [y, z], (x,))
    simplify(part)
    assert types(part) == ["Add", "Add", "Const", "Neg", "Sum"]


def test_different_attrs_controls_or_sharing_off_keep_ops_apart():
    with Graph().as_default() as graph:
        x = placeholder("x", (2, 2))
        first = raw.MatMul(x, x)
        with graph.control_dependencies([raw.NoOp()]):
            late = raw.MatMul(x, x)
        y = raw.AddN([first, late, raw.MatMul(x, x, transpose_a=True)])
    part = part_of(graph, [y], (x,))
    assert simplify(part) == 0
    with graph.as_default():
        z = raw.Add(first, raw.MatMul(x, x))
    part = part_of(graph, [z], (x,))
    assert simplify(part, sharing=False) == 0
    assert simplify(part) == 1


def test_random_ops_and_variables_are_never_shared():
    with Graph().as_default() as graph:
        shape = np.array([2], np.int32)
        draws = [raw.RandomUniform(shape, dtype=dtypes.float32, seed=1, seed2=2) for _ in range(2)]
        ref = variable("v", (2,))
        reads = [raw.Identity(ref) for _ in range(2)]
        y = raw.AddN([*draws, *reads])
    part = part_of(graph, [y])
    simplify(part)
    found = types(part)
    assert found.count("RandomUniform") == 2 and found.count("Identity") == 2


def test_identities_are_passed_by():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        y = raw.Neg(raw.StopGradient(raw.Identity(x)))
        with graph.control_dependencies([raw.NoOp()]):
            kept = raw.Identity(x)
        z = raw.Exp(kept)
    part = part_of(graph, [y, z], (x,))
    simplify(part)
    assert types(part) == ["Exp", "Identity", "Neg", "NoOp"]


def test_an_identity_that_others_wait_for_stays():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        same = raw.Identity(x)
        with graph.control_dependencies([same.op]):
            y = raw.Neg(x)
        z = raw.Exp(same)
    part = part_of(graph, [y, z], (x,))
    simplify(part)
    assert types(part) == ["Exp", "Identity", "Neg"]


def test_what_comes_out_of_a_switch_keeps_its_identity():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        p = placeholder("p", (), dtypes.bool)
        off, on = raw.Switch(x, p)
        y, _ = raw.Merge([raw.Neg(raw.Identity(off)), raw.Exp(raw.Identity(on))])
    part = part_of(graph, [y], (x, p))
    assert simplify(part) == 0


def test_transposes_that_cancel_and_reshapes_of_reshapes():
    with Graph().as_default() as graph:
        x = placeholder("x", (2, 3, 4))
        there = raw.Transpose(x, np.array([2, 0, 1], np.int32))
        back = raw.Transpose(there, np.array([1, 2, 0], np.int32))
        nothing = raw.Transpose(back, np.array([0, 1, 2], np.int32))
        flat = raw.Reshape(
            raw.Reshape(nothing, np.array([6, 4], np.int32)), np.array([24], np.int32)
        )
        y = raw.Neg(flat)
    part = part_of(graph, [y], (x,))
    simplify(part)
    assert types(part) == ["Const", "Neg", "Reshape"]
    (reshape,) = [op for op in part.get_operations() if op.type == "Reshape"]
    assert reshape.inputs[0].op.type == "_Recv"


def test_what_was_asked_for_stays_though_nobody_uses_it():
    with Graph().as_default() as graph:
        x = placeholder("x", (2,))
        checked = raw.CheckNumerics(x, message="bad")
        y = raw.Neg(raw.Identity(checked))
    part = part_of(graph, [checked.op, y], (x,))
    simplify(part)
    assert types(part) == ["CheckNumerics", "Neg"]
    part = part_of(graph, [checked.op], (x,))
    simplify(part)
    assert types(part) == ["CheckNumerics"]


@pytest.mark.parametrize("folding", [True, False])
def test_folding_can_be_turned_off(folding):
    with Graph().as_default() as graph:
        y = raw.Neg(const([1.0]))
    part = part_of(graph, [y])
    assert simplify(part, folding=folding) == int(folding)
