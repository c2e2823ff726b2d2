"""Attrs of the ops that parse Examples speak of the same number of features: TensorFlow 1.15's words where they do not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from flowmesh.core.dtypes import float32
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw

TEXT = np.array(b"", object)
TEXTS = np.array([b""], object)
SPARSE = "num_sparse ({}) must match the size of sparse_keys ({}) and sparse_types ({})"
SEQUENCE = {
    "context_sparse": "num_context_sparse (0) must match the size of context_sparse_keys (0) and context_sparse_types (1)",
    "feature_list_sparse": "num_feature_list_sparse (0) must match the size of feature_list_sparse_keys (0) and "
    "feature_list_sparse_types (1)",
    "feature_list_dense": "num_feature_list_dense (0) must match the size of feature_list_dense_keys (0), "
    "feature_list_dense_types (1) and feature_list_dense_shapes (0)",
}


def refused(message: str, op: Any, *inputs: Any, **attrs: Any) -> None:
    """Raw ops take the number of a list of inputs from the list."""
    with Graph().as_default(), pytest.raises(ValueError, match=re.escape(message)):
        op(*inputs, **attrs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_sparse": 2}, SPARSE.format(2, 1, 1)),
        ({"sparse_keys": []}, SPARSE.format(1, 0, 1)),
        ({"sparse_types": []}, SPARSE.format(1, 1, 0)),
        ({"dense_keys": [b"q"]}, "len(dense_keys) != len(dense_types)"),
        ({"dense_shapes": [[]]}, "len(dense_keys) != len(dense_shapes)"),
    ],
)
def test_one_example(changed: dict[str, Any], message: str) -> None:
    attrs = {
        "num_sparse": 1,
        "sparse_keys": [b"a"],
        "sparse_types": [float32],
        "dense_keys": [],
        "dense_shapes": [],
    }
    with Graph().as_default():
        raw.ParseSingleExample(TEXT, [], **attrs)
    refused(message, raw.ParseSingleExample, TEXT, [], **{**attrs, **changed})


@pytest.mark.parametrize(
    ("sparse", "dense", "types", "shapes", "message"),
    [
        (0, 0, 1, 0, "len(sparse_keys) != len(sparse_types)"),
        (2, 0, 1, 0, "len(sparse_keys) != len(sparse_types)"),
        (1, 1, 1, 0, "len(dense_keys) != len(dense_types)"),
        (1, 0, 1, 1, "len(dense_keys) != len(dense_shapes)"),
    ],
)
def test_many_examples(sparse: int, dense: int, types: int, shapes: int, message: str) -> None:
    refused(
        message,
        raw.ParseExample,
        TEXTS,
        TEXTS,
        [TEXT] * sparse,
        [TEXT] * dense,
        [],
        sparse_types=[float32] * types,
        dense_shapes=[[]] * shapes,
    )


@pytest.mark.parametrize("kind", SEQUENCE)
def test_sequences(kind: str) -> None:
    keys = ("context_sparse", "context_dense", "feature_list_sparse", "feature_list_dense")
    names = {f"{k}_keys": [] for k in keys} | {"feature_list_dense_missing_assumed_empty": []}
    attrs: dict[str, Any] = {**names, f"{kind}_types": [float32]}
    refused(SEQUENCE[kind], raw.ParseSequenceExample, TEXTS, TEXTS, [], **attrs)
    refused(
        f"len({kind}_keys) != len({kind}_types)",
        raw.ParseSingleSequenceExample,
        TEXT,
        np.array([], object),
        [],
        [],
        [],
        [],
        [],
        TEXT,
        **{f"{kind}_types": [float32]},
    )
