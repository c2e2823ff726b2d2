"""Calls of `tf.nn` and `tf.image` functions whose values are recorded from TensorFlow 1.15 and compared with ours.

Each case is a function of a module-like `tf` that returns a tensor or a list of tensors. Plain Python, for both
interpreters.
"""

import numpy as np


def data(*shape, **more):
    """Fixed numbers between about -1.5 and 1.5."""
    count = int(np.prod(shape))
    values = np.sin(np.arange(count) * 1.7 + more.get("phase", 0.0)) * 1.5
    return values.reshape(shape).astype(more.get("dtype", np.float32))


def grads(tf, function, *values):
    """The value of `function` of constants, and the gradients of its sum."""
    inputs = [tf.constant(v) for v in values]
    result = function(*inputs)
    return [result, *[tf.convert_to_tensor(g) for g in tf.gradients(result, inputs)]]


LOGITS, TARGETS = data(4, 5), np.abs(data(4, 5, phase=1.0))
BINARY = (data(4, 5, phase=2.0) > 0).astype(np.float32)
IMAGE, KERNEL = data(2, 5, 4, 3), data(3, 2, 3, 2, phase=0.5)
PICTURE = np.abs(data(5, 6, 3)) / 1.6
BYTES = (PICTURE * 255).astype(np.uint8)
BY_2 = [1, 2, 2, 1]
W, B = data(12, 4), data(12, phase=3.0)
LABELS = np.array([[1], [7], [11]], np.int64)
SAMPLED = (
    np.array([0, 1, 3, 9], np.int64),
    np.array([[0.4], [0.3], [0.2]], np.float32),
    np.array([0.9, 0.7, 0.5, 0.25], np.float32),
)


def sparse_ids(tf):
    places = np.array([[0, 0], [0, 1], [1, 0], [3, 2]], np.int64)
    ids = tf.SparseTensor(places, np.array([1, 3, 0, 3], np.int64), np.array([4, 3], np.int64))
    weights = tf.SparseTensor(places, np.float32([1, 2, 0.5, 3]), np.array([4, 3], np.int64))
    return ids, weights


def sparse_lookup(tf, combiner):
    ids, weights = sparse_ids(tf)
    return tf.nn.embedding_lookup_sparse(tf.constant(W), ids, weights, combiner=combiner)


def sampled(tf, loss):
    values = [tf.constant(v) for v in SAMPLED]
    return grads(
        tf,
        lambda w, b, x: getattr(tf.nn, loss)(
            w, b, tf.constant(LABELS), x, 4, 12, sampled_values=values
        ),
        W,
        B,
        data(3, 4, phase=5.0),
    )


def in_one_axis(tf, function, axis):
    return grads(tf, lambda x: function(x, axis=axis) ** 2, data(2, 3, 4))


NN = {
    "softmax_axis": lambda tf: in_one_axis(tf, tf.nn.softmax, 1),
    "log_softmax_axis": lambda tf: in_one_axis(tf, tf.nn.log_softmax, 0),
    "xent": lambda tf: grads(
        tf,
        lambda y, x: tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=x),
        TARGETS,
        LOGITS,
    ),
    "xent_axis": lambda tf: grads(
        tf,
        lambda y, x: tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=x, axis=0),
        TARGETS,
        LOGITS,
    ),
    "xent_second": lambda tf: grads(
        tf,
        lambda x: (
            tf.gradients(tf.nn.softmax_cross_entropy_with_logits_v2(labels=TARGETS, logits=x), x)[0]
            ** 2
        ),
        LOGITS,
    ),
    "sparse": lambda tf: grads(
        tf,
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=np.array([[0, 1], [4, 2]]), logits=x
        ),
        LOGITS.reshape(2, 2, 5),
    ),
    "sigmoid": lambda tf: grads(
        tf,
        lambda y, x: tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x),
        BINARY,
        LOGITS,
    ),
    "weighted": lambda tf: grads(
        tf, lambda y, x: tf.nn.weighted_cross_entropy_with_logits(y, x, 2.5), BINARY, LOGITS
    ),
    "log_poisson": lambda tf: grads(
        tf, lambda y, x: tf.nn.log_poisson_loss(y, x, True), TARGETS * 4, LOGITS
    ),
    "crelu": lambda tf: grads(tf, tf.nn.crelu, LOGITS),
    "relu_layer": lambda tf: grads(tf, tf.nn.relu_layer, LOGITS, data(5, 3), data(3)),
    "l2_normalize": lambda tf: grads(tf, lambda x: tf.nn.l2_normalize(x, [0, 1]) ** 2, LOGITS),
    "dropout": lambda tf: grads(tf, lambda x: tf.nn.dropout(x, 0.6, seed=5), LOGITS),
    "dropout_rows": lambda tf: tf.nn.dropout(
        tf.constant(LOGITS), rate=0.5, noise_shape=[4, 1], seed=9
    ),
    "moments": lambda tf: tf.nn.moments(tf.constant(IMAGE), [0, 2]),
    "moments_keep": lambda tf: tf.nn.moments(tf.constant(IMAGE), [1], keep_dims=True),
    "weighted_moments": lambda tf: tf.nn.weighted_moments(
        tf.constant(LOGITS), [0], tf.constant(TARGETS)
    ),
    "batch_normalization": lambda tf: grads(
        tf,
        lambda x, m, v: tf.nn.batch_normalization(x, m, v, np.float32(0.5), np.float32(2), 0.01),
        LOGITS,
        data(5),
        np.abs(data(5, phase=1.0)) + 0.1,
    ),
    "fused": lambda tf: grads(
        tf,
        lambda x, s, o: tf.nn.fused_batch_norm(x, s, o)[0] ** 2,
        IMAGE,
        data(3),
        data(3, phase=1.0),
    ),
    "fused_moments": lambda tf: list(
        tf.nn.fused_batch_norm(tf.constant(IMAGE), np.ones(3, np.float32), data(3))
    ),
    "fused_inference": lambda tf: grads(
        tf,
        lambda x, s, o: (
            tf.nn.fused_batch_norm(x, s, o, data(3), np.abs(data(3)) + 0.5, is_training=False)[0]
            ** 2
        ),
        IMAGE,
        data(3),
        data(3, phase=1.0),
    ),
    "lrn": lambda tf: grads(tf, lambda x: tf.nn.lrn(x, 2, 1.5, 0.3, 0.6) ** 2, data(1, 2, 3, 7)),
    "in_top_k": lambda tf: tf.nn.in_top_k(tf.constant(LOGITS), [0, 1, 2, 3], 2),
}

WINDOWS = {
    "conv2d": lambda tf: grads(
        tf, lambda x, w: tf.nn.conv2d(x, w, BY_2, "SAME") ** 2, IMAGE, KERNEL
    ),
    "conv2d_valid": lambda tf: grads(
        tf, lambda x, w: tf.nn.conv2d(x, w, [1, 1, 2, 1], "VALID") ** 2, IMAGE, KERNEL
    ),
    "conv2d_explicit": lambda tf: tf.nn.conv2d(
        tf.constant(IMAGE), tf.constant(KERNEL), 1, [[0, 0], [1, 0], [2, 1], [0, 0]]
    ),
    "conv2d_transpose": lambda tf: grads(
        tf,
        lambda x, w: tf.nn.conv2d_transpose(x, w, [1, 5, 6, 3], BY_2) ** 2,
        data(1, 3, 3, 2),
        data(3, 3, 3, 2),
    ),
    "conv1d": lambda tf: grads(
        tf, lambda x, w: tf.nn.conv1d(x, w, 2, "SAME") ** 2, data(2, 5, 3), data(3, 3, 2)
    ),
    "conv3d": lambda tf: grads(
        tf,
        lambda x, w: tf.nn.conv3d(x, w, [1, 1, 2, 1, 1], "SAME") ** 2,
        data(1, 3, 4, 3, 2),
        data(2, 3, 2, 2, 2),
    ),
    "depthwise": lambda tf: grads(
        tf,
        lambda x, w: tf.nn.depthwise_conv2d(x, w, BY_2, "SAME") ** 2,
        IMAGE,
        data(3, 2, 3, 2),
    ),
    "depthwise_rate": lambda tf: tf.nn.depthwise_conv2d(
        tf.constant(IMAGE), data(2, 2, 3, 2), [1, 1, 1, 1], "SAME", rate=[2, 2]
    ),
    "separable": lambda tf: tf.nn.separable_conv2d(
        tf.constant(IMAGE), data(3, 2, 3, 2), data(1, 1, 6, 2), [1, 1, 1, 1], "SAME"
    ),
    "atrous": lambda tf: tf.nn.atrous_conv2d(tf.constant(IMAGE), tf.constant(KERNEL), 2, "SAME"),
    "max_pool": lambda tf: grads(
        tf, lambda x: tf.nn.max_pool(x, [1, 3, 2, 1], BY_2, "SAME") ** 2, IMAGE
    ),
    "max_pool_second": lambda tf: grads(
        tf,
        lambda x: tf.gradients(tf.nn.max_pool(x, 2, 2, "VALID") ** 3, x)[0] ** 2,
        IMAGE,
    ),
    "argmax": lambda tf: list(tf.nn.max_pool_with_argmax(tf.constant(IMAGE), BY_2, BY_2, "SAME")),
    "avg_pool": lambda tf: grads(
        tf, lambda x: tf.nn.avg_pool(x, [1, 3, 2, 1], BY_2, "SAME") ** 2, IMAGE
    ),
}

EMBEDDING = {
    "lookup_mod": lambda tf: tf.nn.embedding_lookup([W[:5], W[5:9]], np.array([[0, 8], [3, 7]])),
    "lookup_div": lambda tf: tf.nn.embedding_lookup(
        [W[:5], W[5:9]], np.array([[0, 8], [3, 7]]), "div"
    ),
    "lookup_norm": lambda tf: tf.nn.embedding_lookup(tf.constant(W), [1, 2], max_norm=1.0),
    "sparse_sum": lambda tf: sparse_lookup(tf, "sum"),
    "sparse_mean": lambda tf: sparse_lookup(tf, "mean"),
    "sparse_sqrtn": lambda tf: sparse_lookup(tf, "sqrtn"),
    "nce": lambda tf: sampled(tf, "nce_loss"),
    "sampled_softmax": lambda tf: sampled(tf, "sampled_softmax_loss"),
}

IMAGES = {
    "resize": lambda tf: grads(tf, lambda x: tf.image.resize_images(x, [7, 4]) ** 2, PICTURE),
    "resize_align": lambda tf: tf.image.resize_images(
        tf.constant(BYTES), [3, 9], align_corners=True
    ),
    "resize_nearest": lambda tf: grads(
        tf, lambda x: tf.image.resize_images(x, [8, 3], method=1) ** 2, PICTURE
    ),
    "resize_half": lambda tf: tf.raw_ops.ResizeBilinear(
        images=PICTURE[None], size=[8, 4], half_pixel_centers=True
    ),
    "nearest_half": lambda tf: tf.raw_ops.ResizeNearestNeighbor(
        images=PICTURE[None], size=[8, 4], half_pixel_centers=True
    ),
    "standardize": lambda tf: tf.image.per_image_standardization(tf.constant(PICTURE)),
    "left_right": lambda tf: tf.image.flip_left_right(tf.constant(BYTES)),
    "up_down": lambda tf: tf.image.flip_up_down(tf.constant(PICTURE[None])),
    "transpose": lambda tf: tf.image.transpose_image(tf.constant(BYTES)),
    "rot90": lambda tf: [tf.image.rot90(tf.constant(BYTES), k) for k in range(5)],
    "brightness": lambda tf: tf.image.adjust_brightness(tf.constant(BYTES), 0.2),
    "random_brightness": lambda tf: tf.image.random_brightness(tf.constant(PICTURE), 0.4, seed=3),
    "contrast": lambda tf: tf.image.adjust_contrast(tf.constant(BYTES), 1.7),
    "random_contrast": lambda tf: tf.image.random_contrast(tf.constant(PICTURE), 0.2, 1.8, seed=3),
    "to_float": lambda tf: tf.image.convert_image_dtype(tf.constant(BYTES), tf.float32),
    "to_bytes": lambda tf: tf.image.convert_image_dtype(
        tf.constant(PICTURE), tf.uint8, saturate=True
    ),
    "to_int32": lambda tf: tf.image.convert_image_dtype(tf.constant(BYTES), tf.int32),
    "gray": lambda tf: tf.image.rgb_to_grayscale(tf.constant(BYTES)),
    "colour": lambda tf: tf.image.grayscale_to_rgb(tf.constant(BYTES[..., :1])),
    "crop_or_pad": lambda tf: tf.image.resize_image_with_crop_or_pad(tf.constant(BYTES), 7, 3),
    "central_crop": lambda tf: tf.image.central_crop(tf.constant(BYTES), 0.5),
    "pad": lambda tf: tf.image.pad_to_bounding_box(tf.constant(PICTURE), 1, 2, 8, 9),
    "crop": lambda tf: tf.image.crop_to_bounding_box(tf.constant(PICTURE), 1, 2, 3, 4),
    "hsv": lambda tf: tf.image.rgb_to_hsv(tf.constant(PICTURE)),
    "rgb": lambda tf: tf.image.hsv_to_rgb(tf.constant(PICTURE)),
    "hue": lambda tf: [tf.image.adjust_hue(tf.constant(BYTES), d) for d in (-0.3, 0.2, 0.9)],
    "random_hue": lambda tf: tf.image.random_hue(tf.constant(PICTURE), 0.3, seed=3),
    "saturation": lambda tf: tf.image.adjust_saturation(tf.constant(BYTES), 1.6),
    "random_saturation": lambda tf: tf.image.random_saturation(
        tf.constant(PICTURE), 0.2, 1.4, seed=3
    ),
    "random_crop": lambda tf: tf.random_crop(tf.constant(BYTES), [2, 3, 3], seed=8),
}

CASES = {}
for group in (NN, WINDOWS, EMBEDDING, IMAGES):
    CASES.update(group)


def listed(value):
    """One tensor or several, as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
