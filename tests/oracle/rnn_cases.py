# ruff: noqa: B023, E731
"""Programs about `tf.nn.rnn_cell`, `tf.nn.static_rnn` and its siblings."""


def _xs(tf, steps=3, batch=2, size=4):
    x = tf.placeholder(tf.float32, [batch, steps, size], name="x")
    return tf.unstack(x, steps, 1)


def _names(tf):
    return [v.name + " " + str(v.shape) for v in tf.global_variables()]


def basic_rnn(tf, err):
    cell = tf.nn.rnn_cell.BasicRNNCell(5)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf), dtype=tf.float32)
    return [outputs, state, cell.state_size, cell.output_size, cell.variables, _names(tf)]


def basic_lstm(tf, err):
    cell = tf.nn.rnn_cell.BasicLSTMCell(5, forget_bias=1.0)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf), dtype=tf.float32)
    return [outputs, state, list(cell.state_size), cell.output_size, _names(tf)]


def basic_lstm_unknown_batch(tf, err):
    cell = tf.nn.rnn_cell.BasicLSTMCell(5, state_is_tuple=True)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, batch=None), dtype=tf.float32)
    return [outputs[-1], state]


def basic_lstm_joined(tf, err):
    cell = tf.nn.rnn_cell.BasicLSTMCell(5, state_is_tuple=False, activation=tf.nn.relu)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf), dtype=tf.float32, scope="mine")
    return [outputs, state, cell.state_size]


def lstm(tf, err):
    cell = tf.nn.rnn_cell.LSTMCell(5)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, _names(tf)]


def lstm_full(tf, err):
    cell = tf.nn.rnn_cell.LSTMCell(
        5, use_peepholes=True, num_proj=3, cell_clip=2.0, proj_clip=1.0,
        initializer=tf.random_uniform_initializer(-1, 1, seed=2), name="full",
    )  # fmt: skip
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, cell.output_size, _names(tf)]


def gru(tf, err):
    cell = tf.nn.rnn_cell.GRUCell(5)
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, _names(tf)]


def multi(tf, err):
    make = tf.nn.rnn_cell.BasicLSTMCell
    cell = tf.nn.rnn_cell.MultiRNNCell([make(5), make(3)])
    state = cell.zero_state(2, tf.float32)
    outputs, final = tf.nn.static_rnn(cell, _xs(tf, 2), initial_state=state)
    return [outputs, final, cell.output_size, [list(s) for s in cell.state_size], _names(tf)]


def multi_gru_unknown_batch(tf, err):
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.GRUCell(3) for _ in range(2)])
    batch = tf.placeholder(tf.int32, [], name="batch")
    state = cell.zero_state(batch, tf.float32)
    return [state]


def step_by_step(tf, err):
    cell = tf.nn.rnn_cell.BasicLSTMCell(3)
    state = cell.zero_state(2, tf.float32)
    with tf.variable_scope("RNN"):
        for step, x in enumerate(_xs(tf, 2)):
            if step > 0:
                tf.get_variable_scope().reuse_variables()
            output, state = cell(x, state)
    return [output, state, _names(tf)]


def dropout_wrapper(tf, err):
    cell = tf.nn.rnn_cell.DropoutWrapper(
        tf.nn.rnn_cell.BasicRNNCell(3), output_keep_prob=0.5, seed=1
    )
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, cell.state_size, cell.output_size]


def dropout_wrapper_full(tf, err):
    keep = tf.placeholder(tf.float32, [], name="keep")
    cell = tf.nn.rnn_cell.DropoutWrapper(
        tf.nn.rnn_cell.BasicLSTMCell(3),
        input_keep_prob=keep,
        output_keep_prob=keep,
        state_keep_prob=0.9,
    )
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 1), dtype=tf.float32)
    return [outputs, state]


def wrappers(tf, err):
    cell = tf.nn.rnn_cell.ResidualWrapper(tf.nn.rnn_cell.GRUCell(4))
    device = tf.nn.rnn_cell.DeviceWrapper(tf.nn.rnn_cell.BasicRNNCell(4), "/cpu:0")
    outputs, state = tf.nn.static_rnn(cell, _xs(tf, 1), dtype=tf.float32)
    second, _ = tf.nn.static_rnn(device, outputs, dtype=tf.float32, scope="second")
    return [outputs, state, second]


def bidirectional(tf, err):
    make = tf.nn.rnn_cell.BasicRNNCell
    outputs, first, last = tf.nn.static_bidirectional_rnn(
        make(3), make(3), _xs(tf, 2), dtype=tf.float32
    )
    return [outputs, first, last, _names(tf)]


def reuse_and_scopes(tf, err):
    make = tf.nn.rnn_cell.BasicRNNCell
    with tf.variable_scope("a"):
        tf.nn.static_rnn(make(3), _xs(tf, 1), dtype=tf.float32)
    with tf.variable_scope("a", reuse=True):
        tf.nn.static_rnn(make(3), _xs(tf, 1), dtype=tf.float32)
    tf.nn.static_rnn(make(3, name="named"), _xs(tf, 1), dtype=tf.float32, scope="s")
    return _names(tf)


def custom_cell(tf, err):
    class Sum(tf.nn.rnn_cell.RNNCell):
        @property
        def state_size(self):
            return 4

        @property
        def output_size(self):
            return 4

        def call(self, inputs, state):
            w = tf.get_variable("w", [4])
            return inputs * w, state + inputs

    outputs, state = tf.nn.static_rnn(Sum(), _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, _names(tf)]


def old_style_cell(tf, err):
    class Old(tf.nn.rnn_cell.RNNCell):
        state_size = 4
        output_size = 4

        def __call__(self, inputs, state, scope=None):
            with tf.variable_scope(scope or "old"):
                w = tf.get_variable("w", [4])
                return inputs * w, state + inputs

    outputs, state = tf.nn.static_rnn(Old(), _xs(tf, 2), dtype=tf.float32)
    return [outputs, state, _names(tf)]


def rnn_errors(tf, err):
    cell = tf.nn.rnn_cell.BasicRNNCell(3)
    xs = _xs(tf, 1)
    return [
        err(lambda: tf.nn.static_rnn(cell, xs)),
        err(lambda: tf.nn.static_rnn(cell, [], dtype=tf.float32)),
        err(lambda: tf.nn.static_rnn(cell, xs[0], dtype=tf.float32)),
        err(lambda: tf.nn.static_rnn(3, xs, dtype=tf.float32)),
        err(lambda: tf.nn.rnn_cell.MultiRNNCell([])),
        err(lambda: tf.nn.rnn_cell.DropoutWrapper(cell, input_keep_prob=2.0)),
        err(lambda: tf.nn.rnn_cell.DropoutWrapper(3)),
    ]


def _train(tf, build, steps=6):
    import numpy as np

    tf.set_random_seed(7)
    x = tf.placeholder(tf.float32, [None, 5, 3])
    y = tf.placeholder(tf.int32, [None])
    out = build(x)
    logits = tf.layers.dense(out, 4)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    train = tf.train.GradientDescentOptimizer(0.2).minimize(loss)
    random = np.random.RandomState(0)
    found = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            feed = {x: random.rand(8, 5, 3), y: random.randint(0, 4, 8)}
            found.append(np.round(session.run([loss, train], feed)[0], 4))
    return found


def training_only_values(tf, err):
    cells = tf.nn.rnn_cell
    out = []
    for make in (cells.BasicRNNCell, cells.BasicLSTMCell, cells.GRUCell, cells.LSTMCell):
        with tf.Graph().as_default():
            out.append(
                _train(
                    tf,
                    lambda x: tf.nn.static_rnn(make(6), tf.unstack(x, 5, 1), dtype=tf.float32)[0][
                        -1
                    ],
                )
            )
    with tf.Graph().as_default():
        stacked = lambda: cells.MultiRNNCell([cells.BasicLSTMCell(6), cells.GRUCell(5)])
        out.append(
            _train(
                tf,
                lambda x: tf.nn.static_rnn(stacked(), tf.unstack(x, 5, 1), dtype=tf.float32)[0][-1],
            )
        )
    return out


def dynamic_only_values(tf, err):
    cells = tf.nn.rnn_cell
    out = []
    seeded = lambda: tf.variable_scope(
        "", initializer=tf.random_uniform_initializer(-0.5, 0.5, seed=3)
    )
    with tf.Graph().as_default(), seeded():
        out.append(
            _train(
                tf, lambda x: tf.nn.dynamic_rnn(cells.LSTMCell(6), x, dtype=tf.float32)[0][:, -1]
            )
        )
        out.append(_names(tf))
    with tf.Graph().as_default(), seeded():
        lengths = [5, 1, 2, 3, 4, 5, 1, 2]
        out.append(
            _train(
                tf, lambda x: tf.nn.dynamic_rnn(cells.GRUCell(6), x, lengths, dtype=tf.float32)[1]
            )
        )
    with tf.Graph().as_default(), seeded():
        both = lambda x: tf.concat(
            tf.nn.bidirectional_dynamic_rnn(
                cells.GRUCell(3), cells.GRUCell(3), x, lengths, dtype=tf.float32
            )[1],
            1,
        )
        out.append(_train(tf, both))
        out.append(_names(tf))
    with tf.Graph().as_default(), seeded():
        major = lambda x: tf.nn.dynamic_rnn(cells.BasicRNNCell(3), tf.transpose(x, [1, 0, 2]), time_major=True,
                                            dtype=tf.float32)[0][-1]  # fmt: skip
        out.append(_train(tf, major))
    with tf.Graph().as_default(), seeded():
        static = lambda x: tf.nn.static_rnn(cells.BasicLSTMCell(3), tf.unstack(x, 5, 1), dtype=tf.float32,
                                            sequence_length=lengths)[1].h  # fmt: skip
        out.append(_train(tf, static))
    return out
