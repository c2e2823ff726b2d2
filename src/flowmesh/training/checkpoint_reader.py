"""Reading checkpoints without a graph (TensorFlow: `tf.train.NewCheckpointReader`, `tf.train.load_variable`)."""

from __future__ import annotations

import os
import weakref
from typing import Any

import numpy as np

from flowmesh.core.dtypes import DType
from flowmesh.core.errors import NotFoundError
from flowmesh.formats.checkpoint import BundleReader
from flowmesh.formats.slice_checkpoint import SliceReader
from flowmesh.proto import types_pb2
from flowmesh.training.checkpoint_management import latest_checkpoint


class CheckpointReader:
    """The tensors of one checkpoint, by name; values are read when they are asked for."""

    def __init__(self, prefix: str) -> None:
        self._reader: BundleReader | SliceReader
        try:
            self._reader = BundleReader(prefix)
        except NotFoundError:
            # The format of before has no ".index" file.
            self._reader = SliceReader(prefix)
        else:
            weakref.finalize(self, self._reader.close)

    def has_tensor(self, tensor_str: Any) -> bool:
        """Whether the checkpoint has a tensor of this name."""
        return _name(tensor_str) in self._reader

    def get_tensor(self, tensor_str: Any) -> Any:
        """The value of a tensor; raises NotFoundError when it is not in the checkpoint."""
        value = self._reader.read(_name(tensor_str))
        return value[()] if value.ndim == 0 else value

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """The shape of each tensor, by name."""
        return {name: list(self._reader.shape(name)) for name in self._reader.keys()}  # noqa: SIM118

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        """The dtype of each tensor, by name."""
        return {name: self._reader.dtype(name) for name in self._reader.keys()}  # noqa: SIM118

    def debug_string(self) -> bytes:
        """A line with name, dtype and shape for each tensor."""
        lines = []
        for name, dtype in self.get_variable_to_dtype_map().items():
            kind = types_pb2.DataType.Name(dtype.as_datatype_enum)
            shape = ",".join(map(str, self._reader.shape(name)))
            lines.append(f"{name} ({kind}) [{shape}]\n")
        return "".join(lines).encode()


def _name(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def new_checkpoint_reader(filepattern: Any) -> CheckpointReader:
    """A reader of the checkpoint with this prefix (TensorFlow: `tf.train.NewCheckpointReader`).

    Raises NotFoundError when there is none, DataLossError when it is malformed.
    """
    return CheckpointReader(_name(filepattern))


NewCheckpointReader = new_checkpoint_reader


def load_checkpoint(ckpt_dir_or_file: Any) -> CheckpointReader:
    """A reader of a checkpoint, or of the newest one in a directory (TensorFlow: `tf.train.load_checkpoint`).

    Raises ValueError when the directory has none.
    """
    prefix: str | None = _name(ckpt_dir_or_file)
    if os.path.isdir(ckpt_dir_or_file):
        prefix = latest_checkpoint(ckpt_dir_or_file)
    if prefix is None:
        raise ValueError(
            f"Couldn't find 'checkpoint' file or checkpoints in given directory {ckpt_dir_or_file}"
        )
    return new_checkpoint_reader(prefix)


def load_variable(ckpt_dir_or_file: Any, name: str) -> np.ndarray:
    """The value of a variable in a checkpoint (TensorFlow: `tf.train.load_variable`)."""
    return load_checkpoint(ckpt_dir_or_file).get_tensor(name.removesuffix(":0"))


def list_variables(ckpt_dir_or_file: Any) -> list[tuple[str, list[int]]]:
    """Names and shapes of all variables in a checkpoint, by name (TensorFlow: `tf.train.list_variables`)."""
    return sorted(load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map().items())
