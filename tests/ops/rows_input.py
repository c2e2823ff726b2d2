"""Rows of the ops of input pipelines: parsing, image files, sparse tensors in other forms, accumulators, barriers, staging.

They are compared with TensorFlow's recorded values and graphs, or tested together by what goes in and comes out.
"""

from tests.ops.table import Row

_GRAPHS = "tests/training/test_input_graphs.py"
_RESOURCES = "tests/ops/test_input_resources.py"

_RECORDED = [
    "ParseExample",
    "ParseSingleExample",
    "ParseSingleSequenceExample",
    "ParseSequenceExample",
    "ParseTensor",
    "SerializeTensor",
    "SerializeSparse",
    "SerializeManySparse",
    "DeserializeManySparse",
    "SparseReorder",
    "DecodeCompressed",
    "DecodeJpeg",
    "DecodeAndCropJpeg",
    "DecodePng",
    "DecodeGif",
    "DecodeBmp",
    "ExtractJpegShape",
    "EncodeJpeg",
    "EncodeJpegVariableQuality",
    "EncodePng",
    "DrawBoundingBoxes",
    "DrawBoundingBoxesV2",
    "SampleDistortedBoundingBoxV2",
    "NonMaxSuppressionV3",
    "AddManySparseToTensorsMap",
]
_TOGETHER = [
    "AddSparseToTensorsMap",
    "TakeManySparseFromTensorsMap",
    "DeserializeSparse",
    "DecodeJSONExample",
    "SampleDistortedBoundingBox",
    "NonMaxSuppression",
    "NonMaxSuppressionV2",
    "ConditionalAccumulator",
    "ResourceConditionalAccumulator",
    "SparseConditionalAccumulator",
    "SparseAccumulatorApplyGradient",
    "SparseAccumulatorTakeGradient",
    "Barrier",
    "BarrierInsertMany",
    "BarrierTakeMany",
    "BarrierClose",
    "BarrierReadySize",
    "BarrierIncompleteSize",
    "Stage",
    "Unstage",
    "StagePeek",
    "StageSize",
    "StageClear",
]
_ACCUMULATING = ["ApplyGradient", "TakeGradient", "NumAccumulated", "SetGlobalStep"]
_MAPPED = ["Stage", "Unstage", "UnstageNoKey", "Peek", "Size", "IncompleteSize", "Clear"]
_TOGETHER += [f"{p}Accumulator{n}" for p in ("", "Resource") for n in _ACCUMULATING]
_TOGETHER += [f"{p}Map{n}" for p in ("", "Ordered") for n in _MAPPED]

ROWS = [
    *[Row(name, covered_by=_GRAPHS) for name in _RECORDED],
    *[Row(name, covered_by=_RESOURCES) for name in _TOGETHER],
]
