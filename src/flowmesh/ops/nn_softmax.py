"""Softmax, its logarithm, and the cross-entropy losses on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import FLOATS, INDEX, float32, int64
from flowmesh.core.shapes import TensorShape, broadcast_shapes
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.assertions import assert_equal
from flowmesh.ops.building import after, name_scope, rank_of, shape_of
from flowmesh.ops.kernels import as_type, is_numpy
from flowmesh.ops.shape_rules import at_least, same_size, with_rank

_NO_SECOND_DERIVATIVE = (
    "Currently there is no way to take the second derivative of "
    "sparse_softmax_cross_entropy_with_logits due to the fused implementation's interaction with "
    "tf.gradients()"
)


def _wide(x: Any) -> Any:
    """16-bit floats as float32, in which sums of exponentials are taken."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _shifted(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """`(x - max, its exponential, the sum of that)` along the last axis."""
    x = _wide(x)
    if is_numpy(xp):  # the same with fewer calls
        low = x - np.maximum.reduce(x, axis=-1, keepdims=True, initial=-np.inf)
        powers = np.exp(low)
        return low, powers, np.add.reduce(powers, axis=-1, keepdims=True)
    low = x - xp.max(x, axis=-1, keepdims=True, initial=-np.inf)
    powers = xp.exp(low)
    return low, powers, xp.sum(powers, axis=-1, keepdims=True)


class _RowWise(OpDef, abstract=True):
    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        return at_least(shapes[0], 1)


class Softmax(_RowWise):
    """`exp(logits) / sum(exp(logits))` along the last axis."""

    logits = Input("T")
    softmax = Output("T")
    T = type_attr(FLOATS)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (x,) = inputs
        _, powers, total = _shifted(xp, x)
        return as_type(powers / total, x.dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        y = op.outputs[0]
        total = raw.Sum(raw.Mul(grad, y, name="mul"), np.int32(-1), keep_dims=True)
        return raw.Mul(raw.Sub(grad, total, name="sub"), y, name="mul")


class LogSoftmax(_RowWise):
    """`logits - log(sum(exp(logits)))` along the last axis."""

    logits = Input("T")
    logsoftmax = Output("T")
    T = type_attr(FLOATS)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        (x,) = inputs
        low, _, total = _shifted(xp, x)
        return as_type(low - xp.log(total), x.dtype)

    def gradient(self, op: Any, grad: Any) -> Any:
        y = raw.Exp(op.outputs[0])
        total = raw.Sum(grad, np.int32(-1), keep_dims=True)
        return raw.Sub(grad, raw.Mul(total, y, name="mul"), name="sub")


def _scale_rows(vector: Any, matrix: Any) -> Any:
    """Row i of `matrix` times `vector[i]`."""
    column = raw.ExpandDims(vector, np.int32(-1))
    return raw.Mul(column, matrix, name="mul")


def _is_zero(grad: Any) -> bool:
    if grad.op.type in ("ZerosLike", "Zeros"):
        return True
    value = constant_value(grad)
    return value is not None and not np.any(value)


class SoftmaxCrossEntropyWithLogits(OpDef):
    """The cross entropy of each row of `labels` with the softmax of the row of `features`, and its derivative."""

    features, labels = Input("T"), Input("T")
    loss, backprop = Output("T"), Output("T")
    T = type_attr(FLOATS)

    def infer(self, ctx: Any, features: TensorShape, labels: TensorShape) -> Any:
        both = with_rank(broadcast_shapes(features, labels), 2)
        return both[:1], both

    def compute(self, xp: Any, *inputs: Any) -> Any:
        x, labels = inputs
        dtype = x.dtype
        if x.shape != labels.shape:
            x, labels = xp.broadcast_arrays(x, labels)
        low, powers, total = _shifted(xp, x)
        target = _wide(labels)
        if is_numpy(xp) and powers.dtype == target.dtype == dtype:
            terms = target * np.subtract(np.log(total), low, out=low)
            powers /= total
            powers -= target
            return np.add.reduce(terms, axis=-1), powers
        loss = xp.sum(target * (xp.log(total) - low), axis=-1)
        return as_type(loss, dtype), as_type(powers / total - target, dtype)

    def gradient(self, op: Any, *grads: Any) -> Any:
        grad_loss, grad_backprop = grads
        logits = op.inputs[0]
        result = _scale_rows(grad_loss, op.outputs[1])
        if grad_backprop is not None and not _is_zero(grad_backprop):
            softmax = raw.Softmax(logits)
            row = raw.ExpandDims(grad_backprop, np.int32(1))
            column = raw.ExpandDims(softmax, np.int32(2))
            inner = raw.Squeeze(raw.BatchMatMulV2(row, column, name="MatMul"), squeeze_dims=[1])
            change = raw.Mul(raw.Sub(grad_backprop, inner, name="sub"), softmax, name="mul")
            result = raw.AddV2(result, change, name="add")
        negative = raw.Neg(raw.LogSoftmax(logits))
        return result, _scale_rows(grad_loss, negative)


class SparseSoftmaxCrossEntropyWithLogits(OpDef):
    """The cross entropy of the softmax of each row of `features` with one class number, and its derivative."""

    features = Input("T")
    labels = Input("Tlabels")
    loss, backprop = Output("T"), Output("T")
    T = type_attr(FLOATS)
    Tlabels = type_attr(INDEX, int64)

    def infer(self, ctx: Any, features: TensorShape, labels: TensorShape) -> Any:
        rows, classes = with_rank(features, 2).as_list()
        count = same_size(rows, with_rank(labels, 1).as_list()[0])
        return TensorShape([count]), TensorShape([count, classes])

    def compute(self, xp: Any, *inputs: Any) -> Any:
        x, labels = inputs
        classes = x.shape[1]
        inside = (labels >= 0) & (labels < classes)
        if xp is np and not inside.all():
            raise label_error(labels, classes)
        low, powers, total = _shifted(xp, x)
        column = xp.where(inside, labels, 0)[:, None]
        chosen = xp.take_along_axis(low, column, axis=1)
        loss = (xp.log(total) - chosen)[:, 0]
        target = (xp.arange(classes) == labels[:, None]).astype(low.dtype)
        backprop = powers / total - target
        if xp is not np:  # see `value_checks`: on a GPU it gives NaN, as TensorFlow does
            loss = xp.where(inside, loss, np.nan)
            backprop = xp.where(inside[:, None], backprop, np.nan)
        return as_type(loss, x.dtype), as_type(backprop, x.dtype)

    def gradient(self, op: Any, *grads: Any) -> Any:
        once = raw.PreventGradient(op.outputs[1], message=_NO_SECOND_DERIVATIVE)
        return _scale_rows(grads[0], once), None


def label_error(labels: np.ndarray, classes: int) -> errors.InvalidArgumentError:
    """The error for labels of which one is not in [0, classes)."""
    bad = int(labels[(labels < 0) | (labels >= classes)][0])
    return errors.InvalidArgumentError(
        None,
        None,
        f"Received a label value of {bad} which is outside the valid range of [0, {classes}).  "
        f"Label values: {' '.join(str(int(v)) for v in labels)}",
    )


# -- what programs call ----------------------------------------------------------------------------


def _axis_argument(dim: Any, axis: Any, default: int = -1) -> Any:
    """The one of `axis` and its old name `dim` that is given."""
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'")
        return dim
    return default if axis is None else axis


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """`exp(logits) / sum(exp(logits), axis)` of a float tensor (tf.nn.softmax).

    `axis` is the last one unless given (`dim` is its old name). Raises InvalidArgumentError when it is out of range.
    """
    return _along(logits, raw.Softmax, _axis_argument(dim, axis), name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """`logits - log(sum(exp(logits), axis))` of a float tensor (tf.nn.log_softmax); see `softmax`."""
    return _along(logits, raw.LogSoftmax, _axis_argument(dim, axis), name)


def _along(logits: Any, build: Callable[..., Any], axis: Any, name: str | None) -> Tensor:
    """A last-axis op on any axis: the axis changes places with the last one and back."""
    logits = convert_to_tensor(logits)
    rank = logits.shape.ndims
    if isinstance(axis, Tensor):
        value = constant_value(axis)
        axis = axis if value is None else int(value)
    if isinstance(axis, (int, np.integer)):
        if axis == -1 or (rank is not None and axis == rank - 1):
            return build(logits, name=name)
        if rank is not None and not -rank <= axis < rank:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Dimension ({axis}) must be in the range [{-rank}, {rank}) where {rank} is the "
                "number of dimensions in the input.",
            )
    count = rank_of(logits)
    if isinstance(axis, Tensor) or (axis < 0 and rank is None):
        place: Any = raw.FloorMod(axis, count, name="FloorMod")
    else:
        place = int(axis) % rank if rank is not None else int(axis)
    last = rank_of(logits)
    swapped = raw.Transpose(logits, _swap(place, _minus_one(last)), name="transpose")
    result = build(swapped)
    result = raw.Transpose(
        result, _swap(place, _minus_one(last)), name="transpose" if name is None else name
    )
    result.set_shape(logits.shape)
    return result


def _minus_one(count: Any) -> Any:
    return raw.Sub(count, np.int32(1))


def _range(start: Any, limit: Any) -> Any:
    """A Range node and its three inputs in a scope of their own."""
    with name_scope(None, "range") as scope:
        start = convert_to_tensor(start, dtype=dtypes.int32, name="start")
        limit = convert_to_tensor(limit, dtype=dtypes.int32, name="limit")
        delta = convert_to_tensor(1, dtype=dtypes.int32, name="delta")
        return raw.Range(start, limit, delta, name=scope)


def _swap(place: Any, last: Any) -> Any:
    """The permutation that exchanges axis `place` with the last axis."""
    before = _range(0, place)
    between = _range(
        raw.AddV2(place, 1, name="add") if isinstance(place, Tensor) else place + 1, last
    )
    return raw.ConcatV2([before, [last], between, [place]], np.int32(0), name="concat")


def _to_end(tensor: Any, axis: int, rank: Any) -> Any:
    """`tensor` with `axis` moved behind the others."""
    before = _range(0, axis)
    behind = _range(axis + 1, rank)
    order = raw.ConcatV2([before, behind, [axis]], np.int32(0), name="concat")
    return raw.Transpose(tensor, order, name="transpose")


def _flat(tensor: Any) -> Any:
    """`tensor` as a matrix of its last axis."""
    rank = rank_of(tensor)
    shape = shape_of(tensor)
    last = raw.Slice(shape, [raw.Sub(rank, np.int32(1))], np.array([1], np.int32))
    target = raw.ConcatV2([np.array([-1], np.int32), last], np.int32(0), name="concat")
    result = raw.Reshape(tensor, target)
    known = tensor.shape
    if known.ndims is not None and not result.shape.is_fully_defined():
        sizes = known.as_list()
        rows = None if None in sizes[:-1] else int(np.prod(sizes[:-1], dtype=np.int64))
        if rows is not None:
            result.set_shape([rows, sizes[-1]])
    return result


def _check_named(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None:
        raise ValueError(
            f"Only call `{function}` with named arguments (labels=..., logits=..., ...)"
        )
    if labels is None or logits is None:
        raise ValueError("Both labels and logits must be provided.")


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: Any = None, name: str | None = None, dim: Any = None
) -> Tensor:
    """The cross entropy of the softmax of `logits` with the distributions `labels`, along `axis`
    (tf.nn.softmax_cross_entropy_with_logits_v2). Gradients flow to both.

    Both are floats of one shape; the result has their shape without `axis`. Raises ValueError when the shapes differ.
    """
    return _cross_entropy(labels, logits, _axis_argument(dim, axis), name)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: Any = None,
) -> Tensor:
    """As `softmax_cross_entropy_with_logits_v2`, but no gradient flows to `labels`
    (tf.nn.softmax_cross_entropy_with_logits).

    Raises ValueError for arguments given by position and for missing ones.
    """
    dim = dim if axis is None else _axis_argument(None if dim == -1 else dim, axis)
    _check_named("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    default = "softmax_cross_entropy_with_logits_sg"
    with name_scope(name, default, [logits, labels]) as scope:
        labels = raw.StopGradient(labels, name="labels_stop_gradient")
        return _cross_entropy(labels, logits, dim, scope)


def _cross_entropy(labels: Any, logits: Any, axis: Any, name: str | None) -> Tensor:
    with name_scope(name, "softmax_cross_entropy_with_logits", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="labels")
        narrow = logits.dtype in (dtypes.float16, dtypes.bfloat16)
        precise = raw.Cast(logits, DstT=float32) if narrow else logits
        if labels.dtype != precise.dtype:
            labels = raw.Cast(labels, DstT=precise.dtype)
        rank = rank_of(precise)
        result_shape = logits.shape
        if axis != -1:
            size = precise.shape.ndims
            place = axis % size if size is not None else axis
            precise, labels = _to_end(precise, place, rank), _to_end(labels, place, rank)
        shape = shape_of(precise)
        cost = raw.SoftmaxCrossEntropyWithLogits(_flat(precise), _flat(labels), name=scope).loss
        size_vector = [raw.Sub(rank, np.int32(1))]
        outer = raw.Slice(shape, np.array([0], np.int32), size_vector)
        cost = raw.Reshape(cost, outer)
        if result_shape.ndims is not None:
            sizes = result_shape.as_list()
            del sizes[axis]
            cost.set_shape(sizes)
        return raw.Cast(cost, DstT=logits.dtype) if narrow else cost


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of the softmax of `logits` with class numbers `labels`
    (tf.nn.sparse_softmax_cross_entropy_with_logits).

    `logits` is a float [d0, ..., dn, classes], `labels` an integer [d0, ..., dn]; so is the result, as float.
    Raises ValueError for arguments given by position, missing ones, and shapes that do not fit.
    A label outside [0, classes) raises InvalidArgumentError when run, or gives NaN in a compiled step.
    """
    _check_named("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    default = "SparseSoftmaxCrossEntropyWithLogits"
    with name_scope(name, default, [labels, logits]):
        labels, logits = convert_to_tensor(labels), convert_to_tensor(logits)
        narrow = logits.dtype in (dtypes.float16, dtypes.bfloat16)
        precise = raw.Cast(logits, DstT=float32) if narrow else logits
        shape = shape_of(labels)
        static = labels.shape
        _check_sparse(static, logits.shape)
        if logits.shape.ndims == 2:
            cost = raw.SparseSoftmaxCrossEntropyWithLogits(precise, labels, name=name).loss
            return raw.Cast(cost, DstT=logits.dtype) if narrow else cost
        known = static.is_fully_defined() and logits.shape[:-1].is_fully_defined()
        with after(*_checks(labels, logits, known)):
            classes = _last_size(precise)
            matrix = raw.Reshape(precise, [-1, classes])
            flat = raw.Reshape(labels, np.array([-1], np.int32))
            cost = raw.SparseSoftmaxCrossEntropyWithLogits(matrix, flat, name=name).loss
            cost = raw.Reshape(cost, shape)
            cost.set_shape(static)
            return raw.Cast(cost, DstT=logits.dtype) if narrow else cost


def _check_sparse(labels: TensorShape, logits: TensorShape) -> None:
    if logits.ndims == 0:
        raise ValueError(f"Logits cannot be scalars - received shape {logits}.")
    if logits.ndims is not None and labels.ndims not in (None, logits.ndims - 1):
        raise ValueError(
            f"Rank mismatch: Rank of labels (received {labels.ndims}) should equal rank of logits "
            f"minus 1 (received {logits.ndims})."
        )
    outer = logits[:-1]
    if outer.is_fully_defined() and labels.is_fully_defined() and outer != labels:
        raise ValueError(
            f"Shape mismatch: The shape of labels (received {labels}) should equal the shape of "
            f"logits except for the last dimension (received {logits})."
        )


def _checks(labels: Any, logits: Any, known: bool) -> list[Any]:
    """An op that fails unless the labels have the shape of the logits without the last dimension."""
    if known:
        return []
    shape: Any = shape_of(labels)
    whole: Any = shape_of(logits)
    return [assert_equal(shape, whole[:-1])]


def _last_size(tensor: Any) -> Any:
    """The size of the last axis as a scalar tensor."""
    shape: Any = shape_of(tensor)
    rank: Any = rank_of(tensor)
    return shape[rank - 1]
