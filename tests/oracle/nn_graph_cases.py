"""Calls of `tf.nn` functions whose graphs (or errors) are recorded from TensorFlow 1.15 and compared with ours.

Each case is a function of a module-like `tf`. Plain Python, for both interpreters.
"""


def f(tf, *shape):
    """A float32 placeholder."""
    return tf.placeholder(tf.float32, list(shape) if shape else None)


def g(tf, function, *inputs):
    """The gradients of `function(*inputs)` by its inputs."""
    inputs = [tf.placeholder(tf.float32, shape) for shape in inputs]
    return tf.gradients(function(*inputs), inputs)


def xent(tf, labels, logits, **more):
    return tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits, **more)


def sparse(tf, labels, logits, **more):
    labels = tf.placeholder(tf.int64, labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, **more)


IMAGE, KERNEL = [2, 6, 6, 3], [3, 3, 3, 5]
BY_2 = [1, 2, 2, 1]
ONE = [1, 1, 1, 1]


def conv(tf, x=IMAGE, w=KERNEL, strides=ONE, padding="SAME", **more):
    return tf.nn.conv2d(f(tf, *x), f(tf, *w), strides, padding, **more)


ACTIVATIONS = {
    "relu": lambda tf: tf.nn.relu(f(tf, 2, 3)),
    "relu6": lambda tf: tf.nn.relu6(f(tf, 2, 3)),
    "crelu": lambda tf: tf.nn.crelu(f(tf, 2, 3)),
    "leaky_relu_int": lambda tf: tf.nn.leaky_relu(tf.placeholder(tf.int32, [2])),
    "leaky_relu": lambda tf: tf.nn.leaky_relu([1.0, 2.0], 0.1),
    "elu_named": lambda tf: tf.nn.elu(f(tf, 2), name="e"),
    "relu_grad": lambda tf: g(tf, tf.nn.relu, [2, 3]),
    "leaky_relu_grad": lambda tf: g(tf, tf.nn.leaky_relu, [2, 3]),
    "elu_grad": lambda tf: g(tf, tf.nn.elu, [2, 3]),
    "elu_second": lambda tf: g(tf, lambda x: tf.gradients(tf.nn.elu(x), x), [2, 3]),
    "selu_second": lambda tf: g(tf, lambda x: tf.gradients(tf.nn.selu(x), x), [2, 3]),
    "softplus_grad": lambda tf: g(tf, tf.nn.softplus, [2, 3]),
    "softsign_grad": lambda tf: g(tf, tf.nn.softsign, [2, 3]),
}

SOFTMAX = {
    "softmax": lambda tf: tf.nn.softmax(f(tf, 2, 3, 4)),
    "softmax_axis": lambda tf: tf.nn.softmax(f(tf, 2, 3, 4), axis=1),
    "softmax_bad_axis": lambda tf: tf.nn.softmax(f(tf, 2, 3, 4), axis=5),
    "log_softmax_axis": lambda tf: tf.nn.log_softmax(f(tf, 2, 3), axis=0, name="ls"),
    "softmax_grad": lambda tf: g(tf, tf.nn.softmax, [2, 3]),
    "log_softmax_grad": lambda tf: g(tf, tf.nn.log_softmax, [2, 3]),
    "xent": lambda tf: xent(tf, f(tf, 2, 3), f(tf, 2, 3)),
    "xent_unknown": lambda tf: xent(tf, f(tf), f(tf)),
    "xent_axis": lambda tf: xent(tf, f(tf, 2, 3, 4), f(tf, 2, 3, 4), axis=1),
    "xent_half": lambda tf: xent(tf, f(tf, None, 3), tf.placeholder(tf.float16, [None, 3])),
    "xent_shapes": lambda tf: xent(tf, [[1.0, 2.0, 3.0]], [[1.0, 2.0]]),
    "xent_grad": lambda tf: g(tf, lambda x, y: xent(tf, x, y), [2, 3], [2, 3]),
    "xent_v1": lambda tf: tf.nn.softmax_cross_entropy_with_logits(
        labels=f(tf, 2, 3), logits=f(tf, 2, 3)
    ),
    "xent_positional": lambda tf: tf.nn.softmax_cross_entropy_with_logits(f(tf, 2), f(tf, 2)),
    "xent_missing": lambda tf: tf.nn.softmax_cross_entropy_with_logits(labels=[1.0]),
    "sparse": lambda tf: sparse(tf, [2], f(tf, 2, 3)),
    "sparse_partial": lambda tf: sparse(tf, [None], f(tf, None, 3)),
    "sparse_half": lambda tf: sparse(tf, [2], tf.placeholder(tf.float16, [2, 3])),
    "sparse_rank3": lambda tf: sparse(tf, [2, 5], f(tf, 2, 5, 3)),
    "sparse_rank": lambda tf: sparse(tf, [2, 1], f(tf, 2, 3)),
    "sparse_shape": lambda tf: sparse(tf, [4], f(tf, 2, 3)),
    "sparse_shape3": lambda tf: sparse(tf, [2, 4], f(tf, 2, 5, 3)),
    "sparse_scalar": lambda tf: sparse(tf, [], 1.0),
    "sparse_grad": lambda tf: g(tf, lambda x: sparse(tf, [2], x), [2, 3]),
    "sigmoid": lambda tf: tf.nn.sigmoid_cross_entropy_with_logits(
        labels=f(tf, 2, 3), logits=f(tf, 2, 3)
    ),
    "sigmoid_shapes": lambda tf: tf.nn.sigmoid_cross_entropy_with_logits(
        labels=f(tf, 2, 4), logits=f(tf, 2, 3)
    ),
    "weighted": lambda tf: tf.nn.weighted_cross_entropy_with_logits(f(tf, 2, 3), f(tf, 2, 3), 2.0),
    "log_poisson": lambda tf: tf.nn.log_poisson_loss(f(tf, 2, 3), f(tf, 2, 3), True),
}

DENSE = {
    "bias_add": lambda tf: tf.nn.bias_add(f(tf, 2, 3), [1.0, 2.0, 3.0]),
    "bias_add_length": lambda tf: tf.nn.bias_add(f(tf, 2, 3), [1.0, 2.0]),
    "bias_add_rank": lambda tf: tf.nn.bias_add(f(tf, 3), [1.0, 2.0, 3.0]),
    "bias_add_format": lambda tf: tf.nn.bias_add(f(tf, 2, 3), [1.0], data_format="XX"),
    "bias_add_grad": lambda tf: g(tf, tf.nn.bias_add, [2, 3], [3]),
    "bias_add_second": lambda tf: g(
        tf, lambda x: tf.raw_ops.BiasAddGrad(out_backprop=x, data_format="NCHW"), [2, 3, 4, 5]
    ),
    "xw_plus_b": lambda tf: tf.nn.xw_plus_b([[1.0, 2.0]], [[1.0], [2.0]], [1.0]),
    "relu_layer": lambda tf: tf.nn.relu_layer([[1.0, 2.0]], [[1.0], [2.0]], [1.0]),
    "l2_normalize": lambda tf: tf.nn.l2_normalize(f(tf, 2, 3), 1),
    "l2_loss_grad": lambda tf: g(tf, tf.nn.l2_loss, [2, 3]),
    "dropout": lambda tf: tf.nn.dropout(f(tf, 2, 3), 0.5),
    "dropout_noise": lambda tf: tf.nn.dropout(f(tf, 2, 3), rate=0.5, noise_shape=[2, None]),
    "dropout_tensor": lambda tf: tf.nn.dropout(f(tf, 2, 3), f(tf)),
    "dropout_all": lambda tf: tf.nn.dropout(f(tf, None, 3), 1.0),
    "dropout_range": lambda tf: tf.nn.dropout(f(tf, None, 3), 1.5),
    "dropout_int": lambda tf: tf.nn.dropout(tf.placeholder(tf.int32, [2]), 0.5),
    "dropout_missing": lambda tf: tf.nn.dropout([1.0]),
    "in_top_k": lambda tf: tf.nn.in_top_k(f(tf, 2, 3), tf.placeholder(tf.int32, [2]), 1),
    "in_top_k_rank": lambda tf: tf.nn.in_top_k([1.0, 2.0], [1], 1),
}

NORM = {
    "moments": lambda tf: tf.nn.moments(f(tf, 2, 3), [0]),
    "moments_half": lambda tf: tf.nn.moments(
        tf.placeholder(tf.float16, [2, 3]), [0, 1], keep_dims=True
    ),
    "weighted_moments": lambda tf: tf.nn.weighted_moments(f(tf, 2, 3), [0], f(tf, 2, 3)),
    "batch_normalization": lambda tf: tf.nn.batch_normalization(
        f(tf, 2, 3), f(tf, 3), f(tf, 3), f(tf, 3), f(tf, 3), 1e-3
    ),
    "batch_normalization_plain": lambda tf: tf.nn.batch_normalization(
        f(tf, 2, 3), f(tf, 3), f(tf, 3), None, None, 1e-3
    ),
    "fused": lambda tf: tf.nn.fused_batch_norm(f(tf, 2, 4, 4, 3), [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    "fused_no_moments": lambda tf: tf.nn.fused_batch_norm(
        f(tf, 2, 4, 4, 3), [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], is_training=False
    ),
    "fused_grad": lambda tf: g(
        tf, lambda x, s, o: tf.nn.fused_batch_norm(x, s, o)[0], [2, 4, 4, 3], [3], [3]
    ),
    "fused_inference_grad": lambda tf: g(
        tf,
        lambda x, s, o, m, v: tf.nn.fused_batch_norm(
            x, s, o, m, v, is_training=False, data_format="NCHW"
        )[0],
        [2, 3, 4, 4],
        [3],
        [3],
        [3],
        [3],
    ),
    "sufficient_statistics": lambda tf: tf.nn.sufficient_statistics(f(tf, 2, 3), [0]),
    "lrn_grad": lambda tf: g(tf, tf.nn.local_response_normalization, [2, 3, 3, 4]),
}

CONV = {
    "conv2d": conv,
    "conv2d_explicit": lambda tf: conv(
        tf, strides=2, padding=[[0, 0], [1, 2], [3, 4], [0, 0]], name="c"
    ),
    "conv2d_depth": lambda tf: conv(tf, w=[3, 3, 4, 5]),
    "conv2d_strides": lambda tf: conv(tf, strides=[1, 1, 1]),
    "conv2d_zero_stride": lambda tf: conv(tf, strides=[1, 0, 1, 1]),
    "conv2d_small": lambda tf: conv(tf, w=[7, 3, 3, 5], padding="VALID"),
    "conv2d_rank": lambda tf: conv(tf, w=[3, 3, 3]),
    "conv2d_grad": lambda tf: g(tf, lambda x, w: tf.nn.conv2d(x, w, BY_2, "SAME"), IMAGE, KERNEL),
    "conv2d_second": lambda tf: g(
        tf,
        lambda x, w: tf.gradients(tf.nn.conv2d(x, w, BY_2, "SAME"), [x, w]),
        IMAGE,
        KERNEL,
    ),
    "conv2d_transpose": lambda tf: tf.nn.conv2d_transpose(
        f(tf, 2, 6, 6, 3), f(tf, 3, 3, 5, 3), [2, 12, 12, 5], BY_2
    ),
    "conv1d": lambda tf: tf.nn.conv1d(f(tf, 2, 6, 3), f(tf, 3, 3, 5), 2, "SAME"),
    "conv1d_ncw": lambda tf: tf.nn.conv1d(
        f(tf, 2, 3, 6), f(tf, 3, 3, 5), 2, "SAME", data_format="NCW"
    ),
    "depthwise_grad": lambda tf: g(
        tf,
        lambda x, w: tf.nn.depthwise_conv2d_native(x, w, ONE, "SAME"),
        IMAGE,
        [3, 3, 3, 2],
    ),
    "convolution": lambda tf: tf.nn.convolution(f(tf, *IMAGE), f(tf, *KERNEL), "SAME"),
    "conv3d": lambda tf: tf.nn.conv3d(
        f(tf, 2, 6, 6, 6, 3), f(tf, 3, 3, 3, 3, 2), [1, 1, 1, 1, 1], "SAME"
    ),
}

POOL = {
    "max_pool": lambda tf: tf.nn.max_pool(f(tf, *IMAGE), BY_2, BY_2, "SAME"),
    "max_pool_numbers": lambda tf: tf.nn.max_pool(f(tf, *IMAGE), 2, [2, 2], "VALID"),
    "max_pool_rank": lambda tf: tf.nn.max_pool(f(tf, 2, 6, 6), BY_2, BY_2, "VALID"),
    "max_pool_small": lambda tf: tf.nn.max_pool(f(tf, *IMAGE), [1, 7, 2, 1], BY_2, "VALID"),
    "max_pool_length": lambda tf: tf.nn.max_pool(f(tf, *IMAGE), [1, 2, 2], BY_2, "VALID"),
    "max_pool_grad": lambda tf: g(tf, lambda x: tf.nn.max_pool(x, BY_2, BY_2, "SAME"), IMAGE),
    "max_pool_second": lambda tf: g(
        tf, lambda x: tf.gradients(tf.nn.max_pool(x, BY_2, BY_2, "SAME"), x), IMAGE
    ),
    "avg_pool_grad": lambda tf: g(tf, lambda x: tf.nn.avg_pool(x, BY_2, BY_2, "SAME"), IMAGE),
    "argmax_grad": lambda tf: g(
        tf, lambda x: tf.nn.max_pool_with_argmax(x, BY_2, BY_2, "SAME")[0], IMAGE
    ),
}


def table(tf, rows=3):
    return f(tf, rows, 3)


SAMPLED = [[20, 4], [20], [3, 4]]


def sampled(tf, loss, **more):
    w, b, x = (f(tf, *shape) for shape in SAMPLED)
    labels = tf.placeholder(tf.int64, [3, 1])
    return getattr(tf.nn, loss)(w, b, labels, x, 6, 20, **more)


EMBEDDING = {
    "lookup": lambda tf: tf.nn.embedding_lookup(table(tf), [1, 2]),
    "lookup_norm": lambda tf: tf.nn.embedding_lookup(table(tf), [1, 2], max_norm=1.0),
    "lookup_mod": lambda tf: tf.nn.embedding_lookup(
        [table(tf, 3), table(tf, 2)], tf.placeholder(tf.int32, [None])
    ),
    "lookup_div": lambda tf: tf.nn.embedding_lookup(
        [table(tf, 3), table(tf, 2)], tf.placeholder(tf.int64, [2, 2]), "div"
    ),
    "lookup_none": lambda tf: tf.nn.embedding_lookup([], [1]),
    "lookup_strategy": lambda tf: tf.nn.embedding_lookup([table(tf), table(tf)], [1], "x"),
    "nce": lambda tf: sampled(tf, "nce_loss"),
    "sampled_softmax": lambda tf: sampled(tf, "sampled_softmax_loss"),
    "candidates": lambda tf: tf.nn.log_uniform_candidate_sampler([[1]], 1, 5, True, 100),
}

CASES = {}
for group in (ACTIVATIONS, SOFTMAX, DENSE, NORM, CONV, POOL, EMBEDDING):
    CASES.update(group)


def describe(tf, build):
    """The nodes that `build` adds, one line each, or the error it raises."""
    with tf.Graph().as_default() as graph:
        try:
            build(tf)
        except Exception as error:  # the error is what is compared
            return [f"{type(error).__name__}: {error}"]
        return [
            f"{op.type} {op.name} {' '.join(t.name for t in op.inputs)}".rstrip()
            for op in graph.get_operations()
        ]
