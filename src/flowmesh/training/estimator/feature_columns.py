"""Columns of input features for the ready-made models (TensorFlow: `tf.feature_column`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from flowmesh.core.dtypes import as_dtype, float32
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.ops.cast import cast
from flowmesh.ops.concat import concat
from flowmesh.ops.reshape import reshape


class NumericColumn(NamedTuple):
    """A column of numbers: `features[key]` of shape [batch, *shape]."""

    key: str
    shape: tuple[int, ...]
    default_value: Any
    dtype: Any
    normalizer_fn: Callable[[Any], Any] | None

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    @property
    def size(self) -> int:
        """How many numbers an example has."""
        return int(np.prod(self.shape, dtype=int))

    def dense(self, features: Mapping[str, Any]) -> Any:
        """The numbers as float32 of shape [batch, size]; ValueError without the feature, or for one of strings."""
        with name_scope(self.key):
            if self.key not in features:
                raise ValueError(f"Feature {self.key} is not in features dictionary.")
            value = convert_to_tensor(features[self.key])
            if not (value.dtype.is_floating or value.dtype.is_integer):
                raise ValueError(
                    f"The corresponding Tensor of numerical column must be a Tensor. The feature {self.key} has dtype {value.dtype.name}."
                )
            value = cast(value, float32)
            if self.normalizer_fn is not None:
                value = self.normalizer_fn(value)
            return reshape(value, [-1, self.size])


def numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: Any = None,
    dtype: Any = float32,
    normalizer_fn: Callable[[Any], Any] | None = None,
) -> NumericColumn:
    """A column of `shape` numbers an example (TensorFlow: `tf.feature_column.numeric_column`).

    `normalizer_fn` is applied to the tensor. Raises ValueError for a shape or dtype that is none, TypeError for a normalizer
    that cannot be called.
    """
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    for dim in dims:
        if not isinstance(dim, int) or dim <= 0:
            raise ValueError(
                f"shape dimensions must be integer and greater than 0, shape: {dims}, key: {key}"
            )
    kind = as_dtype(dtype)
    if not (kind.is_integer or kind.is_floating):
        raise ValueError(f"dtype must be convertible to float. dtype: {kind}, key: {key}")
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"normalizer_fn must be a callable. Given: {normalizer_fn}")
    return NumericColumn(key, dims, default_value, kind, normalizer_fn)


def checked_columns(columns: Iterable[Any]) -> list[NumericColumn]:
    """The columns in order of their names; ValueError for none, two of one name, or what is no column."""
    result = [columns] if isinstance(columns, NumericColumn) else list(columns)
    if not result:
        raise ValueError("feature_columns must not be empty.")
    for column in result:
        if not isinstance(column, NumericColumn):
            raise ValueError(f"Items of feature_columns must be a numeric_column, given: {column}")
    names = [column.name for column in result]
    if len(set(names)) != len(names):
        raise ValueError(f"Duplicate feature column name found: {sorted(names)}")
    return sorted(result, key=lambda column: column.name)


def input_layer(features: Mapping[str, Any], feature_columns: Any) -> Any:
    """All columns side by side, float32 of shape [batch, total size] (TensorFlow: `tf.feature_column.input_layer`)."""
    columns = checked_columns(feature_columns)
    with name_scope("input_layer"):
        parts = []
        for column in columns:
            parts.append(column.dense(features))
        return parts[0] if len(parts) == 1 else concat(parts, 1)
