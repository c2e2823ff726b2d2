"""The names of `tf.contrib.data`."""

from __future__ import annotations

from flowmesh.frontend.data.building import AUTOTUNE as AUTOTUNE
from flowmesh.frontend.data.csv_files import make_csv_dataset as make_csv_dataset
from flowmesh.frontend.data.experimental import (
    Counter as Counter,
    batch_and_drop_remainder as batch_and_drop_remainder,
    enumerate_dataset as enumerate_dataset,
    get_single_element as get_single_element,
    ignore_errors as ignore_errors,
    map_and_batch as map_and_batch,
    padded_batch_and_drop_remainder as padded_batch_and_drop_remainder,
    parallel_interleave as parallel_interleave,
    prefetch_to_device as prefetch_to_device,
    shuffle_and_repeat as shuffle_and_repeat,
    sloppy_interleave as sloppy_interleave,
    unbatch as unbatch,
)
from flowmesh.frontend.data.grouping import (
    bucket_by_sequence_length as bucket_by_sequence_length,
    group_by_window as group_by_window,
)
from flowmesh.frontend.data.readers import CsvDataset as CsvDataset
