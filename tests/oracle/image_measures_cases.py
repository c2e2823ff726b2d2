"""Programs about flips of batches, patches, edges and similarity of images: values and errors."""

import numpy as np


def _images(tf, *shape):
    values = np.random.RandomState(3).rand(*shape).astype(np.float32)
    return tf.constant(values), tf.constant(values[::-1] * 0.5 + 0.2)


def _ran(tf, *fetches):
    with tf.Session() as session:
        return session.run(list(fetches))


def flips_only_values(tf, err):
    a, _ = _images(tf, 5, 2, 3, 1)
    left = tf.image.random_flip_left_right(a, seed=3)
    return _ran(tf, left, tf.image.random_flip_up_down(a, seed=4))


def patches_only_values(tf, err):
    a, _ = _images(tf, 2, 4, 5, 2)
    window = tf.image.extract_image_patches(a, [1, 2, 3, 1], [1, 2, 1, 1], [1, 1, 1, 1], "SAME")
    apart = tf.extract_image_patches(a, [1, 2, 2, 1], [1, 1, 1, 1], [1, 2, 3, 1], "VALID")
    slope = tf.gradients(tf.square(window), a)[0]
    return [window, apart] + _ran(tf, window, apart, slope)


def patches_errors(tf, err):
    a, _ = _images(tf, 2, 4, 5, 2)
    return [err(lambda: tf.extract_image_patches(a[0], [1, 2, 2, 1], [1] * 4, [1] * 4, "SAME"))]


def edges_only_values(tf, err):
    a, _ = _images(tf, 2, 4, 5, 2)
    dy, dx = tf.image.image_gradients(a)
    sobel = tf.image.sobel_edges(a)
    return [x.shape for x in (dy, dx, sobel)] + _ran(tf, dy, dx, sobel)


def similarity_only_values(tf, err):
    a, b = _images(tf, 3, 13, 17, 2)
    small = tf.image.ssim(a, b, 1.0, filter_size=5, filter_sigma=1.1)
    ints = [tf.image.convert_image_dtype(x, tf.uint8) for x in (a, b)]
    scales = tf.image.ssim_multiscale(a, b, 1.0, power_factors=(0.3, 0.7), filter_size=4)
    return [small.shape, scales.shape] + _ran(
        tf, small, tf.image.ssim(ints[0], ints[1], 255), scales
    )


def later_names_only_values(tf, err):
    a, _ = _images(tf, 2, 4, 5, 2)
    found = [tf.image.resize(a, [3, 7], method=m) for m in ("bilinear", "nearest", "bicubic")]
    found += [tf.image.transpose(a), tf.image.resize_with_crop_or_pad(a, 6, 3)]
    moving = tf.placeholder_with_default(a, [None, None, None, 2])
    return found + [tf.image.central_crop(moving, 0.5)] + _ran(tf, *found)


def csv_errors(tf, err):
    return [
        err(lambda: _ran(tf, *tf.decode_csv(["1,2", ""], [[0], [7]]))),
        err(lambda: tf.decode_csv("1,true", [[0], [True]])),
    ]


def cut_off_only_values(tf, err):
    pixels = tf.cast(tf.reshape(tf.range(0, 8 * 96 * 3), [96, 8, 3]) % 251, tf.uint8)
    with tf.Session() as session:
        whole = session.run(tf.image.encode_jpeg(pixels))
        part = tf.image.decode_jpeg(whole[: len(whole) * 2 // 3], try_recover_truncated=True)
        return session.run(tf.shape(part))


def cut_off_errors(tf, err):
    return [err(lambda: _ran(tf, tf.image.decode_jpeg(b"\xff\xd8\xff\xe0junk"))[0])]
