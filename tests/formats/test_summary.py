"""Summaries, compared with what TensorFlow 1.15's summary ops return."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from flowmesh.core.errors import InvalidArgumentError
from flowmesh.formats import summary

from .cases import rows


@pytest.mark.parametrize("row", rows("histograms.json"), ids=lambda r: f"{r['name']}-{r['dtype']}")
def test_histograms_are_tensorflows_bit_for_bit(row: dict) -> None:
    values = np.array(row["values"], row["dtype"])
    assert summary.histogram_proto(values).SerializeToString() == bytes.fromhex(row["bytes"])


def test_histogram_of_other_types_and_shapes() -> None:
    flat = summary.histogram_proto(np.arange(6))
    assert flat == summary.histogram_proto(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert sum(flat.bucket) == flat.num == 6


def test_the_largest_double_has_a_bucket() -> None:
    proto = summary.histogram_proto(np.array([sys.float_info.max / 2, sys.float_info.max]))
    assert sum(proto.bucket) == 2
    assert proto.bucket_limit[-1] == sys.float_info.max


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "Nan in"), (np.inf, "Infinity in"), (-np.inf, "Infinity in")]
)
def test_histogram_of_what_is_not_finite(value: float, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{words} summary histogram for: tag"):
        summary.histogram("tag", np.array([0.0, value]))


def test_scalar() -> None:
    (value,) = summary.scalar("loss", np.float32(0.5)).value
    assert (value.tag, value.simple_value) == ("loss", 0.5)


def decode(png: bytes) -> np.ndarray:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    return np.asarray(image).reshape(image.height, image.width, -1)


@pytest.mark.parametrize("row", rows("images.json"))
def test_images_are_scaled_as_tensorflow_does(row: dict) -> None:
    images = np.array(row["images"], np.float32)
    values = summary.image("i", images, 2).value
    assert [value.tag for value in values] == row["tags"]
    assert len(values) == len(row["pixels"])
    for value, pixels in zip(values, row["pixels"]):
        expected = np.array(pixels)
        image = value.image
        assert (image.height, image.width, image.colorspace) == expected.shape
        np.testing.assert_array_equal(decode(image.encoded_image_string), expected)


def test_bytes_are_stored_as_they_are() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    (value,) = summary.image("i", images, 1).value
    assert value.tag == "i/image"
    np.testing.assert_array_equal(decode(value.image.encoded_image_string), images[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_bytes(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 3, channels), np.uint8)
    np.testing.assert_array_equal(decode(summary.encode_png(pixels)), pixels)


def test_png_of_words() -> None:
    pixels = np.array([[[1], [256], [65535]]], np.uint16)
    np.testing.assert_array_equal(decode(summary.encode_png(pixels)), pixels)


def test_what_is_no_image() -> None:
    for shape in ((2, 2, 3), (1, 2, 2, 2)):
        with pytest.raises(InvalidArgumentError, match="Tensor must be 4-D with last dim 1, 3, or"):
            summary.image("i", np.zeros(shape))
    with pytest.raises(InvalidArgumentError, match="bad_color"):
        summary.image("i", np.zeros((1, 2, 2, 4)), bad_color=(1,))
    with pytest.raises(InvalidArgumentError, match="PNG images must be"):
        summary.encode_png(np.zeros((0, 1, 1), np.uint8))
    with pytest.raises(InvalidArgumentError, match="float64"):
        summary.encode_png(np.zeros((1, 1, 1)))
