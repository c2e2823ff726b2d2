"""Rows of dataset and iterator ops: they are tested together, by the elements that come out."""

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.graph import registry
from tests.ops.table import Row

_ITERATORS = (
    "DatasetToSingleElement",
    "Iterator",
    "IteratorFromStringHandle",
    "IteratorFromStringHandleV2",
    "IteratorGetNext",
    "IteratorGetNextSync",
    "IteratorToStringHandle",
    "IteratorV2",
    "MakeIterator",
    "OneShotIterator",
    "ReduceDataset",
)
_DATASETS = [n for n in registry.op_types() if "Dataset" in n and n not in _ITERATORS]

ROWS = [
    *(Row(name, covered_by="tests/data/test_iterators.py") for name in _ITERATORS),
    *(Row(name, covered_by="tests/data/test_dataset_ops.py") for name in _DATASETS),
]
