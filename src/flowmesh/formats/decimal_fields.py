"""Decimal numbers in text, many at a time: fields of one buffer to arrays, by arithmetic on eight digits at once.

What is written plainly (`-12.5`, `7`, `.25`: up to 16 digits on either side of the point) is converted here, exactly as reading one field
after the other would. Everything else (exponents, spaces, `nan`) is reported, for somebody with more patience.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

PADDING = 16
"""How many bytes there must be in front of the first field."""

_U = np.uint64
_DOT, _MINUS = 0x2E, 0x2D
_ZEROS = _U(0x3030303030303030)
_NINES = _U(0x7676767676767676)  # what carries a byte above 9 into its highest bit
_HIGH = _U(0x8080808080808080)
_STEPS = (
    (_U(8), _U(10), _U(0x00FF00FF00FF00FF)),
    (_U(16), _U(100), _U(0x0000FFFF0000FFFF)),
    (_U(32), _U(10000), _U(0xFFFFFFFF)),
)
"""From digits to pairs, to fours, to a number of eight: which lane follows, what the own one counts for, what is kept."""
_WORD = 8
_EXACT = _U(1 << 53)
"""Integers up to here are doubles."""
_INTEGERS_OF_TEN = np.array([10**n for n in range(_WORD * 2 + 1)], np.uint64)
_POWERS_OF_TEN = _INTEGERS_OF_TEN.astype(np.float64)
_BELOW_SINGLE = _U((1 << 29) - 1)  # the bits of a double that a float32 has no room for
_MIDDLE = _U(1 << 28)
_SMALLEST_SINGLE = 2.0**-126
_ODD = 2.0**25  # the mantissa of a value between two float32 is an odd multiple of the reciprocal


class Fields:
    """The fields of one buffer: where each begins and ends, and where its decimal point is."""

    def __init__(self, buffer: np.ndarray, starts: Any, points: Any, ends: Any, single: Any):
        """`buffer` holds bytes, the first `PADDING` of no field. `points` are equal to `ends` where there is no point;
        `single` is False where there are several."""
        self._buffer = buffer
        self._words = np.ndarray(
            (len(buffer) - _WORD + 1,), "<u8", buffer=buffer.data, strides=(1,)
        )
        self.starts, self.points, self.ends, self.single = starts, points, ends, single

    @classmethod
    def split(cls, buffer: np.ndarray, delimiter: int) -> Fields:
        """The fields after the padding, each followed by a delimiter."""
        marks = np.flatnonzero((buffer == delimiter) | (buffer == _DOT))
        which = np.flatnonzero(buffer[marks] == delimiter)
        ends = marks[which]
        starts = np.empty_like(ends)
        starts[:1] = PADDING
        starts[1:] = ends[:-1] + 1
        dots = np.diff(which, prepend=-1) - 1
        points = np.where(dots == 1, marks[which - 1], ends)
        return cls(buffer, starts, points, ends, dots <= 1)

    def chosen(self, index: Any) -> Fields:
        """Some of the fields, in any shape."""
        other = object.__new__(Fields)
        other._buffer, other._words = self._buffer, self._words
        other.starts, other.points = self.starts[index], self.points[index]
        other.ends, other.single = self.ends[index], self.single[index]
        return other

    def integers(self) -> tuple[np.ndarray, np.ndarray]:
        """(int64 values, which of them are plain integers of at most 16 digits)."""
        negative = self._buffer[self.starts] == _MINUS
        starts = self.starts + negative
        sizes = self.ends - starts
        whole, good = self._digits(self.ends, sizes)
        good &= (self.points == self.ends) & (sizes > 0)
        values = whole.astype(np.int64)
        np.negative(values, out=values, where=negative)
        return values, good

    def doubles(self) -> tuple[np.ndarray, np.ndarray]:
        """(float64 values, which of them are plain decimals): each the double that is nearest to the text."""
        negative = self._buffer[self.starts] == _MINUS
        starts = self.starts + negative
        left = self.points - starts
        right = np.maximum(self.ends - self.points - 1, 0)
        whole, good = self._digits(self.points, left)
        rest, fine = self._digits(self.ends, right)
        good &= fine & self.single & (left + right > 0) & (left + right <= 2 * _WORD)
        right = np.minimum(right, 2 * _WORD)
        number = whole
        number *= _INTEGERS_OF_TEN[right]
        number += rest
        good &= number <= _EXACT
        values = number.astype(np.float64)
        values /= _POWERS_OF_TEN[right]  # both exact: rounded once
        np.negative(values, out=values, where=negative)
        return values, good

    def _digits(self, ends: Any, sizes: Any) -> tuple[np.ndarray, np.ndarray]:
        """The numbers that are spelled by the `sizes` digits before `ends`, and whether those are digits, at most 16."""
        number, good = self._eight(ends, np.minimum(sizes, _WORD))
        if sizes.size and int(sizes.max()) > _WORD:
            more = np.clip(sizes - _WORD, 0, _WORD)
            above, fine = self._eight(ends - _WORD, more)
            number = number + above * _INTEGERS_OF_TEN[_WORD]
            good &= fine & (sizes <= 2 * _WORD)
        return number, good

    def _eight(self, ends: Any, sizes: Any) -> tuple[np.ndarray, np.ndarray]:
        """The same for up to 8 digits. The bytes before the digits are shifted out; what is shifted by 64 is 0."""
        word = self._words[ends - _WORD]
        word ^= _ZEROS
        shift = (8 * (_WORD - sizes)).astype(np.uint64)
        word >>= shift
        word <<= shift
        # In place from here on: memory that is new to the processor costs more than the arithmetic.
        np.add(word, _NINES, out=shift)
        shift |= word
        shift &= _HIGH
        good = shift == 0
        for bits, factor, mask in _STEPS:
            np.right_shift(word, bits, out=shift)
            word *= factor
            word += shift
            word &= mask
        return word, good


def to_single(values: np.ndarray, text_of: Callable[[int], bytes]) -> np.ndarray:
    """The float32 that is nearest to each text; `values` are the doubles that are nearest, `text_of(i)` is the text of the i-th.

    Rounding twice is wrong where the double lies in the middle between two float32: there the text decides.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = values.astype(np.float32)
        doubtful = (values.view(np.uint64) & _BELOW_SINGLE) == _MIDDLE
        doubtful |= (np.abs(values) < _SMALLEST_SINGLE) & (values != 0)
    for at in np.flatnonzero(doubtful).tolist():
        rounded[at] = _decided(float(values[at]), text_of(at))
    return rounded


def nearest_single(text: bytes, value: float) -> float:
    """The float32 that is nearest to a text whose nearest double is `value`; large values stay what they are."""
    part = math.frexp(value)[0] * _ODD
    if (part.is_integer() and part % 2) or (value and abs(value) < _SMALLEST_SINGLE):
        return float(_decided(value, text))
    return value


def _decided(value: float, text: bytes) -> np.float32:
    with np.errstate(over="ignore", under="ignore"):
        near = np.float32(value)
        infinity = np.float32(np.inf)
        low = near if float(near) <= value else np.nextafter(near, -infinity)
        if float(low) == value:
            return low
        high = np.nextafter(low, infinity)
    top = Fraction(2) ** 128 if np.isinf(high) else Fraction(float(high))
    bottom = -(Fraction(2) ** 128) if np.isinf(low) else Fraction(float(low))
    try:
        exact = Fraction(text.strip().decode("ascii"))
    except ValueError:  # hexadecimal: exact as a double
        exact = Fraction(value)
    middle = (top + bottom) / 2
    if exact == middle:
        return near
    return np.float32(high if exact > middle else low)
