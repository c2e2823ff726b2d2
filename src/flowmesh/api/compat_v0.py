"""TensorFlow 0.x: names and argument orders that 1.x dropped, told apart from the 1.x forms by argument types.

Every old form warns once, naming the new one. The functions here are what the public names stand for: `tf.concat` and
`tf.split` take both orders; `tf.mul`, `tf.pack` and their like exist only in 0.x.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int64
from flowmesh.core.platform import tf_logging
from flowmesh.frontend import rnn as rnn_functions, summary_merge, variable_collections
from flowmesh.graph import composite
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import (
    comparison,
    concat as concat_ops,
    elementwise,
    math_functions,
    matmul,
    nn_misc,
    nn_softmax,
    split as split_ops,
    stack as stack_ops,
)
from flowmesh.summaries.writer import FileWriter

_warned: set[str] = set()
_lock = threading.Lock()


def warn_once(old: str, new: str) -> None:
    """Tells once per process that `old` has become `new`."""
    with _lock:
        if old in _warned:
            return
        _warned.add(old)
    tf_logging.warning("%s is TensorFlow 0.x; it still works, the new form is %s", old, new)


def _renamed(
    old: str, new: str, function: Callable[..., Any], **argument_names: str
) -> Callable[..., Any]:
    """`function` under its 0.x name; `argument_names` maps 0.x argument names to today's."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        warn_once(f"tf.{old}", f"tf.{new}")
        for before, after in argument_names.items():
            if before in kwargs:
                kwargs[after] = kwargs.pop(before)
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = old.rpartition(".")[2]
    call.__doc__ = f"TensorFlow 0.x name of `tf.{new}`.\n\n{function.__doc__ or ''}"
    return call


def _is_axis(value: Any) -> bool:
    """Whether an argument is an axis or a count, and not a value to be joined or split."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return True
    if isinstance(value, Tensor):
        return value.dtype.base_dtype.is_integer and value.shape.ndims == 0
    return False


def _is_value_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def concat(values: Any, axis: Any = None, name: str = "concat", **old: Any) -> Any:
    """Joins tensors along an axis: `concat(values, axis)`; also 0.x's `concat(concat_dim, values)`."""
    if "concat_dim" in old:
        warn_once("tf.concat(concat_dim, values)", "tf.concat(values, axis)")
        dim = old.pop("concat_dim")
        tensors = values if axis is None else axis
        _no_more(old)
        return concat_ops.concat(tensors, dim, name=name)
    _no_more(old)
    if _is_axis(values) and (_is_value_list(axis) or isinstance(axis, Tensor)):
        warn_once("tf.concat(concat_dim, values)", "tf.concat(values, axis)")
        return concat_ops.concat(axis, values, name=name)
    if axis is None:
        raise TypeError("concat() missing 1 required argument: 'axis'")
    return concat_ops.concat(values, axis, name=name)


def split(
    value: Any = None,
    num_or_size_splits: Any = None,
    axis: Any = 0,
    num: Any = None,
    name: str = "split",
    **old: Any,
) -> Any:
    """Splits a tensor: `split(value, num_or_size_splits, axis)`; also 0.x's `split(split_dim, num_split, value)`."""
    if "split_dim" in old or "num_split" in old:
        warn_once(
            "tf.split(split_dim, num_split, value)", "tf.split(value, num_or_size_splits, axis)"
        )
        given = [a for a in (value, num_or_size_splits) if a is not None]
        dim = old.pop("split_dim") if "split_dim" in old else given.pop(0)
        count = old.pop("num_split") if "num_split" in old else given.pop(0)
        tensor = given.pop(0) if given else axis
        _no_more(old)
        return split_ops.split(tensor, count, dim, name=name)
    _no_more(old)
    if _is_axis(value) and _is_axis(num_or_size_splits) and not isinstance(axis, (int, np.integer)):
        warn_once(
            "tf.split(split_dim, num_split, value)", "tf.split(value, num_or_size_splits, axis)"
        )
        return split_ops.split(axis, num_or_size_splits, value, name=name)
    return split_ops.split(value, num_or_size_splits, axis, num, name=name)


def _no_more(old: dict[str, Any]) -> None:
    if old:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(old))}")


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: Any = None,
) -> Any:
    """Cross entropy of softmax: `labels=`, `logits=`; also 0.x's positional `(logits, labels)`."""
    if _sentinel is not None and labels is not None and logits is None:
        warn_once(
            "tf.nn.softmax_cross_entropy_with_logits(logits, labels)",
            "tf.nn.softmax_cross_entropy_with_logits(labels=..., logits=...)",
        )
        _sentinel, logits = None, _sentinel
    return nn_softmax.softmax_cross_entropy_with_logits(
        _sentinel=_sentinel, labels=labels, logits=logits, dim=dim, name=name, axis=axis
    )


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Any:
    """Cross entropy with class indices: `labels=`, `logits=`; also 0.x's positional `(logits, labels)`."""
    if _sentinel is not None and labels is not None and logits is None:
        warn_once(
            "tf.nn.sparse_softmax_cross_entropy_with_logits(logits, labels)",
            "tf.nn.sparse_softmax_cross_entropy_with_logits(labels=..., logits=...)",
        )
        _sentinel, logits = None, _sentinel
    return nn_softmax.sparse_softmax_cross_entropy_with_logits(
        _sentinel=_sentinel, labels=labels, logits=logits, name=name
    )


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    name: str | None = None,
    targets: Any = None,
) -> Any:
    """Cross entropy of independent classes: `labels=`, `logits=`; also 0.x's positional `(logits, targets)`."""
    positional = (
        _sentinel is not None and logits is None and (labels is not None or targets is not None)
    )
    if positional or targets is not None:
        warn_once(
            "tf.nn.sigmoid_cross_entropy_with_logits(logits, targets)",
            "tf.nn.sigmoid_cross_entropy_with_logits(labels=..., logits=...)",
        )
        labels = targets if targets is not None else labels
        if positional:
            _sentinel, logits = None, _sentinel
    return nn_misc.sigmoid_cross_entropy_with_logits(
        _sentinel=_sentinel, labels=labels, logits=logits, name=name
    )


class _AnySparseTensor(type):
    """`isinstance(x, tf.SparseTensor)` holds for every sparse tensor."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, composite.SparseTensor)


class SparseTensor(composite.SparseTensor, metaclass=_AnySparseTensor):
    """A sparse tensor in coordinates; 0.x called `dense_shape` `shape`."""

    def __init__(
        self, indices: Any, values: Any, dense_shape: Any = None, shape: Any = None
    ) -> None:
        if dense_shape is None:
            if shape is None:
                raise TypeError("SparseTensor() missing 1 required argument: 'dense_shape'")
            warn_once("tf.SparseTensor(shape=...)", "tf.SparseTensor(dense_shape=...)")
            dense_shape = shape
        super().__init__(indices, values, dense_shape)


def batch_matmul(
    x: Any, y: Any, adj_x: bool = False, adj_y: bool = False, name: str | None = None
) -> Any:
    """TensorFlow 0.x name of `tf.matmul` on batches of matrices."""
    warn_once("tf.batch_matmul", "tf.matmul")
    return matmul.matmul(x, y, adjoint_a=adj_x, adjoint_b=adj_y, name=name)


def select(condition: Any, t: Any = None, e: Any = None, name: str | None = None) -> Any:
    """TensorFlow 0.x name of `tf.where` with two values."""
    warn_once("tf.select", "tf.where")
    return raw.Select(condition, t, e, name=name)


def _old_summary(
    old: str, op: str, tag: Any, values: Any, collections: Any, name: str | None, **attrs: Any
) -> Any:
    warn_once(f"tf.{old}", f"tf.summary.{old.removesuffix('_summary')}")
    value = getattr(raw, op)(tag, values, name=name, **attrs)
    summary_merge.collect(value, collections, (GraphKeys.SUMMARIES,))
    return value


def scalar_summary(tags: Any, values: Any, collections: Any = None, name: str | None = None) -> Any:
    """TensorFlow 0.x form of `tf.summary.scalar`: one tag for each value, used as they are."""
    return _old_summary("scalar_summary", "ScalarSummary", tags, values, collections, name)


def histogram_summary(
    tag: Any, values: Any, collections: Any = None, name: str | None = None
) -> Any:
    """TensorFlow 0.x form of `tf.summary.histogram`: the tag is used as it is."""
    return _old_summary("histogram_summary", "HistogramSummary", tag, values, collections, name)


def image_summary(
    tag: Any, tensor: Any, max_images: int = 3, collections: Any = None, name: str | None = None
) -> Any:
    """TensorFlow 0.x form of `tf.summary.image`: the tag is used as it is."""
    return _old_summary(
        "image_summary", "ImageSummary", tag, tensor, collections, name, max_images=max_images
    )


def arg_max(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Any:
    """TensorFlow 0.x name of `tf.argmax`."""
    warn_once("tf.arg_max", "tf.argmax")
    return raw.ArgMax(input, dimension, output_type=output_type, name=name)


def arg_min(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Any:
    """TensorFlow 0.x name of `tf.argmin`."""
    warn_once("tf.arg_min", "tf.argmin")
    return raw.ArgMin(input, dimension, output_type=output_type, name=name)


mul = _renamed("mul", "multiply", math_functions.multiply)
sub = _renamed("sub", "subtract", math_functions.subtract)
neg = _renamed("neg", "negative", elementwise.negative)
inv = _renamed("inv", "reciprocal", elementwise.reciprocal)
complex_abs = _renamed("complex_abs", "abs", math_functions.abs)
pack = _renamed("pack", "stack", stack_ops.stack)
unpack = _renamed("unpack", "unstack", stack_ops.unstack)
concat_v2 = _renamed("concat_v2", "concat", concat_ops.concat)
all_variables = _renamed("all_variables", "global_variables", variable_collections.global_variables)
initialize_all_variables = _renamed(
    "initialize_all_variables",
    "global_variables_initializer",
    variable_collections.global_variables_initializer,
)
initialize_variables = _renamed(
    "initialize_variables", "variables_initializer", variable_collections.variables_initializer
)
initialize_local_variables = _renamed(
    "initialize_local_variables",
    "local_variables_initializer",
    variable_collections.local_variables_initializer,
)
merge_all_summaries = _renamed("merge_all_summaries", "summary.merge_all", summary_merge.merge_all)
merge_summary = _renamed("merge_summary", "summary.merge", summary_merge.merge)
SummaryWriter = _renamed("train.SummaryWriter", "summary.FileWriter", FileWriter)
rnn = _renamed("nn.rnn", "nn.static_rnn", rnn_functions.static_rnn)
bidirectional_rnn = _renamed(
    "nn.bidirectional_rnn", "nn.static_bidirectional_rnn", rnn_functions.static_bidirectional_rnn
)
