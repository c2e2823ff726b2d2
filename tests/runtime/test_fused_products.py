"""Sums with vectors and rectifiers that become one step with the product before them: which do, and that the bits stay the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.graph.raw import raw
from flowmesh.runtime.fused_products import fused

X, W, B = 0, 1, 2
"""Registers of the inputs."""


class Instruction(NamedTuple):
    """What the steps of a cluster know of an op."""

    op: Any


def steps_of(*chain: tuple[Any, tuple[int, ...], int]) -> list[Any]:
    """Steps from ops, the registers of their inputs, and the register of their output."""
    return [
        (op.definition.compute, sources, target, [(target, op.outputs[0].dtype, None)],
         Instruction(op), ())
        for op, sources, target in chain
    ]  # fmt: skip


def evaluate(steps: list[Any], *inputs: Any) -> dict[int, Any]:
    registers = dict(enumerate(inputs))
    for kernel, sources, target, *_ in steps:
        registers[target] = kernel(np, *[registers[s] for s in sources])
    return registers


class Ops:
    """A product of matrices, and what may follow it."""

    def __init__(self, vector: Any = (5,), dtype: Any = tf.float32, flip: bool = False) -> None:
        x = tf.placeholder(dtype, [3, 4] if flip else [4, 3])
        w = tf.placeholder(dtype, [3, 5])
        self.b = tf.placeholder(dtype, vector)
        self.product = raw.MatMul(x, w, transpose_a=flip)
        self.sum = raw.AddV2(self.product, self.b)
        self.relu = raw.Relu(self.sum)


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as made:
        yield made


def chain(ops: Ops, total: Any = None, last: Any = None) -> list[Any]:
    """Product, sum and rectifier in registers 3, 4 and 5."""
    return steps_of(
        (ops.product.op, (X, W), 3),
        ((ops.sum if total is None else total).op, (3, B), 4),
        ((ops.relu if last is None else last).op, (4,), 5),
    )


def inputs(dtype: Any, flip: bool = False) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(5)
    x = random.standard_normal((3, 4) if flip else (4, 3)).astype(dtype)
    w = random.standard_normal((3, 5)).astype(dtype)
    b = random.standard_normal(5).astype(dtype)
    return x, w, b


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_layer_is_one_step_with_the_same_bits(dtype: Any, flip: bool) -> None:
    steps = chain(Ops(dtype=dtype, flip=flip))
    (one,) = made = fused(steps, [5], None)
    assert one[1:3] == ((X, W, B), 5) and one[4] is steps[0][4]
    given = inputs(dtype.as_numpy_dtype, flip)
    got, expected = evaluate(made, *given)[5], evaluate(steps, *given)[5]
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45])
def test_numbers_of_all_kinds_keep_their_bits(value: float) -> None:
    steps = chain(Ops())
    x, w, b = inputs(np.float32)
    x[1] = 0
    b[:] = value
    given = x, w, b
    got = evaluate(fused(steps, [5], None), *given)[5]
    expected = evaluate(steps, *given)[5]
    np.testing.assert_array_equal(got.view(np.int32), expected.view(np.int32))


def test_inputs_stay_as_they_are() -> None:
    given = inputs(np.float32)
    before = [value.copy() for value in given]
    evaluate(fused(chain(Ops()), [5], None), *given)
    for value, old in zip(given, before):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("kind", ["Add", "AddV2", "BiasAdd", "BiasAddV1"])
def test_sums_of_all_names(kind: str) -> None:
    ops = Ops()
    total = getattr(raw, kind)(ops.product, ops.b)
    steps = chain(ops, total, raw.Relu(total))
    assert len(fused(steps, [5], None)) == 1


def test_another_function_after_the_sum_stays_a_step() -> None:
    ops = Ops()
    steps = chain(ops, last=raw.Relu6(ops.sum))
    made = fused(steps, [5], None)
    assert [step[4].op.type for step in made] == ["MatMul", "Relu6"]
    given = inputs(np.float32)
    np.testing.assert_array_equal(evaluate(made, *given)[5], evaluate(steps, *given)[5])


@pytest.mark.parametrize("register", [3, 4])
def test_what_somebody_else_uses_is_computed(register: int) -> None:
    steps = chain(Ops())
    made = fused(steps, [5, register], None)
    assert len(made) == (3 if register == 3 else 2)
    given = inputs(np.float32)
    got, expected = evaluate(made, *given), evaluate(steps, *given)
    for number in (register, 5):
        np.testing.assert_array_equal(got[number], expected[number])


def test_what_another_step_uses_is_computed() -> None:
    ops = Ops()
    steps = [*chain(ops), *steps_of((raw.Neg(ops.product).op, (3,), 6))]
    assert len(fused(steps, [5, 6], None)) == 4


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (), (1,), None, [None]])
def test_what_is_added_has_to_be_a_vector_of_that_size(shape: Any) -> None:
    steps = chain(Ops(vector=shape))
    assert fused(steps, [5], None) == steps


def test_the_product_has_to_come_first() -> None:
    ops = Ops()
    total = raw.AddV2(ops.b, ops.product)
    steps = steps_of(
        (ops.product.op, (X, W), 3), (total.op, (B, 3), 4), (raw.Relu(total).op, (4,), 5)
    )
    assert fused(steps, [5], None) == steps


def test_a_vector_that_comes_later_is_waited_for() -> None:
    ops = Ops()
    steps = steps_of(
        (ops.product.op, (X, W), 3),
        (raw.Neg(ops.b).op, (B,), 6),
        (ops.sum.op, (3, 6), 4),
        (ops.relu.op, (4,), 5),
    )
    assert fused(steps, [5], None) == steps
    steps = [steps[1], steps[0], *steps[2:]]
    assert len(fused(steps, [5], None)) == 2


def test_room_is_used_for_what_is_fused() -> None:
    (one,) = fused(chain(Ops()), [5], None)
    given = inputs(np.float32)
    wanted: list[Any] = []
    one[0](np, *given, lambda shape, dtype: wanted.append(shape))
    assert not wanted, "it is a small product"
