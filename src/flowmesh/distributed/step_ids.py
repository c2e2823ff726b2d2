"""Numbers of steps. Each tells whose step it is, so that a task knows what to forget when a master is gone.

A step id has, below its highest bit, 24 bits of its master's process and 32 bits that count. Tasks that see no process
behind the number (TensorFlow's masters draw theirs at random) lose nothing: to them it is a number.
"""

from __future__ import annotations

import itertools
import os
import random

_FLAG = 1 << 56
_COUNT = 32
_DIGITS = 6
"""Hexadecimal digits of a server's identity that are in its step ids."""

_counter = itertools.count(random.SystemRandom().getrandbits(_COUNT))
_nobody = random.SystemRandom().getrandbits(4 * _DIGITS)


def _begin_anew() -> None:
    """A forked process must not give its steps the ids of its parent's."""
    global _counter, _nobody
    _counter = itertools.count(random.SystemRandom().getrandbits(_COUNT))
    _nobody = random.SystemRandom().getrandbits(4 * _DIGITS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def owner(identity: str) -> int:
    """What the step ids of the process with this identity (on the direct plane) have in common; any number without one."""
    try:
        return int(identity[:_DIGITS], 16)
    except ValueError:
        return _nobody


def owner_of(step_id: int) -> int:
    """Whose step it is."""
    return step_id >> _COUNT & (1 << 4 * _DIGITS) - 1


def new_step_id(of: int) -> int:
    """The id of a new step of this owner."""
    return _FLAG | of << _COUNT | next(_counter) & (1 << _COUNT) - 1
