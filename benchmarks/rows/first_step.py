"""The first step of ResNet-50 training, compilation included, in a new process: with an empty cache of programs, and with the one it leaves."""

TITLE = "first step of ResNet-50 training, batch 2, from the persistent cache"
TABLE = "host"
ONCE = "step"
ROUNDS = 1
VARIANTS = {"flowmesh": ("empty cache", "cached")}
MAIN = "cached"
GATES = {"flowmesh empty cache": 4.0}


def environment(side, folder):
    return {"FLOWMESH_COMPILE_CACHE": folder} if side == "flowmesh" else {}


def build(tf, variant="", batch=2, **sizes):
    from models import tf1

    step = tf1.training(tf, "resnet50", batch, **sizes)
    step.value = None  # which would be a first step
    return step


def build_jax(batch=2, **sizes):
    from models import plain_jax

    return plain_jax.training("resnet50", batch, "NHWC", **sizes)
