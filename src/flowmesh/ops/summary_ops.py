"""Summaries as ops: each gives a serialized `Summary` message for an event file."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import REALS
from flowmesh.core.shapes import TensorShape, scalar
from flowmesh.formats import summary, tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.io_ops import string_scalar
from flowmesh.ops.shape_rules import at_least, scalar_input
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.resources.messages import shape_string


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def _tag(value: Any, complaint: str) -> str:
    if np.ndim(value) != 0:
        raise _invalid(complaint)
    return _text(np.asarray(value, object).item())


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _serialized(message: Any) -> np.ndarray:
    return string_scalar(message.SerializeToString())


class _SummaryOp(OpDef, abstract=True):
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        return scalar()


class ScalarSummary(_SummaryOp):
    """One simple value per tag."""

    tags = Input(dtypes.string)
    values = Input("T")
    summary = Output(dtypes.string)
    T = type_attr(REALS)
    numpy_only = True

    def compute(self, xp: Any, tags: Any, values: Any) -> Any:
        names = np.asarray(tags, object)
        if names.shape != np.shape(values):
            first = f" (tag '{_text(names.item())}')" if names.size == 1 else ""
            raise _invalid(
                f"tags and values not the same shape: {shape_string(names.shape)} != "
                f"{shape_string(np.shape(values))}{first}"
            )
        message = Summary()
        for name, value in zip(names.reshape(-1), np.asarray(values).reshape(-1)):
            with np.errstate(over="ignore"):
                message.value.add(tag=_text(name), simple_value=float(np.float32(value)))
        return _serialized(message)


class HistogramSummary(_SummaryOp):
    """The distribution of the elements of a tensor; InvalidArgumentError if one is not finite."""

    tag = Input(dtypes.string)
    values = Input("T")
    summary = Output(dtypes.string)
    T = type_attr(REALS, dtypes.float32)

    def run(self, ctx: Any, tag: Any, values: Any) -> Any:  # type: ignore[override]
        name = _tag(tag, "tags must be scalar")
        histogram = summary.histogram_proto(np.asarray(values), ctx.name)
        return _serialized(Summary(value=[Summary.Value(tag=name, histo=histogram)]))


class MergeSummary(_SummaryOp):
    """All values of several summaries; InvalidArgumentError if two have the same tag."""

    inputs = Input(dtypes.string, number="N")
    summary = Output(dtypes.string)
    N = Attr("int", minimum=1)
    numpy_only = True

    def compute(self, xp: Any, inputs: Any) -> Any:
        merged = Summary()
        tags: set[str] = set()
        for item in inputs:
            for data in np.asarray(item, object).reshape(-1):
                try:
                    values = Summary.FromString(data).value
                except DecodeError:
                    raise _invalid("Could not parse one of the summary inputs") from None
                for value in values:
                    if value.tag and value.tag in tags:
                        raise _invalid(f"Duplicate tag {value.tag} found in summary inputs")
                    tags.add(value.tag)
                    merged.value.add().CopyFrom(value)
        return _serialized(merged)


class ImageSummary(_SummaryOp):
    """The first images of a [batch, height, width, channels] tensor, as PNG."""

    tag = Input(dtypes.string)
    tensor = Input("T")
    summary = Output(dtypes.string)
    max_images = Attr("int", 3, minimum=1)
    T = type_attr({dtypes.uint8, dtypes.float32, dtypes.float16, dtypes.float64}, dtypes.float32)
    bad_color = Attr("tensor", np.array([255, 0, 0, 255], np.uint8))
    numpy_only = True

    def compute(self, xp: Any, tag: Any, tensor: Any) -> Any:
        name = _tag(tag, "Tags must be a scalar")
        color = [int(c) for c in self.attrs["bad_color"].reshape(-1)]
        images = np.asarray(tensor)
        return _serialized(summary.image(name, images, self.attrs["max_images"], color))


class AudioSummaryV2(_SummaryOp):
    """The first clips of a [batch, frames] or [batch, frames, channels] tensor, as WAV."""

    tag = Input(dtypes.string)
    tensor = Input(dtypes.float32)
    sample_rate = Input(dtypes.float32)
    summary = Output(dtypes.string)
    max_outputs = Attr("int", 3, minimum=1)
    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        tag, tensor, sample_rate = shapes
        scalar_input(tag)
        at_least(tensor, 2)
        scalar_input(sample_rate)
        return scalar()

    def compute(self, xp: Any, tag: Any, tensor: Any, sample_rate: Any) -> Any:
        name = _tag(tag, "Tag must be a scalar")
        clips = np.asarray(tensor)
        if clips.ndim not in (2, 3):
            raise _invalid(f"Tensor must be 3-D or 2-D, got: {shape_string(clips.shape)}")
        rate = float(sample_rate)
        if not rate > 0:
            raise _invalid("sample_rate must be > 0")
        limit = self.attrs["max_outputs"]
        message = Summary()
        for i, clip in enumerate(clips.reshape(*clips.shape[:2], -1)[:limit]):
            value = message.value.add(tag=f"{name}/audio/{i}" if limit > 1 else f"{name}/audio")
            value.audio.sample_rate = rate
            value.audio.length_frames, value.audio.num_channels = clip.shape
            value.audio.content_type = "audio/wav"
            value.audio.encoded_audio_string = encode_wav(clip, int(rate + 0.5))
        return _serialized(message)


def encode_wav(clip: np.ndarray, sample_rate: int) -> bytes:
    """16-bit WAV of a [frames, channels] array with samples from -1 to 1."""
    scaled = clip.astype(np.float32) * np.float32(1 << 15)
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    samples = np.clip(rounded, -(1 << 15), (1 << 15) - 1).astype("<i2").tobytes()
    channels = clip.shape[1]
    frame = 2 * channels
    head = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, channels, sample_rate, sample_rate * frame, frame, 16
    )
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(body)) + body


class TensorSummaryV2(_SummaryOp):
    """A whole tensor, with metadata that tells a TensorBoard plugin what it is."""

    tag = Input(dtypes.string)
    tensor = Input("T")
    serialized_summary_metadata = Input(dtypes.string)
    summary = Output(dtypes.string)
    T = type_attr()
    numpy_only = True

    def compute(self, xp: Any, tag: Any, tensor: Any, serialized_summary_metadata: Any) -> Any:
        message = Summary()
        value = message.value.add(tag=_tag(tag, "tag must be scalar"))
        _put_tensor(value, tensor, self.attrs["T"])
        if np.ndim(serialized_summary_metadata) != 0:
            raise _invalid("serialized_summary_metadata must be scalar")
        value.metadata.SetInParent()
        try:
            value.metadata.MergeFromString(np.asarray(serialized_summary_metadata, object).item())
        except DecodeError:
            value.metadata.Clear()
            value.metadata.SetInParent()
        return _serialized(message)


class TensorSummary(_SummaryOp):
    """A whole tensor under the name of the node."""

    tensor = Input("T")
    summary = Output(dtypes.string)
    T = type_attr()
    description = Attr("string", "")
    labels = Attr("list(string)", ())
    display_name = Attr("string", "")

    def run(self, ctx: Any, tensor: Any) -> Any:  # type: ignore[override]
        message = Summary()
        value = message.value.add(node_name=ctx.name)
        _put_tensor(value, tensor, self.attrs["T"])
        return _serialized(message)


def _put_tensor(value: Any, array: Any, dtype: Any) -> None:
    proto = tensor.to_tensor_proto(np.asarray(array), dtype, as_content=dtype != dtypes.string)
    value.tensor.CopyFrom(proto)
