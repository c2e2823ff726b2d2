"""The training stage of the tutorials' digit classifier (`tensorflow.examples.tutorials.mnist.mnist.training`)."""

from __future__ import annotations

from typing import Any

from flowmesh.frontend.variables import Variable
from flowmesh.training.input_support import scalar_summary
from flowmesh.training.optimizers import GradientDescentOptimizer


def training(loss: Any, learning_rate: Any) -> Any:
    """The operation of one step of gradient descent, which also counts the global step and summarizes the loss."""
    scalar_summary("loss", loss)
    optimizer = GradientDescentOptimizer(learning_rate)
    global_step = Variable(0, name="global_step", trainable=False)
    return optimizer.minimize(loss, global_step=global_step)
