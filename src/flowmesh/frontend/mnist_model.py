"""The small digit classifier of TensorFlow's tutorials (`tensorflow.examples.tutorials.mnist.mnist`).

Its four stages: `inference` builds the network, `loss` and `training` what trains it, `evaluation` counts what it gets right.
"""

from __future__ import annotations

import math
from typing import Any

from flowmesh.core.dtypes import int32, int64
from flowmesh.frontend.losses import sparse_softmax_cross_entropy
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import nn_activation
from flowmesh.ops.cast import cast
from flowmesh.ops.fill import zeros
from flowmesh.ops.random_ops import truncated_normal
from flowmesh.ops.reduce_functions import reduce_sum

NUM_CLASSES = 10
IMAGE_SIZE = 28
IMAGE_PIXELS = IMAGE_SIZE * IMAGE_SIZE


def inference(images: Any, hidden1_units: int, hidden2_units: int) -> Tensor:
    """The logits float32 [batch, 10] of `images` float32 [batch, 784], through two hidden layers."""
    sizes = (IMAGE_PIXELS, hidden1_units, hidden2_units, NUM_CLASSES)
    value = images
    for number, name in enumerate(("hidden1", "hidden2", "softmax_linear")):
        into, out = sizes[number : number + 2]
        with name_scope(name):
            spread = 1.0 / math.sqrt(float(into))
            weights = Variable(truncated_normal([into, out], stddev=spread), name="weights")
            biases = Variable(zeros([out]), name="biases")
            value = raw.MatMul(value, weights) + biases
            if name != "softmax_linear":
                value = nn_activation.relu(value)
    return value


def loss(logits: Any, labels: Any) -> Any:
    """The mean cross entropy of `logits` [batch, 10] and integer `labels` [batch]."""
    return sparse_softmax_cross_entropy(labels=cast(labels, int64), logits=logits)


def evaluation(logits: Any, labels: Any) -> Tensor:
    """How many of the batch have their label as the largest logit: int32 scalar."""
    correct = raw.InTopK(logits, labels, k=1)
    return reduce_sum(cast(correct, int32))
