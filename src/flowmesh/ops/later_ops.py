"""Ops that releases after TensorFlow 1.15 put where 1.15 had others: their clients send them for functions of before.

They stand in imported and received graphs only; no function of ours builds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import float32, float64, int32, int64
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops import kernels
from flowmesh.ops.shape_rules import at_least, same_size

_ALIGNMENTS = (b"LEFT_RIGHT", b"RIGHT_LEFT", b"LEFT_LEFT", b"RIGHT_RIGHT")


# -- bands of matrices -----------------------------------------------------------------------------------------


def _band(k: Any) -> tuple[int, int]:
    """The lowest and the highest diagonal that `k`, one number or two, means."""
    numbers = np.asarray(k).reshape(-1)
    if len(numbers) not in (1, 2) or numbers[0] > numbers[-1]:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"diag_index must be a scalar or a vector of two ascending numbers, received: {numbers.tolist()}",
        )
    return int(numbers[0]), int(numbers[-1])


def _length(diagonal: int, rows: int, columns: int) -> int:
    return min(rows + min(diagonal, 0), columns - max(diagonal, 0))


def _longest(low: int, high: int, rows: int, columns: int) -> int:
    return min(rows + min(high, 0), columns - max(low, 0))


def _offsets(low: int, high: int, rows: int, columns: int, align: bytes) -> np.ndarray:
    """Where in its row each diagonal begins, from the highest to the lowest."""
    above, _, below = align.partition(b"_")
    longest = _longest(low, high, rows, columns)
    begins = []
    for diagonal in range(high, low - 1, -1):
        left = (diagonal >= 0 and above == b"LEFT") or (diagonal <= 0 and below == b"LEFT")
        begins.append(0 if left else longest - _length(diagonal, rows, columns))
    return np.array(begins)


class _Banded(OpDef, abstract=True):
    """What the ops on bands share."""

    def _spread(
        self, xp: Any, diagonals: Any, band: tuple[int, int], rows: int, columns: int, around: Any
    ) -> Any:
        """Matrices that hold the diagonals, and `around` elsewhere."""
        low, high = band
        if low == high:
            diagonals = diagonals[..., None, :]
        row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
        which = column - row
        inside = (which >= low) & (which <= high)
        line = np.clip(high - which, 0, high - low)
        begins = _offsets(low, high, rows, columns, self.attrs["align"])
        position = np.where(which >= 0, row, column) + begins[line]
        position = np.clip(position, 0, diagonals.shape[-1] - 1)
        return xp.where(inside, diagonals[..., line, position], around)


class MatrixDiagV3(_Banded):
    """Matrices with the given diagonals, and `padding_value` elsewhere."""

    diagonal = Input("T")
    k, num_rows, num_cols = Input(int32), Input(int32), Input(int32)
    padding_value = Input("T")
    output = Output("T")
    T = type_attr()
    align = Attr("string", b"RIGHT_LEFT", allowed=_ALIGNMENTS)
    static_inputs = ("k", "num_rows", "num_cols")

    def infer(self, ctx: Any, diagonal: TensorShape, *others: TensorShape) -> TensorShape:
        at_least(diagonal, 1)
        values = [ctx.value(i) for i in (1, 2, 3)]
        if diagonal.key is None or any(v is None for v in values):
            return unknown_shape()
        band = _band(values[0])
        outer = diagonal.key[: -1 if band[0] == band[1] else -2]
        longest = diagonal.key[-1]
        if longest is None:
            return TensorShape.from_key((*outer, None, None))
        return TensorShape.from_key((*outer, *_sizes(longest, band, values[1], values[2])))

    def compute(self, xp: Any, diagonal: Any, k: Any, rows: Any, columns: Any, padding: Any) -> Any:
        band = _band(k)
        height, width = _sizes(diagonal.shape[-1], band, rows, columns)
        return self._spread(xp, diagonal, band, height, width, padding)


def _sizes(longest: int, band: tuple[int, int], rows: Any, columns: Any) -> tuple[int, int]:
    """The size of the matrices, where not both sides are given."""
    least = longest - min(band[1], 0), longest + max(band[0], 0)
    height, width = int(rows), int(columns)
    if height == width == -1:
        return max(least), max(least)
    return (least[0] if height == -1 else height), (least[1] if width == -1 else width)


class MatrixDiagPartV3(_Banded):
    """Diagonals of matrices, side by side, filled up with `padding_value`."""

    input = Input("T")
    k = Input(int32)
    padding_value = Input("T")
    diagonal = Output("T")
    T = type_attr()
    align = Attr("string", b"RIGHT_LEFT", allowed=_ALIGNMENTS)
    static_inputs = ("k",)

    def infer(self, ctx: Any, input: TensorShape, *others: TensorShape) -> TensorShape:
        at_least(input, 2)
        k = ctx.value(1)
        if input.key is None or k is None:
            return unknown_shape()
        low, high = _band(k)
        rows, columns = input.key[-2:]
        longest = None if rows is None or columns is None else _longest(low, high, rows, columns)
        lines = () if low == high else (high - low + 1,)
        return TensorShape.from_key((*input.key[:-2], *lines, longest))

    def compute(self, xp: Any, input: Any, k: Any, padding: Any) -> Any:
        low, high = _band(k)
        rows, columns = input.shape[-2:]
        which = np.arange(high, low - 1, -1)[:, None]
        begins = _offsets(low, high, rows, columns, self.attrs["align"])[:, None]
        along = np.arange(_longest(low, high, rows, columns))[None, :] - begins
        lengths = np.array([[_length(d, rows, columns)] for d in which[:, 0]])
        inside = (along >= 0) & (along < lengths)
        row = np.clip(along + np.maximum(-which, 0), 0, rows - 1)
        column = np.clip(along + np.maximum(which, 0), 0, columns - 1)
        result = xp.where(inside, input[..., row, column], padding)
        return result[..., 0, :] if low == high else result


class MatrixSetDiagV3(_Banded):
    """Matrices with some of their diagonals replaced."""

    input, diagonal = Input("T"), Input("T")
    k = Input(int32)
    output = Output("T")
    T = type_attr()
    align = Attr("string", b"RIGHT_LEFT", allowed=_ALIGNMENTS)
    static_inputs = ("k",)

    def infer(self, ctx: Any, input: TensorShape, *others: TensorShape) -> TensorShape:
        return at_least(input, 2)

    def compute(self, xp: Any, input: Any, diagonal: Any, k: Any) -> Any:
        return self._spread(xp, diagonal, _band(k), input.shape[-2], input.shape[-1], input)


# -- sums of products --------------------------------------------------------------------------------------------


class Einsum(OpDef):
    """Sums of products written with index letters."""

    inputs = Input("T", number="N")
    output = Output("T")
    equation = Attr("string")
    N = Attr("int", minimum=1)
    T = type_attr()

    def infer(self, ctx: Any, inputs: Any) -> TensorShape:
        terms, arrow, wanted = self.attrs["equation"].decode().replace(" ", "").partition("->")
        parts = terms.split(",")
        if not arrow or len(parts) != len(inputs):
            raise ValueError(
                f"Expected {len(parts)} inputs for the equation {terms}{arrow}{wanted}, got {len(inputs)}"
            )
        sizes: dict[str, int | None] = {}
        broadcast: list[tuple[int | None, ...]] = []
        for part, shape in zip(parts, inputs):
            if shape.key is None:
                return unknown_shape()
            broadcast.append(_note_sizes(part, shape.key, sizes))
        if "..." in wanted and any(None in sizes for sizes in broadcast):
            return unknown_shape()
        before, _, after = wanted.partition("...")
        dots: tuple[int, ...] = ()
        if "..." in wanted:
            dots = np.broadcast_shapes(*broadcast)  # type: ignore[arg-type]  # all are known
        return TensorShape.from_key(
            (*(sizes[c] for c in before), *dots, *(sizes[c] for c in after))
        )

    def compute(self, xp: Any, inputs: Any) -> Any:
        equation = self.attrs["equation"].decode()
        if kernels.is_numpy(xp):
            result = np.einsum(
                equation, *(x.astype(np.float32) if x.itemsize == 2 else x for x in inputs)
            )
            return np.asarray(result).astype(inputs[0].dtype)
        return xp.einsum(equation, *inputs, precision="highest")


def _note_sizes(
    part: str, key: tuple[int | None, ...], sizes: dict[str, int | None]
) -> tuple[int | None, ...]:
    """Notes the size of each letter; returns the sizes of what "..." stands for."""
    before, _, after = part.partition("...")
    count = len(key) - len(before) - len(after)
    if count < 0 or (count and "..." not in part):
        raise ValueError(f"Expected input with rank {len(part)} for '{part}', got {len(key)}")
    named = [*key[: len(before)], *key[len(key) - len(after) :]]
    for letter, size in zip(before + after, named):
        sizes[letter] = same_size(sizes.get(letter), size)
    return tuple(key[len(before) : len(before) + count])


# -- counting --------------------------------------------------------------------------------------------------


class DenseBincount(OpDef):
    """How often each small integer occurs in a vector, or in each row of a matrix; the sum of the weights, where there are."""

    input, size = Input("Tidx"), Input("Tidx")
    weights = Input("T")
    output = Output("T")
    Tidx = type_attr({int32, int64})
    T = type_attr({int32, int64, float32, float64})
    binary_output = Attr("bool", False)
    static_inputs = ("size",)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape, *others: TensorShape) -> TensorShape:
        count = ctx.value(1)
        if input.key is None:
            return unknown_shape()
        if len(input.key) > 2:
            raise ValueError(f"Shape must be at most rank 2 but is rank {len(input.key)}")
        return TensorShape.from_key((*input.key[:-1], None if count is None else int(count)))

    def compute(self, xp: Any, input: Any, size: Any, weights: Any) -> Any:
        count = int(size)
        if count < 0:
            raise errors.InvalidArgumentError(None, None, f"size ({count}) must be non-negative")
        if np.any(input < 0):
            raise errors.InvalidArgumentError(None, None, "Input arr must be non-negative!")
        result = np.zeros((*input.shape[:-1], count), weights.dtype)
        kept = np.nonzero(input < count)
        where = (*kept[:-1], input[kept])
        if self.attrs["binary_output"]:
            result[where] = 1
        else:
            np.add.at(result, where, weights[kept] if weights.size else weights.dtype.type(1))
        return result
