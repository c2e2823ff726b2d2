"""Training with every optimizer: the parameters on the ps, the model on the worker."""

import numpy as np
from cases.registry import case

OPTIMIZERS = {
    "gradient_descent": lambda t, step: t.GradientDescentOptimizer(0.1),
    "momentum": lambda t, step: t.MomentumOptimizer(0.05, 0.9),
    "nesterov": lambda t, step: t.MomentumOptimizer(0.05, 0.9, use_nesterov=True),
    "adagrad": lambda t, step: t.AdagradOptimizer(0.2),
    "adagrad_da": lambda t, step: t.AdagradDAOptimizer(0.2, step, l1_regularization_strength=0.01),
    "adadelta": lambda t, step: t.AdadeltaOptimizer(0.5),
    "adam": lambda t, step: t.AdamOptimizer(0.1),
    "ftrl": lambda t, step: t.FtrlOptimizer(0.2, l1_regularization_strength=0.01),
    "ftrl_shrinkage": lambda t, step: t.FtrlOptimizer(
        0.2, l2_shrinkage_regularization_strength=0.1
    ),
    "rms_prop": lambda t, step: t.RMSPropOptimizer(0.05, momentum=0.5),
    "centered_rms_prop": lambda t, step: t.RMSPropOptimizer(0.05, centered=True),
    "proximal_adagrad": lambda t, step: t.ProximalAdagradOptimizer(
        0.2, l1_regularization_strength=0.01
    ),
    "proximal_gradient_descent": lambda t, step: t.ProximalGradientDescentOptimizer(
        0.1, l1_regularization_strength=0.01
    ),
}


def _train(tf, ctx, make, use_resource):
    rng = np.random.RandomState(1)
    inputs = rng.rand(8, 3).astype(np.float32)
    targets = inputs.dot(np.array([[1.0], [-2.0], [0.5]], np.float32)) + 0.3
    with tf.device(ctx.ps):
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable(
            "w", initializer=np.full((3, 1), 0.1, np.float32), use_resource=use_resource
        )
        b = tf.get_variable("b", initializer=np.zeros(1, np.float32), use_resource=use_resource)
        table = tf.get_variable(
            "t", initializer=np.ones((4, 1), np.float32), use_resource=use_resource
        )
    with tf.device(ctx.worker):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        offset = tf.reduce_mean(tf.nn.embedding_lookup(table, [0, 2, 2]))
        loss = tf.reduce_mean(tf.square(tf.matmul(x, w) + b + offset - y))
    train = make(tf.train, step).minimize(loss, global_step=step)
    seen = []
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(4):
            seen.append(session.run([loss, train], {x: inputs, y: targets})[0])
        seen += session.run([w, b, table, step])
    return seen


def _define(name, make):
    for kind, use_resource in (("ref", False), ("resource", True)):

        def train(tf, ctx, use_resource=use_resource):
            return _train(tf, ctx, make, use_resource)

        train.__name__ = f"train_{name}_{kind}"
        case()(train)


for _name, _make in OPTIMIZERS.items():
    _define(_name, _make)


@case()
def linear_regression(tf, ctx):
    with tf.device(ctx.ps):
        w = tf.Variable(0.0, name="w", use_resource=False)
        b = tf.Variable(0.0, name="b", use_resource=False)
    with tf.device(ctx.worker):
        x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
        loss = tf.reduce_mean(tf.square(x * w + b - y))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    xs = np.linspace(-1, 1, 20).astype(np.float32)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(50):
            session.run(train, {x: xs, y: 3 * xs + 2})
        return session.run([w, b, loss], {x: xs, y: 3 * xs + 2})


@case()
def mlp(tf, ctx):
    rng = np.random.RandomState(2)
    images = rng.rand(32, 20).astype(np.float32)
    labels = (images.sum(1) * 3).astype(np.int64) % 5
    with tf.device(ctx.ps):
        w1 = tf.get_variable("w1", initializer=(rng.randn(20, 16) * 0.2).astype(np.float32))
        b1 = tf.get_variable("b1", initializer=np.zeros(16, np.float32))
        w2 = tf.get_variable("w2", initializer=(rng.randn(16, 5) * 0.2).astype(np.float32))
        b2 = tf.get_variable("b2", initializer=np.zeros(5, np.float32))
    with tf.device(ctx.worker):
        x, y = tf.placeholder(tf.float32, [None, 20]), tf.placeholder(tf.int64, [None])
        hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w1), b1))
        logits = tf.nn.xw_plus_b(hidden, w2, b2)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        )
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), y), tf.float32))
    train = tf.train.AdamOptimizer(0.01).minimize(loss)
    seen = []
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(20):
            seen.append(session.run([loss, train], {x: images, y: labels})[0])
        return [*seen, session.run(accuracy, {x: images, y: labels}), *session.run([w2, b2])]


@case()
def convolutional_network(tf, ctx):
    rng = np.random.RandomState(3)
    images = rng.rand(4, 8, 8, 1).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    with tf.device(ctx.ps):
        kernel = tf.get_variable("k", initializer=(rng.randn(3, 3, 1, 4) * 0.3).astype(np.float32))
        bias = tf.get_variable("b", initializer=np.zeros(4, np.float32))
        dense = tf.get_variable("d", initializer=(rng.randn(64, 3) * 0.1).astype(np.float32))
    with tf.device(ctx.worker):
        x, y = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.float32, [None, 3])
        conv = tf.nn.relu(tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME") + bias)
        pooled = tf.nn.max_pool(conv, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        logits = tf.matmul(tf.reshape(pooled, [-1, 64]), dense)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
    train = tf.train.GradientDescentOptimizer(0.2).minimize(loss)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        seen = [session.run([loss, train], {x: images, y: labels})[0] for _ in range(4)]
        return [*seen, *session.run([kernel, bias, dense])]


@case(clients=("tf115", "tf2"))
def monitored_session(tf, ctx):
    with tf.device(ctx.ps):
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable("w", initializer=np.float32(4.0), use_resource=False)
    with tf.device(ctx.worker):
        loss = tf.square(w)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
    hooks = [tf.train.StopAtStepHook(last_step=5)]
    with tf.train.MonitoredTrainingSession(
        ctx.target,
        hooks=hooks,
        config=ctx.config(),
        checkpoint_dir=ctx.folder,
        log_step_count_steps=None,
    ) as session:
        while not session.should_stop():
            session.run(train)
    reader = tf.train.load_checkpoint(ctx.folder)
    return [reader.get_tensor("w"), reader.get_tensor("global_step")]
