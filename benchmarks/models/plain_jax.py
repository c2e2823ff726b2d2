"""The layers in JAX, written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from models.networks import IMAGE_SIZE, NETWORKS, pair


class Builder:
    """Applies layers; without parameters it makes them while a first pass calls it (`init`)."""

    def __init__(self, data_format="NHWC", training=False, parameters=None, averages=None):
        self.format = data_format
        self.axis = 3 if data_format == "NHWC" else 1
        self.spatial = (1, 2) if data_format == "NHWC" else (2, 3)
        self.training = training
        self.making = parameters is None
        self.parameters = [] if self.making else parameters
        self.averages = [] if self.making else averages
        self.moved = []
        self.at = 0
        self.random = np.random.RandomState(0)

    def _next(self, make):
        if self.making:
            self.parameters.append(make())
        self.at += 1
        return self.parameters[self.at - 1]

    def _normal(self, stddev, *shape):
        return self.random.randn(*shape).astype(np.float32) * np.float32(stddev)

    def conv(self, x, filters, size, stride=1, padding="SAME", relu=True):
        """Convolution, batch normalization, ReLU."""
        height, width = pair(size)
        channels = x.shape[self.axis]
        stddev = (2.0 / (height * width * channels)) ** 0.5

        def make():
            weights = self._normal(stddev, height, width, channels, filters)
            zeros, ones = np.zeros(filters, np.float32), np.ones(filters, np.float32)
            self.averages.append((zeros, ones))
            return weights, ones, zeros

        weights, gamma, beta = self._next(make)
        dimensions = (self.format, "HWIO", self.format)
        x = lax.conv_general_dilated(
            x, weights, (stride, stride), padding, dimension_numbers=dimensions
        )
        mean, variance = self.averages[len(self.moved)]
        if self.training:
            axes = (0, *self.spatial)
            batch_mean = x.mean(axes)
            batch_variance = jnp.square(x).mean(axes) - jnp.square(batch_mean)
            kept = (mean - 0.1 * (mean - batch_mean), variance - 0.1 * (variance - batch_variance))
            mean, variance = batch_mean, batch_variance
        else:
            kept = (mean, variance)
        self.moved.append(kept)
        factor = gamma * lax.rsqrt(variance + 1e-3)
        x = x * self._spread(factor) + self._spread(beta - mean * factor)
        return jax.nn.relu(x) if relu else x

    def _spread(self, v):
        return v if self.format == "NHWC" else v[:, None, None]

    def _window(self, size):
        return (1, size, size, 1) if self.format == "NHWC" else (1, 1, size, size)

    def max_pool(self, x, size, stride, padding):
        """Maxima of windows."""
        window, strides = self._window(size), self._window(stride)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)

    def average_pool(self, x, size):
        """Averages of windows around every place."""
        window, strides = self._window(size), self._window(1)
        total = lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME")
        shape = [1 if i not in self.spatial else n for i, n in enumerate(x.shape)]
        ones = np.ones(shape, np.float32)
        return total / lax.reduce_window(ones, 0.0, lax.add, window, strides, "SAME")

    def global_pool(self, x):
        """The average over all places."""
        return x.mean(self.spatial)

    def dense(self, x, units):
        """A linear layer."""
        size = x.shape[1]
        weights, bias = self._next(
            lambda: (self._normal(size**-0.5, size, units), np.zeros(units, np.float32))
        )
        return x @ weights + bias

    def concat(self, parts):
        """Channels beside channels."""
        return jnp.concatenate(parts, self.axis)

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return jax.nn.relu(x + y)


def _images(network, batch, data_format, size):
    size = size or IMAGE_SIZE[network]
    random = np.random.RandomState(0)
    images = random.rand(batch, size, size, 3).astype(np.float32)
    labels = random.randint(0, 1000, batch).astype(np.int32)
    if data_format == "NCHW":
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images, labels


def _init(network, images, data_format, sizes):
    builder = Builder(data_format)
    jax.eval_shape(lambda x: NETWORKS[network](builder, x, **sizes), images)
    return jax.tree.map(jnp.asarray, (builder.parameters, builder.averages))


def forward(network, batch, data_format="NHWC", size=None, **sizes):
    """A step that fetches the logits of a batch."""
    images, _ = _images(network, batch, data_format, size)
    parameters, averages = _init(network, images, data_format, sizes)

    def apply(parameters, averages, x):
        return NETWORKS[network](Builder(data_format, False, parameters, averages), x, **sizes)

    compiled = jax.jit(apply)
    return lambda: np.asarray(compiled(parameters, averages, images))


def training(network, batch, data_format="NHWC", size=None, **sizes):
    """A step of training by momentum; all buffers donated."""
    images, labels = _images(network, batch, data_format, size)
    parameters, averages = _init(network, images, data_format, sizes)

    def loss(parameters, averages, x, y):
        builder = Builder(data_format, True, parameters, averages)
        logits = jax.nn.log_softmax(NETWORKS[network](builder, x, **sizes))
        return -logits[jnp.arange(len(y)), y].mean(), builder.moved

    def update(state, x, y):
        parameters, averages, velocity = state
        gradients, averages = jax.grad(loss, has_aux=True)(parameters, averages, x, y)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
        parameters = jax.tree.map(lambda p, v: p - 0.01 * v, parameters, velocity)
        return parameters, averages, velocity

    state = (parameters, averages, jax.tree.map(jnp.zeros_like, parameters))
    compiled = jax.jit(update, donate_argnums=0)

    def step():
        nonlocal state
        state = compiled(state, images, labels)

    step.wait = lambda: jax.block_until_ready(state)
    return step
