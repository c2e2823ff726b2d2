"""What the tasks that a loop is spread over call its iterations.

The key of a transfer in a loop ends with the loop's frame and the number of the iteration, as TensorFlow's executors write them. Up to TensorFlow
2.2 a frame is called by a hash of its name, which begins with that of the frame around it; later by a number that is
computed from those of the frames around it (`PropagatorState::FindOrCreateChildFrame`). Tasks that speak with each other
must agree: what they are is taken from the release that made the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowmesh.ops.string_hash import hash64

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7800


def combine(a: int, b: int) -> int:
    """TensorFlow's `Hash64Combine`."""
    return a ^ ((b + _GOLDEN + (a << 10) + (a >> 4)) & _WORD)


@dataclass(frozen=True)
class FrameId:
    """One frame, at an iteration of it."""

    name: str
    number: int
    """What stands for the frame in keys."""
    iteration: int = 0

    def inner(self, name: str, numbered: bool) -> FrameId:
        """A frame that begins in this iteration; `numbered` tells whether the tasks number frames."""
        full = f"{self.name};{self.iteration};{name}"
        if not numbered:
            return FrameId(full, hash64(full.encode()))
        return FrameId(full, combine(self.number, combine(self.iteration, hash64(name.encode()))))

    def following(self) -> FrameId:
        """The same frame at the next iteration."""
        return FrameId(self.name, self.number, self.iteration + 1)

    @property
    def key(self) -> str:
        """What stands for the iteration in the keys of its transfers."""
        return f"{self.number}:{self.iteration}"


OUTSIDE = FrameId("", 0)
"""In no loop."""
