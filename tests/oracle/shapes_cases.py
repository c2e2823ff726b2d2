# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def _ph(tf, shape, dtype=None):
    return tf.placeholder(dtype or tf.float32, shape)


def partial(tf, err):
    u = _ph(tf, None)
    n3 = _ph(tf, [None, 3])
    x3 = _ph(tf, [2, 3])
    n = _ph(tf, [None])
    i = _ph(tf, [], tf.int32)
    s = tf.shape(n3)
    tests = [
        lambda: n3 + x3, lambda: n3 + u, lambda: n3 * n, lambda: n3 + 1.0, lambda: _ph(tf, [1, None]) + n3, lambda: _ph(tf, [None, 1]) + x3,
        lambda: tf.matmul(n3, _ph(tf, [3, None])), lambda: tf.matmul(u, x3, transpose_b=True), lambda: tf.matmul(u, u),
        lambda: tf.reshape(n3, [-1]), lambda: tf.reshape(x3, [-1, 2]), lambda: tf.reshape(n3, [3, -1]), lambda: tf.reshape(n3, s), lambda: tf.reshape(n3, tf.stack([s[0], 3])),
        lambda: tf.reshape(x3, [s[0], -1]), lambda: tf.reshape(u, [2, -1]), lambda: tf.reshape(n3, n if False else [-1, 1, 3]),
        lambda: tf.concat([n3, x3], 0), lambda: tf.concat([n3, x3], 1), lambda: tf.concat([n3, u], 0), lambda: tf.concat([x3, x3], i),
        lambda: tf.stack([n3, x3]), lambda: tf.stack([n3, n3], axis=1), lambda: tf.unstack(_ph(tf, [2, None])), lambda: tf.split(n3, 3, 1), lambda: tf.split(n3, [1, 2], 1), lambda: tf.split(n3, 2),
        lambda: tf.reduce_sum(n3), lambda: tf.reduce_sum(n3, 0), lambda: tf.reduce_sum(n3, 1, keepdims=True), lambda: tf.reduce_sum(u), lambda: tf.reduce_sum(u, 0), lambda: tf.reduce_sum(n3, i), lambda: tf.reduce_mean(n3, [-1]),
        lambda: tf.transpose(n3), lambda: tf.transpose(n3, [1, 0]), lambda: tf.transpose(u), lambda: tf.expand_dims(n3, -1), lambda: tf.squeeze(_ph(tf, [1, None, 1])), lambda: tf.squeeze(_ph(tf, [1, None, 1]), [0]),
        lambda: tf.tile(n3, [2, 2]), lambda: tf.tile(n3, n if False else s), lambda: tf.pad(n3, [[1, 1], [0, 2]]), lambda: tf.slice(n3, [0, 1], [-1, 2]), lambda: tf.slice(n3, [0, 1], [i, -1]), lambda: n3[1:], lambda: n3[0], lambda: n3[i], lambda: n3[:, i], lambda: n3[:2], lambda: n3[::2], lambda: x3[::2, ::-1],
        lambda: tf.gather(n3, [0, 1]), lambda: tf.gather(n3, i), lambda: tf.gather(n3, n if False else [[0]], axis=1), lambda: tf.gather_nd(n3, [[0, 1]]), lambda: tf.one_hot(_ph(tf, [None], tf.int32), 4), lambda: tf.one_hot(i, i), lambda: tf.argmax(n3, 1), lambda: tf.argmax(n3, 0), lambda: tf.argmax(u),
        lambda: tf.zeros(s), lambda: tf.fill(s, 1.0), lambda: tf.ones_like(n3), lambda: tf.zeros([2, i]), lambda: tf.range(i), lambda: tf.range(2, 10, 3), lambda: tf.range(0.0, 1.0, 0.25), lambda: tf.linspace(0.0, 1.0, 5), lambda: tf.random_normal(s), lambda: tf.random_uniform([2, i]),
        lambda: tf.where(n3 > 0), lambda: tf.where(n3 > 0, n3, n3), lambda: tf.boolean_mask(n3, _ph(tf, [None], tf.bool)), lambda: tf.unique(n), lambda: tf.nn.top_k(n3, 2), lambda: tf.nn.softmax(n3), lambda: tf.nn.softmax(u),
        lambda: tf.nn.softmax_cross_entropy_with_logits(labels=x3, logits=x3), lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=_ph(tf, [None], tf.int32), logits=n3), lambda: tf.nn.bias_add(n3, [1.0, 2.0, 3.0]), lambda: tf.nn.relu(u),
        lambda: tf.nn.conv2d(_ph(tf, [None, 28, 28, 1]), _ph(tf, [5, 5, 1, 32]), [1, 1, 1, 1], "SAME"), lambda: tf.nn.conv2d(_ph(tf, [None, None, None, 3]), _ph(tf, [5, 5, 3, 4]), [1, 2, 2, 1], "VALID"), lambda: tf.nn.max_pool(_ph(tf, [None, 5, 5, 2]), [1, 2, 2, 1], [1, 2, 2, 1], "SAME"),
        lambda: tf.cond(i > 0, lambda: n3, lambda: x3), lambda: tf.cond(i > 0, lambda: x3, lambda: _ph(tf, [2])), lambda: tf.add_n([n3, x3]), lambda: tf.identity(n3), lambda: tf.cast(n3, tf.int32), lambda: tf.shape(n3), lambda: tf.shape(u), lambda: tf.size(x3), lambda: tf.rank(u), lambda: tf.shape(x3), lambda: tf.shape_n([n3, x3]),
        lambda: tf.sparse_tensor_to_dense(tf.SparseTensor([[0, 1]], [1.0], [3, 4])), lambda: tf.reverse(n3, [0]), lambda: tf.diag(n), lambda: tf.matrix_transpose(_ph(tf, [None, 2, 3])), lambda: tf.broadcast_to(n3, [5, 3]), lambda: tf.meshgrid([1, 2], [3, 4, 5]), lambda: tf.cumsum(n3), lambda: tf.segment_sum(n3, [0, 0, 1]), lambda: tf.unsorted_segment_sum(n3, [0, 1], 4),
        lambda: tf.placeholder_with_default([[1.0]], [None, 1]) + 1.0, lambda: tf.nn.embedding_lookup(x3, _ph(tf, [None, 4], tf.int32)), lambda: tf.nn.moments(n3, [0]), lambda: tf.clip_by_value(n3, 0.0, 1.0), lambda: tf.maximum(n3, u), lambda: tf.equal(n3, x3), lambda: tf.logical_not(n3 > 0), lambda: tf.reduce_all(n3 > 0, 1), lambda: tf.is_nan(n3), lambda: tf.py_func(lambda: 1.0, [], tf.float32),
    ]  # fmt: skip
    return [err(t) for t in tests]


def shape_errors(tf, err):
    u = _ph(tf, None)
    a, b = (
        tf.placeholder(tf.float32, [2, 3], name="a"),
        tf.placeholder(tf.float32, [4, 5], name="b"),
    )
    n = tf.placeholder(tf.float32, [None, 3], name="n")
    v = tf.placeholder(tf.float32, [3], name="v")
    i = tf.placeholder(tf.int32, [2], name="i")
    c = tf.placeholder(tf.float32, [1, 4, 4, 2], name="c")
    var = tf.Variable([[1.0, 2.0]], name="var")
    res = tf.Variable([[1.0, 2.0]], name="res", use_resource=True)
    tests = [
        lambda: a + b, lambda: tf.add(n, b, name="sum"), lambda: tf.matmul(a, b), lambda: tf.matmul(v, a), lambda: tf.matmul(a, a), lambda: tf.matmul(c, a), lambda: tf.matmul(c, c), lambda: tf.matmul(a, n, transpose_a=True),
        lambda: tf.reshape(a, [4, 2]), lambda: tf.reshape(a, [-1, 4]), lambda: tf.reshape(a, [-1, -1]), lambda: tf.reshape(a, [[2]]), lambda: tf.reshape(n, [2, 2]), lambda: tf.reshape(a, [-2]), lambda: tf.reshape(tf.zeros([0]), [-1, 0]),
        lambda: tf.concat([a, b], 0), lambda: tf.concat([a, v], 0), lambda: tf.concat([a, a], 2), lambda: tf.concat([v, v], -2), lambda: tf.concat([tf.constant(1.0), tf.constant(2.0)], 0), lambda: tf.concat([a, a], [0, 1]),
        lambda: tf.stack([a, b]), lambda: tf.stack([a, v]), lambda: tf.stack([a, a], 4), lambda: tf.unstack(n), lambda: tf.unstack(a, 3), lambda: tf.unstack(tf.constant(1.0)), lambda: tf.split(a, 2, 1), lambda: tf.split(a, [1, 1], 1),
        lambda: tf.transpose(a, [0]), lambda: tf.transpose(a, [0, 2]), lambda: tf.transpose(a, [0, 0]), lambda: tf.expand_dims(a, 4), lambda: tf.squeeze(a, [0]), lambda: tf.squeeze(a, [5]), lambda: tf.tile(a, [1]), lambda: tf.tile(a, [1, -1]), lambda: tf.pad(a, [[1, 1]]), lambda: tf.pad(a, [1, 1]),
        lambda: tf.slice(a, [0], [1]), lambda: tf.slice(a, [0, 0], [3, 1]), lambda: tf.slice(a, [0, 4], [1, 1]), lambda: a[2], lambda: a[0, 0, 0], lambda: a[5:, 3], lambda: tf.strided_slice(a, [0], [1], [0]),
        lambda: tf.reduce_sum(a, 2), lambda: tf.reduce_sum(a, [-3]), lambda: tf.reduce_sum(a, [[0, 1], [0, 1]]), lambda: tf.argmax(a, 3), lambda: tf.argmax(a, [0, 1]), lambda: tf.cumsum(a, 3),
        lambda: tf.gather(tf.constant(1.0), [0]), lambda: tf.gather(a, [0], axis=3), lambda: tf.gather_nd(a, [[0, 1, 2]]), lambda: tf.fill([[2]], 1.0), lambda: tf.fill([2], [1.0]), lambda: tf.range([1]), lambda: tf.range(0, 10, 0), lambda: tf.range(0, 10, -1), lambda: tf.diag(tf.zeros([2] * 4)),
        lambda: tf.nn.bias_add(a, [1.0]), lambda: tf.nn.bias_add(v, v), lambda: tf.nn.bias_add(a, a), lambda: tf.nn.softmax_cross_entropy_with_logits(labels=a, logits=b), lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=i, logits=v), lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=i, logits=b), lambda: tf.nn.sigmoid_cross_entropy_with_logits(labels=a, logits=b), lambda: tf.nn.top_k(a, 4), lambda: tf.nn.in_top_k(a, [0, 1, 2], 1),
        lambda: tf.nn.conv2d(a, c, [1, 1, 1, 1], "SAME"), lambda: tf.nn.conv2d(c, tf.zeros([2, 2, 3, 4]), [1, 1, 1, 1], "SAME"), lambda: tf.nn.conv2d(c, tf.zeros([5, 5, 2, 4]), [1, 1, 1, 1], "VALID"), lambda: tf.nn.conv2d(c, tf.zeros([2, 2, 2, 4]), [1, 1, 1], "VALID"), lambda: tf.nn.max_pool(a, [1, 2, 2, 1], [1, 1, 1, 1], "SAME"), lambda: tf.nn.max_pool(c, [1, 5, 5, 1], [1, 1, 1, 1], "VALID"),
        lambda: tf.where(a > 0, a, b), lambda: tf.where(i > 0, b, b), lambda: tf.add_n([a, b]), lambda: tf.equal(a, b), lambda: tf.maximum(a, b), lambda: tf.cond(i, lambda: a, lambda: a), lambda: tf.assign(var, [[1.0]]), lambda: tf.assign(var, [1.0]), lambda: tf.assign_add(var, [1.0]), lambda: res.assign([[1.0]]), lambda: res.assign_add([1.0]), lambda: tf.scatter_add(var, [0], [1.0]), lambda: tf.scatter_update(var, [[0]], [[1.0, 2.0]]),
        lambda: tf.segment_sum(a, i), lambda: tf.segment_sum(a, [0]), lambda: tf.segment_sum(a, [[0, 1]]), lambda: tf.unsorted_segment_sum(a, [0, 1, 2], 3), lambda: tf.boolean_mask(a, [True]), lambda: tf.boolean_mask(a, tf.placeholder(tf.bool)), lambda: tf.placeholder_with_default([1.0, 2.0], [3]), lambda: tf.broadcast_to(a, [3, 3]), lambda: tf.random_normal([[1]]), lambda: tf.random_normal([-1]), lambda: tf.random_shuffle(tf.constant(1.0)), lambda: tf.clip_by_value(a, b, b), lambda: tf.linspace([0.0], 1.0, 3),
        lambda: tf.matrix_band_part(v, 1, 1), lambda: tf.matrix_inverse(a), lambda: tf.nn.l2_loss(u), lambda: tf.nn.lrn(a), lambda: tf.dynamic_stitch([[0]], [a, a]), lambda: tf.squared_difference(a, b), lambda: tf.tensordot(a, b, 1), lambda: tf.image.resize_bilinear(a, [1, 2]) if hasattr(tf, "image") else None,
    ]  # fmt: skip
    return [err(t) for t in tests]


def constant_values(tf, err):
    from_constant = (
        tf.contrib.util.constant_value if hasattr(tf, "contrib") else tf.get_static_value
    )
    x = _ph(tf, [2, 3])
    n = _ph(tf, [None, 3])
    tests = [
        lambda: tf.constant([1, 2]), lambda: tf.shape(x), lambda: tf.shape(n), lambda: tf.rank(n), lambda: tf.size(x), lambda: tf.range(3), lambda: tf.fill([2], 7), lambda: tf.cast(tf.constant(1.5), tf.int32), lambda: tf.concat([[1], [2]], 0), lambda: tf.stack([1, 2]), lambda: tf.equal([1], [1]), lambda: x, lambda: tf.random_normal([2]),
    ]  # fmt: skip
    return [from_constant(t()) for t in tests]
