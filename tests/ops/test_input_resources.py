"""Accumulators, barriers, staging areas and sparse maps in sessions: values and errors as TensorFlow 1.15 gives them.

ConditionalAccumulator and ResourceConditionalAccumulator with AccumulatorApplyGradient, AccumulatorTakeGradient,
AccumulatorNumAccumulated, AccumulatorSetGlobalStep (and ResourceAccumulatorApplyGradient, ResourceAccumulatorTakeGradient,
ResourceAccumulatorNumAccumulated, ResourceAccumulatorSetGlobalStep); SparseConditionalAccumulator with
SparseAccumulatorApplyGradient and SparseAccumulatorTakeGradient. Barrier with BarrierInsertMany, BarrierTakeMany, BarrierClose,
BarrierReadySize, BarrierIncompleteSize. Stage, Unstage, StagePeek, StageSize, StageClear; MapStage, MapUnstage, MapUnstageNoKey,
MapPeek, MapSize, MapIncompleteSize, MapClear and OrderedMapStage, OrderedMapUnstage, OrderedMapUnstageNoKey, OrderedMapPeek,
OrderedMapSize, OrderedMapIncompleteSize, OrderedMapClear. AddSparseToTensorsMap, TakeManySparseFromTensorsMap,
DeserializeSparse, DecodeJSONExample, SampleDistortedBoundingBox, NonMaxSuppression, NonMaxSuppressionV2.
"""

import threading

import numpy as np
import pytest

import flowmesh as fm
from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.raw import raw
from flowmesh.ops import sparse_serialize
from flowmesh.ops.accumulator_ops import ConditionalAccumulator, SparseConditionalAccumulator
from flowmesh.ops.barrier_ops import Barrier
from flowmesh.ops.staging_ops import MapStagingArea, StagingArea
from flowmesh.proto.example_pb2 import Example
from flowmesh.resources import accumulators, staging


@pytest.fixture
def run():
    with fm.Graph().as_default(), fm.Session() as session:
        yield session.run


def fails(call, text, kind=errors.InvalidArgumentError):
    with pytest.raises(kind) as failure:
        call()
    assert failure.value.message.startswith(text)


# -- accumulators ----------------------------------------------------------------------------------------


def test_gradients_are_averaged_and_late_ones_dropped(run):
    a = ConditionalAccumulator("float32", shape=[2], name="acc")
    run(a.apply_grad([1.0, 2.0], 0))
    run(a.apply_grad([3.0, 2.0], 5))
    assert run(a.num_accumulated()) == 2
    assert run(a.take_grad(2)).tolist() == [2.0, 2.0]
    run(a.apply_grad([3.0, 2.0], 0))  # its step is over
    assert run(a.num_accumulated()) == 0
    run(a.set_global_step(7))
    run(a.apply_grad([9.0, 9.0], 6))
    assert run(a.num_accumulated()) == 0
    run(a.apply_grad([5.0, 6.0], 7))
    assert run(a.take_grad(1)).tolist() == [5.0, 6.0]
    fails(lambda: run(a.take_grad(0)), "Argument num_required must be positive, but was 0")
    p = fm.placeholder("float32")
    fails(lambda: run(a.apply_grad(p, 9), {p: [1.0]}), "Shape mismatch: expected [2], got [1]")
    with pytest.raises(ValueError, match="are incompatible"):
        a.apply_grad([1.0, 2.0, 3.0])


def test_a_sum_and_a_shared_accumulator(run):
    a = ConditionalAccumulator("float32", [2], shared_name="s", reduction_type="SUM")
    b = ConditionalAccumulator("float32", [2], shared_name="s", reduction_type="SUM")
    run([a.apply_grad([1.0, 2.0]), b.apply_grad([3.0, 4.0])])
    assert run(b.take_grad(2)).tolist() == [4.0, 6.0]


def test_accumulators_behind_refs(run):
    handle = raw.ConditionalAccumulator(dtype="float32", shape=TensorShape([2]))
    run(raw.AccumulatorApplyGradient(handle, np.int64(0), np.float32([1, 3])))
    assert run(raw.AccumulatorNumAccumulated(handle)) == 1
    taken = raw.AccumulatorTakeGradient(handle, np.int32(1), dtype=fm.float32)
    assert run(taken).tolist() == [1, 3]
    run(raw.AccumulatorSetGlobalStep(handle, np.int64(3)))
    run(raw.AccumulatorApplyGradient(handle, np.int64(2), np.float32([1, 3])))
    assert run(raw.AccumulatorNumAccumulated(handle)) == 0


def test_rows_are_averaged_over_the_gradients_that_have_them(run):
    a = SparseConditionalAccumulator("float32", shape=[4, 2])
    run(a.apply_grad([0, 2], [[1.0, 1.0], [2.0, 2.0]], [4, 2]))
    run(a.apply_grad([2, 3], [[1.0, 1.0], [2.0, 2.0]], [4, 2]))
    indices, values, shape = run(a.take_grad(2))
    assert indices.tolist() == [0, 2, 3] and shape.tolist() == [4, 2]
    assert values.tolist() == [[1, 1], [1.5, 1.5], [2, 2]]
    slices = fm.IndexedSlices(fm.constant([[1.0, 1.0]]), fm.constant([1]), None)
    run(a.apply_indexed_slices_grad(slices, local_step=3))
    run(a.apply_grad([1, 1], [[1.0, 1.0], [2.0, 2.0]], local_step=30))
    indices, values, _ = run(a.take_grad(1))
    assert indices.tolist() == [1, 1] and values.tolist() == [[1, 1], [2, 2]]
    run(a.apply_grad([3, 1], [[1.0, 1.0], [2.0, 2.0]], local_step=30))
    assert run(a.take_indexed_slices_grad(1)).indices.tolist() == [3, 1]
    late = {"local_step": 30}
    for grad, text in (
        (([[0]], [[1.0, 1.0]]), "Input indices should be vector but received shape: [1,1]"),
        (([0, 1], [[1.0, 1.0]]), "Expected 2 non-empty input values, got 1"),
        (([0], [[1.0, 1.0, 2.0]]), "Shape mismatch: expected values dim 1 to be 2, got 3"),
        (([0], [1.0]), "Shape mismatch: expected values rank 2, got 1"),
        (
            ([9], [[1.0, 1.0]]),
            "Shape mismatch: index of slice 0 exceeded limits of shape; index is 9",
        ),
        (([0], [[1.0, 1.0]], [5, 2]), "Shape mismatch: expected shape dim 0 to be 4, got 5"),
    ):
        fails(lambda grad=grad: run(a.apply_grad(*grad, **late)), text)


def test_a_take_that_waits_holds_no_thread_and_can_be_cancelled():
    a = accumulators.ConditionalAccumulator("a", fm.float32, TensorShape([1]))
    before = threading.active_count()
    stop = CancellationManager()
    first, second = a.take(2, stop), a.take(1)
    assert not first.done() and not second.done() and a.waiting == 2
    assert threading.active_count() == before
    a.apply(np.float32([1]), 0)
    assert not second.done()  # in order of arrival
    stop.cancel(errors.CancelledError(None, None, "stopped"))
    with pytest.raises(errors.CancelledError):
        first.result(0)
    assert second.result(0).tolist() == [1]
    assert a.apply(np.float32([1]), 0) is False and a.num_dropped == 1
    last = a.take(1)
    a.release()
    with pytest.raises(errors.CancelledError):
        last.result(0)


# -- barriers --------------------------------------------------------------------------------------------


def test_elements_leave_a_barrier_when_complete(run):
    b = Barrier(("float32", "string"), shapes=((), ()), name="B")
    run(b.insert_many(0, ["k1", "k2"], [1.0, 2.0]))
    assert [run(b.incomplete_size()), run(b.ready_size())] == [2, 0]
    run(b.insert_many(1, ["k2"], ["two"]))
    assert [run(b.incomplete_size()), run(b.ready_size())] == [1, 1]
    fails(
        lambda: run(b.insert_many(0, ["k1"], [3.0])), "Key k1 already has a value for component 0"
    )
    fails(lambda: run(b.insert_many(2, ["k1"], [3.0])), "The component ID is out of range 2 >")
    indices, keys, values = run(b.take_many(1))
    assert indices.tolist() == [-(2**63)] and keys.tolist() == [b"k2"]
    assert values[0].tolist() == [2.0] and values[1].tolist() == [b"two"]
    run(b.close())
    fails(lambda: run(b.insert_many(0, ["new"], [3.0])), "Barrier", errors.CancelledError)
    run(b.insert_many(1, ["k1"], ["one"]))
    assert run(b.take_many(5, allow_small_batch=True))[1].tolist() == [b"k1"]
    fails(lambda: run(b.take_many(1)), "Barrier", errors.OutOfRangeError)
    fails(lambda: run(b.close()), "Barrier", errors.CancelledError)
    assert b.take_many(2)[0].shape.as_list() == [2] and b.name == "B"


# -- staging areas ---------------------------------------------------------------------------------------


def test_a_staging_area_gives_out_in_order(run):
    area = StagingArea(["float32", "int32"], shapes=[[2], []], names=["x", "y"], capacity=2)

    def put(x, y):
        run(area.put({"x": fm.constant(x), "y": fm.constant(y)}))

    put([1.0, 2.0], 3)
    put([3.0, 4.0], 4)
    assert run(area.size()) == 2 and run(area.peek(1))["y"] == 4
    assert [run(area.get())["y"], run(area.get())["y"]] == [3, 4]
    put([1.0, 2.0], 5)
    run(area.clear())
    assert run(area.size()) == 0
    with pytest.raises(
        ValueError, match="You must enqueue a dictionary in a staging area with names"
    ):
        area.put([fm.constant(1.0), fm.constant(2)])
    small = StagingArea(["float32"], memory_limit=10)
    fails(
        lambda: run(small.put([fm.ones([5])])),
        "Attempted to insert tensors with combined size of '20' bytes into Staging Area with a memory limit of '10'.",
        errors.ResourceExhaustedError,
    )


def test_a_full_staging_area_waits():
    area = staging.Staging("s", capacity=1)
    empty = area.get()
    assert not empty.done()
    area.put([1])
    assert empty.result(0) == [1]
    area.put([2])
    full = area.put([3])
    assert not full.done() and area.get().result(0) == [2]
    assert full.result(0) is None and area.size() == 1


@pytest.mark.parametrize("ordered", [False, True])
def test_a_staging_map_puts_components_together(run, ordered):
    area = MapStagingArea(["float32", "int32"], ordered=ordered)
    run(area.put(7, [fm.constant(1.0)], [0]))
    assert [run(area.size()), run(area.incomplete_size())] == [0, 1]
    run(area.put(7, [fm.constant(2)], [1]))
    run(area.put(3, [fm.constant(5.0), fm.constant(6)], [0, 1]))
    assert [run(area.size()), run(area.incomplete_size())] == [2, 0]
    assert run(area.peek(7)) == [1.0, 2]
    _, (second,) = area.get(7, [1])
    assert run(second) == 2
    if ordered:
        key, values = area.get()
        assert run([key, *values]) == [3, 5.0, 6]
    else:
        key, (value,) = area.get(indices=[0])
        assert run([key, value]) in ([3, 5.0], [7, 1.0])
    run(area.clear())
    assert run(area.size()) == 0


# -- sparse tensors and others ---------------------------------------------------------------------------


def test_sparse_tensors_go_through_a_map(run):
    first = fm.SparseTensor([[1]], [5.0], [3])
    one = sparse_serialize.add_sparse_to_tensors_map(first, shared_name="m")
    rows = fm.SparseTensor([[0, 1], [2, 0]], [1.0, 2.0], [3, 4])
    many = sparse_serialize.add_many_sparse_to_tensors_map(rows, shared_name="m")
    handles = run(fm.concat([fm.reshape(one, [1]), many], 0))
    assert sorted(handles.tolist()) == [0, 1, 2, 3]
    taken = sparse_serialize.take_many_sparse_from_tensors_map(one.op, handles, rank=2)
    value = run(taken)
    assert value.values.tolist() == [5.0, 1.0, 2.0] and value.dense_shape.tolist() == [4, 4]
    fails(lambda: run(taken), "Unable to find SparseTensor: 0 in map: m")


def test_serialized_sparse_tensors_of_any_rank(run):
    s = fm.SparseTensor([[0, 1], [2, 0]], [1.0, 2.0], [3, 4])
    text = sparse_serialize.serialize_sparse(s)
    back = run(sparse_serialize.deserialize_sparse(text, "float32"))
    assert back.indices.tolist() == [[0, 1], [2, 0]] and back.dense_shape.tolist() == [3, 4]
    twice = run(sparse_serialize.deserialize_sparse(fm.stack([text, text]), "float32", rank=3))
    assert twice.indices.tolist() == [[0, 0, 1], [0, 2, 0], [1, 0, 1], [1, 2, 0]]
    assert twice.dense_shape.tolist() == [2, 3, 4]


def test_json_examples(run):
    text = '{"features":{"feature":{"x":{"floatList":{"value":[1.0]}}}}}'
    (data,) = run(raw.DecodeJSONExample([text]))
    assert Example.FromString(data).features.feature["x"].float_list.value[0] == 1.0
    fails(lambda: run(raw.DecodeJSONExample(["{"])), "Error while parsing JSON: ")


def test_older_forms_of_box_ops(run):
    boxes = np.float32([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11]])
    scores = np.float32([0.9, 0.75, 0.95])
    for op in (
        raw.NonMaxSuppression(boxes, scores, np.int32(3)),
        raw.NonMaxSuppressionV2(boxes, scores, np.int32(3), np.float32(0.5)),
    ):
        assert run(op).tolist() == [2, 0]
    args = (np.int32([40, 50, 3]), np.float32([[[0.1, 0.1, 0.9, 0.7]]]))
    old = raw.SampleDistortedBoundingBox(*args, seed=3, seed2=4, min_object_covered=0.1)
    new = raw.SampleDistortedBoundingBoxV2(*args, np.float32(0.1), seed=3, seed2=4)
    assert [v.tolist() for v in run(list(old))] == [v.tolist() for v in run(list(new))]
