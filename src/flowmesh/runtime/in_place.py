"""Updating variables in their own memory with NumPy, where nobody else can see it.

As `xla.py` does with donated buffers: the variable lets go of its array, and if its reference count shows that nobody else has it (no fetch, no
send, no reader of another thread), the kernel writes to it. Otherwise the kernel writes to a copy, which is the variable's own the
next time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.graph.op_def import OpDef
from flowmesh.resources.variable import Variable

SMALL = 1 << 16
"""Bytes below which a new array costs no more than to find out whether the old one may be written to."""

_ALIGNMENT = 64
"""XLA takes arrays that are aligned like this as they are, and `jax.device_put` does so without a reference to them: a program that is
running may see them. NumPy's own are rarely aligned."""


def update(
    definition: OpDef, arguments: list[Any], variables: Sequence[tuple[int, Variable]]
) -> list[Any]:
    """Runs the kernel; the new values, which nobody else sees yet, of the variables at these positions of `arguments`.

    The arguments are the last references to the values, but for the variables', whose locks are held; they are used up.
    """
    held: list[Any] = []
    targets: list[Any] = []
    try:
        for position, variable in variables:
            value, arguments[position] = arguments[position], None
            held.append(variable.take())
            own = held[-1] is value
            # References: this one, the one in `held`, and the argument of getrefcount.
            if (
                own
                and type(value) is np.ndarray
                and value.base is None
                and value.flags.owndata
                and sys.getrefcount(value) == 3
                and value.ctypes.data % _ALIGNMENT
            ):
                value.flags.writeable = True
            else:
                value = np.array(value)
            arguments[position] = value
            targets.append(value)
        definition.compute_in_place(*arguments)
    finally:
        for (_, variable), value in zip(variables, held):
            variable.put(value)
        for value in targets:
            value.flags.writeable = False
    return targets
