"""`tf.contrib.staging`, and what else `data_flow_ops` has beside the queues of `tf`."""

from __future__ import annotations

from flowmesh.ops.barrier_ops import Barrier as Barrier
from flowmesh.ops.record_input import RecordInput as RecordInput
from flowmesh.ops.staging_ops import MapStagingArea as MapStagingArea, StagingArea as StagingArea

__all__ = ["Barrier", "MapStagingArea", "RecordInput", "StagingArea"]
