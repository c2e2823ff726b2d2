"""What programs use of `tf.contrib`."""

from __future__ import annotations

from flowmesh.api.contrib import (
    framework as framework,
    learn as learn,
    training as training,
    util as util,
)
