"""Programs about what the tutorials use beside the core: NASCell, checks for NaN, later names."""

import numpy as np


def _values(tf, fetches, feed=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def nas_cell_only_values(tf, err):
    tf.set_random_seed(3)
    with tf.variable_scope("net", initializer=tf.random_uniform_initializer(-0.5, 0.5, seed=4)):
        cell = tf.contrib.rnn.NASCell(3, num_proj=2, use_bias=True)
        x = tf.constant(np.linspace(-1, 1, 8).reshape(2, 4).astype(np.float32))
        first, state = cell(x, cell.zero_state(2, tf.float32))
        second, state = cell(x, state)
    names = [[v.name, v.shape] for v in tf.global_variables()]
    found = _values(tf, [second, state.c])
    return [cell.state_size, cell.output_size, names, first.shape] + [np.round(v, 5) for v in found]


def finite(tf, err):
    x = tf.placeholder(tf.float32, [2], name="x")
    y = tf.verify_tensor_all_finite(x, "bad")
    return [y, tf.debugging.assert_all_finite(x, "worse", name="check")]


def finite_errors(tf, err):
    y = tf.verify_tensor_all_finite(tf.constant([1.0, np.inf]), "bad")
    return [err(lambda: _values(tf, y))]


def later_names_only_values(tf, err):
    x = tf.constant(np.arange(16.0).reshape(1, 4, 4, 1).astype(np.float32))
    pooled = tf.nn.max_pool2d(x, 2, 2, "SAME")
    found = [pooled, tf.nn.avg_pool2d(x, 2, 2, "VALID"), tf.nn.swish(x)]
    text = tf.strings.join(["a", tf.strings.strip(tf.constant(" b "))], "-")
    found += [text, tf.strings.to_number("3"), tf.dtypes.cast([1.7], tf.dtypes.int32)]
    rate = tf.train.piecewise_constant_decay(tf.constant(7), [5, 9], [1.0, 0.5, 0.1])
    return [pooled.name, pooled.op.type] + _values(tf, found + [rate])
