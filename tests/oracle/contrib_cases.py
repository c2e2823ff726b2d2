# ruff: noqa: E731, UP031
"""Programs about `tf.contrib`: layers, slim, framework, rnn; and `tf.make_template`."""


def _collections(tf):
    graph = tf.get_default_graph()
    found = {}
    for key in sorted(k for k in graph.get_all_collection_keys() if isinstance(k, str)):
        if graph.get_collection(key) and "context" not in key:
            found[key] = [getattr(item, "name", str(item)) for item in graph.get_collection(key)]
    return found


def _image(tf, *shape):
    return tf.placeholder(tf.float32, list(shape) or [None, 8, 8, 3], name="x")


def fully_connected(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = layers.fully_connected(x, 3)
    b = layers.fully_connected(a, 2, activation_fn=None, scope="out")
    c = layers.fully_connected(
        b, 2, weights_regularizer=layers.l2_regularizer(0.1), biases_initializer=None,
        weights_initializer=tf.truncated_normal_initializer(stddev=0.1, seed=2),
        variables_collections=["mine"], outputs_collections="outs",
    )  # fmt: skip
    d = layers.linear(c, 2)
    e = layers.relu(d, 2, scope="r")
    return [a, b, c, d, e, _collections(tf)]


def fully_connected_normalized(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = layers.fully_connected(x, 3, normalizer_fn=layers.batch_norm)
    b = layers.fully_connected(
        a, 3, normalizer_fn=layers.batch_norm, normalizer_params={"is_training": False}
    )
    return [a, b, _collections(tf)]


def fully_connected_reuse(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    layers.fully_connected(x, 3, scope="f")
    layers.fully_connected(x, 3, scope="f", reuse=True)
    with tf.variable_scope("s"):
        layers.fully_connected(x, 3)
    with tf.variable_scope("s", reuse=True):
        layers.fully_connected(x, 3)
    return _collections(tf)


def conv2d(tf, err):
    layers = tf.contrib.layers
    x = _image(tf)
    a = layers.conv2d(x, 4, [3, 3])
    b = layers.conv2d(a, 4, 3, stride=2, padding="VALID", activation_fn=None, scope="c")
    c = layers.conv2d(b, 2, 1, normalizer_fn=layers.batch_norm, normalizer_params={"scale": True})
    d = layers.convolution2d(c, 2, 1, biases_initializer=None)
    return [a, b, c, d, _collections(tf)]


def conv2d_transpose_and_separable(tf, err):
    layers = tf.contrib.layers
    x = _image(tf, 2, 8, 8, 3)
    a = layers.conv2d_transpose(x, 4, 3, stride=2)
    b = layers.separable_conv2d(x, 4, 3, 1)
    return [a, b, _collections(tf)]


def pooling(tf, err):
    layers = tf.contrib.layers
    x = _image(tf)
    a = layers.max_pool2d(x, [2, 2])
    b = layers.avg_pool2d(x, 3, 1, padding="SAME", scope="p")
    c = layers.flatten(a)
    d = layers.flatten(b, scope="f", outputs_collections="o")
    return [a, b, c, d, _collections(tf)]


def batch_norm(tf, err):
    layers = tf.contrib.layers
    a = layers.batch_norm(_image(tf))
    b = layers.batch_norm(
        _image(tf), is_training=False, scale=True, decay=0.9, epsilon=1e-4, scope="b"
    )
    return [a, b, _collections(tf)]


def batch_norm_plain(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = layers.batch_norm(x, fused=False, center=False)
    b = layers.batch_norm(x, updates_collections=None, activation_fn=tf.nn.relu)
    return [a, b, _collections(tf)]


def batch_norm_placeholder(tf, err):
    layers = tf.contrib.layers
    mode = tf.placeholder(tf.bool, [], name="mode")
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    return [layers.batch_norm(x, is_training=mode, fused=False), _collections(tf)]


def dropout_and_small(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    a = layers.dropout(x, 0.7)
    b = layers.dropout(x, is_training=False, scope="d")
    c = layers.one_hot_encoding(tf.placeholder(tf.int64, [None], name="y"), 3)
    d = layers.softmax(x)
    e = layers.bias_add(x)
    f = layers.repeat(x, 2, layers.fully_connected, 3, scope="rep")
    g = layers.stack(x, layers.fully_connected, [3, 2], scope="st")
    h = layers.layer_norm(x)
    return [a, b, c, d, e, f, g, h, _collections(tf)]


def regularizers(tf, err):
    layers = tf.contrib.layers
    w = tf.get_variable("w", [2, 3], regularizer=layers.l2_regularizer(0.5))
    v = tf.get_variable("v", [2, 3], regularizer=layers.l1_regularizer(0.5, scope="mine"))
    a = layers.l1_l2_regularizer(0.1, 0.2)(w)
    b = layers.sum_regularizer([layers.l1_regularizer(0.1), layers.l2_regularizer(0.2)])(v)
    c = layers.apply_regularization(layers.l2_regularizer(0.3), [w, v])
    d = layers.l2_regularizer(0.0)(w)
    e = layers.l1_regularizer(0.0)(w)
    return [a, b, c, d, e, _collections(tf), err(lambda: layers.l2_regularizer(-1.0)),
            err(lambda: layers.l1_regularizer(2)), err(lambda: layers.apply_regularization(None, []))]  # fmt: skip


def initializers(tf, err):
    layers = tf.contrib.layers
    for i, init in enumerate([
        layers.xavier_initializer(), layers.xavier_initializer(uniform=False, seed=3), layers.xavier_initializer_conv2d(),
        layers.variance_scaling_initializer(), layers.variance_scaling_initializer(1.0, "FAN_AVG", True),
        layers.variance_scaling_initializer(mode="FAN_OUT", uniform=True, seed=2),
    ]):  # fmt: skip
        tf.get_variable("w%d" % i, [3, 3, 4, 5], initializer=init)
    tf.get_variable("last", [7, 5], initializer=layers.xavier_initializer())
    return [
        err(lambda: layers.variance_scaling_initializer(mode="what")),
        err(lambda: layers.xavier_initializer(dtype=tf.int32)),
    ]


def summaries(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = layers.fully_connected(x, 2)
    return [
        layers.summarize_tensor(x),
        layers.summarize_tensor(tf.constant(1.0), tag="one"),
        layers.summarize_activation(y),
        layers.summarize_collection("trainable_variables"),
        layers.summarize_collection("trainable_variables", name_filter=".*weights"),
    ]


def slim_scopes(tf, err):
    slim = tf.contrib.slim
    x = _image(tf)
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        weights_initializer=tf.truncated_normal_initializer(0.0, 0.01, seed=1),
        weights_regularizer=slim.l2_regularizer(0.0005),
    ):
        with slim.arg_scope([slim.conv2d], stride=1, padding="SAME") as scope:
            net = slim.repeat(x, 2, slim.conv2d, 4, [3, 3], scope="conv1")
            net = slim.max_pool2d(net, [2, 2], scope="pool1")
            net = slim.conv2d(net, 4, [3, 3], padding="VALID", scope="conv2")
        with slim.arg_scope(scope):
            net = slim.conv2d(net, 4, [1, 1])
        net = slim.flatten(net, scope="flat")
        net = slim.stack(net, slim.fully_connected, [4, 3], scope="fc")
        net = slim.dropout(net, 0.5, is_training=False, scope="drop")
        net = slim.fully_connected(net, 2, activation_fn=None, scope="out")
    return [net, _collections(tf)]


def slim_variables_and_losses(tf, err):
    slim = tf.contrib.slim
    w = slim.variable(
        "w",
        shape=[2],
        initializer=tf.zeros_initializer(),
        regularizer=slim.l2_regularizer(0.1),
        device="/cpu:0",
    )
    m = slim.model_variable("m", shape=[3], initializer=tf.ones_initializer())
    local = slim.local_variable(tf.zeros([2]), name="local")
    with tf.variable_scope("s"):
        slim.model_variable("k", shape=[1])
    return [
        w, m, local, slim.get_variables(), slim.get_model_variables(), slim.get_local_variables(),
        slim.get_variables("s"), slim.get_variables_by_name("k"), slim.get_variables_by_suffix("k"),
        slim.get_variables_to_restore(exclude=["s"]), slim.get_unique_variable("s/k"), slim.get_trainable_variables(),
        err(lambda: slim.get_unique_variable("none")), _collections(tf),
    ]  # fmt: skip


def arg_scopes(tf, err):
    framework = tf.contrib.framework

    @framework.add_arg_scope
    def first(a, b=1, c=2):
        return [a, b, c]

    @framework.add_arg_scope
    def second(a, b=5):
        return [a, b]

    out = []
    with framework.arg_scope([first, second], b=7):
        out += [first(0), second(0), first(0, b=9)]
        with framework.arg_scope([first], c=8) as scope:
            out += [first(1), second(1)]
    with framework.arg_scope(scope):
        out += [first(2)]
    out += [
        first(3),
        framework.has_arg_scope(first),
        framework.has_arg_scope(len),
        framework.arg_scoped_arguments(first),
    ]
    out.append(err(lambda: framework.arg_scope(3).__enter__()))
    return out


def framework_functions(tf, err):
    framework = tf.contrib.framework
    a = framework.variable("a", [2], initializer=tf.zeros_initializer(), trainable=False)
    b = framework.local_variable([1.0], name="b")
    c = framework.model_variable("c", [2], collections=["z"])
    d = framework.get_or_create_global_step()
    framework.add_model_variable(a)
    return [
        a, b, c, d, framework.get_variables("a"), framework.get_variables_by_name("c"), framework.get_model_variables(),
        framework.get_variable_full_name(c), framework.get_name_scope(), framework.is_tensor(a), framework.is_tensor(1),
        framework.get_global_step(), framework.filter_variables([a, c], ["a"]), _collections(tf),
    ]  # fmt: skip


def rnn_aliases(tf, err):
    rnn = tf.contrib.rnn
    x = tf.placeholder(tf.float32, [2, 3, 4], name="x")
    cell = rnn.MultiRNNCell(
        [rnn.BasicLSTMCell(3), rnn.DropoutWrapper(rnn.GRUCell(2), output_keep_prob=0.5, seed=1)]
    )
    outputs, state = rnn.static_rnn(
        rnn.OutputProjectionWrapper(cell, 5), tf.unstack(x, axis=1), dtype=tf.float32
    )
    return [
        outputs,
        state,
        [v.name for v in tf.global_variables()],
        isinstance(state[0], rnn.LSTMStateTuple),
    ]


def templates(tf, err):
    def scale(x, factor, name="w"):
        w = tf.get_variable(name, shape=[], initializer=tf.ones_initializer())
        return x * w * factor

    x = tf.placeholder(tf.float32, [2], name="x")
    first = tf.make_template("scale", scale, factor=2.0)
    a, b = first(x), first(x)
    second = tf.make_template("scale", scale, factor=3.0)
    c = second(x)
    with tf.variable_scope("outer"):
        third = tf.make_template("inner", scale, factor=3.0)
        d = third(x)
        fourth = tf.make_template("now", scale, create_scope_now_=True, factor=1.0)
    e = fourth(x)
    out = [
        a,
        b,
        c,
        d,
        e,
        first.name,
        first.variable_scope.name,
        first.variables,
        first.trainable_variables,
    ]
    out.append(err(lambda: first(x, name="other"))["message"].split("\n")[0])
    unique = tf.make_template("u", scale, unique_name_="exact", factor=2.0)
    out += [unique(x)]
    return out + [_collections(tf)]


def slim_losses_only_values(tf, err):
    import numpy as np

    losses = tf.contrib.slim.losses
    p, y = (
        tf.constant([[0.5, 2.0, -1.0], [0.1, 0.2, 0.3]]),
        tf.constant([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    )
    made = [
        losses.softmax_cross_entropy(p, y), losses.softmax_cross_entropy(p, y, weights=0.5, label_smoothing=0.1),
        losses.sparse_softmax_cross_entropy(p, tf.constant([1, 0])), losses.mean_squared_error(p, y),
        losses.absolute_difference(p, y, 2.0), losses.sigmoid_cross_entropy(p, y), losses.hinge_loss(p, y),
        losses.log_loss(tf.sigmoid(p), y), losses.get_total_loss(),
    ]  # fmt: skip
    with tf.Session() as session:
        return [np.round(v, 4) for v in session.run(made)]


def seq2seq_only_values(tf, err):
    import numpy as np

    seq = tf.contrib.legacy_seq2seq
    tf.set_random_seed(3)
    out = []
    start = tf.random_uniform_initializer(-0.3, 0.3, seed=4)
    with tf.variable_scope("", initializer=start):
        xs = [tf.constant([1, 2]), tf.constant([3, 0])]
        ys = [tf.constant([0, 1]), tf.constant([2, 3]), tf.constant([1, 1])]
        cell = lambda: tf.contrib.rnn.BasicLSTMCell(4)
        a, state = seq.embedding_rnn_seq2seq(xs, ys, cell(), 5, 5, 3)
        with tf.variable_scope("tied"):
            b, _ = seq.embedding_rnn_seq2seq(xs, ys, cell(), 5, 5, 3, feed_previous=True)
        inputs = [tf.ones([2, 3]) * k for k in (0.1, 0.2)]
        with tf.variable_scope("dec"):
            c, _ = seq.rnn_decoder(
                inputs,
                cell().zero_state(2, tf.float32),
                cell(),
                loop_function=lambda p, i: p[:, :3] * i,
            )
        with tf.variable_scope("basic"):
            d, _ = seq.basic_rnn_seq2seq(inputs, inputs, cell())
        with tf.variable_scope("t"):
            e, _ = seq.tied_rnn_seq2seq(inputs, inputs, cell())
        logits = a
        weights = [tf.constant([1.0, 0.5]), tf.constant([1.0, 1.0]), tf.constant([0.0, 1.0])]
        losses = seq.sequence_loss_by_example(logits, ys, weights)
        loss = seq.sequence_loss(logits, ys, weights)
    names = sorted(v.name for v in tf.global_variables())
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        out = session.run([a, state, b, c, d, e, losses, loss])
    return [
        names,
        [
            np.round(v, 4)
            for part in out
            for v in (part if isinstance(part, (list, tuple)) else [part])
        ],
    ]


def contrib_errors(tf, err):
    layers = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    return [
        err(lambda: layers.fully_connected(x, 2.5)),
        err(lambda: layers.conv2d(x, 2, 3)),
        err(lambda: layers.conv2d(_image(tf), 2, 3, data_format="what")),
        err(lambda: layers.max_pool2d(_image(tf), 2, data_format="what")),
        err(lambda: layers.batch_norm(tf.placeholder(tf.float32))),
    ]


def slim_training_only_values(tf, err):
    import numpy as np

    slim = tf.contrib.slim
    tf.set_random_seed(4)
    x, y = tf.placeholder(tf.float32, [None, 6, 6, 3]), tf.placeholder(tf.int32, [None])
    params = {"is_training": True, "decay": 0.9}
    with slim.arg_scope([slim.conv2d, slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.001),
                        normalizer_fn=slim.batch_norm, normalizer_params=params):  # fmt: skip
        net = slim.repeat(x, 2, slim.conv2d, 4, [3, 3], scope="conv")
        net = slim.flatten(slim.max_pool2d(net, [2, 2], scope="pool"))
        net = slim.dropout(slim.fully_connected(net, 8, scope="fc"), 0.8)
    logits = slim.fully_connected(net, 4, activation_fn=None, scope="logits")
    tf.losses.sparse_softmax_cross_entropy(y, logits)
    total = tf.losses.get_total_loss()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.RMSPropOptimizer(0.005).minimize(total)
    random = np.random.RandomState(0)
    found = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(6):
            feed = {x: random.rand(8, 6, 6, 3), y: random.randint(0, 4, 8)}
            found.append(np.round(session.run([total, train], feed)[0], 3))
    return found
