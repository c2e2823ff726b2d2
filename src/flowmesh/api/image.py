"""Images: the names of `tf.image`."""

from __future__ import annotations

from flowmesh.formats.summary import (
    encode_png as encode_png,
)
from flowmesh.ops.image_colour import (
    adjust_hue as adjust_hue,
    adjust_saturation as adjust_saturation,
    hsv_to_rgb as hsv_to_rgb,
    random_hue as random_hue,
    random_saturation as random_saturation,
    rgb_to_hsv as rgb_to_hsv,
)
from flowmesh.ops.image_functions import (
    ResizeMethod as ResizeMethod,
    adjust_brightness as adjust_brightness,
    adjust_contrast as adjust_contrast,
    central_crop as central_crop,
    convert_image_dtype as convert_image_dtype,
    crop_to_bounding_box as crop_to_bounding_box,
    flip_left_right as flip_left_right,
    flip_up_down as flip_up_down,
    grayscale_to_rgb as grayscale_to_rgb,
    pad_to_bounding_box as pad_to_bounding_box,
    per_image_standardization as per_image_standardization,
    random_brightness as random_brightness,
    random_contrast as random_contrast,
    random_flip_left_right as random_flip_left_right,
    random_flip_up_down as random_flip_up_down,
    resize_bilinear as resize_bilinear,
    resize_image_with_crop_or_pad as resize_image_with_crop_or_pad,
    resize_images as resize_images,
    resize_nearest_neighbor as resize_nearest_neighbor,
    rgb_to_grayscale as rgb_to_grayscale,
    rot90 as rot90,
    transpose_image as transpose_image,
)
from flowmesh.ops.random_ops import (
    random_crop as random_crop,
)
from flowmesh.ops.transpose import (
    transpose as transpose,
)

__all__ = [
    "ResizeMethod",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "central_crop",
    "convert_image_dtype",
    "crop_to_bounding_box",
    "encode_png",
    "flip_left_right",
    "flip_up_down",
    "grayscale_to_rgb",
    "hsv_to_rgb",
    "pad_to_bounding_box",
    "per_image_standardization",
    "random_brightness",
    "random_contrast",
    "random_crop",
    "random_flip_left_right",
    "random_flip_up_down",
    "random_hue",
    "random_saturation",
    "resize_bilinear",
    "resize_image_with_crop_or_pad",
    "resize_images",
    "resize_nearest_neighbor",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "rot90",
    "transpose",
    "transpose_image",
]
