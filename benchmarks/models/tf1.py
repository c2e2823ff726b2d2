"""The layers in TensorFlow's graph API: the same source for TensorFlow 1.15, TensorFlow 2's `tf.compat.v1` and Flowmesh. Python 3.7."""

import numpy as np
from models.networks import IMAGE_SIZE, NETWORKS, pair


class Builder:
    """Makes layers as ops of the default graph; `training` normalizes by the batch and moves the averages."""

    def __init__(self, tf, data_format="NHWC", training=False):
        self.tf = tf
        self.format = data_format
        self.axis = 3 if data_format == "NHWC" else 1
        self.training = training
        self.count = 0

    def _sizes(self, height, width):
        return [1, height, width, 1] if self.format == "NHWC" else [1, 1, height, width]

    def _channels(self, x):
        return int(x.shape[self.axis])

    def conv(self, x, filters, size, stride=1, padding="SAME", relu=True):
        """Convolution, batch normalization, ReLU."""
        tf = self.tf
        height, width = pair(size)
        channels = self._channels(x)
        self.count += 1
        with tf.variable_scope(f"conv_{self.count}"):
            stddev = (2.0 / (height * width * channels)) ** 0.5
            weights = tf.get_variable(
                "weights",
                [height, width, channels, filters],
                initializer=tf.truncated_normal_initializer(stddev=stddev, seed=self.count),
            )
            x = tf.nn.conv2d(
                x, weights, self._sizes(stride, stride), padding, data_format=self.format
            )
            x = self._normalize(x, filters)
            return tf.nn.relu(x) if relu else x

    def _normalize(self, x, filters):
        tf = self.tf
        gamma = tf.get_variable("gamma", [filters], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [filters], initializer=tf.zeros_initializer())
        mean = tf.get_variable(
            "moving_mean", [filters], initializer=tf.zeros_initializer(), trainable=False
        )
        variance = tf.get_variable(
            "moving_variance", [filters], initializer=tf.ones_initializer(), trainable=False
        )
        if not self.training:
            return tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, data_format=self.format, is_training=False
            )[0]
        x, batch_mean, batch_variance = tf.nn.fused_batch_norm(
            x, gamma, beta, data_format=self.format, is_training=True
        )
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            moved = tf.assign_sub(average, (average - value) * 0.1)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, moved)
        return x

    def max_pool(self, x, size, stride, padding):
        """Maxima of windows."""
        sizes, strides = self._sizes(size, size), self._sizes(stride, stride)
        return self.tf.nn.max_pool(x, sizes, strides, padding, data_format=self.format)

    def average_pool(self, x, size):
        """Averages of windows around every place."""
        sizes, strides = self._sizes(size, size), self._sizes(1, 1)
        return self.tf.nn.avg_pool(x, sizes, strides, "SAME", data_format=self.format)

    def global_pool(self, x):
        """The average over all places."""
        return self.tf.reduce_mean(x, [1, 2] if self.format == "NHWC" else [2, 3])

    def dense(self, x, units):
        """A linear layer."""
        tf = self.tf
        size = int(x.shape[1])
        weights = tf.get_variable(
            "dense/weights",
            [size, units],
            initializer=tf.truncated_normal_initializer(stddev=size**-0.5, seed=0),
        )
        bias = tf.get_variable("dense/bias", [units], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(x, weights), bias)

    def concat(self, parts):
        """Channels beside channels."""
        return self.tf.concat(parts, self.axis)

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return self.tf.nn.relu(x + y)


def images_and_labels(network, batch, data_format, size=None):
    """Random images (seeded) and labels."""
    size = size or IMAGE_SIZE[network]
    random = np.random.RandomState(0)
    images = random.rand(batch, size, size, 3).astype(np.float32)
    labels = random.randint(0, 1000, batch).astype(np.int64)
    if data_format == "NCHW":
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images, labels


def forward(tf, network, batch, data_format="NHWC", size=None, **sizes):
    """A step that fetches the logits of a batch."""
    images, _ = images_and_labels(network, batch, data_format, size)
    x = tf.placeholder(tf.float32, images.shape)
    logits = NETWORKS[network](Builder(tf, data_format), x, **sizes)
    session = tf.Session()
    session.run(tf.global_variables_initializer())

    def step():
        return session.run(logits, {x: images})

    def value():
        return session.run(logits, {x: images})[0, :5].tolist()

    step.value = value
    return step


def training_graph(tf, network, batch, data_format="NHWC", size=None, **sizes):
    """The train op, the loss, and the feeds of training by momentum."""
    images, labels = images_and_labels(network, batch, data_format, size)
    x = tf.placeholder(tf.float32, images.shape)
    y = tf.placeholder(tf.int64, labels.shape)
    logits = NETWORKS[network](Builder(tf, data_format, training=True), x, **sizes)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    loss = tf.reduce_mean(losses)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss)
    return train, loss, {x: images, y: labels}


def training(tf, network, batch, data_format="NHWC", size=None, **sizes):
    """A step of training by momentum."""
    train, loss, feeds = training_graph(tf, network, batch, data_format, size, **sizes)
    session = tf.Session()
    session.run(tf.global_variables_initializer())

    def step():
        session.run(train, feeds)

    last = tf.trainable_variables()[-1]
    step.wait = lambda: session.run(last)
    step.value = lambda: [float(session.run(loss, feeds))]
    return step
