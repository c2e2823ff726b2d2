"""Learning rates, moving averages and device setters are TensorFlow's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.oracle import training_cases as cases
from tests.training.names import recorded, tf

RATES = recorded("rates")
AVERAGES = recorded("averages")


@pytest.mark.parametrize("name", RATES)
def test_rates(name: str) -> None:
    np.testing.assert_allclose(cases.rates(tf, name), RATES[name], rtol=1e-5)


@pytest.mark.parametrize(
    "function", ["exponential_decay", "polynomial_decay", "inverse_time_decay", "cosine_decay"]
)
def test_rates_need_a_step(function: str) -> None:
    arguments = [0.1, None, 10, 0.5][: 3 if "cosine" in function else 4]
    with tf.Graph().as_default(), pytest.raises(ValueError, match="global_step is required for"):
        getattr(tf.train, function)(*arguments)


def test_piecewise_errors() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [])
        with pytest.raises(ValueError, match="1 less than the length of values"):
            tf.train.piecewise_constant(x, [1.0], [0.1])
        with pytest.raises(ValueError, match="must have the same dtype as x"):
            tf.train.piecewise_constant(tf.constant(1), [1.0], [0.1, 0.2])
        with pytest.raises(ValueError, match="elements all with the same dtype"):
            tf.train.piecewise_constant(x, [1.0], [0.1, 2])


@pytest.mark.parametrize("case", AVERAGES)
def test_moving_averages(case: str) -> None:
    zero_debias, resource = (word == "True" for word in case.split())
    name, restored, values = cases.averages(tf, zero_debias, resource)
    assert [name, restored] == AVERAGES[case][:2]
    np.testing.assert_allclose(values, AVERAGES[case][2], rtol=1e-6)


def test_averages_of_tensors_start_unbiased() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [])
        y = tf.raw_ops.Mul(x, 2.0, name="y")
        ema = tf.train.ExponentialMovingAverage(0.5, zero_debias=True)
        update = ema.apply([y])
        assert ema.average(y).op.name == "y/ExponentialMovingAverage"
        assert ema.average(x) is None
        with pytest.raises(TypeError, match="must be half, float, or double"):
            ema.apply([tf.constant(1)])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(update, {x: 1.0})
            assert session.run(ema.average(y)) == 2.0
            session.run(update, {x: 2.0})
            assert session.run(ema.average(y)) == pytest.approx((0.5 * 2 + 4) / 1.5)


def test_device_setters() -> None:
    assert cases.placements(tf) == recorded("placements")


def test_device_setter_arguments() -> None:
    assert tf.train.replica_device_setter() is None
    assert tf.train.replica_device_setter(cluster={"worker": ["a:1"]}) is None
    with pytest.raises(TypeError, match="ps_strategy must be callable"):
        tf.train.replica_device_setter(1, ps_strategy=3)
    with pytest.raises(TypeError, match="`cluster` must be"):
        tf.train.replica_device_setter(cluster=3)
    with pytest.warns(DeprecationWarning, match="merge_devices"):
        setter = tf.train.replica_device_setter(1, merge_devices=False)
    with tf.Graph().as_default(), tf.device(setter), tf.device("/cpu:1"):
        assert tf.Variable(1.0).device == "/device:CPU:1"
    node = tf.GraphDef().node.add(op="VariableV2")
    assert tf.train.replica_device_setter(1)(node) == "/job:ps/task:0"


def test_byte_sizes() -> None:
    size = tf.train.byte_size_load_fn
    with tf.Graph().as_default():
        assert size(tf.Variable([[1.0, 2.0, 3.0]]).op) == 12
        assert size(tf.Variable([1, 2], use_resource=True).op) == 8
        unknown = tf.Variable(tf.placeholder(tf.float32), validate_shape=False, name="u")
        with pytest.raises(ValueError, match="'u' has shape <unknown>"):
            size(unknown.op)


def test_global_step() -> None:
    with tf.Graph().as_default() as graph:
        assert tf.train.get_global_step() is None
        step = tf.train.get_or_create_global_step()
        assert step.op.name == "global_step"
        assert step.dtype.base_dtype.name == "int64"
        assert not step.trainable
        assert tf.train.get_global_step(graph) is step
        assert tf.train.get_or_create_global_step() is step
        assert graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES) == [step]
        with pytest.raises(ValueError, match='"global_step" already exists'):
            tf.train.create_global_step()
        with tf.Session() as session:
            session.run(step.initializer)
            assert tf.train.global_step(session, step) == 0
    with tf.Graph().as_default():
        named = tf.Variable(3, name="global_step", trainable=False)
        assert tf.train.get_global_step().name == named.name
        with pytest.raises(TypeError, match="does not have integer type"):
            tf.train.assert_global_step(tf.constant(1.0))
        with pytest.raises(TypeError, match="is not scalar"):
            tf.train.assert_global_step(tf.constant([1]))
        with pytest.raises(TypeError, match="must be a Variable or Tensor"):
            tf.train.assert_global_step(3)


def test_noisy_decay_scatters_around_the_plain_one() -> None:
    import flowmesh

    with flowmesh.Graph().as_default(), flowmesh.Session() as sess:
        flowmesh.set_random_seed(4)
        step = flowmesh.constant(4)
        plain = flowmesh.train.linear_cosine_decay(0.1, step, 10)
        quiet = flowmesh.train.noisy_linear_cosine_decay(0.1, step, 10, initial_variance=0.0)
        noisy = flowmesh.train.noisy_linear_cosine_decay(0.1, step, 10)
        assert quiet.op.name == "NoisyLinearCosineDecay"
        assert abs(sess.run(plain) - sess.run(quiet)) < 1e-7
        draws = [float(sess.run(noisy)) for _ in range(400)]
        cosine = 0.5 * (1 + math.cos(math.pi * 0.4))
        spread = 0.1 * cosine * math.sqrt(1 / 5**0.55)
        mean = sum(draws) / len(draws)
        deviation = math.sqrt(sum((d - mean) ** 2 for d in draws) / len(draws))
        assert abs(mean - sess.run(plain)) < spread / 5
        assert abs(deviation - spread) < spread / 5
    with pytest.raises(ValueError, match="global_step is required for noisy_linear_cosine_decay"):
        flowmesh.train.noisy_linear_cosine_decay(0.1, None, 10)
