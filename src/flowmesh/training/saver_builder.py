"""The nodes of a Saver: `save/SaveV2`, `save/RestoreV2`, `save/Assign` ..., in one piece or a shard for each device."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32, string
from flowmesh.core.shapes import scalar
from flowmesh.frontend.naming import name_scope
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import control
from flowmesh.ops.constant import constant
from flowmesh.proto import saver_pb2
from flowmesh.training.saveable import (
    SaveableObject,
    SaveSpec,
    VariableSaveable,
    cpu0_of,
    group_by_devices,
    validate_and_slice_inputs,
)


def _strings(values: Sequence[str]) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = [v.encode() for v in values]
    return out


class BaseSaverBuilder:
    """Builds the save and restore nodes of a Saver, and describes them in a SaverDef."""

    def __init__(self, write_version: Any = saver_pb2.SaverDef.V2) -> None:
        self._write_version = write_version

    # -- pieces ------------------------------------------------------------------------------------------

    def save_op(self, filename_tensor: Tensor, saveables: Sequence[SaveableObject]) -> Any:
        """The operation that writes the saveables to one file."""
        specs = [spec for saveable in saveables for spec in saveable.specs]
        tensors = [spec.tensor for spec in specs]
        return raw.SaveV2(
            filename_tensor,
            _strings([s.name for s in specs]),
            _strings([s.slice_spec for s in specs]),
            tensors,
        )

    def bulk_restore(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[SaveableObject],
        preferred_shard: int = -1,
        restore_sequentially: bool = False,
    ) -> list[Tensor]:
        """The tensors of all specs of the saveables, read from a checkpoint on the CPU."""
        specs = [spec for saveable in saveables for spec in saveable.specs]
        with get_default_graph().device("cpu:0"):
            return raw.RestoreV2(
                filename_tensor,
                _strings([s.name for s in specs]),
                _strings([s.slice_spec for s in specs]),
                dtypes=[s.dtype.base_dtype for s in specs],
            )

    def sharded_filename(self, filename_tensor: Tensor, shard: int, num_shards: Tensor) -> Tensor:
        """The name of one shard."""
        return raw.ShardedFilename(filename_tensor, shard, num_shards)

    def _add_save_ops(self, filename_tensor: Tensor, saveables: Sequence[SaveableObject]) -> Tensor:
        save = self.save_op(filename_tensor, saveables)
        return control.with_dependencies([save], filename_tensor)

    def _add_restore_ops(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[SaveableObject],
        restore_sequentially: bool,
        reshape: bool,
        preferred_shard: int = -1,
        name: str = "restore_all",
    ) -> Any:
        tensors = self.bulk_restore(
            filename_tensor, saveables, preferred_shard, restore_sequentially
        )
        assigns = []
        at = 0
        for saveable in saveables:
            shapes = [_target_shape(spec.tensor) for spec in saveable.specs] if reshape else None
            assigns.append(saveable.restore(tensors[at : at + len(saveable.specs)], shapes))
            at += len(saveable.specs)
        return control.group(*assigns, name=name)

    def _add_sharded_save_ops(
        self, prefix: Tensor, per_device: Sequence[tuple[str, list[SaveableObject]]]
    ) -> Tensor:
        graph = get_default_graph()
        temporary = raw.StringJoin([prefix, f"_temp_{uuid.uuid4().hex}/part"])
        count = constant(len(per_device), dtype=int32, name="num_shards")
        prefixes, saves = [], []
        for shard, (device, saveables) in enumerate(per_device):
            with graph.device(cpu0_of(device)):
                filename = self.sharded_filename(temporary, shard, count)
                prefixes.append(filename)
                saves.append(self._add_save_ops(filename, saveables))
        last = cpu0_of(per_device[-1][0])
        with graph.control_dependencies([t.op for t in saves]), graph.device(last):
            merge = raw.MergeV2Checkpoints(prefixes, prefix, delete_old_dirs=True)
            with graph.control_dependencies([merge]):
                return raw.Identity(prefix)

    def _add_sharded_restore_ops(
        self,
        filename_tensor: Tensor,
        per_device: Sequence[tuple[str, list[SaveableObject]]],
        reshape: bool,
    ) -> Any:
        restores = []
        for shard, (device, saveables) in enumerate(per_device):
            with get_default_graph().device(device):
                restores.append(
                    self._add_restore_ops(
                        filename_tensor, saveables, False, reshape, shard, "restore_shard"
                    )
                )
        return control.group(*restores, name="restore_all")

    # -- the whole ---------------------------------------------------------------------------------------

    def build(
        self,
        names_to_saveables: Any,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        filename: str = "model",
    ) -> Any:
        """Adds the nodes for saving and restoring; returns the SaverDef.

        Raises ValueError or TypeError for variables that cannot be saved together.
        """
        saveables = validate_and_slice_inputs(names_to_saveables)
        if max_to_keep is None:
            max_to_keep = 0
        with name_scope(name, "save", [_of_graph(s) for s in saveables]):
            default = convert_to_tensor(filename or "model", dtype=string, name="filename/input")
            filename_tensor = raw.PlaceholderWithDefault(default, shape=scalar(), name="filename")
            filename_tensor = raw.PlaceholderWithDefault(
                filename_tensor, shape=scalar(), name="Const"
            )
            if sharded:
                per_device = group_by_devices(saveables)
                save_tensor = self._add_sharded_save_ops(filename_tensor, per_device)
                restore_op = self._add_sharded_restore_ops(filename_tensor, per_device, reshape)
            else:
                save_tensor = self._add_save_ops(filename_tensor, saveables)
                restore_op = self._add_restore_ops(
                    filename_tensor, saveables, restore_sequentially, reshape
                )
        return saver_pb2.SaverDef(
            filename_tensor_name=filename_tensor.name,
            save_tensor_name=save_tensor.name,
            restore_op_name=restore_op.name,
            max_to_keep=max_to_keep,
            sharded=sharded,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            version=self._write_version,
        )


for _class in (SaveSpec, SaveableObject, VariableSaveable):  # programs derive from these names
    setattr(BaseSaverBuilder, _class.__name__, _class)


class BulkSaverBuilder(BaseSaverBuilder):
    """The default builder: all tensors of a shard are read by one op."""


def _of_graph(saveable: SaveableObject) -> Any:
    op = saveable.op
    return op._as_graph_element() if hasattr(op, "_as_graph_element") else op


def _target_shape(tensor: Tensor) -> Any:
    shape = tensor.shape
    if shape.is_fully_defined():
        return np.array(shape.as_list(), np.int32)
    return raw.Shape(tensor)
