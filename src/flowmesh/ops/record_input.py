"""RecordInput: batches of shuffled records of TFRecord files, for ever."""

from __future__ import annotations

import glob
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.dtypes import string
from flowmesh.core.file_policy import check_path
from flowmesh.core.shapes import TensorShape, vector
from flowmesh.formats.records import RecordReader
from flowmesh.graph.op_def import Attr, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.ops.io_ops import file_errors
from flowmesh.ops.naming import name_scope


class _Source:
    """The records of some files in shuffled order, again and again; one for each node and session."""

    def __init__(
        self, files: list[str], compression: str, buffer: int, shift: float, seed: int
    ) -> None:
        self._files = files
        self._compression = compression
        self._buffer = buffer
        self._random = random.Random(seed or None)
        self._shift = shift
        self._lock = threading.Lock()
        self._records = self._shuffled(self._all())

    def take(self, count: int) -> list[bytes]:
        """The next `count` records."""
        with self._lock:
            return [next(self._records) for _ in range(count)]

    def _all(self) -> Iterator[bytes]:
        """The records of all files, epoch after epoch; the files in new order, begun `shift_ratio` further on."""
        order, begun = list(self._files), 0.0
        while True:
            self._random.shuffle(order)
            start = int(begun * len(order))
            begun = (begun + self._shift) % 1.0
            found = False
            for path in order[start:] + order[:start]:
                with file_errors(path), RecordReader(path, self._compression) as reader:
                    for record in reader:
                        found = True
                        yield record
            if not found:
                raise errors.NotFoundError(None, None, f"No records in {', '.join(order)}")

    def _shuffled(self, records: Iterator[bytes]) -> Iterator[bytes]:
        held: list[bytes] = []
        for record in records:
            if len(held) < self._buffer:
                held.append(record)
                continue
            at = self._random.randrange(len(held))
            out, held[at] = held[at], record
            yield out


class RecordInputOp(OpDef):
    """Emits randomized records."""

    op_type = "RecordInput"

    records = Output(string)
    file_pattern = Attr("string")
    file_random_seed = Attr("int", 301)
    file_shuffle_shift_ratio = Attr("float", 0.0)
    file_buffer_size = Attr("int", 10000)
    file_parallelism = Attr("int", 16)
    batch_size = Attr("int", 32)
    compression_type = Attr("string", "")
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return vector(self.attrs["batch_size"])

    def run(self, ctx: Any) -> Any:
        """The next batch: a vector of serialized records. NotFoundError when no file matches the pattern."""
        source = ctx.state.get("source")
        if source is None:
            source = ctx.state.setdefault("source", self._open(ctx))
        batch = np.empty(self.attrs["batch_size"], object)
        batch[:] = source.take(len(batch))
        return batch

    def _open(self, ctx: Any) -> _Source:
        pattern = self.attrs["file_pattern"].decode()
        check_path(ctx.files, pattern)
        files = sorted(glob.glob(pattern))
        if not files:
            raise errors.NotFoundError(None, None, f"No file matches the pattern {pattern}")
        return _Source(
            files,
            self.attrs["compression_type"].decode(),
            max(1, self.attrs["file_buffer_size"]),
            self.attrs["file_shuffle_shift_ratio"],
            self.attrs["file_random_seed"],
        )


class RecordInput:
    """Shuffled records of TFRecord files, for ever (TensorFlow: `data_flow_ops.RecordInput`).

    `buffer_size` records are held to shuffle among, `seed` makes the order the same each time, `batches` deals each batch of
    `batch_size` records out to that many lists. Raises ValueError when `batches` does not divide `batch_size`.
    """

    def __init__(
        self,
        file_pattern: str,
        batch_size: int = 1,
        buffer_size: int = 1,
        parallelism: int = 1,
        shift_ratio: float = 0,
        seed: int = 0,
        name: str | None = None,
        batches: int | None = None,
        compression_type: Any = None,
    ) -> None:
        self._batch_size = batch_size
        if batches is not None:
            self._batch_size *= batches
        self._batches = batches
        self._name = "record_input" if name is None else name
        kind = getattr(compression_type, "name", compression_type)
        names = {None: "", 0: "", 1: "ZLIB", 2: "GZIP"}
        self._attrs = {
            "file_pattern": file_pattern,
            "file_buffer_size": buffer_size,
            "file_parallelism": parallelism,
            "file_shuffle_shift_ratio": shift_ratio,
            "batch_size": self._batch_size,
            "file_random_seed": seed,
            "compression_type": names.get(kind, kind),
        }

    def get_yield_op(self) -> Any:
        """The node whose output is the next batch: a string vector, or with `batches` a list of lists of string scalars."""
        records = raw.RecordInput(**self._attrs, name=self._name)
        if self._batches is None:
            return records
        with name_scope(None, self._name):
            single = raw.Split(np.int32(0), records, num_split=self._batch_size)
            batches: list[list[Any]] = [[] for _ in range(self._batches)]
            for number, record in enumerate(single):
                batches[number % self._batches].append(
                    raw.Reshape(record, np.zeros(0, np.int32), name=f"record-{number}")
                )
            return batches
