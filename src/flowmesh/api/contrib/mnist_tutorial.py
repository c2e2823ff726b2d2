"""`tensorflow.examples.tutorials.mnist.mnist`: the small digit classifier of the tutorials."""

from __future__ import annotations

from flowmesh.frontend.mnist_model import (
    IMAGE_PIXELS as IMAGE_PIXELS,
    IMAGE_SIZE as IMAGE_SIZE,
    NUM_CLASSES as NUM_CLASSES,
    evaluation as evaluation,
    inference as inference,
    loss as loss,
)
from flowmesh.training.mnist_training import training as training

__all__ = [
    "IMAGE_PIXELS",
    "IMAGE_SIZE",
    "NUM_CLASSES",
    "evaluation",
    "inference",
    "loss",
    "training",
]
