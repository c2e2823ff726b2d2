"""Losses with the order of arguments of TensorFlow 0.x and `tf.contrib.losses`: predictions before labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.frontend import losses
from flowmesh.frontend.contrib_framework import add_arg_scope


def _turned(function: Callable[..., Any], first: str, second: str) -> Callable[..., Any]:
    """`function(second, first, weights, ...)` as a function of `first`, `second`, `weights`, ..."""

    def call(*args: Any, **kwargs: Any) -> Any:
        names = [first, second, "weights"]
        given = {**dict(zip(names, args)), **kwargs}
        rest = args[len(names) :]
        if "weight" in given:
            given["weights"] = given.pop("weight")
        if rest:
            kinds = (
                ["label_smoothing", "scope"] if "cross_entropy" in function.__name__ else ["scope"]
            )
            given.update(zip(kinds, rest))
        return function(**given)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = f"`tf.losses.{function.__name__}` with `{first}` before `{second}`."
    return add_arg_scope(call)


absolute_difference = _turned(losses.absolute_difference, "predictions", "labels")
cosine_distance = _turned(losses.cosine_distance, "predictions", "labels")
log_loss = _turned(losses.log_loss, "predictions", "labels")
mean_pairwise_squared_error = _turned(losses.mean_pairwise_squared_error, "predictions", "labels")
mean_squared_error = _turned(losses.mean_squared_error, "predictions", "labels")
sigmoid_cross_entropy = _turned(losses.sigmoid_cross_entropy, "logits", "multi_class_labels")
softmax_cross_entropy = _turned(losses.softmax_cross_entropy, "logits", "onehot_labels")
sparse_softmax_cross_entropy = _turned(losses.sparse_softmax_cross_entropy, "logits", "labels")


@add_arg_scope
def hinge_loss(logits: Any, labels: Any = None, scope: str | None = None) -> Any:
    """The hinge loss of each element, neither weighted nor added to the losses."""
    return losses.hinge_loss(
        labels, logits, scope=scope, loss_collection=None, reduction=losses.Reduction.NONE
    )


@add_arg_scope
def compute_weighted_loss(losses_: Any, weights: Any = 1.0, scope: str | None = None) -> Any:
    """`losses_` times `weights`, averaged over the weights that are not zero."""
    return losses.compute_weighted_loss(losses_, weights, scope)


@add_arg_scope
def add_loss(loss: Any, loss_collection: str | None = "losses") -> None:
    """Adds a loss to the collection."""
    losses.add_loss(loss, loss_collection)
