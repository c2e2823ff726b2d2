"""ResNet-50 training, batch 16: what the layers' kernels and layouts are worth."""

TITLE = "ResNet-50 training, batch 16"
TABLE = "networks"
UNIT = "images"
PER_STEP = 16
GATES = {"tf115": 1.0, "torch": 1.0, "jax": 1.0}
AGREE = 1e-2
WARM_UP = 5
WARM_SECONDS = 1
ROUNDS = 2
LEAD_IN = 1
VARIANTS = {
    "flowmesh": ("NHWC",),
    "jax": ("NHWC",),
    "torch": ("NCHW", "NHWC"),
}


def build(tf, data_format="NHWC", **sizes):
    from models import tf1

    return tf1.training(tf, "resnet50", sizes.pop("batch", PER_STEP), data_format, **sizes)


def build_jax(data_format, **sizes):
    from models import plain_jax

    return plain_jax.training("resnet50", sizes.pop("batch", PER_STEP), data_format, **sizes)


def build_torch(data_format, **sizes):
    from models import plain_torch

    return plain_torch.training("resnet50", sizes.pop("batch", PER_STEP), data_format, **sizes)
