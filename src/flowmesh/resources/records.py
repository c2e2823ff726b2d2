"""Records on their way out of a reader: values, and keys that are made when somebody wants them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Record: TypeAlias = tuple[bytes, bytes]
"""Key and value."""
Lot: TypeAlias = tuple[Sequence[bytes], Callable[[], Sequence[bytes]]]
"""Some values, and what makes their keys."""


def _none() -> Sequence[bytes]:
    return ()


NOTHING: Lot = ((), _none)


class Records:
    """Records in order."""

    __slots__ = ("_keys", "values")

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self._keys: list[Callable[[], Sequence[bytes]]] = []

    def add(self, lot: Lot) -> int:
        """Appends records; returns how many."""
        values, keys = lot
        self.values += values
        self._keys.append(keys)
        return len(values)

    def keys(self) -> list[bytes]:
        """The keys."""
        return [key for keys in self._keys for key in keys()]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(zip(self.keys(), self.values)))


class Work:
    """A work item that is being read. Not for several threads at a time."""

    def __init__(self) -> None:
        self._back: deque[Record] = deque()
        self._error: Exception | None = None

    def take(self, limit: int) -> Lot:
        """Some of the next records, at most `limit`; none at the end, as often as it is asked."""
        if self._back:
            lot = [self._back.popleft() for _ in range(min(limit, len(self._back)))]
            return [value for _, value in lot], lambda: [key for key, _ in lot]
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._read(limit)

    def give_back(self, records: Sequence[Record]) -> None:
        """These records, the last ones taken, come next."""
        self._back.extendleft(reversed(records))

    def fail(self, error: Exception) -> None:
        """What comes after the records so far is this error, once."""
        self._error = error

    def _read(self, limit: int) -> Lot:
        raise NotImplementedError


class IteratedWork(Work):
    """A work item whose records come one by one."""

    def __init__(self, records: Iterator[Record]) -> None:
        super().__init__()
        self._records = records

    def _read(self, limit: int) -> Lot:
        lot: list[Record] = []
        try:
            while len(lot) < limit:
                lot.append(next(self._records))
        except StopIteration:
            pass
        except Exception as error:
            if not lot:
                raise
            self.fail(error)
        return [value for _, value in lot], lambda: [key for key, _ in lot]
