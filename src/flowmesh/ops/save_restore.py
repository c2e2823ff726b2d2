"""Checkpoints in the graph: `SaveV2`, `RestoreV2` and `MergeV2Checkpoints`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.file_policy import check_path
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.formats import slices
from flowmesh.formats.checkpoint import (
    BundleReader,
    BundleWriter,
    checkpoint_exists,
    index_path,
    merge_bundles,
)
from flowmesh.formats.slice_checkpoint import SliceReader
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.ops.io_ops import check_pattern, file_errors
from flowmesh.ops.shape_rules import same_size, scalar_input, with_rank
from flowmesh.resources.messages import dtype_string, shape_string


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def texts(value: Any) -> list[str]:
    """The elements of a string tensor as text."""
    return [os.fsdecode(item) for item in np.asarray(value, object).reshape(-1)]


def _arguments(
    what: str, prefix: Any, tensor_names: Any, shape_and_slices: Any, tensors: int
) -> tuple[str, list[str], list[str]]:
    """The three string inputs as text, checked as far as their sizes are concerned."""
    if np.size(prefix) != 1:
        raise _invalid(f"Input prefix should have a single element, got {np.size(prefix)} instead.")
    for name, value in (("tensor_names", tensor_names), ("shape_and_slices", shape_and_slices)):
        if np.ndim(value) != 1:
            raise _invalid(
                f"Input {name} should be an 1-D tensor, got {shape_string(np.shape(value))} instead."
            )
    names, specs = texts(tensor_names), texts(shape_and_slices)
    if len(names) != len(specs):
        raise _invalid(
            "tensor_names and shape_and_slices have different number of elements: "
            f"{len(names)} vs. {len(specs)}"
        )
    if len(names) != tensors:
        raise _invalid(f"Got {len(names)} tensor names but {tensors} tensors to {what}.")
    return texts(prefix)[0], names, specs


class SaveV2(OpDef):
    """Writes tensors, or slices of partitioned ones, to a checkpoint of TensorFlow's V2 format.

    A non-empty element of `shape_and_slices` ("4 3 0,2:-") says which slice of a larger tensor is given.
    """

    prefix = Input(dtypes.string)
    tensor_names = Input(dtypes.string)
    shape_and_slices = Input(dtypes.string)
    tensors = Input(types="dtypes")
    dtypes = Attr("list(type)", minimum=1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(
        self,
        ctx: Any,
        prefix: TensorShape,
        tensor_names: TensorShape,
        shape_and_slices: TensorShape,
        tensors: Sequence[TensorShape],
    ) -> tuple[()]:
        scalar_input(prefix)
        for shape in (tensor_names, shape_and_slices):
            key = with_rank(shape, 1).key
            if key is not None and key[0] is not None and key[0] != len(tensors):
                raise ValueError(f"Dimension must be {len(tensors)} but is {key[0]}")
        return ()

    def run(  # type: ignore[override]
        self, ctx: Any, prefix: Any, tensor_names: Any, shape_and_slices: Any, tensors: Any
    ) -> None:
        path, names, specs = _arguments(
            "save", prefix, tensor_names, shape_and_slices, len(tensors)
        )
        check_path(ctx.files, index_path(path))
        with file_errors(path), BundleWriter(path) as writer:
            for name, spec, tensor, dtype in zip(names, specs, tensors, self.attrs["dtypes"]):
                array = np.asarray(tensor)
                if not spec:
                    writer.add(name, array, dtype)
                    continue
                full, part = slices.parse_shape_and_slice(spec)
                sizes = [stop - start for start, stop in slices.box(part, full)]
                if list(array.shape) != sizes:
                    raise _invalid(
                        f"Slice in shape_and_slice specification does not match the shape of the "
                        f"tensor to save: {spec}, tensor: {shape_string(array.shape)}"
                    )
                writer.add_slice(name, full, part, array, dtype)


class RestoreV2(OpDef):
    """Reads tensors, or slices of them, from a checkpoint of TensorFlow's V2 format."""

    prefix = Input(dtypes.string)
    tensor_names = Input(dtypes.string)
    shape_and_slices = Input(dtypes.string)
    tensors = Output(types="dtypes")
    dtypes = Attr("list(type)", minimum=1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(
        self,
        ctx: Any,
        prefix: TensorShape,
        tensor_names: TensorShape,
        shape_and_slices: TensorShape,
    ) -> list[TensorShape]:
        scalar_input(prefix)
        first, second = with_rank(tensor_names, 1), with_rank(shape_and_slices, 1)
        if first.key and second.key:
            same_size(first.key[0], second.key[0])
        count = len(self.attrs["dtypes"])
        known = ctx.value(2)
        if known is None:
            return [unknown_shape()] * count
        specs = texts(known)
        if len(specs) != count:
            return [unknown_shape()] * count
        return [slice_shape(spec) for spec in specs]

    def run(  # type: ignore[override]
        self, ctx: Any, prefix: Any, tensor_names: Any, shape_and_slices: Any
    ) -> Any:
        wanted = self.attrs["dtypes"]
        path, names, specs = _arguments(
            "restore", prefix, tensor_names, shape_and_slices, len(wanted)
        )
        results: list[Any] = [None] * len(names)
        order = sorted(range(len(names)), key=names.__getitem__)
        check_path(ctx.files, index_path(path))
        check_pattern(ctx.files, path)
        with file_errors(path):
            if not checkpoint_exists(path):  # a checkpoint of the first format, or none
                old = SliceReader(path)
                for i in order:
                    results[i] = _read(old, names[i], specs[i], wanted[i])
                return (results,)
            with BundleReader(path) as reader:
                for i in order:
                    results[i] = _read(reader, names[i], specs[i], wanted[i])
        return (results,)


def slice_shape(spec: str) -> TensorShape:
    """The shape of what a shape-and-slice string describes; unknown for an empty one."""
    if not spec:
        return unknown_shape()
    full, part = slices.parse_shape_and_slice(spec)
    return TensorShape([stop - start for start, stop in slices.box(part, full)])


def _read(reader: BundleReader | SliceReader, name: str, spec: str, dtype: Any) -> np.ndarray:
    original = reader.dtype(name)
    if original != dtype:
        raise _invalid(
            f"tensor_name = {name}; expected dtype {dtype_string(dtype)} does not equal original "
            f"dtype {dtype_string(original)}"
        )
    if not spec:
        return reader.read(name)
    full, part = slices.parse_shape_and_slice(spec)
    stored = reader.shape(name)
    if tuple(full) != tuple(stored):
        raise _invalid(
            f"tensor_name = {name}; shape in shape_and_slice spec {shape_string(full)} does not match "
            f"the shape stored in checkpoint: {shape_string(stored)}"
        )
    return reader.read_slice(name, part)


class MergeV2Checkpoints(OpDef):
    """Makes one checkpoint of several, moving their data files to it."""

    checkpoint_prefixes = Input(dtypes.string)
    destination_prefix = Input(dtypes.string)
    delete_old_dirs = Attr("bool", True)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(
        self, ctx: Any, checkpoint_prefixes: TensorShape, destination_prefix: TensorShape
    ) -> tuple[()]:
        with_rank(checkpoint_prefixes, 1)
        scalar_input(destination_prefix)
        return ()

    def run(  # type: ignore[override]
        self, ctx: Any, checkpoint_prefixes: Any, destination_prefix: Any
    ) -> None:
        target = texts(destination_prefix)[0]
        sources = texts(checkpoint_prefixes)
        for path in (*sources, target):
            check_path(ctx.files, index_path(path))
        with file_errors(target):
            merge_bundles(sources, target, delete_old_dirs=self.attrs["delete_old_dirs"])
