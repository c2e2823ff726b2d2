"""TensorFlow's V2 checkpoints ("tensor bundles"): an index table and files of raw values.

`<prefix>.index` maps each tensor's name to an entry (dtype, shape, where its bytes are, their CRC);
`<prefix>.data-00000-of-00001` and further shards hold the bytes. A partitioned tensor has an entry
that lists its slices and one more entry for each slice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import math
import os
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import IO, Any

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.core.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
    UnimplementedError,
)
from flowmesh.formats import bundle_values, crc, slices, table, tensor
from flowmesh.formats.slices import TensorSlice
from flowmesh.formats.varint import MalformedError
from flowmesh.proto import types_pb2
from flowmesh.proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

VERSION = 1

_HEADER_KEY = b""
_SLICE_KEY_START = b"\0"


def index_path(prefix: str) -> str:
    return f"{prefix}.index"


def data_path(prefix: str, shard: int = 0, shards: int = 1) -> str:
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


def checkpoint_exists(prefix: str) -> bool:
    return os.path.exists(index_path(prefix))


class BundleWriter:
    """Writes a checkpoint of one shard. Nothing is seen under its name before `finish`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._entries: dict[bytes, BundleEntryProto] = {}
        self._offset = 0
        self._temporary = f"{data_path(prefix)}.tempstate{uuid.uuid4().int & (1 << 64) - 1}"
        os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
        self._file: IO[bytes] | None = open(self._temporary, "wb")  # noqa: SIM115

    def add(self, name: str, array: np.ndarray, dtype: DType | None = None) -> None:
        """Writes a whole tensor."""
        self._add(_encode_name(name), np.asarray(array), dtype)

    def add_slice(
        self,
        name: str,
        full_shape: Sequence[int],
        slice_spec: TensorSlice,
        array: np.ndarray,
        dtype: DType | None = None,
    ) -> None:
        """Writes one slice of a partitioned tensor."""
        array = np.asarray(array)
        bounds = slices.box(slice_spec, full_shape)
        if array.shape != tuple(stop - start for start, stop in bounds):
            raise InvalidArgumentError(
                None,
                None,
                f"Slice {slices.to_text(slice_spec)} of {name} needs another shape than "
                f"{list(array.shape)}",
            )
        key = _encode_name(name)
        enum = _datatype(array, dtype)
        full = self._entries.get(key)
        if full is None:
            full = BundleEntryProto(dtype=enum)
            _set_shape(full, full_shape)
        elif (full.dtype, _shape(full)) != (enum, tuple(full_shape)) or not full.slices:
            raise InvalidArgumentError(
                None, None, f"Slices of {name} differ in type or in the shape of the whole"
            )
        self._add(slices.key(key, slice_spec), array, dtype)
        full.slices.append(slices.to_proto(slice_spec))
        self._entries[key] = full

    def finish(self) -> None:
        """Puts the checkpoint in place, the index last; one of the same name is whole until then."""
        self._open_file().close()
        self._file = None
        shards, old = _beside(self.prefix, 1)
        os.replace(self._temporary, data_path(self.prefix, 0, shards))
        _write_index(self.prefix, self._entries, shards)
        _remove_all(old)

    def discard(self) -> None:
        """Throws away what was written, unless it is finished."""
        if self._file is not None:
            self._file.close()
            self._file = None
            os.remove(self._temporary)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._file is not None:
            self.finish()
        self.discard()

    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            raise FailedPreconditionError(None, None, f"Checkpoint {self.prefix} is finished")
        return self._file

    def _add(self, key: bytes, array: np.ndarray, dtype: DType | None) -> None:
        file = self._open_file()
        if key == _HEADER_KEY:
            raise InvalidArgumentError(None, None, "A tensor in a checkpoint needs a name")
        if key in self._entries:
            raise InvalidArgumentError(None, None, f"Adding duplicate key: {_decode_name(key)}")
        enum = _datatype(array, dtype)
        entry = BundleEntryProto(dtype=enum, offset=self._offset)
        _set_shape(entry, array.shape)
        data, checksum = bundle_values.encode(array, enum)
        entry.crc32c = crc.mask(checksum)
        entry.size = len(data)
        file.write(data)
        self._offset += entry.size
        self._entries[key] = entry


@dataclasses.dataclass(frozen=True)
class _Index:
    """The content of an index file."""

    prefix: str
    shards: int
    entries: dict[bytes, BundleEntryProto]

    @classmethod
    def load(cls, prefix: str) -> _Index:
        path = index_path(prefix)
        try:
            with open(path, "rb") as file:
                items = table.read_table(file.read(), path)
        except FileNotFoundError as error:
            raise NotFoundError(
                None,
                None,
                "Unsuccessful TensorSliceReader constructor: "
                f"Failed to find any matching files for {prefix}",
            ) from error
        try:
            header = BundleHeaderProto.FromString(items.pop(_HEADER_KEY))
            entries = {key: BundleEntryProto.FromString(value) for key, value in items.items()}
        except (KeyError, DecodeError) as error:
            raise _loss(prefix, f"malformed index: {error!r}") from error
        if header.endianness != BundleHeaderProto.LITTLE:
            raise UnimplementedError(
                None, None, f"Checkpoint {prefix} was written on a big-endian machine"
            )
        if header.version.min_consumer > VERSION:
            raise InvalidArgumentError(
                None,
                None,
                f"Checkpoint {prefix} needs a reader of version {header.version.min_consumer}; "
                f"this one has version {VERSION}",
            )
        return cls(prefix, header.num_shards, entries)


class BundleReader:
    """Reads a checkpoint. The index is read at once, values when they are asked for."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._index = _Index.load(prefix)
        self._files: dict[int, IO[bytes]] = {}
        self._keys = {
            _decode_name(key): key
            for key in self._index.entries
            if not key.startswith(_SLICE_KEY_START)
        }

    def keys(self) -> list[str]:
        """The names of all tensors, in ascending order."""
        return list(self._keys)

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, of a partitioned one that of the whole."""
        return self._shape(self._entry(name))

    def dtype(self, name: str) -> DType:
        entry = self._entry(name)
        try:
            return as_dtype(entry.dtype)
        except TypeError as error:
            raise _loss(self.prefix, f"{name} has unknown dtype {entry.dtype}") from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: self.shape(name) for name in self._keys}

    def dtypes(self) -> dict[str, DType]:
        return {name: self.dtype(name) for name in self._keys}

    def read(self, name: str) -> np.ndarray:
        """A whole tensor, put together from its slices if it is partitioned."""
        entry = self._entry(name)
        if not entry.slices:
            return self._read_entry(entry)
        return self.read_slice(name, slices.whole(len(self._shape(entry))))

    def read_slice(self, name: str, slice_spec: TensorSlice) -> np.ndarray:
        """A slice of a tensor, however the tensor was partitioned when it was saved."""
        entry = self._entry(name)
        wanted = slices.box(slice_spec, self._shape(entry))
        if not entry.slices:
            whole = self._read_entry(entry)
            return whole[slices.index_in(wanted, slices.box(slices.whole(whole.ndim), whole.shape))]
        return self._assemble(name, entry, slice_spec, wanted)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _entry(self, name: str) -> BundleEntryProto:
        key = self._keys.get(name)
        if key is None:
            raise NotFoundError(None, None, f"Key {name} not found in checkpoint")
        return self._index.entries[key]

    def _shape(self, entry: BundleEntryProto) -> tuple[int, ...]:
        try:
            return _shape(entry)
        except InvalidArgumentError as error:
            raise _loss(self.prefix, error.message) from error

    def _assemble(
        self, name: str, entry: BundleEntryProto, slice_spec: TensorSlice, wanted: slices.Box
    ) -> np.ndarray:
        shape = self._shape(entry)
        parts: dict[slices.Box, tuple[slices.Box, BundleEntryProto]] = {}
        covered = 0
        for proto in entry.slices:
            part = slices.from_proto(proto)
            held, stored = self._stored_slice(name, entry, part, shape)
            shared = slices.intersect(held, wanted)
            if shared is not None and held not in parts:
                parts[held] = shared, stored
                covered += math.prod(stop - start for start, stop in shared)
        size = tuple(stop - start for start, stop in wanted)
        if covered < math.prod(size):
            raise InvalidArgumentError(
                None,
                None,
                f"Does not have sufficient slices for partitioned tensor {name} to restore in "
                f"slice_spec: {slices.to_text(slice_spec)}",
            )
        result = np.empty(size, tensor.numpy_dtype(entry.dtype))
        for held, (shared, stored) in parts.items():
            values = self._read_entry(stored)
            if held == wanted:
                return values
            result[slices.index_in(shared, wanted)] = values[slices.index_in(shared, held)]
        return result

    def _stored_slice(
        self, name: str, full: BundleEntryProto, part: TensorSlice, shape: tuple[int, ...]
    ) -> tuple[slices.Box, BundleEntryProto]:
        stored = self._index.entries.get(slices.key(_encode_name(name), part))
        try:
            held = slices.box(part, shape)
        except InvalidArgumentError as error:
            raise _loss(self.prefix, error.message) from error
        if stored is None:
            raise _loss(self.prefix, f"slice {slices.to_text(part)} of {name} is missing")
        expected = tuple(stop - start for start, stop in held)
        if stored.dtype != full.dtype or self._shape(stored) != expected or stored.slices:
            raise _loss(self.prefix, f"slice {slices.to_text(part)} of {name} does not fit it")
        self._check_extent(stored)
        return held, stored

    def _read_entry(self, entry: BundleEntryProto) -> np.ndarray:
        shape = self._shape(entry)
        file = self._check_extent(entry)
        file.seek(entry.offset)
        try:
            flat, checksum = bundle_values.read(file, entry.size, entry.dtype, math.prod(shape))
            stored = crc.unmask(entry.crc32c)
            if checksum != stored:
                raise MalformedError(
                    f"Checksum does not match: stored {stored} vs. calculated on the restored "
                    f"bytes {checksum}"
                )
            return flat.reshape(shape)
        except ValueError as error:
            where = f"shard {entry.shard_id} ({entry.size} bytes at {entry.offset})"
            raise _loss(self.prefix, f"{where}: {error}") from error

    def _check_extent(self, entry: BundleEntryProto) -> IO[bytes]:
        """The file that holds an entry, which must lie within it and have the size it needs."""
        file = self._shard(entry.shard_id)
        if entry.offset < 0 or entry.size < 0:
            raise _loss(self.prefix, "an entry of the index has a negative offset or size")
        if entry.offset + entry.size > os.fstat(file.fileno()).st_size:
            raise _loss(self.prefix, f"shard {entry.shard_id} is truncated")
        if entry.dtype in (types_pb2.DT_VARIANT, types_pb2.DT_RESOURCE):
            raise UnimplementedError(
                None, None, "Variant and resource tensors in checkpoints are not supported"
            )
        if entry.dtype != types_pb2.DT_STRING:
            try:
                width = tensor.numpy_dtype(entry.dtype).itemsize
            except InvalidArgumentError as error:
                raise _loss(self.prefix, error.message) from error
            if entry.size != math.prod(self._shape(entry)) * width:
                raise _loss(self.prefix, "an entry of the index has a size that is not its shape's")
        return file

    def _shard(self, shard: int) -> IO[bytes]:
        file = self._files.get(shard)
        if file is None:
            if not 0 <= shard < self._index.shards:
                raise _loss(self.prefix, f"there is no shard {shard}")
            path = data_path(self.prefix, shard, self._index.shards)
            try:
                file = self._files[shard] = open(path, "rb")  # noqa: SIM115
            except FileNotFoundError as error:
                raise NotFoundError(None, None, f"{path}; No such file or directory") from error
        return file


def merge_bundles(prefixes: Iterable[str], target: str, *, delete_old_dirs: bool = False) -> None:
    """Makes one checkpoint of several. Their data files are moved and their indexes deleted.

    With `delete_old_dirs` the directories left behind are removed where they are empty.
    """
    merged: dict[bytes, BundleEntryProto] = {}
    numbers: dict[str, int] = {}  # data file -> shard in the merged checkpoint
    prefixes = list(prefixes)
    for prefix in prefixes:
        _merge_one(_Index.load(prefix), merged, numbers)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    shards, old = _beside(target, len(numbers))
    if target in prefixes:  # its own data files are among those that are moved
        shards, old = len(numbers), []
    _move({path: data_path(target, number, shards) for path, number in numbers.items()})
    _write_index(target, merged, shards)
    _remove_all(old)
    for prefix in prefixes:
        if index_path(prefix) != index_path(target):
            with contextlib.suppress(FileNotFoundError):
                os.remove(index_path(prefix))
        if delete_old_dirs and os.path.dirname(prefix) != os.path.dirname(target):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(prefix))


def _beside(prefix: str, shards: int) -> tuple[int, list[str]]:
    """A number of shards under which data files can be written beside those of a checkpoint of the same name, and those files.

    The index names the number: replacing it turns from the old files to the new ones in one moment.
    """
    try:
        there = _Index.load(prefix).shards
    except OpError:  # none, or none that can be read
        return shards, []
    new = shards + 1 if there == shards else shards
    return new, glob.glob(f"{glob.escape(prefix)}.data-?????-of-{there:05d}")


def _remove_all(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _move(moves: dict[str, str]) -> None:
    for path in moves:
        if not os.path.exists(path):
            raise NotFoundError(None, None, f"{path}; No such file or directory")
    if not moves.keys().isdisjoint(moves.values()):  # a file must not land on one still to move
        staged = {f"{path}.tempstate": new for path, new in moves.items()}
        for path, new in zip(moves, staged):
            os.replace(path, new)
        moves = staged
    for path, new in moves.items():
        os.replace(path, new)


def _merge_one(
    index: _Index, merged: dict[bytes, BundleEntryProto], numbers: dict[str, int]
) -> None:
    for key, entry in index.entries.items():
        known = merged.get(key)
        if known is not None:
            if not known.slices or not entry.slices:
                raise InvalidArgumentError(
                    None,
                    None,
                    f"Duplicate tensor keyed by {_decode_name(key)} encountered, when merging "
                    f"prefix: {index.prefix}",
                )
            if (known.dtype, known.shape) != (entry.dtype, entry.shape):
                raise InvalidArgumentError(
                    None, None, f"{_decode_name(key)} differs in type or shape between checkpoints"
                )
            known.slices.extend(entry.slices)
            continue
        if not 0 <= entry.shard_id < index.shards:
            raise _loss(index.prefix, f"there is no shard {entry.shard_id}")
        path = data_path(index.prefix, entry.shard_id, index.shards)
        entry.shard_id = numbers.setdefault(path, len(numbers))
        merged[key] = entry


def _write_index(prefix: str, entries: dict[bytes, BundleEntryProto], shards: int) -> None:
    header = BundleHeaderProto(num_shards=shards)
    header.version.producer = VERSION
    items = [(_HEADER_KEY, header.SerializeToString())]
    items += [(key, entries[key].SerializeToString()) for key in sorted(entries)]
    temporary = f"{index_path(prefix)}.tempstate{uuid.uuid4().int & (1 << 64) - 1}"
    with open(temporary, "wb") as file:
        file.write(table.write_table(items))
    os.replace(temporary, index_path(prefix))


def _datatype(array: np.ndarray, dtype: DType | None) -> Any:
    if dtype is None:
        dtype = tensor.dtype_of(array)
    enum: Any = int(dtype.base_dtype.as_datatype_enum)
    if enum in (types_pb2.DT_VARIANT, types_pb2.DT_RESOURCE):
        raise UnimplementedError(None, None, f"A tensor of type {dtype} cannot be saved")
    return enum


def _set_shape(entry: BundleEntryProto, shape: Iterable[int]) -> None:
    entry.shape.SetInParent()
    for size in shape:
        entry.shape.dim.add(size=size)


def _shape(entry: BundleEntryProto) -> tuple[int, ...]:
    return tensor.shape_of(entry.shape)


def _encode_name(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode_name(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _loss(prefix: str, what: str) -> OpError:
    return DataLossError(None, None, f"TensorBundle at {prefix}: {what}")
