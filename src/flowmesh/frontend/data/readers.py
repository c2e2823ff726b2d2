"""Datasets of files (TensorFlow: `tf.data.TextLineDataset` and its siblings)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowmesh.core import dtypes
from flowmesh.frontend.data import building
from flowmesh.frontend.data.building import AUTOTUNE, Recipe
from flowmesh.frontend.data.dataset import Dataset, DatasetV1Adapter
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.raw import raw


def _file_names(filenames: Any) -> Dataset:
    """A dataset of file names; TypeError for one of anything else."""
    if isinstance(filenames, Dataset):
        if filenames.output_types != dtypes.string:
            raise TypeError("`filenames` must be a `tf.data.Dataset` of `tf.string` elements.")
        if not filenames.output_shapes.is_compatible_with([]):
            raise TypeError(
                "`filenames` must be a `tf.data.Dataset` of scalar `tf.string` elements."
            )
        return filenames
    names = convert_to_tensor(filenames, dtypes.string)
    return Dataset.from_tensor_slices(raw.Reshape(names, [-1], name="flat_filenames"))


def _records(filenames: Any, open_file: Callable[[Any], Recipe], parallel: Any) -> Recipe:
    """The records of all files, one file after the other or `parallel` of them in turn."""
    names = _file_names(filenames)

    def read_one_file(filename: Any) -> Dataset:
        return DatasetV1Adapter(open_file(convert_to_tensor(filename, dtypes.string)))

    if parallel is None:
        return building.flat_mapped(names, read_one_file)
    if parallel == AUTOTUNE:
        return building.interleaved(names, read_one_file, AUTOTUNE, 1, parallel)
    return building.parallel_interleaved(names, read_one_file, parallel, 1)


class TextLineDatasetV1(DatasetV1Adapter):
    """The lines of text files, without their ends (tf.data.TextLineDataset)."""

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        """`filenames`: strings, or a dataset of strings. `compression_type`: "", "ZLIB" or "GZIP"."""
        super().__init__(
            _records(
                filenames,
                lambda name: building.text_lines(name, compression_type, buffer_size),
                num_parallel_reads,
            )
        )


class TFRecordDatasetV1(DatasetV1Adapter):
    """The records of TFRecord files (tf.data.TFRecordDataset)."""

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        """`filenames`: strings, or a dataset of strings. `compression_type`: "", "ZLIB" or "GZIP"."""
        super().__init__(
            _records(
                filenames,
                lambda name: building.tf_records(name, compression_type, buffer_size),
                num_parallel_reads,
            )
        )


class FixedLengthRecordDatasetV1(DatasetV1Adapter):
    """The records of files of records of one size (tf.data.FixedLengthRecordDataset)."""

    def __init__(
        self,
        filenames: Any,
        record_bytes: Any,
        header_bytes: Any = None,
        footer_bytes: Any = None,
        buffer_size: Any = None,
        compression_type: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        """`filenames`: strings, or a dataset of strings; `header_bytes` and `footer_bytes` of each file are left out."""
        super().__init__(
            _records(
                filenames,
                lambda name: building.fixed_length(
                    name, record_bytes, header_bytes, footer_bytes, buffer_size, compression_type
                ),
                num_parallel_reads,
            )
        )


class CsvDatasetV1(DatasetV1Adapter):
    """The records of CSV files as tuples of scalars (tf.data.experimental.CsvDataset)."""

    def __init__(
        self,
        filenames: Any,
        record_defaults: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        header: Any = False,
        field_delim: Any = ",",
        use_quote_delim: Any = True,
        na_value: Any = "",
        select_cols: Any = None,
    ) -> None:
        """For each column a dtype (there must be a value) or what an empty field stands for; `select_cols`: the numbers of the columns."""
        super().__init__(
            building.csv_records(
                filenames,
                record_defaults,
                compression_type,
                buffer_size,
                header,
                field_delim,
                use_quote_delim,
                na_value,
                select_cols,
            )
        )


TextLineDataset = TextLineDatasetV1
TFRecordDataset = TFRecordDatasetV1
FixedLengthRecordDataset = FixedLengthRecordDatasetV1
CsvDataset = CsvDatasetV1
