# ruff: noqa: E731, PLW0108
"""Programs about `tf.layers`: what each layer builds, names, shares and registers."""


def _image(tf, *shape):
    return tf.placeholder(tf.float32, list(shape) or [None, 8, 8, 3], name="x")


def _collections(tf):
    graph = tf.get_default_graph()
    found = {}
    for key in sorted(k for k in graph.get_all_collection_keys() if isinstance(k, str)):
        if graph.get_collection(key):
            found[key] = [getattr(item, "name", str(item)) for item in graph.get_collection(key)]
    return found


def dense(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = tf.layers.dense(x, 3)
    z = tf.layers.dense(y, 2, activation=tf.nn.relu, name="out")
    w = tf.layers.dense(z, 2, use_bias=False)
    return [y, z, w, _collections(tf)]


def dense_initializers(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = tf.layers.dense(
        x,
        3,
        kernel_initializer=tf.truncated_normal_initializer(stddev=0.1, seed=3),
        bias_initializer=tf.constant_initializer(0.5),
        trainable=False,
    )
    with tf.variable_scope("v", initializer=tf.zeros_initializer()):
        tf.layers.dense(y, 2, tf.nn.softmax)
    with tf.name_scope("n"):
        tf.layers.dense(y, 2, tf.tanh)
        tf.layers.dense(y, 2)
    return _collections(tf)


def dense_high_rank(tf, err):
    x = tf.placeholder(tf.float32, [None, 5, 4], name="x")
    y = tf.layers.dense(x, 3)
    z = tf.layers.dense(tf.zeros([2, 5, 4]), 3, activation=tf.nn.relu)
    return [y, z]


def dense_gradients(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = tf.layers.dense(x, 3, activation=tf.nn.relu)
    loss = tf.reduce_mean(tf.square(y))
    tf.train.GradientDescentOptimizer(0.1).minimize(loss)


def dense_regularized(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    reg = lambda w: tf.reduce_sum(w * w)
    layer = tf.layers.Dense(
        3,
        kernel_regularizer=reg,
        bias_regularizer=lambda b: 0.1 * tf.nn.l2_loss(b),
        activity_regularizer=lambda t: tf.reduce_sum(t),
        kernel_constraint=lambda w: w,
    )
    y = layer(x)
    return [y, layer.losses, layer.get_losses_for(x), layer.get_losses_for(None), _collections(tf)]


def dense_reuse(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = tf.layers.dense(x, 3, name="d")
    b = tf.layers.dense(x, 3, name="d", reuse=True)
    with tf.variable_scope("s"):
        c = tf.layers.dense(x, 3, name="d")
    with tf.variable_scope("s", reuse=True):
        d = tf.layers.dense(x, 3, name="d")
    with tf.variable_scope("t", reuse=tf.AUTO_REUSE):
        e = tf.layers.dense(x, 3, name="d")
        f = tf.layers.dense(x, 3, name="d")
        h = tf.layers.dense(x, 3)
    with tf.variable_scope("u") as scope:
        tf.layers.dense(x, 3, name="d")
        scope.reuse_variables()
        tf.layers.dense(x, 3, name="d")
    return [a, b, c, d, e, f, h, _collections(tf)]


def dense_object(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    layer = tf.layers.Dense(3, name="mine")
    out = [layer.name, layer.built, layer.units, err(lambda: layer.variables)]
    y = layer(x)
    z = layer(x)
    w = layer.apply(x)
    out += [y, z, w, layer.kernel, layer.bias, layer.variables, layer.trainable_variables]
    out += [layer.weights, layer.trainable_weights, layer.non_trainable_weights, layer.built]
    out += [
        err(lambda: layer.input),
        layer.dtype,
        layer.trainable,
    ]
    out += [layer.scope_name, layer.losses, layer.updates]
    other = tf.layers.Dense(3)
    other(x)
    another = tf.layers.Dense(3, _scope="mine", _reuse=True)
    another(x)
    out += [other.name, other.scope_name, another.name, another.kernel is layer.kernel]
    out += [layer.compute_output_shape([None, 4])]
    return out


def dense_numpy_input_and_dtypes(tf, err):
    import numpy as np

    a = tf.layers.dense(np.ones([2, 3]), 2)
    b = tf.layers.dense(np.ones([2, 3], np.float32), 2)
    c = tf.layers.dense(tf.placeholder(tf.float64, [None, 3]), 2)
    d = tf.layers.dense(tf.placeholder(tf.float16, [None, 3]), 2)
    return [a, b, c, d, _collections(tf)]


def conv2d(tf, err):
    x = _image(tf)
    a = tf.layers.conv2d(x, 4, 3)
    b = tf.layers.conv2d(x, filters=4, kernel_size=[5, 5], padding="same", activation=tf.nn.relu)
    c = tf.layers.conv2d(b, 4, (3, 3), strides=(2, 2), use_bias=False, name="third")
    return [a, b, c, _collections(tf)]


def conv2d_channels_first(tf, err):
    x = tf.placeholder(tf.float32, [None, 3, 8, 8], name="x")
    a = tf.layers.conv2d(x, 4, 3, 2, "same", data_format="channels_first", activation=tf.nn.relu)
    return [a]


def conv2d_object(tf, err):
    x = _image(tf)
    layer = tf.layers.Conv2D(4, 3, kernel_regularizer=tf.nn.l2_loss)
    a = layer(x)
    return [a, layer.kernel, layer.bias, layer.filters, layer.kernel_size, layer.strides, layer.padding,
            layer.name, layer.losses, layer.compute_output_shape(x.shape)]  # fmt: skip


def conv1d(tf, err):
    x = tf.placeholder(tf.float32, [None, 9, 3], name="x")
    a = tf.layers.conv1d(x, 4, 3)
    b = tf.layers.conv1d(a, 4, 3, strides=2, padding="same", activation=tf.nn.relu)
    return [a, b, _collections(tf)]


def conv3d(tf, err):
    x = tf.placeholder(tf.float32, [None, 5, 6, 7, 3], name="x")
    a = tf.layers.conv3d(x, 4, 3)
    b = tf.layers.conv3d(x, 2, (1, 2, 3), strides=2, padding="same", activation=tf.nn.relu)
    return [a, b]


def conv2d_transpose(tf, err):
    x = _image(tf)
    a = tf.layers.conv2d_transpose(x, 4, 3)
    b = tf.layers.conv2d_transpose(x, 4, 5, strides=2, padding="same", activation=tf.nn.relu)
    c = tf.layers.conv2d_transpose(
        tf.zeros([2, 4, 4, 3]), 2, [3, 3], strides=(2, 2), use_bias=False
    )
    return [a, b, c, _collections(tf)]


def separable_conv2d(tf, err):
    x = _image(tf)
    a = tf.layers.separable_conv2d(x, 4, 3)
    b = tf.layers.separable_conv2d(x, 4, 3, 2, "same", depth_multiplier=2, activation=tf.nn.relu)
    c = tf.layers.separable_conv2d(x, 4, 3, use_bias=False, depthwise_regularizer=tf.nn.l2_loss)
    return [a, b, c, _collections(tf)]


def pooling2d(tf, err):
    x = _image(tf)
    a = tf.layers.max_pooling2d(x, 2, 2)
    b = tf.layers.max_pooling2d(x, [2, 2], strides=[2, 2], padding="same", name="p")
    c = tf.layers.average_pooling2d(x, (3, 3), (1, 1))
    d = tf.layers.max_pooling2d(tf.zeros([2, 3, 8, 8]), 2, 2, data_format="channels_first")
    e = tf.layers.MaxPooling2D(2, 2)(x)
    return [a, b, c, d, e]


def pooling1d(tf, err):
    x = tf.placeholder(tf.float32, [None, 9, 3], name="x")
    a = tf.layers.max_pooling1d(x, 2, 2)
    b = tf.layers.average_pooling1d(x, 3, 1, padding="same")
    return [a, b]


def flatten(tf, err):
    x = _image(tf)
    a = tf.layers.flatten(x)
    b = tf.layers.flatten(tf.zeros([2, 3, 4]), name="f")
    c = tf.layers.flatten(tf.placeholder(tf.float32, [None, None, 3]))
    d = tf.layers.Flatten()(tf.placeholder(tf.float32, [2, None]))
    e = tf.layers.flatten(tf.placeholder(tf.float32, [3]))
    f = tf.layers.flatten(tf.zeros([2, 3, 4]), data_format="channels_first")
    return [a, b, c, d, e, f]


def dropout(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = tf.layers.dropout(x)
    b = tf.layers.dropout(x, 0.25, training=True, seed=3)
    mode = tf.placeholder(tf.bool, name="mode")
    c = tf.layers.dropout(x, rate=0.4, training=mode)
    d = tf.layers.dropout(x, 0.5, noise_shape=[None, 1], training=True, name="d")
    e = tf.layers.Dropout(0.5)(x, training=tf.constant(True))
    f = tf.layers.dropout(x, training=mode, rate=tf.placeholder(tf.float32, [], name="rate"))
    return [a, b, c, d, e, f]


def batch_norm_fused(tf, err):
    x = _image(tf)
    a = tf.layers.batch_normalization(x, training=True)
    b = tf.layers.batch_normalization(x)
    c = tf.layers.batch_normalization(
        x, training=True, scale=False, center=False, name="plain", momentum=0.9
    )
    return [a, b, c, _collections(tf)]


def batch_norm_fused_placeholder(tf, err):
    x = _image(tf)
    mode = tf.placeholder(tf.bool, [], name="mode")
    a = tf.layers.batch_normalization(x, training=mode, fused=True)
    return [a, _collections(tf)]


def batch_norm_plain(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = tf.layers.batch_normalization(x, training=True)
    b = tf.layers.batch_normalization(x, training=False)
    c = tf.layers.batch_normalization(x, training=True, center=False, epsilon=1e-5, name="c")
    d = tf.layers.batch_normalization(_image(tf), training=True, fused=False, axis=3)
    e = tf.layers.batch_normalization(_image(tf), axis=1, fused=False)
    return [a, b, c, d, e, _collections(tf)]


def batch_norm_placeholder(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    mode = tf.placeholder(tf.bool, [], name="mode")
    a = tf.layers.batch_normalization(x, training=mode)
    return [a, _collections(tf)]


def batch_norm_object(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    layer = tf.layers.BatchNormalization(name="bn", beta_regularizer=tf.nn.l2_loss)
    a = layer(x, training=True)
    b = layer.apply(x, training=False)
    return [a, b, layer.updates, layer.variables, layer.trainable_variables, layer.gamma, layer.beta,
            layer.moving_mean, layer.moving_variance, layer.get_updates_for(x), layer.losses]  # fmt: skip


def batch_norm_reuse(tf, err):
    x = _image(tf)
    tf.layers.batch_normalization(x, training=True, name="bn")
    tf.layers.batch_normalization(x, training=False, name="bn", reuse=True)
    return _collections(tf)


def default_names(tf, err):
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="x")
    with tf.variable_scope("outer"):
        y = tf.layers.conv2d(x, 2, 3, name="c")
        y = tf.layers.max_pooling2d(y, 2, 2)
        y = tf.layers.max_pooling2d(y, 2, 1)
        y = tf.layers.flatten(y)
        y = tf.layers.dense(y, 2)
        y = tf.layers.dense(y, 2)
        y = tf.layers.dropout(y)
    with tf.variable_scope("outer"):
        tf.layers.dense(y, 2, name="other")
    with tf.variable_scope("outer_2"):
        tf.layers.dense(y, 2)
    tf.layers.dense(y, 2)
    return _collections(tf)


def custom_layer(tf, err):
    class Scale(tf.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.input_spec = None

        def build(self, input_shape):
            self.w = self.add_variable(
                "w", shape=[int(input_shape[-1])], initializer=tf.ones_initializer()
            )
            self.c = self.add_weight(
                "c", [2], trainable=False, initializer=tf.zeros_initializer(), dtype=tf.int32
            )
            self.built = True

        def call(self, inputs, factor=2.0):
            self.add_loss(tf.reduce_sum(self.w * 1.0))
            self.add_update(self.c.assign_add([1, 1]))
            return inputs * self.w * factor

    x = tf.placeholder(tf.float32, [None, 4], name="x")
    layer = Scale()
    other = Scale(name="named", trainable=False)
    y = layer(x)
    z = other(x, factor=3.0)
    return [y, z, layer.variables, layer.trainable_variables, other.trainable_variables, layer.losses,
            layer.updates, layer.name, _collections(tf)]  # fmt: skip


def layers_errors(tf, err):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    unknown = tf.placeholder(tf.float32, name="u")
    tf.layers.dense(x, 3, name="d")
    return [
        err(lambda: tf.layers.dense(x, 3, name="e", reuse=True)),
        err(lambda: tf.layers.dense(x, 5, name="d", reuse=True)),
        err(lambda: tf.layers.dense(unknown, 3)),
        err(lambda: tf.layers.dense(tf.placeholder(tf.float32, [None, None]), 3)),
        err(lambda: tf.layers.dense(tf.placeholder(tf.int32, [None, 3]), 3)),
        err(lambda: tf.layers.dense(tf.placeholder(tf.float32, [3]), 3)),
        err(lambda: tf.layers.conv2d(x, 3, 3)),
        err(lambda: tf.layers.conv2d(tf.placeholder(tf.float32, [None, 8, 8, None]), 3, 3)),
        err(lambda: tf.layers.conv2d(_image(tf), 3, 3, padding="other")),
        err(lambda: tf.layers.conv2d(_image(tf), 3, [3, 3, 3])),
        err(lambda: tf.layers.conv2d(_image(tf), 3, 3, data_format="NHWC")),
        err(lambda: tf.layers.conv2d(_image(tf), 3, 3, strides=2, dilation_rate=2)),
        err(lambda: tf.layers.max_pooling2d(x, 2, 2)),
        err(lambda: tf.layers.max_pooling2d(_image(tf), 2, "a")),
        err(lambda: tf.layers.flatten(unknown)),
        err(lambda: tf.layers.flatten(tf.placeholder(tf.float32, []))),
        err(lambda: tf.layers.batch_normalization(tf.placeholder(tf.float32, [None, None]))),
        err(lambda: tf.layers.batch_normalization(x, axis=5)),
        err(lambda: tf.layers.Dense(3).kernel),
        err(lambda: tf.layers.Dense(3, what=1)),
    ]


def _train(tf, loss, feeds, optimizer, steps=8):
    import numpy as np

    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = optimizer.minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return [np.round(session.run([loss, train], feeds())[0], 3) for _ in range(steps)]


def training_only_values(tf, err):
    import numpy as np

    random = np.random.RandomState(0)
    out = []
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        x, y = tf.placeholder(tf.float32, [None, 100]), tf.placeholder(tf.int64, [None])
        net = tf.reshape(x, [-1, 10, 10, 1])
        net = tf.layers.conv2d(net, 4, 3, padding="same", activation=tf.nn.relu)
        net = tf.layers.max_pooling2d(net, 2, 2)
        net = tf.layers.dense(tf.layers.flatten(net), 12, activation=tf.nn.relu)
        net = tf.layers.dropout(net, 0.4, training=True)
        loss = tf.losses.sparse_softmax_cross_entropy(labels=y, logits=tf.layers.dense(net, 10))
        feeds = lambda: {x: random.rand(16, 100), y: random.randint(0, 10, 16)}
        out.append(_train(tf, loss, feeds, tf.train.AdamOptimizer(1e-2)))
    with tf.Graph().as_default():
        tf.set_random_seed(3)
        x, y = tf.placeholder(tf.float32, [None, 6, 6, 3]), tf.placeholder(tf.int32, [None])
        training = tf.placeholder_with_default(True, ())
        net = tf.layers.conv2d(x, 4, 3, use_bias=False)
        net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, momentum=0.9))
        net = tf.layers.dense(tf.layers.flatten(net), 8, use_bias=False)
        net = tf.nn.elu(tf.layers.batch_normalization(net, training=training))
        loss = tf.losses.sparse_softmax_cross_entropy(labels=y, logits=tf.layers.dense(net, 4))
        feeds = lambda: {x: random.rand(8, 6, 6, 3), y: random.randint(0, 4, 8)}
        out.append(_train(tf, loss, feeds, tf.train.MomentumOptimizer(0.05, 0.9)))
    return out
