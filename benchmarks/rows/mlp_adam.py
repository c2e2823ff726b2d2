"""A step of a 784-300-100-10 network with Adam, batch 100."""

import numpy as np

TITLE = "MLP 784-300-100-10, Adam, batch 100"
WARM_UP = 120
GATES = {"tf": 1.35, "jax": 1 / 1.08}
AGREE = 1e-4
ROUNDS = 7


def build(tf):
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = random.randint(0, 10, 100).astype(np.int64)
    x = tf.placeholder(tf.float32, [None, 784])
    y = tf.placeholder(tf.int64, [None])
    layer, size = x, 784
    for units in (300, 100, 10):
        w = tf.Variable(tf.truncated_normal([size, units], stddev=size**-0.5, seed=1))
        b = tf.Variable(tf.zeros([units]))
        layer = tf.matmul(layer, w) + b
        if units != 10:
            layer = tf.nn.relu(layer)
        size = units
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=layer))
    train = tf.train.AdamOptimizer().minimize(loss)
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
    labels = random.randint(0, 10, 100).astype(np.int32)

    def loss(parameters, x, y):
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = parameters[-1]
        logits = jax.nn.log_softmax(x @ w + b)
        return -logits[jnp.arange(len(y)), y].mean()

    def update(state, x, y):
        parameters, first, second, step = state
        gradients = jax.grad(loss)(parameters, x, y)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        step = step + 1
        rate = 0.001 * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, first, second
        )
        return parameters, first, second, step

    parameters = []
    size = 784
    for units in (300, 100, 10):
        w = random.randn(size, units).astype(np.float32) * size**-0.5
        parameters.append((jnp.asarray(w), jnp.zeros(units)))
        size = units
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0))
    step = jax.jit(update, donate_argnums=0)

    def run():
        nonlocal state
        state = step(state, images, labels)

    run.wait = lambda: jax.block_until_ready(state)
    return run


def build_torch():
    import torch
    from torch import nn

    random = np.random.RandomState(0)
    images = torch.from_numpy(random.rand(100, 784).astype(np.float32))
    labels = torch.from_numpy(random.randint(0, 10, 100))
    model = nn.Sequential(
        nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimizer = torch.optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step
