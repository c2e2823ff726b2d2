"""Messages of the direct plane as bytes."""

from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from flowmesh.core import errors
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.frames import Kind, MalformedError, Place
from flowmesh.resources.handle import ResourceHandle
from flowmesh.runtime.values import DEAD, Received, is_frozen


def round_trip(value: Any) -> Any:
    """The value after a journey, with the data of larger ones in a buffer of its own."""
    encoded = frames.encode(value)
    data = frames.frame(Kind.PUSH, 7, b"head", [encoded])
    size, head_size, kind, _, count, request = frames.HEADER.unpack_from(data)
    assert (kind, count, request) == (Kind.PUSH, 1, 7)
    meta = data[frames.HEADER.size :]
    assert len(meta) == size
    assert meta[:head_size].rstrip(b"\0") == b"head"
    (descriptor,) = frames.parse_descriptors(meta, head_size, count)
    if descriptor.place == Place.STREAM:
        descriptor.data = memoryview(bytes(encoded.data))
    return frames.decode(descriptor)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(3),
        np.zeros((0, 4), np.int64),
        np.arange(24, dtype=np.int32).reshape(2, 3, 4)[:, ::2].T,
        np.array([True, False]),
        np.array([1 + 2j], np.complex128),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.arange(5000, dtype=np.float64),
        np.array([[b"", b"abc"], [b"\0" * 9, b"x" * 5000]], object),
        np.array(b"one", object),
        np.empty((0,), object),
    ],
)
def test_values_arrive_as_they_were(value: Any) -> None:
    result = round_trip(value)
    expected = np.asarray(value)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


def test_what_is_received_is_read_only_unless_asked_for() -> None:
    for writable in (True, False):
        data = Received((4,), np.uint8)
        tensor = frames.Descriptor(np.dtype(np.uint8), (4,), Place.STREAM, 0, 0, 4, data)
        value = frames.decode(tensor, writable)
        assert value.flags.writeable is writable
        assert value.base is data
        assert is_frozen(value) is not writable


def test_dead_values_and_handles() -> None:
    assert round_trip(DEAD) is DEAD
    handle = ResourceHandle("/job:ps/replica:0/task:0/device:CPU:0", "box", "queue", "Q")
    assert round_trip(handle) == handle


def test_what_cannot_leave_its_task_is_an_error() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="cannot be sent to"):
        frames.encode(np.array([object()], object))


@pytest.mark.parametrize(
    ("enum", "shape", "place", "form", "size", "message"),
    [
        (1, (2,), 0, 0, 9, "with 9 bytes"),
        (99, (1,), 0, 0, 4, "unknown type 99"),
        (1, (-1,), 0, 0, 4, "negative"),
        (1, (1,), 7, 0, 4, "unknown kind"),
        (1, (1,), 0, 9, 4, "unknown kind"),
        (7, (1 << 40,), 0, 1, 8, "cut short"),
        (1, (1000,), 0, 0, 4000, "cut short"),
    ],
)
def test_nonsense_is_refused(
    enum: int, shape: tuple[int, ...], place: int, form: int, size: int, message: str
) -> None:
    data = struct.pack("<BBBBIQ", enum, len(shape), place, form, 0, size)
    data += struct.pack(f"<{len(shape)}q", *shape) + bytes(8)
    with pytest.raises(MalformedError, match=message):
        frames.parse_descriptors(data, 0, 1)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_are_a_tensor_or_malformed(data: bytes, count: int) -> None:
    try:
        for descriptor in frames.parse_descriptors(data, 0, count):
            if descriptor.place == Place.INLINE:
                frames.decode(descriptor)
    except MalformedError:
        pass


@given(st.binary(max_size=100))
def test_any_bytes_are_texts_or_malformed(data: bytes) -> None:
    try:
        texts, end = frames.unpack_strings(data, 0)
    except MalformedError:
        return
    assert frames.pack_strings(texts) == data[:end]
