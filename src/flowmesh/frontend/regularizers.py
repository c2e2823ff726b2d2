"""Regularizers: functions of a variable that give a loss (TensorFlow: `tf.contrib.layers.l2_regularizer` ...)."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.frontend.naming import name_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.ops import math_functions, nn_misc
from flowmesh.ops.constant import constant
from flowmesh.ops.reduce_functions import reduce_sum

Regularizer = Callable[[Any], Any]


def _checked(scale: Any) -> float:
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"scale cannot be an integer: {scale}")
    if isinstance(scale, numbers.Real) and scale < 0.0:
        raise ValueError(f"Setting a scale less than 0 on a regularizer: {scale:g}.")
    return scale


def _nothing(_: Any) -> None:
    return None


def l1_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """`scale * sum(|w|)` (tf.contrib.layers.l1_regularizer); nothing for 0.0. ValueError for an integer or a negative."""
    if _checked(scale) == 0.0:
        return _nothing

    def l1(weights: Any, name: str | None = None) -> Any:
        with name_scope(scope, "l1_regularizer", [weights]) as entered:
            factor = convert_to_tensor(scale, dtype=weights.dtype.base_dtype, name="scale")
            return math_functions.multiply(
                factor, reduce_sum(math_functions.abs(weights)), name=entered
            )

    return l1


def l2_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """`scale * sum(w ** 2) / 2` (tf.contrib.layers.l2_regularizer); nothing for 0.0. ValueError for an integer or a negative."""
    if _checked(scale) == 0.0:
        return _nothing

    def l2(weights: Any) -> Any:
        with name_scope(scope, "l2_regularizer", [weights]) as entered:
            factor = convert_to_tensor(scale, dtype=weights.dtype.base_dtype, name="scale")
            return math_functions.multiply(factor, nn_misc.l2_loss(weights), name=entered)

    return l2


def l1_l2_regularizer(
    scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None
) -> Regularizer:
    """The sum of `l1_regularizer(scale_l1)` and `l2_regularizer(scale_l2)` (tf.contrib.layers.l1_l2_regularizer)."""
    _checked(scale_l1)
    _checked(scale_l2)
    scope = scope or "l1_l2_regularizer"
    if scale_l1 == 0.0:
        return l2_regularizer(scale_l2, scope)
    if scale_l2 == 0.0:
        return l1_regularizer(scale_l1, scope)
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope=scope)


def sum_regularizer(regularizer_list: Sequence[Any], scope: str | None = None) -> Any:
    """The sum of regularizers (tf.contrib.layers.sum_regularizer); None when there is none."""
    chosen = [r for r in regularizer_list if r is not None]
    if not chosen:
        return None

    def total(weights: Any) -> Any:
        with name_scope(scope, "sum_regularizer", [weights]) as entered:
            losses = [r(weights) for r in chosen]
            losses = [loss for loss in losses if loss is not None]
            return math_functions.add_n(losses, name=entered) if losses else None

    return total


def apply_regularization(regularizer: Any, weights_list: Sequence[Any] | None = None) -> Any:
    """The sum of `regularizer` of the variables (the collection WEIGHTS by default), also added to REGULARIZATION_LOSSES."""
    graph = get_default_graph()
    if not weights_list:
        weights_list = graph.get_collection(GraphKeys.WEIGHTS)
    if not weights_list:
        raise ValueError("No weights to regularize.")
    with name_scope("get_regularization_penalty", values=weights_list) as entered:
        penalties = [regularizer(w) for w in weights_list]
        penalties = [p if p is not None else constant(0.0) for p in penalties]
        for penalty in penalties:
            if penalty.shape.ndims != 0:
                raise ValueError(
                    f"regularizer must return a scalar Tensor instead of a Tensor with rank {penalty.shape.ndims}."
                )
        total = math_functions.add_n(penalties, name=entered)
        graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, total)
        return total
