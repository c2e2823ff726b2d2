"""Checkpoints of TensorFlow's first format in the graph: `Save`, `SaveSlices`, `Restore` and `RestoreSlice`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.file_policy import check_path
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.formats import slices
from flowmesh.formats.slice_checkpoint import SliceReader, SliceWriter
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.io_ops import check_pattern, file_errors, scalar_text
from flowmesh.ops.save_restore import slice_shape, texts
from flowmesh.ops.shape_rules import scalar_input, with_rank
from flowmesh.resources.messages import dtype_string, shape_string


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


def _check_names(count: int, *shapes: TensorShape) -> None:
    for shape in shapes:
        key = with_rank(shape, 1).key
        if key is not None and key[0] is not None and key[0] != count:
            raise ValueError(f"Dimension must be {count} but is {key[0]}")


def _save(
    path: str, names: list[str], specs: list[str], tensors: Sequence[Any], types: Sequence[Any]
) -> None:
    if not len(names) == len(specs) == len(tensors):
        raise _invalid(f"Got {len(names)} tensor names but {len(tensors)} tensors to save.")
    writer = SliceWriter(path)
    for name, spec, value, dtype in zip(names, specs, tensors, types):
        array = np.asarray(value)
        if not spec:
            writer.add(name, array, dtype)
            continue
        full, part = slices.parse_shape_and_slice(spec)
        sizes = [stop - start for start, stop in slices.box(part, full)]
        if list(array.shape) != sizes:
            raise _invalid(
                "Slice in shape_and_slice specification does not match the shape of the tensor to "
                f"save: {spec}, tensor: {shape_string(array.shape)}"
            )
        writer.add_slice(name, full, part, array, dtype)
    with file_errors(path):
        writer.finish()


class Save(OpDef):
    """Writes tensors to a file."""

    filename = Input(dtypes.string)
    tensor_names = Input(dtypes.string)
    data = Input(types="T")
    T = Attr("list(type)", minimum=1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(
        self,
        ctx: Any,
        filename: TensorShape,
        tensor_names: TensorShape,
        data: Sequence[TensorShape],
    ) -> tuple[()]:
        scalar_input(filename)
        _check_names(len(data), tensor_names)
        return ()

    def run(self, ctx: Any, filename: Any, tensor_names: Any, data: Any) -> None:  # type: ignore[override]
        names = texts(tensor_names)
        path = scalar_text(filename, "filename")
        check_path(ctx.files, path)
        _save(path, names, [""] * len(names), data, self.attrs["T"])


class SaveSlices(OpDef):
    """Writes tensors, or slices of partitioned ones, to a file."""

    filename = Input(dtypes.string)
    tensor_names = Input(dtypes.string)
    shapes_and_slices = Input(dtypes.string)
    data = Input(types="T")
    T = Attr("list(type)", minimum=1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(
        self,
        ctx: Any,
        filename: TensorShape,
        tensor_names: TensorShape,
        shapes_and_slices: TensorShape,
        data: Sequence[TensorShape],
    ) -> tuple[()]:
        scalar_input(filename)
        _check_names(len(data), tensor_names, shapes_and_slices)
        return ()

    def run(  # type: ignore[override]
        self, ctx: Any, filename: Any, tensor_names: Any, shapes_and_slices: Any, data: Any
    ) -> None:
        path = scalar_text(filename, "filename")
        check_path(ctx.files, path)
        _save(path, texts(tensor_names), texts(shapes_and_slices), data, self.attrs["T"])


def _restore(pattern: str, name: str, spec: str, dtype: Any) -> np.ndarray:
    with file_errors(pattern):
        return restored(SliceReader(pattern), name, spec, dtype)


def restored(reader: SliceReader, name: str, spec: str, dtype: Any) -> np.ndarray:
    """One tensor, or the slice of it that `spec` describes, which must be of `dtype`."""
    original, shape = reader.dtype(name), reader.shape(name)
    if original != dtype:
        raise _invalid(
            f"Expected to restore a tensor of type {dtype_string(dtype)}, got a tensor of type "
            f"{dtype_string(original)} instead: tensor_name = {name}"
        )
    if not spec:
        return reader.read(name)
    full, part = slices.parse_shape_and_slice(spec)
    if tuple(full) != shape:
        raise _invalid(
            "Shape in shape_and_slice spec does not match the shape in the save file: "
            f"{shape_string(full)}, save file shape: {shape_string(shape)}"
        )
    return reader.read_slice(name, part)


class Restore(OpDef):
    """Reads a tensor from the files that match a pattern."""

    file_pattern = Input(dtypes.string)
    tensor_name = Input(dtypes.string)
    tensor = Output("dt")
    dt = type_attr()
    preferred_shard = Attr("int", -1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, file_pattern: TensorShape, tensor_name: TensorShape) -> TensorShape:
        scalar_input(file_pattern)
        scalar_input(tensor_name)
        return unknown_shape()

    def run(self, ctx: Any, file_pattern: Any, tensor_name: Any) -> Any:  # type: ignore[override]
        pattern = scalar_text(file_pattern, "file_pattern")
        check_pattern(ctx.files, pattern)
        return _restore(pattern, scalar_text(tensor_name, "tensor_name"), "", self.attrs["dt"])


class RestoreSlice(OpDef):
    """Reads a tensor, or a slice of it, from the files that match a pattern."""

    file_pattern = Input(dtypes.string)
    tensor_name = Input(dtypes.string)
    shape_and_slice = Input(dtypes.string)
    tensor = Output("dt")
    dt = type_attr()
    preferred_shard = Attr("int", -1)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        for shape in shapes:
            scalar_input(shape)
        spec = ctx.value(2)
        return unknown_shape() if spec is None else slice_shape(texts(spec)[0])

    def run(  # type: ignore[override]
        self, ctx: Any, file_pattern: Any, tensor_name: Any, shape_and_slice: Any
    ) -> Any:
        pattern = scalar_text(file_pattern, "file_pattern")
        check_pattern(ctx.files, pattern)
        return _restore(
            pattern,
            scalar_text(tensor_name, "tensor_name"),
            scalar_text(shape_and_slice, "shape_and_slice"),
            self.attrs["dt"],
        )
