"""A step of an LSTM language model, unrolled: many small ops, and matrix products of the size that recurrent networks have."""

import numpy as np

TITLE = "LSTM language model step, hidden 512, 20 steps, batch 32"
TABLE = "networks"
GATES = {"tf": 1.0}
AGREE = 1e-3
WARM_UP = 5
VOCABULARY, HIDDEN, STEPS, BATCH = 10000, 512, 20, 32


def _data(vocabulary, steps, batch):
    words = np.random.RandomState(0).randint(0, vocabulary, (batch, steps + 1)).astype(np.int32)
    return words[:, :-1], words[:, 1:]


def build(tf, vocabulary=VOCABULARY, hidden=HIDDEN, steps=STEPS, batch=BATCH):
    inputs, targets = _data(vocabulary, steps, batch)
    x = tf.placeholder(tf.int32, [batch, steps])
    y = tf.placeholder(tf.int32, [batch, steps])

    def weights(name, *shape):
        start = tf.random_uniform_initializer(-0.1, 0.1, seed=1)
        return tf.get_variable(name, shape, initializer=start)

    table = weights("embedding", vocabulary, hidden)
    kernel = weights("lstm/kernel", 2 * hidden, 4 * hidden)
    bias = weights("lstm/bias", 4 * hidden)
    embedded = tf.unstack(tf.nn.embedding_lookup(table, x), axis=1)
    h = c = tf.zeros([batch, hidden])
    outputs = []
    for word in embedded:
        gates = tf.nn.bias_add(tf.matmul(tf.concat([word, h], 1), kernel), bias)
        i, j, f, o = tf.split(gates, 4, 1)
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
        outputs.append(h)
    states = tf.reshape(tf.stack(outputs, 1), [-1, hidden])
    logits = tf.matmul(states, weights("softmax/kernel", hidden, vocabulary))
    logits = tf.nn.bias_add(logits, weights("softmax/bias", vocabulary))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(y, [-1]), logits=logits
    )
    loss = tf.reduce_mean(losses)
    variables = tf.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 5.0)
    train = tf.train.GradientDescentOptimizer(1.0).apply_gradients(zip(gradients, variables))
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    feeds = {x: inputs, y: targets}

    def step():
        session.run(train, feeds)

    step.wait = lambda: session.run(bias)
    step.value = lambda: [float(session.run([loss, train], feeds)[0]) for _ in range(2)]
    return step


def build_jax(vocabulary=VOCABULARY, hidden=HIDDEN, steps=STEPS, batch=BATCH):
    import jax
    import jax.numpy as jnp

    inputs, targets = _data(vocabulary, steps, batch)
    random = np.random.RandomState(0)

    def weights(*shape):
        return jnp.asarray(random.uniform(-0.1, 0.1, shape).astype(np.float32))

    parameters = (
        weights(vocabulary, hidden),
        weights(2 * hidden, 4 * hidden),
        weights(4 * hidden),
        weights(hidden, vocabulary),
        weights(vocabulary),
    )

    def loss(parameters, x, y):
        table, kernel, bias, out, out_bias = parameters
        h = c = jnp.zeros((x.shape[0], hidden), jnp.float32)
        states = []
        embedded = table[x]
        for t in range(steps):
            gates = jnp.concatenate([embedded[:, t], h], 1) @ kernel + bias
            i, j, f, o = jnp.split(gates, 4, 1)
            c = c * jax.nn.sigmoid(f + 1.0) + jax.nn.sigmoid(i) * jnp.tanh(j)
            h = jnp.tanh(c) * jax.nn.sigmoid(o)
            states.append(h)
        logits = jnp.stack(states, 1).reshape(-1, hidden) @ out + out_bias
        logits = jax.nn.log_softmax(logits)
        y = y.reshape(-1)
        return -logits[jnp.arange(len(y)), y].mean()

    def update(parameters, x, y):
        gradients = jax.grad(loss)(parameters, x, y)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in gradients))
        scale = jnp.minimum(1.0, 5.0 / norm)
        return jax.tree.map(lambda p, g: p - scale * g, parameters, gradients)

    compiled = jax.jit(update, donate_argnums=0)

    def step():
        nonlocal parameters
        parameters = compiled(parameters, inputs, targets)

    step.wait = lambda: jax.block_until_ready(parameters)
    return step


def build_torch(vocabulary=VOCABULARY, hidden=HIDDEN, steps=STEPS, batch=BATCH):
    import torch
    from torch import nn

    inputs, targets = (
        torch.from_numpy(a.astype(np.int64)) for a in _data(vocabulary, steps, batch)
    )
    table, lstm = nn.Embedding(vocabulary, hidden), nn.LSTM(hidden, hidden, batch_first=True)
    model = nn.ModuleList([table, lstm, nn.Linear(hidden, vocabulary)])
    optimizer = torch.optim.SGD(model.parameters(), 1.0)

    def step():
        optimizer.zero_grad()
        states, _ = lstm(table(inputs))
        logits = model[2](states.reshape(-1, hidden))
        nn.functional.cross_entropy(logits, targets.reshape(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return step
