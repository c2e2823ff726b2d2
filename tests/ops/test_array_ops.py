"""Constants, placeholders and array functions: what the recorded programs do not show."""

from __future__ import annotations

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import (
    constant,
    fill,
    gather,
    identity,
    masks,
    placeholder,
    reshape,
    sequence,
    slicing,
    space,
    sparse_values,
    stack,
    tensor_value,
)
from tests.ops.array_program import evaluate


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as graph:
        yield graph


# -- constants -------------------------------------------------------------------------------------------


def test_constant_keeps_numpy_dtypes_and_narrows_python_numbers() -> None:
    kinds = [
        (1, "int32"),
        (2**40, "int64"),
        (1.0, "float32"),
        (1e300, "float32"),
        (True, "bool"),
        (1j, "complex128"),
        ("a", "string"),
        (np.float64(1), "float64"),
        (np.int8(1), "int8"),
        (np.array(["a", "b"]), "string"),
        ([np.float64(1.5), 2], "float32"),
        ([], "float32"),
        (np.float16([1, 2]), "float16"),
    ]
    for value, name in kinds:
        assert constant.constant(value).dtype.name == name, value


def test_constant_does_not_follow_its_source() -> None:
    source = np.zeros(3, np.float32)
    tensor = constant.constant(source)
    source[0] = 7
    np.testing.assert_array_equal(evaluate(tensor), [0, 0, 0])


def test_constant_over_two_gigabytes_is_refused() -> None:
    huge = np.broadcast_to(np.float32(0), (1 << 15, 1 << 14))  # 2 GiB that are never allocated
    with pytest.raises(ValueError, match="larger than 2GB"):
        tensor_value.to_array(huge)
    with pytest.raises(ValueError, match="larger than 2GB"):
        constant.constant(0.0, shape=[1 << 15, 1 << 14])


def test_ragged_list_is_refused() -> None:
    with pytest.raises(ValueError, match="dense tensor"):
        constant.constant([[1], [2, 3]])


def test_strings_keep_trailing_zeros() -> None:
    values = evaluate(constant.constant([b"a\0", b"b"]))
    assert values.tolist() == [b"a\0", b"b"]


def test_partial_shape_as_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="partially known"):
        convert_to_tensor(TensorShape([None]))


def test_lists_with_tensors_are_packed_with_a_cast() -> None:
    x = constant.constant([1, 2])
    packed = convert_to_tensor([x, [3, 4]], dtype=dtypes.float32)
    assert packed.op.type == "Pack"
    np.testing.assert_array_equal(evaluate(packed), [[1, 2], [3, 4]])


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.bool_, object])
def test_scalars_are_packed_into_a_vector_of_their_kind(kind: type) -> None:
    one, two = (b"a", b"bc") if kind is object else (kind(1), kind(0))
    scalars = [np.array(value, kind) for value in (one, two)]
    kernel = raw.Pack([constant.constant(v) for v in (one, two)]).op.definition
    packed = kernel.compute(np, scalars)
    assert packed.dtype == kind and packed.tolist() == [one, two]


# -- placeholders ------------------------------------------------------------------------------------------


def test_placeholder_that_is_not_fed_names_itself() -> None:
    tensor = placeholder.placeholder(dtypes.float32, [None, 2], name="p")
    assert tensor.op.type == "Placeholder"
    with pytest.raises(
        errors.InvalidArgumentError, match=r"'p' with dtype float and shape \[\?,2\]"
    ):
        evaluate(tensor)
    old = raw.PlaceholderV2(dtype=dtypes.int64, shape=[], name="q")
    assert old.op.type == "PlaceholderV2"
    with pytest.raises(errors.InvalidArgumentError, match="'q' with dtype int64"):
        evaluate(old)


def test_placeholder_with_default() -> None:
    tensor = placeholder.placeholder_with_default([[1.0, 2.0]], [None, 2])
    assert tensor.shape.as_list() == [None, 2]
    np.testing.assert_array_equal(evaluate(tensor), [[1, 2]])
    np.testing.assert_array_equal(evaluate(tensor, {tensor: [[5.0, 6.0]]}), [[5, 6]])


# -- gradients that stop --------------------------------------------------------------------------------------


def test_gradient_stops() -> None:
    x = constant.constant([1.0, 2.0])
    assert gradients(identity.stop_gradient(x), x) == [None]
    with pytest.raises(LookupError, match="Gradient explicitly disabled"):
        gradients(identity.prevent_gradient(x, "why"), x)


def test_gradient_of_check_numerics_is_checked() -> None:
    x = constant.constant([1.0, 2.0])
    (grad,) = gradients(identity.check_numerics(x, "m"), x)
    assert grad.op.type == "CheckNumerics"


# -- static shapes -----------------------------------------------------------------------------------------------


def test_shapes_follow_through_shape_arithmetic() -> None:
    x = placeholder.placeholder(dtypes.float32, [None, 6])
    batch = slicing.slice_(raw.Shape(x), [0], [1])
    assert reshape.reshape(x, stack.stack([raw.Shape(x)[0], 3, 2])).shape.as_list() == [None, 3, 2]
    assert reshape.reshape(x, [-1, 3]).shape.as_list() == [None, 3]
    assert fill.zeros(raw.ConcatV2([batch, [4]], 0)).shape.ndims == 2
    assert x[:, 1:3].shape.as_list() == [None, 2]
    assert x[0].shape.as_list() == [6]
    assert sequence.range(3, 9, 2).shape.as_list() == [3]


def test_getitem_of_unknown_rank() -> None:
    x = placeholder.placeholder(dtypes.float32)
    assert x[0].shape.ndims is None
    np.testing.assert_array_equal(evaluate(x[1, ..., ::2], {x: np.eye(4)}), [0, 0])


def test_getitem_takes_masks() -> None:
    x = constant.constant([1, 2, 3])
    np.testing.assert_array_equal(evaluate(x[x > 1]), [2, 3])
    np.testing.assert_array_equal(evaluate(x[np.array([True, False, True])]), [1, 3])


def test_slice_assignment_needs_a_variable() -> None:
    with pytest.raises(ValueError, match="only supported for variables"):
        constant.constant([1, 2])[0].assign(3)


# -- functions --------------------------------------------------------------------------------------------------


def test_batch_gather_nd() -> None:
    params = np.arange(12).reshape(2, 3, 2)
    got = evaluate(gather.gather_nd(constant.constant(params), [[[2]], [[0]]], batch_dims=1))
    np.testing.assert_array_equal(got, [[params[0, 2]], [params[1, 0]]])


def test_batch_gather_gradient() -> None:
    x = constant.constant(np.arange(12.0).reshape(2, 3, 2))
    y = gather.gather(x, [[2, 2], [0, 1]], axis=1, batch_dims=1)
    (grad,) = gradients(y, x)
    np.testing.assert_array_equal(evaluate(grad)[:, :, 0], [[0, 0, 2], [1, 1, 0]])


def test_required_space_to_batch_paddings() -> None:
    paddings, crops = space.required_space_to_batch_paddings([5, 6], [2, 3], [[1, 0], [0, 0]])
    assert evaluate([paddings, crops])[0].tolist() == [[1, 0], [0, 0]]
    assert evaluate(crops).tolist() == [[0, 0], [0, 0]]
    paddings, crops = space.required_space_to_batch_paddings([5, 6], [2, 4])
    assert evaluate(paddings).tolist() == [[0, 1], [0, 2]]
    assert evaluate(crops).tolist() == [[0, 1], [0, 2]]


def test_sparse_placeholder_and_dense() -> None:
    sparse = sparse_values.sparse_placeholder(dtypes.float32, [2, 3], name="s")
    assert sparse.values.op.name == "s/values"
    dense = sparse_values.sparse_tensor_to_dense(sparse)
    fed = {sparse.indices: [[0, 1], [1, 2]], sparse.values: [4.0, 5.0]}
    np.testing.assert_array_equal(evaluate(dense, fed), [[0, 4, 0], [0, 0, 5]])


def test_sequence_mask_of_scalar_length() -> None:
    assert evaluate(masks.sequence_mask(constant.constant(2), 3)).tolist() == [True, True, False]
