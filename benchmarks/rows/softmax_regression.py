"""A step of softmax regression on 784 pixels, batch 100."""

import numpy as np

TITLE = "softmax regression step, batch 100"
WARM_UP = 1200
GATES = {"tf": 1.6}
AGREE = 1e-5


def build(tf):
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[random.randint(0, 10, 100)]
    x = tf.placeholder(tf.float32, [None, 784])
    y = tf.placeholder(tf.float32, [None, 10])
    w = tf.Variable(tf.zeros([784, 10]))
    b = tf.Variable(tf.zeros([10]))
    prediction = tf.nn.softmax(tf.matmul(x, w) + b)
    loss = tf.reduce_mean(-tf.reduce_sum(y * tf.log(prediction + 1e-8), 1))
    train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())

    def step():
        session.run(train, {x: images, y: labels})

    step.wait = lambda: session.run(b)
    step.value = lambda: [
        float(session.run([loss, train], {x: images, y: labels})[0]) for _ in range(3)
    ]
    return step


def build_jax():
    import jax
    import jax.numpy as jnp

    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[random.randint(0, 10, 100)]

    def loss(parameters, x, y):
        w, b = parameters
        prediction = jax.nn.softmax(x @ w + b)
        return (-(y * jnp.log(prediction + 1e-8)).sum(1)).mean()

    def update(parameters, x, y):
        gradients = jax.grad(loss)(parameters, x, y)
        return jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradients)

    step = jax.jit(update, donate_argnums=0)
    parameters = (jnp.zeros((784, 10)), jnp.zeros(10))

    def run():
        nonlocal parameters
        parameters = step(parameters, images, labels)

    run.wait = lambda: jax.block_until_ready(parameters)
    return run
