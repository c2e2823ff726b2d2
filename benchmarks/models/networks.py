"""ResNet-50 and Inception v3, as calls of a builder: the same layers in every framework.

A builder makes layers: `conv(x, filters, size, stride, padding, relu)` is a convolution without bias, batch normalization and, when asked for,
a ReLU; `max_pool`, `average_pool`, `global_pool`, `dense`, `concat`, `add_relu` are what they say. Sizes are a number or (height, width).
Runs under Python 3.7 as well.
"""

IMAGE_SIZE = {"resnet50": 224, "inception_v3": 299}


def resnet50(n, x, classes=1000, blocks=(3, 4, 6, 3), width=64):
    """ResNet-50, the stride of a block in its 3x3 convolution."""
    x = n.conv(x, width, 7, 2)
    x = n.max_pool(x, 3, 2, "SAME")
    for group, count in enumerate(blocks):
        filters = width << group
        for block in range(count):
            stride = 2 if group > 0 and block == 0 else 1
            shortcut = x
            if block == 0:
                shortcut = n.conv(x, 4 * filters, 1, stride, relu=False)
            y = n.conv(x, filters, 1)
            y = n.conv(y, filters, 3, stride)
            y = n.conv(y, 4 * filters, 1, relu=False)
            x = n.add_relu(y, shortcut)
    return n.dense(n.global_pool(x), classes)


def inception_v3(n, x, classes=1000):
    """Inception v3 without the auxiliary head."""
    x = n.conv(x, 32, 3, 2, "VALID")
    x = n.conv(x, 32, 3, 1, "VALID")
    x = n.conv(x, 64, 3)
    x = n.max_pool(x, 3, 2, "VALID")
    x = n.conv(x, 80, 1, 1, "VALID")
    x = n.conv(x, 192, 3, 1, "VALID")
    x = n.max_pool(x, 3, 2, "VALID")
    for pooled in (32, 64, 64):
        x = _block_35(n, x, pooled)
    x = n.concat(
        [
            n.conv(x, 384, 3, 2, "VALID"),
            n.conv(n.conv(n.conv(x, 64, 1), 96, 3), 96, 3, 2, "VALID"),
            n.max_pool(x, 3, 2, "VALID"),
        ]
    )
    for filters in (128, 160, 160, 192):
        x = _block_17(n, x, filters)
    y = n.conv(n.conv(n.conv(x, 192, 1), 192, (1, 7)), 192, (7, 1))
    x = n.concat(
        [
            n.conv(n.conv(x, 192, 1), 320, 3, 2, "VALID"),
            n.conv(y, 192, 3, 2, "VALID"),
            n.max_pool(x, 3, 2, "VALID"),
        ]
    )
    x = _block_8(n, x)
    x = _block_8(n, x)
    return n.dense(n.global_pool(x), classes)


def _block_35(n, x, pooled):
    return n.concat(
        [
            n.conv(x, 64, 1),
            n.conv(n.conv(x, 48, 1), 64, 5),
            n.conv(n.conv(n.conv(x, 64, 1), 96, 3), 96, 3),
            n.conv(n.average_pool(x, 3), pooled, 1),
        ]
    )


def _block_17(n, x, filters):
    y = n.conv(n.conv(n.conv(x, filters, 1), filters, (1, 7)), 192, (7, 1))
    z = n.conv(x, filters, 1)
    for size in ((7, 1), (1, 7), (7, 1)):
        z = n.conv(z, filters, size)
    z = n.conv(z, 192, (1, 7))
    return n.concat([n.conv(x, 192, 1), y, z, n.conv(n.average_pool(x, 3), 192, 1)])


def _block_8(n, x):
    y = n.conv(x, 384, 1)
    z = n.conv(n.conv(x, 448, 1), 384, 3)
    return n.concat(
        [
            n.conv(x, 320, 1),
            n.conv(y, 384, (1, 3)),
            n.conv(y, 384, (3, 1)),
            n.conv(z, 384, (1, 3)),
            n.conv(z, 384, (3, 1)),
            n.conv(n.average_pool(x, 3), 192, 1),
        ]
    )


NETWORKS = {"resnet50": resnet50, "inception_v3": inception_v3}


def pair(size):
    """(height, width)."""
    return size if isinstance(size, tuple) else (size, size)
