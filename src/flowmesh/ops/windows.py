"""Geometry of sliding windows, shared by convolution and pooling: layouts, padding, output sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmesh.core.errors import InvalidArgumentError

Pads = list[tuple[int, int]]
_CHANNELS_LAST = ("NHWC", "NDHWC", "NWC")


def spatial_axes(data_format: bytes) -> list[int]:
    """The positions of the spatial axes in a layout such as b"NHWC"."""
    return [i for i, letter in enumerate(data_format.decode()) if letter not in "NC"]


def channel_axis(data_format: bytes) -> int:
    """The position of the channel axis in a layout."""
    return data_format.decode().index("C")


def pick(values: Sequence[int], axes: Sequence[int]) -> list[int]:
    """The entries of a per-axis attr for some axes."""
    return [int(values[i]) for i in axes]


def output_size(
    size: int | None,
    window: int | None,
    stride: int,
    padding: bytes,
    dilation: int = 1,
    explicit: tuple[int, int] = (0, 0),
) -> int | None:
    """How many windows fit along one axis; ValueError in TensorFlow's words when none can."""
    if stride <= 0:
        raise ValueError(f"Stride must be > 0, but got {stride}")
    if dilation < 1:
        raise ValueError(f"Dilation rate must be >= 1, but got {dilation}")
    if size is None or (window is None and padding != b"SAME"):
        return None
    if padding == b"SAME":
        return -(-size // stride)
    reach = ((window or 0) - 1) * dilation + 1
    room = size + sum(explicit)
    if room < reach:
        raise ValueError(f"Negative dimension size caused by subtracting {reach} from {room}")
    return (room - reach) // stride + 1


def paddings(
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
    padding: bytes,
    dilations: Sequence[int] | None = None,
    explicit: Pads | None = None,
) -> Pads:
    """Zeros to add before and behind each axis; of an odd number the extra one goes behind."""
    if padding == b"EXPLICIT":
        return list(explicit or ())
    if padding == b"VALID":
        return [(0, 0)] * len(sizes)
    result: Pads = []
    for size, window, stride, dilation in zip(
        sizes, windows, strides, dilations or [1] * len(sizes)
    ):
        reach = (window - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        result.append((total // 2, total - total // 2))
    return result


def explicit_pairs(values: Sequence[int], axes: Sequence[int]) -> Pads:
    """The (before, behind) pairs of some axes of a flat `explicit_paddings` attr."""
    return [(int(values[2 * i]), int(values[2 * i + 1])) for i in axes]


def check_length(values: Sequence[int], rank: int, op_type: str, attr: str) -> None:
    """ValueError unless a per-axis attr has one entry for each axis."""
    if len(values) != rank:
        raise ValueError(
            f"{op_type} requires the {attr} attribute to contain {rank} values, but got: {len(values)}"
        )


def check_unit(values: Sequence[int], axes: Sequence[int], what: str) -> None:
    """InvalidArgumentError unless a per-axis attr is 1 along some axes."""
    if any(values[i] != 1 for i in axes):
        raise InvalidArgumentError(
            None,
            None,
            f"Current implementation does not yet support {what} in the batch and depth dimensions.",
        )


def per_axis(value: Any, spatial: int, data_format: str, name: str) -> list[int]:
    """A stride, window or dilation argument (one number, one per spatial axis, or one per axis) for every axis."""
    rank = spatial + 2
    if value is None:
        return [1] * rank
    entries = [int(v) for v in value] if hasattr(value, "__iter__") else [int(value)]
    if len(entries) not in (1, spatial, rank):
        raise ValueError(
            f"{name} should be of length 1, {spatial} or {rank} but was {len(entries)}"
        )
    if len(entries) == rank:
        return entries
    if len(entries) == 1:
        entries = entries * spatial
    return [1, *entries, 1] if data_format in _CHANNELS_LAST else [1, 1, *entries]
