"""Programs written once against `tf`: TensorFlow 1.15, TensorFlow 2's `compat.v1` and Flowmesh all run them.

They run in Python 3.7 too, for that is what TensorFlow 1.15 needs.
"""

from cases import (
    basics,
    compression,
    crossing,
    datasets,
    errors,
    files,
    flow,
    leases,
    queues,
    spread,
    state,
    steps,
    training,
)
from cases.registry import CASES

__all__ = [
    "CASES",
    "basics",
    "compression",
    "crossing",
    "datasets",
    "errors",
    "files",
    "flow",
    "leases",
    "queues",
    "spread",
    "state",
    "steps",
    "training",
]
