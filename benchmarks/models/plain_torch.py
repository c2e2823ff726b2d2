"""The layers in PyTorch, written by hand."""

import numpy as np
import torch
from models.networks import IMAGE_SIZE, NETWORKS, pair
from torch import nn
from torch.nn import functional


class Builder:
    """Applies layers; the first pass makes them."""

    def __init__(self):
        self.layers = nn.ModuleList()
        self.at = 0
        self.making = True

    def _next(self, *make):
        if self.making:
            self.layers.append(nn.Sequential(*make))
        self.at += 1
        return self.layers[self.at - 1]

    def conv(self, x, filters, size, stride=1, padding="SAME", relu=True):
        """Convolution, batch normalization, ReLU."""
        height, width = pair(size)
        around = (height // 2, width // 2) if padding == "SAME" else (0, 0)
        layer = self.layers[self.at] if not self.making else None
        if layer is None:
            conv = nn.Conv2d(x.shape[1], filters, (height, width), stride, around, bias=False)
            layer = self._next(conv, nn.BatchNorm2d(filters, eps=1e-3))
        else:
            self.at += 1
        x = layer(x)
        return functional.relu(x, inplace=True) if relu else x

    def max_pool(self, x, size, stride, padding):
        """Maxima of windows."""
        return functional.max_pool2d(x, size, stride, size // 2 if padding == "SAME" else 0)

    def average_pool(self, x, size):
        """Averages of windows around every place."""
        return functional.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)

    def global_pool(self, x):
        """The average over all places."""
        return x.mean((2, 3))

    def dense(self, x, units):
        """A linear layer."""
        if self.making:
            return self._next(nn.Linear(x.shape[1], units))(x)
        self.at += 1
        return self.layers[self.at - 1](x)

    def concat(self, parts):
        """Channels beside channels."""
        return torch.cat(parts, 1)

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return functional.relu(x + y, inplace=True)


class Model(nn.Module):
    """A network as a module."""

    def __init__(self, network, images, sizes):
        super().__init__()
        self.network, self.sizes = network, sizes
        self.builder = Builder()
        with torch.no_grad():
            NETWORKS[network](self.builder, images[:2], **sizes)
        self.builder.making = False
        self.layers = self.builder.layers

    def forward(self, x):
        """The logits."""
        self.builder.at = 0
        return NETWORKS[self.network](self.builder, x, **self.sizes)


def _model(network, batch, data_format, size, sizes):
    torch.manual_seed(0)
    size = size or IMAGE_SIZE[network]
    random = np.random.RandomState(0)
    images = torch.from_numpy(random.rand(max(batch, 2), 3, size, size).astype(np.float32))
    labels = torch.from_numpy(random.randint(0, 1000, batch))
    model = Model(network, images, sizes)
    images = images[:batch]
    if data_format == "NHWC":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    return model, images, labels


def forward(network, batch, data_format="NCHW", size=None, **sizes):
    """A step that computes the logits of a batch."""
    model, images, _ = _model(network, batch, data_format, size, sizes)
    model.eval()

    def step():
        with torch.inference_mode():
            return model(images).numpy()

    return step


def training(network, batch, data_format="NCHW", size=None, **sizes):
    """A step of training by momentum."""
    model, images, labels = _model(network, batch, data_format, size, sizes)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step
