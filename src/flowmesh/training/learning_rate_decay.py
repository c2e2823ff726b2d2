"""Learning rates that fall with the global step (TensorFlow: `tf.train.exponential_decay` and so on).

Each function returns a scalar tensor of the dtype of `learning_rate`, and raises ValueError without a global step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from flowmesh.core.dtypes import float32, float64, int32, int64
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.ops.cast import cast
from flowmesh.ops.constant import constant
from flowmesh.ops.control_flow import case, cond
from flowmesh.ops.random_ops import random_normal


def _required(global_step: Any, function: str) -> None:
    if global_step is None:
        raise ValueError(f"global_step is required for {function}.")


def _rate(learning_rate: Any) -> Any:
    return convert_to_tensor(learning_rate, name="initial_learning_rate")


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """learning_rate * decay_rate ^ (global_step / decay_steps), the quotient rounded down if `staircase`."""
    _required(global_step, "exponential_decay")
    with name_scope(
        name, "ExponentialDecay", [learning_rate, global_step, decay_steps, decay_rate]
    ) as scope:
        rate = _rate(learning_rate)
        steps, base = cast(decay_steps, rate.dtype), cast(decay_rate, rate.dtype)
        periods = cast(global_step, rate.dtype) / steps
        if staircase:
            periods = raw.Floor(periods)
        return raw.Mul(rate, raw.Pow(base, periods), name=scope)


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """learning_rate * exp(-decay_rate * global_step / decay_steps), the quotient rounded down if `staircase`."""
    base = raw.Exp(raw.Neg(decay_rate))
    return exponential_decay(learning_rate, global_step, decay_steps, base, staircase, name)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """learning_rate / (1 + decay_rate * global_step / decay_steps), the quotient rounded down if `staircase`."""
    _required(global_step, "inverse_time_decay")
    with name_scope(name, "InverseTimeDecay", [learning_rate, global_step, decay_rate]) as scope:
        rate = _rate(learning_rate)
        steps, factor = cast(decay_steps, rate.dtype), cast(decay_rate, rate.dtype)
        periods = cast(global_step, rate.dtype) / steps
        if staircase:
            periods = raw.Floor(periods)
        one = cast(constant(1), rate.dtype)
        return raw.RealDiv(rate, raw.Add(one, raw.Mul(factor, periods)), name=scope)


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Any:
    """From `learning_rate` to `end_learning_rate` in `decay_steps` steps, by a polynomial of degree `power`.

    With `cycle` the number of steps grows to the next multiple of `decay_steps` beyond the global step.
    """
    _required(global_step, "polynomial_decay")
    with name_scope(
        name,
        "PolynomialDecay",
        [learning_rate, global_step, decay_steps, end_learning_rate, power],
    ) as scope:
        rate = _rate(learning_rate)
        dtype = rate.dtype
        end, degree = cast(end_learning_rate, dtype), cast(power, dtype)
        step = cast(global_step, dtype)
        steps = cast(decay_steps, dtype)
        if cycle:
            at_start = raw.Equal(step, 0)
            cycles = cond(
                at_start, lambda: constant(1.0, dtype=dtype), lambda: raw.Ceil(step / decay_steps)
            )
            steps = raw.Mul(steps, cycles)
        else:
            step = raw.Minimum(step, decay_steps)
        done = step / steps
        return raw.Add(raw.Mul(rate - end, raw.Pow(1 - done, degree)), end, name=scope)


def cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    alpha: float = 0.0,
    name: str | None = None,
) -> Any:
    """From `learning_rate` to `alpha * learning_rate` in `decay_steps` steps, along half a cosine."""
    _required(global_step, "cosine_decay")
    with name_scope(name, "CosineDecay", [learning_rate, global_step]):
        rate = _rate(learning_rate)
        steps = cast(decay_steps, rate.dtype)
        step = raw.Minimum(cast(global_step, rate.dtype), steps)
        decayed = (1 - alpha) * _half_cosine(step / steps) + alpha
        return raw.Mul(rate, decayed, name="Mul")


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Any:
    """learning_rate * ((alpha + linear) * cosine + beta), where `linear` falls from 1 to 0 in `decay_steps` steps."""
    _required(global_step, "linear_cosine_decay")
    with name_scope(name, "LinearCosineDecay", [learning_rate, global_step]):
        rate = _rate(learning_rate)
        dtype = rate.dtype
        steps = cast(decay_steps, dtype)
        step = raw.Minimum(cast(global_step, dtype), steps)
        linear = (steps - step) / steps
        turned = constant(math.pi * 2.0 * num_periods, dtype=dtype) * (step / steps)
        cosine = 0.5 * (1.0 + raw.Cos(turned))
        return raw.Mul(rate, (alpha + linear) * cosine + beta, name="Mul")


def noisy_linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    initial_variance: float = 1.0,
    variance_decay: float = 0.55,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Any:
    """`linear_cosine_decay` with Gaussian noise on `linear`, of variance initial_variance / (1 + step) ^ variance_decay."""
    _required(global_step, "noisy_linear_cosine_decay")
    with name_scope(name, "NoisyLinearCosineDecay", [learning_rate, global_step]) as scope:
        rate = _rate(learning_rate)
        dtype = rate.dtype
        steps = cast(decay_steps, dtype)
        step = raw.Minimum(cast(global_step, dtype), steps)
        variance = initial_variance / raw.Pow(1.0 + step, constant(variance_decay, dtype=dtype))
        noise = random_normal([], stddev=raw.Sqrt(variance), dtype=dtype)
        linear = (steps - step) / steps + noise
        turned = constant(math.pi * 2.0 * num_periods, dtype=dtype) * (step / steps)
        cosine = 0.5 * (1.0 + raw.Cos(turned))
        return raw.Mul(rate, (alpha + linear) * cosine + beta, name=scope)


def _half_cosine(done: Any) -> Any:
    return 0.5 * (1.0 + raw.Cos(constant(math.pi, dtype=done.dtype) * done))


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Any:
    """Cosine decays one after another; each is `t_mul` times longer and starts `m_mul` times lower than the one before."""
    _required(global_step, "cosine decay restarts")
    with name_scope(name, "SGDRDecay", [learning_rate, global_step]):
        rate = _rate(learning_rate)
        dtype = rate.dtype
        done = cast(global_step, dtype) / cast(first_decay_steps, dtype)
        if t_mul == 1.0:
            restarts = raw.Floor(done)
            done = done - restarts
        else:
            growth: Any = constant(t_mul, dtype=dtype)
            restarts = raw.Floor(raw.Log(1.0 - done * (1.0 - growth)) / raw.Log(growth))
            passed = (1.0 - growth**restarts) / (1.0 - growth)
            done = (done - passed) / growth**restarts
        height = constant(m_mul, dtype=dtype) ** restarts
        decayed = (1 - alpha) * (height * _half_cosine(done)) + alpha
        return raw.Mul(rate, decayed, name="Mul")


def piecewise_constant(
    x: Any, boundaries: Sequence[Any], values: Sequence[Any], name: str | None = None
) -> Any:
    """values[0] up to boundaries[0], values[1] above it up to boundaries[1], and so on; the last value above the last.

    `x` is a scalar, `boundaries` ascend. Raises ValueError when the lengths or dtypes do not fit.
    """
    if len(boundaries) != len(values) - 1:
        raise ValueError("The length of boundaries should be 1 less than the length of values")
    limits = [convert_to_tensor(b) for b in boundaries]
    choices = [convert_to_tensor(v) for v in values]
    x = convert_to_tensor(x)
    for i, limit in enumerate(limits):
        if limit.dtype.base_dtype == x.dtype.base_dtype:
            continue
        if limit.dtype.base_dtype == int32 and x.dtype.base_dtype in (int64, float32, float64):
            limits[i] = cast(limit, x.dtype.base_dtype)
        else:
            raise ValueError(
                f"Boundaries ({limit.dtype.base_dtype}) must have the same dtype as x ({x.dtype.base_dtype})."
            )
    for value in choices[1:]:
        if value.dtype.base_dtype != choices[0].dtype.base_dtype:
            raise ValueError(
                f"Values must have elements all with the same dtype ({choices[0].dtype.base_dtype} vs "
                f"{value.dtype.base_dtype})."
            )
    with name_scope(name, "PiecewiseConstant", [x, *limits, *choices]):
        if not limits:
            return choices[0]
        pairs = [
            (x <= limits[0], partial(_same, choices[0])),
            (x > limits[-1], partial(_same, choices[-1])),
        ]
        for low, high, value in zip(limits[:-1], limits[1:], choices[1:-1]):
            pairs.append((raw.LogicalAnd(x > low, x <= high, name="and"), partial(_same, value)))
        return case(pairs, default=partial(_same, choices[0]), exclusive=True)


def _same(value: Any) -> Any:
    return value
