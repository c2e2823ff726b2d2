"""Elements on their way through a queue: one by one, or in blocks whose components lie in arrays with a row for each element.

A *piece* is one element (a tuple of arrays) or a `Block`. Blocks cost the same however many rows they have; only who wants single
elements makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape

Element: TypeAlias = tuple[Any, ...]


class Block:
    """The rows from `start` to `stop` of some arrays that nobody changes."""

    __slots__ = ("columns", "start", "stop")

    def __init__(self, columns: Sequence[np.ndarray], start: int, stop: int) -> None:
        self.columns = columns
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self, count: int) -> tuple[Block, Block]:
        """The first `count` rows and the others."""
        middle = self.start + count
        return Block(self.columns, self.start, middle), Block(self.columns, middle, self.stop)

    def first(self) -> Element:
        """The first element."""
        return tuple([column[self.start, ...] for column in self.columns])

    def elements(self) -> list[Element]:
        """All elements."""
        return list(zip(*[rows_of(column[self.start : self.stop]) for column in self.columns]))

    @property
    def nbytes(self) -> int:
        """The bytes of the rows."""
        return sum([column[self.start : self.stop].nbytes for column in self.columns])


Piece: TypeAlias = "Element | Block"


def count_of(pieces: Iterable[Piece]) -> int:
    """How many elements there are."""
    return sum([1 if type(piece) is tuple else len(piece) for piece in pieces])


def size_of(pieces: Iterable[Piece]) -> int:
    """The bytes of the elements."""
    total = 0
    for piece in pieces:
        if type(piece) is tuple:
            for array in piece:
                total += array.nbytes
        else:
            total += piece.nbytes  # type: ignore[union-attr]
    return total


def elements_of(pieces: Iterable[Piece]) -> Iterator[Element]:
    """The elements, one by one."""
    for piece in pieces:
        if isinstance(piece, Block):
            yield from piece.elements()
        else:
            yield piece


def split(pieces: Sequence[Piece], count: int) -> tuple[list[Piece], list[Piece]]:
    """The first `count` elements and the others."""
    for at, piece in enumerate(pieces):
        size = len(piece) if isinstance(piece, Block) else 1
        if size <= count:
            count -= size
        elif not count:
            return list(pieces[:at]), list(pieces[at:])
        else:
            assert isinstance(piece, Block)
            head, tail = piece.split(count)
            return [*pieces[:at], head], [tail, *pieces[at + 1 :]]
    return list(pieces), []


def batched(
    pieces: Sequence[Piece], shapes: Sequence[TensorShape], types: Sequence[DType]
) -> tuple[Any, ...]:
    """The components of at least one element, each along a new first axis; all have the shapes of the queue."""
    if not any(isinstance(piece, Block) for piece in pieces):
        return tuple(map(stacked, zip(*pieces), shapes, types))  # type: ignore[arg-type]
    runs: list[Sequence[Any]] = []
    singles: list[Element] = []
    for piece in (*pieces, None):
        if isinstance(piece, tuple):
            singles.append(piece)
            continue
        if singles:
            runs.append(tuple(map(stacked, zip(*singles), shapes, types)))
            singles = []
        if piece is not None:
            runs.append([column[piece.start : piece.stop] for column in piece.columns])
    if len(runs) == 1:
        return tuple(runs[0])
    return tuple([np.concatenate(parts) for parts in zip(*runs)])


def stacked(column: Sequence[Any], shape: TensorShape, dtype: DType) -> Any:
    """Arrays along a new first axis: `np.stack`, with less to do where all are known to be alike."""
    if shape.is_fully_defined():
        if dtype != dtypes.string:
            return np.array(column, dtype.as_numpy_dtype)
        if shape.ndims == 0:
            out = np.empty(len(column), object)
            out[:] = [text.item() for text in column]
            return out
    return np.stack(column)


def rows_of(column: np.ndarray) -> list[np.ndarray]:
    """The rows of a component, as views."""
    if column.ndim > 1:
        return list(column)
    return [column[i, ...] for i in range(len(column))]
