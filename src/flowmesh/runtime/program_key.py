"""What a compiled program follows from, as one number: the name of its file in the cache of programs (`program_files.py`).

Everything goes in that tracing looks at: ops with their attrs, how they are wired, constants, static shapes, and what is particular to one
signature; then whatever decides what a compiler makes of it: versions, the source of the kernels, JAX's settings, the processor and its
threads. Names of ops and variables do not. What cannot be described (functions, kernels from outside the package) has no key.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.operation import Operation
from flowmesh.runtime import compile_cache
from flowmesh.runtime.program import LoopProgram, Nested, Program

FORMAT = 1
"""Of the files; to be counted up when their contents change."""
_PACKAGE = Path(__file__).resolve().parent.parent
_STARTED = time.time()
_NO_BEARING = frozenset({"_class", "_output_shapes", "container", "shared_name"})
"""Attrs that no kernel looks at while it is traced."""
_SETTINGS_WITHOUT_BEARING = (
    "jax_compilation_cache",
    "jax_persistent_cache",
    "jax_explain",
    "jax_log",
    "jax_debug_log",
    "jax_logging",
    "jax_raise_persistent_cache_errors",
    "jax_traceback",
)
_VARIABLES = ("XLA_", "PJRT_", "TF_XLA_", "LIBTPU_", "CUDA_", "OMP_NUM_THREADS")


class Unknown(Exception):
    """Something that has no description."""


def program_key(program: Program, large: Collection[int], facts: Iterable[Any], jax: Any) -> str:
    """The key of a program; Unknown when it has none.

    `large` are the registers of constants that are arguments of the compiled program, `facts` (numbers, text, dtypes, arrays and
    tuples of those) what else it was made for.
    """
    digest = hashlib.sha256()
    for part in (surroundings(jax), tuple(_program(program, large)), _plain(tuple(facts))):
        digest.update(repr(part).encode())
    return digest.hexdigest()


# -- the program -----------------------------------------------------------------------------------------


def _program(program: Program, large: Collection[int] = ()) -> Iterator[Any]:
    numbers = {op: n for n, op in enumerate(program.ops)}
    yield len(program.inputs), tuple(program.output_registers)
    for tensor in program.inputs:
        yield tensor.dtype.name, tensor.shape.key
    for register, value in program.constants:
        yield register, (value.dtype.name, value.shape) if register in large else _plain(value)
    for instruction in program.instructions:
        op = instruction.op
        yield (
            _kind(op),
            instruction.sources,
            instruction.implicit,
            tuple([(t.dtype.name, t.shape.key) for t in op.outputs]),
            tuple([numbers[c] for c in op._control_inputs if c in numbers]),
        )
        if instruction.loop is not None:
            yield from _loop(instruction.loop)


def _loop(loop: LoopProgram) -> Iterator[Any]:
    body = loop.loop
    yield loop.piece, tuple(loop.static), body.variables, body.invariants, body.shared, body.results
    yield tuple((c.variable, c.step, c.limit, c.constant, c.inclusive) for c in body.counters)
    yield from _nested(loop.cond)
    yield from _nested(loop.body)


def _nested(nested: Nested) -> Iterator[Any]:
    yield tuple(nested.takes)
    yield tuple((register, at, _plain(value)) for register, at, value in nested.gives)
    yield tuple(nested.gates)
    yield from _program(nested.program)


def _kind(op: Operation) -> Any:
    """Type and attrs of an op."""
    definition = op.definition
    if not type(definition).__module__.startswith("flowmesh."):
        raise Unknown(f"the kernel of {op.type} comes from {type(definition).__module__}")
    attrs = definition.attrs
    return op.type, tuple(
        [(name, _plain(attrs[name])) for name in sorted(attrs) if name not in _NO_BEARING]
    )


def _plain(value: Any) -> Any:
    """The value in terms of what has a `repr` that tells all of it."""
    kind = type(value)
    if kind in (bool, int, float, str, bytes, type(None)):
        return value
    if kind is DType:
        return "dtype", value.name
    if kind is TensorShape:
        return "shape", value.key
    if kind is tuple or kind is list:
        return tuple([_plain(v) for v in value])
    if isinstance(value, np.dtype):
        return "dtype", value.name
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return "array", value.dtype.name, value.shape, _contents(value)
    raise Unknown(f"a value of type {kind.__name__}")


def _contents(value: np.ndarray) -> Any:
    if value.dtype.hasobject:
        return tuple([_plain(v) for v in value.reshape(-1).tolist()])
    data = np.ascontiguousarray(value).tobytes()
    return data if len(data) <= 64 else hashlib.sha256(data).hexdigest()


# -- what is around it -------------------------------------------------------------------------------------


def surroundings(jax: Any) -> tuple[Any, ...]:
    """What the programs of this process have in common. Settings of JAX may change, the rest does not."""
    settings = sorted(
        (name, repr(value))
        for name, value in jax.config.values.items()
        if not name.startswith(_SETTINGS_WITHOUT_BEARING)
    )
    return FORMAT, _fixed(), settings


@functools.cache
def _fixed() -> tuple[Any, ...]:
    import jaxlib.version

    jax = sys.modules["jax"]
    variables = sorted((k, v) for k, v in os.environ.items() if k.startswith(_VARIABLES))
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return (
        jax.__version__,
        jaxlib.version.__version__,
        np.__version__,
        sys.version_info[:3],
        compile_cache.processor(),
        os.cpu_count(),
        affinity,
        variables,
        source_digest(),
    )


@functools.cache
def source_digest() -> str:
    """A number for the source of the package: an update, or an edit, makes all programs anew. Unknown when this process may run something
    else than what the files say now."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        if path.stat().st_mtime > _STARTED:
            raise Unknown(f"{path} has changed since it was imported")
        data = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE)} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def facts_of_array(value: Any) -> tuple[Any, ...]:
    """Shape and dtype of an array."""
    return tuple(value.shape), np.dtype(value.dtype).name


def facts_of_arrays(values: Sequence[Any]) -> tuple[Any, ...]:
    """Shapes and dtypes."""
    return tuple([facts_of_array(v) for v in values])
