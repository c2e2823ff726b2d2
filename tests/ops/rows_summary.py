"""Rows of summary ops: the messages that TensorFlow 1.15 makes of the same inputs."""

import numpy as np

from flowmesh.proto.summary_pb2 import Summary
from tests.ops.table import Row


def message(data):
    return np.array(data, object)


SCALAR_A = b"\n\x08\n\x01a\x15\x00\x00\xc0?"
SCALAR_B = b"\n\x08\n\x01b\x15\x00\x00\x00@"
HISTOGRAM = (
    b"\n\x87\x01\n\x01h*\x81\x01\t\x00\x00\x00\x00\x00\x00\xf0?\x11\x00\x00\x00\x00\x00\x00\x00@\x19"
    b"\x00\x00\x00\x00\x00\x00\x00@!\x00\x00\x00\x00\x00\x00\x08@)\x00\x00\x00\x00\x00\x00\x14@2(\x08"
    b"\x99i\x19\x15Z\xed?+\x14\xfa\xcd\xbe$\xf0?\xdc\x94\xcd.\x8du\xff?\xe0\x11\xf1\x0ctM\x01@\xff\xff"
    b"\xff\xff\xff\xff\xef\x7f:(\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00\x00"
)
AUDIO = (
    b'\n]\n\x07i/audio2R\r\x00\x00\xfaE\x10\x01\x18\x08"<RIFF4\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01'
    b"\x00\x01\x00@\x1f\x00\x00\x80>\x00\x00\x02\x00\x10\x00data\x10\x00\x00\x00\x00\x00\x00@\x00\xc0"
    b"\xff\x7f\x00\x80\xff\x7f\xaa*\x00\x00*\taudio/wav"
)
TENSOR = b'\n\x1c\n\x01tB\x12\x08\x01\x12\x04\x12\x02\x08\x02"\x08\x00\x00\x80?\x00\x00\x00@J\x03\x1a\x01x'
STRINGS = b"\n\x15\n\x01tB\x0e\x08\x07\x12\x04\x12\x02\x08\x02B\x01aB\x01bJ\x00"


def two_images(result):
    values = Summary.FromString(result.item()).value
    assert [v.tag for v in values] == ["i/image/0", "i/image/1"]
    for value in values:
        image = value.image
        assert (image.height, image.width, image.colorspace) == (2, 2, 3)
        assert image.encoded_image_string.startswith(b"\x89PNG")


def stereo(result):
    values = Summary.FromString(result.item()).value
    assert [v.tag for v in values] == ["i/audio/0", "i/audio/1"]
    first = values[0].audio
    assert (first.sample_rate, first.num_channels, first.length_frames) == (8000.0, 2, 2)
    assert first.encoded_audio_string == (
        b"RIFF,\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00@\x1f\x00\x00\x00}\x00\x00\x04\x00"
        b"\x10\x00data\x08\x00\x00\x00\x00\x00\x00@\x00\xc0\xff\x7f"
    )


def node_name(result):
    (value,) = Summary.FromString(result.item()).value
    assert value.node_name and value.tensor.tensor_shape.dim[0].size == 2
    assert value.tensor.tensor_content == np.array([1.0, 2.0], np.float32).tobytes()


PIXELS = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3) / 24
CLIP = np.array([[0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 0.3333, 1e-5]], np.float32)
PAIR = np.array([[[0.0, 0.5], [-0.5, 1.0]], [[0, 0], [0, 0.1]]], np.float32)

ROWS = [
    Row("ScalarSummary", [b"a", 1.5], want=message(SCALAR_A)),
    Row(
        "ScalarSummary",
        [np.array([b"a", b"b"], object), np.array([1.5, 2.0])],
        want=message(SCALAR_A + SCALAR_B),
        id="several",
    ),
    Row(
        "HistogramSummary",
        [b"h", np.array([1.0, 2.0], np.float32)],
        want=message(HISTOGRAM),
        dtypes=["float32", "float64", "int64", "uint8"],
    ),
    Row(
        "MergeSummary", [[message(SCALAR_A), message(SCALAR_B)]], want=message(SCALAR_A + SCALAR_B)
    ),
    Row("ImageSummary", [b"i", PIXELS], check=two_images),
    Row("AudioSummaryV2", [b"i", CLIP, 8000.0], {"max_outputs": 1}, want=message(AUDIO)),
    Row("AudioSummaryV2", [b"i", PAIR, 8000.0], check=stereo, id="stereo"),
    Row(
        "TensorSummaryV2",
        [b"t", np.array([1.0, 2.0], np.float32), b"\x1a\x01x"],
        want=message(TENSOR),
    ),
    Row(
        "TensorSummaryV2",
        [b"t", np.array([b"a", b"b"], object), b""],
        want=message(STRINGS),
        id="strings",
    ),
    Row("TensorSummary", [np.array([1.0, 2.0], np.float32)], check=node_name),
]
