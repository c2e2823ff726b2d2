"""Many CSV lines at once: the numbers of all columns by arithmetic on the text, without an object for each field."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import float32, string
from flowmesh.formats.decimal_fields import PADDING, Fields, to_single
from flowmesh.ops.string_numbers import parse_number
from flowmesh.ops.string_support import as_bytes

_WORTH = 384
"""Numbers below which they are sooner converted one by one."""
_AT_ONCE = 4096
"""Fields converted at a time: more do not stay in the processor's cache."""
_MOSTLY = 8
"""One field in so many may be written in a way that is converted alone."""
_OF_NUMBERS = b"0123456789.-"
_turn = threading.Lock()
"""One thread at a time: NumPy's calls are so short here that threads side by side would mostly hand the interpreter to each other."""


class CsvBlock:
    """How the lines of one node are read."""

    def __init__(
        self,
        delimiter: bytes,
        types: Sequence[Any],
        chosen: Sequence[int],
        na_value: bytes,
        defaults: Sequence[Any],
    ):
        """`chosen` are the numbers of the columns that are wanted, of as many as there may be; all of `types` when empty."""
        self._delimiter = delimiter
        self._types = types
        self._chosen = chosen
        self._absent = na_value
        self._defaults = [np.asarray(d).reshape(-1) for d in defaults]
        self._floats = [i for i, t in enumerate(types) if t.is_floating]
        self._integers = [i for i, t in enumerate(types) if t.is_integer]
        self._numbers = len(self._floats) + len(self._integers)

    def is_worth(self, count: int) -> bool:
        """Whether this many lines are read quicker this way, and can be."""
        return (
            count * self._numbers >= _WORTH
            and self._delimiter not in _OF_NUMBERS
            and not (self._absent and set(self._absent) <= set(_OF_NUMBERS))
        )

    def columns(self, lines: Sequence[bytes]) -> list[Any] | None:
        """Arrays (lists for strings), one for each column; None for lines that have to be read with more care: too few or too
        many fields, fields that are no numbers. The lines hold no quotes."""
        width = max(len(self._types), *(c + 1 for c in self._chosen), 1)
        step = max(1, _AT_ONCE // width)
        pieces = []
        with _turn:
            for start in range(0, len(lines), step):
                piece = self._piece(lines[start : start + step])
                if piece is None:
                    return None
                pieces.append(piece)
        if len(pieces) == 1:
            return pieces[0]
        return [
            [text for piece in pieces for text in piece[i]]
            if dtype == string
            else np.concatenate([piece[i] for piece in pieces])
            for i, dtype in enumerate(self._types)
        ]

    def _piece(self, lines: Sequence[bytes]) -> list[Any] | None:
        delimiter = self._delimiter
        text = b"0" * PADDING + delimiter.join(lines) + delimiter
        fields = Fields.split(np.frombuffer(text, np.uint8), delimiter[0])
        index = self._positions(lines, fields)
        if index is None:
            return None
        found: list[Any] = [None] * len(self._types)
        for columns, convert in ((self._floats, Fields.doubles), (self._integers, Fields.integers)):
            if columns:
                numbers = fields.chosen(index[columns].reshape(-1))
                if not self._convert(text, numbers, convert, columns, found):
                    return None
        for i, dtype in enumerate(self._types):
            if dtype == string:
                found[i] = self._texts(text, fields.chosen(index[i]), i)
                if found[i] is None:
                    return None
        return found

    def _positions(self, lines: Sequence[bytes], fields: Fields) -> np.ndarray | None:
        """The numbers of the fields, [column, line]; None unless all lines have the same number of fields, and enough."""
        width, left = divmod(len(fields.ends), len(lines))
        needed = max(self._chosen) + 1 if self._chosen else len(self._types)
        if left or width < needed or (not self._chosen and width != needed):
            return None
        ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1)
        if not np.array_equal(fields.ends[width - 1 :: width], ends + (PADDING - 1)):
            return None
        wanted = np.array(self._chosen or range(width))
        index: np.ndarray = wanted[:, None] + width * np.arange(len(lines))
        return index

    def _convert(
        self,
        text: bytes,
        fields: Fields,
        convert: Callable[[Fields], tuple[np.ndarray, np.ndarray]],
        columns: Sequence[int],
        found: list[Any],
    ) -> bool:
        """Puts arrays into the places of these columns, whose fields follow each other; False when one is no number."""
        values, good = convert(fields)
        rows = len(values) // len(columns)

        def text_of(at: int) -> bytes:
            return text[fields.starts[at] : fields.ends[at]]

        alone = np.flatnonzero(~good).tolist()
        if len(alone) * _MOSTLY > len(values):
            return False
        for at in alone:
            value = self._alone(text_of(at), columns[at // rows])
            if value is None:
                return False
            values[at] = value
        singles = None
        if any(self._types[i] == float32 for i in columns):
            singles = to_single(values, text_of)
        for number, i in enumerate(columns):
            dtype, first = self._types[i], number * rows
            if dtype == float32 and singles is not None:
                found[i] = singles[first : first + rows]
                continue
            column = values[first : first + rows]
            if dtype.is_integer and not dtype.min <= column.min() <= column.max() <= dtype.max:
                return False
            found[i] = column.astype(dtype.as_numpy_dtype, copy=False)
        return True

    def _alone(self, field: bytes, column: int) -> Any:
        """The number that a field stands for, None when it stands for none."""
        if not field or field == self._absent:
            default = self._defaults[column]
            return default[0] if default.size else None
        try:
            return parse_number(field, self._types[column])
        except errors.InvalidArgumentError:
            return None

    def _texts(self, text: bytes, fields: Fields, column: int) -> list[bytes] | None:
        starts, ends = fields.starts.tolist(), fields.ends.tolist()
        texts = [text[start:end] for start, end in zip(starts, ends)]
        for absent in {b"", self._absent}:
            if absent in texts:
                default = self._defaults[column]
                if not default.size:
                    return None
                fill = as_bytes(default[0])
                texts = [fill if t == absent else t for t in texts]
        return texts
