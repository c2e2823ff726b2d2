"""`make_csv_dataset`: CSV files with names of columns as batches of dicts (TensorFlow: `tf.data.experimental.make_csv_dataset`)."""

from __future__ import annotations

import csv
import gzip
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.platform import gfile
from flowmesh.frontend.data import building
from flowmesh.frontend.data.building import AUTOTUNE
from flowmesh.frontend.data.dataset import Dataset, DatasetV1Adapter
from flowmesh.frontend.data.experimental import (
    ignore_errors as without_errors,
    parallel_interleave,
    shuffle_and_repeat,
)
from flowmesh.frontend.data.readers import CsvDataset
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.constant import constant

_INFERRED = (dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64, dtypes.string)


def make_csv_dataset(
    file_pattern: Any,
    batch_size: int,
    column_names: Sequence[str] | None = None,
    column_defaults: Sequence[Any] | None = None,
    label_name: str | None = None,
    select_columns: Sequence[Any] | None = None,
    field_delim: str = ",",
    use_quote_delim: bool = True,
    na_value: str = "",
    header: bool = True,
    num_epochs: int | None = None,
    shuffle: bool = True,
    shuffle_buffer_size: int = 10000,
    shuffle_seed: int | None = None,
    prefetch_buffer_size: int | None = None,
    num_parallel_reads: int | None = None,
    sloppy: bool = False,
    num_rows_for_inference: int | None = 100,
    compression_type: str | None = None,
    ignore_errors: bool = False,
) -> Dataset:
    """Batches of an OrderedDict of columns, with `label_name` of (dict, label), from the CSV files that match.

    Args:
      file_pattern: one or more patterns of file names.
      column_names: default: the first line of the files.
      column_defaults: for each selected column a dtype or a default; default: found by looking at `num_rows_for_inference` records.
      select_columns: names or numbers of the columns to read.
      num_epochs: how many passes; for ever without it.

    Raises ValueError for files, columns and defaults that do not fit together.
    """
    names = _file_names(file_pattern)
    probe = _Reader(names, field_delim, use_quote_delim, compression_type)
    column_names = _column_names(probe, column_names, header)
    selected = None if select_columns is None else _numbers(select_columns, column_names)
    if column_defaults is None:
        column_defaults = probe.defaults(
            len(column_names), na_value, header, num_rows_for_inference, selected
        )
    if selected is not None:
        if len(column_defaults) != len(selected):
            raise ValueError(
                "If specified, column_defaults and select_columns must have same length."
            )
        column_names = [column_names[i] for i in selected]
    if label_name is not None and label_name not in column_names:
        raise ValueError("`label_name` provided must be one of the columns.")
    defaults = [constant([], d) if _is_dtype(d) else d for d in column_defaults]
    form = (field_delim, use_quote_delim, na_value, selected)
    settings = (defaults, compression_type, None, header, *form)
    dataset = Dataset.from_tensor_slices(names)
    if shuffle:
        dataset = dataset.shuffle(len(names), shuffle_seed)
    dataset = _records(dataset, settings, ignore_errors, num_parallel_reads, sloppy)
    dataset = _passes(dataset, num_epochs, shuffle, shuffle_buffer_size, shuffle_seed)
    dataset = dataset.batch(batch_size, drop_remainder=num_epochs is None)
    dataset = _named(dataset, column_names, label_name)
    return dataset.prefetch(AUTOTUNE if prefetch_buffer_size is None else prefetch_buffer_size)


def _column_names(probe: _Reader, names: Sequence[str] | None, header: bool) -> list[str]:
    if names is None and not header:
        raise ValueError("Cannot infer column names without a header line.")
    found = probe.column_names() if names is None else list(names)
    if len(found) != len(set(found)):
        raise ValueError("Cannot have duplicate column names.")
    return found


def _records(
    names: Dataset, settings: tuple[Any, ...], ignore: bool, parallel: int | None, sloppy: bool
) -> Dataset:
    def filename_to_dataset(name: Any) -> Dataset:
        records: Dataset = CsvDataset(name, *settings)
        return records.apply(without_errors()) if ignore else records

    if parallel == AUTOTUNE:
        return names.interleave(filename_to_dataset, num_parallel_calls=AUTOTUNE)
    return names.apply(parallel_interleave(filename_to_dataset, parallel or 1, sloppy=sloppy))


def _named(dataset: Dataset, names: Sequence[str], label_name: str | None) -> Dataset:
    def map_fn(*columns: Any) -> Any:
        features = OrderedDict(zip(names, columns))
        if label_name is None:
            return features
        label = features.pop(label_name)
        return features, label

    return DatasetV1Adapter(building.mapped(dataset, map_fn, None, inter_op=False))


def _passes(dataset: Dataset, epochs: Any, shuffle: bool, size: int, seed: Any) -> Dataset:
    if shuffle and epochs != 1:
        return dataset.apply(shuffle_and_repeat(size, epochs, seed))
    if shuffle:
        return dataset.shuffle(size, seed)
    return dataset if epochs == 1 else dataset.repeat(epochs)


def _file_names(patterns: Any) -> list[str]:
    if isinstance(patterns, (list, tuple)) and not patterns:
        raise ValueError("File pattern is empty.")
    if not isinstance(patterns, (list, tuple)):
        patterns = [patterns]
    names = sorted({name for pattern in patterns for name in gfile.glob(pattern)})
    if not names:
        raise ValueError(f"No files match {patterns}.")
    return names


def _numbers(columns: Sequence[Any], names: Sequence[str]) -> list[int]:
    by_name = {name: i for i, name in enumerate(names)}
    found = []
    for column in columns:
        if isinstance(column, int):
            if not 0 <= column < len(names):
                raise ValueError(
                    f"Column index {column} specified in select_columns out of valid range."
                )
            found.append(column)
        elif column not in by_name:
            raise ValueError(
                f"Value '{column}' specified in select_columns not a valid index or column name."
            )
        else:
            found.append(by_name[column])
    result = sorted(set(found))
    if len(result) != len(columns):
        raise ValueError("select_columns contains duplicate columns")
    return result


def _is_dtype(value: Any) -> bool:
    return not isinstance(value, (Tensor, list, tuple)) and any(
        value is t for t in building.CSV_TYPES
    )


class _Reader:
    """Looks into the files while the graph is built."""

    def __init__(
        self, names: list[str], delimiter: str, quotes: bool, compression: str | None
    ) -> None:
        self._names = names
        self._options: dict[str, Any] = {
            "delimiter": delimiter,
            "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        }
        self._zipped = compression == "GZIP"
        if compression and not self._zipped:
            raise ValueError(
                f"compression_type ({compression}) is not supported for probing columns"
            )

    def _open(self, name: str) -> IO[str]:
        if self._zipped:
            return gzip.open(name, "rt", newline="")
        return open(name, newline="")

    def column_names(self) -> list[str]:
        """The first line, which all files have in common."""
        found: list[str] | None = None
        for name in self._names:
            with self._open(name) as file:
                try:
                    row = next(csv.reader(file, **self._options))
                except StopIteration:
                    raise ValueError(
                        f"Received StopIteration when reading the header line of {name}. Empty file?"
                    ) from None
            if found is not None and row != found:
                raise ValueError(
                    "All input CSV files should have the same column names in the header row. File "
                    f"{name} has different column names."
                )
            found = row
        return found or []

    def _rows(self, header: bool, columns: list[int] | None, width: int) -> Iterator[list[str]]:
        for name in self._names:
            with self._open(name) as file:
                rows = csv.reader(file, **self._options)
                if header:
                    next(rows, None)
                for row in rows:
                    if len(row) != width:
                        raise ValueError(
                            "Problem inferring types: CSV row has different number of fields than expected."
                        )
                    yield row if columns is None else [row[i] for i in columns]

    def defaults(
        self, width: int, missing: str, header: bool, limit: int | None, columns: list[int] | None
    ) -> list[Any]:
        """A default of the narrowest dtype that holds all values of the first records, for each column."""
        kinds = [0] * (width if columns is None else len(columns))
        seen = [False] * len(kinds)
        for number, row in enumerate(self._rows(header, columns, width)):
            if limit is not None and number >= limit:
                break
            for i, text in enumerate(row):
                if text and text != missing:
                    seen[i] = True
                    while not _holds(kinds[i], text):
                        kinds[i] += 1
        found = [_INFERRED[k] if s else dtypes.float32 for k, s in zip(kinds, seen)]
        zeros = ["" if d == dtypes.string else np.zeros((), d.as_numpy_dtype)[()] for d in found]
        return [constant([zero], dtype) for zero, dtype in zip(zeros, found)]


def _holds(kind: int, text: str) -> bool:
    dtype = _INFERRED[kind]
    if dtype == dtypes.string:
        return True
    try:
        if dtype.is_integer:
            return bool(dtype.min <= int(text) <= dtype.max)
        with np.errstate(all="ignore"):
            number = float(text)
            return dtype == dtypes.float64 or bool(
                np.isfinite(np.float32(number)) or np.isinf(number)
            )
    except (ValueError, OverflowError):
        return False
