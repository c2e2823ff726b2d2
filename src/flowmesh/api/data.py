"""Input pipelines: the names of `tf.data`."""

from __future__ import annotations

from flowmesh.api import data_experimental as experimental
from flowmesh.frontend.data.dataset import (
    Dataset as Dataset,
    get_output_classes as get_output_classes,
    get_output_shapes as get_output_shapes,
    get_output_types as get_output_types,
    make_initializable_iterator as make_initializable_iterator,
    make_one_shot_iterator as make_one_shot_iterator,
)
from flowmesh.frontend.data.iterator import Iterator as Iterator
from flowmesh.frontend.data.options import Options as Options
from flowmesh.frontend.data.readers import (
    FixedLengthRecordDataset as FixedLengthRecordDataset,
    TextLineDataset as TextLineDataset,
    TFRecordDataset as TFRecordDataset,
)
from flowmesh.frontend.data.structure import DatasetSpec as DatasetSpec
