"""The storage orders of queues: first in first out, padded, shuffled, by priority."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.queue import FAILED_BEFORE, SESSION_FAILURE, Queue
from flowmesh.resources.queue_rows import Block, Element, Piece, count_of, elements_of, stacked

__all__ = [
    "FAILED_BEFORE",
    "SESSION_FAILURE",
    "FIFOQueue",
    "PaddingFIFOQueue",
    "PriorityQueue",
    "Queue",
    "RandomShuffleQueue",
]


class FIFOQueue(Queue):
    """First in, first out."""

    label = single_label = "FIFOQueue"
    in_order = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._pieces: deque[Piece] = deque()
        self._total = 0

    def _count(self) -> int:
        return self._total

    def _put(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._pieces.append(piece)
            self._total += 1 if type(piece) is tuple else len(piece)

    def _take(self, count: int) -> list[Piece]:
        pieces, taken = self._pieces, []
        self._total -= count
        while count:
            piece = pieces[0]
            if isinstance(piece, Block):
                if len(piece) > count:
                    head, pieces[0] = piece.split(count)
                    taken.append(head if len(head) > 1 else head.first())
                    break
                count -= len(piece)
            else:
                count -= 1
            taken.append(pieces.popleft())
        return taken

    def _take_back(self, pieces: list[Piece]) -> None:
        self._pieces.extendleft(reversed(pieces))
        self._total += count_of(pieces)


class PaddingFIFOQueue(FIFOQueue):
    """First in, first out; elements of a batch are padded with zeros (or "") to the largest of them.

    Sizes that are unknown in `shapes` may differ between elements.
    """

    label = "PaddingFIFOQueue"
    single_label = "FIFOQueue"

    def _batch(self, pieces: list[Piece]) -> tuple[Any, ...]:
        if not pieces or all(shape.is_fully_defined() for shape in self.shapes or ()):
            return super()._batch(pieces)
        columns = zip(*elements_of(pieces))
        return tuple(
            stacked(column, shape, dtype)
            if shape.is_fully_defined()
            else _stack_padded(column, dtype)
            for column, shape, dtype in zip(columns, self.shapes or (), self.component_types)
        )


def _stack_padded(arrays: Sequence[Any], dtype: DType) -> Any:
    sizes = [max(column) for column in zip(*(a.shape for a in arrays))]
    fill: Any = b"" if dtype == dtypes.string else 0
    out = np.full((len(arrays), *sizes), fill, dtype.as_numpy_dtype)
    for row, array in zip(out, arrays):
        row[tuple(slice(0, size) for size in array.shape)] = array
    return out


class RandomShuffleQueue(Queue):
    """Takes elements out at random, leaving `min_after_dequeue` of them to choose from while it is open."""

    label = single_label = "RandomShuffleQueue"

    def __init__(
        self,
        *args: Any,
        min_after_dequeue: int,
        seeds: tuple[int, int],
        words: Iterator[int],
        **kwargs: Any,
    ):
        """`words` is an endless stream of random 32-bit words, made from `seeds`."""
        super().__init__(*args, **kwargs)
        self.min_after_dequeue = min_after_dequeue
        self.seeds = seeds
        self._words = words
        self._elements: list[Element] = []

    def _count(self) -> int:
        return len(self._elements)

    def _push(self, element: Element) -> None:
        self._elements.append(element)

    def _pop(self) -> Element:
        elements = self._elements
        index = next(self._words) % len(elements)
        elements[index], elements[-1] = elements[-1], elements[index]
        return elements.pop()

    def _restore(self, elements: list[Element]) -> None:
        self._elements.extend(elements)

    def _reserve(self) -> int:
        return self.min_after_dequeue


class PriorityQueue(Queue):
    """Takes the element with the smallest first component (an int64 scalar) out first; equals in order of arrival."""

    label = single_label = "PriorityQueue"

    def __init__(
        self,
        name: str,
        component_types: Sequence[DType],
        shapes: Sequence[TensorShape],
        capacity: int = -1,
    ):
        """`component_types` and `shapes` do not count the priority."""
        scalar = TensorShape(())
        super().__init__(name, (dtypes.int64, *component_types), (scalar, *shapes), capacity)
        self._heap: list[tuple[int, int, Element]] = []
        self._serial = 0

    def _count(self) -> int:
        return len(self._heap)

    def _push(self, element: Element) -> None:
        heapq.heappush(self._heap, (int(element[0]), self._serial, element))
        self._serial += 1

    def _pop(self) -> Element:
        return heapq.heappop(self._heap)[2]

    def _restore(self, elements: list[Element]) -> None:
        # Popped elements came before all that are left: number them from below.
        lowest = min((serial for _, serial, _ in self._heap), default=self._serial)
        for offset, element in enumerate(reversed(elements), start=1):
            heapq.heappush(self._heap, (int(element[0]), lowest - offset, element))
