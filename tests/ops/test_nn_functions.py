"""Errors and edge cases of the neural-network functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh.ops
from flowmesh.core import dtypes
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import (
    embedding,
    image_functions,
    nn_conv_functions,
    nn_misc,
    nn_norm_functions,
    nn_pool,
    nn_softmax,
)
from flowmesh.ops.constant import constant
from flowmesh.ops.placeholder import placeholder
from tests.ops import interpreter

assert flowmesh.ops
LOGITS = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)


@pytest.fixture(autouse=True)
def graph() -> Any:
    with Graph().as_default() as made:
        yield made


def value(tensor: Tensor) -> np.ndarray:
    return np.asarray(interpreter.evaluate([tensor], {})[0])


def image(*shape: int) -> Tensor:
    return placeholder(dtypes.float32, shape)


# -- losses -----------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_named() -> None:
    loss = nn_softmax.sparse_softmax_cross_entropy_with_logits(labels=[1, 3], logits=LOGITS)
    message = r"Received a label value of 3 which is outside the valid range of \[0, 3\).*1 3"
    with pytest.raises(InvalidArgumentError, match=message):
        value(loss)


def test_a_label_out_of_range_is_nan_when_compiled() -> None:
    loss = nn_softmax.sparse_softmax_cross_entropy_with_logits(labels=[1, 3], logits=LOGITS)
    xp = interpreter.jax_numpy()
    definition = loss.op.definition
    found, back = definition.compute(xp, xp.asarray(LOGITS), xp.asarray([1, 3]))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
    assert np.isnan(back[1]).all()


def test_the_sparse_loss_has_no_second_derivative() -> None:
    logits = constant(LOGITS)
    loss = nn_softmax.sparse_softmax_cross_entropy_with_logits(labels=[1, 2], logits=logits)
    (slope,) = gradients(loss, [logits])
    with pytest.raises(LookupError, match="no way to take the second derivative"):
        gradients(slope, [logits])


def test_v1_cross_entropy_stops_the_labels_gradient() -> None:
    labels, logits = constant(np.abs(LOGITS)), constant(LOGITS)
    loss = nn_softmax.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    assert gradients(loss, [labels]) == [None]
    again = nn_softmax.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)
    assert gradients(again, [labels]) != [None]


def test_losses_want_names() -> None:
    for function in (
        nn_softmax.softmax_cross_entropy_with_logits,
        nn_softmax.sparse_softmax_cross_entropy_with_logits,
        nn_misc.sigmoid_cross_entropy_with_logits,
    ):
        with pytest.raises(ValueError, match=f"Only call `{function.__name__}` with named"):
            function(LOGITS, LOGITS)
        with pytest.raises(ValueError, match="Both labels and logits must be provided"):
            function(logits=LOGITS)


def test_axis_and_dim_are_one_argument() -> None:
    by_dim = nn_softmax.softmax(LOGITS, dim=0)
    by_axis = nn_softmax.softmax(LOGITS, axis=0)
    np.testing.assert_array_equal(value(by_dim), value(by_axis))
    with pytest.raises(ValueError, match="Cannot specify both"):
        nn_softmax.softmax(LOGITS, axis=0, dim=0)
    with pytest.raises(
        InvalidArgumentError, match=r"Dimension \(2\) must be in the range \[-2, 2\)"
    ):
        nn_softmax.softmax(LOGITS, axis=2)


def test_softmax_of_unknown_rank_along_another_axis() -> None:
    x = placeholder(dtypes.float32)
    y = nn_softmax.softmax(x, axis=0)
    found = interpreter.evaluate([y], {x: LOGITS})[0]
    np.testing.assert_allclose(found.sum(axis=0), np.ones(3), rtol=1e-6)


def test_loss_of_empty_batch() -> None:
    loss = nn_softmax.softmax_cross_entropy_with_logits_v2(
        labels=np.zeros([0, 3], np.float32), logits=np.zeros([0, 3], np.float32)
    )
    assert value(loss).shape == (0,)


# -- dropout, normalisation --------------------------------------------------------------------------


def test_dropout_keeps_the_mean() -> None:
    kept = value(nn_misc.dropout(np.ones([100, 100], np.float32), 0.25, seed=3))
    assert set(np.unique(kept)) == {0.0, 4.0}
    assert abs(kept.mean() - 1) < 0.05
    same = nn_misc.dropout(constant(np.ones([3], np.float32)), 1.0)
    assert same.op.type == "Const"


def test_dropout_arguments() -> None:
    x = np.ones([2], np.float32)
    with pytest.raises(ValueError, match="keep_prob and rate"):
        nn_misc.dropout(x, 0.5, rate=0.5)
    with pytest.raises(ValueError, match="keep_prob must be a floating point number"):
        nn_misc.dropout(x, "a")


def test_fused_batch_norm_arguments() -> None:
    x = image(2, 3, 3, 2)
    ones = np.ones([2], np.float32)
    with pytest.raises(ValueError, match="Both 'mean' and 'variance' must be None"):
        nn_norm_functions.fused_batch_norm(x, ones, ones, ones, ones)
    with pytest.raises(ValueError, match="Dimensions must be equal, but are 2 and 3"):
        nn_norm_functions.fused_batch_norm(x, np.ones([3], np.float32), ones)


def test_fused_batch_norm_in_both_layouts() -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 2)).astype(np.float32)
    scale, offset = np.float32([1, 2]), np.float32([0, 1])
    last = nn_norm_functions.fused_batch_norm(x, scale, offset)[0]
    turned = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    first = nn_norm_functions.fused_batch_norm(turned, scale, offset, data_format="NCHW")[0]
    np.testing.assert_allclose(value(first).transpose(0, 2, 3, 1), value(last), atol=1e-6)


# -- windows ----------------------------------------------------------------------------------------


def test_windows_over_batch_or_channels_are_refused() -> None:
    x, kernel = constant(np.ones([2, 4, 4, 1], np.float32)), np.ones([2, 2, 1, 1], np.float32)
    stepped = nn_conv_functions.conv2d(x, kernel, [2, 1, 1, 1], "SAME")
    with pytest.raises(InvalidArgumentError, match="strides in the batch and depth dimensions"):
        value(stepped)
    pooled = nn_pool.max_pool(x, [2, 2, 2, 1], [1, 2, 2, 1], "VALID")
    with pytest.raises(InvalidArgumentError, match="not yet supported on the batch dimension"):
        value(pooled)


def test_window_arguments() -> None:
    x, kernel = image(2, 4, 4, 1), np.ones([2, 2, 1, 1], np.float32)
    with pytest.raises(ValueError, match="must be a list of 4"):
        nn_conv_functions.conv2d(x, kernel, 1, [[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="batch and channel dimensions must be"):
        nn_conv_functions.conv2d(x, kernel, 1, [[1, 0], [1, 1], [1, 1], [0, 0]])
    with pytest.raises(ValueError, match="Cannot specify both 'filter' and 'filters'"):
        nn_conv_functions.conv2d(x, kernel, 1, "SAME", filters=kernel)
    with pytest.raises(ValueError, match='data_format must be "NWC" or "NCW"'):
        nn_conv_functions.conv1d(image(2, 4, 1), np.ones([2, 1, 1]), 1, "SAME", data_format="X")
    with pytest.raises(ValueError, match="must have rank 3, 4 or 5"):
        nn_conv_functions.convolution(image(2, 4), np.ones([2, 1]), "SAME")
    with pytest.raises(ValueError, match="other than 'NHWC'"):
        nn_pool.max_pool_with_argmax(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME", data_format="NCHW")


def test_grouped_convolution() -> None:
    x = np.random.default_rng(1).normal(size=(1, 3, 3, 4)).astype(np.float32)
    kernel = np.random.default_rng(2).normal(size=(2, 2, 2, 6)).astype(np.float32)
    whole = value(nn_conv_functions.conv2d(x, kernel, 1, "SAME"))
    for group in range(2):
        part = nn_conv_functions.conv2d(
            x[..., 2 * group : 2 * group + 2], kernel[..., 3 * group : 3 * group + 3], 1, "SAME"
        )
        np.testing.assert_allclose(
            whole[..., 3 * group : 3 * group + 3], value(part), rtol=1e-5, atol=1e-6
        )


def test_static_shapes_of_partly_known_images() -> None:
    x = placeholder(dtypes.float32, [None, None, 6, 3])
    kernel = placeholder(dtypes.float32, [3, 3, 3, 5])
    same = nn_conv_functions.conv2d(x, kernel, 2, "SAME")
    assert same.shape.as_list() == [None, None, 3, 5]
    valid = nn_conv_functions.conv2d(x, kernel, 1, "VALID")
    assert valid.shape.as_list() == [None, None, 4, 5]
    assert nn_pool.avg_pool(x, 2, 2, "VALID").shape.as_list() == [None, None, 3, 3]
    (slope,) = gradients(same, [x])
    assert slope.shape.as_list() == [None, None, 6, 3]


# -- embeddings and images -------------------------------------------------------------------------------


def test_sparse_lookup_arguments() -> None:
    table = np.ones([4, 2], np.float32)
    ids = SparseTensor(np.array([[0, 0]]), np.array([1]), np.array([1, 1]))
    with pytest.raises(TypeError, match="sp_ids must be SparseTensor"):
        embedding.embedding_lookup_sparse(table, constant([1]), None)
    with pytest.raises(TypeError, match="sp_weights must be either None or SparseTensor"):
        embedding.embedding_lookup_sparse(table, ids, constant([1.0]))
    with pytest.raises(ValueError, match="combiner must be one of"):
        embedding.embedding_lookup_sparse(table, ids, None, combiner="max")


def test_image_arguments() -> None:
    picture = image(4, 6, 3)
    with pytest.raises(ValueError, match="must have either 3 or 4 dimensions"):
        image_functions.flip_up_down(image(4, 6))
    with pytest.raises(ValueError, match="1-D Tensor of 2 elements"):
        image_functions.resize_images(picture, [3])
    with pytest.raises(ValueError, match="Resize method is not implemented"):
        image_functions.resize_images(picture, [3, 3], method=9)
    with pytest.raises(ValueError, match="width must be >= target"):
        image_functions.crop_to_bounding_box(picture, 0, 0, 4, 7)
    with pytest.raises(ValueError, match="height must be <= target"):
        image_functions.pad_to_bounding_box(picture, 0, 0, 3, 7)
    with pytest.raises(ValueError, match=r"central_fraction must be within \(0, 1\]"):
        image_functions.central_crop(picture, 1.5)
    with pytest.raises(ValueError, match=r"upper must be > lower"):
        image_functions.random_contrast(picture, 0.5, 0.5)
    with pytest.raises(ValueError, match="max_delta must be non-negative"):
        image_functions.random_brightness(picture, -1)


def test_resizing_to_nothing_is_refused() -> None:
    size = placeholder(dtypes.int32, [2])
    small = raw.ResizeBilinear(constant(np.ones([1, 2, 2, 1], np.float32)), size)
    with pytest.raises(InvalidArgumentError, match="output dimensions must be positive"):
        interpreter.evaluate([small], {size: np.int32([0, 3])})


def test_crops_of_images_of_unknown_size() -> None:
    x = placeholder(dtypes.float32, [None, None, 3])
    both = image_functions.resize_image_with_crop_or_pad(x, 5, 3)
    middle = image_functions.central_crop(x, 0.5)
    picture = np.random.default_rng(0).normal(size=(4, 8, 3)).astype(np.float32)
    fitted, centre = interpreter.evaluate([both, middle], {x: picture})
    assert both.shape.as_list() == [5, 3, 3]
    np.testing.assert_array_equal(fitted[:4], picture[:, 2:5])
    np.testing.assert_array_equal(fitted[4], np.zeros([3, 3]))
    np.testing.assert_array_equal(centre, picture[1:3, 2:6])
