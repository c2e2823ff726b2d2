"""Programs about image files, resizing and boxes."""

import functools
import struct

import numpy as np


def _ran(run, test):
    return run(test())


def _listed(run, test):
    return list(run(test()))


def _pixels(*shape):
    return np.arange(np.prod(shape)).reshape(shape) * 37 % 256


def _small(*shape):
    return (_pixels(*shape) / 256.0).astype(np.float32)


def _bmp(width, height, depth, top=False):
    row = (width * depth // 8 + 3) // 4 * 4
    data = bytes((np.arange(row * height) * 29 % 256).astype(np.uint8).tolist())
    head = b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54)
    high = -height if top else height
    return (
        head
        + struct.pack("<IiiHHIIiiII", 40, width, high, 1, depth, 0, len(data), 0, 0, 0, 0)
        + data
    )


def png_errors(tf, err):
    image, run = tf.image, tf.Session().run
    files = [
        run(image.encode_png(_pixels(5, 4, 3).astype(np.uint8))),
        run(image.encode_png(_pixels(3, 2, 1).astype(np.uint8))),
    ]
    files.append(run(image.encode_png((_pixels(3, 2, 4) * 200).astype(np.uint16))))
    out = []
    for data in files:
        out += [run(image.decode_png(data, channels)) for channels in (0, 1, 3, 4)]
        out += [
            run(image.decode_png(data, dtype=tf.uint16)),
            run(image.decode_image(data)),
            run(image.decode_gif(data)),
        ]
        out += [
            run(image.decode_jpeg(data)),
            run(image.is_jpeg(data)),
            run(image.decode_image(data, channels=1)),
        ]
    tests = [
        lambda: image.decode_png(b"abc"),
        lambda: image.decode_jpeg(b"abc"),
        lambda: image.decode_gif(b"abc"),
        lambda: image.decode_bmp(b"abc"),
        lambda: image.decode_image(b"abc"),
        lambda: image.decode_png(files[0][:40]),
        lambda: image.decode_png(files[0], 2),
        lambda: image.decode_png(tf.constant([files[0]])),
        lambda: image.encode_png(_pixels(5, 4, 5).astype(np.uint8)),
        lambda: image.encode_png(_pixels(5, 4).astype(np.uint8)),
        lambda: image.extract_jpeg_shape(b"abc"),
    ]
    return out + [err(functools.partial(_ran, run, test)) for test in tests]


def bmp_errors(tf, err):
    image, run = tf.image, tf.Session().run
    out = [run(image.decode_bmp(_bmp(3, 2, depth))) for depth in (8, 24, 32)] + [
        run(image.decode_bmp(_bmp(3, 2, 24, True)))
    ]
    return out + [
        err(lambda: run(image.decode_bmp(_bmp(3, 2, 32), channels=3))),
        run(image.decode_image(_bmp(3, 2, 24))),
    ]


def jpeg_errors(tf, err):
    image, run = tf.image, tf.Session().run
    data = run(image.encode_jpeg(np.full([5, 4, 3], 99, np.uint8)))
    out = [
        run(image.extract_jpeg_shape(data)),
        run(image.is_jpeg(data)),
        run(image.decode_image(data)).shape,
    ]
    pixels = _pixels(5, 4, 3).astype(np.uint8)
    tests = [
        lambda: image.decode_jpeg(data, 2),
        lambda: image.decode_jpeg(data, 4),
        lambda: image.decode_jpeg(data, ratio=3),
        lambda: image.decode_jpeg(data, dct_method="x"),
        lambda: tf.shape(image.decode_jpeg(data, ratio=2)),
        lambda: tf.shape(image.decode_and_crop_jpeg(data, [1, 1, 2, 3])),
        lambda: image.decode_and_crop_jpeg(data, [1, 1, 9])[0],
        lambda: image.decode_png(data, dtype=tf.uint16),
        lambda: image.encode_jpeg(pixels[..., :2]),
        lambda: image.encode_jpeg(pixels, quality=101),
        lambda: image.encode_jpeg(pixels, format="grayscale"),
        lambda: tf.shape(image.adjust_jpeg_quality(pixels, 50)),
        lambda: image.random_jpeg_quality(pixels, -1, 50),
        lambda: image.random_jpeg_quality(pixels, 60, 50),
    ]
    return out + [err(functools.partial(_ran, run, test)) for test in tests]


def resizing_errors(tf, err):
    image, run, x = tf.image, tf.Session().run, _small(1, 4, 5, 2)
    out = []
    for align in (False, True):
        for size in ([6, 3], [2, 7]):
            out += [
                run(image.resize_bicubic(x, size, align)),
                run(image.resize_area(x, size, align)),
            ]
    out += [run(image.resize_bicubic(x, [6, 3], half_pixel_centers=True))]
    out += [run(image.resize_bicubic(_pixels(1, 4, 5, 2).astype(np.uint8), [6, 3]))]
    t = tf.constant(x)
    out += [
        run(tf.gradients(image.resize_bicubic(t, [6, 3], half_pixel_centers=half), t))
        for half in (False, True)
    ]
    out += [run(image.resize_images(x, [5, 3], method=method)) for method in (2, 3)]
    return out + [run(image.resize_image_with_pad(_small(2, 3, 4, 3), 5, 9))]


def boxes_errors(tf, err):
    image, run, x = tf.image, tf.Session().run, _small(1, 4, 5, 2)
    boxes = [
        [0.0, 0.0, 1.0, 1.0],
        [0.1, 0.2, 0.7, 0.9],
        [-0.3, 0.2, 1.5, 0.8],
        [0.8, 0.8, 0.1, 0.1],
    ]
    t, b, which = tf.constant(x), tf.constant(boxes), [0] * 4
    blank = np.zeros([1, 4, 5, 3], np.float32)
    listed = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        [0.0, -0.1, 1.0, 0.9],
        [0.0, 10.0, 1.0, 11.0],
        [0.0, 10.1, 1.0, 11.1],
    ]
    scores = [0.9, 0.75, 0.6, 0.95, 0.5]
    tests = [
        lambda: image.crop_and_resize(x, boxes, which, [3, 3]),
        lambda: image.crop_and_resize(
            x, boxes, which, [2, 3], method="nearest", extrapolation_value=7.0
        ),
        lambda: image.crop_and_resize(x, boxes, which, [1, 1]),
        lambda: image.crop_and_resize(x, boxes, [0, 0, 0, 3], [1, 1]),
        lambda: image.crop_and_resize(x, boxes, which, [0, 1]),
        lambda: tf.gradients(image.crop_and_resize(t, b, which, [3, 3]), [t, b]),
        lambda: image.draw_bounding_boxes(blank, [[[0.1, 0.1, 0.9, 0.7]]]),
        lambda: image.draw_bounding_boxes(
            blank, [[[0.1, 0.1, 0.9, 0.7], [0.0, 0.0, 2.0, 0.3]]], colors=[[9.0, 8.0, 7.0]]
        ),
        lambda: image.draw_bounding_boxes(blank[..., :1], [[[0.1, 0.1, 0.9, 0.7]]]),
        lambda: image.non_max_suppression(listed, scores, 3),
        lambda: image.non_max_suppression(listed, scores, 30, 0.7, 0.55),
        lambda: image.non_max_suppression(listed, scores, 30, 1.7),
    ]
    return [err(functools.partial(_ran, run, test)) for test in tests]


def sampling_errors(tf, err):
    image, run = tf.image, tf.Session().run
    none, two = np.zeros([1, 0, 4], np.float32), [[[0.1, 0.1, 0.9, 0.7], [0.2, 0.3, 0.4, 0.9]]]
    tests = [
        lambda k=k: image.sample_distorted_bounding_box(
            [40, 50, 3], [[[0.1, 0.1, 0.9, 0.7]]], seed=k
        )
        for k in (1, 2, 3)
    ]
    tests += [
        lambda: image.sample_distorted_bounding_box(
            [40, 50, 3],
            two,
            seed=9,
            min_object_covered=0.5,
            aspect_ratio_range=[0.5, 2.0],
            area_range=[0.1, 0.6],
        ),
        lambda: image.sample_distorted_bounding_box([40, 50, 3], none, seed=9),
        lambda: image.sample_distorted_bounding_box(
            [40, 50, 3], none, seed=9, use_image_if_no_bounding_boxes=True
        ),
    ]
    out = [err(functools.partial(_listed, run, test)) for test in tests]
    twice = image.sample_distorted_bounding_box([40, 50, 3], two, seed=4)
    return out + [list(run(twice)), list(run(twice))]


def colours_errors(tf, err):
    image, run, x = tf.image, tf.Session().run, tf.constant(_small(2, 3, 4, 3))
    out = [
        run(f(x)) for f in (image.rgb_to_yiq, image.yiq_to_rgb, image.rgb_to_yuv, image.yuv_to_rgb)
    ]
    out += [
        run(image.total_variation(x)),
        run(image.total_variation(x[0])),
        run(image.psnr(x, x * 0.9, 1.0)),
    ]
    out += [
        run(image.adjust_gamma(x, 0.5)),
        run(image.adjust_gamma(_pixels(5, 4, 3).astype(np.uint8), 2.0, 1.1)),
    ]
    return out + [err(lambda: image.adjust_gamma(x, -1.0))]


def graphs(tf, err):
    image = tf.image
    text, pixels = tf.placeholder(tf.string, []), tf.placeholder(tf.float32, [2, 3, 4, 3])
    out = [
        image.decode_png(text, 3),
        image.decode_jpeg(text, name="j"),
        image.decode_gif(text),
        image.decode_bmp(text),
    ]
    out += [
        image.decode_and_crop_jpeg(text, [0, 0, 3, 4], channels=3),
        image.is_jpeg(text),
        image.extract_jpeg_shape(text),
    ]
    out += [image.decode_image(text, 3), image.decode_image(text, dtype=tf.float32, name="d")]
    out += [
        image.encode_jpeg(tf.placeholder(tf.uint8, [3, 4, 3])),
        image.adjust_jpeg_quality(pixels[0], 50),
        image.total_variation(pixels),
    ]
    out += [
        image.draw_bounding_boxes(pixels, tf.placeholder(tf.float32, [2, 5, 4])),
        image.adjust_gamma(pixels, 0.5),
    ]
    out += [
        image.non_max_suppression(
            tf.placeholder(tf.float32, [5, 4]), tf.placeholder(tf.float32, [5]), 3
        )
    ]
    return out
