"""Constants, feeds, fetches and plain arithmetic, with tensors that cross between the tasks."""

import numpy as np
from cases.registry import case

NUMBERS = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "bool",
    "complex64",
    "complex128",
]


@case()
def constants(tf, ctx):
    fetches = {}
    for name in NUMBERS:
        value = np.arange(6).reshape(2, 3).astype(name)
        with tf.device(ctx.ps):
            fetches[name] = tf.constant(value)
            fetches[name + "_empty"] = tf.constant(value[:0])
            fetches[name + "_scalar"] = tf.constant(value[1, 1])
            fetches[name + "_filled"] = tf.constant(value.ravel()[1], shape=[3, 2])
    fetches["string"] = tf.constant([b"a", b"", b"\x00\xff", "h\u00e9".encode("utf-8")])
    with ctx.session() as session:
        return session.run(fetches)


@case()
def feeds(tf, ctx):
    seen = {}
    with ctx.session() as session:
        for name in NUMBERS + ["string"]:
            value = np.arange(6).reshape(2, 3).astype("S3" if name == "string" else name)
            if name == "string":
                value = value.astype(object)
            with tf.device(ctx.worker):
                fed = tf.placeholder(name, [None, 3])
                moved = tf.transpose(fed)
            with tf.device(ctx.ps):
                back = tf.identity(moved)
            seen[name] = session.run([fed, moved, back], {fed: value})
    return seen


@case()
def fed_intermediate(tf, ctx):
    with tf.device(ctx.ps):
        a = tf.constant(2.0)
        b = a * 3.0
    with tf.device(ctx.worker):
        c = b + 1.0
    with ctx.session() as session:
        return [session.run([b, c]), session.run([b, c], {b: 10.0}), session.run(c, {c: 5.0})]


@case()
def arithmetic(tf, ctx):
    x = np.linspace(-2, 2, 12).reshape(3, 4).astype(np.float32)
    with tf.device(ctx.ps):
        a = tf.constant(x)
        parts = tf.split(a, 2, axis=1)
    with tf.device(ctx.worker):
        results = [
            tf.matmul(a, a, transpose_b=True),
            tf.nn.relu(a) + tf.sigmoid(a),
            tf.reduce_mean(tf.square(a), axis=0),
            tf.concat(parts[::-1], 1),
            a[1:, ::2],
            tf.one_hot(tf.argmax(a, 1), 4),
            tf.nn.softmax(a),
            tf.where(a > 0.5, a, -a),
            tf.gather(a, [2, 0]),
            tf.stack(tf.unstack(a)[::-1]),
            tf.cast(a * 3, tf.int32),
            tf.pad(a, [[1, 0], [0, 2]]),
            tf.add_n([a, a, a]),
            tf.tile(a[:1], [2, 1]),
            tf.reshape(a, [-1, 2]),
            tf.expand_dims(a, 0),
            tf.squeeze(a[:, :1]),
            tf.clip_by_value(a, -1, 1),
            tf.abs(a),
            tf.cumsum(a, axis=1),
            tf.nn.top_k(a, 2).indices,
            tf.shape(a),
            tf.range(3, 9, 2),
            tf.string_join([tf.as_string(tf.range(3)), "x"]),
        ]
    with ctx.session() as session:
        return session.run(results)


@case()
def dense_layers(tf, ctx):
    """What image and text models are made of: these are what TensorFlow's optimizer of graphs rewrites."""
    rng = np.random.RandomState(0)
    image = rng.rand(2, 8, 8, 3).astype(np.float32)
    with tf.device(ctx.ps):
        kernel = tf.constant(rng.randn(3, 3, 3, 4).astype(np.float32))
        bias = tf.constant(rng.randn(4).astype(np.float32))
        dense = tf.constant(rng.randn(64, 5).astype(np.float32))
    with tf.device(ctx.worker):
        fed = tf.placeholder(tf.float32, [None, 8, 8, 3])
        conv = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(fed, kernel, [1, 1, 1, 1], "SAME"), bias))
        pooled = tf.nn.max_pool(conv, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
        flat = tf.reshape(pooled, [-1, 64])
        product = tf.nn.relu(tf.nn.bias_add(tf.matmul(flat, dense), tf.constant([0.1] * 5)))
        mean, variance = tf.nn.moments(conv, [0, 1, 2])
        normal = tf.nn.batch_normalization(conv, mean, variance, None, None, 1e-3)
        fused = tf.nn.fused_batch_norm(conv, tf.ones([4]), tf.zeros([4]))[0]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[1, 2], logits=product)
        )
    with ctx.session() as session:
        return session.run([conv, pooled, product, normal, fused, loss], {fed: image})


@case()
def seeded_random(tf, ctx):
    tf.set_random_seed(7)
    with tf.device(ctx.worker):
        a = tf.random_uniform([5])
        b = tf.random_normal([4], seed=3)
        c = tf.truncated_normal([4], seed=4)
        d = tf.random_uniform([4], 0, 100, dtype=tf.int32, seed=5)
    with ctx.session() as session:
        return [session.run([a, b, c, d]), session.run([a, b, c, d])]


@case()
def grown_graph(tf, ctx):
    """Nodes that are added after the first step (ExtendSession)."""
    with ctx.session() as session:
        a = tf.constant(1.0)
        seen = [session.run(a)]
        for step in range(3):
            with tf.device(ctx.ps if step % 2 else ctx.worker):
                a = a + float(step)
            seen.append(session.run(a))
        return seen


@case()
def callables(tf, ctx):
    with tf.device(ctx.ps):
        fed = tf.placeholder(tf.float32, [2])
        out = fed * 2.0
    with ctx.session() as session:
        run = session.make_callable([out], feed_list=[fed])
        return [run([1.0, 2.0]), run([3.0, 4.0])]


@case()
def sparse_values(tf, ctx):
    with tf.device(ctx.ps):
        sparse = tf.SparseTensor([[0, 1], [2, 0]], [3.0, 4.0], [3, 2])
    with tf.device(ctx.worker):
        dense = tf.sparse_tensor_to_dense(sparse)
        fed = tf.sparse_placeholder(tf.float32)
        total = tf.sparse_tensor_to_dense(fed, 1.0)
    value = tf.SparseTensorValue([[0, 0]], [5.0], [2, 2])
    with ctx.session() as session:
        got = session.run(sparse)
        return [
            got.indices,
            got.values,
            got.dense_shape,
            *session.run([dense, total], {fed: value}),
        ]


@case()
def rewritten_graphs(tf, ctx):
    """Patterns that TensorFlow's master replaces before it sends a part to a worker."""
    rng = np.random.RandomState(4)
    image = rng.rand(2, 6, 6, 4).astype(np.float32)
    x = rng.rand(4, 5).astype(np.float32)
    with tf.device(ctx.ps):
        kernel = tf.constant(rng.randn(3, 3, 4, 4).astype(np.float32))
        four = tf.constant(rng.rand(4).astype(np.float32) + 0.5)
        fed = tf.placeholder(tf.float32, [None, 6, 6, 4])
        a = tf.placeholder(tf.float32, [4, None])
    with tf.device(ctx.worker):
        conv = tf.nn.conv2d(fed, kernel, [1, 2, 2, 1], "SAME")
        normal = tf.nn.fused_batch_norm(
            conv, four, four, mean=four, variance=four, is_training=False
        )[0]
        turned = tf.transpose(tf.transpose(fed, [0, 3, 1, 2]), [0, 2, 3, 1])
        results = [
            tf.nn.relu(normal),
            tf.nn.relu6(tf.nn.bias_add(conv, four)),
            tf.nn.elu(tf.nn.bias_add(tf.matmul(a, tf.ones([5, 4])), four)),
            tf.tanh(tf.sqrt(tf.exp(tf.abs(a)))),
            tf.nn.relu(tf.sigmoid(tf.square(tf.negative(a)))),
            turned + 0.0,
            a * 2.0 + a * 3.0,
            (a + 1.0) + (a + 2.0) + 3.0,
            tf.pow(a, 2.0) + tf.pow(a, 0.5) + tf.pow(a, -1.0),
            tf.reshape(tf.reshape(a, [-1]), tf.shape(a)),
            tf.reduce_sum(tf.reduce_mean(a, 1, keepdims=True), 0),
            tf.bitcast(tf.bitcast(a, tf.int32), tf.float32),
            tf.cast(tf.cast(a, tf.float64), tf.float32),
            tf.concat([a, tf.zeros([4, 0]), a], 1),
            tf.stack([a, a, a]),
            tf.strided_slice(tf.shape(a), [0], [1]),
            tf.nn.depthwise_conv2d(fed, kernel[:, :, :, :1], [1, 1, 1, 1], "VALID"),
            tf.nn.avg_pool(fed, [1, 2, 2, 1], [1, 2, 2, 1], "VALID"),
            tf.nn.log_softmax(a) * tf.ones_like(a) / tf.ones_like(a),
            tf.fill(tf.shape(a), 2.0) * a,
            tf.add_n([a, tf.identity(a), a * 1.0]),
            tf.tile(a, [1, 1]) - tf.zeros_like(a),
            tf.where(tf.equal(tf.rank(a), 2), 1.0, 2.0),
            tf.conj(tf.transpose(tf.complex(a, a))),
            tf.matrix_set_diag(tf.matmul(a, a, transpose_b=True), tf.ones([4])),
        ]
    with ctx.session() as session:
        return session.run(results, {fed: image, a: x})


@case(clients=("tf115", "tf2"))
def parallel_stack(tf, ctx):
    with tf.device(ctx.worker):
        stacked = tf.parallel_stack([tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])])
    with ctx.session() as session:
        return session.run(stacked + 1.0)


@case()
def functions_with_newer_ops(tf, ctx):
    """Functions for which a later TensorFlow sends other ops than 1.15."""
    rng = np.random.RandomState(6)
    square = rng.rand(2, 3, 3).astype(np.float32)
    x = rng.rand(4, 5).astype(np.float32)
    with tf.device(ctx.ps):
        m, a = tf.constant(square), tf.constant(x)
    with tf.device(ctx.worker):
        results = [
            tf.matrix_diag(a),
            tf.matrix_diag_part(m),
            tf.matrix_set_diag(m, tf.zeros([2, 3])),
            tf.gradients(tf.matrix_diag_part(m * m), m)[0],
            tf.einsum("ij,kj->ik", a, a),
            tf.trace(m),
            tf.gather_nd(a, [[0, 1], [2, 3]]),
            tf.scatter_nd([[1], [3]], [9.0, 10.0], [5]),
            tf.segment_sum(a, [0, 0, 1, 1]),
            tf.sparse_segment_mean(a, [0, 2, 3], [0, 0, 1]),
            tf.reverse_sequence(a, [1, 2, 3, 4], 1),
            tf.batch_to_space_nd(tf.ones([4, 2, 2, 1]), [2, 2], [[0, 0], [0, 0]]),
            tf.nn.softplus(a) + tf.nn.leaky_relu(a) + tf.nn.selu(a),
            tf.nn.l2_normalize(a, 1),
            tf.nn.sigmoid_cross_entropy_with_logits(labels=a, logits=a),
            tf.nn.in_top_k(a, [1, 2, 3, 4], 2),
            tf.unique([5, 3, 5]).y,
            tf.bincount([1, 1, 3]),
            tf.argmin(a, 0),
            tf.meshgrid([1, 2], [3, 4]),
            tf.confusion_matrix([0, 1, 2], [0, 2, 2]),
            tf.boolean_mask(a, [True, False, True, False]),
            tf.sequence_mask([1, 3], 4),
            tf.image.resize_bilinear(tf.ones([1, 2, 2, 1]), [3, 3]),
            tf.norm(a, axis=1),
            tf.reduce_logsumexp(a, 0),
            tf.cholesky(tf.matmul(m, m, transpose_b=True) + tf.eye(3)),
            tf.strings.substr("flowmesh", 1, 3),
            tf.string_split(["a b", "c"]).values,
            tf.string_to_number(["1.5", "2"]),
            tf.floordiv(7, 2) + tf.floormod(-7, 3),
            tf.reduce_any(a > 0.9, 1),
            tf.cumprod(a, 1, exclusive=True),
            tf.nn.dropout(a, rate=0.0),
        ]
    with ctx.session() as session:
        return session.run(results)
