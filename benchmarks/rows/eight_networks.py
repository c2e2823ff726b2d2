"""Eight independent small networks, trained in one `run`: each on a logical device of its own, or all on one."""

import numpy as np

TITLE = "8 MLPs 784-100-10 a step, batch 100, each on a device of its own"
TABLE = "networks"
VARIANTS = {
    "flowmesh": ("eight devices", "one device"),
    "tf115": ("eight devices", "one device"),
    "tf2": ("eight devices", "one device"),
}
GATES = {"flowmesh one device": 1.5, "tf": 1.0}
AGREE = 1e-4
WARM_UP = 200
WARM_SECONDS = 10


def build(tf, variant="eight devices", networks=8):
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = random.randint(0, 10, 100).astype(np.int64)
    x = tf.placeholder(tf.float32, [100, 784])
    y = tf.placeholder(tf.int64, [100])
    trains, losses, biases = [], [], []
    for index in range(networks):
        with tf.device(f"/cpu:{index if variant == 'eight devices' else 0}"):
            w = tf.Variable(tf.truncated_normal([784, 100], stddev=0.03, seed=index))
            b = tf.Variable(tf.zeros([100]))
            biases.append(b)
            v = tf.Variable(tf.truncated_normal([100, 10], stddev=0.1, seed=index))
            logits = tf.matmul(tf.nn.relu(tf.matmul(x, w) + b), v)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            losses.append(tf.reduce_mean(each))
            rate = 0.1 / (index + 1)
            trains.append(tf.train.GradientDescentOptimizer(rate).minimize(losses[-1]))
    session = tf.Session(config=tf.ConfigProto(device_count={"CPU": networks}))
    session.run(tf.global_variables_initializer())
    feeds = {x: images, y: labels}
    train = tf.group(*trains)

    def step():
        session.run(train, feeds)

    step.wait = lambda: session.run(biases)
    step.value = lambda: [float(v) for v in session.run([losses, train], feeds)[0]]
    return step
