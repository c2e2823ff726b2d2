"""TensorFlow's first checkpoint format ("V1"): one table per file, with a message for every saved slice.

The entry under the empty key lists names, types, shapes and slices; every other entry holds the values of one slice.
Several files, matched by a pattern, make up one checkpoint.
"""

from __future__ import annotations

import glob
import math
import os
import uuid
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.errors import DataLossError, InvalidArgumentError, NotFoundError
from flowmesh.formats import slices, table, tensor
from flowmesh.formats.slices import TensorSlice
from flowmesh.proto import types_pb2
from flowmesh.proto.saved_tensor_slice_pb2 import (
    SavedSliceMeta,
    SavedTensorSliceMeta,
    SavedTensorSlices,
)
from flowmesh.proto.tensor_pb2 import TensorProto

VERSION = 1

_META_KEY = b""
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
}


class SliceWriter:
    """Writes one file of a checkpoint. Nothing is seen under its name before `finish`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._metas: dict[str, SavedSliceMeta] = {}
        self._entries: dict[bytes, bytes] = {}

    def add(self, name: str, array: np.ndarray, dtype: DType) -> None:
        """Keeps a whole tensor."""
        self.add_slice(name, array.shape, slices.whole(array.ndim), array, dtype)

    def add_slice(
        self,
        name: str,
        full_shape: Sequence[int],
        part: TensorSlice,
        array: np.ndarray,
        dtype: DType,
    ) -> None:
        """Keeps one slice of a tensor of `full_shape`."""
        sizes = [stop - start for start, stop in slices.box(part, full_shape)]
        if list(array.shape) != sizes:
            raise InvalidArgumentError(
                None,
                None,
                f"Slice {slices.to_text(part)} of {name} needs another shape than {array.shape}",
            )
        enum = dtype.base_dtype.as_datatype_enum
        meta = self._metas.get(name)
        if meta is None:
            meta = self._metas[name] = SavedSliceMeta(name=name, type=enum)  # type: ignore[arg-type]
            meta.shape.SetInParent()
            for size in full_shape:
                meta.shape.dim.add(size=size)
        elif (int(meta.type), tensor.shape_of(meta.shape)) != (enum, tuple(full_shape)):
            raise InvalidArgumentError(
                None, None, f"Slices of {name} differ in type or in the shape of the whole"
            )
        message = SavedTensorSlices()
        message.data.name = name
        message.data.slice.CopyFrom(slices.to_proto(part))
        _put_values(message.data.data, array, enum)
        key = slices.key(name.encode(), part)
        if key not in self._entries:
            meta.slice.append(slices.to_proto(part))
        self._entries[key] = message.SerializeToString()

    def finish(self) -> None:
        """Puts the file in place."""
        message = SavedTensorSlices()
        message.meta.versions.producer = VERSION
        message.meta.tensor.extend(self._metas[name] for name in sorted(self._metas))
        items = [(_META_KEY, message.SerializeToString()), *sorted(self._entries.items())]
        temporary = f"{self.path}.tempstate{uuid.uuid4().int & (1 << 64) - 1}"
        with open(temporary, "wb") as file:
            file.write(table.write_table(items))
        os.replace(temporary, self.path)


class SliceReader:
    """Reads a checkpoint from the files that match a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._entries: dict[bytes, bytes] = {}
        self._metas: dict[str, SavedSliceMeta] = {}
        paths = sorted(glob.glob(pattern))
        if not paths:
            raise NotFoundError(
                None,
                None,
                "Unsuccessful TensorSliceReader constructor: "
                f"Failed to find any matching files for {pattern}",
            )
        for path in paths:
            self._load(path)

    def _load(self, path: str) -> None:
        with open(path, "rb") as file:
            entries = table.read_table(file.read(), path)
        try:
            meta = SavedTensorSlices.FromString(entries.pop(_META_KEY)).meta
        except (KeyError, DecodeError) as error:
            raise DataLossError(None, None, f"{path} is no checkpoint: {error!r}") from error
        self._entries.update(entries)
        self._add_meta(meta)

    def _add_meta(self, meta: SavedTensorSliceMeta) -> None:
        for found in meta.tensor:
            known = self._metas.setdefault(found.name, found)
            if known is not found:
                known.slice.extend(found.slice)

    def __contains__(self, name: str) -> bool:
        return name in self._metas

    def keys(self) -> list[str]:
        """The names of all tensors, in ascending order."""
        return sorted(self._metas)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return tensor.shape_of(self._meta(name).shape)

    def dtype(self, name: str) -> DType:
        return as_dtype(int(self._meta(name).type))

    def read(self, name: str) -> np.ndarray:
        """A whole tensor."""
        return self.read_slice(name, slices.whole(len(self.shape(name))))

    def read_slice(self, name: str, part: TensorSlice) -> np.ndarray:
        """A slice of a tensor, put together from the slices that were saved."""
        meta, shape = self._meta(name), self.shape(name)
        wanted = slices.box(part, shape)
        size = tuple(stop - start for start, stop in wanted)
        result = np.empty(size, tensor.numpy_dtype(int(meta.type)))
        missing = math.prod(size)
        seen: set[slices.Box] = set()
        for proto in meta.slice:
            stored = slices.from_proto(proto)
            held = slices.box(stored, shape)
            shared = slices.intersect(held, wanted)
            if held in seen or (shared is None and size):
                continue
            seen.add(held)
            shared = shared if shared is not None else ()
            values = self._values(name, stored, meta, held)
            result[slices.index_in(shared, wanted)] = values[slices.index_in(shared, held)]
            missing -= math.prod(stop - start for start, stop in shared)
        if missing > 0:
            raise InvalidArgumentError(None, None, "Error copying slice data")
        return result

    def _meta(self, name: str) -> SavedSliceMeta:
        meta = self._metas.get(name)
        if meta is None:
            raise NotFoundError(
                None, None, f'Tensor name "{name}" not found in checkpoint files {self.pattern}'
            )
        return meta

    def _values(
        self, name: str, part: TensorSlice, meta: SavedSliceMeta, held: slices.Box
    ) -> np.ndarray:
        entry = self._entries.get(slices.key(name.encode(), part))
        try:
            if entry is None:
                raise DataLossError(None, None, "the slice is missing")
            proto = SavedTensorSlices.FromString(entry).data.data
            proto.dtype = meta.type
            proto.tensor_shape.Clear()
            for start, stop in held:
                proto.tensor_shape.dim.add(size=stop - start)
            return tensor.from_tensor_proto(proto)
        except (DecodeError, DataLossError, InvalidArgumentError) as error:
            raise DataLossError(
                None, None, f"Slice {slices.to_text(part)} of {name} in {self.pattern}: {error}"
            ) from error


def _put_values(proto: TensorProto, array: np.ndarray, enum: int) -> None:
    """Stores the elements in the field for their type: this format knows no packed content."""
    if enum == types_pb2.DT_STRING:
        proto.string_val.extend(tensor.to_bytes_list(array))
        return
    field = _FIELDS.get(enum)  # type: ignore[call-overload]
    if field is None:
        raise InvalidArgumentError(
            None, None, f"Tensors of type {as_dtype(enum).name} cannot be saved in this format"
        )
    flat = np.ascontiguousarray(array).reshape(-1)
    if field == "half_val":
        flat = flat.view(np.uint16)
    elif field in ("scomplex_val", "dcomplex_val"):
        flat = flat.view(flat.real.dtype)
    getattr(proto, field).extend(flat.tolist())
