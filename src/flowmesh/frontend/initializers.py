"""Initializers: callables `(shape, dtype, partition_info)` that give a variable's initial value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import as_dtype
from flowmesh.core.shapes import as_shape
from flowmesh.graph.raw import raw
from flowmesh.ops import constant as constant_ops, fill, math_functions, random_ops
from flowmesh.ops.matrix_functions import eye


class Initializer:
    """Base class of all initializers."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """The initial value: a Tensor of `shape` and `dtype`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to initialize with")

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal initializer."""
        return {k.lstrip("_"): getattr(v, "name", v) for k, v in vars(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The initializer with these arguments."""
        return cls(**config)


def _sizes(shape: Any) -> list[int]:
    known = as_shape(shape)
    if not known.is_fully_defined():
        raise ValueError(f"an initializer needs a fully defined shape, not {known}")
    return [int(d) for d in known.as_list() if d is not None]


def _floating(dtype: Any) -> Any:
    dtype = as_dtype(dtype)
    if not dtype.is_floating:
        raise ValueError(f"Expected floating point type, got {dtype}.")
    return dtype


class Zeros(Initializer):
    """Zeros."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        return fill.zeros(_sizes(shape), dtype or self.dtype)


class Ones(Initializer):
    """Ones."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        return fill.ones(_sizes(shape), dtype or self.dtype)


class Constant(Initializer):
    """A given value, scalar or array; an array is reshaped to the variable's shape."""

    def __init__(
        self, value: Any = 0, dtype: Any = dtypes.float32, verify_shape: bool = False
    ) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(
                f"Invalid type for initial value: {type(value)} (expected Python scalar, list or tuple of values, "
                "or numpy.ndarray)."
            )
        self.value = value
        self.dtype = as_dtype(dtype)
        self._verify_shape = verify_shape

    def get_config(self) -> dict[str, Any]:
        """See Initializer."""
        return {"value": self.value, "dtype": self.dtype.name}

    def __call__(
        self, shape: Any, dtype: Any = None, partition_info: Any = None, verify_shape: Any = None
    ) -> Any:
        """See Initializer."""
        verify = self._verify_shape if verify_shape is None else verify_shape
        return constant_ops.constant(
            self.value, dtype=dtype or self.dtype, shape=_sizes(shape), verify_shape=verify
        )


class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    def __init__(
        self, minval: Any = 0, maxval: Any = None, seed: Any = None, dtype: Any = dtypes.float32
    ) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed
        self.dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        return random_ops.random_uniform(
            _sizes(shape), self.minval, self.maxval, dtype or self.dtype, seed=self.seed
        )


class RandomNormal(Initializer):
    """Normal."""

    def __init__(
        self, mean: float = 0.0, stddev: float = 1.0, seed: Any = None, dtype: Any = dtypes.float32
    ) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        return random_ops.random_normal(
            _sizes(shape), self.mean, self.stddev, dtype or self.dtype, seed=self.seed
        )


class TruncatedNormal(Initializer):
    """Normal within two standard deviations of the mean."""

    def __init__(
        self, mean: float = 0.0, stddev: float = 1.0, seed: Any = None, dtype: Any = dtypes.float32
    ) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        return random_ops.truncated_normal(
            _sizes(shape), self.mean, self.stddev, dtype or self.dtype, seed=self.seed
        )


class UniformUnitScaling(Initializer):
    """Uniform, scaled so that activations keep their variance (deprecated in TensorFlow: use VarianceScaling)."""

    def __init__(self, factor: float = 1.0, seed: Any = None, dtype: Any = dtypes.float32) -> None:
        self.factor, self.seed = factor, seed
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        full = _sizes(shape if partition_info is None else partition_info.full_shape)
        inputs = max(math.prod(full[:-1]), 1)
        limit = math.sqrt(3 / inputs) * self.factor
        return random_ops.random_uniform(
            _sizes(shape), -limit, limit, dtype or self.dtype, seed=self.seed
        )


def _fans(shape: list[int]) -> tuple[float, float]:
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class VarianceScaling(Initializer):
    """Scaled by the number of inputs, outputs, or their mean (Glorot & Bengio 2010, He et al. 2015).

    `mode`: fan_in, fan_out, fan_avg; `distribution`: truncated_normal (or normal), untruncated_normal, uniform.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        if scale <= 0.0:
            raise ValueError("`scale` must be positive float.")
        if mode not in {"fan_in", "fan_out", "fan_avg"}:
            raise ValueError("Invalid `mode` argument:", mode)
        distribution = distribution.lower()
        if distribution not in {"normal", "uniform", "truncated_normal", "untruncated_normal"}:
            raise ValueError("Invalid `distribution` argument:", distribution)
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        dtype = dtype or self.dtype
        fan_in, fan_out = _fans(
            _sizes(shape if partition_info is None else partition_info.full_shape)
        )
        divisor = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[
            self.mode
        ]
        scale = self.scale / max(1.0, divisor)
        sizes = _sizes(shape)
        if self.distribution in ("normal", "truncated_normal"):
            # the standard deviation of a standard normal truncated at 2
            stddev = math.sqrt(scale) / 0.87962566103423978
            return random_ops.truncated_normal(sizes, 0.0, stddev, dtype, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return random_ops.random_normal(sizes, 0.0, math.sqrt(scale), dtype, seed=self.seed)
        limit = math.sqrt(3.0 * scale)
        return random_ops.random_uniform(sizes, -limit, limit, dtype, seed=self.seed)


class Orthogonal(Initializer):
    """An orthogonal matrix from the QR decomposition of a normal one (Saxe et al. 2013)."""

    def __init__(self, gain: float = 1.0, seed: Any = None, dtype: Any = dtypes.float32) -> None:
        self.gain, self.seed = gain, seed
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        sizes = _sizes(shape)
        if len(sizes) < 2:
            raise ValueError("The tensor to initialize must be at least two-dimensional")
        rows, columns = math.prod(sizes[:-1]), sizes[-1]
        normal = random_ops.random_normal(
            [max(rows, columns), min(rows, columns)], dtype=dtype or self.dtype, seed=self.seed
        )
        q, r = raw.Qr(normal, full_matrices=False)
        q = raw.Mul(q, raw.Sign(raw.MatrixDiagPart(r)))
        if rows < columns:
            q = raw.Transpose(q, np.array([1, 0], np.int32))
        return raw.Mul(raw.Reshape(q, np.array(sizes, np.int32)), self.gain)


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0, dtype: Any = dtypes.float32) -> None:
        self.gain = gain
        self.dtype = _floating(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """See Initializer."""
        sizes = _sizes(shape)
        if len(sizes) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        value = eye(sizes[0], sizes[1], dtype=dtype or self.dtype)
        return value if self.gain == 1.0 else math_functions.multiply(self.gain, value, name="mul")


def glorot_uniform_initializer(seed: Any = None, dtype: Any = dtypes.float32) -> VarianceScaling:
    """Glorot's uniform initializer."""
    return VarianceScaling(1.0, "fan_avg", "uniform", seed, dtype)


def glorot_normal_initializer(seed: Any = None, dtype: Any = dtypes.float32) -> VarianceScaling:
    """Glorot's normal initializer."""
    return VarianceScaling(1.0, "fan_avg", "truncated_normal", seed, dtype)


def he_normal(seed: Any = None) -> VarianceScaling:
    """He's normal initializer."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed)


def he_uniform(seed: Any = None) -> VarianceScaling:
    """He's uniform initializer."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed)


def lecun_normal(seed: Any = None) -> VarianceScaling:
    """LeCun's normal initializer."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed)


def lecun_uniform(seed: Any = None) -> VarianceScaling:
    """LeCun's uniform initializer."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed)
