"""Values of a compiled network that are stored once rather than computed anew for everyone who reads them.

XLA fuses what is elementwise into all its readers. In a residual network every sum of a block is elementwise in that of the block before, so that the last one,
each of the convolutions that read it and each of the sums over its gradient reads the results of all convolutions before it. `StoredValues` knows, while a
program is traced, how many large arrays a value is computed from. One that takes two or more and that a convolution reads, which needs it in memory
anyhow, is stored for all readers; what takes one array is computed again from that array, which costs no more than to read it back and needs no memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.runtime.cost import CONVOLUTIONS
from flowmesh.runtime.program import Instruction, Program

_LARGE = 1 << 16
"""Arrays of fewer elements stay in the processor's cache."""
_ELEMENTWISE = frozenset(
    {
        "Add",
        "AddN",
        "AddV2",
        "BiasAdd",
        "FusedBatchNorm",
        "FusedBatchNormGrad",
        "FusedBatchNormGradV2",
        "FusedBatchNormGradV3",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "Identity",
        "LeakyRelu",
        "Maximum",
        "Minimum",
        "Mul",
        "Relu",
        "Relu6",
        "Relu6Grad",
        "ReluGrad",
        "Sub",
    }
)
"""Ops whose large outputs XLA computes element by element from their large inputs, in the loop of whoever reads them."""


class StoredValues:
    """Which values of a program that is being traced for processors are stored."""

    def __init__(self, program: Program) -> None:
        readers: defaultdict[int, list[str]] = defaultdict(list)
        for instruction in program.instructions:
            for register in dict.fromkeys(instruction.sources):
                readers[register].append(instruction.op.type)
        self._shared = {
            register
            for register, types in readers.items()
            if len(types) > 1 and not CONVOLUTIONS.isdisjoint(types)
        }
        self._sources: dict[int, frozenset[int]] = {}
        """The large arrays in memory that a register is computed from."""
        self._one: Any = None

    def note(self, instruction: Instruction, registers: list[Any]) -> None:
        """An instruction has been traced; its results in `registers` are replaced where they are to be stored."""
        if not self._shared:
            return
        elementwise = instruction.op.type in _ELEMENTWISE
        for register in instruction.outputs:
            value = registers[register]
            if isinstance(value, np.ndarray) or getattr(value, "size", 0) < _LARGE:
                continue
            sources = self._read(instruction.sources, registers) if elementwise else frozenset()
            if register in self._shared and len(sources) > 1 and value.dtype == np.float32:
                registers[register] = self._stored(value)
                sources = frozenset()
            self._sources[register] = sources or frozenset({register})

    def _read(self, registers: Sequence[int], values: list[Any]) -> frozenset[int]:
        large = [r for r in registers if getattr(values[r], "size", 0) >= _LARGE]
        return frozenset().union(*(self._sources.get(r, frozenset({r})) for r in large))

    def _stored(self, value: Any) -> Any:
        """The same value by an op that XLA does not repeat for several readers: a division, by a one that it cannot know.

        Denormal numbers become zero, as in all that XLA computes on processors.
        """
        from jax import lax

        if self._one is None:
            bits = lax.bitcast_convert_type(value.reshape(-1)[0], np.dtype(np.uint32))
            sign = lax.shift_right_logical(bits, np.uint32(31))
            zero = lax.shift_right_logical(sign, np.uint32(1))
            self._one = zero.astype(np.float32) + np.float32(1)
        return value / self._one
