"""A point in time after which waiting is pointless."""

from __future__ import annotations

import time
from typing import Any


class Deadline:
    """A moment of the monotonic clock, or never."""

    __slots__ = ("_at",)

    def __init__(self, at: float | None = None):
        """`at` is a reading of `time.monotonic`; None means never."""
        self._at = at

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """The moment this many seconds from now; None means never."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    @classmethod
    def from_ms(cls, milliseconds: int) -> Deadline:
        """The moment this many milliseconds from now; 0 means never, as in protocol messages."""
        return cls.after(milliseconds / 1000 if milliseconds else None)

    @property
    def at(self) -> float | None:
        """The reading of `time.monotonic` it stands for, or None."""
        return self._at

    def remaining(self) -> float | None:
        """Seconds left, never negative; None if it never comes."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def remaining_ms(self) -> int:
        """Milliseconds left for a protocol message: 0 if it never comes, else at least 1."""
        left = self.remaining()
        return 0 if left is None else max(1, round(left * 1000))

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return self._at is not None and time.monotonic() >= self._at

    def min(self, other: Deadline) -> Deadline:
        """The earlier of the two."""
        if self._at is None:
            return other
        return self if other._at is None or self._at <= other._at else other

    def __eq__(self, other: Any) -> bool:
        return self._at == other._at if isinstance(other, Deadline) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._at)

    def __repr__(self) -> str:
        left = self.remaining()
        return "Deadline(never)" if left is None else f"Deadline(in {left:.3f} s)"
