"""Inception v3 forward, batch 32: what the layers' kernels and layouts are worth."""

TITLE = "Inception v3 forward, batch 32"
TABLE = "networks"
UNIT = "images"
PER_STEP = 32
GATES = {"tf115": 1.0, "torch": 1.0, "jax": 1.0}
AGREE = 1e-2
WARM_UP = 5
WARM_SECONDS = 1
ROUNDS = 3
LEAD_IN = 1
VARIANTS = {
    "flowmesh": ("NHWC", "NCHW"),
    "jax": ("NHWC",),
    "torch": ("NCHW", "NHWC"),
}


def build(tf, data_format="NHWC", **sizes):
    from models import tf1

    return tf1.forward(tf, "inception_v3", sizes.pop("batch", PER_STEP), data_format, **sizes)


def build_jax(data_format, **sizes):
    from models import plain_jax

    return plain_jax.forward("inception_v3", sizes.pop("batch", PER_STEP), data_format, **sizes)


def build_torch(data_format, **sizes):
    from models import plain_torch

    return plain_torch.forward("inception_v3", sizes.pop("batch", PER_STEP), data_format, **sizes)
