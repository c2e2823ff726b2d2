"""Placing variables on parameter servers and everything else on a worker (TensorFlow: `tf.train.replica_device_setter`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.core.device_spec import DeviceSpec
from flowmesh.core.dtypes import as_dtype
from flowmesh.graph.operation import Operation

STANDARD_PS_OPS = (
    "Variable",
    "VariableV2",
    "AutoReloadVariable",
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableHashTableOfTensors",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
    "VarHandleOp",
    "BoostedTreesEnsembleResourceHandleOp",
    "BoostedTreesQuantileStreamResourceHandleOp",
    "ResourceConditionalAccumulator",
    "DecisionTreeResource",
)
"""The types of ops whose state lives on parameter servers."""


class RoundRobinStrategy:
    """Gives each op the next task, in turn."""

    def __init__(self, num_tasks: int) -> None:
        self._num_tasks = num_tasks
        self._next_task = 0

    def __call__(self, op: Any) -> int:
        """The task for `op`."""
        task = self._next_task
        self._next_task = (task + 1) % self._num_tasks
        return task


class GreedyLoadBalancingStrategy:
    """Gives each op the task that has the least load so far (TensorFlow: `tf.contrib.training.GreedyLoadBalancingStrategy`).

    `load_fn(op)` is the load of an op, such as `byte_size_load_fn`.
    """

    def __init__(self, num_tasks: int, load_fn: Callable[[Any], float]) -> None:
        self._num_tasks = num_tasks
        self._load_fn = load_fn
        self._ps_loads = np.zeros(num_tasks)

    def __call__(self, op: Any) -> int:
        """The task for `op`; its load is added to the task's."""
        task = int(np.argmin(self._ps_loads))
        self._ps_loads[task] += self._load_fn(op)
        return task


def byte_size_load_fn(op: Any) -> int:
    """The bytes that the variable made by `op` takes (TensorFlow: `tf.contrib.training.byte_size_load_fn`).

    Raises ValueError when the shape is not fully defined.
    """
    shape = op.attrs["shape"]
    if not shape.is_fully_defined():
        raise ValueError(
            f"Operation '{op.name}' has shape {shape}: its size in bytes is not known; give the variable a fully "
            "defined shape, or use another load function"
        )
    return int(shape.num_elements()) * as_dtype(op.get_attr("dtype")).size


class _ReplicaDeviceChooser:
    """The device function that `replica_device_setter` returns."""

    def __init__(
        self,
        ps_tasks: int,
        ps_device: str,
        worker_device: str,
        merge_devices: bool,
        ps_ops: Sequence[str],
        ps_strategy: Callable[[Any], int],
    ) -> None:
        self._ps_tasks = ps_tasks
        self._ps_device = ps_device
        self._worker_device = worker_device
        self._merge_devices = merge_devices
        self._ps_ops = frozenset(ps_ops)
        self._ps_strategy = ps_strategy

    def device_function(self, op: Any) -> str:
        """The device for an Operation (or NodeDef), which may ask for (a part of) one itself."""
        if not self._merge_devices and op.device:
            return str(op.device)
        current = DeviceSpec.from_string(op.device or "")
        kind = op.type if isinstance(op, Operation) else op.op
        if self._ps_tasks and self._ps_device and kind in self._ps_ops:
            ps = DeviceSpec.from_string(self._ps_device)
            if ps.job and (not current.job or current.job == ps.job):
                ps = ps.replace(task=self._ps_strategy(op))
            return ps.make_merged_spec(current).to_string()
        worker = DeviceSpec.from_string(self._worker_device or "")
        return worker.make_merged_spec(current).to_string()


def replica_device_setter(
    ps_tasks: int = 0,
    ps_device: str = "/job:ps",
    worker_device: str = "/job:worker",
    merge_devices: bool = True,
    cluster: Any = None,
    ps_ops: Sequence[str] | None = None,
    ps_strategy: Callable[[Any], int] | None = None,
) -> Callable[[Any], str] | None:
    """A device function for `with tf.device(...)`: ops of the types `ps_ops` go to tasks of `ps_device`, others to
    `worker_device` (TensorFlow: `tf.train.replica_device_setter`).

    The number of ps tasks is `ps_tasks` or that of the job in `cluster`; `ps_strategy(op)` chooses the task, round robin by
    default. Returns None when there are no ps tasks. Raises TypeError for a `cluster` or `ps_strategy` that is none.
    """
    if cluster is not None:
        jobs = ClusterSpec(cluster).as_dict()
        ps_job = DeviceSpec.from_string(ps_device).job
        if not ps_job or ps_job not in jobs:
            return None
        ps_tasks = len(jobs[ps_job])
    if ps_tasks == 0:
        return None
    if ps_ops is None:
        ps_ops = STANDARD_PS_OPS
    if not merge_devices:
        warnings.warn(
            "DEPRECATION: It is recommended to set merge_devices=true in replica_device_setter",
            DeprecationWarning,
            stacklevel=2,
        )
    if ps_strategy is None:
        ps_strategy = RoundRobinStrategy(ps_tasks)
    if not callable(ps_strategy):
        raise TypeError("ps_strategy must be callable")
    chooser = _ReplicaDeviceChooser(
        ps_tasks, ps_device, worker_device, merge_devices, ps_ops, ps_strategy
    )
    return chooser.device_function
