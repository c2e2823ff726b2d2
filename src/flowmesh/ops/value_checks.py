"""What must hold of the values that some kernels are given: indices and labels within bounds, no integer divisor of zero.

NumPy's kernels look themselves. A compiled program cannot raise; here is what has to be looked at on its behalf, for programs on processors: there
TensorFlow raises. (On GPUs it gives 0, NaN or leaves the rows out, and so do compiled programs.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowmesh.core.errors import InvalidArgumentError
from flowmesh.graph.op_def import OpDef
from flowmesh.graph.operation import Operation
from flowmesh.ops.gather import bad_index_error, bad_vector_error
from flowmesh.ops.nn_softmax import label_error
from flowmesh.ops.row_updates import check_indices
from flowmesh.ops.scatter_nd import check_vectors
from flowmesh.ops.segment import check_range

_DIVISIONS = frozenset(
    {"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "RealDiv"}
)
_LABELS = frozenset({"SparseSoftmaxCrossEntropyWithLogits"})
_SHAPE_GIVEN = frozenset({"ScatterNd"})


@dataclass(frozen=True)
class ValueCheck:
    """One thing that must hold of one input."""

    position: int
    """Which flat input."""
    limits: tuple[int, ...] | None
    """All values must be below it (one limit, or one for each column); None when they must not be 0."""
    error: Callable[[np.ndarray], Exception | None]
    """What to raise for these values; None when they are right."""
    negative: bool = False
    """Whether values below 0 are right."""

    def wrong(self, xp: Any, values: Any) -> Any:
        """Whether any of the values is wrong: a scalar array of bool."""
        if self.limits is None:
            return xp.any(values == 0)
        limits = np.array(self.limits if len(self.limits) > 1 else self.limits[0], np.int64)
        beyond = values >= limits
        return xp.any(beyond if self.negative else beyond | (values < 0))


def checks_of(op: OpDef, arguments: Sequence[Any]) -> list[ValueCheck]:
    """What must hold of the arguments of a kernel, of which shapes and static values are known."""
    kind = op.op_type
    if kind in _DIVISIONS:
        return _division(arguments)
    if kind in _LABELS:
        classes = int(arguments[0].shape[1])
        return [ValueCheck(1, (classes,), lambda labels: label_error(labels, classes))]
    if kind.startswith("UnsortedSegment"):
        count = int(arguments[2])
        return [ValueCheck(1, (count,), _raised(check_range, count), negative=True)]
    names = _names(op)
    if "indices" not in names:
        return []
    at = names.index("indices")
    if kind in ("Gather", "GatherV2", "ResourceGather"):
        axis = _gather_axis(op, arguments)
        return _within(at, arguments[0], axis, bad_index_error)
    if kind == "GatherNd":
        return _vectors(at, arguments[at], arguments[0].shape, bad_vector_error)
    if "ScatterNd" in kind or kind.startswith("TensorScatter"):
        whole = np.asarray(arguments[2]) if kind in _SHAPE_GIVEN else arguments[0].shape
        return _vectors(at, arguments[at], [int(d) for d in whole], check_vectors)
    if kind.startswith(("Scatter", "ResourceScatter")):
        return _within(at, arguments[0], 0, _raising(check_indices))
    if kind.startswith(("SparseApply", "ResourceSparseApply")):
        return _within(at, arguments[0], 0, _offset_error)
    return []


def may_have_checks(op: Operation) -> bool:
    """Whether `checks_of` may find something for the op, by its type alone."""
    kind = op.type
    if kind in _DIVISIONS:
        return bool(op.inputs[1].dtype.is_integer)
    return (
        kind in _LABELS or kind.startswith("UnsortedSegment") or "indices" in _names(op.definition)
    )


def _names(op: OpDef) -> list[str]:
    return [arg.name for arg in op.flat_input_args()]


def _division(arguments: Sequence[Any]) -> list[ValueCheck]:
    if not all(np.issubdtype(a.dtype, np.integer) for a in arguments):
        return []
    error = InvalidArgumentError(None, None, "Integer division by zero")
    return [ValueCheck(1, None, lambda values: None if np.all(values) else error)]


def _gather_axis(op: OpDef, arguments: Sequence[Any]) -> int:
    if op.op_type == "GatherV2":
        return int(arguments[2])
    return int(op.attrs.get("batch_dims", 0))


def _within(
    at: int, target: Any, axis: int, error: Callable[[np.ndarray, int], Exception | None]
) -> list[ValueCheck]:
    if not -target.ndim <= axis < target.ndim:
        return []  # the kernel complains itself
    limit = int(target.shape[axis])
    return [ValueCheck(at, (limit,), lambda values: error(values, limit))]


def _vectors(
    at: int,
    indices: Any,
    shape: Sequence[int],
    error: Callable[[np.ndarray, list[int]], Exception | None],
) -> list[ValueCheck]:
    if not indices.ndim or not 0 < indices.shape[-1] <= len(shape):
        return []
    whole = [int(d) for d in shape]
    limits = tuple(whole[: indices.shape[-1]])
    return [ValueCheck(at, limits, lambda values: error(values, whole))]


def _raising(check: Callable[[Any, int], None]) -> Callable[[np.ndarray, int], Exception | None]:
    """What a function raises, as a value."""
    return lambda values, limit: _raised(check, limit)(values)


def _raised(check: Callable[[Any, int], None], limit: int) -> Callable[[np.ndarray], Any]:
    def error(values: np.ndarray) -> Exception | None:
        try:
            check(values, limit)
        except InvalidArgumentError as exc:
            return exc
        return None

    return error


def _offset_error(indices: np.ndarray, limit: int) -> Exception | None:
    flat = indices.reshape(-1)
    wrong = np.flatnonzero((flat < 0) | (flat >= limit))
    if not wrong.size:
        return None
    at = wrong[0]
    return InvalidArgumentError(
        None, None, f"Index {flat[at]} at offset {at} in indices is out of range"
    )
