"""Optimizers: the nodes they add and the values they reach are TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import training_cases as cases
from tests.training.names import recorded, tf

NODES = recorded("optimizer_nodes")
TRAJECTORIES = recorded("trajectories")


@pytest.mark.parametrize("case", NODES)
def test_nodes_are_tensorflows(case: str) -> None:
    name, _, form = case.rpartition(" ")
    assert cases.optimizer_nodes(tf, name, form == "sparse") == NODES[case]


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_steps_are_tensorflows(case: str) -> None:
    name, _, form = case.partition(" ")
    values = cases.trajectory(tf, name, *cases.FORMS[form])
    np.testing.assert_allclose(values, TRAJECTORIES[case], rtol=2e-5, atol=2e-6)


def test_slots_and_state() -> None:
    with tf.Graph().as_default():
        w = tf.Variable([1.0, 2.0], name="layer/w")
        u = tf.Variable(3.0, name="u")
        adam = tf.train.AdamOptimizer(name="A")
        adam.minimize(tf.reduce_sum(w) * u)
        assert adam.get_slot_names() == ["m", "v"]
        assert adam.get_slot(w, "m").op.name == "layer/w/A"
        assert adam.get_slot(w, "v").op.name == "layer/w/A_1"
        assert adam.get_slot(w, "x") is None
        assert adam.get_slot(w, "m").shape.as_list() == [2]
        assert not adam.get_slot(u, "m").trainable
        assert [v.op.name for v in adam.variables()] == [
            "beta1_power", "beta2_power", "layer/w/A", "layer/w/A_1", "u/A", "u/A_1",
        ]  # fmt: skip
        assert adam.get_name() == "A"


def test_slots_follow_the_device_of_the_variable() -> None:
    with tf.Graph().as_default():
        with tf.device("/job:ps/task:1"):
            w = tf.Variable([1.0, 2.0], name="w")
        with tf.device("/job:worker/task:0"):
            momentum = tf.train.MomentumOptimizer(0.1, 0.9)
            train = momentum.minimize(tf.reduce_sum(w * w))
        assert momentum.get_slot(w, "momentum").device == "/job:ps/task:1"
        update = w.graph.get_operation_by_name("Momentum/update_w/ApplyMomentum")
        assert update.device == "/job:ps/task:1"
        assert train.device == "/job:ps/task:1"


def test_learning_rate_may_be_a_tensor_or_function() -> None:
    with tf.Graph().as_default():
        w = tf.Variable(1.0, name="w")
        rate = tf.placeholder(tf.float32, [])
        by_tensor = tf.train.GradientDescentOptimizer(rate).minimize(w * 2.0)
        by_function = tf.train.MomentumOptimizer(lambda: 0.5, lambda: 0.0).minimize(w * 2.0)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(by_tensor, {rate: 0.25})
            assert session.run(w) == 0.5
            session.run(by_function)
            assert session.run(w) == -0.5


def test_two_minimize_calls_share_slots() -> None:
    with tf.Graph().as_default():
        w = tf.Variable(1.0, name="w")
        momentum = tf.train.MomentumOptimizer(0.1, 0.9)
        momentum.minimize(w * 2.0)
        slot = momentum.get_slot(w, "momentum")
        second = momentum.minimize(w * 3.0)
        assert momentum.get_slot(w, "momentum") is slot
        assert second.name == "Momentum_1"


@pytest.mark.parametrize("gate", [0, 1, 2])
def test_gates(gate: int) -> None:
    with tf.Graph().as_default():
        a, b = tf.Variable(2.0), tf.Variable(3.0)
        descent = tf.train.GradientDescentOptimizer(1.0)
        pairs = descent.compute_gradients(a * b, gate_gradients=gate)
        assert [v for _, v in pairs] == [a, b]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run([g for g, _ in pairs]) == [3.0, 2.0]
            session.run(descent.apply_gradients(pairs))
            assert session.run([a, b]) == [-1.0, 1.0]


def test_constraints_are_applied_after_the_update() -> None:
    with tf.Graph().as_default():
        w = tf.Variable(1.0, constraint=lambda v: tf.raw_ops.Maximum(v, 0.9))
        train = tf.train.GradientDescentOptimizer(1.0).minimize(w * 2.0)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train)
            assert session.run(w) == np.float32(0.9)


def test_a_program_may_derive_an_optimizer() -> None:
    class SignDescent(tf.train.Optimizer):
        def __init__(self) -> None:
            super().__init__(use_locking=False, name="Sign")

        def _apply_dense(self, grad, var):  # type: ignore[no-untyped-def]
            return var.assign_sub(tf.raw_ops.Sign(grad)).op

    with tf.Graph().as_default():
        w = tf.Variable([1.0, -1.0])
        train = SignDescent().minimize(tf.reduce_sum(w * w))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train)
            assert session.run(w).tolist() == [0.0, 0.0]
        rows = tf.reduce_sum(tf.gather(w, [0]))
        with pytest.raises(NotImplementedError, match="rows of ref variables"):
            SignDescent().minimize(rows)


def test_errors() -> None:
    with tf.Graph().as_default():
        descent = tf.train.GradientDescentOptimizer(0.1)
        loss = tf.constant(1.0)
        with pytest.raises(ValueError, match="No variables to optimize"):
            descent.minimize(loss)
        w = tf.Variable(1.0, name="w")
        with pytest.raises(ValueError, match="No gradients provided for any variable, check your"):
            descent.minimize(loss)
        with pytest.raises(ValueError, match=r"No gradients provided for any variable: \["):
            descent.apply_gradients([(None, w)])
        with pytest.raises(ValueError, match="No variables provided"):
            descent.apply_gradients([])
        with pytest.raises(TypeError, match="Gradient must be convertible to a Tensor"):
            descent.apply_gradients([(object(), w)])
        with pytest.raises(ValueError, match="gate_gradients must be one of"):
            descent.compute_gradients(w * 2.0, gate_gradients=3)
        with pytest.raises(ValueError, match=r"Invalid type tf\.int32 for c:0, expected"):
            descent.minimize(tf.constant(1, name="c"))
        with pytest.raises(NotImplementedError, match="Trying to optimize unsupported type"):
            descent.minimize(w * 2.0, var_list=[3])
        with pytest.raises(ValueError, match="initial_accumulator_value must be positive"):
            tf.train.AdagradOptimizer(0.1, initial_accumulator_value=0.0)
        with pytest.raises(ValueError, match="needs to be positive or zero"):
            tf.train.FtrlOptimizer(0.1, l1_regularization_strength=-1.0)
        with pytest.raises(ValueError, match="Must specify the optimizer name"):
            tf.train.GradientDescentOptimizer(0.1, name="")
        constrained = tf.Variable([1.0], constraint=lambda v: v)
        with pytest.raises(RuntimeError, match="constraint function on a sparse variable"):
            descent.minimize(tf.reduce_sum(tf.gather(constrained, [0])), var_list=[constrained])
