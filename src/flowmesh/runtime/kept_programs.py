"""Compiled programs that outlive the process: a cluster that an earlier process has compiled is neither traced nor compiled again.

What is kept of a program is the executable, and what was found out when it was traced: where each output comes from, what is known
without running it, which checks of values it needs. There is no pickle in it: shapes, dtypes and numbers in JSON, arrays as bytes. JAX has no
public way to run an executable that it has not compiled itself; where its inner parts are not what is expected here, programs are traced as usual.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowmesh.runtime import ahead, compile_cache, program_files, program_key
from flowmesh.runtime.guards import Guards
from flowmesh.runtime.huge_pages import with_huge_pages
from flowmesh.runtime.program import Program
from flowmesh.runtime.values import freeze

_log = logging.getLogger(__name__)

MINIMUM_SECONDS = compile_cache.MINIMUM_SECONDS
"""Programs that are traced and compiled faster are not kept."""
enabled = True
"""For tests that change kernels under way."""


@dataclass
class Outcome:
    """What tracing finds out about a program."""

    results: list[tuple[str, Any]]
    """Where each output comes from: ("traced", position), ("known", value) or ("cell", number)."""
    written: list[tuple[int, bool, Any]]
    """The new value of each written cell: whether it is a result, and its position or the value itself."""
    implicit: list[tuple[bool, Any]]
    guards: Guards


class KeptProgram:
    """The place of one program in the cache."""

    def __init__(
        self,
        jax: Any,
        program: Program,
        device: Any,
        large: Sequence[int],
        facts: Sequence[Any],
        flat: Sequence[Any],
    ) -> None:
        """`device` is JAX's, `flat` are the arguments of a run, `facts` is what else the program is made for (see `program_key`)."""
        self._jax = jax
        self._program = program
        self._device = device
        self._inputs = program_key.facts_of_arrays(flat)
        self._key: str | None = None
        if not enabled or compile_cache.folder() is None:
            return
        target = (device.platform, device.device_kind, device.id, device.client.platform_version)
        try:
            self._key = program_key.program_key(
                program, large, (*target, self._inputs, *facts), jax
            )
        except Exception as exc:
            _log.debug("A program is not kept: %s: %s", type(exc).__name__, exc)

    # -- reading ---------------------------------------------------------------------------------------

    def load(self) -> tuple[Any, Outcome] | None:
        """The function that runs the program, and what is known of it; None when it has to be traced."""
        if self._key is None:
            return None
        try:
            found = ahead.take(self._key, self._device)
            if found is None:
                return None
            facts, arrays, executable = found
            outcome = _unpack(facts, [freeze(a) for a in arrays], self._program)
            return self._function(executable, facts["outputs"], facts["kept"]), outcome
        except Exception as exc:
            _log.debug("A kept program cannot be used: %s: %s", type(exc).__name__, exc)
            return None

    def _function(self, executable: Any, outputs: Sequence[Any], kept: Sequence[int]) -> Any:
        from jax._src.interpreters import pxla

        jax = self._jax
        sharding = jax.sharding.SingleDeviceSharding(self._device)
        ins = [self._aval(*self._inputs[i]) for i in kept]
        outs = [self._aval(shape, dtype) for dtype, shape in outputs]
        loaded = pxla.UnloadedMeshExecutable(
            xla_executable=executable,
            device_list=ahead.device_list(self._device),
            backend=self._device.client,
            input_avals=ins,
            input_shardings=[sharding] * len(ins),
            output_avals=outs,
            output_shardings=[sharding] * len(outs),
            committed=True,
            name="kept",
            unordered_effects=[],
            ordered_effects=[],
            keepalive=[],
            host_callbacks=[],
            kept_var_idx=set(kept),
            mut=None,
            xla_in_layouts=[None] * len(ins),
            dispatch_in_layouts=[None] * len(ins),
            xla_out_layouts=[None] * len(outs),
            all_args_info=None,
            pgle_profiler=None,
        ).load()
        tree = jax.tree_util
        arguments = tree.tree_structure((tuple(range(len(self._inputs))), {}))
        return quick(
            jax.stages.Compiled(
                loaded,
                [],
                tree.tree_unflatten(arguments, [0] * len(self._inputs)),
                tree.tree_structure(tuple(range(len(outs)))),
                no_kwargs=True,
            )
        )

    def _aval(self, shape: Sequence[int], dtype: str) -> Any:
        from jax._src.core import ShapedArray

        return ShapedArray(tuple(shape), program_files.dtype_of(dtype))

    # -- writing ---------------------------------------------------------------------------------------

    def compile(self, lowered: Any) -> Any:
        """What JAX compiles of a traced program. Programs that can be kept here are not kept by JAX, too."""
        if self._key is not None and _calls_out(lowered):
            self._key = None
        if self._key is None:
            return lowered.compile()
        with _not_kept_by_jax():
            hits = _hits(self._jax)
            before = hits.count
            compiled = lowered.compile()
            if hits.count != before:
                self._key = (
                    None  # an executable that was read does not say all when it is written again
                )
        return compiled

    def store(self, lowered: Any, compiled: Any, outcome: Outcome) -> None:
        """Keeps a program that `compile` has made, if all of it can be kept."""
        if self._key is None:
            return
        try:
            if compiled._params.const_args:
                return
            facts, arrays = _pack(outcome, self._program)
            leaves = self._jax.tree_util.tree_leaves(lowered.out_info)
            facts["outputs"] = [[np.dtype(o.dtype).name, list(o.shape)] for o in leaves]
            facts["kept"] = sorted(compiled._executable._kept_var_idx)
            executable = compiled._executable.xla_executable
            code = self._device.client.serialize_executable(executable)
            if program_files.write(self._key, facts, arrays, code):
                ahead.note(self._key, self._device)
        except Exception as exc:
            _log.debug("A program is not kept: %s: %s", type(exc).__name__, exc)


class _Hits(threading.local):
    """How many executables JAX has read from its cache in this thread."""

    count = 0


@functools.cache
def _hits(jax: Any) -> _Hits:
    hits = _Hits()

    def listen(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.count += 1

    jax.monitoring.register_event_listener(listen)
    return hits


def _not_kept_by_jax() -> AbstractContextManager[Any]:
    try:
        from jax._src import config

        setting = config.persistent_cache_min_compile_time_secs
        return setting(math.inf)  # type: ignore[no-any-return]
    except Exception:
        return nullcontext()


def quick(compiled: Any) -> Any:
    """The function of a compiled program without the Python around it."""
    try:
        function = compiled._executable.create_cpp_call(compiled._params) or compiled
    except Exception:
        function = compiled
    return with_huge_pages(function, compiled)


def _calls_out(lowered: Any) -> bool:
    """Whether the program calls functions of other libraries, which tracing sets up (LAPACK's, those of Python)."""
    found = []

    def look(op: Any) -> Any:
        if op.name.endswith("custom_call"):
            found.append(op.name)
        return ir.WalkResult.ADVANCE

    try:
        from jaxlib.mlir import ir

        lowered.compiler_ir("stablehlo").operation.walk(look)
    except Exception:
        return True
    return bool(found)


# -- the outcome as JSON and arrays --------------------------------------------------------------------------


def _pack(outcome: Outcome, program: Program) -> tuple[dict[str, Any], list[np.ndarray]]:
    arrays: list[np.ndarray] = []

    def put(is_position: bool, value: Any) -> list[Any]:
        if is_position:
            return [True, value]
        if value.dtype.hasobject:
            raise program_key.Unknown("a known result of strings")
        arrays.append(value)
        return [False, len(arrays) - 1]

    facts = {
        "results": [[kind, *put(kind != "known", value)] for kind, value in outcome.results],
        "written": [[number, *put(traced, value)] for number, traced, value in outcome.written],
        "implicit": [put(traced, value) for traced, value in outcome.implicit],
        "guards": outcome.guards.describe(program, lambda value: put(False, value)[1]),
    }
    return facts, arrays


def _unpack(facts: Any, arrays: Sequence[np.ndarray], program: Program) -> Outcome:
    def get(is_position: bool, value: int) -> Any:
        return value if is_position else arrays[value]

    return Outcome(
        [(kind, get(position, value)) for kind, position, value in facts["results"]],
        [(number, traced, get(traced, value)) for number, traced, value in facts["written"]],
        [(traced, get(traced, value)) for traced, value in facts["implicit"]],
        Guards.from_description(program, facts["guards"], arrays),
    )
