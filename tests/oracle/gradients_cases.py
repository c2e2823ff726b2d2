# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def _ph(tf, name, shape, dtype=None):
    return tf.placeholder(dtype or tf.float32, shape, name=name)


def broadcasting_arithmetic(tf, err):
    x, y = _ph(tf, "x", [3, 1]), _ph(tf, "y", [2])
    out = [tf.gradients(f(x, y), [x, y]) for f in (tf.add, tf.subtract, tf.multiply, tf.divide)]
    return out + tf.gradients(tf.pow(x, y), [x, y])


def unknown_shapes(tf, err):
    x, y = _ph(tf, "x", None), _ph(tf, "y", [None, 2])
    return [
        tf.gradients(x * y, [x, y]),
        tf.gradients(tf.maximum(x, y), [x, y]),
        tf.gradients(tf.reduce_sum(x), x),
    ]


def same_shapes(tf, err):
    x, y = _ph(tf, "x", [2, 3]), _ph(tf, "y", [2, 3])
    return [
        tf.gradients(f(x, y), [x, y])
        for f in (
            tf.add,
            tf.subtract,
            tf.multiply,
            tf.divide,
            tf.maximum,
            tf.minimum,
            tf.squared_difference,
        )
    ]


def matmul(tf, err):
    a, b = _ph(tf, "a", [2, 3]), _ph(tf, "b", [3, 4])
    c, d = _ph(tf, "c", [3, 2]), _ph(tf, "d", [4, 3])
    out = [
        tf.gradients(tf.matmul(a, b), [a, b]),
        tf.gradients(tf.matmul(c, b, transpose_a=True), [c, b]),
    ]
    out += [
        tf.gradients(tf.matmul(a, d, transpose_b=True), [a, d]),
        tf.gradients(tf.matmul(c, d, True, True), [c, d]),
    ]
    p, q = _ph(tf, "p", [5, 2, 3]), _ph(tf, "q", [5, 3, 2])
    return out + [tf.gradients(tf.matmul(p, q), [p, q])]


def unary(tf, err):
    x = _ph(tf, "x", [2])
    functions = [
        tf.exp, tf.log, tf.tanh, tf.sigmoid, tf.sqrt, tf.square, tf.negative, tf.abs, tf.reciprocal, tf.sin, tf.cos,
        tf.nn.relu, tf.nn.relu6, tf.nn.elu, tf.nn.softplus, tf.nn.softsign, tf.identity, tf.sign, tf.floor, tf.rsqrt, tf.log1p, tf.erf,
    ]  # fmt: skip
    return [tf.gradients(f(x), x) for f in functions]


def reductions(tf, err):
    x, u = _ph(tf, "x", [2, 3]), _ph(tf, "u", [None, 3])
    out = []
    for t in (x, u):
        out += [
            tf.gradients(tf.reduce_sum(t, 1), t),
            tf.gradients(tf.reduce_mean(t), t),
            tf.gradients(tf.reduce_mean(t, 0, keepdims=True), t),
        ]
        out += [tf.gradients(tf.reduce_max(t, 1), t), tf.gradients(tf.reduce_sum(t, [0, 1]), t)]
    return out + [tf.gradients(tf.reduce_prod(x, 0), x)]


def shapes_ops(tf, err):
    x = _ph(tf, "x", [2, 3])
    out = [
        tf.reshape(x, [6]),
        tf.transpose(x),
        tf.expand_dims(x, 0),
        tf.squeeze(tf.expand_dims(x, 1)),
        tf.tile(x, [2, 1]),
    ]
    out += [
        tf.concat([x, x], 0),
        tf.stack([x, x]),
        tf.split(x, 3, 1)[1],
        tf.unstack(x)[0],
        x[0],
        x[:, 1:],
        tf.pad(x, [[1, 0], [0, 1]]),
    ]
    out += [
        tf.cast(x, tf.float64),
        tf.slice(x, [0, 1], [1, 2]),
        tf.reverse(x, [0]),
        tf.fill([2], x[0, 0]),
    ]
    return [tf.gradients(o, x) for o in out]


def softmax_losses(tf, err):
    x, y = _ph(tf, "x", [2, 3]), _ph(tf, "y", [2, 3])
    z = _ph(tf, "z", [2], tf.int32)
    out = [tf.gradients(tf.nn.softmax(x), x), tf.gradients(tf.nn.log_softmax(x), x)]
    out.append(tf.gradients(tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=x), [x, y]))
    out.append(tf.gradients(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=x), [x, y]))
    out.append(tf.gradients(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=z, logits=x), x))
    out.append(tf.gradients(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x), x))
    return out + [tf.gradients(tf.nn.l2_loss(x), x)]


def dense_layers(tf, err):
    x = _ph(tf, "x", [None, 4])
    w = tf.Variable(tf.zeros([4, 3]), name="w")
    b = tf.Variable(tf.zeros([3]), name="b")
    r = tf.Variable(tf.zeros([3, 2]), name="r", use_resource=True)
    h = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), b))
    loss = tf.reduce_mean(tf.square(tf.matmul(h, r) + 1.0))
    return tf.gradients(loss, [w, b, r])


def variables_reached_by_value(tf, err):
    v = tf.Variable(1.0, name="v")
    y = v * v + v.read_value()
    return [tf.gradients(y, v), tf.gradients(y, v.value()), tf.gradients(y, [v._ref()])]


def gather_slices(tf, err):
    v = tf.Variable(tf.zeros([5, 2]), name="v")
    r = tf.Variable(tf.zeros([5, 2]), name="r", use_resource=True)
    x = _ph(tf, "x", [None, 2])
    i = _ph(tf, "i", [3], tf.int32)
    out = [
        tf.gradients(tf.gather(v, i), v),
        tf.gradients(tf.gather(x, i), x),
        tf.gradients(tf.nn.embedding_lookup(v, i), v),
    ]
    out.append(tf.gradients(tf.nn.embedding_lookup(r, i), r))
    out.append(tf.gradients(tf.gather(v, i) + tf.gather(v, [0, 1, 2]), v))
    out.append(tf.gradients(tf.reduce_sum(tf.gather(v, i)) + tf.reduce_sum(v), v))
    return out + [tf.gradients(tf.gather(x, i, axis=1), x)]


def stopping(tf, err):
    x, y = _ph(tf, "x", [2]), _ph(tf, "y", [2])
    a = x * y
    out = [
        tf.gradients(tf.stop_gradient(a) + x, [x, y]),
        tf.gradients(a + x, [x, y], stop_gradients=[a]),
    ]
    return out + [
        tf.gradients(a * a, [a, x], stop_gradients=[x]),
        tf.gradients(a, [x], stop_gradients=x),
    ]


def given_grads(tf, err):
    x = _ph(tf, "x", [2])
    y, z = x * 2.0, x + 1.0
    out = [
        tf.gradients(y, x, grad_ys=[[3.0, 4.0]]),
        tf.gradients([y, z], x, grad_ys=[tf.constant([1.0, 2.0]), None]),
    ]
    return out + [tf.gradients([y, z], x), tf.gradients([y, y], x), tf.gradients(y, x, name="mine")]


def dependent_xs(tf, err):
    x = _ph(tf, "x", [2])
    y = tf.square(x)
    z = tf.exp(y)
    return [tf.gradients(z, [x, y, z]), tf.gradients([y, z], [y, x])]


def unconnected(tf, err):
    x, y = _ph(tf, "x", [2]), _ph(tf, "y", [3])
    i = _ph(tf, "i", [2], tf.int32)
    out = [
        tf.gradients(x * 2.0, [y, x, i]),
        tf.gradients(x * 2.0, [y, x], unconnected_gradients=tf.UnconnectedGradients.ZERO),
    ]
    out.append(tf.gradients(tf.cast(tf.cast(x, tf.int32), tf.float32), x))
    out.append(tf.gradients(tf.cast(tf.argmax(x), tf.float32), x))
    return out + [tf.gradients(tf.constant(1.0), x), tf.gradients(tf.floor(x), x)]


def aggregation(tf, err):
    x = _ph(tf, "x", [2])
    y = tf.exp(x) + tf.sin(x) * x + x
    out = [tf.gradients(y, x)]
    out.append(tf.gradients(y, x, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE))
    out.append(tf.gradients(y, x, aggregation_method=tf.AggregationMethod.DEFAULT))
    return out


def colocated(tf, err):
    with tf.device("/job:ps"):
        w = tf.Variable([[1.0]], name="w")
    with tf.device("/gpu:0"):
        x = _ph(tf, "x", [1, 1])
        y = tf.matmul(x, w)
        z = tf.reduce_sum(tf.square(y + x))
    with tf.device("/cpu:0"):
        return [tf.gradients(z, [w, x], colocate_gradients_with_ops=True), tf.gradients(z, [w, x])]


def gated(tf, err):
    x, y = _ph(tf, "x", [2]), _ph(tf, "y", [2])
    return tf.gradients(tf.exp(x * y), [x, y], gate_gradients=True)


def several_outputs(tf, err):
    x = _ph(tf, "x", [4])
    a, b = tf.split(x, 2)
    m, v = tf.nn.moments(tf.reshape(x, [2, 2]), [0])
    return [tf.gradients(a, x), tf.gradients(a * b, x), tf.gradients([m, v], x), tf.gradients(v, x)]


def second_order(tf, err):
    x = _ph(tf, "x", [2])
    g = tf.gradients(tf.reduce_sum(x * x * x), x)[0]
    return [g, tf.gradients(g, x)]


def conditional(tf, err):
    x, y = _ph(tf, "x", [2]), _ph(tf, "y", [2])
    p = _ph(tf, "p", [], tf.bool)
    z = tf.cond(p, lambda: x * y, lambda: x + 1.0)
    return tf.gradients(z, [x, y])


def conditional_values(tf, err):
    x, y = tf.constant([1.0, 2.0], name="x"), tf.constant([3.0, 4.0], name="y")
    p = _ph(tf, "p", [], tf.bool)
    z = tf.cond(p, lambda: x * y, lambda: tf.exp(x))
    g = tf.gradients(z * 2.0, [x, y])
    with tf.Session() as s:
        return [s.run(g, {p: v}) for v in (True, False)]


def where_and_clip(tf, err):
    x, y = _ph(tf, "x", [2]), _ph(tf, "y", [2])
    c = tf.constant([True, False])
    out = [
        tf.gradients(tf.where(c, x, y), [x, y]),
        tf.gradients(tf.clip_by_value(x, 0.0, 1.0), x),
        tf.gradients(tf.clip_by_norm(x, 1.0), x),
    ]
    return out + [tf.gradients(tf.add_n([x, y, x]), [x, y])]


def convolution(tf, err):
    x, w = _ph(tf, "x", [1, 4, 4, 2]), _ph(tf, "w", [2, 2, 2, 3])
    y = tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
    p = tf.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    q = tf.nn.avg_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    return [tf.gradients(y, [x, w]), tf.gradients([p, q], [x, w])]


def dropout_and_norm(tf, err):
    tf.set_random_seed(1)
    x = _ph(tf, "x", [2, 3])
    return [
        tf.gradients(tf.nn.dropout(x, 0.5, seed=3), x),
        tf.gradients(tf.nn.l2_normalize(x, 1), x),
        tf.gradients(tf.norm(x), x),
    ]


def overridden(tf, err):
    name = "CustomSquare"

    def custom(op, grad):
        return tf.constant(7.0) * grad

    try:
        tf.RegisterGradient(name)(custom)
    except KeyError:
        pass  # by an earlier run in this process

    x = tf.constant(3.0, name="x")
    with tf.get_default_graph().gradient_override_map({"Square": name}):
        y = tf.square(x)
    g = tf.gradients(y, x)[0]
    with tf.Session() as s:
        return s.run(g)


def gradient_errors(tf, err):
    x = _ph(tf, "x", [2])
    i = _ph(tf, "i", [2], tf.int32)
    c = _ph(tf, "c", [2], tf.complex64)
    b = tf.constant([True, False])
    tests = [
        lambda: tf.gradients(i, x),
        lambda: tf.gradients(b, x),
        lambda: tf.gradients(c, c),
        lambda: tf.gradients(x * 2.0, x, grad_ys=[1, 2]),
        lambda: tf.gradients(x * 2.0, x, grad_ys=[[1.0, 2.0], [3.0, 4.0]]),
        lambda: tf.gradients([x * 2.0], x, grad_ys=[None, None]),
        lambda: tf.gradients(x * 2.0, x, grad_ys=tf.constant([1.0, 2.0], tf.float64)),
        lambda: (
            tf.gradients(tf.string_to_number(tf.as_string(x)), x)
            if hasattr(tf, "as_string")
            else None
        ),
        lambda: tf.gradients(x, 3.0),
        lambda: tf.gradients(3.0, x),
        lambda: tf.gradients(x * 2.0, x, aggregation_method=9),
        lambda: tf.gradients(x * 2.0, "zz"),
        lambda: tf.gradients(x * 2.0, x, unconnected_gradients="bad"),
        lambda: tf.gradients(tf.bincount(tf.cast(x, tf.int32)), x),
        lambda: tf.RegisterGradient(3),
    ]
    return [err(t) for t in tests]


def hessians_only_values(tf, err):
    x = tf.constant([1.0, 2.0], name="x")
    h = tf.hessians(tf.reduce_sum(x * x * x), x)[0]
    with tf.Session() as s:
        return s.run(h)
