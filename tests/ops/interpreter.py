"""A small interpreter of graphs for op tests: runs `definition.compute` node by node, without a Session."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from flowmesh.core.cancellation import CancellationManager
from flowmesh.graph.op_def import HostContext
from flowmesh.graph.tensor import Tensor
from flowmesh.resources.manager import ResourceManager


def jax_numpy() -> ModuleType:
    """jax.numpy in 64-bit mode, on the CPU."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    import jax.numpy

    return jax.numpy


def namespace(definition: Any) -> Any:
    """The array namespace that this op's kernel runs with outside of a traced cluster."""
    return jax_numpy() if definition.xla_only else np


def host_context(name: str = "node", **fields: Any) -> HostContext:
    """A HostContext with fresh resources, for calling a host op's `run`."""
    known: dict[str, Any] = {
        "name": name,
        "device": "/job:localhost/replica:0/task:0/device:CPU:0",
        "resources": ResourceManager(),
        "container": "localhost",
        "step_id": 1,
        "cancellation": CancellationManager(),
        "state": {},
    }
    return HostContext(**{**known, **fields})


def as_numpy(value: Any) -> Any:
    """A NumPy array of a kernel's result; lists are converted element by element."""
    if isinstance(value, (list, tuple)):
        return [as_numpy(v) for v in value]
    return np.asarray(value)


def flatten(results: Any) -> list[Any]:
    """The values of a kernel's result one after another, list outputs opened."""
    if not isinstance(results, (list, tuple)):
        return [results]
    return [leaf for item in results for leaf in flatten(item)]


class Interpreter:
    """Evaluates tensors from fed values; keeps the results, so every node runs once.

    `variables` maps the name of a variable's op to its value; nodes that change variables are not run.
    """

    def __init__(
        self, feeds: Mapping[Tensor, Any], variables: Mapping[str, Any] | None = None
    ) -> None:
        self._known: dict[tuple[str, int], Any] = {
            (t.op.name, t.value_index): np.asarray(v) for t, v in feeds.items()
        }
        self._variables = dict(variables or {})

    def __call__(self, tensor: Tensor) -> Any:
        """The value of `tensor`."""
        pending = [tensor]
        while pending:
            current = pending[-1]
            if self._key(current) in self._known:
                pending.pop()
                continue
            missing = [t for t in current.op.inputs if self._key(t) not in self._known]
            if missing:
                pending.extend(missing)
            else:
                self._run(current.op)
        return self._known[self._key(tensor)]

    @staticmethod
    def _key(tensor: Tensor) -> tuple[str, int]:
        return tensor.op.name, tensor.value_index

    def _run(self, op: Any) -> None:
        definition = op.definition
        if definition.variable_source:
            self._known[op.name, 0] = self._variables[op.name]
            return
        inputs = definition.group_inputs([self._known[self._key(t)] for t in op.inputs])
        if definition.host:
            results = definition.run(host_context(op.name), *inputs)
        elif definition.implicit_state:
            results = definition.compute(
                namespace(definition), definition.initial_state(), *inputs
            )[1:]
        else:
            results = definition.compute(namespace(definition), *inputs)
        values = flatten(results)
        assert len(values) == len(op.outputs), f"{op.name} gave {len(values)} results"
        for index, value in enumerate(values):
            self._known[op.name, index] = np.asarray(value)


def evaluate(tensors: Sequence[Tensor], feeds: Mapping[Tensor, Any], **kwargs: Any) -> list[Any]:
    """The values of several tensors, from one run."""
    run = Interpreter(feeds, **kwargs)
    return [run(t) for t in tensors]
