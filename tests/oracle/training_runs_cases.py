# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Small programs that train: equal seeds give equal graphs and, to four digits, equal losses and weights."""

import numpy as np


def _shown(values):
    """Numbers to four digits; everything else as it is."""
    return ["%.4g" % v for v in np.asarray(values, np.float64).reshape(-1)]


def _digits():
    rng = np.random.RandomState(3)
    x = rng.rand(40, 6).astype(np.float32)
    y = (x.sum(1) * 2).astype(np.int64) % 3
    return x, y


def linear_regression(tf, err):
    x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
    w, b = tf.Variable(0.0, name="w"), tf.Variable(0.0, name="b")
    loss = tf.reduce_mean(tf.square(w * x + b - y), name="loss")
    train = tf.train.GradientDescentOptimizer(0.3).minimize(loss)
    xs = np.linspace(0, 1, 20).astype(np.float32)
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(25):
            _, value = s.run([train, loss], {x: xs, y: 2 * xs + 0.2})
            out.append(value)
        return _shown(out + s.run([w, b]))


def optimizers(tf, err):
    made = [
        tf.train.GradientDescentOptimizer(0.1), tf.train.MomentumOptimizer(0.1, 0.9), tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True), tf.train.AdagradOptimizer(0.5), tf.train.AdamOptimizer(0.1),
        tf.train.RMSPropOptimizer(0.05, momentum=0.5), tf.train.RMSPropOptimizer(0.05, centered=True),
    ]  # fmt: skip
    out = []
    for i, optimizer in enumerate(made):
        v = tf.Variable([1.0, -2.0], name="v%d" % i)
        r = tf.Variable([[3.0]], name="r%d" % i, use_resource=True)
        loss = tf.reduce_sum(tf.square(v)) + tf.reduce_sum(tf.square(r - 1.0))
        out.append([v, r, optimizer.minimize(loss, var_list=[v, r], name="train%d" % i)])
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(5):
            s.run([o[2] for o in out])
        return [_shown(s.run(o[0])) + _shown(s.run(o[1])) for o in out]


def classifier_with_dropout(tf, err):
    tf.set_random_seed(7)
    data, labels = _digits()
    x, y = (
        tf.placeholder(tf.float32, [None, 6], name="x"),
        tf.placeholder(tf.int64, [None], name="y"),
    )
    keep = tf.placeholder_with_default(1.0, [], name="keep")
    with tf.variable_scope("hidden"):
        w = tf.get_variable("w", [6, 16], initializer=tf.truncated_normal_initializer(stddev=0.3))
        b = tf.get_variable("b", [16], initializer=tf.zeros_initializer())
        h = tf.nn.dropout(tf.nn.relu(tf.matmul(x, w) + b), keep)
    with tf.variable_scope("out"):
        v = tf.get_variable("w", [16, 3])
        logits = tf.matmul(h, v)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), y), tf.float32))
    step = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.02).minimize(loss, global_step=step)
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(15):
            out.append(s.run([train, loss], {x: data, y: labels, keep: 0.8})[1])
        return [_shown(out), _shown(s.run([accuracy, step], {x: data, y: labels}))]


def embeddings(tf, err):
    tf.set_random_seed(5)
    table = tf.get_variable("table", [10, 4], initializer=tf.random_uniform_initializer(-1, 1))
    ids = tf.placeholder(tf.int32, [None], name="ids")
    target = tf.placeholder(tf.float32, [None], name="target")
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(tf.nn.embedding_lookup(table, ids), 1) - target))
    trains = [
        tf.train.AdagradOptimizer(0.5).minimize(loss),
        tf.train.AdamOptimizer(0.1).minimize(loss),
        tf.train.MomentumOptimizer(0.1, 0.5).minimize(loss),
    ]
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for train in trains:
            for _ in range(4):
                out.append(
                    s.run([train, loss], {ids: [1, 3, 3, 7], target: [0.5, 1.0, -1.0, 2.0]})[1]
                )
        return [_shown(out), _shown(s.run(table))]


def convolutional(tf, err):
    tf.set_random_seed(11)
    images = np.random.RandomState(1).rand(8, 8, 8, 1).astype(np.float32)
    labels = np.eye(2)[np.arange(8) % 2]
    x, y = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.float32, [None, 2])
    k = tf.Variable(tf.truncated_normal([3, 3, 1, 4], stddev=0.1), name="k")
    b = tf.Variable(tf.constant(0.1, shape=[4]), name="b")
    h = tf.nn.max_pool(
        tf.nn.relu(tf.nn.conv2d(x, k, [1, 1, 1, 1], "SAME") + b), [1, 2, 2, 1], [1, 2, 2, 1], "SAME"
    )
    flat = tf.reshape(h, [-1, 4 * 4 * 4])
    w = tf.Variable(tf.truncated_normal([64, 2], stddev=0.1), name="w")
    loss = tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=tf.matmul(flat, w))
    )
    train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(6):
            out.append(s.run([train, loss], {x: images, y: labels})[1])
        return _shown(out)


def unrolled_recurrence(tf, err):
    tf.set_random_seed(2)
    x = tf.placeholder(tf.float32, [5, None, 3], name="x")
    with tf.variable_scope("cell", initializer=tf.random_normal_initializer(stddev=0.4)):
        w = tf.get_variable("w", [3 + 4, 4])
    state = tf.zeros([tf.shape(x)[1], 4])
    for t in range(5):
        state = tf.tanh(tf.matmul(tf.concat([x[t], state], 1), w))
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(state, 1) - 1.0))
    optimizer = tf.train.AdamOptimizer(0.05)
    grads = [(tf.clip_by_norm(g, 0.5), v) for g, v in optimizer.compute_gradients(loss)]
    train = optimizer.apply_gradients(grads)
    data = np.random.RandomState(4).rand(5, 6, 3).astype(np.float32)
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(8):
            out.append(s.run([train, loss], {x: data})[1])
        return _shown(out)


def moving_averages_only_values(tf, err):
    v = tf.Variable(1.0, name="v")
    ema = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([v.assign_add(1.0)]):
        update = ema.apply([v])
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(4):
            s.run(update)
            out += s.run([v, ema.average(v)])
        return [_shown(out), ema.average_name(v), ema.average(v)]


def pi_by_sampling(tf, err):
    tf.set_random_seed(1)
    with tf.device("/cpu:0"):
        points = tf.random_uniform([2, 1000], -1.0, 1.0)
        inside = tf.reduce_sum(tf.cast(tf.reduce_sum(tf.square(points), 0) < 1.0, tf.float32))
    pi = 4.0 * inside / 1000.0
    with tf.Session() as s:
        return _shown([s.run(pi) for _ in range(3)])


def queues(tf, err):
    queue = tf.FIFOQueue(10, [tf.int32, tf.string], shapes=[[], []], name="q")
    put = queue.enqueue_many([[1, 2, 3, 4], ["a", "b", "c", "d"]])
    number, text = queue.dequeue()
    pair = queue.dequeue_many(2)
    with tf.Session() as s:
        s.run(put)
        out = [s.run([number, text]), s.run(pair), s.run(queue.size())]
        s.run(queue.close())
        out.append(s.run([number, text]))
        return out + [err(lambda: s.run(number))["error"]]


def decayed_rates(tf, err):
    step = tf.placeholder(tf.int64, [], name="step")
    made = [
        tf.train.exponential_decay(0.5, step, 10, 0.9), tf.train.exponential_decay(0.5, step, 10, 0.9, staircase=True), tf.train.polynomial_decay(0.5, step, 10, 0.1), tf.train.piecewise_constant(step, [5, 15], [1.0, 0.5, 0.1]),
    ]  # fmt: skip
    with tf.Session() as s:
        return [_shown(s.run(made, {step: n})) for n in (0, 5, 6, 12, 100)]


def regularized(tf, err):
    tf.set_random_seed(9)
    x = tf.constant(np.random.RandomState(5).rand(4, 3).astype(np.float32))
    with tf.variable_scope("m", regularizer=lambda w: 0.1 * tf.nn.l2_loss(w), reuse=tf.AUTO_REUSE):
        w = tf.get_variable("w", [3, 1])
        y = tf.matmul(x, w)
        again = tf.matmul(x * 2.0, tf.get_variable("w", [3, 1]))
    loss = tf.reduce_mean(tf.square(y + again - 1.0)) + tf.add_n(
        tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    )
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    out = []
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(5):
            out.append(s.run([train, loss])[1])
        return _shown(out)
