"""The names of `tf.data.experimental`."""

from __future__ import annotations

from flowmesh.frontend.data.building import AUTOTUNE as AUTOTUNE
from flowmesh.frontend.data.csv_files import make_csv_dataset as make_csv_dataset
from flowmesh.frontend.data.dataset import get_structure as get_structure
from flowmesh.frontend.data.experimental import (
    INFINITE_CARDINALITY as INFINITE_CARDINALITY,
    UNKNOWN_CARDINALITY as UNKNOWN_CARDINALITY,
    Counter as Counter,
    enumerate_dataset as enumerate_dataset,
    get_single_element as get_single_element,
    ignore_errors as ignore_errors,
    map_and_batch as map_and_batch,
    map_and_batch_with_legacy_function as map_and_batch_with_legacy_function,
    parallel_interleave as parallel_interleave,
    prefetch_to_device as prefetch_to_device,
    shuffle_and_repeat as shuffle_and_repeat,
    take_while as take_while,
    unbatch as unbatch,
)
from flowmesh.frontend.data.grouping import (
    bucket_by_sequence_length as bucket_by_sequence_length,
    group_by_window as group_by_window,
)
from flowmesh.frontend.data.options import (
    DistributeOptions as DistributeOptions,
    MapVectorizationOptions as MapVectorizationOptions,
    OptimizationOptions as OptimizationOptions,
    StatsOptions as StatsOptions,
    ThreadingOptions as ThreadingOptions,
)
from flowmesh.frontend.data.readers import CsvDataset as CsvDataset
from flowmesh.frontend.data.structure import DatasetSpec as DatasetStructure
