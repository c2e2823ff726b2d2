"""Initializers of `tf.contrib.layers`: Xavier's, and scaling by the number of inputs or outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flowmesh.core.dtypes import as_dtype, float32
from flowmesh.core.shapes import as_shape
from flowmesh.ops import random_ops


def variance_scaling_initializer(
    factor: float = 2.0,
    mode: str = "FAN_IN",
    uniform: bool = False,
    seed: int | None = None,
    dtype: Any = float32,
) -> Callable[..., Any]:
    """Random numbers of variance `factor / n`, n inputs, outputs or their mean (`mode` FAN_IN, FAN_OUT, FAN_AVG).

    Truncated normal, or uniform. Raises TypeError for dtypes that are not floating and unknown modes.
    """
    if not as_dtype(dtype).is_floating:
        raise TypeError("Cannot create initializer for non-floating point type.")
    if mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
        raise TypeError("Unknown mode %s [FAN_IN, FAN_OUT, FAN_AVG]", mode)

    def _initializer(shape: Any, dtype: Any = dtype, partition_info: Any = None) -> Any:
        if not as_dtype(dtype).is_floating:
            raise TypeError("Cannot create initializer for non-floating point type.")
        sizes = [int(d) for d in as_shape(shape).as_list()]  # type: ignore[arg-type]
        fan_in = float(sizes[-2]) if len(sizes) > 1 else float(sizes[-1]) if sizes else 1.0
        fan_out = float(sizes[-1]) if sizes else 1.0
        field = math.prod(sizes[:-2])
        fan_in, fan_out = fan_in * field, fan_out * field
        n = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "FAN_AVG": (fan_in + fan_out) / 2.0}[mode]
        if uniform:
            limit = math.sqrt(3.0 * factor / n)
            return random_ops.random_uniform(sizes, -limit, limit, dtype, seed=seed)
        # a normal truncated at two standard deviations has 1/1.3 of its variance
        return random_ops.truncated_normal(
            sizes, 0.0, math.sqrt(1.3 * factor / n), dtype, seed=seed
        )

    return _initializer


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = float32
) -> Callable[..., Any]:
    """Glorot and Bengio's initializer (2010)."""
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer
