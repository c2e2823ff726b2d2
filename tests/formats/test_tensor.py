"""TensorProto to arrays and back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.formats.tensor import from_tensor_proto, to_tensor_proto
from flowmesh.proto import types_pb2
from flowmesh.proto.resource_handle_pb2 import ResourceHandleProto
from flowmesh.proto.tensor_pb2 import TensorProto, VariantTensorDataProto

from .cases import as_array, label, rows

QUANTIZED = sorted(dtypes.QUANTIZED, key=int)


def proto_of(dtype: int, shape: tuple[int, ...], **values: object) -> TensorProto:
    proto = TensorProto(dtype=dtype, **values)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("row", rows("tensors.json"), ids=label)
def test_fields_are_those_tensorflow_chooses(row: dict) -> None:
    array = as_array(row)
    data = bytes.fromhex(row["bytes"])
    assert to_tensor_proto(array).SerializeToString() == data
    read = from_tensor_proto(TensorProto.FromString(data))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("row", rows("tensors.json"), ids=label)
def test_as_content(row: dict) -> None:
    array = as_array(row)
    proto = to_tensor_proto(array, as_content=True)
    assert [field.name for field, _ in proto.ListFields() if field.name.endswith("_val")] == []
    np.testing.assert_array_equal(from_tensor_proto(proto), array)


@pytest.mark.parametrize("dtype", QUANTIZED, ids=str)
@pytest.mark.parametrize("as_content", [False, True])
def test_quantized_types(dtype: dtypes.DType, as_content: bool) -> None:
    for array in (np.array([3, 4, 5]), np.array(7)):
        proto = to_tensor_proto(array, dtype, as_content=as_content)
        assert proto.dtype == dtype.as_datatype_enum
        read = from_tensor_proto(proto)
        assert read.dtype == dtype.as_numpy_dtype
        np.testing.assert_array_equal(read[dtype.name], array)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (dtypes.resource, ResourceHandleProto(name="v", hash_code=7)),
        (dtypes.variant, VariantTensorDataProto(type_name="t", metadata=b"m")),
    ],
)
@pytest.mark.parametrize("as_content", [False, True])
def test_messages_as_elements(dtype: dtypes.DType, message: object, as_content: bool) -> None:
    array = np.empty((1, 2), object)
    array[:] = [[message, type(message)()]]
    read = from_tensor_proto(to_tensor_proto(array, dtype, as_content=as_content))
    assert read.shape == (1, 2)
    assert read[0].tolist() == array[0].tolist()
    with pytest.raises(InvalidArgumentError, match="elements"):
        to_tensor_proto(np.array([1]), dtype)


def test_content_is_not_copied() -> None:
    proto = to_tensor_proto(np.arange(1000.0))
    read = from_tensor_proto(proto)
    assert not read.flags.owndata
    assert not read.flags.writeable


def test_text_becomes_utf8() -> None:
    for array in (
        np.array(["ä", "b"]),
        np.array(["ä", "b"], object),
        np.array([b"\xc3\xa4", b"b"]),
    ):
        assert list(to_tensor_proto(array).string_val) == ["ä".encode(), b"b"]


def test_dtype_converts_and_references_count_as_their_base() -> None:
    proto = to_tensor_proto(np.array([1, 2]), dtypes.float32_ref)
    assert proto.dtype == types_pb2.DT_FLOAT
    np.testing.assert_array_equal(from_tensor_proto(proto), np.array([1, 2], np.float32))


def test_arrays_in_any_layout_and_byte_order() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T
    proto = to_tensor_proto(array)
    assert proto.dtype == types_pb2.DT_INT32
    np.testing.assert_array_equal(from_tensor_proto(proto), array)


def test_the_last_value_is_repeated() -> None:
    proto = proto_of(types_pb2.DT_FLOAT, (2, 3), float_val=[1.0, 2.0])
    assert from_tensor_proto(proto).tolist() == [[1, 2, 2], [2, 2, 2]]
    proto = proto_of(types_pb2.DT_STRING, (3,), string_val=[b"x"])
    assert from_tensor_proto(proto).tolist() == [b"x"] * 3
    proto = proto_of(types_pb2.DT_COMPLEX64, (2,), scomplex_val=[1, 2])
    assert from_tensor_proto(proto).tolist() == [1 + 2j] * 2
    proto = proto_of(types_pb2.DT_BFLOAT16, (2,), half_val=[0x3F80])
    assert from_tensor_proto(proto).astype(float).tolist() == [1.0, 1.0]
    assert from_tensor_proto(proto).dtype == ml_dtypes.bfloat16


def test_no_value_means_zero() -> None:
    assert from_tensor_proto(proto_of(types_pb2.DT_INT32, (2,))).tolist() == [0, 0]
    assert from_tensor_proto(proto_of(types_pb2.DT_STRING, (2,))).tolist() == [b"", b""]
    assert from_tensor_proto(proto_of(types_pb2.DT_BOOL, ())).tolist() is False


def test_one_value_fills_a_huge_tensor_without_memory() -> None:
    filled = from_tensor_proto(proto_of(types_pb2.DT_FLOAT, (1 << 20, 1 << 20), float_val=[2.0]))
    assert filled.shape == (1 << 20, 1 << 20)
    assert filled[12345, 678] == 2.0


def test_narrow_integers_wrap() -> None:
    proto = proto_of(types_pb2.DT_UINT8, (2,), int_val=[-1, 256 + 7])
    assert from_tensor_proto(proto).tolist() == [255, 7]


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (proto_of(types_pb2.DT_FLOAT, (2,), tensor_content=b"1234567"), "has 7 bytes"),
        (proto_of(types_pb2.DT_FLOAT, (2,), tensor_content=b"1" * 12), "needs 8"),
        (proto_of(types_pb2.DT_FLOAT, (1,), float_val=[1, 2]), "2 values"),
        (proto_of(types_pb2.DT_STRING, (1,), string_val=[b"", b""]), "2 values"),
        (proto_of(types_pb2.DT_STRING, (1,), tensor_content=b"\x05abc"), "DT_STRING"),
        (proto_of(types_pb2.DT_RESOURCE, (1,), tensor_content=b"\x02\xff\xff"), "DT_RESOURCE"),
        (proto_of(types_pb2.DT_COMPLEX64, (1,), scomplex_val=[1]), "two each"),
        (proto_of(types_pb2.DT_FLOAT, (-1,)), "not fully defined"),
        (proto_of(types_pb2.DT_FLOAT, (1 << 40, 1 << 40)), "too many elements"),
        (proto_of(types_pb2.DT_DOUBLE, (1 << 61,)), "too many elements"),
        (proto_of(types_pb2.DT_FLOAT, (1 << 40,), float_val=[1, 2]), "cannot be repeated"),
        (proto_of(types_pb2.DT_FLOAT, (1,) * 255), "255 dimensions"),
        (proto_of(types_pb2.DT_FLOAT, (1,) * 100), "not representable"),
        (proto_of(0, (1,)), "dtype 0"),
        (proto_of(101, (1,)), "dtype 101"),
        (proto_of(77, (1,)), "dtype 77"),
    ],
)
def test_bad_messages(proto: TensorProto, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        from_tensor_proto(proto)


def test_unknown_rank() -> None:
    proto = TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(InvalidArgumentError, match="unknown rank"):
        from_tensor_proto(proto)


def test_arrays_without_a_message_form() -> None:
    with pytest.raises(InvalidArgumentError, match="datetime64"):
        to_tensor_proto(np.array(["2020-01-01"], "M8[D]"))
    with pytest.raises(InvalidArgumentError, match="string tensor"):
        to_tensor_proto(np.array([1, b"a"], object))


def test_two_gigabytes_are_too_much() -> None:
    with pytest.raises(InvalidArgumentError, match="larger than 2GB"):
        to_tensor_proto(np.broadcast_to(np.float32(1), (1 << 29,)))
