"""Features described in Python and the functions that parse them: `tf.parse_example` and its relatives."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.building import constant, name_scope
from flowmesh.ops.example_values import is_variable
from flowmesh.ops.sparse_merge import sparse_merge


class VarLenFeature(collections.namedtuple("VarLenFeature", ["dtype"])):
    """A feature of any length, parsed as a SparseTensor (tf.VarLenFeature)."""


class SparseFeature(
    collections.namedtuple(
        "SparseFeature", ["index_key", "value_key", "dtype", "size", "already_sorted"]
    )
):
    """A sparse feature from two (or more) features: its indices (int64) and its values (tf.SparseFeature).

    `index_key` is a key or a list of keys, `size` a size or a list of sizes.
    """

    def __new__(
        cls, index_key: Any, value_key: Any, dtype: Any, size: Any, already_sorted: bool = False
    ) -> SparseFeature:
        return super().__new__(cls, index_key, value_key, dtype, size, already_sorted)


class FixedLenFeature(
    collections.namedtuple("FixedLenFeature", ["shape", "dtype", "default_value"])
):
    """A feature of one shape; required unless it has a default value (tf.FixedLenFeature)."""

    def __new__(cls, shape: Any, dtype: Any, default_value: Any = None) -> FixedLenFeature:
        return super().__new__(cls, shape, dtype, default_value)


class FixedLenSequenceFeature(
    collections.namedtuple(
        "FixedLenSequenceFeature", ["shape", "dtype", "allow_missing", "default_value"]
    )
):
    """A feature of any number of rows of one shape, parsed dense and padded (tf.FixedLenSequenceFeature)."""

    def __new__(
        cls, shape: Any, dtype: Any, allow_missing: bool = False, default_value: Any = None
    ) -> FixedLenSequenceFeature:
        return super().__new__(cls, shape, dtype, allow_missing, default_value)


class _Raw:
    """What the ops want to know of a dict of features: sparse and dense keys with their types and shapes."""

    def __init__(self) -> None:
        self.sparse: dict[str, DType] = {}
        self.dense: dict[str, DType] = {}
        self.shapes: dict[str, TensorShape] = {}
        self.defaults: dict[str, Any] = {}

    def add_sparse(self, key: str, dtype: Any) -> None:
        dtype = as_dtype(dtype)
        if self.sparse.get(key, dtype) != dtype:
            raise ValueError(f"Conflicting type {self.sparse[key]} vs {dtype} for feature {key}.")
        self.sparse[key] = dtype

    def add(self, key: str, feature: Any, kinds: tuple[Any, ...]) -> None:
        """One feature; ValueError when it is not complete or not of one of the kinds."""
        name = type(feature).__name__
        if not isinstance(feature, kinds):
            if isinstance(feature, _FEATURES):
                raise ValueError(f"Unsupported {name} {_shown(feature)}.")
            raise ValueError(f"Invalid feature {key}:{feature}.")
        if isinstance(feature, SparseFeature):
            self._add_sparse_feature(key, feature)
            return
        if not feature.dtype:
            raise ValueError(f"Missing type for feature {key}.")
        if isinstance(feature, VarLenFeature):
            self.add_sparse(key, feature.dtype)
            return
        if feature.shape is None:
            raise ValueError(f"Missing shape for feature {key}.")
        shape = as_shape(feature.shape)
        if isinstance(feature, FixedLenFeature):
            if is_variable(shape):
                raise ValueError(
                    f"First dimension of shape for feature {key} unknown. Consider using FixedLenSequenceFeature."
                )
            if feature.default_value is not None:
                self.defaults[key] = feature.default_value
        elif feature.allow_missing:
            self.defaults[key] = None
            if feature.default_value is not None:
                self.defaults[key] = feature.default_value
        self.dense[key] = as_dtype(feature.dtype)
        self.shapes[key] = shape

    def _add_sparse_feature(self, key: str, feature: SparseFeature) -> None:
        if not feature.index_key:
            raise ValueError(f"Missing index_key for SparseFeature {_shown(feature)}.")
        if not feature.value_key:
            raise ValueError(f"Missing value_key for SparseFeature {_shown(feature)}.")
        if not feature.dtype:
            raise ValueError(f"Missing type for feature {key}.")
        for index_key in sorted(_index_keys(feature)):
            self.add_sparse(index_key, dtypes.int64)
        self.add_sparse(feature.value_key, feature.dtype)


_FEATURES = (VarLenFeature, SparseFeature, FixedLenFeature, FixedLenSequenceFeature)


def _shown(feature: Any) -> str:
    """A feature as TensorFlow's messages show it."""
    parts = []
    for name, value in zip(feature._fields, feature):
        text = f"tf.{value.name}" if isinstance(value, DType) else repr(value)
        parts.append(f"{name}={text}")
    return f"{type(feature).__name__}({', '.join(parts)})"


def _index_keys(feature: SparseFeature) -> list[str]:
    key = feature.index_key
    return [key] if isinstance(key, str) else list(key)


def _described(features: Any, kinds: tuple[Any, ...]) -> _Raw:
    result = _Raw()
    for key in sorted(features or {}):
        result.add(key, features[key], kinds)
    return result


def _rows_of_any_number(features: dict[str, Any]) -> dict[str, Any]:
    """The features with an open first dimension where they are sequences."""
    result = {}
    for key, feature in features.items():
        if isinstance(feature, FixedLenSequenceFeature):
            if not feature.allow_missing:
                raise ValueError(
                    "Unsupported: FixedLenSequenceFeature requires allow_missing to be True."
                )
            if feature.shape is not None:
                shape = TensorShape([None]).concatenate(as_shape(feature.shape))
                feature = feature._replace(shape=shape)
        result[key] = feature
    return result


def _default(key: str, value: Any, dtype: DType, shape: TensorShape) -> Tensor:
    """The default of a dense feature as a tensor; an empty one where it is required."""
    clean = re.sub("[^A-Za-z0-9_.\\-/]", "_", key)
    if is_variable(shape):
        if value is None:
            return constant(
                "" if dtype == dtypes.string else np.zeros((), dtype.as_numpy_dtype), dtype
            )
        return raw.Reshape(
            convert_to_tensor(value, dtype, name=f"padding_{clean}"), np.zeros(0, np.int32)
        )
    if value is None:
        return constant(np.zeros(0, dtype.as_numpy_dtype), dtype)
    if isinstance(value, Tensor):
        return value
    sizes = np.array(shape.as_list(), np.int32)
    return raw.Reshape(convert_to_tensor(value, dtype, name=f"key_{clean}"), sizes)


def _defaults(described: _Raw) -> list[Tensor]:
    return [
        _default(key, described.defaults.get(key), dtype, described.shapes[key])
        for key, dtype in described.dense.items()
    ]


def _sparse_parts(indices: Any, values: Any, shapes: Any) -> list[SparseTensor]:
    return [SparseTensor(i, v, s) for i, v, s in zip(indices, values, shapes)]


def _put_together(features: Any, parsed: dict[str, Any]) -> dict[str, Any]:
    """The parsed tensors, with SparseFeatures made of theirs; what was read only for those is left out."""
    result = dict(parsed)
    for key in sorted(features):
        feature = features[key]
        if isinstance(feature, SparseFeature):
            ids: Any = [parsed[k] for k in _index_keys(feature)]
            if isinstance(feature.index_key, str):
                ids = ids[0]
            result[key] = sparse_merge(
                ids,
                parsed[feature.value_key],
                feature.size,
                already_sorted=feature.already_sorted,
            )
    for key in set(result) - set(features):
        del result[key]
    return result


def parse_example(
    serialized: Any, features: Any, name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """The features of a batch of serialized Examples (tf.parse_example).

    Args:
      serialized: a string vector.
      features: a dict from keys to FixedLenFeature (dense [batch, shape]), FixedLenSequenceFeature (dense, padded),
        VarLenFeature and SparseFeature (SparseTensor).
      example_names: a string vector of names for error messages.

    Raises ValueError for features that are not complete; running it raises InvalidArgumentError for messages that do not fit.
    """
    if not features:
        raise ValueError(f"Missing: features was {features}.")
    features = _rows_of_any_number(features)
    described = _described(features, _FEATURES)
    names = np.empty(0, object) if example_names is None else example_names
    with name_scope(name, "ParseExample", [serialized, names]):
        defaults = _defaults(described)
        out = raw.ParseExample(
            serialized,
            names,
            list(described.sparse),
            list(described.dense),
            defaults,
            sparse_types=list(described.sparse.values()),
            dense_shapes=[described.shapes[k] for k in described.dense],
            Tdense=list(described.dense.values()),
            name=name,
        )
    parsed = dict(zip(described.sparse, _sparse_parts(*out[:3])))
    parsed.update(zip(described.dense, out[3]))
    return _put_together(features, parsed)


def parse_single_example(
    serialized: Any, features: Any, name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """The features of one serialized Example, a string scalar (tf.parse_single_example); see `parse_example`."""
    if not features:
        raise ValueError("Missing features.")
    features = _rows_of_any_number(features)
    described = _described(features, _FEATURES)
    if example_names is not None:
        return _named_single(serialized, features, name, example_names)
    with name_scope(name, "ParseSingleExample", [serialized]):
        serialized = convert_to_tensor(serialized, name="serialized")
        defaults = _defaults(described)
        out = raw.ParseSingleExample(
            serialized,
            defaults,
            num_sparse=len(described.sparse),
            sparse_keys=list(described.sparse),
            sparse_types=list(described.sparse.values()),
            dense_keys=list(described.dense),
            dense_shapes=[described.shapes[k] for k in described.dense],
            Tdense=list(described.dense.values()),
            name=name,
        )
    parsed = dict(zip(described.sparse, _sparse_parts(*out[:3])))
    parsed.update(zip(described.dense, out[3]))
    return _put_together(features, parsed)


def _named_single(serialized: Any, features: Any, name: str | None, names: Any) -> dict[str, Any]:
    """One example through the op for batches, which knows names."""
    with name_scope(name, "ParseSingleExample", [serialized, names]):
        serialized = convert_to_tensor(serialized)
        batch = raw.ExpandDims(serialized, np.int32(0), name="ExpandDims")
        names = raw.ExpandDims(convert_to_tensor(names), np.int32(0), name="ExpandDims")
        result = parse_example(batch, _without_rows(features), name, names)
        for key in sorted(result):
            value = result[key]
            if isinstance(value, SparseTensor):
                indices: Any = value.indices
                shape: Any = value.dense_shape
                result[key] = SparseTensor(
                    raw.Slice(indices, [0, 1], [-1, -1], name=f"Slice_Indices_{key}"),
                    value.values,
                    raw.Slice(shape, [1], [-1], name=f"Squeeze_Shape_{key}"),
                )
            else:
                result[key] = raw.Squeeze(value, squeeze_dims=[0], name=f"Squeeze_{key}")
        return result


def _without_rows(features: dict[str, Any]) -> dict[str, Any]:
    """The features without the open dimension that `parse_example` adds by itself."""
    return {
        key: feature._replace(shape=feature.shape[1:])
        if isinstance(feature, FixedLenSequenceFeature) and feature.shape is not None
        else feature
        for key, feature in features.items()
    }


_Sequence = tuple[dict[str, Any], dict[str, Any]]


def _described_pair(context: Any, sequence: Any) -> tuple[_Raw, _Raw]:
    if not (context or sequence):
        raise ValueError("Missing features.")
    return (
        _described(context, (VarLenFeature, FixedLenFeature)),
        _described(sequence, (VarLenFeature, FixedLenSequenceFeature)),
    )


def _may_miss(described: _Raw) -> list[str]:
    return [key for key in described.dense if key in described.defaults]


def _types_of(context: _Raw, lists: _Raw) -> dict[str, Any]:
    return {
        "context_sparse_types": list(context.sparse.values()),
        "Tcontext_dense": list(context.dense.values()),
        "context_dense_shapes": [context.shapes[k] for k in context.dense],
        "feature_list_sparse_types": list(lists.sparse.values()),
        "feature_list_dense_types": list(lists.dense.values()),
        "feature_list_dense_shapes": [lists.shapes[k] for k in lists.dense],
    }


def _pair(context: _Raw, lists: _Raw, out: Sequence[Any]) -> _Sequence:
    first = dict(zip(context.sparse, _sparse_parts(*out[:3])))
    first.update(zip(context.dense, out[3]))
    second = dict(zip(lists.sparse, _sparse_parts(*out[4:7])))
    second.update(zip(lists.dense, out[7]))
    return first, second


def parse_single_sequence_example(
    serialized: Any,
    context_features: Any = None,
    sequence_features: Any = None,
    example_name: Any = None,
    name: str | None = None,
) -> _Sequence:
    """Context features and feature lists of one serialized SequenceExample (tf.parse_single_sequence_example).

    `context_features` has FixedLenFeature and VarLenFeature, `sequence_features` FixedLenSequenceFeature (dense [length,
    shape]) and VarLenFeature. Returns two dicts. Errors as in `parse_example`.
    """
    context, lists = _described_pair(context_features, sequence_features)
    with name_scope(name, "ParseSingleSequenceExample", [serialized]):
        defaults = _defaults(context)
        missing = np.empty(len(_may_miss(lists)), object)
        missing[:] = _may_miss(lists)
        out = raw.ParseSingleSequenceExample(
            serialized,
            missing,
            list(context.sparse),
            list(context.dense),
            list(lists.sparse),
            list(lists.dense),
            defaults,
            "" if example_name is None else example_name,
            **_types_of(context, lists),
            name=name,
        )
    return _pair(context, lists, out)


def parse_sequence_example(
    serialized: Any,
    context_features: Any = None,
    sequence_features: Any = None,
    example_names: Any = None,
    name: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """As `parse_single_sequence_example`, of a batch (tf.io.parse_sequence_example).

    The third dict has the lengths of the dense feature lists, int64 [batch].
    """
    context, lists = _described_pair(context_features, sequence_features)
    names = np.empty(0, object) if example_names is None else example_names
    with name_scope(name, "ParseSequenceExample", [serialized, names]):
        defaults = _defaults(context)
        out = raw.ParseSequenceExample(
            serialized,
            names,
            defaults,
            feature_list_dense_missing_assumed_empty=_may_miss(lists),
            context_sparse_keys=list(context.sparse),
            context_dense_keys=list(context.dense),
            feature_list_sparse_keys=list(lists.sparse),
            feature_list_dense_keys=list(lists.dense),
            Ncontext_sparse=len(context.sparse),
            Ncontext_dense=len(context.dense),
            Nfeature_list_sparse=len(lists.sparse),
            Nfeature_list_dense=len(lists.dense),
            **_types_of(context, lists),
            name=name,
        )
    return (*_pair(context, lists, out), dict(zip(lists.dense, out[8])))


def decode_json_example(json_examples: Any, name: str | None = None) -> Tensor:
    """Examples in JSON as serialized Examples, of the same shape (tf.decode_json_example)."""
    return raw.DecodeJSONExample(json_examples, name=name)


def decode_compressed(bytes: Any, compression_type: str = "", name: str | None = None) -> Tensor:
    """Each string out of "ZLIB" or "GZIP" compression (tf.decode_compressed); DataLossError when run on bad data."""
    return raw.DecodeCompressed(bytes, compression_type=compression_type, name=name)
