# ruff: noqa: E731
"""Programs about `tf.while_loop`, TensorArrays, `tf.map_fn` and its siblings, and recurrent networks as loops."""

import numpy as np


def _values(tf, out, repeat=1):
    """The values of tensors, with numbers for the placeholders."""
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        feeds = {}
        for op in tf.get_default_graph().get_operations():
            if op.type == "Placeholder":
                tensor = op.outputs[0]
                shape = [3 if d is None else d for d in tensor.shape.as_list()]
                numbers = (np.arange(int(np.prod(shape))) % 7 + 1) * 0.3
                feeds[tensor] = numbers.reshape(shape).astype(tensor.dtype.as_numpy_dtype)
        for _ in range(repeat):
            found = sess.run(out, feeds)
    return [np.round(np.asarray(v, np.float64), 4) + 0.0 for v in found]


def _x(tf, *shape, **kw):
    return tf.placeholder(kw.get("dtype", tf.float32), list(shape), name=kw.get("name", "x"))


def simple(tf, err):
    x = _x(tf, 3)
    r = tf.while_loop(lambda i, a: i < 10, lambda i, a: (i + 1, a * x), [tf.constant(0), x])
    return _values(tf, list(r) + tf.gradients(r[1], x))


def structure(tf, err):
    x = _x(tf, 2)
    pair = lambda i, p: (i + 1, {"a": p["a"] + p["b"][0], "b": [p["b"][0] * 2.0, p["b"][1]]})
    start = (0, {"a": x, "b": [tf.ones([2]), tf.constant(3)]})
    r = tf.while_loop(lambda i, p: i < 4, pair, start, parallel_iterations=2, name="deep")
    one = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])
    kept = tf.while_loop(lambda i: i < 3, lambda i: [i + 1], [0], return_same_structure=True)
    return [r, one, kept, _values(tf, [r[0], r[1]["a"], r[1]["b"][0], r[1]["b"][1], one, kept[0]])]


def maximum_iterations(tf, err):
    x = _x(tf, None, 2)
    r = tf.while_loop(
        lambda a: tf.reduce_sum(a) < 100.0, lambda a: a * 2.0, [x], maximum_iterations=3, name="lp"
    )
    return _values(tf, [r] + tf.gradients(r, x))


def nested_in_loop(tf, err):
    x = _x(tf, 3)
    w = tf.Variable([0.1, 0.2, 0.3], name="w")

    def body(i, a):
        _, b = tf.while_loop(
            lambda j, b: j < i, lambda j, b: (j + 1, b * w + tf.sin(b)), [tf.constant(0), a]
        )
        return i + 1, b

    r = tf.while_loop(lambda i, a: i < 4, body, [0, x], swap_memory=True, parallel_iterations=3)
    return _values(tf, tf.gradients(r[1], [x, w]))


def cond_in_loop(tf, err):
    x = _x(tf)
    branch = lambda i, a: tf.cond(tf.equal(i % 2, 0), lambda: a * x, lambda: tf.square(a) * 0.1 + x)
    r = tf.while_loop(lambda i, a: i < 5, lambda i, a: (i + 1, branch(i, a)), [0, x])
    return _values(tf, [r[1]] + tf.gradients(r[1], x))


def loop_in_cond(tf, err):
    x = _x(tf, 2)
    loop = lambda: tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * x), [0, x])[1]
    c = tf.cond(x[0] > 0, loop, lambda: x * 3.0)
    d = tf.cond(x[0] > 1, loop, lambda: x * 3.0)
    return _values(tf, [c, d] + tf.gradients(c, x))


def control_dependencies(tf, err):
    x = _x(tf, 2)
    p = tf.identity(x, name="before")
    with tf.control_dependencies([p]):
        r = tf.while_loop(lambda i: i < 3, lambda i: i + tf.constant(1), [tf.constant(0)])

    def body(i):
        with tf.control_dependencies([p]):
            return i + tf.constant(2)

    return _values(tf, [tf.while_loop(lambda i: i < 9, body, [r])])


def variable_in_loop(tf, err):
    v = tf.Variable(1.0, name="v")

    def body(i):
        with tf.control_dependencies([tf.assign_add(v, 2.0)]):
            return i + 1

    r = tf.while_loop(lambda i: i < 3, body, [0])
    with tf.control_dependencies([r]):
        after = tf.add(v, 0.0)
    return _values(tf, [r, after], repeat=2)


def sparse_gradient(tf, err):
    w = tf.get_variable("emb", [10, 3], initializer=tf.ones_initializer())
    row = lambda i, s: (i + 1, s + tf.reduce_sum(tf.nn.embedding_lookup(w, [i, i + 1]), 0))
    r = tf.while_loop(lambda i, s: i < 4, row, [0, tf.zeros([3])])
    g = tf.gradients(r[1], w)[0]
    return _values(tf, [r[1], g.values, g.indices])


def changing_shapes(tf, err):
    x = _x(tf, None, 4)
    w = _x(tf, None, name="w")

    def body(i, a, b):
        return i + 1, tf.concat([a, tf.reduce_sum(a, 0, keepdims=True) * b[0]], 0), b

    shapes = [tf.TensorShape([]), tf.TensorShape([None, 4]), tf.TensorShape([None])]
    r = tf.while_loop(lambda i, *_: i < 3, body, [0, x, w], shape_invariants=shapes)
    return _values(tf, tf.gradients(r[1], [x, w]))


def unused_variables(tf, err):
    x, y = _x(tf, 2), _x(tf, 2, name="y")
    body = lambda i, a, b: (i + 1, b * a, tf.ones([2]) * x)
    r = tf.while_loop(lambda i, a, b: i < 3, body, [0, x, y])
    return _values(tf, tf.gradients([r[1]], [x, y]))


def dead_branch(tf, err):
    x = _x(tf, None)

    def body(i, a):
        u, _ = tf.unstack(tf.reshape(tf.concat([a, a], 0), [2, -1]))
        return i + 1, tf.cond(i > 1, lambda: u * 2.0, lambda: u)

    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    r = tf.while_loop(lambda i, a: i < 3, body, [0, x], shape_invariants=shapes)
    return _values(tf, tf.gradients([r[1]], [x]))


def no_gradient(tf, err):
    x = _x(tf, 2)
    r = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * x), [0, x], back_prop=False)
    return [tf.gradients(r[1], x)]


def tensor_array(tf, err):
    x = _x(tf, 5, 2)
    t = tf.TensorArray(tf.float32, 5).unstack(x)
    o = tf.TensorArray(tf.float32, size=5)

    def body(i, s, o):
        v = t.read(i) * s
        return i + 1, v + s, o.write(i, v)

    _, s, o = tf.while_loop(lambda i, *_: i < 5, body, [0, tf.ones([2]), o])
    return _values(tf, [o.stack()] + tf.gradients([tf.reduce_sum(o.stack()), s], x))


def tensor_array_ops(tf, err):
    x = _x(tf, 6, 2)
    t = tf.TensorArray(tf.float32, 3, infer_shape=False).split(x, [1, 2, 3])
    y = t.concat()
    a = tf.TensorArray(tf.float32, 2, clear_after_read=False).write(0, y[0]).write(1, y[1] * 2.0)
    z = a.gather([1, 0]) + a.read(1)
    b = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[2]).scatter([1, 0], y[:2])
    sizes = [t.size(), a.identity().size(), b.size()]
    a.close()
    names = [a.dtype, a.element_shape, b.dynamic_size, a.handle, a.flow]
    return names + _values(tf, [z, b.stack()] + sizes + tf.gradients(z, x))


def map_fn(tf, err):
    x, z = _x(tf, 4, 3), _x(tf, None, 2, name="z")
    n = tf.placeholder(tf.int32, [None], name="n")
    y = tf.map_fn(lambda r: r * tf.reduce_sum(r), x)
    both = lambda a: (tf.cast(a[0], tf.float32) * a[1], a[0] * 2)
    u, v = tf.map_fn(both, (n, z), dtype=(tf.float32, tf.int32), name="mm")
    return [y, u, v] + _values(tf, [y, u, v] + tf.gradients([y, u], [x, z]))


def scan(tf, err):
    x = _x(tf, 5)
    z = _x(tf, None, 2, name="z")
    y = tf.scan(lambda a, b: a * b + 1.0, x)
    w = tf.scan(lambda a, b: a + b, x, initializer=1.0, reverse=True)
    pair = lambda a, b: (a[0] + b[0], b[0] * a[1])
    u, v = tf.scan(pair, (z,), initializer=(tf.zeros([2]), tf.ones([2])))
    return [y, w, u, v] + _values(tf, [y, w, u, v] + tf.gradients([y, w, v], [x, z]))


def folds(tf, err):
    x = _x(tf, 5, 2)
    r = [
        tf.foldl(lambda a, b: a * b, x),
        tf.foldr(lambda a, b: a - b, x),
        tf.foldl(lambda a, b: a + tf.reduce_sum(b), x, initializer=2.0),
        tf.foldr(lambda a, b: a * 0.5 + tf.reduce_sum(b), x, initializer=1.0),
    ]
    return _values(tf, r + tf.gradients(r[:2], x) + tf.gradients(r[2:], x))


def _scope(tf):
    return tf.variable_scope("v", initializer=tf.random_uniform_initializer(-0.5, 0.5, seed=3))


def _lstm(tf, batch, steps, **kw):
    tf.set_random_seed(1)
    x = _x(tf, batch, steps, 4)
    with _scope(tf):
        o, s = tf.nn.dynamic_rnn(tf.nn.rnn_cell.BasicLSTMCell(3), x, dtype=tf.float32, **kw)
    loss = tf.reduce_sum(tf.square(o)) + tf.reduce_sum(s[0])
    return [o, s] + _values(tf, [o] + list(s) + tf.gradients(loss, tf.trainable_variables() + [x]))


def lstm(tf, err):
    return _lstm(tf, 2, 3)


def lstm_open_batch_only_values(tf, err):
    return _lstm(tf, None, None)


def lstm_lengths(tf, err):
    return _lstm(tf, 3, 3, sequence_length=tf.constant([2, 3, 1]))


def lstm_time_major_only_values(tf, err):
    return _lstm(tf, 3, 3, sequence_length=tf.constant([2, 3, 1]), time_major=True)


def bidirectional_only_values(tf, err):
    tf.set_random_seed(1)
    x = _x(tf, 2, 3, 4)
    gru = tf.nn.rnn_cell.GRUCell
    with _scope(tf):
        o, s = tf.nn.bidirectional_dynamic_rnn(
            gru(3), gru(3), x, sequence_length=[2, 3], dtype=tf.float32
        )
    return [o, s] + _values(tf, list(o) + list(s) + tf.gradients(list(o), x))


def raw_rnn(tf, err):
    tf.set_random_seed(1)
    x = _x(tf, 4, 2, 3)
    cell = tf.nn.rnn_cell.BasicLSTMCell(3)
    ta = tf.TensorArray(tf.float32, size=4).unstack(x)
    lengths = tf.constant([3, 4])

    def loop_fn(time, out, state, loop_state):
        state = cell.zero_state(2, tf.float32) if out is None else state
        over = time >= lengths
        following = tf.cond(tf.reduce_all(over), lambda: tf.zeros([2, 3]), lambda: ta.read(time))
        return over, following, state, out, None

    with _scope(tf):
        o, s, _ = tf.nn.raw_rnn(cell, loop_fn)
        y = o.stack()
    return [y] + _values(tf, [y] + list(s) + tf.gradients(y, x))


def dropout_only_values(tf, err):
    tf.set_random_seed(1)
    x = _x(tf, 2, 3, 4)
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(3), tf.nn.rnn_cell.BasicRNNCell(2)])
    cell = tf.nn.rnn_cell.DropoutWrapper(cell, input_keep_prob=0.5, seed=5)
    with _scope(tf):
        o, _ = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32, scope="mine")
    return _values(tf, [o] + tf.gradients(o, [x] + tf.trainable_variables()), repeat=2)


def building_errors(tf, err):
    x = _x(tf, 2)
    loop = tf.while_loop
    yes = lambda *_: tf.constant(True)
    shapes = [tf.TensorShape([3])]
    grow = lambda a: tf.concat([a, a], 0)

    def second_order():
        r = loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * x), [0, x])
        return tf.gradients(tf.gradients(r[1], x), x)

    def own_initial_value():
        def body(i, a):
            return i + 1, tf.gradients(a, x)[0]

        return loop(lambda i, a: i < 3, body, [0, x * 2.0])

    return [
        err(lambda: loop(1, lambda i: i, [0])),
        err(lambda: loop(yes, 1, [0])),
        err(lambda: loop(yes, lambda i: i, [])),
        err(lambda: loop(yes, lambda i: i, [0], parallel_iterations=0)),
        err(lambda: loop(yes, grow, [x])),
        err(lambda: loop(yes, lambda a: a, [x], shape_invariants=shapes)),
        err(lambda: loop(yes, lambda a: a, [x], maximum_iterations=[1, 2])),
        err(lambda: loop(lambda a: a, lambda a: a, [x])),
        err(second_order),
        err(lambda: tf.map_fn(1, x)),
        err(lambda: tf.map_fn(lambda a: a, 1.0)),
        err(lambda: tf.map_fn(lambda a: a, [1.0, 2.0])),
        err(lambda: tf.scan(1, x)),
        err(lambda: tf.foldl(1, x)),
        err(lambda: tf.TensorArray(tf.float32)),
        err(lambda: tf.TensorArray(tf.float32, 1, handle=x)),
        err(lambda: tf.TensorArray(tf.float32, handle=1, flow=x)),
        err(lambda: tf.TensorArray(tf.float32, handle=x)),
        err(lambda: tf.TensorArray(tf.float32, 2, element_shape=[3]).write(0, x)),
        err(lambda: tf.nn.dynamic_rnn(tf.nn.rnn_cell.BasicRNNCell(2), tf.zeros([2, 3, 4]))),
        err(lambda: tf.nn.raw_rnn(tf.nn.rnn_cell.BasicRNNCell(2), 1)),
    ]


def running_errors(tf, err):
    array = lambda n, **kw: tf.TensorArray(tf.float32, n, tensor_array_name="ta", **kw)
    two = array(2).write(0, [1.0, 2.0])
    twice = two.write(0, [1.0, 2.0])
    wide = two.write(5, [1.0, 2.0])
    ragged = array(2, infer_shape=False).write(0, [1.0]).write(1, [1.0, 2.0])
    other = array(2, element_shape=[None]).write(0, tf.placeholder_with_default([[1.0]], None))
    cases = [
        twice.size(),
        wide.size(),
        two.read(7),
        two.read(1),
        two.read(0) + two.read(0),
        ragged.stack(),
        other.size(),
        array(2).unstack([1.0, 2.0, 3.0]).size(),
        array(2).split([1.0, 2.0, 3.0], [1, 1]).size(),
        array(-1).size(),
    ]
    with tf.Session() as sess:
        return [_class(err(lambda case=case: sess.run(case))) for case in cases]


def _class(found):
    """The kind of an error, and its text without the name that the runtime gives an array."""
    if not isinstance(found, dict) or "error" not in found:
        return found
    text = found["message"].split("\n")[0].split(" [[")[0]
    return [found["error"], text.partition(": ")[2] if text.startswith("TensorArray ta") else text]
