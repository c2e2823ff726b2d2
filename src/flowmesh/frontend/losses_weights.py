"""Weights that stretch over values, for losses and metrics: checks, broadcasting, squeezing of ranks."""

from __future__ import annotations

from typing import Any

from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import (
    comparison,
    control,
    control_flow,
    fill,
    math_functions,
    reduce_functions,
    shape_ops,
)
from flowmesh.ops.reshape import squeeze

_COMPLAINT = "weights can not be broadcast to values."


def assert_broadcastable(weights: Any, values: Any) -> Any:
    """An operation that checks that `weights` is a scalar, or has the rank of `values` with sizes equal or 1.

    Raises ValueError at once where the static shapes tell that it is not.
    """
    with name_scope(None, "assert_broadcastable", [weights, values]) as scope:
        values = convert_to_tensor(values, name="values")
        weights = convert_to_tensor(weights, name="weights")
        weights_shape = shape_ops.shape(weights, name="weights/shape")
        weights_rank = shape_ops.rank(weights, name="weights/rank")
        values_shape = shape_ops.shape(values, name="values/shape")
        values_rank = shape_ops.rank(values, name="values/rank")
        static, wanted = weights.shape, values.shape
        if static.ndims == 0:
            return control.no_op(name="static_scalar_check_success")
        if static.ndims is not None and wanted.ndims is not None:
            _check_static(static, wanted)
            if static.is_fully_defined() and wanted.is_fully_defined():
                return control.no_op(name="static_dims_check_success")
        is_scalar = comparison.equal(0, weights_rank, name="is_scalar")

        def valid() -> Any:
            """Equal ranks, and sizes equal or 1."""
            same = comparison.equal(values_rank, weights_rank, name="is_same_rank")
            return control_flow.cond(
                same, lambda: _sizes_fit(weights_shape, values_shape), lambda: same,
                name="has_valid_nonscalar_shape",
            )  # fmt: skip

        is_valid = control_flow.cond(is_scalar, lambda: is_scalar, valid, name="is_valid_shape")
        told = [
            _COMPLAINT, "weights.shape=", weights.name, weights_shape, "values.shape=", values.name,
            values_shape, "is_scalar=", is_scalar,
        ]  # fmt: skip
        return control_flow.Assert(is_valid, told, name=scope)


def _sizes_fit(weights_shape: Any, values_shape: Any) -> Any:
    fits = comparison.logical_or(
        comparison.equal(weights_shape, values_shape), comparison.equal(weights_shape, 1)
    )
    return reduce_functions.reduce_all(fits)


def _check_static(weights: TensorShape, values: TensorShape) -> None:
    if weights.ndims != values.ndims:
        raise ValueError(
            f"{_COMPLAINT} values.rank={values.ndims}. weights.rank={weights.ndims}. values.shape={values}. "
            f"weights.shape={weights}."
        )
    if not (weights.is_fully_defined() and values.is_fully_defined()):
        return
    for axis, (mine, theirs) in enumerate(zip(weights.as_list(), values.as_list())):
        if mine not in (1, theirs):
            raise ValueError(
                f"{_COMPLAINT} Mismatch at dim {axis}. values.shape={values} weights.shape={weights}."
            )


def broadcast_weights(weights: Any, values: Any) -> Any:
    """`weights` in the shape of `values`."""
    with name_scope(None, "broadcast_weights", [weights, values]) as scope:
        values = convert_to_tensor(values, name="values")
        weights = convert_to_tensor(weights, name="weights")
        mine, theirs = weights.shape, values.shape
        if mine.is_fully_defined() and theirs.is_fully_defined() and mine == theirs:
            return weights
        with get_default_graph().control_dependencies([assert_broadcastable(weights, values)]):
            return math_functions.multiply(weights, fill.ones_like(values), name=scope)


def remove_squeezable_dimensions(
    labels: Any, predictions: Any, expected_rank_diff: int = 0, name: str | None = None
) -> tuple[Any, Any]:
    """`(labels, predictions)` without a last axis of size 1 that only one of them has.

    `expected_rank_diff` is what the rank of `predictions` is meant to be larger by.
    """
    with name_scope(name, "remove_squeezable_dimensions", [labels, predictions]):
        predictions, labels = convert_to_tensor(predictions), convert_to_tensor(labels)
        have, want = predictions.shape, labels.shape
        if have.ndims is not None and want.ndims is not None:
            difference = have.ndims - want.ndims
            if difference == expected_rank_diff + 1 and have.dims[-1].is_compatible_with(1):  # type: ignore[index]
                predictions = squeeze(predictions, [-1])
            elif difference == expected_rank_diff - 1 and want.dims[-1].is_compatible_with(1):  # type: ignore[index]
                labels = squeeze(labels, [-1])
            return labels, predictions
        found = shape_ops.rank(predictions) - shape_ops.rank(labels)
        if have.ndims is None or have.dims[-1].is_compatible_with(1):  # type: ignore[index]
            predictions = _squeezed_where(predictions, found, expected_rank_diff + 1)
        if want.ndims is None or want.dims[-1].is_compatible_with(1):  # type: ignore[index]
            labels = _squeezed_where(labels, found, expected_rank_diff - 1)
        return labels, predictions


def _squeezed_where(tensor: Any, found: Any, difference: int) -> Any:
    return control_flow.cond(
        comparison.equal(difference, found), lambda: squeeze(tensor, [-1]), lambda: tensor
    )


def squeeze_or_expand(
    labels: Any, predictions: Any, weights: Any, expected_rank_diff: int = 0
) -> Any:
    """`(labels, predictions, weights)` with ranks that fit: last axes of size 1 dropped, or added to the weights."""
    labels, predictions = remove_squeezable_dimensions(labels, predictions, expected_rank_diff)
    if weights is None:
        return labels, predictions, None
    weights = convert_to_tensor(weights)
    rank, wanted = weights.shape.ndims, labels.shape.ndims
    if rank == 0:
        return labels, predictions, weights
    if rank is not None and wanted is not None:
        if rank - wanted == 1:
            weights = squeeze(weights, [-1])
        return labels, predictions, weights
    last = None if rank is None else weights.shape.dims[-1]
    if last is not None and not last.is_compatible_with(1):
        return labels, predictions, weights
    found = shape_ops.rank(weights) - shape_ops.rank(labels)
    weights = control_flow.cond(
        comparison.equal(1, found), lambda: squeeze(weights, [-1]), lambda: weights
    )
    return labels, predictions, weights


def fit_to_predictions(predictions: Any, labels: Any, weights: Any) -> Any:
    """`(predictions, labels, weights)` for a metric: ranks that fit, weights expanded at the end where they lack an axis."""
    predictions = convert_to_tensor(predictions)
    if labels is not None:
        labels, predictions = remove_squeezable_dimensions(labels, predictions)
        predictions.shape.assert_is_compatible_with(labels.shape)
    if weights is None:
        return predictions, labels, None
    weights = convert_to_tensor(weights)
    rank, wanted = weights.shape.ndims, predictions.shape.ndims
    if rank == 0:
        return predictions, labels, weights
    if rank is not None and wanted is not None:
        if rank - wanted == 1:
            weights = squeeze(weights, [-1])
        elif wanted - rank == 1:
            weights = raw.ExpandDims(weights, -1)
        return predictions, labels, weights
    have = shape_ops.rank(weights)
    found = have - shape_ops.rank(predictions)

    def expanded() -> Any:
        return control_flow.cond(
            comparison.equal(found, -1), lambda: raw.ExpandDims(weights, -1), lambda: weights
        )

    def adjusted() -> Any:
        last = None if weights.shape.ndims is None else weights.shape.dims[-1]
        if last is not None and not last.is_compatible_with(1):
            return expanded()
        return control_flow.cond(
            comparison.equal(found, 1), lambda: squeeze(weights, [-1]), expanded
        )

    weights = control_flow.cond(comparison.equal(have, 0), lambda: weights, adjusted)
    return predictions, labels, weights
