"""Random ops with TensorFlow's numbers: equal seeds give equal values, run after run of a session.

The state of an op is its Philox generator; each run takes numbers from it and moves it on by 256 blocks for
every output element, as TensorFlow's kernels do.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import FLOATS, INDEX, REALS, as_dtype, float16, float32, float64, int32
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.random_seed import get_seed
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import philox, philox_draws, random_kernels
from flowmesh.ops.building import constant, name_scope, shape_of, zeros_like
from flowmesh.ops.shape_rules import with_rank


class _Random(OpDef, abstract=True):
    """Base of the seeded ops: the implicit state is the generator."""

    implicit_state = True

    def initial_state(self) -> np.ndarray:
        return philox.initial_state(self.attrs["seed"], self.attrs["seed2"])


def _moved(xp: Any, state: Any, outputs: int) -> Any:
    return philox.skip(xp, state, outputs * philox.RESERVED_BLOCKS_PER_OUTPUT)


def _dims(shape: Any) -> tuple[int, ...]:
    """The sizes that a shape input holds; InvalidArgumentError when one is negative."""
    sizes = tuple(int(d) for d in np.asarray(shape).reshape(-1))
    for index, size in enumerate(sizes):
        if size < 0:
            raise InvalidArgumentError(
                None, None, f"Dimension {index} must be >= 0, but is {size}: shape {list(sizes)}"
            )
    return sizes


class _Draw(_Random, abstract=True):
    """An op that fills a shape from a distribution."""

    static_inputs: ClassVar[tuple[str, ...]] = ("shape",)
    NotDifferentiable = True

    def infer(self, ctx: Any, shape: TensorShape, *rest: Any) -> TensorShape:
        with_rank(shape, 1)
        for bound in rest:
            with_rank(bound, 0)
        return ctx.value_as_shape(0)


class _FloatDraw(_Draw, abstract=True):
    def draw(self, xp: Any, state: Any, count: int, dtype: Any) -> Any:
        raise NotImplementedError

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, shape = inputs
        dims = _dims(shape)
        count = int(np.prod(dims, dtype=np.int64))
        values = self.draw(xp, state, count, self.attrs["dtype"].as_numpy_dtype)
        return _moved(xp, state, count), values.reshape(dims)


class RandomUniform(_FloatDraw):
    """Uniform numbers in [0, 1)."""

    shape = Input("T")
    output = Output("dtype")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    dtype = type_attr(FLOATS)
    T = type_attr(INDEX)

    def draw(self, xp: Any, state: Any, count: int, dtype: Any) -> Any:
        return philox_draws.uniform(xp, state, count, dtype)

    def compute_lanes(self, xp: Any, state: Any, shape: Any) -> Any:
        """For a compiled program: the new state, the numbers as four arrays (number k is number k // 4 of array k % 4), and
        the shape; None when they cannot be had so.
        """
        dims = _dims(shape)
        count = int(np.prod(dims, dtype=np.int64))
        if self.attrs["dtype"] != float32 or count == 0 or count % 4:
            return None
        return _moved(xp, state, count), philox_draws.uniform_lanes(xp, state, count), dims


class RandomStandardNormal(_FloatDraw):
    """Normal numbers of mean 0 and deviation 1."""

    shape = Input("T")
    output = Output("dtype")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    dtype = type_attr(FLOATS)
    T = type_attr(INDEX)

    def draw(self, xp: Any, state: Any, count: int, dtype: Any) -> Any:
        return philox_draws.normal(xp, state, count, dtype)


class TruncatedNormal(_FloatDraw):
    """Normal numbers of mean 0 and deviation 1, those beyond 2 drawn again."""

    shape = Input("T")
    output = Output("dtype")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    dtype = type_attr(FLOATS)
    T = type_attr(INDEX)

    def draw(self, xp: Any, state: Any, count: int, dtype: Any) -> Any:
        return philox_draws.truncated_normal(xp, state, count, dtype)


class RandomUniformInt(_Draw):
    """Uniform integers in [minval, maxval)."""

    shape = Input("T")
    minval, maxval = Input("Tout"), Input("Tout")
    output = Output("Tout")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    Tout = type_attr(INDEX)
    T = type_attr(INDEX)
    static_inputs = ("shape", "minval", "maxval")

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, shape, low, high = inputs
        dims = _dims(shape)
        count = int(np.prod(dims, dtype=np.int64))
        dtype = self.attrs["Tout"].as_numpy_dtype
        if count == 0:
            return state, xp.zeros(dims, dtype)
        _check_range(low, high)
        values = philox_draws.uniform_int(xp, state, count, low, high, dtype)
        return _moved(xp, state, count), values.reshape(dims)


def _check_range(low: Any, high: Any) -> None:
    if int(low) >= int(high):
        raise InvalidArgumentError(
            None, None, f"Need minval < maxval, got {int(low)} >= {int(high)}"
        )


class RandomShuffle(_Random):
    """The rows of `value` in random order."""

    value = Input("T")
    output = Output("T")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    T = type_attr()
    numpy_only = True

    def infer(self, ctx: Any, value: TensorShape) -> TensorShape:
        return value

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, value = inputs
        size = value.shape[0] if value.ndim else 0
        if value.size <= 1 or size <= 1:
            return state, value
        order = random_kernels.permutation(state, size)
        return philox.skip(np, state, -(-(size - 1) // 4)), value[order]


class Multinomial(_Random):
    """Class numbers drawn from rows of unnormalised log probabilities."""

    logits = Input("T")
    num_samples = Input(int32)
    output = Output("output_dtype")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    T = type_attr(REALS)
    output_dtype = type_attr(INDEX, dtypes.int64)
    static_inputs = ("num_samples",)
    NotDifferentiable = True

    def infer(self, ctx: Any, logits: TensorShape, num_samples: TensorShape) -> TensorShape:
        return _categorical_shape(ctx, logits, num_samples)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, logits, num_samples = inputs
        count = _check_categorical(logits, num_samples)
        values = random_kernels.categorical(xp, state, logits, count)
        used = logits.shape[0] * -(-count // 4) * 4 * 2
        return _moved(xp, state, used), values.astype(self.attrs["output_dtype"].as_numpy_dtype)


def _categorical_shape(ctx: Any, logits: TensorShape, num_samples: TensorShape) -> TensorShape:
    rows = with_rank(logits, 2).key
    with_rank(num_samples, 0)
    count = ctx.value(1)
    return TensorShape([rows[0] if rows else None, None if count is None else int(count)])


def _check_categorical(logits: Any, num_samples: Any) -> int:
    count = int(num_samples)
    if count < 0:
        raise InvalidArgumentError(None, None, f"num_samples should be nonnegative, got {count}")
    if logits.shape[1] <= 0 and logits.shape[0] * count > 0:
        raise InvalidArgumentError(
            None, None, f"num_classes should be positive, got {logits.shape[1]}"
        )
    return count


class RandomGamma(_Random):
    """Gamma numbers of unit scale: `shape` draws for each element of `alpha`."""

    shape = Input("S")
    alpha = Input("T")
    output = Output("T")
    seed = Attr("int", 0)
    seed2 = Attr("int", 0)
    S = type_attr(INDEX)
    T = type_attr({float16, float32, float64})
    static_inputs = ("shape",)
    numpy_only = True

    def infer(self, ctx: Any, shape: TensorShape, alpha: TensorShape) -> TensorShape:
        with_rank(shape, 1)
        return ctx.value_as_shape(0).concatenate(alpha)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        state, shape, alpha = inputs
        dims = _dims(shape)
        samples = int(np.prod(dims, dtype=np.int64))
        total = samples * alpha.size
        if total == 0:
            return state, np.zeros(dims + alpha.shape, alpha.dtype)
        values = random_kernels.gamma(state, samples, alpha.reshape(-1)).astype(alpha.dtype)
        return _moved(np, state, total), values.reshape(dims + alpha.shape)


# -- what programs call ----------------------------------------------------------------------------


def _seeds(seed: Any) -> dict[str, int]:
    """The seed attrs of a new node."""
    first, second = get_seed(seed)
    return {"seed": first or 0, "seed2": second or 0}


def _shape_tensor(shape: Any) -> Tensor:
    """A shape argument as an int32 or int64 tensor."""
    dtype = None
    if isinstance(shape, (tuple, list)):
        whole = all(isinstance(d, (int, np.integer)) for d in shape)
        dtype = dtypes.int64 if whole and any(d >= 2**31 for d in shape) else int32
    return convert_to_tensor(shape, dtype=dtype, name="shape")


def random_uniform(
    shape: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Uniform numbers in [minval, maxval) (tf.random_uniform, tf.random.uniform).

    Args:
      shape: the output's shape, a 1-D integer tensor or list.
      minval, maxval: the range; `maxval` is 1 for floats unless given and must be given for integers.
      dtype: float16, bfloat16, float32, float64, int32 or int64.
      seed: the op seed; see `set_random_seed`.
    Raises ValueError for other dtypes and for integers without `maxval`.
    """
    dtype = as_dtype(dtype)
    if dtype not in FLOATS | INDEX:
        raise ValueError(f"Invalid dtype {dtype!r}")
    if maxval is None:
        if dtype.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {dtype!r}")
        maxval = 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        shape = _shape_tensor(shape)
        minval = convert_to_tensor(minval, dtype=dtype, name="min")
        maxval = convert_to_tensor(maxval, dtype=dtype, name="max")
        seeds = _seeds(seed)
        if dtype.is_integer:
            return raw.RandomUniformInt(shape, minval, maxval, name=scope, **seeds)
        unit = raw.RandomUniform(shape, dtype=dtype, **seeds)
        span = raw.Sub(maxval, minval, name="sub")
        return raw.Add(raw.Mul(unit, span, name="mul"), minval, name=scope)


def random_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Normal numbers of the given mean and standard deviation, float of `shape` (tf.random_normal, tf.random.normal)."""
    return _scaled(
        "random_normal", raw.RandomStandardNormal, shape, mean, stddev, dtype, seed, name
    )


def truncated_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Normal numbers, those more than two standard deviations from the mean drawn again (tf.truncated_normal)."""
    return _scaled("truncated_normal", raw.TruncatedNormal, shape, mean, stddev, dtype, seed, name)


def _scaled(
    default_name: str,
    standard: Any,
    shape: Any,
    mean: Any,
    stddev: Any,
    dtype: Any,
    seed: int | None,
    name: str | None,
) -> Tensor:
    """`standard(shape) * stddev + mean` under TensorFlow's node names."""
    with name_scope(name, default_name, [shape, mean, stddev]) as scope:
        shape = _shape_tensor(shape)
        mean = convert_to_tensor(mean, dtype=dtype, name="mean")
        stddev = convert_to_tensor(stddev, dtype=dtype, name="stddev")
        unit = standard(shape, dtype=as_dtype(dtype), **_seeds(seed))
        return raw.Add(raw.Mul(unit, stddev, name="mul"), mean, name=scope)


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The rows of `value` (its first dimension) in random order (tf.random_shuffle, tf.random.shuffle)."""
    return raw.RandomShuffle(value, name=name, **_seeds(seed))


def multinomial(
    logits: Any,
    num_samples: Any,
    seed: int | None = None,
    name: str | None = None,
    output_dtype: Any = None,
) -> Tensor:
    """Draws from rows of unnormalised log probabilities (tf.multinomial).

    `logits` is [batch, classes], `num_samples` an int scalar; the result is int64 (or `output_dtype`) of shape
    [batch, num_samples].
    """
    with name_scope(name, "multinomial", [logits]):
        return _categorical(logits, num_samples, output_dtype, seed)


def categorical(
    logits: Any,
    num_samples: Any,
    dtype: Any = None,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Draws from rows of unnormalised log probabilities (tf.random.categorical); see `multinomial`."""
    with name_scope(name, "categorical", [logits]):
        return _categorical(logits, num_samples, dtype, seed)


def _categorical(logits: Any, num_samples: Any, dtype: Any, seed: int | None) -> Tensor:
    logits = convert_to_tensor(logits, name="logits")
    kind = as_dtype(dtype) if dtype else dtypes.int64
    return raw.Multinomial(logits, num_samples, output_dtype=kind, **_seeds(seed))


def random_gamma(
    shape: Any,
    alpha: Any,
    beta: Any = None,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """`shape` gamma draws for each pair of `alpha` and inverse scale `beta` (tf.random_gamma).

    The result has shape `shape + broadcast(alpha, beta).shape`. No gradient is defined.
    """
    with name_scope(name, "random_gamma", [shape, alpha, beta]):
        shape = convert_to_tensor(shape, name="shape", dtype=int32)
        alpha = convert_to_tensor(alpha, name="alpha", dtype=dtype)
        beta = convert_to_tensor(beta if beta is not None else 1, name="beta", dtype=dtype)
        alpha = raw.AddV2(alpha, zeros_like(beta), name="add")
        drawn = raw.RandomGamma(shape, alpha, **_seeds(seed))
        tiny = np.array(np.finfo(alpha.dtype.as_numpy_dtype).tiny)
        return raw.Maximum(tiny, raw.RealDiv(drawn, beta, name="truediv"))


def random_crop(value: Any, size: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """A window of shape `size` cut from `value` at a uniformly random place (tf.random_crop, tf.image.random_crop).

    Running it raises InvalidArgumentError when the window does not fit.
    """
    with name_scope(name, "random_crop", [value, size]) as scope:
        value = convert_to_tensor(value, name="value")
        size = convert_to_tensor(size, dtype=int32, name="size")
        shape = shape_of(value)
        fits = raw.GreaterEqual(shape, size)
        axes = constant(np.array([0], np.int32))
        message = b"Need value.shape >= size, got "
        fits = raw.All(fits, axes)
        with name_scope(None, "Assert"):
            constant(message)
            check = raw.Assert(fits, [message, shape, size])
        with value.graph.control_dependencies([check]):
            shape = raw.Identity(shape, name="control_dependency")
        limit = raw.AddV2(raw.Sub(shape, size, name="sub"), np.int32(1), name="add")
        place = random_uniform(shape_of(shape), dtype=int32, maxval=int32.max, seed=seed)
        return raw.Slice(value, raw.FloorMod(place, limit, name="mod"), size, name=scope)
