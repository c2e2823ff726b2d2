"""Ops that parse SequenceExample messages: ParseSingleSequenceExample and ParseSequenceExample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType, int64, string
from flowmesh.core.shapes import TensorShape, vector
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.ops.array_support import invalid
from flowmesh.ops.example_values import (
    as_vector,
    check_lengths,
    check_number,
    decoded,
    elements,
    feature_of,
    padded,
    ragged,
    shape_text,
    type_text,
    values_of,
    zero,
)
from flowmesh.ops.parsing_ops import FEATURE_TYPES, list_of_shapes, stacked
from flowmesh.ops.shape_rules import scalar_input, with_rank
from flowmesh.proto.example_pb2 import SequenceExample


def _types(default: Any = ()) -> Any:
    return Attr("list(type)", default, minimum=0, allowed=FEATURE_TYPES)


def _list_of(example: Any, key: bytes) -> Any:
    """The FeatureList with this key, or None."""
    name = key.decode()
    lists = example.feature_lists.feature_list
    return lists[name].feature if name in lists else None


class _Reader:
    """Reads the features of one SequenceExample; `name` is what errors call it."""

    def __init__(self, example: Any, name: str) -> None:
        self._example = example
        self._name = name

    def context_sparse(self, key: bytes, dtype: DType) -> np.ndarray:
        feature = feature_of(self._example.context, key)
        found, values = values_of(feature)
        if found is not None and found != dtype:
            raise self._mismatch(f"Context feature: {key.decode()}.  ", dtype, feature)
        return as_vector(values, dtype)

    def context_dense(
        self, key: bytes, dtype: DType, shape: TensorShape, default: Any
    ) -> np.ndarray:
        feature = feature_of(self._example.context, key)
        found, values = values_of(feature)
        size = elements(shape)
        if found is None:
            if not np.size(default) and size:
                raise invalid(
                    f"Name: {self._name}, Context feature '{key.decode()}' is required but could not be found."
                )
            return np.asarray(default).reshape(-1)
        if found != dtype:
            raise self._mismatch(f"Context feature: {key.decode()}.  ", dtype, feature)
        self._check_count(key, 0, values, dtype, shape)
        return as_vector(values, dtype)

    def list_sparse(self, key: bytes, dtype: DType) -> list[np.ndarray]:
        parts = []
        for i, feature in enumerate(_list_of(self._example, key) or ()):
            found, values = values_of(feature)
            if found is not None and found != dtype:
                raise self._mismatch(f"Feature List: {key.decode()}, Index: {i}.  ", dtype, feature)
            parts.append(as_vector(values, dtype))
        return parts

    def list_dense(
        self, key: bytes, dtype: DType, shape: TensorShape, may_miss: bool
    ) -> list[np.ndarray]:
        features = _list_of(self._example, key)
        if features is None:
            if may_miss:
                return []
            raise invalid(
                f"Name: {self._name}, Feature list '{key.decode()}' is required but could not be found.  Did you mean "
                "to include it in feature_list_dense_missing_assumed_empty or feature_list_dense_defaults?"
            )
        parts = []
        for i, feature in enumerate(features):
            found, values = values_of(feature)
            if found != dtype:
                raise self._mismatch(f"Feature list: {key.decode()}, Index: {i}.  ", dtype, feature)
            self._check_count(key, i, values, dtype, shape)
            parts.append(as_vector(values, dtype))
        return parts

    def _mismatch(self, where: str, dtype: DType, feature: Any) -> Exception:
        return invalid(
            f"Name: {self._name}, {where}Data types don't match. Expected type: {type_text(dtype)}  Feature is: "
            f"{feature}"
        )

    def _check_count(
        self, key: bytes, index: int, values: Any, dtype: DType, shape: TensorShape
    ) -> None:
        if len(values) != elements(shape):
            raise invalid(
                f"Name: {self._name}, Key: {key.decode()}, Index: {index}.  Number of {type_text(dtype)} values != "
                f"expected.  values size: {len(values)} but output shape: {shape_text(shape)}"
            )


def _texts(tensors: Sequence[Any]) -> list[bytes]:
    return [np.asarray(t, object).item() for t in tensors]


def _rows(parts: Sequence[np.ndarray], dtype: DType, shape: TensorShape) -> np.ndarray:
    sizes = shape.as_list()
    if not parts:
        return as_vector([], dtype).reshape(0, *sizes)
    return np.stack(parts).reshape(len(parts), *sizes)


_KINDS = {
    "context_sparse": ("context_sparse_types", ""),
    "context_dense": ("Tcontext_dense", "context_dense_shapes"),
    "feature_list_sparse": ("feature_list_sparse_types", ""),
    "feature_list_dense": ("feature_list_dense_types", "feature_list_dense_shapes"),
}
"""The attrs with the types, and the shapes, of each kind of feature."""


class ParseSingleSequenceExample(OpDef):
    """Context features and feature lists of one serialized SequenceExample."""

    serialized = Input(string)
    feature_list_dense_missing_assumed_empty = Input(string)
    context_sparse_keys = Input(string, number="Ncontext_sparse")
    context_dense_keys = Input(string, number="Ncontext_dense")
    feature_list_sparse_keys = Input(string, number="Nfeature_list_sparse")
    feature_list_dense_keys = Input(string, number="Nfeature_list_dense")
    context_dense_defaults = Input(types="Tcontext_dense")
    debug_name = Input(string)
    context_sparse_indices = Output(int64, number="Ncontext_sparse")
    context_sparse_values = Output(types="context_sparse_types")
    context_sparse_shapes = Output(int64, number="Ncontext_sparse")
    context_dense_values = Output(types="Tcontext_dense")
    feature_list_sparse_indices = Output(int64, number="Nfeature_list_sparse")
    feature_list_sparse_values = Output(types="feature_list_sparse_types")
    feature_list_sparse_shapes = Output(int64, number="Nfeature_list_sparse")
    feature_list_dense_values = Output(types="feature_list_dense_types")
    Ncontext_sparse = Attr("int", 0, minimum=0)
    Ncontext_dense = Attr("int", 0, minimum=0)
    Nfeature_list_sparse = Attr("int", 0, minimum=0)
    Nfeature_list_dense = Attr("int", 0, minimum=0)
    context_sparse_types = _types()
    Tcontext_dense = _types()
    feature_list_dense_types = _types()
    context_dense_shapes = Attr("list(shape)", (), minimum=0)
    feature_list_sparse_types = _types()
    feature_list_dense_shapes = Attr("list(shape)", (), minimum=0)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized: TensorShape, *_: Any) -> Any:
        scalar_input(serialized)
        a = self.attrs
        for kind, (types, shapes) in _KINDS.items():
            sizes = {"types": len(a[types])}
            if shapes:
                sizes["shapes"] = len(a[shapes])
            check_lengths(kind, a[f"N{kind}"], **sizes)
        sparse, lists = a["Ncontext_sparse"], a["Nfeature_list_sparse"]
        return (
            list_of_shapes(sparse, None, 1),
            list_of_shapes(sparse, None),
            list_of_shapes(sparse, 1),
            list(a["context_dense_shapes"]),
            list_of_shapes(lists, None, 2),
            list_of_shapes(lists, None),
            list_of_shapes(lists, 2),
            [vector(None).concatenate(shape) for shape in a["feature_list_dense_shapes"]],
        )

    def compute(self, xp: Any, *inputs: Any) -> Any:
        serialized, missing, *keys, defaults, debug_name = inputs
        a = self.attrs
        context_sparse, context_dense, list_sparse, list_dense = (_texts(k) for k in keys)
        name = np.asarray(debug_name, object).item().decode("utf-8", "replace")
        data = np.asarray(serialized, object).item()
        read = _Reader(decoded(SequenceExample, data), name)
        may_miss = set(np.asarray(missing, object).reshape(-1).tolist())
        parts = [
            read.context_sparse(k, t) for k, t in zip(context_sparse, a["context_sparse_types"])
        ]
        dense = [
            read.context_dense(k, t, s, d).reshape(s.as_list())
            for k, t, s, d in zip(
                context_dense, a["Tcontext_dense"], a["context_dense_shapes"], defaults
            )
        ]
        lists = [
            ragged(read.list_sparse(k, t), t)
            for k, t in zip(list_sparse, a["feature_list_sparse_types"])
        ]
        specs = zip(list_dense, a["feature_list_dense_types"], a["feature_list_dense_shapes"])
        rows = [_rows(read.list_dense(k, t, s, k in may_miss), t, s) for k, t, s in specs]
        return (
            [np.arange(len(p), dtype=np.int64).reshape(-1, 1) for p in parts],
            parts,
            [np.array([len(p)], np.int64) for p in parts],
            dense,
            [indices for indices, _, _ in lists],
            [values for _, values, _ in lists],
            [shape for _, _, shape in lists],
            rows,
        )


class ParseSequenceExample(OpDef):
    """Context features and feature lists of a batch of serialized SequenceExamples."""

    serialized = Input(string)
    debug_name = Input(string)
    context_dense_defaults = Input(types="Tcontext_dense")
    context_sparse_indices = Output(int64, number="Ncontext_sparse")
    context_sparse_values = Output(types="context_sparse_types")
    context_sparse_shapes = Output(int64, number="Ncontext_sparse")
    context_dense_values = Output(types="Tcontext_dense")
    feature_list_sparse_indices = Output(int64, number="Nfeature_list_sparse")
    feature_list_sparse_values = Output(types="feature_list_sparse_types")
    feature_list_sparse_shapes = Output(int64, number="Nfeature_list_sparse")
    feature_list_dense_values = Output(types="feature_list_dense_types")
    feature_list_dense_lengths = Output(int64, number="Nfeature_list_dense")
    feature_list_dense_missing_assumed_empty = Attr("list(string)", minimum=0)
    context_sparse_keys = Attr("list(string)", minimum=0)
    context_dense_keys = Attr("list(string)", minimum=0)
    feature_list_sparse_keys = Attr("list(string)", minimum=0)
    feature_list_dense_keys = Attr("list(string)", minimum=0)
    Ncontext_sparse = Attr("int", 0, minimum=0)
    Ncontext_dense = Attr("int", 0, minimum=0)
    Nfeature_list_sparse = Attr("int", 0, minimum=0)
    Nfeature_list_dense = Attr("int", 0, minimum=0)
    context_sparse_types = _types()
    Tcontext_dense = _types()
    feature_list_dense_types = _types()
    context_dense_shapes = Attr("list(shape)", (), minimum=0)
    feature_list_sparse_types = _types()
    feature_list_dense_shapes = Attr("list(shape)", (), minimum=0)
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized: TensorShape, *_: Any) -> Any:
        batch = with_rank(serialized, 1)
        a = self.attrs
        self._check_numbers()
        sparse, lists = a["Ncontext_sparse"], a["Nfeature_list_sparse"]
        rows = batch.concatenate(vector(None))
        return (
            list_of_shapes(sparse, None, 2),
            list_of_shapes(sparse, None),
            list_of_shapes(sparse, 2),
            [batch.concatenate(shape) for shape in a["context_dense_shapes"]],
            list_of_shapes(lists, None, 3),
            list_of_shapes(lists, None),
            list_of_shapes(lists, 3),
            [rows.concatenate(shape) for shape in a["feature_list_dense_shapes"]],
            [batch] * a["Nfeature_list_dense"],
        )

    def _check_numbers(self) -> None:
        """ValueError when the attrs of one kind of feature do not speak of the same number of features."""
        for kind, (types, shapes) in _KINDS.items():
            sizes = {"keys": len(self.attrs[f"{kind}_keys"]), "types": len(self.attrs[types])}
            if shapes:
                sizes["shapes"] = len(self.attrs[shapes])
            check_number(kind, self.attrs[f"N{kind}"], **sizes)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        serialized, debug_name, defaults = inputs
        a = self.attrs
        names = [bytes(n).decode("utf-8", "replace") for n in np.asarray(debug_name, object)]
        readers = [
            _Reader(decoded(SequenceExample, data), names[i] if i < len(names) else "<unknown>")
            for i, data in enumerate(np.asarray(serialized, object))
        ]
        sparse = [
            ragged([r.context_sparse(k, t) for r in readers], t)
            for k, t in zip(a["context_sparse_keys"], a["context_sparse_types"])
        ]
        dense = [
            stacked([r.context_dense(k, t, s, d) for r in readers], t, s, d)
            for k, t, s, d in zip(
                a["context_dense_keys"], a["Tcontext_dense"], a["context_dense_shapes"], defaults
            )
        ]
        lists = [
            _ragged3([r.list_sparse(k, t) for r in readers], t)
            for k, t in zip(a["feature_list_sparse_keys"], a["feature_list_sparse_types"])
        ]
        rows, lengths = self._dense_lists(readers)
        return (
            [i for i, _, _ in sparse],
            [v for _, v, _ in sparse],
            [s for _, _, s in sparse],
            dense,
            [i for i, _, _ in lists],
            [v for _, v, _ in lists],
            [s for _, _, s in lists],
            rows,
            lengths,
        )

    def _dense_lists(self, readers: Sequence[_Reader]) -> tuple[list[Any], list[Any]]:
        """The dense feature lists, padded to the longest, and their lengths."""
        a = self.attrs
        may_miss = set(a["feature_list_dense_missing_assumed_empty"])
        rows, lengths = [], []
        specs = zip(
            a["feature_list_dense_keys"],
            a["feature_list_dense_types"],
            a["feature_list_dense_shapes"],
        )
        for key, dtype, shape in specs:
            found = [r.list_dense(key, dtype, shape, key in may_miss) for r in readers]
            parts = [np.concatenate(p) if p else as_vector([], dtype) for p in found]
            rows.append(padded(parts, shape.as_list(), zero(dtype), dtype))
            lengths.append(np.array([len(p) for p in found], np.int64))
        return rows, lengths


def _ragged3(examples: Sequence[Sequence[np.ndarray]], dtype: DType) -> tuple[Any, Any, Any]:
    """Lists of rows of different lengths as a sparse tensor of rank 3."""
    indices = [
        (i, j, k)
        for i, rows in enumerate(examples)
        for j, row in enumerate(rows)
        for k in range(len(row))
    ]
    flat = [row for rows in examples for row in rows]
    shape = [
        len(examples),
        max((len(rows) for rows in examples), default=0),
        max((len(row) for row in flat), default=0),
    ]
    values = np.concatenate(flat) if flat else as_vector([], dtype)
    return np.array(indices, np.int64).reshape(-1, 3), values, np.array(shape, np.int64)
