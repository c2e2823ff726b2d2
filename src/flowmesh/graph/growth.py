"""Ops whose outputs can be far larger than their inputs, because the inputs' values say how large: they are checked before they run.

The check costs a few multiplications; only where those give a large number the shape function is asked how large the outputs are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flowmesh.core import limits
from flowmesh.core.shapes import TensorShape, unknown_shape

if TYPE_CHECKING:
    from flowmesh.graph.op_def import OpDef

GROWING = frozenset(
    [
        "AvgPoolGrad",
        "BatchToSpace",
        "BatchToSpaceND",
        "Bincount",
        "BroadcastTo",
        "Conv2DBackpropFilter",
        "Conv2DBackpropInput",
        "CropAndResize",
        "CropAndResizeGradImage",
        "DynamicStitch",
        "Empty",
        "Fill",
        "HistogramFixedWidth",
        "LinSpace",
        "MirrorPad",
        "Multinomial",
        "OneHot",
        "Pad",
        "PadV2",
        "ParallelDynamicStitch",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoissonV2",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "Range",
        "ResizeArea",
        "ResizeBicubic",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "ResizeNearestNeighborGrad",
        "ScatterNd",
        "SpaceToBatch",
        "SpaceToBatchND",
        "SparseToDense",
        "StatelessMultinomial",
        "StatelessRandomNormal",
        "StatelessRandomUniform",
        "StatelessRandomUniformInt",
        "StatelessTruncatedNormal",
        "StridedSliceGrad",
        "Tile",
        "TruncatedNormal",
        "UnsortedSegmentMax",
        "UnsortedSegmentMin",
        "UnsortedSegmentProd",
        "UnsortedSegmentSum",
    ]
)

_SMALL = 1 << 24
"""Elements that need no second look."""
_TINY = 1 << 12
_WIDEST = 16
"""Bytes of the widest dtype."""


def guarded(compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute`, but ResourceExhaustedError when an output would be over the limit for one tensor."""

    @functools.wraps(compute)
    def checked(self: OpDef, xp: Any, *inputs: Any) -> Any:
        values = inputs[1:] if self.implicit_state else inputs
        # Nearly always the sizes are small: no more is spent on them than it takes to see that.
        if _more_than(_TINY, values):
            bound = min(_SMALL, limits.current().tensor // _WIDEST)
            if _more_than(bound, values):
                _check(self, values)
        return compute(self, xp, *inputs)

    return checked


def check_traced(result: Any) -> None:
    """ResourceExhaustedError when a traced kernel has an output over the limit: nothing is allocated yet."""
    limit = limits.current().tensor
    for item in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(item, (tuple, list)):
            check_traced(item)
        elif getattr(item, "nbytes", 0) > limit:
            limits.check_shape(item.shape, item.dtype.itemsize)


def _more_than(bound: int, values: Sequence[Any]) -> bool:
    """Whether the outputs may have more than `bound` elements: a rough upper estimate from sizes and from integers."""
    total = 1.0
    for value in values:
        if isinstance(value, (list, tuple)):
            if len(value) > 256 or _more_than(int(bound / total), value):
                return True
            continue
        size = getattr(value, "size", 1)
        if size > 1:
            total *= size
        if size <= 64 and isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "iuf":
            numbers = value.tolist()
            if value.ndim == 0:
                numbers = (numbers,)
            elif value.ndim > 1:
                numbers = value.ravel().tolist()
            for number in numbers:
                total *= abs(number) + 1
                if number.__class__ is float and 0 < abs(number) < 1:
                    total /= abs(number)
        if not total <= bound:
            return True
    return False


class _Values:
    """The context of a shape function that knows all values."""

    def __init__(self, definition: OpDef, values: Sequence[Any]):
        self._definition = definition
        self._values = values

    def value(self, index: int) -> Any:
        """The value of flat input `index`; None while it is traced."""
        value = self._values[index]
        return np.asarray(value) if isinstance(value, (np.ndarray, np.generic, int)) else None

    def value_as_shape(self, index: int) -> TensorShape:
        """The shape that flat input `index` holds."""
        value = self.value(index)
        if value is None or value.ndim != 1:
            return unknown_shape()
        return TensorShape([int(d) if d >= 0 else None for d in value])

    def dtype(self, index: int) -> Any:
        """The base dtype of flat input `index`."""
        return self._definition.input_dtypes()[index].base_dtype

    def handle_shape(self, index: int) -> TensorShape:
        """No input is a handle."""
        return unknown_shape()


def _check(definition: OpDef, values: Sequence[Any]) -> None:
    flat: list[Any] = []
    for value in values:
        flat.extend(value) if isinstance(value, (list, tuple)) else flat.append(value)
    offset = len(definition.input_dtypes()) - len(flat)
    shapes = [TensorShape(list(np.shape(value))) for value in flat]
    try:
        inferred = definition.infer(
            _Values(definition, flat),  # type: ignore[arg-type]
            *definition.group_inputs(shapes),
        )
    except (ValueError, TypeError):
        return  # the kernel says it better
    outputs = definition.output_dtypes()
    found = [inferred] if isinstance(inferred, TensorShape) else list(inferred or ())
    if offset or len(found) != len(outputs):
        return
    for shape, dtype in zip(found, outputs):
        if isinstance(shape, TensorShape) and shape.is_fully_defined():
            width = np.dtype(dtype.base_dtype.as_numpy_dtype).itemsize
            limits.check_shape([int(d or 0) for d in shape.as_list()], width)
