"""Checkpoints where the tasks of a cluster and the client share no file system: values go through the session.

The nodes of a Saver stay what they are. What its SaveV2 nodes would write is fetched and written here; what its RestoreV2 nodes
would read is read here and fed in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.formats import slices
from flowmesh.formats.checkpoint import BundleReader, BundleWriter
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.operation import Operation
from flowmesh.training import checkpoint_management

_BYTES_AT_ONCE = 64 << 20


def save(sess: Any, saver_def: Any, prefix: str) -> str:
    """Writes the checkpoint with the values of the session's variables, in one file; returns its prefix.

    No more than some 64 MB are fetched at a time, or the largest variable.
    """
    root = sess.graph.get_tensor_by_name(saver_def.save_tensor_name).op
    with BundleWriter(prefix) as writer:
        for batch in _batches(_ops_before([root], "SaveV2")):
            values = sess.run([tensor for _, _, tensor in batch])
            for (name, spec, tensor), value in zip(batch, values, strict=True):
                dtype = tensor.dtype.base_dtype
                if spec:
                    full, part = slices.parse_shape_and_slice(spec)
                    writer.add_slice(name, full, part, np.asarray(value), dtype)
                else:
                    writer.add(name, np.asarray(value), dtype)
    return prefix


def _batches(saves: Iterable[Operation]) -> Iterator[list[tuple[str, str, Any]]]:
    """(name, slice, tensor) of all that the nodes save, as much at once as is well fetched in one step."""
    batch: list[tuple[str, str, Any]] = []
    size = 0
    for op in saves:
        for name, spec, tensor in zip(*_named(op), op.inputs[3:], strict=True):
            elements = tensor.shape.num_elements() or 1
            size += elements * max(1, tensor.dtype.base_dtype.size)
            if batch and size > _BYTES_AT_ONCE:
                yield batch
                batch, size = [], 0
            batch.append((name, spec, tensor))
    if batch:
        yield batch


def restore(sess: Any, targets: Any, filename: str, prefix: str) -> None:
    """Runs `targets`, operations of a Saver, with the values of the checkpoint fed where they would be read from it.

    `filename` is the name of the saver's filename tensor. Raises NotFoundError for what is not in the checkpoint, InvalidArgumentError for
    another dtype or shape than the graph's.
    """
    wanted = targets if isinstance(targets, (list, tuple)) else [targets]
    ops = [sess.graph.as_graph_element(t) for t in wanted]
    feeds: dict[Any, Any] = {filename: prefix}
    with BundleReader(prefix) as reader:
        for op in _ops_before(ops, "RestoreV2"):
            for name, spec, tensor in zip(*_named(op), op.outputs, strict=True):
                feeds[tensor] = _read(reader, name, spec, tensor.dtype.base_dtype)
    sess.run(targets, feeds)


def _read(reader: BundleReader, name: str, spec: str, dtype: Any) -> np.ndarray:
    if reader.dtype(name) != dtype:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"tensor_name = {name}; expected dtype {dtype.name} does not equal original dtype {reader.dtype(name).name}",
        )
    if not spec:
        return reader.read(name)
    full, part = slices.parse_shape_and_slice(spec)
    if tuple(full) != tuple(reader.shape(name)):
        raise errors.InvalidArgumentError(
            None,
            None,
            f"tensor_name = {name}; shape in shape_and_slice spec {list(full)} does not match the shape stored in "
            f"checkpoint: {list(reader.shape(name))}",
        )
    return reader.read_slice(name, part)


def sees_no_file(error: errors.OpError, prefix: str) -> bool:
    """Whether a restore failed because a task does not see the files of a checkpoint that this process sees."""
    text = str(error.message)
    missing = "Failed to find any matching files" in text or "No such file or directory" in text
    return missing and checkpoint_management.checkpoint_exists(prefix)


def _named(op: Operation) -> tuple[list[str], list[str]]:
    """The names and the slices that a SaveV2 or RestoreV2 node is given."""
    found = [constant_value(op.inputs[i]) for i in (1, 2)]
    if any(value is None for value in found):
        raise errors.UnimplementedError(
            None, op, f"{op.name} has names that are no constants: its values cannot be streamed"
        )
    names, specs = ([item.decode() for item in np.asarray(v).reshape(-1)] for v in found)
    return names, specs


def _ops_before(ops: Iterable[Operation], kind: str) -> list[Operation]:
    """The ops of this type that `ops` depend on, in the order of their making."""
    found: list[Operation] = []
    pending, seen = list(ops), set()
    while pending:
        op = pending.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type == kind:
            found.append(op)
        pending.extend(op.control_inputs)
        pending.extend(t.op for t in op.inputs)
    return sorted(found, key=lambda op: op.id)
