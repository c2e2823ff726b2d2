"""Random ops that are pure functions of a seed input (TensorFlow's `tf.random.stateless_*`)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flowmesh.core.dtypes import FLOATS, INDEX, REALS, as_dtype, float32, int32, int64
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import philox, philox_draws, random_kernels
from flowmesh.ops.building import name_scope
from flowmesh.ops.shape_rules import same_size, with_rank

_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)


def _state_of(xp: Any, seed: Any) -> Any:
    """The generator that TensorFlow derives from a pair of seeds, scrambled so that any pair will do."""
    if seed.shape != (2,):
        raise InvalidArgumentError(None, None, f"seed must have shape [2], not {list(seed.shape)}")
    wide = seed.astype(xp.int64).view(xp.uint64)
    low, high = wide & xp.uint64(0xFFFFFFFF), wide >> xp.uint64(32)
    counter = xp.stack([low[0], high[0], low[1], high[1]]).astype(xp.uint32)
    key = xp.asarray(np.array(_SCRAMBLE_KEY, np.uint32))
    mixed = philox.blocks(xp, xp.concatenate([key, counter]), 1)[0]
    return xp.concatenate([mixed[:2], xp.zeros(2, xp.uint32), mixed[2:]])


def _seed_shape(seed: TensorShape) -> None:
    same_size(with_rank(seed, 1).as_list()[0], 2)


class _Stateless(OpDef, abstract=True):
    """A pure op that fills a shape from a distribution."""

    static_inputs: ClassVar[tuple[str, ...]] = ("shape",)
    NotDifferentiable = True

    def infer(self, ctx: Any, shape: TensorShape, seed: TensorShape, *bounds: Any) -> TensorShape:
        with_rank(shape, 1)
        _seed_shape(seed)
        for bound in bounds:
            with_rank(bound, 0)
        return ctx.value_as_shape(0)

    def fill(self, xp: Any, draw: Any, shape: Any, seed: Any) -> Any:
        """The values of `draw(xp, state, count, dtype)` in the wanted shape."""
        dims = tuple(int(d) for d in np.asarray(shape).reshape(-1))
        count = int(np.prod(dims, dtype=np.int64))
        dtype = self.attrs["dtype"].as_numpy_dtype
        return draw(xp, _state_of(xp, seed), count, dtype).reshape(dims)


class StatelessRandomUniform(_Stateless):
    """Uniform numbers in [0, 1)."""

    shape, seed = Input("T"), Input("Tseed")
    output = Output("dtype")
    dtype = type_attr(FLOATS, float32)
    T = type_attr(INDEX, int32)
    Tseed = type_attr(INDEX, int64)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.fill(xp, philox_draws.uniform, *inputs)


class StatelessRandomNormal(_Stateless):
    """Normal numbers of mean 0 and deviation 1."""

    shape, seed = Input("T"), Input("Tseed")
    output = Output("dtype")
    dtype = type_attr(FLOATS, float32)
    T = type_attr(INDEX, int32)
    Tseed = type_attr(INDEX, int64)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.fill(xp, philox_draws.normal, *inputs)


class StatelessTruncatedNormal(_Stateless):
    """Normal numbers of mean 0 and deviation 1, those beyond 2 drawn again."""

    shape, seed = Input("T"), Input("Tseed")
    output = Output("dtype")
    dtype = type_attr(FLOATS, float32)
    T = type_attr(INDEX, int32)
    Tseed = type_attr(INDEX, int64)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return self.fill(xp, philox_draws.truncated_normal, *inputs)


class StatelessRandomUniformInt(_Stateless):
    """Uniform integers in [minval, maxval)."""

    shape, seed = Input("T"), Input("Tseed")
    minval, maxval = Input("dtype"), Input("dtype")
    output = Output("dtype")
    dtype = type_attr(INDEX)
    T = type_attr(INDEX)
    Tseed = type_attr(INDEX, int64)
    static_inputs = ("shape", "minval", "maxval")

    def compute(self, xp: Any, *inputs: Any) -> Any:
        shape, seed, low, high = inputs
        if int(low) >= int(high):
            raise InvalidArgumentError(
                None, None, f"Need minval < maxval, got {int(low)} >= {int(high)}"
            )

        def draw(xp: Any, state: Any, count: int, dtype: Any) -> Any:
            return philox_draws.uniform_int(xp, state, count, low, high, dtype)

        return self.fill(xp, draw, shape, seed)


class StatelessMultinomial(OpDef):
    """Class numbers drawn from rows of unnormalised log probabilities."""

    logits = Input("T")
    num_samples = Input(int32)
    seed = Input("Tseed")
    output = Output("output_dtype")
    T = type_attr(REALS)
    Tseed = type_attr(INDEX, int64)
    output_dtype = type_attr(INDEX, int64)
    static_inputs = ("num_samples",)
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: Any) -> TensorShape:
        logits, num_samples, seed = shapes
        with_rank(num_samples, 0)
        _seed_shape(seed)
        count = ctx.value(1)
        return TensorShape(
            [with_rank(logits, 2).as_list()[0], None if count is None else int(count)]
        )

    def compute(self, xp: Any, *inputs: Any) -> Any:
        logits, num_samples, seed = inputs
        state = _state_of(xp, seed)
        values = random_kernels.categorical(xp, state, logits, int(num_samples))
        return values.astype(self.attrs["output_dtype"].as_numpy_dtype)


# -- what programs call ----------------------------------------------------------------------------


def _shape_tensor(shape: Any) -> Tensor:
    dtype = int32 if isinstance(shape, (list, tuple)) else None
    return convert_to_tensor(shape, dtype=dtype, name="shape")


def stateless_random_uniform(
    shape: Any,
    seed: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = float32,
    name: str | None = None,
) -> Tensor:
    """Uniform numbers in [minval, maxval), always the same for the same `seed` of shape [2]
    (tf.random.stateless_uniform). Raises ValueError for integers without `maxval`."""
    dtype = as_dtype(dtype)
    if maxval is None:
        if dtype.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {dtype!r}")
        maxval = 1
    with name_scope(name, "stateless_random_uniform", [shape, seed, minval, maxval]) as scope:
        shape = _shape_tensor(shape)
        minval = convert_to_tensor(minval, dtype=dtype, name="min")
        maxval = convert_to_tensor(maxval, dtype=dtype, name="max")
        if dtype.is_integer:
            return raw.StatelessRandomUniformInt(shape, seed, minval, maxval, name=scope)
        unit = raw.StatelessRandomUniform(shape, seed, dtype=dtype)
        span = raw.Sub(maxval, minval, name="sub")
        return raw.Add(raw.Mul(unit, span, name="mul"), minval, name=scope)


def _scaled(
    op_type: str, default: str, shape: Any, seed: Any, mean: Any, stddev: Any, dtype: Any, name: Any
) -> Tensor:
    with name_scope(name, default, [shape, seed, mean, stddev]) as scope:
        shape = _shape_tensor(shape)
        mean = convert_to_tensor(mean, dtype=dtype, name="mean")
        stddev = convert_to_tensor(stddev, dtype=dtype, name="stddev")
        unit = getattr(raw, op_type)(shape, seed, dtype=as_dtype(dtype))
        return raw.Add(raw.Mul(unit, stddev, name="mul"), mean, name=scope)


def stateless_random_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    name: str | None = None,
) -> Tensor:
    """Normal numbers, always the same for the same `seed` of shape [2] (tf.random.stateless_normal)."""
    default = "stateless_random_normal"
    return _scaled("StatelessRandomNormal", default, shape, seed, mean, stddev, dtype, name)


def stateless_truncated_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    name: str | None = None,
) -> Tensor:
    """Truncated normal numbers, always the same for the same `seed` (tf.random.stateless_truncated_normal)."""
    default = "stateless_truncated_normal"
    return _scaled("StatelessTruncatedNormal", default, shape, seed, mean, stddev, dtype, name)


def stateless_multinomial(
    logits: Any,
    num_samples: Any,
    seed: Any,
    output_dtype: Any = int64,
    name: str | None = None,
) -> Tensor:
    """Draws from rows of unnormalised log probabilities, always the same for the same `seed`
    (tf.random.stateless_categorical)."""
    with name_scope(name, "stateless_multinomial", [logits, seed]):
        logits = convert_to_tensor(logits, name="logits")
        return raw.StatelessMultinomial(
            logits, num_samples, seed, output_dtype=as_dtype(output_dtype)
        )
